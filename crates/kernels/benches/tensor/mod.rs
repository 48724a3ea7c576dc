//! Memory of benches that lies as a model's does.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Elements that start on a cache line, as the tensors of a plan do.
pub struct Tensor<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Tensor<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Tensor<T> {
        let memory = vec![T::default(); len + LINE / size_of::<T>()];
        let start = memory.as_ptr().align_offset(LINE);
        Tensor { memory, start, len }
    }
}

impl<T> Deref for Tensor<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.start..][..self.len]
    }
}

impl<T> DerefMut for Tensor<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..][..self.len]
    }
}
