"""Layers with state, and what wraps them."""

from support_cases.registry import Case, layer, steps

SEQUENCE = (6, 4)


def with_state(make, states):
    """Sequences, states and an initial state."""

    def build(k):
        x = k.Input(SEQUENCE, name="x")
        initial = [k.Input((5,), name=f"h{i}") for i in range(states)]
        return k.Model([x, *initial], make(k)(x, initial_state=initial))

    return Case(build, "initial and final state")


def cells(make):
    """A cell by itself is a layer of RNN."""
    return [layer(lambda k: k.layers.RNN(make(k)), SEQUENCE, note="in RNN")]


CASES = {
    "LSTM": [
        layer(lambda k: k.layers.LSTM(5), SEQUENCE),
        layer(lambda k: k.layers.LSTM(5, return_sequences=True, go_backwards=True), SEQUENCE),
        layer(lambda k: k.layers.LSTM(5, activation="relu", recurrent_activation="hard_sigmoid"), SEQUENCE),
        layer(lambda k: k.layers.LSTM(5), (None, 4), note="open length"),
        with_state(lambda k: k.layers.LSTM(5, return_state=True, return_sequences=True), 2),
        steps(lambda k: k.layers.LSTM(5)),
    ],
    "GRU": [
        layer(lambda k: k.layers.GRU(5), SEQUENCE),
        layer(lambda k: k.layers.GRU(5, reset_after=False, return_sequences=True), SEQUENCE),
        with_state(lambda k: k.layers.GRU(5, return_state=True), 1),
        steps(lambda k: k.layers.GRU(5)),
    ],
    "SimpleRNN": [
        layer(lambda k: k.layers.SimpleRNN(5), SEQUENCE),
        layer(lambda k: k.layers.SimpleRNN(5, return_sequences=True, activation="relu"), SEQUENCE),
        steps(lambda k: k.layers.SimpleRNN(5)),
    ],
    "RNN": cells(lambda k: k.layers.GRUCell(5)),
    "LSTMCell": cells(lambda k: k.layers.LSTMCell(5)),
    "GRUCell": cells(lambda k: k.layers.GRUCell(5)),
    "SimpleRNNCell": cells(lambda k: k.layers.SimpleRNNCell(5)),
    "StackedRNNCells": cells(lambda k: k.layers.StackedRNNCells([k.layers.LSTMCell(5), k.layers.LSTMCell(3)])),
    "Bidirectional": [
        layer(lambda k: k.layers.Bidirectional(k.layers.LSTM(5)), SEQUENCE),
        layer(lambda k: k.layers.Bidirectional(k.layers.GRU(5, return_sequences=True), merge_mode="sum"), SEQUENCE),
        steps(lambda k: k.layers.Bidirectional(k.layers.LSTM(5, return_sequences=True))),
    ],
    "ConvLSTM1D": [layer(lambda k: k.layers.ConvLSTM1D(3, 2), (4, 6, 2))],
    "ConvLSTM2D": [
        layer(lambda k: k.layers.ConvLSTM2D(3, 2, padding="same", return_sequences=True), (3, 6, 5, 2)),
    ],
    "ConvLSTM3D": [layer(lambda k: k.layers.ConvLSTM3D(2, 2), (3, 4, 4, 4, 2))],
}
