#![forbid(unsafe_code)]
//! Data sets: image folders, npz, npy, idx, CSV; decoding, resizing, preprocessing, batches.
