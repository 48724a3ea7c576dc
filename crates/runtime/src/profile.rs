//! Where the time goes.

use std::time::Instant;

use litesmith_graph::{DType, Graph, Node};
use litesmith_kernels::peak::Products;

use crate::batch::{Moment, Part};

/// Time that one step of a plan takes.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// Name of the node, or of the first one that the step computes.
    pub node: String,
    /// TFLite name of its operator; of several, joined by `+`. Where zeros of the weights are left out,
    /// `(sparse)` follows.
    pub operator: String,
    /// Seconds, the mean over the runs.
    pub seconds: f64,
    /// Multiply-accumulates, those with zeros counted in.
    pub macs: u64,
    /// What they multiply, where kernels have a peak to be measured against.
    pub products: Option<Products>,
}

/// What is measured: steps of plans, or nodes where there is none.
pub(crate) struct Times {
    measured: Vec<Measured>,
    /// For each plan, what its steps count as.
    parts: Vec<Vec<usize>>,
    start: Instant,
}

struct Measured {
    nodes: Vec<usize>,
    name: Option<&'static str>,
    sparse: bool,
    macs: u64,
    seconds: f64,
}

impl Times {
    /// For the steps of plans. What computes the same nodes for a smaller slice counts as the same.
    pub(crate) fn of_parts(parts: &[Part<'_>]) -> Times {
        let mut times = Times { measured: Vec::new(), parts: Vec::new(), start: Instant::now() };
        for Part { plan, first, runs } in parts {
            let known = times.measured.len();
            let steps = plan.steps.iter().map(|step| {
                let nodes: Vec<usize> = step.nodes.iter().map(|node| first + node).collect();
                let macs = step.macs.saturating_mul(*runs as u64);
                let alike = |other: &Measured| other.nodes == nodes && other.name == step.name;
                match times.measured[..known].iter().position(alike) {
                    Some(index) => {
                        times.measured[index].macs += macs;
                        index
                    }
                    None => {
                        let (name, sparse) = (step.name, step.sparse);
                        times.measured.push(Measured { nodes, name, sparse, macs, seconds: 0.0 });
                        times.measured.len() - 1
                    }
                }
            });
            times.parts.push(steps.collect());
        }
        times
    }

    /// For so many nodes, one by one.
    pub(crate) fn of_nodes(nodes: usize) -> Times {
        let node = |node| Measured { nodes: vec![node], name: None, sparse: false, macs: 0, seconds: 0.0 };
        Times {
            measured: (0..nodes).map(node).collect(),
            parts: vec![(0..nodes).collect()],
            start: Instant::now(),
        }
    }

    /// Begins to measure.
    pub(crate) fn start(&mut self) {
        self.start = Instant::now();
    }

    /// Counts the time until now for the step that is done, if one is.
    pub(crate) fn measure(&mut self, now: Moment) {
        let step = now.done.checked_sub(1).and_then(|step| self.parts.get(now.part)?.get(step));
        if let Some(measured) = step.and_then(|index| self.measured.get_mut(*index)) {
            measured.seconds += self.start.elapsed().as_secs_f64();
        }
        self.start();
    }

    /// The steps that nodes of this graph were computed by in so many runs.
    pub(crate) fn steps(self, graph: &Graph, runs: usize) -> Vec<StepTime> {
        let time = |Measured { nodes, name, sparse, macs, seconds }: Measured| {
            let nodes: Vec<&Node> = nodes.iter().map(|node| &graph.nodes[*node]).collect();
            let operators: Vec<&str> = nodes.iter().map(|node| node.op.builtin_name()).collect();
            let mut operator = name.map_or_else(|| operators.join("+"), str::to_owned);
            if sparse {
                operator.push_str(" (sparse)");
            }
            let products = nodes.iter().find_map(|node| products(graph, node)).filter(|_| macs > 0);
            let seconds = seconds / runs as f64;
            StepTime { node: nodes[0].name.clone(), operator, seconds, macs, products }
        };
        self.measured.into_iter().map(time).collect()
    }
}

/// What a node that multiplies two operands multiplies.
fn products(graph: &Graph, node: &Node) -> Option<Products> {
    let [Some(a), Some(b), ..] = node.inputs[..] else { return None };
    match (graph[a].dtype, graph[b].dtype) {
        (DType::F32, DType::F32 | DType::F16) => Some(Products::Floats),
        (DType::F32 | DType::I8 | DType::U8, DType::I8 | DType::U8 | DType::I4) => Some(Products::Bytes),
        (DType::I16, DType::I8 | DType::I16 | DType::I4) => Some(Products::Words),
        _ => None,
    }
}
