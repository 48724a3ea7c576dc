//! Access to constant tensors.

use std::borrow::Cow;

use litesmith_graph::model::Parameter;
use litesmith_graph::{DType, Data, Graph, Tensor, TensorId, TensorKind};
use litesmith_kernels::{ThreadPool, movement};

/// The elements of a constant or parameter; `None` for any other tensor and for sparse ones.
pub(crate) fn data<'a>(tensor: &'a Tensor, parameters: &'a [Parameter]) -> Option<&'a Data> {
    match &tensor.kind {
        _ if tensor.sparsity.is_some() => None,
        TensorKind::Constant(data) => Some(data),
        TensorKind::Parameter(id) => parameters.get(id.0 as usize).map(|parameter| &parameter.data),
        _ => None,
    }
}

/// The single-precision elements of a constant or parameter that is not quantized.
pub(crate) fn floats<'a>(
    graph: &'a Graph,
    parameters: &'a [Parameter],
    id: TensorId,
) -> Option<Cow<'a, [f32]>> {
    let tensor = &graph[id];
    let plain = tensor.quantization.is_none() && tensor.dtype == DType::F32;
    data(tensor, parameters).filter(|_| plain)?.floats(tensor.dtype)
}

/// The elements of a constant that is one number or one for each of `channels`, spread over all
/// channels. The constant's shape must have no axis longer than 1 but the last.
pub(crate) fn per_channel(
    graph: &Graph,
    parameters: &[Parameter],
    id: TensorId,
    channels: usize,
) -> Option<Vec<f32>> {
    let values = floats(graph, parameters, id)?;
    let last = graph[id].shape.last().and_then(|dim| dim.fixed()).unwrap_or(1);
    match values.as_ref() {
        [value] => Some(vec![*value; channels]),
        values if values.len() == channels && last == channels => Some(values.to_vec()),
        _ => None,
    }
}

/// The elements of a tensor of this shape after its axes are permuted; `None` for elements that are no
/// whole bytes.
pub(crate) fn transposed(dtype: DType, data: &Data, shape: &[usize], permutation: &[usize]) -> Option<Data> {
    Some(match dtype.bits()? {
        8 => transpose::<u8>(data, shape, permutation),
        16 => transpose::<u16>(data, shape, permutation),
        32 => transpose::<u32>(data, shape, permutation),
        64 => transpose::<u64>(data, shape, permutation),
        _ => return None,
    })
}

fn transpose<T: bytemuck::Pod + Send + Sync>(data: &Data, shape: &[usize], permutation: &[usize]) -> Data {
    let input = data.elements::<T>();
    let mut output = vec![T::zeroed(); input.len()];
    movement::transpose(&ThreadPool::new(1), shape, permutation, &input, &mut output);
    Data::from_vec(output)
}
