//! Which channels go.

use std::collections::{HashMap, HashSet};

use litesmith_graph::pattern::matches;
use litesmith_graph::{Data, Model, Node, Op, TensorId};

use super::couple::Coupling;
use super::{ChannelOptions, ShrunkLayer};

/// Sets of channels that go, and what that means for each layer.
pub(super) struct Ranked {
    pub(super) gone: HashSet<u32>,
    pub(super) layers: Vec<ShrunkLayer>,
}

/// Layers whose output channels are chosen together, because some of them are the same.
#[derive(Default)]
struct Family {
    /// Each set of channels with its size: the mean magnitude of the weights that make it.
    sets: Vec<(u32, f64)>,
    sparsity: f32,
}

/// A layer that makes channels.
struct Maker<'a> {
    node: &'a Node,
    output: TensorId,
    /// Mean magnitude of the weights of each output channel.
    sizes: Vec<f64>,
}

pub(super) fn rank(model: &Model, coupling: &mut Coupling<'_>, options: &ChannelOptions) -> Ranked {
    let makers = makers(model, coupling);
    for maker in &makers {
        if choice(maker, options).0 {
            coupling.hold(maker.output, "the recipe keeps it");
        }
    }
    let families = families(&makers, coupling, options);
    let gone =
        if options.global { globally(&families, coupling, options) } else { one_by_one(&families, coupling) };
    let layers = makers.iter().map(|maker| outcome(maker, coupling, &gone)).collect();
    Ranked { gone, layers }
}

fn makers<'a>(model: &'a Model, coupling: &Coupling<'_>) -> Vec<Maker<'a>> {
    let graph = model.main();
    let maker = |node: &'a Node| {
        if !matches!(node.op, Op::Conv2D(_) | Op::FullyConnected(_)) {
            return None;
        }
        let (weights, output) = ((*node.inputs.get(1)?)?, *node.outputs.first()?);
        let values: Data = model.data(&graph[weights])?.clone();
        let values = values.floats(graph[weights].dtype)?.into_owned();
        let channels = coupling.count(output);
        if channels == 0 || !values.len().is_multiple_of(channels) {
            return None;
        }
        let depth = (values.len() / channels).max(1);
        let mean = |row: &[f32]| row.iter().map(|value| f64::from(value.abs())).sum::<f64>() / depth as f64;
        Some(Maker { node, output, sizes: values.chunks(depth).map(mean).collect() })
    };
    graph.nodes.iter().filter_map(maker).collect()
}

/// Whether the recipe keeps a layer, and which share of its channels goes.
fn choice(maker: &Maker<'_>, options: &ChannelOptions) -> (bool, f32) {
    let (mut skip, mut sparsity) = (false, options.sparsity);
    for rule in &options.recipe.rules {
        let called = rule.layers.as_deref().is_none_or(|pattern| matches(pattern, &maker.node.name));
        let operator = maker.node.op.builtin_name();
        let named = rule.operators.as_ref().is_none_or(|all| all.iter().any(|name| name == operator));
        if called && named {
            skip = rule.skip.unwrap_or(skip);
            sparsity = rule.sparsity.unwrap_or(sparsity);
        }
    }
    (skip, sparsity)
}

/// Families in the order of their first layer. Where layers of a family ask for different shares, the least one
/// counts.
fn families(makers: &[Maker<'_>], coupling: &mut Coupling<'_>, options: &ChannelOptions) -> Vec<Family> {
    let mut families: Vec<usize> = (0..makers.len()).collect();
    let root = |families: &[usize], mut place: usize| {
        while families[place] != place {
            place = families[place];
        }
        place
    };
    let mut owners: HashMap<u32, usize> = HashMap::new();
    let mut sums: HashMap<u32, (f64, usize)> = HashMap::new();
    let mut order: Vec<Vec<u32>> = Vec::with_capacity(makers.len());
    for (place, maker) in makers.iter().enumerate() {
        let sets: Vec<u32> =
            (0..maker.sizes.len()).map(|channel| coupling.set(maker.output, channel)).collect();
        for (set, size) in sets.iter().zip(&maker.sizes) {
            let owner = *owners.entry(*set).or_insert(place);
            let (a, b) = (root(&families, owner), root(&families, place));
            families[a.max(b)] = a.min(b);
            let sum = sums.entry(*set).or_default();
            *sum = (sum.0 + size, sum.1 + 1);
        }
        order.push(sets);
    }
    let mut made: Vec<Family> = makers.iter().map(|_| Family { sets: Vec::new(), sparsity: 1.0 }).collect();
    let mut known = HashSet::new();
    for (place, maker) in makers.iter().enumerate() {
        let family = &mut made[root(&families, place)];
        family.sparsity = family.sparsity.min(choice(maker, options).1);
        let new = order[place].iter().filter(|set| known.insert(**set));
        family.sets.extend(new.map(|set| (*set, sums[set].0 / sums[set].1 as f64)));
    }
    made.retain(|family| !family.sets.is_empty());
    made
}

/// The number of `count` that stay.
fn staying(count: usize, sparsity: f32) -> usize {
    ((count as f32 * (1.0 - sparsity)).round_ties_even().max(1.0) as usize).min(count)
}

/// Sets that may go, the smallest first; of equal ones the last first.
fn free(family: &Family, coupling: &mut Coupling<'_>) -> Vec<(u32, f64)> {
    let mut free: Vec<(usize, (u32, f64))> = family.sets.iter().copied().enumerate().collect();
    free.retain(|(_, (set, _))| coupling.held(*set).is_none());
    free.sort_by(|(i, (_, a)), (j, (_, b))| a.total_cmp(b).then(j.cmp(i)));
    free.into_iter().map(|(_, set)| set).collect()
}

fn one_by_one(families: &[Family], coupling: &mut Coupling<'_>) -> HashSet<u32> {
    let mut gone = HashSet::new();
    for family in families {
        let count = family.sets.len();
        let going = count - staying(count, family.sparsity);
        gone.extend(free(family, coupling).into_iter().take(going).map(|(set, _)| set));
    }
    gone
}

/// Ranks the sets of all families by their size beside the mean of their family; each keeps its largest.
fn globally(families: &[Family], coupling: &mut Coupling<'_>, options: &ChannelOptions) -> HashSet<u32> {
    let mut all = Vec::new();
    let mut count = 0;
    for family in families {
        let mean = family.sets.iter().map(|(_, size)| size).sum::<f64>() / family.sets.len() as f64;
        let mut free = free(family, coupling);
        if free.len() == family.sets.len() {
            free.pop();
        }
        count += family.sets.len();
        all.extend(free.into_iter().map(|(set, size)| (set, if mean > 0.0 { size / mean } else { 0.0 })));
    }
    all.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    all.into_iter().take(count - staying(count, options.sparsity)).map(|(set, _)| set).collect()
}

fn outcome(maker: &Maker<'_>, coupling: &mut Coupling<'_>, gone: &HashSet<u32>) -> ShrunkLayer {
    let before = maker.sizes.len();
    let sets: Vec<u32> = (0..before).map(|channel| coupling.set(maker.output, channel)).collect();
    let after = sets.iter().filter(|set| !gone.contains(set)).count();
    let held = sets.first().and_then(|set| coupling.held(*set)).map(str::to_owned);
    ShrunkLayer {
        name: maker.node.name.clone(),
        operator: maker.node.op.builtin_name().to_owned(),
        before,
        after,
        reason: held.filter(|_| after == before),
    }
}
