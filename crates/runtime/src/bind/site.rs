use std::borrow::Cow;

use litesmith_graph::ops::Activation;
use litesmith_graph::{DType, Data, GraphId, Node, Quantization, StateId};
use litesmith_kernels::elementwise::Affine;
use litesmith_kernels::float;
use litesmith_kernels::{Isa, Window};

use super::{Called, Packed, SharedScratch};
use crate::error::{Refusal, refuse};
use crate::plan::Mode;

/// A node about to be bound, with all that is known of its operands.
pub(crate) struct Site<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its graph.
    pub graph: GraphId,
    /// Its inputs.
    pub inputs: Vec<Option<Operand<'a>>>,
    /// Its outputs.
    pub outputs: Vec<Operand<'a>>,
    /// The graphs that it runs, in the operator's order.
    pub called: Vec<Called>,
    /// What its results are for.
    pub mode: Mode,
    /// The instruction set to pack for.
    pub isa: Isa,
    /// Kernels that were packed before.
    pub packed: &'a Packed,
    /// Memory that layers with changing weights use one after the other.
    pub scratch: &'a SharedScratch,
}

/// What is known of a tensor.
pub(crate) struct Operand<'a> {
    /// Type of its elements in the model.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Number of its elements.
    pub elements: usize,
    /// How its integers stand for real numbers.
    pub quantization: Option<&'a Quantization>,
    /// Its elements, if they are the same in every run.
    pub data: Option<&'a Data>,
    /// Its elements, if they are few integers that follow from constants and shapes.
    pub value: Option<Vec<i64>>,
    /// The state that it is, if it is one.
    pub state: Option<StateId>,
}

impl Site<'_> {
    /// An input that must be there.
    pub(crate) fn input(&self, index: usize) -> Result<&Operand<'_>, Refusal> {
        match self.optional(index) {
            Some(input) => Ok(input),
            None => refuse!("input {index} is missing"),
        }
    }

    /// An input that may be left out.
    pub(crate) fn optional(&self, index: usize) -> Option<&Operand<'_>> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// The only output.
    pub(crate) fn output(&self) -> Result<&Operand<'_>, Refusal> {
        match self.outputs.as_slice() {
            [output] => Ok(output),
            outputs => refuse!("it has {} outputs instead of one", outputs.len()),
        }
    }

    /// Refuses element types that no kernel takes.
    pub(crate) fn check_types(&self) -> Result<(), Refusal> {
        let operands = self.inputs.iter().flatten().chain(&self.outputs);
        for operand in operands {
            match operand.dtype {
                DType::Text | DType::Resource => refuse!("tensors of {} are not supported", operand.dtype),
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses a node that should only pass elements on but whose output, being quantized, stands
    /// for other numbers than its input.
    pub(crate) fn same_parameters(&self) -> Result<(), Refusal> {
        let input = self.input(0)?;
        for output in &self.outputs {
            let other = if input.is_wide() && output.is_wide() {
                input.word_scale()? != output.word_scale()?
            } else {
                input.is_quantized() && output.is_quantized() && input.affine()? != output.affine()?
            };
            if other {
                refuse!("its output is quantized in another way than its input");
            }
        }
        Ok(())
    }

    /// The kernel with this node's packed weights, made the first time.
    pub(crate) fn pack<T: std::any::Any + Send + Sync>(
        &self,
        window: Window,
        make: impl FnOnce() -> T,
    ) -> std::sync::Arc<T> {
        self.pack_as(window, float::Form::Direct, make)
    }

    /// The same for a convolution, which can be packed in several forms.
    pub(crate) fn pack_as<T: std::any::Any + Send + Sync>(
        &self,
        window: Window,
        form: float::Form,
        make: impl FnOnce() -> T,
    ) -> std::sync::Arc<T> {
        // Nodes may have other numbers in the graph that `run` runs; what they compute has one.
        self.packed.get((self.graph, self.node.outputs[0]), (window, form), make)
    }
}

impl Operand<'_> {
    /// Whether its bytes stand for real numbers.
    pub(crate) fn is_quantized(&self) -> bool {
        matches!(self.dtype, DType::I8 | DType::U8) && self.quantization.is_some()
    }

    /// Whether its words stand for real numbers.
    pub(crate) fn is_wide(&self) -> bool {
        self.dtype == DType::I16 && self.quantization.is_some()
    }

    /// The scale of its words, which stand for real numbers without a zero point.
    pub(crate) fn word_scale(&self) -> Result<f32, Refusal> {
        if self.dtype != DType::I16 {
            refuse!("there is no kernel for {} with int16", self.dtype);
        }
        match self.quantization.and_then(Quantization::single) {
            Some((scale, 0)) if scale.is_finite() && scale > 0.0 => Ok(scale),
            Some((scale, zero_point)) => {
                refuse!("int16 with scale {scale} and zero point {zero_point} cannot be used")
            }
            None => refuse!("a tensor of int16 must have one scale"),
        }
    }

    /// How its bytes, as the plan stores them, stand for real numbers.
    pub(crate) fn affine(&self) -> Result<Affine, Refusal> {
        let Some(quantization) = self.quantization else {
            refuse!("a tensor of {} has no quantization parameters", self.dtype)
        };
        let Some((scale, zero_point)) = quantization.single() else {
            refuse!("activations can only have one scale, one has {}", quantization.scales.len())
        };
        let shift = match self.dtype {
            DType::I8 => 128,
            DType::U8 => 0,
            dtype => refuse!("{dtype} cannot stand for real numbers here"),
        };
        let Some(zero_point) = zero_point.checked_add(shift).and_then(|point| u8::try_from(point).ok())
        else {
            refuse!("zero point {zero_point} is no {}", self.dtype)
        };
        if !(scale.is_finite() && scale > 0.0) {
            refuse!("scale {scale} is not above 0");
        }
        Ok(Affine::new(scale, zero_point))
    }

    /// The byte of a tensor that is one constant, as the plan stores it.
    pub(crate) fn single_byte(&self) -> Option<u8> {
        match (self.dtype, self.data?.bytes()) {
            (DType::I8, [byte]) => Some(byte ^ 0x80),
            (DType::U8, [byte]) => Some(*byte),
            _ => None,
        }
    }

    /// Its elements, which must be fixed, as single-precision numbers.
    pub(crate) fn floats(&self, what: &str) -> Result<Cow<'_, [f32]>, Refusal> {
        match self.data.map(|data| data.floats(self.dtype)) {
            Some(Some(floats)) => Ok(floats),
            Some(None) => refuse!("the {what} must be floating-point numbers, not {}", self.dtype),
            None => refuse!("the {what} must be constant"),
        }
    }
}

/// The stored values that a fused activation leaves of a quantized output: XNNPACK's bounds, which
/// are computed in single precision and rounded to even.
pub(crate) fn stored_bounds(activation: Activation, output: Affine) -> [u8; 2] {
    let (low, high) = activation.bounds();
    let stored = |bound: f32| {
        let steps = (bound / output.scale + f32::from(output.zero_point)).clamp(0.0, 255.0);
        steps.round_ties_even() as u8
    };
    [stored(low), stored(high)]
}
