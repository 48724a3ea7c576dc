use serde::{Deserialize, Serialize};

use crate::operator::{InferError, Inputs, Number, refuse};
use crate::shape::{Dim, Shape};

/// What a convolution or pooling sees beyond the border of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// As much as makes the output `ceil(input / stride)` wide, the odd row or column at the end.
    Same,
    /// Nothing.
    #[default]
    Valid,
    /// A fixed number of rows and columns. TFLite has no such padding: legalization makes it a
    /// `Pad` operator or `Same`.
    Explicit {
        /// Rows above and columns to the left.
        before: [usize; 2],
        /// Rows below and columns to the right.
        after: [usize; 2],
    },
}

impl Padding {
    /// Rows and columns added before and after an input of this size; `reach` is the extent of the
    /// dilated kernel.
    #[must_use]
    pub fn amounts(
        &self,
        input: [usize; 2],
        reach: [usize; 2],
        stride: [usize; 2],
    ) -> ([usize; 2], [usize; 2]) {
        match *self {
            Padding::Valid => ([0; 2], [0; 2]),
            Padding::Explicit { before, after } => (before, after),
            Padding::Same => {
                let total: [usize; 2] = std::array::from_fn(|i| {
                    let steps = input[i].div_ceil(stride[i].max(1)).saturating_sub(1);
                    (steps * stride[i] + reach[i]).saturating_sub(input[i])
                });
                (total.map(|t| t / 2), total.map(|t| t - t / 2))
            }
        }
    }
}

/// Extent of a dilated kernel.
pub(crate) fn reach(kernel: [usize; 2], dilation: [usize; 2]) -> Result<[usize; 2], InferError> {
    if kernel.contains(&0) || dilation.contains(&0) {
        refuse!("kernel {kernel:?} and dilation {dilation:?} must be at least 1");
    }
    let reach = |i: usize| (kernel[i] - 1).checked_mul(dilation[i]).and_then(|r| r.checked_add(1));
    match (reach(0), reach(1)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => refuse!("kernel {kernel:?} with dilation {dilation:?} is too large"),
    }
}

/// Height and width of the output of a window that moves over `input` (height and width).
pub(crate) fn output_size(
    input: &[Dim],
    reach: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
) -> Result<[Dim; 2], InferError> {
    if stride.contains(&0) {
        refuse!("stride {stride:?} must be at least 1");
    }
    let mut output = [Dim::Unknown, Dim::Unknown];
    for (i, size) in output.iter_mut().enumerate() {
        // A step of one over a padded border keeps even a free size.
        if padding == Padding::Same && stride[i] == 1 {
            *size = input[i].clone();
            continue;
        }
        let Some(length) = input[i].fixed() else { continue };
        let steps = match padding {
            Padding::Same => length.div_ceil(stride[i]),
            Padding::Valid => steps(length, reach[i], stride[i])?,
            Padding::Explicit { before, after } => {
                let padded = length.checked_add(before[i]).and_then(|l| l.checked_add(after[i]));
                let Some(padded) = padded else {
                    refuse!("padding {} and {} is too large", before[i], after[i])
                };
                steps(padded, reach[i], stride[i])?
            }
        };
        *size = Dim::Fixed(steps);
    }
    Ok(output)
}

/// Depth, height and width of the output of a window that moves over a volume.
pub(crate) fn volume_size(
    input: &[Dim],
    kernel: [usize; 3],
    dilation: [usize; 3],
    stride: [usize; 3],
    padding: Padding,
) -> Result<[Dim; 3], InferError> {
    if matches!(padding, Padding::Explicit { .. }) {
        refuse!("explicit padding of volumes has no meaning here");
    }
    // Depth and height, then height and width: the axes do not depend on each other.
    let plane = |first: usize| {
        let pair = |sizes: [usize; 3]| [sizes[first], sizes[first + 1]];
        output_size(&input[first..first + 2], reach(pair(kernel), pair(dilation))?, pair(stride), padding)
    };
    let ([depth, height], [_, width]) = (plane(0)?, plane(1)?);
    Ok([depth, height, width])
}

/// The shape of `rank` axes that an integer input holds, as far as it is known.
pub(crate) fn sizes_from_value(inputs: Inputs<'_>, index: usize, rank: usize) -> Result<Shape, InferError> {
    let facts = inputs.get(index)?;
    let Some(value) = &facts.value else {
        if facts.shape.elements().is_some_and(|count| count != rank) {
            refuse!("input {index} must hold {rank} sizes, its shape is {}", facts.shape);
        }
        return Ok(Shape::unknown(rank));
    };
    if value.len() != rank {
        refuse!("input {index} must hold {rank} sizes, it holds {}", value.len());
    }
    let dim = |number: &Number| match number {
        Number::Int(size) => match usize::try_from(*size) {
            Ok(size) => Ok(Dim::Fixed(size)),
            Err(_) => refuse!("input {index} holds a size of {size}"),
        },
        Number::Free(symbol) => Ok(Dim::Free(symbol.clone())),
        Number::Unknown => Ok(Dim::Unknown),
    };
    value.iter().map(dim).collect::<Result<_, _>>().map(Shape)
}

fn steps(length: usize, reach: usize, stride: usize) -> Result<usize, InferError> {
    if length < reach {
        refuse!("an input of {length} is smaller than the kernel's reach of {reach}");
    }
    Ok((length - reach) / stride + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_row_at_the_end() {
        assert_eq!(Padding::Same.amounts([224, 5], [3, 3], [2, 1]), ([0, 1], [1, 1]));
        assert_eq!(Padding::Same.amounts([4, 4], [1, 1], [2, 2]), ([0, 0], [0, 0]));
    }

    #[test]
    fn sizes_follow_padding_and_stride() {
        let size = |input: usize, kernel, stride, padding| {
            output_size(&[input.into(), input.into()], [kernel; 2], [stride; 2], padding)
                .map(|size| size[0].clone())
        };
        assert_eq!(size(224, 3, 2, Padding::Same), Ok(Dim::Fixed(112)));
        assert_eq!(size(230, 7, 2, Padding::Valid), Ok(Dim::Fixed(112)));
        assert_eq!(size(5, 3, 1, Padding::Explicit { before: [1, 1], after: [1, 1] }), Ok(Dim::Fixed(5)));
        assert!(size(2, 3, 1, Padding::Valid).is_err());
        assert!(size(2, 3, 0, Padding::Same).is_err());
    }

    #[test]
    fn a_free_size_survives_same_padding_with_stride_one() {
        let free = [Dim::free("height"), Dim::free("width")];
        assert_eq!(
            output_size(&free, [3, 3], [1, 2], Padding::Same),
            Ok([Dim::free("height"), Dim::Unknown])
        );
    }
}
