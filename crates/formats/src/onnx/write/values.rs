//! The values of an ONNX file: numbered while nodes are written, named when all are known.

use std::collections::HashMap;

use litesmith_graph::{DType, Shape};

/// A value that nodes read and give. Its name is chosen last, so that what becomes a graph's output can
/// still be called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Value(u32);

impl Value {
    /// Stands where a node's optional input is left out.
    pub const ABSENT: Value = Value(u32::MAX);
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A node of this list of nodes.
    Node(usize),
    /// The caller of a graph or of a nested one.
    Input,
    /// The file.
    Initializer,
}

/// What is known of a value.
pub(super) struct Entry {
    name: String,
    is_named: bool,
    /// Whether the name must be this very one.
    is_fixed: bool,
    pub origin: Origin,
    /// Type and shape, where they are known.
    pub kind: Option<(DType, Shape)>,
}

/// All values of a file.
#[derive(Default)]
pub(super) struct Values(Vec<Entry>);

impl Values {
    /// A new value; `hint` is what it is called if nobody knows better.
    pub fn add(&mut self, hint: &str, origin: Origin) -> Value {
        self.0.push(Entry { name: hint.to_owned(), is_named: false, is_fixed: false, origin, kind: None });
        Value(self.0.len() as u32 - 1)
    }

    pub fn get(&self, value: Value) -> &Entry {
        &self.0[value.0 as usize]
    }

    /// Says what a value holds, unless that is known.
    pub fn describe(&mut self, value: Value, dtype: DType, shape: Shape) {
        self.0[value.0 as usize].kind.get_or_insert((dtype, shape));
    }

    /// Changes the type of what a value holds.
    pub fn retype(&mut self, value: Value, to: DType) {
        if let Some((dtype, _)) = &mut self.0[value.0 as usize].kind {
            *dtype = to;
        }
    }

    /// What a value is called so far.
    pub fn name_of(&self, value: Value) -> &str {
        &self.0[value.0 as usize].name
    }

    /// Gives a value a better name than that of the node that it comes from, unless it has one.
    pub fn call(&mut self, value: Value, name: &str) {
        let entry = &mut self.0[value.0 as usize];
        if !entry.is_named && !name.is_empty() {
            entry.name = name.to_owned();
            entry.is_named = true;
        }
    }

    /// Gives a value exactly this name. Returns `false` where it has such a one already.
    pub fn fix(&mut self, value: Value, name: &str) -> bool {
        let entry = &mut self.0[value.0 as usize];
        if entry.is_fixed {
            return false;
        }
        entry.name = name.to_owned();
        (entry.is_named, entry.is_fixed) = (true, true);
        true
    }

    /// The names of all values, each once.
    pub fn names(&self) -> Names {
        let mut taken = Unique::default();
        for entry in self.0.iter().filter(|entry| entry.is_fixed) {
            taken.take(&entry.name);
        }
        let name = |entry: &Entry| if entry.is_fixed { entry.name.clone() } else { taken.make(&entry.name) };
        Names(self.0.iter().map(name).collect())
    }
}

/// The final names of all values.
pub(super) struct Names(Vec<String>);

impl Names {
    /// The name of a value; empty for one that is left out.
    pub fn of(&self, value: Value) -> &str {
        self.0.get(value.0 as usize).map_or("", String::as_str)
    }
}

/// Makes names that have not been given away.
#[derive(Default)]
pub(super) struct Unique {
    /// Each name with the next number to try behind it.
    taken: HashMap<String, usize>,
}

impl Unique {
    /// The name itself, or with the first number that makes it a new one.
    pub fn make(&mut self, name: &str) -> String {
        let name = if name.is_empty() { "value" } else { name };
        let Some(mut number) = self.taken.get(name).copied() else {
            self.take(name);
            return name.to_owned();
        };
        let made = loop {
            let made = format!("{name}_{number}");
            number += 1;
            if !self.taken.contains_key(&made) {
                break made;
            }
        };
        self.taken.insert(name.to_owned(), number);
        self.take(&made);
        made
    }

    fn take(&mut self, name: &str) {
        self.taken.insert(name.to_owned(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_once_and_those_of_outputs_first() {
        let mut values = Values::default();
        let inner = values.add("y", Origin::Node(1));
        let other = values.add("y", Origin::Node(1));
        let output = values.add("dense/MatMul/output", Origin::Node(1));
        let nameless = values.add("", Origin::Input);
        assert!(values.fix(output, "y"));
        assert!(!values.fix(output, "z"));
        values.call(inner, "y_1");
        values.call(inner, "never");
        let names = values.names();
        let all = [inner, other, output, nameless, Value::ABSENT].map(|value| names.of(value));
        assert_eq!(all, ["y_1", "y_2", "y", "value", ""]);
    }
}
