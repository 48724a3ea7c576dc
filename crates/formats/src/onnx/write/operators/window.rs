//! Windows that move over images and volumes: their attributes in ONNX.

use litesmith_graph::Dim;
use litesmith_graph::ops::Padding;

use crate::onnx::write::drafts::Attribute;

/// A window along each axis of space.
pub(super) struct Window {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    pub padding: Padding,
}

type Attributes = Vec<(&'static str, Attribute)>;

impl Window {
    /// Extent of the dilated kernel along an axis.
    pub fn reach(&self, axis: usize) -> usize {
        self.kernel[axis].saturating_sub(1).saturating_mul(self.dilation[axis]).saturating_add(1)
    }

    /// What lies before and after an axis of this size; `None` where that depends on a size that is not
    /// known.
    pub fn amounts(&self, axis: usize, size: &Dim) -> Option<(usize, usize)> {
        let (reach, stride) = (self.reach(axis), self.stride[axis].max(1));
        let total = match (self.padding, size) {
            (Padding::Valid, _) => 0,
            (Padding::Explicit { before, after }, _) => return Some((*before.get(axis)?, *after.get(axis)?)),
            (Padding::Same, Dim::Fixed(size)) => {
                let steps = size.div_ceil(stride).saturating_sub(1);
                steps.saturating_mul(stride).saturating_add(reach).saturating_sub(*size)
            }
            (Padding::Same, _) if stride == 1 => reach - 1,
            (Padding::Same, _) => return None,
        };
        Some((total / 2, total - total / 2))
    }

    /// The attributes of a window over an input whose axes of space are these. Dilations are left out
    /// where there is none.
    pub fn attributes(&self, space: &[Dim]) -> Attributes {
        let mut attributes = vec![
            ("kernel_shape", Attribute::sizes(&self.kernel)),
            ("strides", Attribute::sizes(&self.stride)),
        ];
        if self.dilation.iter().any(|step| *step != 1) {
            attributes.push(("dilations", Attribute::sizes(&self.dilation)));
        }
        let amounts: Option<Vec<_>> =
            space.iter().enumerate().map(|(axis, size)| self.amounts(axis, size)).collect();
        match amounts {
            Some(amounts) if amounts.iter().all(|amount| *amount == (0, 0)) => {}
            Some(amounts) => attributes.push(pads(&amounts)),
            None => attributes.push(("auto_pad", Attribute::Text("SAME_UPPER"))),
        }
        attributes
    }
}

/// What lies before all axes, then after all.
pub(super) fn pads(amounts: &[(usize, usize)]) -> (&'static str, Attribute) {
    let (before, after): (Vec<usize>, Vec<usize>) = amounts.iter().copied().unzip();
    ("pads", Attribute::sizes(&[before, after].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_depends_on_the_size_only_with_larger_steps() {
        let window = |stride: usize| Window {
            kernel: vec![3],
            stride: vec![stride],
            dilation: vec![2],
            padding: Padding::Same,
        };
        assert_eq!(window(1).amounts(0, &Dim::free("height")), Some((2, 2)));
        assert_eq!(window(2).amounts(0, &Dim::free("height")), None);
        assert_eq!(window(2).amounts(0, &Dim::Fixed(8)), Some((1, 2)));
    }
}
