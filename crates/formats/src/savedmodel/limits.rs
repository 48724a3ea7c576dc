//! Which fields of a SavedModel's messages hold messages or texts.

use crate::messages::{Fields, LEAF};

static SHAPE: Fields = Fields(&[(2, &LEAF)]);
static TENSOR: Fields = Fields(&[(2, &SHAPE), (8, &LEAF)]);
static LIST: Fields = Fields(&[(2, &LEAF), (7, &SHAPE), (9, &LEAF)]);
static VALUE: Fields = Fields(&[(1, &LIST), (2, &LEAF), (7, &SHAPE), (8, &TENSOR), (10, &LEAF)]);
/// An entry of a map from texts.
static VALUE_ENTRY: Fields = Fields(&[(2, &VALUE)]);
static NODE: Fields = Fields(&[(1, &LEAF), (2, &LEAF), (3, &LEAF), (5, &VALUE_ENTRY)]);
static ARGUMENT: Fields = Fields(&[(1, &LEAF), (5, &LEAF), (6, &LEAF)]);
static OPERATION: Fields = Fields(&[(1, &LEAF), (2, &ARGUMENT), (3, &ARGUMENT)]);
static NOTES_ENTRY: Fields = Fields(&[(2, &Fields(&[(1, &VALUE_ENTRY)]))]);
static FUNCTION: Fields = Fields(&[(1, &OPERATION), (3, &NODE), (4, &LEAF), (6, &LEAF), (7, &NOTES_ENTRY)]);
/// `GraphDef`.
pub(super) static GRAPH: Fields = Fields(&[(1, &NODE), (2, &Fields(&[(1, &FUNCTION)]))]);
static SIGNATURE: Fields = Fields(&[
    (1, &Fields(&[(2, &Fields(&[(1, &LEAF), (3, &SHAPE)]))])),
    (2, &Fields(&[(2, &Fields(&[(1, &LEAF), (3, &SHAPE)]))])),
]);
static OBJECTS: Fields = Fields(&[(1, &Fields(&[(7, &LEAF)])), (2, &Fields(&[(2, &LEAF)]))]);
static META_GRAPH: Fields = Fields(&[
    (1, &Fields(&[(2, &Fields(&[(1, &OPERATION)])), (4, &LEAF)])),
    (2, &GRAPH),
    (5, &Fields(&[(2, &SIGNATURE)])),
    (7, &OBJECTS),
]);
/// `SavedModel`.
pub(super) static SAVED_MODEL: Fields = Fields(&[(2, &META_GRAPH)]);
/// `TrackableObjectGraph`.
pub(super) static TRACKABLE_OBJECTS: Fields = Fields(&[(1, &Fields(&[(2, &LEAF)]))]);
