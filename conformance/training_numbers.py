"""Losses, metrics, schedules and optimizers as Keras computes them: the numbers of crates/train/tests/keras.json.

    conformance/.venv/bin/python conformance/training_numbers.py           compares the file with what Keras computes
    conformance/.venv/bin/python conformance/training_numbers.py --write   writes it anew

`cargo test -p litesmith-train` compares our numbers with those of the file: losses, gradients, parameters and
slots to 1e-6 of the largest number beside them. Keras runs on TensorFlow, eagerly, in single precision.
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf

FILE = pathlib.Path(__file__).parents[1] / "crates/train/tests/keras.json"
random = np.random.default_rng(7)


def numbers(array):
    """The shortest decimals that are these single-precision numbers."""
    return [float(str(np.float32(x))) for x in np.asarray(array).ravel()]


def short(array):
    """Single-precision numbers of few digits."""
    return np.round(np.asarray(array), 3).astype(np.float32)


def serialized(thing):
    return thing if isinstance(thing, str) else keras.saving.serialize_keras_object(thing)


def probabilities(*shape):
    x = short(random.dirichlet(np.ones(shape[-1]), shape[:-1]))
    x.reshape(-1, shape[-1])[0, :2] = [0.0, 1.0]
    return x


def one_hot(rows, classes):
    return np.eye(classes, dtype=np.float32)[random.integers(0, classes, rows)]


def loss_case(loss, predictions, targets, weights=None, activation=None, options=None):
    """With an activation, predictions are its inputs, which Keras finds behind its output."""
    watched = tf.constant(predictions)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        output = activation(watched) if activation else watched
        value = loss(targets, output, sample_weight=weights)
    form = serialized(loss)
    form["config"].update(options or {})
    return {
        "loss": form,
        "through_activation": activation is not None,
        **batch(predictions, targets, weights),
        "value": numbers(value)[0],
        "gradient": numbers(tape.gradient(value, watched)),
    }


def batch(predictions, targets, weights):
    return {
        "shape": list(predictions.shape),
        "predictions": numbers(predictions),
        "target_shape": list(targets.shape),
        "targets": numbers(targets),
        "weights": None if weights is None else numbers(weights),
    }


def losses():
    l = keras.losses
    weights = short(random.uniform(0.2, 2, 6))
    labels = random.integers(0, 5, 6).astype(np.float32)
    logits = short(random.normal(0, 3, (6, 5)))
    image = short(random.normal(0, 2, (2, 3, 4, 5)))
    pixels = random.integers(0, 5, (2, 3, 4)).astype(np.float32)
    pixels[0, 1] = 255
    some = lambda: short(random.normal(0, 1, (6, 4)))
    positive = lambda: short(random.uniform(0, 2, (6, 4)))
    binary = random.integers(0, 2, (6, 4)).astype(np.float32)
    softmax, sigmoid = keras.activations.softmax, keras.activations.sigmoid
    sparse, categorical, bce = (
        l.SparseCategoricalCrossentropy,
        l.CategoricalCrossentropy,
        l.BinaryCrossentropy,
    )
    yield loss_case(sparse(), probabilities(6, 5), labels)
    yield loss_case(sparse(from_logits=True), logits, labels, weights)
    yield loss_case(sparse(), logits, labels[:, None], weights, activation=softmax)
    yield loss_case(sparse(from_logits=True, ignore_class=255), image, pixels)
    yield loss_case(sparse(ignore_class=255, reduction="sum"), probabilities(2, 3, 4, 5), pixels)
    yield loss_case(sparse(from_logits=True, reduction="mean_with_sample_weight"), logits, labels, weights)
    yield loss_case(categorical(label_smoothing=0.1), probabilities(6, 5), one_hot(6, 5))
    yield loss_case(categorical(), 3 * probabilities(6, 5), one_hot(6, 5), weights)
    yield loss_case(categorical(from_logits=True, label_smoothing=0.2), logits, one_hot(6, 5))
    yield loss_case(categorical(from_logits=True), logits, short(random.uniform(0, 1, (6, 5))))
    yield loss_case(categorical(), logits, one_hot(6, 5), activation=softmax)
    yield loss_case(bce(), short(random.uniform(-0.05, 1.05, (6, 4))), binary)
    yield loss_case(bce(label_smoothing=0.1), short(random.uniform(0, 1, (6, 1))), binary[:, 0], weights)
    yield loss_case(bce(from_logits=True), short(random.normal(0, 9, (6, 4))), binary)
    yield loss_case(bce(), short(random.normal(0, 9, (6, 1))), binary[:, 0], activation=sigmoid)
    for kind in [l.MeanSquaredError, l.MeanAbsoluteError, l.MeanAbsolutePercentageError, l.LogCosh, l.CosineSimilarity]:
        yield loss_case(kind(), some(), some(), weights)
    yield loss_case(l.MeanSquaredError(reduction="sum"), some()[:, :1], some()[:, 0])
    yield loss_case(l.MeanSquaredError(), short(random.normal(0, 1, (2, 3, 1))), short(random.normal(0, 1, (2, 3))))
    yield loss_case(l.MeanSquaredLogarithmicError(), positive() - np.float32(0.5), positive())
    yield loss_case(l.Huber(), some() * 2, some())
    # Keras does not write down delta.
    yield loss_case(l.Huber(delta=0.5), some(), some(), weights, options={"delta": 0.5})
    yield loss_case(l.KLDivergence(), probabilities(6, 5), probabilities(6, 5), weights)
    yield loss_case(l.Poisson(), positive(), positive())
    for kind in [l.Hinge, l.SquaredHinge]:
        yield loss_case(kind(), some(), binary)
        yield loss_case(kind(), some(), 2 * binary - 1, weights)
    yield loss_case(l.CategoricalHinge(), some(), one_hot(6, 4), weights)


def metric_case(metric, batches):
    form = metric if isinstance(metric, str) else serialized(metric)
    model = keras.src.trainers.compile_utils.get_metric(metric, batches[0][1], batches[0][0])
    for predictions, targets, weights in batches:
        model.update_state(targets, predictions, weights)
    return {"metric": form, "batches": [batch(*b) for b in batches], "result": numbers(model.result())[0]}


def metrics():
    m = keras.metrics
    weights = short(random.uniform(0.2, 2, 8))
    scores = [short(random.uniform(0, 1, (8, 6))) for _ in range(2)]
    scores[0][:, 2] = scores[0][:, 4]
    labels = [random.integers(0, 6, 8).astype(np.float32) for _ in range(2)]
    rows = [one_hot(8, 6) for _ in range(2)]
    binary = [random.integers(0, 2, 8).astype(np.float32) for _ in range(2)]
    twice = lambda p, t, w=None: [(p[0], t[0], w), (p[1], t[1], w)]
    for w in [None, weights]:
        yield metric_case("accuracy", twice(scores, labels, w))
        yield metric_case("accuracy", twice(scores, rows, w))
        yield metric_case("acc", twice([s[:, :1] for s in scores], binary, w))
    yield metric_case("accuracy", [(scores[0].reshape(2, 4, 6), labels[0].reshape(2, 4), weights[:2])])
    yield metric_case("accuracy", [(scores[0].reshape(2, 4, 6), labels[0].reshape(2, 4), weights.reshape(2, 4))])
    yield metric_case(m.BinaryAccuracy(threshold=0.3), [(scores[0], rows[0], weights)])
    yield metric_case(m.SparseTopKCategoricalAccuracy(k=2), twice(scores, labels))
    yield metric_case(m.TopKCategoricalAccuracy(k=3), twice(scores, rows, weights))
    yield metric_case(m.RootMeanSquaredError(), twice(scores, rows, weights))
    yield metric_case(m.Accuracy(), [(np.round(scores[0]), rows[0], None)])
    chances = [short(random.uniform(0, 1, (8, 1))) for _ in range(2)]
    chances[0][:3, 0] = [0.0, 0.5, 1.0]
    columns = [b[:, None] for b in binary]
    for metric in [m.Precision(), m.Precision(thresholds=0.3), m.Recall(), m.Recall(thresholds=[0.7]), m.AUC()]:
        yield metric_case(metric, twice(chances, columns, weights))
    yield metric_case(m.AUC(num_thresholds=11, curve="PR"), twice(chances, columns))
    yield metric_case(m.AUC(num_thresholds=5), twice(scores, rows))
    yield metric_case(m.AUC(from_logits=True), twice([4 * (c - 0.5) for c in chances], columns))
    for name in ["mse", "mae", "kl_divergence", "cosine_similarity", "categorical_crossentropy"]:
        yield metric_case(name, twice(scores, rows, weights))


def schedules():
    s = keras.optimizers.schedules
    all_of_them = [
        s.ExponentialDecay(0.1, 7, 0.9),
        s.ExponentialDecay(0.1, 7, 0.9, staircase=True),
        s.PiecewiseConstantDecay([5, 20], [0.1, 0.01, 0.001]),
        s.PolynomialDecay(0.1, 30, 0.01, power=0.5),
        s.PolynomialDecay(0.1, 10, cycle=True),
        s.InverseTimeDecay(0.1, 7, 0.5),
        s.InverseTimeDecay(0.1, 7, 0.5, staircase=True),
        s.CosineDecay(0.1, 30, alpha=0.1),
        s.CosineDecay(0.0, 20, warmup_target=0.1, warmup_steps=10),
        s.CosineDecayRestarts(0.1, 4, t_mul=2.0, m_mul=0.9, alpha=0.01),
        s.CosineDecayRestarts(0.1, 5, t_mul=1.0),
        s.CosineDecayRestarts(0.1, 6, t_mul=1.5, m_mul=0.8),
    ]
    for schedule in all_of_them:
        steps = list(range(64))
        yield {"schedule": serialized(schedule), "rates": numbers([schedule(step) for step in steps])}


KEPT_STEPS = [1, 2, 3, 10, 40]
SIZES = [5, 7]


def optimizer_case(optimizer, start, gradients, regularizers):
    variables = [keras.Variable(value, name=f"w{i}") for i, value in enumerate(start)]
    form = serialized(optimizer)
    kept = []
    for step, own in enumerate(gradients, 1):
        with tf.GradientTape() as tape:
            terms = [tf.reduce_sum(g * v.value) for g, v in zip(own, variables)]
            terms += [r(v.value) for r, v in zip(regularizers, variables) if r]
            loss = tf.add_n(terms)
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        if step in KEPT_STEPS:
            kept.append([numbers(v) for v in variables])
    slots = {v.name: numbers(v) for v in optimizer.variables if v.name[0] == "w"}
    return {
        "optimizer": form,
        "regularizers": [r and {"l1": float(getattr(r, "l1", 0)), "l2": float(getattr(r, "l2", 0))} for r in regularizers],
        "parameters": kept,
        "slots": slots,
    }


def optimizers():
    o, s, r = keras.optimizers, keras.optimizers.schedules, keras.regularizers
    start = [short(random.normal(0, 1, size)) for size in SIZES]
    gradients = [[short(random.normal(0, 1, size)) for size in SIZES] for _ in range(max(KEPT_STEPS))]
    none = [None] * len(SIZES)
    cases = [
        (o.SGD(), none),
        (o.SGD(0.1, momentum=0.9), none),
        (o.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01), none),
        (o.SGD(0.1, clipvalue=0.5), [r.L1(0.01), r.L2(0.02)]),
        (o.SGD(s.CosineDecay(0.1, 30), momentum=0.5, global_clipnorm=1.5), none),
        (o.RMSprop(), none),
        (o.RMSprop(0.01, rho=0.8, momentum=0.9, centered=True, epsilon=1e-3), none),
        (o.RMSprop(0.01, centered=True, clipnorm=1.0), [r.L1L2(0.01, 0.02), None]),
        (o.RMSprop(0.01, momentum=0.5, weight_decay=0.1), none),
        (o.Adam(), none),
        (o.Adam(0.1, beta_1=0.8, beta_2=0.95, epsilon=1e-4), none),
        (o.Adam(0.01, amsgrad=True, clipnorm=1.0), [r.L2(0.1), r.L1(0.1)]),
        (o.Adam(s.ExponentialDecay(0.1, 5, 0.7), weight_decay=0.02, clipvalue=0.4), none),
        (o.AdamW(), none),
        (o.AdamW(0.05, weight_decay=0.1, amsgrad=True, global_clipnorm=0.7), [r.L2(0.1), None]),
    ]
    return {
        "start": [numbers(value) for value in start],
        "gradients": [[numbers(g) for g in own] for own in gradients],
        "kept_steps": KEPT_STEPS,
        "cases": [optimizer_case(optimizer, start, gradients, own) for optimizer, own in cases],
    }


def differs(path, ours, theirs):
    """Where two values of JSON differ, numbers by more than rounding."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return next(filter(None, (differs(f"{path}/{key}", ours[key], theirs[key]) for key in ours)), None)
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return next(filter(None, (differs(f"{path}/{i}", *both) for i, both in enumerate(zip(ours, theirs)))), None)
    if isinstance(ours, float) and isinstance(theirs, float):
        return None if abs(ours - theirs) <= 1e-6 + 1e-5 * abs(theirs) else path
    return None if ours == theirs else path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the file anew")
    options = parser.parse_args()
    made = {
        "source": f"conformance/training_numbers.py, Keras {keras.__version__}, TensorFlow {tf.__version__}",
        "losses": list(losses()),
        "metrics": list(metrics()),
        "schedules": list(schedules()),
        "optimizers": optimizers(),
    }
    if options.write:
        FILE.write_text(json.dumps(made).replace('}, {"', '},\n{"') + "\n")
        return
    made = json.loads(json.dumps(made))
    kept = json.loads(FILE.read_text())
    made.pop("source"), kept.pop("source")
    place = differs("", made, kept)
    if place:
        raise SystemExit(f"Keras now computes something else at {place}")
    print("as Keras computes it")


if __name__ == "__main__":
    main()
