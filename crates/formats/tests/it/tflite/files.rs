//! Models that others have written.

use std::path::{Path, PathBuf};

use litesmith_formats::{FormatError, tflite};
use litesmith_graph::Model;

use super::tidied;

/// All TFLite files of the data folder.
fn files() -> Vec<PathBuf> {
    let named = std::env::var_os("LITESMITH_DATA").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/litesmith-data"));
    let Some(folder) = named.or_else(home) else { return Vec::new() };
    let inside = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let folders = inside(&folder).into_iter().filter(|path| path.is_dir());
    let mut files: Vec<_> = folders.flat_map(|folder| inside(&folder)).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "tflite"));
    files.sort();
    files
}

/// What is compared: everything but names of nodes, which follow tensors, and constants that have
/// become attributes.
fn graphs(model: Model) -> Vec<litesmith_graph::Graph> {
    tidied(model).graphs
}

#[test]
fn real_models_come_back_or_are_refused_by_list() {
    let files = files();
    if files.is_empty() {
        println!("skipped: there are no real models");
    }
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match litesmith_formats::read(&path) {
            Ok(model) => {
                assert_eq!(litesmith_formats::detect(&path).unwrap(), litesmith_graph::Format::Tflite);
                let bytes = match tflite::write(&model) {
                    Ok(bytes) => bytes,
                    Err(error) => panic!("{name} is not written: {error}"),
                };
                let nodes = model.main().nodes.len();
                let before = std::fs::metadata(&path).unwrap().len();
                println!("{name}: {nodes} operators, {before} bytes, {} again", bytes.len());
                write_where_asked(&path, &bytes);
                let again = tflite::read(bytes.into()).unwrap();
                assert_eq!(again.signatures.len(), model.signatures.len().max(1));
                assert!(graphs(again) == graphs(model), "{name} comes back changed");
            }
            Err(FormatError::Unsupported(list)) => {
                assert!(!list.is_empty());
                let mut operators: Vec<_> = list.iter().map(|item| &*item.operator).collect();
                operators.sort_unstable();
                operators.dedup();
                println!("{name}: refused for {operators:?}");
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// For checks by the real interpreter: writes a file again into the folder that the variable names.
fn write_where_asked(path: &Path, bytes: &[u8]) {
    let Some(folder) = std::env::var_os("LITESMITH_CASES").map(PathBuf::from) else { return };
    let name: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    std::fs::write(folder.join(format!("{}--{}", name[1], name[0])), bytes).unwrap();
}

#[test]
fn damaged_real_models_are_not_dangerous() {
    for path in files() {
        let bytes = std::fs::read(&path).unwrap();
        for step in 1..40 {
            let _ = tflite::read(bytes[..bytes.len() / 40 * step].to_vec().into());
            let mut changed = bytes.clone();
            // Structure stands at the ends of a file, weights between.
            let position = (step * 7919) % bytes.len().min(20_000);
            let last = bytes.len() - 1;
            changed[position] ^= 0xff;
            changed[last - position] ^= 0x55;
            let _ = tflite::read(changed.into());
        }
    }
}
