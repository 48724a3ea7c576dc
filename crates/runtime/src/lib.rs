#![forbid(unsafe_code)]
//! Plans and runs models.
