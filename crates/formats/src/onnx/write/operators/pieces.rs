//! Small expressions that several operators are spelled with.

use litesmith_graph::DType;
use litesmith_graph::ops::Activation;

use crate::onnx::write::Refusal;
use crate::onnx::write::drafts::Attribute;
use crate::onnx::write::spelling::Spelling;
use crate::onnx::write::values::Value;

/// The type that ONNX computes with where it has no arithmetic of this one: small integers and
/// truth values fit into 32 bits.
pub(super) fn wider(dtype: DType) -> DType {
    match dtype {
        DType::I4 | DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::Bool => DType::I32,
        other => other,
    }
}

/// What is taken of one axis, as ONNX's `Slice` counts: negative indices from the end, those
/// beyond an end up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub axis: usize,
    pub start: i64,
    pub end: i64,
    pub step: i64,
}

/// A size of a new shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Fixed(i64),
    /// That of an axis of the tensor that gets the new shape, times the first number and divided by
    /// the second.
    Of {
        axis: usize,
        times: i64,
        over: i64,
    },
    /// What is left over.
    Rest,
}

impl Size {
    /// That of an axis of the tensor that gets the new shape.
    pub fn same(axis: usize) -> Size {
        Size::Of { axis, times: 1, over: 1 }
    }

    /// A size as ONNX counts.
    pub fn fixed(size: usize) -> Result<Size, Refusal> {
        number(size).map(Size::Fixed)
    }
}

/// A size or index as ONNX counts.
pub(super) fn number(size: usize) -> Result<i64, Refusal> {
    i64::try_from(size).map_err(|_| Refusal(format!("ONNX has no sizes as large as {size}")))
}

impl Spelling<'_, '_> {
    /// A value of one type as another.
    pub(super) fn retyped(&mut self, value: Value, from: DType, to: DType) -> Value {
        if from == to { value } else { self.cast(value, to) }
    }

    /// An input as another type.
    pub(super) fn input_as(&mut self, index: usize, to: DType) -> Result<Value, Refusal> {
        let value = self.input(index)?;
        let from = self.dtype(index)?;
        Ok(self.retyped(value, from, to))
    }

    /// An input of integers as ONNX wants its sizes and indices.
    pub(super) fn input_as_sizes(&mut self, index: usize) -> Result<Value, Refusal> {
        match self.integers(index) {
            Some(values) if self.shape(index)?.rank() == 1 => Ok(self.ints(&values)),
            _ => self.input_as(index, DType::I64),
        }
    }

    /// The value held within bounds, either of which may be infinite.
    pub(super) fn clamp(
        &mut self,
        value: Value,
        dtype: DType,
        (low, high): (f32, f32),
    ) -> Result<Value, Refusal> {
        // Integers within the bounds are those within the integers inside.
        let (low, high) = if dtype.is_float() { (low, high) } else { (low.ceil(), high.floor()) };
        let bounds = [low, high].map(f64::from);
        Ok(match bounds.map(f64::is_finite) {
            [false, false] => value,
            [true, false] if low == 0.0 && dtype.is_float() => self.emit("Relu", &[value], []),
            [true, false] => {
                let least = self.scalar(dtype, bounds[0])?;
                self.emit("Max", &[value, least], [])
            }
            [false, true] => {
                let most = self.scalar(dtype, bounds[1])?;
                self.emit("Min", &[value, most], [])
            }
            [true, true] => {
                let (least, most) = (self.scalar(dtype, bounds[0])?, self.scalar(dtype, bounds[1])?);
                self.emit("Clip", &[value, least, most], [])
            }
        })
    }

    /// The value behind an activation that is a part of its operator.
    pub(super) fn fused(
        &mut self,
        value: Value,
        dtype: DType,
        activation: Activation,
    ) -> Result<Value, Refusal> {
        match self.output_quantization(0) {
            Some(_) => self.activated(0, value, activation),
            None => self.clamp(value, dtype, activation.bounds()),
        }
    }

