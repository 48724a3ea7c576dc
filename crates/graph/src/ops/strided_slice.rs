use serde::{Deserialize, Serialize};

use crate::operator::Number;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule, refuse};
use crate::shape::{Dim, Dims, Shape};

/// Part of the input, with steps, as TensorFlow's `strided_slice` defines begin, end and masks
/// (without ellipsis and new axes, which readers resolve). Where three more inputs (vectors of
/// integers) are given, they are begin, end and strides, and those attributes stay empty.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StridedSlice {
    /// First index of each leading axis; negative ones count from the end.
    pub begin: Vec<i64>,
    /// Index behind the last one.
    pub end: Vec<i64>,
    /// Step; never 0.
    pub strides: Vec<i64>,
    /// Bit `i`: axis `i` starts at its beginning, whatever `begin` says.
    pub begin_mask: u32,
    /// Bit `i`: axis `i` goes to its end, whatever `end` says.
    pub end_mask: u32,
    /// Bit `i`: axis `i` is reduced to the one index `begin` and dropped.
    pub shrink_axis_mask: u32,
}

/// The part of one axis that a slice takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisSlice {
    /// First index.
    pub start: usize,
    /// Step; never 0.
    pub step: i64,
    /// Number of elements.
    pub length: usize,
    /// Whether the axis is dropped.
    pub dropped: bool,
}

impl StridedSlice {
    /// What it takes of each axis of an input of this size.
    ///
    /// # Errors
    /// If the attributes contradict each other or an index lies outside.
    pub fn resolve(&self, sizes: &[usize]) -> Result<Vec<AxisSlice>, InferError> {
        self.check(sizes.len())?;
        let whole = |size: usize| AxisSlice { start: 0, step: 1, length: size, dropped: false };
        let resolved = |(axis, size): (usize, &usize)| {
            if axis < self.begin.len() { self.axis(axis, *size) } else { Ok(whole(*size)) }
        };
        sizes.iter().enumerate().map(resolved).collect()
    }

    fn check(&self, rank: usize) -> Result<(), InferError> {
        let count = self.begin.len();
        if count > rank || count != self.end.len() || count != self.strides.len() || count > 32 {
            let (end, strides) = (self.end.len(), self.strides.len());
            refuse!("{count} begins, {end} ends and {strides} strides for {rank} axes");
        }
        if self.strides.contains(&0) {
            refuse!("a stride is 0");
        }
        Ok(())
    }

    fn axis(&self, axis: usize, size: usize) -> Result<AxisSlice, InferError> {
        let bit = |mask: u32| mask >> axis & 1 == 1;
        let Ok(length) = i64::try_from(size) else { refuse!("axis {axis} is too long") };
        let from_start = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
        let (begin, end, step) = (self.begin[axis], self.end[axis], self.strides[axis]);
        if bit(self.shrink_axis_mask) {
            let index = if bit(self.begin_mask) { 0 } else { from_start(begin) };
            if index < 0 || index >= length {
                refuse!("index {begin} lies outside axis {axis} of {size}");
            }
            return Ok(AxisSlice { start: index as usize, step: 1, length: 1, dropped: true });
        }
        // A walk backwards ends before index 0, hence the bounds from -1.
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let clamped = |index: i64| from_start(index).clamp(low, high.max(low));
        let first = if bit(self.begin_mask) { if step > 0 { low } else { high } } else { clamped(begin) };
        let last = if bit(self.end_mask) { if step > 0 { high } else { low } } else { clamped(end) };
        let distance = if step > 0 { last - first } else { first - last };
        let count = if distance <= 0 { 0 } else { (distance as u64).div_ceil(step.unsigned_abs()) as usize };
        Ok(AxisSlice { start: first.max(0) as usize, step, length: count, dropped: false })
    }

    /// Whether it takes the whole of an axis, whatever its size.
    fn is_whole(&self, axis: usize) -> bool {
        let bit = |mask: u32| mask >> axis & 1 == 1;
        axis >= self.begin.len()
            || (!bit(self.shrink_axis_mask)
                && self.strides[axis] == 1
                && (bit(self.begin_mask) || self.begin[axis] == 0)
                && (bit(self.end_mask) || self.end[axis] == i64::from(i32::MAX)))
    }
}

