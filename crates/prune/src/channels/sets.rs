//! Disjoint sets (Tarjan 1975): which channels are one and the same.

/// Disjoint sets of numbers, each of which may be held: it must stay.
pub(super) struct Sets {
    parents: Vec<u32>,
    /// Of each representative, why its set must stay: an index that the caller gives meaning to.
    held: Vec<Option<u32>>,
}

impl Sets {
    pub(super) fn new(count: usize) -> Sets {
        Sets { parents: (0..count as u32).collect(), held: vec![None; count] }
    }

    pub(super) fn find(&mut self, mut element: u32) -> u32 {
        while self.parents[element as usize] != element {
            let parent = self.parents[element as usize];
            self.parents[element as usize] = self.parents[parent as usize];
            element = parent;
        }
        element
    }

    pub(super) fn union(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        let (first, second) = (a.min(b), a.max(b));
        self.parents[second as usize] = first;
        let held = self.held[first as usize].or(self.held[second as usize]);
        self.held[first as usize] = held;
    }

    pub(super) fn hold(&mut self, element: u32, reason: u32) {
        let root = self.find(element);
        self.held[root as usize].get_or_insert(reason);
    }

    pub(super) fn held(&mut self, element: u32) -> Option<u32> {
        let root = self.find(element);
        self.held[root as usize]
    }
}
