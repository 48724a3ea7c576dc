//! What nodes are called that come out of functions.

use super::proto::NodeDef;

/// What stands before the names of a function's nodes.
#[derive(Clone, Default)]
pub(super) struct Scope<'a> {
    /// Scope of the node that runs the function.
    outer: String,
    /// That node, where it is more than a call: nodes of branches and loops say its name themselves.
    owner: &'a str,
}

impl<'a> Scope<'a> {
    /// The scope inside of a call of this name: the call's own, and not the call itself where its name
    /// says nothing.
    pub fn of_call(name: String) -> Scope<'a> {
        let (scope, last) = name.rsplit_once('/').unwrap_or(("", &name));
        let plain = last.trim_end_matches(|c: char| c.is_ascii_digit());
        let plain = plain.strip_suffix('_').unwrap_or(last);
        let says_nothing = matches!(plain, "PartitionedCall" | "StatefulPartitionedCall");
        Scope { outer: if says_nothing { scope.to_owned() } else { name }, owner: "" }
    }

    /// The scope inside of a branch or loop.
    pub fn inside(&self, node: &'a NodeDef) -> Scope<'a> {
        Scope { outer: self.around(&node.name), owner: &node.name }
    }

    /// A node's name in the flow.
    pub fn name_of(&self, node: &str) -> String {
        join(&self.around(node), node)
    }

    /// What stands before a node's own name.
    fn around(&self, node: &str) -> String {
        if self.owner.is_empty() || starts(node, self.owner) {
            return self.outer.clone();
        }
        join(&self.outer, self.owner)
    }

    /// At most so many bytes stand before a name.
    pub fn length(&self) -> usize {
        self.outer.len() + self.owner.len() + 2
    }
}

/// Whether a name lies in a scope.
fn starts(name: &str, scope: &str) -> bool {
    name.strip_prefix(scope).is_some_and(|rest| rest.starts_with('/'))
}

/// A name behind a scope, where it does not say that scope itself.
fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() || starts(name, scope) { name.to_owned() } else { format!("{scope}/{name}") }
}
