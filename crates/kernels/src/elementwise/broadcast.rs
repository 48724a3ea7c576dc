//! NumPy broadcasting: how the elements of several operands meet.

use std::ops::Range;

use super::TASK_ELEMENTS;
use crate::multiversion::multiversion;
use crate::{Isa, ThreadPool};

/// Two operand shapes that do not broadcast together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastError {
    /// The shape of the operands before.
    pub shape: Vec<usize>,
    /// The shape that does not fit it.
    pub other: Vec<usize>,
}

impl std::fmt::Display for BroadcastError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shapes {:?} and {:?} do not broadcast together", self.shape, self.other)
    }
}

impl std::error::Error for BroadcastError {}

/// How `N` operands, each contiguous, meet in one output.
///
/// Axes along which every operand advances alike are merged, so that an element-wise operator on
/// equal shapes is one axis, and `[N, H, W, C]` with `[N, 1, 1, C]` is three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast<const N: usize> {
    shape: Vec<usize>,
    axes: Vec<Axis<N>>,
    operand_lens: [usize; N],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis<const N: usize> {
    len: usize,
    /// Elements that each operand advances by; 0 where it is repeated.
    strides: [usize; N],
}

impl<const N: usize> Broadcast<N> {
    /// The plan for operands of these shapes, aligned at the last axis.
    ///
    /// # Errors
    /// When two lengths of an axis differ and neither is 1.
    ///
    /// # Panics
    /// When the number of elements does not fit in `usize`.
    pub fn new(shapes: [&[usize]; N]) -> Result<Broadcast<N>, BroadcastError> {
        let mut shape: Vec<usize> = Vec::new();
        for other in shapes {
            shape = join(&shape, other)?;
        }
        let mut axes: Vec<Axis<N>> = Vec::with_capacity(shape.len().max(1));
        let mut elements = [1usize; N];
        // From the last axis to the first, merging each into the one behind it where possible.
        for (distance, &len) in shape.iter().rev().enumerate() {
            let strides = std::array::from_fn(|operand| {
                let own = axis_from_end(shapes[operand], distance);
                let stride = if own == 1 { 0 } else { elements[operand] };
                elements[operand] =
                    elements[operand].checked_mul(own).expect("a tensor's elements must fit in usize");
                stride
            });
            match axes.last_mut() {
                _ if len == 1 => {}
                Some(inner) if (0..N).all(|i| strides[i] == inner.strides[i] * inner.len) => inner.len *= len,
                _ => axes.push(Axis { len, strides }),
            }
        }
        axes.reverse();
        if axes.is_empty() {
            axes.push(Axis { len: 1, strides: [0; N] });
        }
        Ok(Broadcast { shape, axes, operand_lens: elements })
    }

    /// The output's shape.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of output elements.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of elements of each operand.
    #[must_use]
    pub fn operand_lens(&self) -> [usize; N] {
        self.operand_lens
    }

    /// The strides of the operands inside a segment.
    #[inline(always)]
    pub(crate) fn inner_strides(&self) -> [usize; N] {
        self.axes.last().map_or([0; N], |axis| axis.strides)
    }

    /// The stretches of the outputs `first..first + len` within which every operand either advances
    /// by one or stays.
    #[inline(always)]
    pub(crate) fn segments(&self, first: usize, len: usize) -> Segments<'_, N> {
        let (inner, outer) = self.axes.split_last().expect("there is always an axis");
        Segments { inner, outer, first, len, done: 0 }
    }

    /// Checks the lengths of the operands and the output, and calls `piece(first, output)` for
    /// parts of the output, in parallel.
    pub(crate) fn run<U: Send>(
        &self,
        pool: &ThreadPool,
        operand_lens: [usize; N],
        output: &mut [U],
        piece: impl Fn(usize, &mut [U]) + Sync,
    ) {
        assert_eq!(operand_lens, self.operand_lens, "operands must have the lengths of their shapes");
        assert_eq!(output.len(), self.output_len(), "the output must have the broadcast shape");
        let rows = pool.rows_per_task(output.len(), TASK_ELEMENTS);
        pool.run_rows(output, 1, rows, piece);
    }
}

