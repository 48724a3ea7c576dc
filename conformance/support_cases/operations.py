"""Small models for the functions of `keras.ops`, which functional models record as operator nodes."""

import numpy as np

from support_cases.registry import operation

VECTOR, MATRIX, IMAGE = (6,), (4, 6), (8, 6, 4)


def unary(*names, over="x"):
    """Functions of one tensor; `over` names the range of the inputs."""
    return {name: [operation(lambda ops, x, name=name: getattr(ops, name)(x), MATRIX, names=[over])] for name in names}


def binary(*names, over="xy"):
    """Functions of two tensors, and of a tensor and a number."""
    return {
        name: [
            operation(lambda ops, x, y, name=name: getattr(ops, name)(x, y), MATRIX, MATRIX, names=over),
            operation(lambda ops, x, name=name: getattr(ops, name)(x, 0.5), MATRIX, names=over),
        ]
        for name in names
    }


def reductions(*names):
    return {
        name: [
            operation(lambda ops, x, name=name: getattr(ops, name)(x, axis=-1), MATRIX),
            operation(lambda ops, x, name=name: getattr(ops, name)(x, axis=1, keepdims=True), IMAGE),
        ]
        for name in names
    }


def truths(*names):
    """Relations, as numbers."""
    return {
        name: [operation(lambda ops, x, y, name=name: ops.cast(getattr(ops, name)(x, y), "float32"), MATRIX, MATRIX)]
        for name in names
    }


def one(compute, *shapes, names="xyz"):
    return [operation(compute, *shapes, names=names)]


def numbers(*shape):
    """A constant operand."""
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def logic(name):
    return one(
        lambda ops, x, y: ops.cast(getattr(ops, name)(ops.greater(x, 0.0), ops.less(y, 0.0)), "float32"), MATRIX, MATRIX
    )


