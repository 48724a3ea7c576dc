//! Zeros left out of a file: TFLite's sparse encoding.
//!
//! As TensorFlow's converter does it (`dense_to_sparse_pass.cc`): weights with more than 30 % of zeros are
//! stored without them. Zeros in blocks along the input of a FULLY_CONNECTED go straight into that operator;
//! all others through DENSIFY, which spells them out when the file is loaded. In a graph, that is
//! [`Identity`] of a sparse constant.

use litesmith_graph::ops::Identity;
use litesmith_graph::quantization::SparseDimension;
use litesmith_graph::{DType, Data, Graph, Model, Node, Op, Sparsity, Tensor, TensorId, TensorKind};

/// The least share of zeros for which they are left out.
const LEAST_SPARSITY: f64 = 0.3;

/// Of the zeros, the share that must lie in whole blocks for blocks to be stored.
const LEAST_BLOCK_SHARE: f64 = 0.9;

/// Leaves the zeros of weights out where that makes them smaller: of a model in the operators of TFLite.
/// Returns how many weights are stored so.
pub fn encode(model: &mut Model) -> usize {
    let mut count = 0;
    for graph in &mut model.graphs {
        for (id, site) in sites(graph) {
            let Some((sparsity, data)) = encoded(&graph[id], site) else { continue };
            count += 1;
            let tensor = &mut graph[id];
            tensor.kind = TensorKind::Constant(data);
            let blocks = !sparsity.block_map.is_empty();
            tensor.sparsity = Some(Box::new(sparsity));
            if !blocks {
                spell_out(graph, id);
            }
        }
    }
    count
}

/// For each tensor the bytes that it would take without its zeros; `None` where it would be stored as it is.
#[must_use]
pub fn encoded_bytes(graph: &Graph) -> Vec<Option<u64>> {
    let mut bytes = vec![None; graph.tensors.len()];
    for (id, site) in sites(graph) {
        let stored = encoded(&graph[id], site).map(|(sparsity, data)| stored(&sparsity, &data) as u64);
        bytes[id.index()] = stored;
    }
    bytes
}

/// What reads a weight. 8-bit weights are stored without zeros only where LiteRT 2.3 loads that: those of layers
/// that quantize their input as they run are not, and of dense layers only blocks are (it refuses the rest, or
/// ends the process, also for TensorFlow's own files); dense layers of 16-bit activations
/// it loads, and computes wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    /// FULLY_CONNECTED alone.
    Dense,
    /// Anything else that has weights.
    Other,
}

/// Constants that weighted operators, and nothing else, read as their weights.
fn sites(graph: &Graph) -> Vec<(TensorId, Site)> {
    let consumers = graph.consumers();
    let dtype = |id: Option<Option<TensorId>>| id.flatten().map(|id| graph[id].dtype);
    let words = |node: &Node| dtype(node.inputs.first().copied()) == Some(DType::I16);
    let quantizes = |node: &Node| {
        dtype(node.inputs.first().copied()) == Some(DType::F32)
            && dtype(node.inputs.get(1).copied()) == Some(DType::I8)
    };
    let weights = |node: &Node, id: TensorId| {
        let reads = |input: usize| {
            node.inputs.iter().enumerate().all(|(place, own)| (*own == Some(id)) == (place == input))
        };
        match &node.op {
            Op::FullyConnected(_) if reads(1) && !quantizes(node) && !words(node) => Some(Site::Dense),
            Op::Conv2D(_) | Op::DepthwiseConv2D(_) if reads(1) && !quantizes(node) => Some(Site::Other),
            Op::Dequantize(_) if reads(0) && graph[id].dtype == DType::F16 => Some(Site::Other),
            _ => None,
        }
    };
    let site = |id: TensorId| {
        let tensor = &graph[id];
        if !matches!(tensor.kind, TensorKind::Constant(_)) || tensor.sparsity.is_some() || graph.is_output(id)
        {
            return None;
        }
        let readers: Option<Vec<Site>> =
            consumers[id.index()].iter().map(|node| weights(&graph[*node], id)).collect();
        let readers = readers.filter(|readers| !readers.is_empty())?;
        let dense = readers.iter().filter(|site| **site == Site::Dense).count();
        let mixed = dense > 0 && dense < readers.len();
        let site = if dense > 0 { Site::Dense } else { Site::Other };
        (!mixed || tensor.dtype != DType::I8).then_some((id, if mixed { Site::Other } else { site }))
    };
    graph.tensor_ids().filter_map(site).collect()
}

