//! The part of TFLite's schema (version 3) that is read and written: which slot of which table holds
//! what, and the numbers that stand for operators, types and choices.

use litesmith_graph::DType;
use litesmith_graph::ops::Activation;

/// Bytes 4 to 8 of every file.
pub const IDENTIFIER: &[u8; 4] = b"TFL3";

/// The schema's version.
pub const VERSION: u32 = 3;

/// The metadata entry that names the oldest runtime able to run a file.
pub const MIN_RUNTIME_VERSION: &str = "min_runtime_version";

/// A builtin operator by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Builtin(pub i32);

macro_rules! builtins {
    ($($name:ident = $code:literal,)*) => {
        impl Builtin {
            $(pub const $name: Builtin = Builtin($code);)*

            #[cfg(test)]
            const NAMED: &[(Builtin, &str)] = &[$((Builtin::$name, stringify!($name)),)*];
        }
    };
}

builtins! {
    ABS = 101,
    ADD = 0,
    ADD_N = 106,
    ARG_MAX = 56,
    ARG_MIN = 79,
    ASSIGN_VARIABLE = 144,
    AVERAGE_POOL_2D = 1,
    BATCH_MATMUL = 126,
    BATCH_TO_SPACE_ND = 37,
    BROADCAST_ARGS = 145,
    BROADCAST_TO = 130,
    CALL_ONCE = 129,
    CAST = 53,
    CEIL = 104,
    CONCATENATION = 2,
    CONV_2D = 3,
    CONV_3D = 132,
    CONV_3D_TRANSPOSE = 141,
    COS = 108,
    CUMSUM = 128,
    CUSTOM = 32,
    DENSIFY = 124,
    DEPTHWISE_CONV_2D = 4,
    DEPTH_TO_SPACE = 5,
    DEQUANTIZE = 6,
    DIV = 42,
    DYNAMIC_UPDATE_SLICE = 151,
    ELU = 111,
    EMBEDDING_LOOKUP = 7,
    EQUAL = 71,
    EXP = 47,
    EXPAND_DIMS = 70,
    FILL = 94,
    FLOOR = 8,
    FLOOR_DIV = 90,
    FLOOR_MOD = 95,
    FULLY_CONNECTED = 9,
    GATHER = 36,
    GATHER_ND = 107,
    GELU = 150,
    GREATER = 61,
    GREATER_EQUAL = 62,
    HARD_SWISH = 117,
    IF = 118,
    L2_NORMALIZATION = 11,
    L2_POOL_2D = 12,
    LEAKY_RELU = 98,
    LESS = 58,
    LESS_EQUAL = 63,
    LOCAL_RESPONSE_NORMALIZATION = 13,
    LOG = 73,
    LOGICAL_AND = 86,
    LOGICAL_NOT = 87,
    LOGICAL_OR = 84,
    LOGISTIC = 14,
    LOG_SOFTMAX = 50,
    MAXIMUM = 55,
    MAX_POOL_2D = 17,
    MEAN = 40,
    MINIMUM = 57,
    MIRROR_PAD = 100,
    MUL = 18,
    NEG = 59,
    NOT_EQUAL = 72,
    ONE_HOT = 85,
    PACK = 83,
    PAD = 34,
    PADV2 = 60,
    POW = 78,
    PRELU = 54,
    QUANTIZE = 114,
    RANGE = 96,
    RANK = 110,
    READ_VARIABLE = 143,
    REDUCE_ALL = 140,
    REDUCE_ANY = 91,
    REDUCE_MAX = 82,
    REDUCE_MIN = 89,
    REDUCE_PROD = 81,
    RELU = 19,
    RELU6 = 21,
    RELU_0_TO_1 = 152,
    RELU_N1_TO_1 = 20,
    RESHAPE = 22,
    RESIZE_BILINEAR = 23,
    RESIZE_NEAREST_NEIGHBOR = 97,
    REVERSE_V2 = 105,
    ROUND = 116,
    RSQRT = 76,
    SELECT = 64,
    SELECT_V2 = 123,
    SHAPE = 77,
    SIGN = 158,
    SIN = 66,
    SLICE = 65,
    SOFTMAX = 25,
    SPACE_TO_BATCH_ND = 38,
    SPACE_TO_DEPTH = 26,
    SPLIT = 49,
    SPLIT_V = 102,
    SQRT = 75,
    SQUARE = 92,
    SQUARED_DIFFERENCE = 99,
    SQUEEZE = 43,
    STRIDED_SLICE = 45,
    SUB = 41,
    SUM = 74,
    TANH = 28,
    TILE = 69,
    TOPK_V2 = 48,
    TRANSPOSE = 39,
    TRANSPOSE_CONV = 67,
    UNPACK = 88,
    VAR_HANDLE = 142,
    WHILE = 119,
    ZEROS_LIKE = 93,
}

