//! The operator table: one line per operator makes the [`Op`] enum.

use serde_json::{Map, Value};

use crate::model::GraphId;
use crate::operator::{Arity, Facts, InferError, Inputs, Operator, QuantizationRule};
use crate::ops::{self, Activation};

macro_rules! operators {
    ($($name:ident,)*) => {
        /// An operator with its attributes. Each variant's documentation is that of its attributes.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each variant is documented at its attributes' type")]
        pub enum Op {
            $($name(ops::$name),)*
        }

        impl Op {
            /// The names of all operators.
            pub const ALL: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Every operator with default attributes: what tests that demand a case per operator
            /// walk through.
            #[must_use]
            pub fn defaults() -> Vec<Op> {
                vec![$(Op::$name(ops::$name::default())),*]
            }

            /// Its name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Op::$name(_) => stringify!($name),)*
                }
            }

            fn operator(&self) -> &dyn Operator {
                match self {
                    $(Op::$name(attributes) => attributes,)*
                }
            }

            /// Its attributes that differ from the default ones, as JSON.
            #[must_use]
            pub fn attributes(&self) -> Map<String, Value> {
                match self {
                    $(Op::$name(attributes) => differences(attributes, &ops::$name::default()),)*
                }
            }

            /// The operator of this name with these attributes; those left out are the default ones.
            ///
            /// # Errors
            /// If the name or an attribute is unknown or has the wrong type.
            pub fn from_attributes(name: &str, attributes: Map<String, Value>) -> Result<Op, String> {
                match name {
                    $(stringify!($name) => serde_json::from_value::<ops::$name>(Value::Object(attributes))
                        .map(Op::$name)
                        .map_err(|error| format!("{name}: {error}")),)*
                    _ => Err(format!("'{name}' is no operator")),
                }
            }
        }

        $(impl From<ops::$name> for Op {
            fn from(attributes: ops::$name) -> Op {
                Op::$name(attributes)
            }
        })*
    };
}

operators! {
    ArgReduce,
    AssignState,
    BatchMatMul,
    BatchNorm,
    BatchNormTraining,
    BatchToSpace,
    Binary,
    BroadcastTo,
    Cast,
    Compare,
    Concat,
    Conv2D,
    Conv3D,
    CumSum,
    Custom,
    DepthToSpace,
    DepthwiseConv2D,
    Dequantize,
    Dropout,
    DropoutTraining,
    ExpandDims,
    FakeQuant,
    FakeQuantTraining,
    Fill,
    FullyConnected,
    Gather,
    GatherNd,
    Gradient,
    Identity,
    If,
    L2Norm,
    Logical,
    OneHot,
    Pack,
    Pad,
    Pool2D,
    Prelu,
    Quantize,
    Range,
    ReadState,
    Recurrent,
    Reduce,
    Reshape,
    Resize,
    Reverse,
    Select,
    ShapeOf,
    Slice,
    Softmax,
    SpaceToBatch,
    SpaceToDepth,
    Split,
    Squeeze,
    StridedSlice,
    Tile,
    TopK,
    Transpose,
    TransposeConv2D,
    TransposeConv3D,
    Unary,
    Unpack,
    UpdateSlice,
    While,
}

impl serde::Serialize for Op {
    /// As a map of one entry: its name, and its attributes that differ from the default ones.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.name(), self.attributes())])
    }
}

impl<'de> serde::Deserialize<'de> for Op {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Op, D::Error> {
        let map = Map::deserialize(deserializer)?;
        let mut entries = map.into_iter();
        match (entries.next(), entries.next()) {
            (Some((name, Value::Object(attributes))), None) => {
                Op::from_attributes(&name, attributes).map_err(serde::de::Error::custom)
            }
            _ => Err(serde::de::Error::custom("an operator is a map of its name to its attributes")),
        }
    }
}

fn differences<T: serde::Serialize>(attributes: &T, default: &T) -> Map<String, Value> {
    let object = |attributes: &T| match serde_json::to_value(attributes) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let default = object(default);
    object(attributes).into_iter().filter(|(key, value)| default.get(key) != Some(value)).collect()
}

