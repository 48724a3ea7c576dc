//! What a reduction reads for each output.

use std::borrow::Cow;

use crate::ThreadPool;
use crate::movement::transpose;

/// A reduction over some axes, brought to the form `[outer, reduced, inner]` of which the middle
/// axis vanishes. Where the axes do not lie together the input is transposed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// Lengths of the form's axes.
    pub(crate) outer: usize,
    pub(crate) reduced: usize,
    pub(crate) inner: usize,
    /// The shape and permutation of the transposition before, if there is one.
    transposed: Option<(Vec<usize>, Vec<usize>)>,
}

impl Reduction {
    /// The reduction of a tensor of `shape` over `axes` (in any order, repeated ones count once).
    ///
    /// # Panics
    /// When an axis does not exist.
    #[must_use]
    pub fn new(shape: &[usize], axes: &[usize]) -> Reduction {
        assert!(axes.iter().all(|axis| *axis < shape.len()), "axes {axes:?} of {} axes", shape.len());
        // An axis of length 1 may count as either.
        let reduced: Vec<usize> =
            (0..shape.len()).filter(|axis| axes.contains(axis) && shape[*axis] != 1).collect();
        let product = |axes: &[usize]| axes.iter().map(|axis| shape[*axis]).product();
        let (Some(&first), Some(&last)) = (reduced.first(), reduced.last()) else {
            return Reduction { outer: 1, reduced: 1, inner: shape.iter().product(), transposed: None };
        };
        let together = (first..=last).all(|axis| reduced.contains(&axis) || shape[axis] == 1);
        if together {
            return Reduction {
                outer: shape[..first].iter().product(),
                reduced: shape[first..=last].iter().product(),
                inner: shape[last + 1..].iter().product(),
                transposed: None,
            };
        }
        let kept: Vec<usize> = (0..shape.len()).filter(|axis| !reduced.contains(axis)).collect();
        Reduction {
            outer: product(&kept),
            reduced: product(&reduced),
            inner: 1,
            transposed: Some((shape.to_vec(), [kept, reduced].concat())),
        }
    }

    /// Number of inputs.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.outer * self.reduced * self.inner
    }

    /// Number of outputs.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.outer * self.inner
    }

    /// Checks the lengths and brings the input to the form.
    pub(crate) fn arrange<'a, T: Copy + Default + Send + Sync>(
        &self,
        pool: &ThreadPool,
        input: &'a [T],
        output_len: usize,
    ) -> Cow<'a, [T]>
    where
        [T]: ToOwned<Owned = Vec<T>>,
    {
        assert_eq!(input.len(), self.input_len(), "the input must have the length of its shape");
        assert_eq!(output_len, self.output_len(), "the output must have the length of its shape");
        match &self.transposed {
            None => Cow::Borrowed(input),
            Some((shape, permutation)) => {
                let mut arranged = vec![T::default(); input.len()];
                transpose(pool, shape, permutation, input, &mut arranged);
                Cow::Owned(arranged)
            }
        }
    }

    /// Calls `columns(outer index, first inner index, outputs)` for parts of the output, each within
    /// one outer index, in parallel.
    pub(crate) fn split<U: Send>(
        &self,
        pool: &ThreadPool,
        output: &mut [U],
        columns: impl Fn(usize, usize, &mut [U]) + Sync,
    ) {
        /// Inputs that are worth a task of their own.
        const TASK_INPUTS: usize = 64 * 1024;
        // Whole cache lines of bytes, so that tasks do not share any.
        const LINE: usize = 64;
        let least = TASK_INPUTS.div_ceil(self.reduced.max(1));
        let rows = pool.rows_per_task(output.len(), least).next_multiple_of(LINE);
        pool.run_rows(output, 1, rows, |first, piece| {
            let mut done = 0;
            while done < piece.len() {
                let (outer, inner) = ((first + done) / self.inner, (first + done) % self.inner);
                let len = (self.inner - inner).min(piece.len() - done);
                columns(outer, inner, &mut piece[done..done + len]);
                done += len;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(shape: &[usize], axes: &[usize]) -> (usize, usize, usize, bool) {
        let plan = Reduction::new(shape, axes);
        (plan.outer, plan.reduced, plan.inner, plan.transposed.is_some())
    }

    #[test]
    fn axes_that_lie_together_need_no_transposition() {
        assert_eq!(form(&[2, 7, 7, 64], &[2, 1]), (2, 49, 64, false));
        assert_eq!(form(&[2, 7, 7, 64], &[3]), (98, 64, 1, false));
        assert_eq!(form(&[2, 7, 1, 64], &[1, 3, 3]), (2, 448, 1, false));
        assert_eq!(form(&[2, 7, 7, 64], &[]), (1, 1, 6272, false));
        assert_eq!(form(&[1, 1], &[0, 1]), (1, 1, 1, false));
        assert_eq!(form(&[2, 0], &[1]), (2, 0, 1, false));
    }

    #[test]
    fn others_do() {
        assert_eq!(form(&[2, 3, 5, 7], &[0, 2]), (21, 10, 1, true));
        assert_eq!(form(&[2, 3, 5, 7], &[0, 3]), (15, 14, 1, true));
    }
}
