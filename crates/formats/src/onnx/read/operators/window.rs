//! How windows of convolutions and poolings move over the axes behind batch and channels.

use litesmith_graph::ops::{Pad, PadMode, Padding};
use litesmith_graph::{Dim, TensorId};

use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// A window over the axes between batch and channels.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// What is added before and after each axis.
    pub pads: Vec<[usize; 2]>,
    /// What more may be added behind each axis so that the last window fits; it is never an element.
    pub excess: Vec<usize>,
}

/// What stands beyond the border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Border {
    /// This number.
    Value(f32),
    /// Nothing: elements inside alone count.
    Nothing,
}

impl Window {
    /// The window that a node's attributes state, over `x` with channels in second place.
    pub fn of(scope: &Scope<'_, '_>, x: TensorId, kernel: &[usize]) -> Built<Window> {
        let axes = kernel.len();
        let list = |key: &'static str| -> Built<Vec<usize>> {
            match scope.attributes.integers(key)? {
                None => Ok(vec![1; axes]),
                Some(values) if values.len() == axes && values.iter().all(|value| *value > 0) => {
                    scope.sizes_from(values, key)
                }
                Some(values) => {
                    Err(scope.broken(format!("its attribute '{key}' is {values:?} for {axes} axes")).into())
                }
            }
        };
        let (stride, dilation) = (list("strides")?, list("dilations")?);
        let mut window = Window {
            kernel: kernel.to_vec(),
            stride,
            dilation,
            pads: vec![[0; 2]; axes],
            excess: vec![0; axes],
        };
        let given = scope.attributes.integers("pads")?;
        match scope.attributes.text("auto_pad")?.unwrap_or("NOTSET") {
            "NOTSET" | "" => {
                if let Some(pads) = given {
                    if pads.len() != 2 * axes {
                        return Err(scope.broken(format!("it has pads {pads:?} for {axes} axes")).into());
                    }
                    if pads.iter().any(|pad| *pad < 0) {
                        unsupported!("negative padding is not supported; slice before it");
                    }
                    for (axis, amounts) in window.pads.iter_mut().enumerate() {
                        *amounts = [
                            scope.size_from(pads[axis], "a padding")?,
                            scope.size_from(pads[axes + axis], "a padding")?,
                        ];
                    }
                }
            }
            "VALID" => {}
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                for axis in 0..axes {
                    window.pads[axis] = window.same(scope, x, axis, mode == "SAME_LOWER")?;
                }
            }
            other => return Err(scope.broken(format!("its padding is '{other}'")).into()),
        }
        Ok(window)
    }

    /// Extent of the dilated kernel along an axis.
    pub fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]).saturating_add(1)
    }

    /// The padding along an axis that makes the output `ceil(input / stride)` long.
    fn same(&self, scope: &Scope<'_, '_>, x: TensorId, axis: usize, lower: bool) -> Built<[usize; 2]> {
        let (reach, stride) = (self.reach(axis), self.stride[axis]);
        let total = if stride == 1 {
            reach - 1
        } else {
            let size = scope.size(x, axis + 2)?;
            let steps = size.div_ceil(stride).saturating_sub(1);
            steps.saturating_mul(stride).saturating_add(reach).saturating_sub(size)
        };
        let (less, more) = (total / 2, total - total / 2);
        Ok(if lower { [more, less] } else { [less, more] })
    }

    /// Lets the output be rounded up: the last window may reach beyond the border, but begins inside it.
    pub fn round_up(&mut self, scope: &Scope<'_, '_>, x: TensorId) -> Built<()> {
        for axis in 0..self.kernel.len() {
            let (reach, stride, [before, after]) = (self.reach(axis), self.stride[axis], self.pads[axis]);
            let Some(size) = scope.shape(x).dims().get(axis + 2).and_then(Dim::fixed) else {
                if stride > 1 && (after > 0 || reach < stride) {
                    unsupported!(
                        "an output rounded up needs a fixed size; give the model a fixed input shape"
                    );
                }
                self.excess[axis] = stride - 1;
                continue;
            };
            let padded = size.saturating_add(before).saturating_add(after);
            let Some(room) = padded.checked_sub(reach) else { continue };
            let mut count = room.div_ceil(stride) + 1;
            if (count - 1) * stride >= size + before {
                count -= 1;
            }
            self.excess[axis] = ((count - 1) * stride).saturating_add(reach).saturating_sub(padded);
        }
        Ok(())
    }

    /// The padding as operators state it, if it is none or, over sizes that are known, that of `same`.
    pub fn simple(&self, shape: &[Dim]) -> Option<Padding> {
        let whole = |axis: usize| [self.pads[axis][0], self.pads[axis][1] + self.excess[axis]];
        if (0..self.kernel.len()).all(|axis| whole(axis) == [0, 0]) {
            return Some(Padding::Valid);
        }
        let same = (0..self.kernel.len()).all(|axis| {
            let (reach, stride) = (self.reach(axis), self.stride[axis]);
            let total = match shape.get(axis).and_then(Dim::fixed) {
                _ if stride == 1 => Some(reach - 1),
                Some(size) => Some(
                    ((size.div_ceil(stride).max(1) - 1) * stride).saturating_add(reach).saturating_sub(size),
                ),
                None => None,
            };
            total.is_some_and(|total| whole(axis) == [total / 2, total - total / 2])
        });
        same.then_some(Padding::Same)
    }

    /// The input, channels last, with its padding around it as far as operators do not pad by themselves.
    /// Images are padded by operators.
    pub fn padded(
        &self,
        scope: &mut Scope<'_, '_>,
        x: TensorId,
        border: Border,
    ) -> Built<(TensorId, Padding)> {
        let shape = scope.shape(x).dims()[1..=self.kernel.len()].to_vec();
        if let Some(padding) = self.simple(&shape) {
            return Ok((x, padding));
        }
        let value = match border {
            Border::Value(value) => value,
            Border::Nothing => 0.0,
        };
        if let ([top, left], [below, right]) = (self.pads.as_slice(), self.excess.as_slice())
            && (border == Border::Nothing || value == 0.0)
        {
            let (before, after) = ([top[0], left[0]], [top[1] + below, left[1] + right]);
            return Ok((x, Padding::Explicit { before, after }));
        }
        let mut amounts = vec![[0, 0]];
        amounts.extend(
            self.pads.iter().zip(&self.excess).map(|([before, after], more)| [*before, after + more]),
        );
        amounts.push([0, 0]);
        let mode = if value == 0.0 { PadMode::Zero } else { PadMode::Value(value) };
        let padded = scope.emit(Pad { amounts, mode }, &[x])?;
        Ok((padded, Padding::Valid))
    }
}

/// The first two entries of a list for the axes of an image.
pub(super) fn two(values: &[usize]) -> [usize; 2] {
    [values.first().copied().unwrap_or(1), values.get(1).copied().unwrap_or(1)]
}

/// The first three entries of a list for the axes of a volume.
pub(super) fn three(values: &[usize]) -> [usize; 3] {
    let [first, second] = two(values);
    [first, second, values.get(2).copied().unwrap_or(1)]
}
