#![forbid(unsafe_code)]
//! Exact graph rewrites and legalization.
