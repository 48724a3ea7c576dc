#!/usr/bin/env python3
"""What litesmith supports, by trying it: every layer class, every operation and every TFLite file, as tables.

    cargo build --release && conformance/.venv/bin/python conformance/support.py [--write | --check] [--quick]

Every public layer class of the installed Keras 3 and tf_keras is built as small models, and so are the functions of
`keras.ops` and the applications. Each model is saved, run by `litesmith run`, converted to float TFLite, and run again
by us and by LiteRT at batch 1 and 3; all must agree with Keras within 1e-4 of the largest output. Then the first model
of each class goes through the other modes, whose files LiteRT must run. `--write` writes docs/support.md; `--check`
fails where something that this page calls supported fails now.
"""

import argparse
import datetime
import os
import re
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging

import command
import keras_layers
import peers
import support_cases
import support_files
import support_page

warnings.filterwarnings("ignore")
tf.get_logger().setLevel("ERROR")
logging.set_verbosity(logging.ERROR)

PACKAGES = {"Keras 3": keras, "Keras 2": tf_keras}
MODES = {"int8": "int8", "int16x8": "int16x8", "dynamic": "dynamic", "float16": "float16"}
ERROR = 1e-4  # of the largest output
LARGE = 40  # layers, beyond which fewer samples do
BATCHES = (1, 3)
# What Keras 2 raises for classes and settings that it does not have.
NOT_THERE = (AttributeError, TypeError, ImportError, ValueError)


class Refused(Exception):
    """litesmith says that it does not support something."""


def seeded(case, package):
    package.backend.clear_session()
    package.utils.set_random_seed(1)
    model = case.build(package)
    if case.seeded:
        keras_layers.seed_weights(model, np.random.default_rng(2))
    return model


def succeed(*arguments):
    """As `command.succeed`; a refusal is an exception of its own, with our reason."""
    done = command.run(*arguments, "--json")
    if done.code == 3:
        raise Refused(reason(done.stderr or done.stdout))
    if done.code != 0:
        raise command.Failed((done.stderr or done.stdout).strip().splitlines()[-1])
    return done


def reason(text):
    """The first reason of a refusal, without the layer's name and without advice."""
    lines = [line.strip(" -") for line in text.strip().splitlines() if ": " in line and not line.startswith("error")]
    line = (lines or text.strip().splitlines() or ["?"])[0]
    return re.sub(r"^.*?\): ", "", line).split("; ")[0]


def infer(path, inputs, folder):
    given, got = folder / "inputs.npz", folder / "outputs.npz"
    np.savez(given, **inputs)
    succeed("run", path, "--input", given, "--output", got)
    with np.load(got) as outputs:
        return [outputs[name] for name in outputs.files]


def suited(inputs):
    """Whether a model takes some numbers only, and must be compared with its source on such."""
    return any(name.startswith(("positive", "unit")) for name in inputs)


def check_float(path, inputs, truth, folder):
    """The worst error of our runtime, of our TFLite file in it, and of LiteRT at each batch."""
    worst = keras_layers.largest_error(infer(path, inputs, folder), truth)
    converted = path.with_suffix(".tflite")
    samples = ["--calibration", folder / "inputs.npz"] if suited(inputs) else []
    succeed("convert", path, "-o", converted, *samples)
    worst = max(worst, keras_layers.largest_error(infer(converted, inputs, folder), truth))
    for batch in BATCHES:
        runner = peers.TfliteRunner(converted)
        outputs = keras_layers.in_order(runner(inputs, batch))
        worst = max(worst, keras_layers.largest_error(outputs, truth))
    return worst