/// How a weight is stored without its zeros, where that pays.
fn encoded(tensor: &Tensor, site: Site) -> Option<(Sparsity, Data)> {
    let TensorKind::Constant(data) = &tensor.kind else { return None };
    let shape = tensor.shape.to_fixed().filter(|shape| shape.len() >= 2)?;
    let size = match tensor.dtype {
        DType::F32 => 4,
        DType::F16 => 2,
        DType::I8
            if tensor
                .quantization
                .as_ref()
                .is_some_and(|own| own.zero_points.iter().all(|zero| *zero == 0)) =>
        {
            1
        }
        _ => return None,
    };
    let zeros = zeros(data.bytes(), size);
    let share = |count: usize, of: usize| if of == 0 { 0.0 } else { count as f64 / of as f64 };
    let random = share(zeros.iter().filter(|zero| **zero).count(), zeros.len());
    if random <= LEAST_SPARSITY {
        return None;
    }
    // The widths that TensorFlow's kernels have.
    let width = if tensor.dtype == DType::I8 { 16 } else { 4 };
    let columns = *shape.last()?;
    let blocks = zeros.chunks(width).filter(|block| block.iter().all(|zero| *zero)).count() * width;
    let fits = site == Site::Dense && shape.len() == 2 && columns.is_multiple_of(width);
    let whole = fits && share(blocks, zeros.len()) / random > LEAST_BLOCK_SHARE;
    if site == Site::Dense && !whole && tensor.dtype == DType::I8 {
        return None;
    }
    let (sparsity, kept) = if whole { in_blocks(&shape, &zeros, width) } else { one_by_one(&shape, &zeros) };
    let elements = data.bytes().chunks_exact(size).zip(kept).filter(|(_, kept)| *kept);
    let data = Data::from_vec(elements.flat_map(|(element, _)| element).copied().collect::<Vec<u8>>());
    (stored(&sparsity, &data) < zeros.len() * size).then_some((sparsity, data))
}

/// Which elements are zero; of a float, both zeros are.
fn zeros(bytes: &[u8], size: usize) -> Vec<bool> {
    let zero = |element: &[u8]| match (size, element) {
        (2 | 4, [rest @ .., last]) => last & 0x7F == 0 && rest.iter().all(|byte| *byte == 0),
        (_, all) => all.iter().all(|byte| *byte == 0),
    };
    bytes.chunks_exact(size).map(zero).collect()
}

fn in_blocks(shape: &[usize], zeros: &[bool], width: usize) -> (Sparsity, Vec<bool>) {
    let (rows, columns) = (shape[0], shape[1]);
    let line = |row: &[bool]| -> Vec<bool> {
        row.chunks(width).map(|block| block.iter().all(|zero| *zero)).collect()
    };
    let blocks: Vec<bool> = zeros.chunks(columns).flat_map(line).collect();
    let compressed = csr(&blocks, columns / width);
    let dimensions = vec![SparseDimension::Dense(rows), compressed, SparseDimension::Dense(width)];
    let kept = blocks.iter().flat_map(|zero| std::iter::repeat_n(!zero, width)).collect();
    (Sparsity { traversal_order: vec![0, 1, 2], block_map: vec![1], dimensions }, kept)
}

fn one_by_one(shape: &[usize], zeros: &[bool]) -> (Sparsity, Vec<bool>) {
    let (last, outer) = (shape[shape.len() - 1], &shape[..shape.len() - 1]);
    let mut dimensions: Vec<SparseDimension> =
        outer.iter().map(|size| SparseDimension::Dense(*size)).collect();
    dimensions.push(csr(zeros, last));
    let sparsity =
        Sparsity { traversal_order: (0..shape.len()).collect(), block_map: Vec::new(), dimensions };
    (sparsity, zeros.iter().map(|zero| !zero).collect())
}

fn csr(zeros: &[bool], columns: usize) -> SparseDimension {
    let (mut segments, mut indices) = (vec![0], Vec::new());
    for row in zeros.chunks(columns.max(1)) {
        indices.extend(row.iter().enumerate().filter(|(_, zero)| !**zero).map(|(index, _)| index));
        segments.push(indices.len());
    }
    SparseDimension::Csr { segments, indices }
}

/// Bytes that a file needs for it.
fn stored(sparsity: &Sparsity, data: &Data) -> usize {
    data.len() + sparsity.stored_bytes()
}

/// Puts a node between a sparse constant and its readers that gives it as it was.
fn spell_out(graph: &mut Graph, id: TensorId) {
    let mut dense = graph[id].clone();
    (dense.kind, dense.sparsity) = (TensorKind::Activation, None);
    let name = dense.name.clone();
    graph[id].name = format!("{name}/sparse");
    let dense = graph.add_tensor(dense);
    graph.replace_uses(id, dense);
    let node = Node { name, op: Identity::default().into(), inputs: vec![Some(id)], outputs: vec![dense] };
    graph.nodes.insert(0, node);
}

