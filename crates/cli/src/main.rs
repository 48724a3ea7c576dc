//! The litesmith command line.
#![forbid(unsafe_code)]

fn main() {}