    /// The sizes of a value's axes.
    pub(super) fn sizes(&mut self, value: Value) -> Value {
        let layer = self.layer();
        self.writer.shared(&layer, "Shape", &[value], None)[0]
    }

    /// The size of one axis, as a vector of one.
    pub(super) fn size(&mut self, value: Value, axis: usize) -> Result<Value, Refusal> {
        let (sizes, axis) = (self.sizes(value), self.ints(&[number(axis)?]));
        Ok(self.emit("Gather", &[sizes, axis], [("axis", Attribute::Int(0))]))
    }

    /// The value with more axes of size 1, which stand there in the result.
    pub(super) fn unsqueeze(&mut self, value: Value, axes: &[i64]) -> Value {
        let axes = self.ints(axes);
        self.emit("Unsqueeze", &[value, axes], [])
    }

    /// The value without some axes of size 1.
    pub(super) fn squeeze(&mut self, value: Value, axes: &[i64]) -> Value {
        let axes = self.ints(axes);
        self.emit("Squeeze", &[value, axes], [])
    }

    /// Values behind one another along an axis.
    pub(super) fn concat(&mut self, values: &[Value], axis: i64) -> Value {
        self.emit("Concat", values, [("axis", Attribute::Int(axis))])
    }

    /// What is left of a value once its axes are cut.
    pub(super) fn cut(&mut self, value: Value, cuts: &[Cut]) -> Result<Value, Refusal> {
        if cuts.is_empty() {
            return Ok(value);
        }
        let axes = cuts.iter().map(|cut| number(cut.axis)).collect::<Result<Vec<_>, _>>()?;
        let mut list = |field: fn(&Cut) -> i64| self.ints(&cuts.iter().map(field).collect::<Vec<_>>());
        let (starts, ends) = (list(|cut| cut.start), list(|cut| cut.end));
        let (axes, steps) =
            (self.ints(&axes), self.ints(&cuts.iter().map(|cut| cut.step).collect::<Vec<_>>()));
        Ok(self.emit("Slice", &[value, starts, ends, axes, steps], []))
    }

    /// The same elements under another shape.
    pub(super) fn reshape_to(&mut self, value: Value, sizes: &[Size]) -> Result<Value, Refusal> {
        let empty = sizes.contains(&Size::Fixed(0));
        let open = sizes.iter().filter(|size| !matches!(size, Size::Fixed(_))).count();
        let constant = |(place, size): (usize, &Size)| match *size {
            Size::Fixed(size) => Some(size),
            Size::Rest => Some(-1),
            // ONNX copies the size of the same axis where it reads 0.
            Size::Of { axis, times: 1, over: 1 } if axis == place && !empty => Some(0),
            Size::Of { .. } if open == 1 && !empty => Some(-1),
            Size::Of { .. } => None,
        };
        let numbers: Option<Vec<i64>> = sizes.iter().enumerate().map(constant).collect();
        let shape = match numbers {
            Some(numbers) => self.ints(&numbers),
            None => {
                let parts =
                    sizes.iter().map(|size| self.new_size(value, *size)).collect::<Result<Vec<_>, _>>()?;
                self.concat(&parts, 0)
            }
        };
        if !empty {
            return Ok(self.emit("Reshape", &[value, shape], []));
        }
        self.needs_opset(14, "an axis of size 0")?;
        Ok(self.emit("Reshape", &[value, shape], [("allowzero", Attribute::Int(1))]))
    }

    fn new_size(&mut self, value: Value, size: Size) -> Result<Value, Refusal> {
        Ok(match size {
            Size::Fixed(size) => self.ints(&[size]),
            Size::Rest => self.ints(&[-1]),
            Size::Of { axis, times, over } => {
                let mut size = self.size(value, axis)?;
                for (operator, factor) in [("Mul", times), ("Div", over)] {
                    if factor != 1 {
                        let factor = self.ints(&[factor]);
                        size = self.emit(operator, &[size, factor], []);
                    }
                }
                size
            }
        })
    }
}