def check_mode(path, model, mode, truth, inputs, folder):
    """Signal-to-noise of a file in this mode, as LiteRT runs it, in dB, and which operators stay float."""
    converted, data = folder / f"{mode}.tflite", folder / "calibration.npz"
    large = len(model.layers) > LARGE
    np.savez(data, **support_cases.random_inputs(model, 8 if large else 40, 4))
    calibration = ["--calibration", data] if mode.startswith("int") or suited(inputs) else []
    done = succeed("convert", path, "-o", converted, "--quantize", mode, *calibration)
    runner = peers.TfliteRunner(converted)
    outputs = keras_layers.in_order(runner.real(runner(inputs)))
    left = sorted({item["operator"] for item in done.result.get("float_operators", [])})
    return min(peers.signal_to_noise(t, o) for t, o in zip(truth, outputs, strict=True)), left


def check_case(case, package, folder, modes):
    """("supported", error, dB by mode), ("refused" or "failed" or "not kept", why, {}), or None without a model."""
    try:
        model = seeded(case, package)
    except NOT_THERE as error:
        if package is keras and not isinstance(error, AttributeError):
            return "not kept", f"Keras: {type(error).__name__}: {error}".replace("\n", " ")[:120], {}
        return None
    path = folder / ("model.keras" if package is keras else "model.h5")
    try:
        model.save(path)
        loaded = reloaded(package, model, path)
        inputs = support_cases.random_inputs(loaded, 3, 3)
        truth = [np.asarray(t) for t in keras_layers.keras_outputs(loaded, inputs)]
    except Exception as error:  # what Keras itself cannot keep is no case
        return "not kept", f"Keras: {type(error).__name__}: {error}".replace("\n", " ")[:120], {}
    try:
        worst = check_float(path, inputs, truth, folder)
    except Refused as refused:
        return "refused", str(refused), {}
    except Exception as error:  # one broken case must not hide the others
        return "failed", f"{type(error).__name__}: {error}".replace("\n", " ")[:200], {}
    if not worst <= ERROR:
        return "failed", f"differs by {worst:.1e}", {}
    return "supported", worst, {mode: measured(path, loaded, mode, truth, inputs, folder) for mode in modes}


def reloaded(package, model, path):
    """The model as Keras reads it, for not every layer survives every format; itself where Keras asks for a class."""
    try:
        return package.models.load_model(path, compile=False, safe_mode=False)
    except ValueError as error:
        if "Unknown layer" in str(error):
            return model
        raise


def measured(path, model, mode, truth, inputs, folder):
    try:
        decibels, left = check_mode(path, model, mode, truth, inputs, folder)
    except Refused:
        return "refused"
    except command.Failed as failure:
        return f"**failed**: {failure}"
    except Exception as error:
        return f"**{type(error).__name__}**"
    shown = "exact" if decibels > 120 else f"{decibels:.0f} dB"
    return f"{shown}; float: {', '.join(left)}" if mode.startswith("int") and left else shown


def check_class(cases, folder, options):
    """The row of a class: result by package, and what the modes make of its first model."""
    row = {}
    for name, package in PACKAGES.items():
        if options.quick and package is not keras:
            continue
        results, notes = [], []
        for number, case in enumerate(cases[:1] if options.quick else cases):
            modes = MODES.values() if number == 0 and package is keras and not options.quick else ()
            result = check_case(case, package, folder, modes)
            if result is not None:
                results.append(result)
                notes.append(case.note)
        row[name] = summarized(results, notes)
        if package is keras and results and not options.quick:
            row.update(results[0][2])
    return row


def summarized(results, notes):
    kept = [(result, note) for result, note in zip(results, notes, strict=True) if result[0] != "not kept"]
    if not kept:
        return f"({results[0][1]})" if results else "-"
    bad = [(kind, text, note) for (kind, text, _), note in kept if kind != "supported"]
    good = [text for (kind, text, _), _ in kept if kind == "supported"]
    worst = f"{max(good):.0e}" if good and max(good) > 0 else "exact"
    if not bad:
        return f"supported, {worst}"
    kinds = "**failed**" if any(kind == "failed" for kind, _, _ in bad) else "refused"
    told = "; ".join(dict.fromkeys(f"{note}: {text}" if note else str(text) for _, text, note in bad))
    return f"{kinds}: {told}" if not good else f"partly ({len(good)} of {len(kept)} models, {worst}); {kinds}: {told}"