impl Broadcast<2> {
    /// How one operand has a value for each channel, the last axis, of each sample, and the other one
    /// for each pixel too: the operand that repeats, and the numbers of samples, pixels and channels.
    pub(crate) fn by_channel(&self) -> Option<(usize, [usize; 3])> {
        let (samples, pixels, channels) = match &self.axes[..] {
            [pixels, channels] => (1, pixels, channels),
            [samples, pixels, channels] if samples.strides.iter().all(|stride| *stride > 0) => {
                (samples.len, pixels, channels)
            }
            _ => return None,
        };
        let repeated = pixels.strides.iter().position(|stride| *stride == 0)?;
        let whole = channels.strides == [1, 1] && pixels.strides[1 - repeated] > 0;
        whole.then_some((repeated, [samples, pixels.len, channels.len]))
    }
}

/// Iterator over stretches; see [`Broadcast::segments`].
pub(crate) struct Segments<'a, const N: usize> {
    inner: &'a Axis<N>,
    outer: &'a [Axis<N>],
    first: usize,
    len: usize,
    done: usize,
}

/// A stretch of the output.
pub(crate) struct Segment<const N: usize> {
    /// Where each operand begins.
    pub(crate) offsets: [usize; N],
    /// The outputs, counted from the first that was asked for.
    pub(crate) outputs: Range<usize>,
}

impl<const N: usize> Iterator for Segments<'_, N> {
    type Item = Segment<N>;

    // A method, not a closure: only this makes sure that it becomes part of the vectorized loop.
    #[inline(always)]
    fn next(&mut self) -> Option<Segment<N>> {
        if self.done == self.len {
            return None;
        }
        let position = self.first + self.done;
        let column = position % self.inner.len;
        let mut row = position / self.inner.len;
        let mut offsets = self.inner.strides.map(|stride| column * stride);
        for axis in self.outer.iter().rev() {
            let index = row % axis.len;
            row /= axis.len;
            for (offset, stride) in offsets.iter_mut().zip(axis.strides) {
                *offset += index * stride;
            }
        }
        let start = self.done;
        self.done += (self.inner.len - column).min(self.len - start);
        Some(Segment { offsets, outputs: start..self.done })
    }
}

/// The length of the axis at this distance from the last; 1 beyond the first.
fn axis_from_end(shape: &[usize], distance: usize) -> usize {
    shape.len().checked_sub(distance + 1).map_or(1, |axis| shape[axis])
}

fn join(shape: &[usize], other: &[usize]) -> Result<Vec<usize>, BroadcastError> {
    let rank = shape.len().max(other.len());
    (0..rank)
        .rev()
        .map(|distance| match (axis_from_end(shape, distance), axis_from_end(other, distance)) {
            (a, b) if a == b => Ok(a),
            (1, len) | (len, 1) => Ok(len),
            _ => Err(BroadcastError { shape: shape.to_vec(), other: other.to_vec() }),
        })
        .collect()
}

/// A function of two elements.
///
/// Small closures will do; a longer function is better a type of its own whose method is always
/// inlined, since the compiler may leave a long closure out of the vectorized loop.
pub(crate) trait Pairwise<T, U>: Copy + Sync {
    /// The function's value.
    fn value(self, a: T, b: T) -> U;
}

impl<T, U, F: Fn(T, T) -> U + Copy + Sync> Pairwise<T, U> for F {
    #[inline(always)]
    fn value(self, a: T, b: T) -> U {
        self(a, b)
    }
}

/// `output = function(a, b)` over two broadcast operands.
pub(crate) fn zip<T: Copy + Sync, U: Copy + Send, F: Pairwise<T, U>>(
    isa: Isa,
    pool: &ThreadPool,
    plan: &Broadcast<2>,
    [a, b]: [&[T]; 2],
    output: &mut [U],
    function: F,
) {
    plan.run(pool, [a.len(), b.len()], output, |first, piece| {
        zip_piece(isa, plan, first, a, b, piece, function);
    });
}

