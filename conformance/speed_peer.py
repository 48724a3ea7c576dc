#!/usr/bin/env python3
"""One peer that runs one model: the other side of speed.py, a process of its own so that nobody waits for its threads.

    speed_peer.py PEER MODEL THREADS INPUT.npz BATCH

Says `ready LOAD_MS` on standard output, then reads numbers of runs, one a line, and answers each with the milliseconds
of so many runs, after one that does not count. Real inputs go to a model with integer inputs quantized. Where INPUT is
`-`, LiteRT gets seeded numbers, whatever the model's inputs are.
"""

import json
import sys
import time

import numpy as np


def first_samples(path, batch):
    if path == "-":
        return None
    with np.load(path) as arrays:
        values = arrays[arrays.files[0]]
    return np.ascontiguousarray(np.resize(values, (batch, *values.shape[1:])), np.float32)


def litert(path, threads, samples):
    from ai_edge_litert.interpreter import Interpreter

    start = time.perf_counter()
    interpreter = Interpreter(path, num_threads=threads)
    index = interpreter.get_input_details()[0]["index"]
    if samples is not None and len(samples) != 1:
        interpreter.resize_tensor_input(index, samples.shape)
    interpreter.allocate_tensors()
    load = time.perf_counter() - start
    if samples is not None:
        interpreter.set_tensor(index, samples)
    else:
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], seeded(detail))
    return load, interpreter.invoke


def seeded(detail):
    """Numbers for an input."""
    numbers = np.random.default_rng(0)
    if np.issubdtype(detail["dtype"], np.floating):
        return numbers.uniform(-1, 1, detail["shape"]).astype(detail["dtype"])
    return numbers.integers(0, 100, detail["shape"]).astype(detail["dtype"])


def onnxruntime(path, threads, samples):
    import onnxruntime as ort

    start = time.perf_counter()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    load = time.perf_counter() - start
    feeds = {session.get_inputs()[0].name: samples}
    return load, lambda: session.run(None, feeds)


def openvino(path, threads, samples):
    import openvino as ov

    start = time.perf_counter()
    core = ov.Core()
    model = core.read_model(path)
    model.reshape(list(samples.shape))
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Without this it computes in bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    load = time.perf_counter() - start
    request.set_input_tensor(ov.Tensor(samples))
    return load, request.infer


PEERS = {"LiteRT": litert, "ONNX Runtime": onnxruntime, "OpenVINO": openvino}


def main():
    peer, path, threads, data, batch = sys.argv[1:]
    load, run = PEERS[peer](path, int(threads), first_samples(data, int(batch)))
    for _ in range(3):
        run()
    print("ready", load * 1e3, flush=True)
    for line in sys.stdin:
        run()
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