impl Builtin {
    /// Its name, where the number is known.
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }

    /// The operator of this name.
    pub fn from_name(name: &str) -> Option<Builtin> {
        let code = NAMES.iter().position(|known| *known == name)?;
        i32::try_from(code).ok().map(Builtin)
    }
}

/// Names of all builtin operators by their number.
#[rustfmt::skip]
const NAMES: [&str; 210] = [
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE",
    "DEQUANTIZE", "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION",
    "L2_POOL_2D", "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D",
    "MUL", "RELU", "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX",
    "SPACE_TO_DEPTH", "SVDF", "TANH", "CONCAT_EMBEDDINGS", "SKIP_GRAM", "CALL", "CUSTOM",
    "EMBEDDING_LOOKUP_SPARSE", "PAD", "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER", "BATCH_TO_SPACE_ND",
    "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB", "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2", "SPLIT", "LOG_SOFTMAX", "DELEGATE",
    "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM", "ARG_MAX", "MINIMUM", "LESS", "NEG", "PADV2",
    "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN", "TRANSPOSE_CONV", "SPARSE_TO_DENSE",
    "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT", "SHAPE", "POW", "ARG_MIN",
    "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT", "LOGICAL_AND",
    "LOGICAL_NOT", "UNPACK", "REDUCE_MIN", "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL",
    "FLOOR_MOD", "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE", "MIRROR_PAD",
    "ABS", "SPLIT_V", "UNIQUE", "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE", "RANK", "ELU",
    "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE", "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE",
    "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM",
    "BATCH_MATMUL", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM", "CALL_ONCE", "BROADCAST_TO", "RFFT2D",
    "CONV_3D", "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT",
    "HASHTABLE_SIZE", "REDUCE_ALL", "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE",
    "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL", "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL", "GELU",
    "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX",
    "UNSORTED_SEGMENT_SUM", "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN", "BITCAST", "BITWISE_XOR",
    "RIGHT_SHIFT", "STABLEHLO_LOGISTIC", "STABLEHLO_ADD", "STABLEHLO_DIVIDE", "STABLEHLO_MULTIPLY",
    "STABLEHLO_MAXIMUM", "STABLEHLO_RESHAPE", "STABLEHLO_CLAMP", "STABLEHLO_CONCATENATE",
    "STABLEHLO_BROADCAST_IN_DIM", "STABLEHLO_CONVOLUTION", "STABLEHLO_SLICE", "STABLEHLO_CUSTOM_CALL",
    "STABLEHLO_REDUCE", "STABLEHLO_ABS", "STABLEHLO_AND", "STABLEHLO_COSINE", "STABLEHLO_EXPONENTIAL",
    "STABLEHLO_FLOOR", "STABLEHLO_LOG", "STABLEHLO_MINIMUM", "STABLEHLO_NEGATE", "STABLEHLO_OR",
    "STABLEHLO_POWER", "STABLEHLO_REMAINDER", "STABLEHLO_RSQRT", "STABLEHLO_SELECT", "STABLEHLO_SUBTRACT",
    "STABLEHLO_TANH", "STABLEHLO_SCATTER", "STABLEHLO_COMPARE", "STABLEHLO_CONVERT",
    "STABLEHLO_DYNAMIC_SLICE", "STABLEHLO_DYNAMIC_UPDATE_SLICE", "STABLEHLO_PAD", "STABLEHLO_IOTA",
    "STABLEHLO_DOT_GENERAL", "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SORT", "STABLEHLO_WHILE",
    "STABLEHLO_GATHER", "STABLEHLO_TRANSPOSE", "DILATE", "STABLEHLO_RNG_BIT_GENERATOR", "REDUCE_WINDOW",
    "STABLEHLO_COMPOSITE", "STABLEHLO_SHIFT_LEFT", "STABLEHLO_CBRT", "STABLEHLO_CASE",
];