CASES = {
    **unary(
        *"abs,absolute,arctan,arcsinh,ceil,celu,conj,conjugate,copy,cos,cosh,deg2rad,elu,erf,erfc,exp,exp2,expm1".split(
            ","
        ),
        *"fabs,floor,gelu,hard_shrink,hard_sigmoid,hard_silu,hard_swish,hard_tanh,leaky_relu,log_sigmoid".split(","),
        *"log_softmax,nan_to_num,negative,rad2deg,real,relu,relu6,round,selu,sigmoid,sign,silu,sin,sinc,sinh".split(
            ","
        ),
        *"soft_shrink,softmax,softplus,softsign,sparse_plus,sparse_sigmoid,sparsemax,square,squareplus,stop_gradient".split(
            ","
        ),
        *"swish,tan,tanh,tanh_shrink,trunc,glu,cbrt,ones_like,zeros_like,ravel".split(","),
    ),
    **unary("arccos", "arcsin", "arctanh", "erfinv", over="unit"),
    **unary("log", "log10", "log1p", "log2", "rsqrt", "sqrt", "reciprocal", over="positive"),
    "arccosh": one(lambda ops, x: ops.arccosh(ops.add(x, 1.5)), MATRIX, names=["positive"]),
    **binary(
        "add",
        "subtract",
        "multiply",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "hypot",
        "logaddexp",
        "logaddexp2",
        "arctan2",
        "heaviside",
    ),
    **binary(
        "divide", "true_divide", "power", "floor_divide", "mod", "fmod", "divide_no_nan", over=["positive", "positive2"]
    ),
    **reductions("mean", "sum", "max", "min", "prod", "amax", "amin", "std", "var", "logsumexp", "median", "ptp"),
    **reductions("nanmax", "nanmin", "nanmean", "nansum", "nanprod", "nanstd", "nanvar"),
    **truths("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isclose"),
    **{name: logic(name) for name in ("logical_and", "logical_or", "logical_xor")},
    "logical_not": one(lambda ops, x: ops.cast(ops.logical_not(ops.greater(x, 0.0)), "float32"), MATRIX),
    "isfinite": one(lambda ops, x: ops.cast(ops.isfinite(x), "float32"), MATRIX),
    "isinf": one(lambda ops, x: ops.cast(ops.isinf(x), "float32"), MATRIX),
    "isnan": one(lambda ops, x: ops.cast(ops.isnan(x), "float32"), MATRIX),
    "signbit": one(lambda ops, x: ops.cast(ops.signbit(x), "float32"), MATRIX),
    "all": one(lambda ops, x: ops.cast(ops.all(ops.greater(x, -1.0), axis=-1), "float32"), MATRIX),
    "any": one(lambda ops, x: ops.cast(ops.any(ops.greater(x, 1.0), axis=-1), "float32"), MATRIX),
    "count_nonzero": one(lambda ops, x: ops.cast(ops.count_nonzero(ops.relu(x), axis=-1), "float32"), MATRIX),
    "threshold": one(lambda ops, x: ops.threshold(x, 0.2, -1.0), MATRIX),
    "argmax": one(lambda ops, x: ops.cast(ops.argmax(x, axis=-1), "float32"), MATRIX),
    "argmin": one(lambda ops, x: ops.cast(ops.argmin(x, axis=1, keepdims=True), "float32"), MATRIX),
    "argsort": one(lambda ops, x: ops.cast(ops.argsort(x), "float32"), MATRIX),
    "sort": one(lambda ops, x: ops.sort(x, axis=-1), MATRIX),
    "top_k": one(lambda ops, x: ops.top_k(x, 3)[0], MATRIX),
    "in_top_k": one(lambda ops, x: ops.cast(ops.in_top_k(ops.zeros((3,), "int32"), x, 2), "float32"), VECTOR),
    "average": one(lambda ops, x: ops.average(x, axis=-1), MATRIX),
    "norm": [
        operation(lambda ops, x: ops.norm(x, axis=-1), MATRIX),
        operation(lambda ops, x: ops.norm(x, ord=1, axis=-1, keepdims=True), MATRIX),
        operation(lambda ops, x: ops.norm(x, ord="inf", axis=-1), MATRIX),
    ],
    "normalize": [
        operation(lambda ops, x: ops.normalize(x, axis=-1), MATRIX),
        operation(lambda ops, x: ops.normalize(x, axis=1, order=1), MATRIX),
    ],
    "moments": one(lambda ops, x: ops.moments(x, axes=[1]), MATRIX),
    "clip": one(lambda ops, x: ops.clip(x, -0.5, 0.7), MATRIX),
    "cast": one(lambda ops, x: ops.cast(ops.cast(x, "int32"), "float32"), MATRIX),
    "saturate_cast": one(lambda ops, x: ops.cast(ops.saturate_cast(x, "int32"), "float32"), MATRIX),
    "where": one(lambda ops, x, y: ops.where(ops.greater(x, 0.0), x, y), MATRIX, MATRIX),
    "select": one(lambda ops, x, y: ops.select([ops.greater(x, 0.0), ops.less(y, 0.0)], [x, y], 0.5), MATRIX, MATRIX),
    # Shapes
    "get_item": [
        operation(lambda ops, x: x[:, 1:3, ::2], MATRIX),
        operation(lambda ops, x: x[..., -1], MATRIX),
        operation(lambda ops, x: x[:, None, 2], MATRIX),
    ],
    "concatenate": one(lambda ops, x, y: ops.concatenate([x, y], axis=-1), MATRIX, MATRIX),
    "append": one(lambda ops, x, y: ops.append(x, y, axis=1), MATRIX, MATRIX),
    "stack": one(lambda ops, x, y: ops.stack([x, y], axis=1), MATRIX, MATRIX),
    "unstack": one(lambda ops, x: ops.unstack(x, axis=1), MATRIX),
    "split": [
        operation(lambda ops, x: ops.split(x, 3, axis=-1), MATRIX),
        operation(lambda ops, x: ops.split(x, [1, 4], axis=2), MATRIX),
    ],
    "array_split": one(lambda ops, x: ops.array_split(x, 4, axis=-1), MATRIX),
    "hsplit": one(lambda ops, x: ops.hsplit(x, 2), MATRIX),
    "dsplit": one(lambda ops, x: ops.dsplit(x, 2), MATRIX),
    "hstack": one(lambda ops, x, y: ops.hstack([x, y]), MATRIX, MATRIX),
    "dstack": one(lambda ops, x, y: ops.dstack([x, y]), MATRIX, MATRIX),
    "reshape": [
        operation(lambda ops, x: ops.reshape(x, (-1, 6, 4)), MATRIX),
        operation(lambda ops, x: ops.reshape(x, (-1, 24)), MATRIX),
    ],
    "transpose": one(lambda ops, x: ops.transpose(x, (0, 2, 1)), MATRIX),
    "swapaxes": one(lambda ops, x: ops.swapaxes(x, 1, 2), MATRIX),
    "moveaxis": one(lambda ops, x: ops.moveaxis(x, 1, -1), IMAGE),
    "expand_dims": one(lambda ops, x: ops.expand_dims(x, axis=1), MATRIX),
    "squeeze": one(lambda ops, x: ops.squeeze(x, axis=1), (1, 5)),
    "tile": one(lambda ops, x: ops.tile(x, (1, 2, 3)), MATRIX),
    "repeat": one(lambda ops, x: ops.repeat(x, 2, axis=1), MATRIX),
    "flip": one(lambda ops, x: ops.flip(x, axis=1), MATRIX),
    "fliplr": one(lambda ops, x: ops.fliplr(x), MATRIX),
    "roll": one(lambda ops, x: ops.roll(x, 2, axis=1), MATRIX),
    "rot90": one(lambda ops, x: ops.rot90(x, axes=(1, 2)), MATRIX),
    "pad": [
        operation(lambda ops, x: ops.pad(x, ((0, 0), (1, 2), (0, 1))), MATRIX),
        operation(lambda ops, x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), mode="reflect"), MATRIX),
        operation(lambda ops, x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=2.0), MATRIX),
    ],
    "take": one(lambda ops, x: ops.take(x, [2, 0, 0], axis=1), MATRIX),
    "take_along_axis": one(
        lambda ops, x: ops.take_along_axis(x, ops.argmax(x, axis=-1, keepdims=True), axis=-1), MATRIX
    ),
    "tril": one(lambda ops, x: ops.tril(x), MATRIX),
    "triu": one(lambda ops, x: ops.triu(x, k=1), MATRIX),
    "diagonal": one(lambda ops, x: ops.diagonal(x, axis1=1, axis2=2), MATRIX),
    "trace": one(lambda ops, x: ops.trace(x, axis1=1, axis2=2), (4, 4)),
    "diff": one(lambda ops, x: ops.diff(x, axis=1), MATRIX),
    "cumsum": one(lambda ops, x: ops.cumsum(x, axis=1), MATRIX),
    "cumprod": one(lambda ops, x: ops.cumprod(x, axis=1), MATRIX),
    "full_like": one(lambda ops, x: ops.full_like(x, 0.5), MATRIX),
    "one_hot": one(lambda ops, x: ops.one_hot(ops.cast(x, "int32"), 11), VECTOR, names=["ids"]),
    "multi_hot": one(lambda ops, x: ops.multi_hot(ops.cast(x, "int32"), 11), VECTOR, names=["ids"]),
    "digitize": one(lambda ops, x: ops.cast(ops.digitize(x, np.array([-0.5, 0.5])), "float32"), VECTOR),
    "depth_to_space": one(lambda ops, x: ops.depth_to_space(x, 2), IMAGE),
    "space_to_depth": one(lambda ops, x: ops.space_to_depth(x, 2), IMAGE),
    "meshgrid": one(lambda ops, x: ops.meshgrid(x, x), VECTOR),
    # Products
    "matmul": [
        operation(lambda ops, x, y: ops.matmul(x, y), MATRIX, (6, 3)),
        operation(lambda ops, x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), MATRIX),
    ],
    "einsum": [
        operation(lambda ops, x, y: ops.einsum("bij,bjk->bik", x, y), MATRIX, (6, 3)),
        operation(lambda ops, x, y: ops.einsum("bqhd,bkhd->bhqk", x, y), (4, 2, 3), (5, 2, 3)),
        operation(lambda ops, x: ops.einsum("bij->bji", x), MATRIX),
    ],
    "dot": one(lambda ops, x: ops.dot(x, numbers(6, 3)), MATRIX),
    "tensordot": one(lambda ops, x: ops.tensordot(x, numbers(4, 6, 3), axes=([1, 2], [0, 1])), MATRIX),
    "cross": one(lambda ops, x, y: ops.cross(x, y), (4, 3), (4, 3)),
    "dot_product_attention": one(lambda ops, x, y: ops.dot_product_attention(x, y, y), (4, 2, 3), (5, 2, 3)),
    # Images and networks
    "max_pool": one(lambda ops, x: ops.max_pool(x, 2), IMAGE),
    "average_pool": one(lambda ops, x: ops.average_pool(x, 2, padding="same"), IMAGE),
    "adaptive_average_pool": one(lambda ops, x: ops.adaptive_average_pool(x, (3, 3)), IMAGE),
    "adaptive_max_pool": one(lambda ops, x: ops.adaptive_max_pool(x, (3, 3)), IMAGE),
    "rms_normalization": one(lambda ops, x: ops.rms_normalization(x), MATRIX),
    "layer_normalization": one(lambda ops, x: ops.layer_normalization(x), MATRIX),
    "image.resize": one(lambda ops, x: ops.image.resize(x, (5, 9)), IMAGE),
    "image.rgb_to_grayscale": one(lambda ops, x: ops.image.rgb_to_grayscale(x), (8, 6, 3)),
    "image.pad_images": one(lambda ops, x: ops.image.pad_images(x, 1, 2, 3, 4), IMAGE),
    "image.crop_images": one(lambda ops, x: ops.image.crop_images(x, 1, 2, None, None, 4, 3), IMAGE),
    "image.extract_patches": one(lambda ops, x: ops.image.extract_patches(x, 2), IMAGE),
    "unfold": one(lambda ops, x: ops.unfold(x, 2), (4, 6, 5)),
}
