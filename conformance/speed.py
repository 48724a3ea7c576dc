#!/usr/bin/env python3
"""How long litesmith takes to run a model, against LiteRT, ONNX Runtime and OpenVINO on the same machine.

    cargo build --release && conformance/.venv/bin/python conformance/speed.py --models MobileNetV2 --modes int8

All run the same model on the same input. LiteRT and OpenVINO read our TFLite file, ONNX Runtime our ONNX file with the
same integers; where OpenVINO refuses a TFLite file it reads the ONNX file (marked with an o). Each peer is a process of
its own. After a warm-up they take turns, litesmith first in every other round and last in the others, and each turn is
the median of some runs; a cell is the median of the turns. The ratio is the median of the rounds' ratios, ours over the
fastest peer's: neighbours in time, since a machine that others use too is slow for seconds. bfloat16 is off. Worth
something only on a machine that does nothing else.

`--what load` compares the time from the file to a model that is ready to run, on the largest number of threads; `--what batch` gives images a second for
batches of 1, 8 and 32; `--what files` takes any TFLite files, on seeded numbers, against LiteRT; `--isa avx2` holds us,
and OpenVINO, to that instruction set.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

import command

HERE = Path(__file__).resolve().parent
MODELS = ["ResNet50", "MobileNetV2", "EfficientNetB0", "MobileNetV3Large", "DenseNet121"]
MODES = ["none", "dynamic", "int8"]
PEERS = {"LiteRT": "ai-edge-litert", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}
BATCHES = [1, 8, 32]
# Milliseconds of a turn, about.
TURN = 300


class Files:
    """The files of one model in one mode, made where they are missing or older than the program that writes them."""

    def __init__(self, options, name, mode):
        folder = Path(options.cache) / f"{name}-{options.size}"
        if not (folder / "recipe").is_file():
            prepare = [HERE / "models.py", "--models", name, "--size", options.size, "--cache", options.cache]
            subprocess.run([sys.executable, *map(str, prepare)], check=True, stderr=subprocess.DEVNULL)
        self.input = folder / "speed-input.npz"
        if not self.input.is_file():
            images = np.load(folder / "held_out.npz")["image"]
            np.savez(self.input, image=np.resize(images, (max(BATCHES), *images.shape[1:])))
        self.tflite, self.onnx = (folder / f"speed-{mode}.{extension}" for extension in ("tflite", "onnx"))
        for path in (self.tflite, self.onnx):
            if not path.is_file() or path.stat().st_mtime < command.BINARY.stat().st_mtime:
                calibration = ["--calibration", folder / "calibration.npz"] if mode == "int8" else []
                command.succeed("convert", folder / "model.keras", "-o", path, "--quantize", mode, *calibration)


class Given:
    """A TFLite file of others, on seeded numbers."""

    input = None

    def __init__(self, path):
        self.tflite = Path(path)


class Peer:
    """A peer that has loaded a model."""

    def __init__(self, name, files, threads, batch, isa):
        self.name, self.mark, self.process = name, "", None
        paths = [files.onnx] if name == "ONNX Runtime" else [files.tflite]
        if name == "OpenVINO":
            paths.append(files.onnx)
        environment = os.environ | ({"ONEDNN_MAX_CPU_ISA": isa.upper()} if isa else {})
        for path in paths:
            arguments = [HERE / "speed_peer.py", name, path, threads, files.input or "-", batch]
            self.process = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
            )
            for line in self.process.stdout:
                if line.startswith("ready"):
                    self.load = float(line.split()[1])
                    return
            self.process, self.mark = None, "o"

    def turn(self, runs):
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        return statistics.median(json.loads(self.process.stdout.readline()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ours:
    """litesmith: a new process each turn."""

    name, mark = "litesmith", ""

    def __init__(self, files, threads, batch, isa):
        data = ["--input", files.input] if files.input else []
        self.arguments = ["bench", files.tflite, *data, "--threads", threads, "--batch", batch]
        self.environment = os.environ | ({"LITESMITH_ISA": isa} if isa else {})
        self.loads = []

    def turn(self, runs):
        result = command.succeed(*self.arguments, "--runs", runs, env=self.environment)
        self.loads.append(result["load_ms"])
        self.isa = result["isa"]
        return result["latency_ms"]["median"]

    @property
    def load(self):
        return statistics.median(self.loads)


def race(options, files, threads, batch=1):
    """[(runner, milliseconds of each turn)], litesmith first; peers that refuse the model are left out."""
    ours = Ours(files, threads, batch, options.isa)
    peers = [Peer(name, files, threads, batch, options.isa) for name in options.peers]
    runners = [ours, *(peer for peer in peers if peer.process)]
    turns = {runner.name: [] for runner in runners}
    runs = max(3, round(TURN / ours.turn(3)))
    for number in range(options.rounds):
        for runner in runners if number % 2 == 0 else reversed(runners):
            turns[runner.name].append(runner.turn(runs))
    for runner in runners[1:]:
        runner.close()
    return [(runner, turns[runner.name]) for runner in runners]


def ratio(over, under):
    """The median ratio of numbers that belong together."""
    return statistics.median(a / b for a, b in zip(over, under))


def latency(options):
    titles = " | ".join(f"{name}, ms" for name in ["litesmith", *options.peers])
    print(f"| model | mode | threads | {titles} | ratio to the best |\n|---|---|---|{'---|' * (len(options.peers) + 2)}")
    worst = []
    for name in options.models:
        for mode in options.modes:
            files = Files(options, name, mode)
            for threads in options.threads:
                (_, own), *peers = race(options, files, threads)
                found = {
                    peer.name: f"{statistics.median(turns):.2f}{' o' if peer.mark else ''}" for peer, turns in peers
                }
                to_best = max(ratio(own, turns) for _, turns in peers)
                cells = " | ".join(found.get(peer, "refused") for peer in options.peers)
                line = f"{name} | {mode} | {threads} | {statistics.median(own):.2f} | {cells}"
                print(f"| {line} | **{to_best:.3f}** |", flush=True)
                worst.append((to_best, f"{name} {mode}, {threads} threads"))
    return worst


def given(options):
    print("| model | threads | litesmith, ms | LiteRT, ms | ratio |\n|---|---|---|---|---|")
    worst = []
    for path in options.files:
        for threads in options.threads:
            (_, own), *peers = race(options, Given(path), threads)
            for _, turns in peers:
                found = ratio(own, turns)
                times = " | ".join(f"{statistics.median(turns):.4f}" for turns in (own, turns))
                print(f"| {Path(path).stem} | {threads} | {times} | **{found:.3f}** |", flush=True)
                worst.append((found, f"{path}, {threads} threads"))
            if not peers:
                print(f"| {Path(path).stem} | {threads} | {statistics.median(own):.4f} | refused | |", flush=True)
    return worst


def load(options):
    peers = " | ".join(f"{name}, ms" for name in options.peers)
    print(f"| model | mode | litesmith, ms | {peers} | LiteRT's over ours |\n|---|---|---|{'---|' * (len(options.peers) + 1)}")
    worst, threads = [], max(options.threads)
    for name in options.models:
        for mode in options.modes:
            files = Files(options, name, mode)
            loads = {name: [] for name in ["litesmith", *options.peers]}
            for _ in range(options.rounds):
                ours = Ours(files, threads, 1, options.isa)
                ours.turn(1)
                loads["litesmith"].append(ours.load)
                for peer_name in options.peers:
                    peer = Peer(peer_name, files, threads, 1, options.isa)
                    if peer.process:
                        loads[peer_name].append(peer.load)
                        peer.close()
            medians = {name: statistics.median(values) for name, values in loads.items() if values}
            times = ratio(loads["LiteRT"], loads["litesmith"])
            cells = " | ".join(f"{medians[p]:.1f}" if p in medians else "refused" for p in ["litesmith", *options.peers])
            print(f"| {name} | {mode} | {cells} | **{times:.1f}** |", flush=True)
            worst.append((1 / times, f"{name} {mode}"))
    return worst


def batches(options):
    print(f"| model | mode | threads | {' | '.join(f'batch {b}' for b in BATCHES)} |\n|---|---|---|{'---|' * len(BATCHES)}")
    worst = []
    for name in options.models:
        for mode in options.modes:
            files = Files(options, name, mode)
            for threads in options.threads:
                runners = {batch: Ours(files, threads, batch, options.isa) for batch in BATCHES}
                turns = {batch: [] for batch in BATCHES}
                runs = {batch: max(2, round(TURN / runner.turn(2))) for batch, runner in runners.items()}
                for number in range(options.rounds):
                    for batch in BATCHES if number % 2 == 0 else BATCHES[::-1]:
                        turns[batch].append(batch * 1e3 / runners[batch].turn(runs[batch]))
                rates = [statistics.median(turns[batch]) for batch in BATCHES]
                print(f"| {name} | {mode} | {threads} | {' | '.join(f'{rate:.1f}' for rate in rates)} |", flush=True)
                worst.append((rates[0] / min(rates[1:]), f"{name} {mode}, {threads} threads"))
    return worst


def heading(options):
    processor = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    isa = options.isa or command.succeed("bench", options.first, "--runs", 1)["isa"]
    versions = ", ".join(f"{name} {importlib.metadata.version(PEERS[name])}" for name in options.peers)
    size = "" if options.what == "files" else f"{options.size}x{options.size} pixels, "
    print(
        f"{datetime.date.today()}, {processor} ({os.cpu_count()} cores, `{isa}`), {platform.system()}; {versions}; "
        f"{size}median of {options.rounds} turns each.\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    def words(text):
        return text.split(",")

    parser.add_argument("--what", choices=["latency", "load", "batch", "files"], default="latency")
    parser.add_argument("--models", type=words, default=MODELS)
    parser.add_argument("--files", nargs="+", help="TFLite files for --what files")
    parser.add_argument("--modes", type=words, default=MODES)
    parser.add_argument("--peers", type=words, default=list(PEERS), help=f"among {','.join(PEERS)}")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--isa", choices=["avx2"], help="hold litesmith and OpenVINO to this instruction set")
    parser.add_argument("--cache", type=Path, default=os.environ.get("LITESMITH_CONFORMANCE_CACHE", HERE / "cache"))
    parser.add_argument("--most", type=float, help="fail when a ratio is above this")
    options = parser.parse_args()
    command.require_binary()
    if (options.what == "files") != bool(options.files):
        parser.error("--what files and --files belong together")
    if options.files:
        options.peers, options.first = ["LiteRT"], options.files[0]
    else:
        options.first = Files(options, options.models[0], options.modes[0]).tflite
    heading(options)
    worst = {"latency": latency, "load": load, "batch": batches, "files": given}[options.what](options)
    if options.most is not None and (above := [f"{what}: {ratio:.3f}" for ratio, what in worst if ratio > options.most]):
        print("\nabove the bar: " + "; ".join(above), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