multiversion! {
    fn zip_piece[T: Copy, U: Copy, F: Pairwise<T, U>](
        plan: &Broadcast<2>,
        first: usize,
        a: &[T],
        b: &[T],
        output: &mut [U],
        function: F,
    ) {
        let [step_a, step_b] = plan.inner_strides();
        for Segment { offsets: [at_a, at_b], outputs } in plan.segments(first, output.len()) {
            let output = &mut output[outputs];
            let len = output.len();
            match (step_a, step_b) {
                (0, 0) => output.fill(function.value(a[at_a], b[at_b])),
                (0, _) => {
                    let a = a[at_a];
                    for (o, &b) in output.iter_mut().zip(&b[at_b..at_b + len]) {
                        *o = function.value(a, b);
                    }
                }
                (_, 0) => {
                    let b = b[at_b];
                    for (o, &a) in output.iter_mut().zip(&a[at_a..at_a + len]) {
                        *o = function.value(a, b);
                    }
                }
                _ => {
                    let pairs = a[at_a..at_a + len].iter().zip(&b[at_b..at_b + len]);
                    for (o, (&a, &b)) in output.iter_mut().zip(pairs) {
                        *o = function.value(a, b);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::elementwise as reference;
    use proptest::prelude::*;

    #[test]
    fn axes_merge_where_operands_advance_alike() {
        let same = Broadcast::new([&[2, 3, 4], &[2, 3, 4]]).unwrap();
        assert_eq!(same.axes, [Axis { len: 24, strides: [1, 1] }]);
        let scalar = Broadcast::new([&[2, 3, 4], &[]]).unwrap();
        assert_eq!(scalar.axes, [Axis { len: 24, strides: [1, 0] }]);
        let excite = Broadcast::new([&[2, 5, 5, 4], &[2, 1, 1, 4]]).unwrap();
        assert_eq!(
            excite.axes,
            [
                Axis { len: 2, strides: [100, 4] },
                Axis { len: 25, strides: [4, 0] },
                Axis { len: 4, strides: [1, 1] }
            ]
        );
    }

    #[test]
    fn shapes_join_as_in_numpy() {
        let plan = Broadcast::new([&[3, 1], &[4], &[2, 1, 1]]).unwrap();
        assert_eq!((plan.shape(), plan.operand_lens(), plan.output_len()), (&[2, 3, 4][..], [3, 4, 2], 24));
        assert_eq!(Broadcast::new([&[0, 2], &[1, 2]]).unwrap().output_len(), 0);
        let error = Broadcast::new([&[2, 3], &[2]]).unwrap_err();
        assert_eq!(error.to_string(), "shapes [2, 3] and [2] do not broadcast together");
    }

    /// A random output shape, and which axes each of two operands repeats.
    fn shapes() -> impl Strategy<Value = (Vec<usize>, [Vec<usize>; 2])> {
        prop::collection::vec((1usize..20, any::<[bool; 2]>()), 0..6).prop_map(|axes| {
            let operand = |i: usize| axes.iter().map(|(len, keep)| if keep[i] { *len } else { 1 }).collect();
            let operands: [Vec<usize>; 2] = [operand(0), operand(1)];
            let shape = operands[0].iter().zip(&operands[1]).map(|(a, b)| *a.max(b)).collect();
            (shape, operands)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn every_level_agrees_with_the_plain_loop((shape, [a_shape, b_shape]) in shapes(), drop in 0usize..3) {
            prop_assume!(shape.iter().product::<usize>() < 100_000);
            // A shape may leave out leading axes of length 1.
            let leading = b_shape.iter().take(drop).take_while(|len| **len == 1).count();
            let b_shape = &b_shape[leading..];
            let a: Vec<f32> = (0..a_shape.iter().product()).map(|i| i as f32 * 0.37 - 5.0).collect();
            let b: Vec<f32> = (0..b_shape.iter().product()).map(|i| 3.0 - i as f32 * 0.11).collect();
            let plan = Broadcast::new([&a_shape, b_shape]).unwrap();
            prop_assert_eq!(plan.shape(), &shape[..]);
            let function = |x: f32, y: f32| x * y - x;
            let expected = reference::zip(&shape, [&a_shape, b_shape], [&a, &b], function);
            for isa in Isa::available_levels() {
                for threads in [1, 3] {
                    let mut output = vec![0.0; expected.len()];
                    zip(isa, &ThreadPool::new(threads), &plan, [&a, &b], &mut output, function);
                    prop_assert_eq!(&output, &expected);
                }
            }
        }
    }
}