impl StridedSlice {
    /// The shape where begin, end and strides are inputs.
    fn infer_given(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if !self.begin.is_empty() || !self.end.is_empty() || !self.strides.is_empty() {
            refuse!("begin, end and strides are given twice");
        }
        let [Dim::Fixed(count)] = inputs.get(1)?.shape.dims() else { refuse!("begin is no vector") };
        if *count > input.shape.rank() || *count > 32 {
            refuse!("{count} axes are sliced of shape {}", input.shape);
        }
        let lists = [inputs.numbers(1, *count)?, inputs.numbers(2, *count)?, inputs.numbers(3, *count)?];
        if let [Some(begin), Some(end), Some(strides)] = [0, 1, 2].map(|i| all_known(&lists[i])) {
            return StridedSlice { begin, end, strides, ..self.clone() }.infer(Inputs(&[Some(input)]));
        }
        let mut dims = Dims::new();
        for (axis, dim) in input.shape.dims().iter().enumerate() {
            let bit = |mask: u32| axis < *count && mask >> axis & 1 == 1;
            let step = lists[2].get(axis);
            let whole = axis >= *count
                || (step == Some(&Number::Int(1)) && bit(self.begin_mask) && bit(self.end_mask));
            if !bit(self.shrink_axis_mask) {
                dims.push(if whole { dim.clone() } else { Dim::Unknown });
            }
        }
        Ok(vec![Facts::new(input.dtype, Shape(dims))])
    }
}

/// All numbers, if every one is known.
fn all_known(numbers: &[Number]) -> Option<Vec<i64>> {
    let known = |number: &Number| if let Number::Int(value) = number { Some(*value) } else { None };
    numbers.iter().map(known).collect()
}

impl Operator for StridedSlice {
    fn arity(&self) -> Arity {
        Arity::between(1, 4)
    }

    fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let input = inputs.get(0)?;
        if inputs.len() > 1 {
            return self.infer_given(inputs);
        }
        self.check(input.shape.rank())?;
        let mut dims = Dims::new();
        for (axis, dim) in input.shape.dims().iter().enumerate() {
            let dropped = axis < self.begin.len() && self.shrink_axis_mask >> axis & 1 == 1;
            match dim {
                _ if self.is_whole(axis) => dims.push(dim.clone()),
                Dim::Fixed(size) => {
                    let slice = self.axis(axis, *size)?;
                    if !slice.dropped {
                        dims.push(slice.length.into());
                    }
                }
                _ if dropped => {}
                _ => dims.push(Dim::Unknown),
            }
        }
        let value = match (&input.value, input.shape.to_fixed()) {
            (Some(value), Some(sizes)) if sizes.len() == 1 && !self.begin.is_empty() => {
                let slice = self.axis(0, sizes[0])?;
                let index = |i: usize| slice.start as i64 + i as i64 * slice.step;
                let taken = (0..slice.length).map(|i| value.get(usize::try_from(index(i)).ok()?).cloned());
                taken.collect::<Option<Vec<Number>>>()
            }
            _ => None,
        };
        Ok(vec![Facts::new(input.dtype, Shape(dims)).with_value(value)])
    }

    fn quantization(&self) -> QuantizationRule {
        QuantizationRule::SAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn one(begin: i64, end: i64, stride: i64) -> StridedSlice {
        StridedSlice { begin: vec![begin], end: vec![end], strides: vec![stride], ..Default::default() }
    }

    #[test]
    fn axes_are_cut_as_numpy_cuts_them() {
        let length = |op: StridedSlice| op.resolve(&[10]).map(|s| (s[0].start, s[0].length));
        assert_eq!(length(one(2, -1, 3)), Ok((2, 3)));
        assert_eq!(length(one(-1, -11, -2)), Ok((9, 5)));
        assert_eq!(length(one(8, 20, 1)), Ok((8, 2)));
        assert_eq!(length(one(5, 2, 1)), Ok((5, 0)));
        assert_eq!(length(StridedSlice { begin_mask: 1, end_mask: 1, ..one(4, 4, -1) }), Ok((9, 10)));
        assert!(length(one(0, 1, 0)).is_err());
        assert!(length(StridedSlice { shrink_axis_mask: 1, ..one(10, 11, 1) }).is_err());
    }

    #[test]
    fn the_batch_is_cut_out_of_a_shape() {
        let value = Some(vec![Number::Free(crate::Symbol::new("batch")), Number::Int(7)]);
        let shape = Facts::new(DType::I32, Shape::from([2])).with_value(value);
        let op = StridedSlice { shrink_axis_mask: 1, ..one(0, 1, 1) };
        let outputs = op.infer(Inputs(&[Some(&shape)])).unwrap();
        assert_eq!(outputs[0].shape.rank(), 0);
        assert_eq!(outputs[0].value, Some(vec![Number::Free(crate::Symbol::new("batch"))]));
    }
}
