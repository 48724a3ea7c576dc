#![forbid(unsafe_code)]
//! How results are shown: terminal tables and progress.