def layer_classes():
    """Public layer classes of both packages, each under its own name, with the other names of the same class."""
    classes, aliases = {}, {}
    for package in PACKAGES.values():
        for name in sorted(dir(package.layers)):
            kind = getattr(package.layers, name)
            if isinstance(kind, type) and issubclass(kind, package.layers.Layer):
                if name != kind.__name__ and hasattr(package.layers, kind.__name__):
                    aliases.setdefault(kind.__name__, set()).add(name)
                else:
                    classes.setdefault(name, package)
    return sorted(classes), aliases


def layers_table(options, folder):
    names, aliases = layer_classes()
    unknown = [n for n in names if n not in support_cases.LAYERS and n not in support_cases.layers.NO_CASE]
    if unknown:
        raise SystemExit(f"no case for {', '.join(unknown)}: write one in support_cases/")
    rows = []
    for name in names:
        shown = f"`{name}`" + "".join(f", `{alias}`" for alias in sorted(aliases.get(name, ())))
        if name in support_cases.layers.NO_CASE:
            rows.append({"what": shown, "Keras 3": f"refused: {support_cases.layers.NO_CASE[name]}"})
        elif chosen(name, options):
            rows.append({"what": shown, **check_class(support_cases.LAYERS[name], folder, options)})
            progress(rows[-1])
    return rows


def cases_table(cases, options, folder):
    rows = []
    for name, variants in cases.items():
        if chosen(name, options):
            rows.append({"what": f"`{name}`", **check_class(variants, folder, options)})
            progress(rows[-1])
    return rows


def chosen(name, options):
    return not options.only or any(part in name for part in options.only.split(","))


def progress(row):
    print(" | ".join(str(value) for value in row.values()), file=sys.stderr, flush=True)


def table(rows, columns):
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        cells = [str(row.get("what" if i == 0 else c, "-")).replace("|", "\\|") for i, c in enumerate(columns)]
        yield "| " + " | ".join(cells) + " |"


def counted(rows):
    """How many rows are what, in Keras 3 or, where it has no such class, in Keras 2."""
    kinds = {"supported": 0, "partly": 0, "refused": 0, "**failed**": 0}
    for row in rows:
        cell = row.get("Keras 3", "-")
        cell = row.get("Keras 2", "-") if cell == "-" or cell.startswith("(") else cell
        for kind in kinds:
            kinds[kind] += cell.startswith(kind)
    return ", ".join(f"{count} {kind.strip('*')}" for kind, count in kinds.items())


# Models are written by zoo_check.py, ONNX files by onnx_models.py.
SECTIONS = ("layers", "operations", "applications", "files", "trained")


def measure(options, folder):
    """Section title to (column names, rows)."""
    sections = options.sections.split(",")
    modes = [] if options.quick else [*MODES]
    packages = ["Keras 3"] if options.quick else [*PACKAGES]
    tables = {}
    if "layers" in sections:
        tables["Layers"] = (["layer", *packages, *modes], layers_table(options, folder))
    if "operations" in sections:
        tables["Operations"] = (
            ["function of `keras.ops`", "Keras 3", *modes],
            cases_table(support_cases.OPERATIONS, options, folder),
        )
    if "applications" in sections:
        tables["Applications"] = (
            ["application", *packages, *modes],
            cases_table(support_cases.APPLICATIONS, options, folder),
        )
    if "files" in sections:
        tables["TFLite files"] = support_files.files_table(options, folder, progress)
    if "trained" in sections:
        tables["Trained models"] = support_files.trained_table(options, folder, progress)
    return tables


