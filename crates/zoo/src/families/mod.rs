//! The networks, one file per family. Names, sizes and order are those of `keras.applications` (Keras 3.15).

pub(crate) mod mobilenet;
