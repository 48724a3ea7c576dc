"""Recurrent layers: cells, directions, states, masks, fixed and free numbers of steps."""

from layer_models.registry import case


@case
def lstm(k):
    a = k.Input((6, 5), name="sequence")
    return k.Model(a, k.layers.LSTM(4)(k.layers.LSTM(7, return_sequences=True)(a)))


@case
def lstm_loop(k):
    a = k.Input((40, 5), name="sequence")
    x = k.layers.LSTM(7, return_sequences=True, go_backwards=True)(a)
    return k.Model(a, k.layers.LSTM(4, activation="relu", recurrent_activation="hard_sigmoid", use_bias=False)(x))


@case
def lstm_unrolled(k):
    a = k.Input((35, 3), name="sequence")
    return k.Model(a, k.layers.LSTM(4, unroll=True, activation="softsign", dropout=0.2, recurrent_dropout=0.1)(a))


@case
def lstm_states(k):
    a = k.Input((6, 5), name="sequence")
    h, c = k.Input((4,), name="hidden"), k.Input((4,), name="cell")
    x, h1, c1 = k.layers.LSTM(4, return_sequences=True, return_state=True)(a, initial_state=[h, c])
    y = k.layers.LSTM(4)(x, initial_state=[h1, c1])
    return k.Model([a, h, c], [x, h1, c1, y])


@case
def encoder_decoder(k):
    a, b = k.Input((40, 5), name="source"), k.Input((4, 3), name="target")
    _, state = k.layers.GRU(6, return_state=True)(a)
    return k.Model([a, b], k.layers.GRU(6, return_sequences=True)(b, initial_state=state))


@case
def gru(k):
    a = k.Input((6, 5), name="sequence")
    x = k.layers.GRU(7, return_sequences=True)(a)
    return k.Model(a, k.layers.GRU(4, reset_after=False, go_backwards=True)(x))


@case
def gru_loop(k):
    a = k.Input((33, 5), name="sequence")
    x = k.layers.GRU(7, return_sequences=True, reset_after=False)(a)
    x = k.layers.GRU(6, return_sequences=True, use_bias=False)(x)
    return k.Model(a, k.layers.GRU(4, go_backwards=True)(x))


@case
def simple_rnn(k):
    a = k.Input((6, 5), name="sequence")
    return k.Model(a, k.layers.SimpleRNN(4)(a))


@case
def simple_rnn_loop(k):
    a = k.Input((50, 5), name="sequence")
    x, h = k.layers.SimpleRNN(4, activation="linear", return_sequences=True, return_state=True)(a)
    return k.Model(a, [x, h])


@case
def rnn_cells(k):
    a = k.Input((6, 5), name="sequence")
    x = k.layers.RNN(k.layers.LSTMCell(4), return_sequences=True)(a)
    x = k.layers.RNN(k.layers.GRUCell(5, reset_after=False), return_sequences=True)(x)
    return k.Model(a, k.layers.RNN(k.layers.SimpleRNNCell(3), go_backwards=True)(x))


@case
def rnn_stack(k):
    a = k.Input((6, 5), name="sequence")
    cells = [k.layers.LSTMCell(4), k.layers.GRUCell(6), k.layers.SimpleRNNCell(3)]
    return k.Model(a, k.layers.RNN(cells, return_sequences=True, go_backwards=True)(a))


@case
def bidirectional(k):
    a = k.Input((6, 5), name="sequence")
    x = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True))(a)
    return k.Model(a, k.layers.Bidirectional(k.layers.GRU(3), merge_mode="sum")(x))


@case
def bidirectional_merges(k):
    a = k.Input((6, 5), name="sequence")
    outputs = [
        k.layers.Bidirectional(k.layers.GRU(3, return_sequences=True), merge_mode=mode)(a) for mode in ("mul", "ave")
    ]
    both = k.layers.Bidirectional(k.layers.SimpleRNN(3), merge_mode=None)(a)
    other = k.layers.LSTM(2, go_backwards=True, return_sequences=True, activation="relu")
    mixed = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True), backward_layer=other)(a)
    return k.Model(a, [*outputs, *both, mixed])


@case
def bidirectional_states(k):
    a = k.Input((40, 5), name="sequence")
    return k.Model(a, k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True, return_state=True))(a))


@case
def recurrent_free_time(k):
    a = k.Input((None, 5), name="sequence")
    x = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True))(a)
    x = k.layers.GRU(6, return_sequences=True)(x)
    return k.Model(a, [x, k.layers.SimpleRNN(3)(x)])


@case
def recurrent_masked_ids(k):
    a = k.Input((7,), name="ids")
    x = k.layers.Embedding(20, 6, mask_zero=True)(a)
    x = k.layers.LSTM(5, return_sequences=True)(x)
    x = k.layers.GRU(4, return_sequences=True, go_backwards=True)(x)
    return k.Model(a, [x, k.layers.SimpleRNN(3)(x)])


@case
def recurrent_masked_loop(k):
    a = k.Input((None, 2), name="gaps")
    x = k.layers.Masking()(a)
    x = k.layers.Bidirectional(k.layers.GRU(4, return_sequences=True))(x)
    return k.Model(a, [x, k.layers.LSTM(3)(x), k.layers.Bidirectional(k.layers.LSTM(3))(x)])


@case
def recurrent_masked_states(k):
    a, h = k.Input((7, 2), name="gaps"), k.Input((3,), name="hidden")
    x = k.layers.Masking()(a)
    sequence, state = k.layers.GRU(3, return_sequences=True, return_state=True)(x, initial_state=h)
    last = k.layers.SimpleRNN(3)(x, initial_state=h)
    return k.Model([a, h], [sequence, state, last])


@case
def recurrent_masked_stack(k):
    a = k.Input((7, 2), name="gaps")
    x = k.layers.Masking()(a)
    cells = [k.layers.LSTMCell(4), k.layers.GRUCell(6)]
    return k.Model(a, k.layers.RNN(cells, go_backwards=True, zero_output_for_mask=True, return_sequences=True)(x))


@case
def conv_lstm(k):
    a = k.Input((4, 7, 8, 3), name="frames")
    x = k.layers.ConvLSTM2D(5, 3, padding="same", return_sequences=True, go_backwards=True)(a)
    return k.Model(a, k.layers.ConvLSTM2D(4, (2, 3), strides=2, recurrent_activation="hard_sigmoid")(x))


@case
def conv_lstm_1d(k):
    a = k.Input((4, 9, 3), name="frames")
    x, h, c = k.layers.ConvLSTM1D(5, 3, dilation_rate=2, use_bias=False, return_sequences=True, return_state=True)(a)
    return k.Model(a, [x, h, c, k.layers.ConvLSTM1D(5, 3, padding="same")(x, initial_state=[h, c])])


@case
def conv_lstm_3d(k):
    a = k.Input((3, 4, 5, 6, 2), name="frames")
    return k.Model(a, k.layers.ConvLSTM3D(3, 2, activation="relu")(a))


@case
def conv_lstm_both_ways(k):
    a = k.Input((3, 5, 6, 2), name="frames")
    x = k.layers.Bidirectional(k.layers.ConvLSTM2D(3, 3, return_sequences=True))(a)
    return k.Model(a, k.layers.TimeDistributed(k.layers.GlobalAveragePooling2D())(x))