/// Numbers of element types.
const TYPES: [(i8, DType); 15] = [
    (0, DType::F32),
    (1, DType::F16),
    (2, DType::I32),
    (3, DType::U8),
    (4, DType::I64),
    (5, DType::Text),
    (6, DType::Bool),
    (7, DType::I16),
    (9, DType::I8),
    (10, DType::F64),
    (12, DType::U64),
    (13, DType::Resource),
    (15, DType::U32),
    (16, DType::U16),
    (17, DType::I4),
];

/// Element types that a model cannot hold.
const OTHER_TYPES: [(i8, &str); 8] = [
    (8, "COMPLEX64"),
    (11, "COMPLEX128"),
    (14, "VARIANT"),
    (18, "BFLOAT16"),
    (19, "INT2"),
    (20, "UINT4"),
    (21, "FLOAT8_E4M3FN"),
    (22, "FLOAT8_E5M2"),
];

/// The element type of this number.
pub fn dtype(code: i8) -> Option<DType> {
    TYPES.iter().find(|(known, _)| *known == code).map(|(_, dtype)| *dtype)
}

/// What to call the element type of a number that [`dtype`] does not know.
pub fn type_name(code: i8) -> String {
    let name = OTHER_TYPES.iter().find(|(known, _)| *known == code);
    name.map_or_else(|| format!("type {code}"), |(_, name)| (*name).to_owned())
}

/// The number of an element type.
pub fn type_code(dtype: DType) -> i8 {
    TYPES.iter().find(|(_, known)| *known == dtype).map_or(0, |(code, _)| *code)
}

/// Numbers of fused activations.
const ACTIVATIONS: [(i8, Activation); 4] =
    [(0, Activation::None), (1, Activation::Relu), (2, Activation::ReluN1To1), (3, Activation::Relu6)];

/// The fused activation of this number.
pub fn activation(code: i8) -> Option<Activation> {
    ACTIVATIONS.iter().find(|(known, _)| *known == code).map(|(_, activation)| *activation)
}

/// The number of a fused activation.
pub fn activation_code(activation: Activation) -> i8 {
    ACTIVATIONS.iter().find(|(_, known)| *known == activation).map_or(0, |(code, _)| *code)
}

/// Padding of convolutions and pools.
pub const PADDING_SAME: i8 = 0;
/// Padding of convolutions and pools.
pub const PADDING_VALID: i8 = 1;
/// Mode of mirrored padding.
pub const MIRROR_REFLECT: i8 = 0;
/// Mode of mirrored padding.
pub const MIRROR_SYMMETRIC: i8 = 1;

/// Kind of a union's table; 0 is none.
pub type UnionType = u8;

