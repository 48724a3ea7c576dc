//! The litesmith command line: translates arguments, calls the library, shows results.
#![forbid(unsafe_code)]

mod args;
mod show;
mod terminal;

use std::ffi::OsString;

use args::{Arguments, Verb, ZooArguments, ZooVerb};
use clap::Parser;
use clap::error::ErrorKind;
use litesmith::Error;
use serde::Serialize;
use terminal::Terminal;

/// Runs the command line on these arguments, the program's name first, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed pipe is no reason to fail.
            let _ = error.print();
            return if help { 0 } else { 2 };
        }
    };
    // A panic is a bug of ours: it is reported as one, not as a crash.
    let outcome = std::panic::catch_unwind(|| run(&arguments));
    let error = match outcome {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => error,
        Err(_) => {
            eprintln!("error: this is a bug in litesmith; please report it with the model and the command");
            return 1;
        }
    };
    eprintln!("error: {error}");
    error.exit_code()
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let terminal = Terminal::new(arguments.quiet);
    let json = arguments.json;
    match &arguments.verb {
        Verb::Convert(options) => {
            let convert_options = options.options()?;
            let dumps = options.dump_passes.clone();
            let observer = terminal.with_dumps(dumps)?;
            let result = litesmith::convert(&options.model, &options.output, &convert_options, &observer)?;
            observer.finish()?;
            if let Some(path) = &options.report {
                show::convert_report(path, options, &result)?;
            }
            print(json, &result, || show::convert(options, &result))
        }
        Verb::Run(options) => {
            let data =
                options.data.options(&options.input)?.with_batch(options.batch.map(|batch| batch as usize));
            let result = litesmith::run(
                &options.model,
                &data,
                options.output.as_deref(),
                options.top,
                &options.machine.options()?,
                &terminal,
            )?;
            terminal.finish()?;
            print(json, &result, || show::run(&result))
        }
        Verb::Evaluate(options) => {
            let data = options.data.options(&options.input)?;
            let result = litesmith::evaluate(&options.model, &data, &options.machine.options()?, &terminal)?;
            terminal.finish()?;
            print(json, &result, || show::evaluate(&result))
        }
        Verb::Bench(options) => {
            let result = litesmith::bench(&options.model, &options.options()?, &terminal)?;
            terminal.finish()?;
            print(json, &result, || show::bench(&result))
        }
        Verb::Inspect(options) => {
            let result = litesmith::inspect_with(&options.model, options.options())?;
            print(json, &result, || show::inspect(&result))
        }
        Verb::Train(options) => {
            let result = litesmith::train(&options.model, &options.output, &options.options()?, &terminal)?;
            terminal.finish()?;
            print(json, &result, || show::train(options, &result))
        }
        Verb::Prune(options) => {
            let result = litesmith::prune(&options.model, &options.output, &options.options()?, &terminal)?;
            terminal.finish()?;
            print(json, &result, || show::prune(options, &result))
        }
        Verb::Zoo(options) => zoo(options, json, &terminal),
        Verb::Demo(options) => {
            let result = litesmith::demo(&options.options()?, &terminal)?;
            terminal.finish()?;
            print(json, &result, || show::demo(&result))
        }
    }
}

fn zoo(options: &ZooArguments, json: bool, terminal: &Terminal) -> Result<(), Error> {
    match &options.verb {
        None => {
            let result = litesmith::zoo::list()?;
            print(json, &result, || show::zoo::list(&result))
        }
        Some(ZooVerb::Build(options)) => {
            let build = options.options()?;
            let result = litesmith::zoo::build(options.name(), &options.output, &build, terminal)?;
            terminal.finish()?;
            print(json, &result, || show::zoo::build(&result))
        }
        Some(ZooVerb::Check(options)) => {
            let result = litesmith::zoo::check(&options.options()?, terminal)?;
            terminal.finish()?;
            if let Some(path) = &options.markdown {
                show::zoo::check_markdown(path, &result)?;
            }
            print(json, &result, || show::zoo::check(&result))?;
            match result.failed()[..] {
                [] => Ok(()),
                ref failed => Err(Error::Check(format!("not all is supported of {}", failed.join(", ")))),
            }
        }
    }
}

/// Prints a result for programs or for people.
fn print(json: bool, result: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Error> {
    use std::io::Write;
    let text = match json {
        true => {
            serde_json::to_string_pretty(result).map_err(|error| Error::Failed(error.to_string()))? + "\n"
        }
        false => text(),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