impl Op {
    /// The fused activation of an operator that has one.
    pub fn activation_mut(&mut self) -> Option<&mut Activation> {
        match self {
            Op::Conv2D(op) => Some(&mut op.activation),
            Op::Conv3D(op) => Some(&mut op.activation),
            Op::DepthwiseConv2D(op) => Some(&mut op.activation),
            Op::TransposeConv2D(op) => Some(&mut op.activation),
            Op::TransposeConv3D(op) => Some(&mut op.activation),
            Op::FullyConnected(op) => Some(&mut op.activation),
            Op::Pool2D(op) => Some(&mut op.activation),
            Op::Binary(op) => Some(&mut op.activation),
            _ => None,
        }
    }

    /// How many inputs and outputs it takes.
    #[must_use]
    pub fn arity(&self) -> Arity {
        self.operator().arity()
    }

    /// See [`Operator::infer`]. Arity is checked too.
    ///
    /// # Errors
    /// If the inputs do not fit.
    pub fn infer(&self, inputs: Inputs<'_>) -> Result<Vec<Facts>, InferError> {
        let (least, most) = self.arity().inputs;
        if inputs.len() < least || inputs.len() > most {
            return Err(InferError(format!(
                "{} inputs are given, {least} to {most} are taken",
                inputs.len()
            )));
        }
        self.operator().infer(inputs)
    }

    /// The graphs of the model that it runs.
    #[must_use]
    pub fn calls(&self) -> Vec<GraphId> {
        match self {
            Op::If(op) => vec![op.then_graph, op.else_graph],
            Op::While(op) => vec![op.condition, op.body],
            _ => Vec::new(),
        }
    }

    /// The same operator running other graphs.
    pub fn renumber_calls(&mut self, mut new: impl FnMut(GraphId) -> GraphId) {
        match self {
            Op::If(op) => [&mut op.then_graph, &mut op.else_graph].into_iter().for_each(|id| *id = new(*id)),
            Op::While(op) => [&mut op.condition, &mut op.body].into_iter().for_each(|id| *id = new(*id)),
            _ => {}
        }
    }

    /// See [`Operator::macs`].
    #[must_use]
    pub fn macs(&self, inputs: Inputs<'_>, outputs: &[Facts]) -> u64 {
        self.operator().macs(inputs, outputs)
    }

    /// See [`Operator::quantization`].
    #[must_use]
    pub fn quantization(&self) -> QuantizationRule {
        self.operator().quantization()
    }

    /// See [`Operator::has_effect`].
    #[must_use]
    pub fn has_effect(&self) -> bool {
        self.operator().has_effect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_go_to_json_and_back() {
        for op in Op::defaults() {
            assert!(op.attributes().is_empty(), "{} prints its default attributes", op.name());
            assert_eq!(Op::from_attributes(op.name(), op.attributes()), Ok(op));
        }
        let conv = Op::from(ops::Conv2D { stride: [2, 2], ..Default::default() });
        assert_eq!(Value::Object(conv.attributes()).to_string(), r#"{"stride":[2,2]}"#);
        assert_eq!(Op::from_attributes("Conv2D", conv.attributes()), Ok(conv));
    }

    #[test]
    fn unknown_operators_and_attributes_are_refused() {
        assert!(Op::from_attributes("Convolution", Map::new()).is_err());
        let wrong = Map::from_iter([("strides".to_owned(), Value::from(2))]);
        assert!(Op::from_attributes("Conv2D", wrong).is_err());
    }

    #[test]
    fn no_operator_panics_on_missing_inputs() {
        for op in Op::defaults() {
            let _ = op.infer(Inputs(&[]));
            let facts = Facts::new(crate::DType::F32, crate::Shape::default());
            for count in 1..4 {
                let inputs = vec![Some(&facts); count];
                if let Ok(outputs) = op.infer(Inputs(&inputs)) {
                    let _ = op.macs(Inputs(&inputs), &outputs);
                }
            }
        }
    }
}