/// Slots of a table: `name { slot, … }` makes a module of constants.
macro_rules! slots {
    ($($(#[$doc:meta])* $table:ident { $($slot:ident = $number:literal),* $(,)? })*) => {
        $($(#[$doc])* pub mod $table { $(pub const $slot: usize = $number;)* })*
    };
}

slots! {
    model {
        VERSION = 0, OPERATOR_CODES = 1, SUBGRAPHS = 2, DESCRIPTION = 3, BUFFERS = 4, METADATA = 6,
        SIGNATURE_DEFS = 7,
    }
    operator_code { DEPRECATED_BUILTIN_CODE = 0, CUSTOM_CODE = 1, VERSION = 2, BUILTIN_CODE = 3 }
    subgraph { TENSORS = 0, INPUTS = 1, OUTPUTS = 2, OPERATORS = 3, NAME = 4 }
    tensor {
        SHAPE = 0, TYPE = 1, BUFFER = 2, NAME = 3, QUANTIZATION = 4, IS_VARIABLE = 5, SPARSITY = 6,
        SHAPE_SIGNATURE = 7, HAS_RANK = 8, EXTERNAL_BUFFER = 10,
    }
    quantization { SCALE = 2, ZERO_POINT = 3, DETAILS_TYPE = 4, QUANTIZED_DIMENSION = 6 }
    sparsity { TRAVERSAL_ORDER = 0, BLOCK_MAP = 1, DIM_METADATA = 2 }
    dimension_metadata {
        FORMAT = 0, DENSE_SIZE = 1, ARRAY_SEGMENTS_TYPE = 2, ARRAY_SEGMENTS = 3, ARRAY_INDICES_TYPE = 4,
        ARRAY_INDICES = 5,
    }
    operator {
        OPCODE_INDEX = 0, INPUTS = 1, OUTPUTS = 2, BUILTIN_OPTIONS_TYPE = 3, BUILTIN_OPTIONS = 4,
        CUSTOM_OPTIONS = 5, LARGE_CUSTOM_OPTIONS_OFFSET = 9, LARGE_CUSTOM_OPTIONS_SIZE = 10,
    }
    buffer { DATA = 0, OFFSET = 1, SIZE = 2 }
    metadata { NAME = 0, BUFFER = 1 }
    tensor_map { NAME = 0, TENSOR_INDEX = 1 }
    signature_def { INPUTS = 0, OUTPUTS = 1, SIGNATURE_KEY = 2, SUBGRAPH_INDEX = 4 }
    /// Nested in the metadata entry `CONVERSION_METADATA` that TensorFlow writes.
    conversion_metadata { ENVIRONMENT = 0 }
    conversion_environment { TENSORFLOW_VERSION = 0 }
}

/// Kinds of the vectors that hold the segments and indices of a sparse dimension; their values are
/// in slot 0.
pub mod index_vector {
    use super::UnionType;

    pub const INT32: UnionType = 1;
    pub const UINT16: UnionType = 2;
    pub const UINT8: UnionType = 3;
    pub const VALUES: usize = 0;
}

/// Formats of a walked dimension of a sparse tensor.
pub mod dimension_format {
    pub const DENSE: i8 = 0;
    pub const SPARSE_CSR: i8 = 1;
}

/// Options of operators: the kind of the table, and its slots.
macro_rules! options {
    ($($table:ident($kind:literal) { $($slot:ident = $number:literal),* $(,)? })*) => {
        $(pub mod $table {
            pub const KIND: super::super::UnionType = $kind;
            $(pub const $slot: usize = $number;)*
        })*
    };
}

/// The options of operators.
pub mod options {
    options! {
        conv_2d(1) {
            PADDING = 0, STRIDE_W = 1, STRIDE_H = 2, ACTIVATION = 3, DILATION_W = 4, DILATION_H = 5,
            QUANTIZED_BIAS_TYPE = 6,
        }
        depthwise_conv_2d(2) {
            PADDING = 0, STRIDE_W = 1, STRIDE_H = 2, DEPTH_MULTIPLIER = 3, ACTIVATION = 4,
            DILATION_W = 5, DILATION_H = 6,
        }
        pool_2d(5) {
            PADDING = 0, STRIDE_W = 1, STRIDE_H = 2, FILTER_WIDTH = 3, FILTER_HEIGHT = 4, ACTIVATION = 5,
        }
        fully_connected(8) {
            ACTIVATION = 0, WEIGHTS_FORMAT = 1, KEEP_NUM_DIMS = 2, ASYMMETRIC_QUANTIZE_INPUTS = 3,
            QUANTIZED_BIAS_TYPE = 4, QUANT_SPEC = 5,
        }
        softmax(9) { BETA = 0 }
        concatenation(10) { AXIS = 0, ACTIVATION = 1 }
        add(11) { ACTIVATION = 0, POT_SCALE_INT16 = 1 }
        l2_norm(12) { ACTIVATION = 0 }
        local_response_normalization(13) { RADIUS = 0, BIAS = 1, ALPHA = 2, BETA = 3 }
        resize_bilinear(15) { ALIGN_CORNERS = 2, HALF_PIXEL_CENTERS = 3 }
        reshape(17) { NEW_SHAPE = 0 }
        space_to_depth(19) { BLOCK_SIZE = 0 }
        mul(21) { ACTIVATION = 0 }
        gather(23) { AXIS = 0, BATCH_DIMS = 1 }
        reducer(27) { KEEP_DIMS = 0 }
        sub(28) { ACTIVATION = 0, POT_SCALE_INT16 = 1 }
        div(29) { ACTIVATION = 0 }
        squeeze(30) { SQUEEZE_DIMS = 0 }
        strided_slice(32) {
            BEGIN_MASK = 0, END_MASK = 1, ELLIPSIS_MASK = 2, NEW_AXIS_MASK = 3, SHRINK_AXIS_MASK = 4,
            OFFSET = 5,
        }
        split(35) { NUM_SPLITS = 0 }
        cast(37) { IN_DATA_TYPE = 0, OUT_DATA_TYPE = 1 }
        arg_max(40) { OUTPUT_TYPE = 0 }
        transpose_conv(49) {
            PADDING = 0, STRIDE_W = 1, STRIDE_H = 2, ACTIVATION = 3, QUANTIZED_BIAS_TYPE = 4,
        }
        shape(55) { OUT_TYPE = 0 }
        arg_min(57) { OUTPUT_TYPE = 0 }
        pack(59) { VALUES_COUNT = 0, AXIS = 1 }
        one_hot(61) { AXIS = 0 }
        unpack(64) { NUM = 0, AXIS = 1 }
        resize_nearest_neighbor(74) { ALIGN_CORNERS = 0, HALF_PIXEL_CENTERS = 1 }
        leaky_relu(75) { ALPHA = 0 }
        mirror_pad(77) { MODE = 0 }
        split_v(79) { NUM_SPLITS = 0 }
        depth_to_space(94) { BLOCK_SIZE = 0 }
        if_else(92) { THEN_SUBGRAPH_INDEX = 0, ELSE_SUBGRAPH_INDEX = 1 }
        while_loop(93) { COND_SUBGRAPH_INDEX = 0, BODY_SUBGRAPH_INDEX = 1 }
        batch_matmul(101) { ADJ_X = 0, ADJ_Y = 1, ASYMMETRIC_QUANTIZE_INPUTS = 2 }
        cumsum(102) { EXCLUSIVE = 0, REVERSE = 1 }
        conv_3d(106) {
            PADDING = 0, STRIDE_D = 1, STRIDE_W = 2, STRIDE_H = 3, ACTIVATION = 4, DILATION_D = 5,
            DILATION_W = 6, DILATION_H = 7,
        }
        call_once(103) { INIT_SUBGRAPH_INDEX = 0 }
        var_handle(111) { CONTAINER = 0, SHARED_NAME = 1 }
        gelu(116) { APPROXIMATE = 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_stand_at_their_names() {
        for (builtin, name) in Builtin::NAMED {
            assert_eq!(builtin.name(), Some(*name));
        }
        assert_eq!((Builtin(-1).name(), Builtin(210).name()), (None, None));
    }

    #[test]
    fn types_and_activations_go_both_ways() {
        for (dtype_of, _) in DType::ALL {
            assert_eq!(dtype(type_code(dtype_of)), Some(dtype_of));
        }
        for code in 0..23 {
            assert_eq!(dtype(code).is_none(), type_name(code) != format!("type {code}"));
        }
        for (code, kind) in ACTIVATIONS {
            assert_eq!((activation(code), activation_code(kind)), (Some(kind), code));
        }
        assert_eq!(activation(4), None);
    }
}
