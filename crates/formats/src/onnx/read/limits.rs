//! Which fields of ONNX's messages hold messages or texts.

use crate::messages::{Fields, LEAF};

static ENTRY: Fields = Fields(&[(1, &LEAF), (2, &LEAF)]);
static TENSOR: Fields = Fields(&[(8, &LEAF), (13, &ENTRY)]);
static SHAPE: Fields = Fields(&[(1, &Fields(&[(2, &LEAF)]))]);
static VALUE: Fields = Fields(&[(1, &LEAF), (2, &Fields(&[(1, &Fields(&[(2, &SHAPE)]))]))]);
static ATTRIBUTE: Fields =
    Fields(&[(1, &LEAF), (4, &LEAF), (5, &TENSOR), (6, &GRAPH), (9, &LEAF), (21, &LEAF)]);
static NODE: Fields = Fields(&[(1, &LEAF), (2, &LEAF), (3, &LEAF), (4, &LEAF), (5, &ATTRIBUTE), (7, &LEAF)]);
static GRAPH: Fields = Fields(&[
    (1, &NODE),
    (2, &LEAF),
    (5, &TENSOR),
    (10, &LEAF),
    (11, &VALUE),
    (12, &VALUE),
    (13, &VALUE),
    (15, &LEAF),
]);
static FUNCTION: Fields =
    Fields(&[(1, &LEAF), (4, &LEAF), (5, &LEAF), (7, &NODE), (9, &LEAF), (10, &LEAF), (11, &ATTRIBUTE)]);
/// `ModelProto`.
pub(super) static MODEL: Fields = Fields(&[(7, &GRAPH), (8, &LEAF), (14, &ENTRY), (25, &FUNCTION)]);
