"""Embeddings, attention and layers along time."""

from layer_models.registry import case


@case
def embedding(k):
    a = k.Input((7,), name="ids")
    x = k.layers.Embedding(20, 6)(a)
    return k.Model(a, k.layers.Dense(3)(k.layers.GlobalAveragePooling1D()(x)))


@case
def time_distributed(k):
    a = k.Input((5, 6, 7, 3), name="frames")
    x = k.layers.TimeDistributed(k.layers.Conv2D(4, 3, activation="relu"))(a)
    x = k.layers.TimeDistributed(k.layers.Flatten())(x)
    return k.Model(a, k.layers.TimeDistributed(k.layers.Dense(3))(x))


@case
def attention(k):
    a, b = k.Input((5, 6), name="query"), k.Input((7, 6), name="value")
    return k.Model([a, b], [k.layers.Attention()([a, b]), k.layers.AdditiveAttention()([a, b])])


@case
def multi_head_attention(k):
    a = k.Input((5, 8), name="sequence")
    x = k.layers.MultiHeadAttention(num_heads=2, key_dim=4)(a, a)
    return k.Model(a, k.layers.LayerNormalization()(k.layers.Add()([a, x])))