def page(tables, before):
    """The whole page; sections that were not measured stay what they are in the page before."""
    head = [
        "# What is supported",
        "",
        f"Made by `conformance/support.py --write`; peers: Keras {keras.__version__}, tf_keras {tf_keras.__version__}, "
        f"TensorFlow {tf.__version__}, LiteRT {version('ai-edge-litert')}. Do not edit by hand.",
        "",
        INTRODUCTION.strip(),
    ]
    _, parts = support_page.sections(before)
    parts.update({title: "\n" + "\n".join(section(title, *table)) for title, table in tables.items()})
    return support_page.text_of("\n".join(head), parts)


def section(title, columns, rows):
    counts = f"{len(rows)} rows: {counted(rows)}; made" if "Keras 3" in columns else "Made"
    yield f"{counts} on {datetime.date.today()}.{EXPLAINED.get(title, '')}"
    yield ""
    yield from table(rows, columns)
    if title == "Operations":
        names = [name for name in dir(keras.ops) if callable(getattr(keras.ops, name))]
        left = [f"`{name}`" for name in names if name not in support_cases.OPERATIONS]
        yield ""
        yield f"Not tried: {', '.join(left)}."


EXPLAINED = {
    "TFLite files": " The files of the data set: run by us and by LiteRT, then written again and run by both.",
    "Trained models": " How far each mode's file is from its source in our runtime, on held-out inputs: the "
    "signal-to-noise ratio of the worst output, which for a detector that sees nothing is that of small numbers.",
}
INTRODUCTION = """
Each row is one class, tried on small models. *Supported*: read, run by us, converted to float TFLite and run by us and
by LiteRT at batch 1 and 3, everything equal to Keras within 1e-4 of the largest output; the number is the worst
difference. *Partly*: some of the models are refused, for the reason that follows. *Refused*: exit code 3 with that
reason, nothing is written. Columns of modes: how far the quantized file of the first model, in LiteRT, is from Keras
(signal-to-noise on random inputs: what tiny random models lose says little about a trained one); *float* lists what
TFLite has no integer kernel for, or what gives integers and truth values anyway.
Keras 3 is tried as `.keras`, Keras 2 (tf_keras) as `.h5`; `-`: that package has no such class.
"""


# What stands above the first column of each section.
HEADS = ("network", "layer", "function of `keras.ops`", "application", "file", "model")


def supported_rows(text):
    """(section, first column, column) of every cell that a page calls supported."""
    found, section, columns = {}, "", []
    for line in text.splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("|---"):
            continue
        elif line.startswith("| "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not columns or cells[0] in HEADS:
                columns = cells
                continue
            for column, cell in zip(columns[1:], cells[1:], strict=True):
                found[section, cells[0], column] = cell
    return found


def worse(before, now):
    """Cells that were supported, or converted, and are not any more."""
    for key, cell in supported_rows(before).items():
        new = now.get(key)
        if new is None or new == cell:
            continue
        good = ("supported", "equal", "exact")
        was, still = (c.startswith(good) or " dB" in c for c in (cell, new))
        if (was and not still) or (cell.startswith("partly") and new.startswith(("refused", "**failed"))):
            yield f"{' / '.join(key)}: was '{cell}', is '{new}'"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/support.md, the measured sections of it")
    parser.add_argument("--check", action="store_true", help="fail where docs/support.md claims more")
    parser.add_argument("--quick", action="store_true", help="one float model for each class")
    parser.add_argument("--only", default="", help="only names that contain one of these, comma-separated")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    options = parser.parse_args()
    if options.write and (options.only or options.quick):
        parser.error("--write needs whole sections")
    command.require_binary()
    with tempfile.TemporaryDirectory() as folder:
        tables = measure(options, Path(folder))
    before = support_page.PAGE.read_text() if support_page.PAGE.is_file() else ""
    text = page(tables, before)
    for title, (columns, rows) in tables.items():
        if "Keras 3" in columns:
            print(f"{title}: {counted(rows)}")
    found = list(worse(before, supported_rows(text))) if options.check else []
    if options.write:
        support_page.PAGE.write_text(text)
        print(f"written: {support_page.PAGE.relative_to(command.REPOSITORY)}")
    for line in found:
        print(f"FAIL  {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
