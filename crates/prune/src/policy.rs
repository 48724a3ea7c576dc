//! Policies: which layers are pruned where a recipe says nothing.

use std::fmt;
use std::str::FromStr;

use litesmith_kernels::Isa;
use serde::{Deserialize, Serialize};

use crate::error::PruneError;
use crate::gain::gain;
use crate::layers::{Layer, Product};
use crate::structure::Structure;

/// Which layers are pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Every layer that TensorFlow's registry has weights for: convolutions, dense and recurrent layers,
    /// embeddings; no depthwise convolutions.
    #[default]
    All,
    /// What this runtime computes faster on this machine with so many zeros.
    Latency,
    /// 1x1 convolutions of step 1, which XNNPACK has sparse kernels for: TensorFlow's
    /// `PruneForLatencyOnXNNPack` (`pruning_policy.py`) without its demands on the layers around them, which no
    /// Keras application meets.
    Xnnpack,
}

/// What [`Policy::Latency`] prunes for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) isa: Isa,
    /// Whether the model is to become one of int8.
    pub(crate) integers: bool,
}

impl Policy {
    /// Whether a layer is pruned.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(
        self,
        layer: &Layer,
        structure: Structure,
        sparsity: f32,
        machine: Machine,
    ) -> Result<(), String> {
        if !layer.usual {
            return Err("depthwise kernels are not pruned unless a recipe says so".into());
        }
        match self {
            Policy::All => Ok(()),
            Policy::Latency => {
                match gain(layer, structure, sparsity, machine.isa, machine.integers || layer.is_integer()) {
                    Some(gain) if gain > 1.0 => Ok(()),
                    Some(_) => Err("zeros make it no faster on this machine".into()),
                    None => Err("there is no sparse kernel for it".into()),
                }
            }
            Policy::Xnnpack => {
                let fits = |product: &Product| {
                    let Product { kernel, stride, dilation, groups, dense, .. } = *product;
                    [kernel, stride, dilation] == [[1, 1]; 3] && groups == 1 && !dense
                };
                match layer.product.as_ref().is_some_and(fits) {
                    true => Ok(()),
                    false => Err("it is no 1x1 convolution of step 1".into()),
                }
            }
        }
    }
}

impl FromStr for Policy {
    type Err = PruneError;

    fn from_str(text: &str) -> Result<Policy, PruneError> {
        match text {
            "all" => Ok(Policy::All),
            "latency" => Ok(Policy::Latency),
            "xnnpack" => Ok(Policy::Xnnpack),
            _ => {
                Err(PruneError::Setting(format!("'{text}' is no policy; there are all, latency and xnnpack")))
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::All => "all",
            Policy::Latency => "latency",
            Policy::Xnnpack => "xnnpack",
        })
    }
}
