//! What layers are called: operations' names without what TensorFlow adds to them.

use std::collections::{HashMap, HashSet};

use crate::savedmodel::flow::{Flow, Variable};

/// Last parts of operations' names, and names of scopes inside layers, that say what is computed and
/// not which layer does.
const SCOPES: &[&str] = &[
    "batchnorm",
    "moments",
    "Tensordot",
    "Gelu",
    "Gather",
    "convolution",
    "zeros",
    "ones",
    LOOP,
    "TensorArrayV2",
    "TensorArrayV2Read",
    "TensorArrayV2Write",
    "TensorArrayV2Stack",
    "TensorArrayUnstack",
];

/// The scope of a loop, inside which layers keep their names.
const LOOP: &str = "while";

/// Layers by the names of operations.
pub(super) struct Names {
    /// The scope of the whole model, which every name starts with.
    model: Option<String>,
    /// The layers that variables name.
    layers: HashSet<String>,
    /// Whether layers are numbered: `dense_1` stands for `dense`.
    numbered: bool,
}

impl Names {
    /// What the names of a flow have in common.
    pub fn of(flow: &Flow, variables: &[Variable]) -> Names {
        let layers: HashSet<String> =
            variables.iter().map(|variable| layer_of(&variable.name).0).filter(|l| !l.is_empty()).collect();
        let mut firsts: HashMap<&str, usize> = HashMap::new();
        let mut count = 0;
        for node in flow.nodes.iter().filter(|node| node.op != "Const") {
            if let Some(first) = parts(&node.name).first() {
                *firsts.entry(first).or_default() += 1;
                count += 1;
            }
        }
        let common = firsts.into_iter().max_by_key(|(first, uses)| (*uses, *first));
        // One or two operations may stand outside: those that name the outputs.
        let model = common
            .filter(|(first, uses)| uses.saturating_add(2) >= count && *uses > 2 && !layers.contains(*first));
        let mut names = Names { model: model.map(|(first, _)| first.to_owned()), layers, numbered: false };
        let (mut plain, mut numbered) = (0, 0);
        for node in &flow.nodes {
            let parts = names.inside(&node.name);
            let Some(first) = parts.first().filter(|_| parts.len() > 1) else { continue };
            plain += usize::from(names.layers.contains(*first));
            numbered += usize::from(unnumbered(first).is_some_and(|layer| names.layers.contains(layer)));
        }
        names.numbered = numbered > plain;
        names
    }

    /// The parts of an operation's name behind the model's.
    fn inside<'n>(&self, name: &'n str) -> Vec<&'n str> {
        let mut parts = parts(name);
        if parts.len() > 1 && parts.first().copied() == self.model.as_deref() {
            parts.remove(0);
        }
        parts
    }

    /// A part as the layer is called.
    fn part<'n>(&self, part: &'n str) -> &'n str {
        match unnumbered(part) {
            // A layer that is called `dense_1` itself is `dense_1_1` there.
            Some(layer) if self.numbered => layer,
            _ => part,
        }
    }

    /// The layer that an operation belongs to.
    pub fn layer(&self, name: &str) -> String {
        let mut parts = self.inside(name);
        if parts.len() == 1 {
            return parts.concat();
        }
        parts.pop();
        while parts.len() > 1 && parts.last().is_some_and(|last| is_scope(last)) {
            parts.pop();
        }
        let parts: Vec<&str> = parts.into_iter().map(|part| self.part(part)).collect();
        let named: Vec<&str> = parts.iter().copied().filter(|part| *part != LOOP).collect();
        if named.is_empty() { parts.join("/") } else { named.join("/") }
    }

    /// The name of an operation's results.
    pub fn tensor(&self, name: &str) -> String {
        let mut parts = self.inside(name);
        let last = parts.pop();
        let layers = parts.into_iter().map(|part| self.part(part));
        layers.chain(last).collect::<Vec<_>>().join("/")
    }

    /// The layer and the variable that a variable's name says.
    pub fn variable(&self, name: &str) -> (String, String) {
        let (layer, variable) = layer_of(name);
        let prefix = self.model.as_ref().map(|model| format!("{model}/"));
        let layer = match prefix.as_ref().and_then(|prefix| layer.strip_prefix(prefix.as_str())) {
            Some(inside) => inside.to_owned(),
            None => layer,
        };
        (layer, variable)
    }
}

/// The parts of a name, without those that only say that a function is called. The last one stays.
fn parts(name: &str) -> Vec<&str> {
    let all: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let count = all.len();
    let kept: Vec<&str> = all
        .into_iter()
        .enumerate()
        .filter(|(place, part)| place + 1 == count || !is_call(part))
        .map(|(_, part)| part)
        .collect();
    kept
}

fn is_call(part: &str) -> bool {
    ["StatefulPartitionedCall", "PartitionedCall"].iter().any(|call| {
        part.strip_prefix(call).is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix('_').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        })
    })
}

fn is_scope(part: &str) -> bool {
    let bare = unnumbered(part).unwrap_or(part);
    SCOPES.contains(&part) || SCOPES.contains(&bare)
}

/// A name without the number behind its last underscore.
fn unnumbered(part: &str) -> Option<&str> {
    let (name, number) = part.rsplit_once('_')?;
    (!name.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then_some(name)
}

/// The layer and the variable of a variable's name.
fn layer_of(name: &str) -> (String, String) {
    let name = name.split(':').next().unwrap_or(name);
    match name.rsplit_once('/') {
        Some((layer, variable)) => (layer.to_owned(), variable.to_owned()),
        None => (String::new(), name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_the_models_scope_go() {
        let names = Names { model: Some("net_1".into()), layers: ["conv".to_owned()].into(), numbered: true };
        assert_eq!(names.layer("StatefulPartitionedCall/net_1/conv_1/convolution"), "conv");
        assert_eq!(names.layer("StatefulPartitionedCall/net_1/bn_1/batchnorm/add_1"), "bn");
        assert_eq!(names.layer("StatefulPartitionedCall_2/net_1/Add_2"), "Add_2");
        assert_eq!(names.layer("net_1/lstm_1/while/lstm_cell_1/MatMul"), "lstm/lstm_cell");
        assert_eq!(names.layer("net_1/conv_1_1/convolution"), "conv_1");
        assert_eq!(names.tensor("net_1/conv_1/BiasAdd_1"), "conv/BiasAdd_1");
        assert_eq!(names.variable("conv/kernel:0"), ("conv".to_owned(), "kernel".to_owned()));
        assert_eq!(names.layer("StatefulPartitionedCall/PartitionedCall"), "PartitionedCall");
    }
}