/// Spells out sparse constants, for those who read elements. What does not fit its own description stays.
pub fn densify(model: &mut Model) {
    for tensor in model.graphs.iter_mut().flat_map(|graph| &mut graph.tensors) {
        let (Some(sparsity), TensorKind::Constant(data)) = (&tensor.sparsity, &tensor.kind) else { continue };
        let (Some(shape), Some(size)) = (tensor.shape.to_fixed(), tensor.dtype.bytes(1)) else { continue };
        let length = tensor.shape.elements().and_then(|elements| tensor.dtype.bytes(elements));
        let dense = length.and_then(|length| sparsity.to_dense(&shape, size, data.bytes(), length));
        if let Some(dense) = dense {
            tensor.kind = TensorKind::Constant(Data::from_vec(dense));
            tensor.sparsity = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::{text, validate};

    /// A dense layer with these weights, which are 1 or 0.
    fn model(rows: usize, columns: usize, one: impl Fn(usize, usize) -> bool) -> Model {
        let text = format!(
            "graph main(%x: f32[1,{columns}]) -> (%y) {{
               %w: f32[{rows},{columns}] = random(1)
               %y: f32[1,{rows}] = FullyConnected(%x, %w, _) # dense
             }}"
        );
        let mut model = text::parse(&text).unwrap();
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let values: Vec<f32> = places.map(|(row, column)| f32::from(u8::from(one(row, column)))).collect();
        let weights = model.main().nodes[0].inputs[1].unwrap();
        model.main_mut()[weights].kind = TensorKind::Constant(Data::from_vec(values));
        model
    }

    fn weights(model: &Model) -> &Tensor {
        let node = model.main().nodes.iter().find(|node| matches!(node.op, Op::FullyConnected(_))).unwrap();
        &model.main()[node.inputs[1].unwrap()]
    }

    #[test]
    fn scattered_zeros_are_spelled_out_by_a_node_of_their_own() {
        let dense = model(8, 20, |row, column| (row * 7 + column * 3) % 10 < 3);
        let mut sparse = dense.clone();
        assert_eq!(encode(&mut sparse), 1);
        assert_eq!(validate(&sparse), Ok(()));
        assert!(matches!(sparse.main().nodes[0].op, Op::Identity(_)));
        assert!(weights(&sparse).sparsity.is_none());
        let stored = sparse.main().nodes[0].inputs[0].unwrap();
        let data = sparse.data(&sparse.main()[stored]).unwrap();
        assert_eq!(data.len(), 8 * 20 * 4 * 3 / 10);
        let weights = dense.main().nodes[0].inputs[1].unwrap();
        assert_eq!(encoded_bytes(dense.main())[weights.index()], Some(48 * 5 + 9));
        densify(&mut sparse);
        assert_eq!(sparse.data(&sparse.main()[stored]), dense.data(&dense.main()[weights]));
    }

    #[test]
    fn zeros_in_blocks_go_into_the_operator() {
        let dense = model(8, 32, |row, column| (row + column / 4) % 3 == 0);
        let mut sparse = dense.clone();
        assert_eq!(encode(&mut sparse), 1);
        let stored = weights(&sparse).sparsity.clone().unwrap();
        assert_eq!((stored.traversal_order, stored.block_map), (vec![0, 1, 2], vec![1]));
        assert_eq!(sparse.main().nodes.len(), 1);
        densify(&mut sparse);
        assert_eq!(sparse, dense);
    }

    #[test]
    fn bytes_of_dense_layers_are_stored_in_blocks_or_whole() {
        for (one, count) in [(4, 0), (16, 1)] {
            let mut dense = model(8, 64, |row, column| (row + column / one) % 4 == 0);
            let id = dense.main().nodes[0].inputs[1].unwrap();
            let bytes: Vec<i8> =
                dense.data(weights(&dense)).unwrap().elements::<f32>().iter().map(|x| *x as i8).collect();
            let input = dense.main().inputs[0];
            dense.main_mut()[input].dtype = DType::I8;
            let weights = &mut dense.main_mut()[id];
            (weights.dtype, weights.kind) = (DType::I8, TensorKind::Constant(Data::from_vec(bytes)));
            weights.quantization = Some(litesmith_graph::Quantization::per_tensor(1.0, 0));
            assert_eq!(encode(&mut dense), count, "blocks of {one}");
        }
    }

    #[test]
    fn few_zeros_stay() {
        let mut few = model(10, 100, |_, column| column % 10 >= 3);
        assert_eq!(encode(&mut few), 0);
        let mut more = model(10, 100, |row, column| column % 10 >= 3 && row * column != 9 * 99);
        assert_eq!(encode(&mut more), 1);
    }
}
