//! Gradients of the kernels: what a change of each input would change, multiplied by the gradient of
//! the output and added up (the vector-Jacobian product), for training.

pub mod convolution;
