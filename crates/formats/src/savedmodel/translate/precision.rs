//! Half precision becomes single precision.
//!
//! Sources that are trained in mixed precision cast weights and results to half precision to save time
//! where they were trained. That only rounds, and costs time on a CPU. So every value is a number of
//! single precision, constants and variables keep their values, and inputs take single precision.

use litesmith_graph::{DType, Data};

use crate::savedmodel::attributes::{Attribute, Constant};
use crate::savedmodel::flow::{Flow, Variable};

/// Widens all that a flow reads and computes.
pub(super) fn widen(flow: &mut Flow, variables: &mut [Variable]) {
    variables.iter_mut().for_each(|Variable { dtype, data, .. }| widen_data(dtype, data));
    widen_flow(flow);
}

fn widen_flow(flow: &mut Flow) {
    flow.inputs.iter_mut().for_each(|input| widen_type(&mut input.dtype));
    for node in &mut flow.nodes {
        for attribute in node.attributes.0.values_mut() {
            match attribute {
                Attribute::Type(dtype) => widen_type(dtype),
                Attribute::Types(dtypes) => dtypes.iter_mut().for_each(widen_type),
                Attribute::Tensor(Constant { dtype, data, .. }) => widen_data(dtype, data),
                _ => {}
            }
        }
        node.branches.iter_mut().for_each(widen_flow);
    }
}

fn widen_type(dtype: &mut DType) {
    if *dtype == DType::F16 {
        *dtype = DType::F32;
    }
}

fn widen_data(dtype: &mut DType, data: &mut Data) {
    if *dtype == DType::F16
        && let Some(values) = data.floats(DType::F16)
    {
        *data = Data::from_vec(values.into_owned());
        *dtype = DType::F32;
    }
}
