//! The cheapest way to cut a network in two: Dinic's algorithm (1970).

use std::collections::VecDeque;

/// A directed network between a source and a sink.
pub(super) struct Network {
    /// Edges in pairs, each followed by its reverse.
    edges: Vec<Edge>,
    /// For each node, its edges.
    leaving: Vec<Vec<usize>>,
}

struct Edge {
    to: usize,
    left: u64,
}

/// More than any sum of capacities.
pub(super) const ENDLESS: u64 = u64::MAX / 4;

impl Network {
    pub const SOURCE: usize = 0;
    pub const SINK: usize = 1;

    pub fn new() -> Network {
        Network { edges: Vec::new(), leaving: vec![Vec::new(), Vec::new()] }
    }

    pub fn add_node(&mut self) -> usize {
        self.leaving.push(Vec::new());
        self.leaving.len() - 1
    }

    /// An edge with a capacity for each direction.
    pub fn add_edge(&mut self, from: usize, to: usize, there: u64, back: u64) {
        self.leaving[from].push(self.edges.len());
        self.edges.push(Edge { to, left: there });
        self.leaving[to].push(self.edges.len());
        self.edges.push(Edge { to: from, left: back });
    }

    /// For each node, whether it is on the source's side of a cheapest cut: of all cheapest cuts the one
    /// with the fewest such nodes, those that nothing joins to the sink counted in.
    pub fn cut(&mut self) -> Vec<bool> {
        let joined = self.joined_to_sink();
        loop {
            let levels = self.levels();
            if levels[Network::SINK].is_none() {
                return levels
                    .into_iter()
                    .zip(joined)
                    .map(|(level, joined)| level.is_some() || !joined)
                    .collect();
            }
            let mut next = vec![0; self.leaving.len()];
            while self.push(&levels, &mut next) {}
        }
    }

    /// Whether a way leads from each node to the sink, whatever the direction of its edges, beside the
    /// source.
    fn joined_to_sink(&self) -> Vec<bool> {
        let mut joined = vec![false; self.leaving.len()];
        joined[Network::SINK] = true;
        let mut waiting = vec![Network::SINK];
        while let Some(node) = waiting.pop() {
            for to in self.leaving[node].iter().map(|edge| self.edges[*edge].to) {
                if to != Network::SOURCE && !std::mem::replace(&mut joined[to], true) {
                    waiting.push(to);
                }
            }
        }
        joined
    }

    /// Distance of each node from the source over edges that are not full.
    fn levels(&self) -> Vec<Option<u32>> {
        let mut levels = vec![None; self.leaving.len()];
        levels[Network::SOURCE] = Some(0);
        let mut waiting = VecDeque::from([Network::SOURCE]);
        while let Some(node) = waiting.pop_front() {
            for edge in self.leaving[node].iter().map(|edge| &self.edges[*edge]) {
                if edge.left > 0 && levels[edge.to].is_none() {
                    levels[edge.to] = levels[node].map(|level: u32| level + 1);
                    waiting.push_back(edge.to);
                }
            }
        }
        levels
    }

    /// Sends as much as fits along one path that goes up the levels; `next` remembers which edges of each
    /// node lead nowhere.
    fn push(&mut self, levels: &[Option<u32>], next: &mut [usize]) -> bool {
        let mut path: Vec<usize> = Vec::new();
        let mut node = Network::SOURCE;
        while node != Network::SINK {
            match self.leaving[node].get(next[node]) {
                Some(&edge) => {
                    let Edge { to, left } = self.edges[edge];
                    if left > 0 && levels[to] == levels[node].map(|level| level + 1) {
                        path.push(edge);
                        node = to;
                    } else {
                        next[node] += 1;
                    }
                }
                None => {
                    let Some(edge) = path.pop() else { return false };
                    node = self.edges[edge ^ 1].to;
                    next[node] += 1;
                }
            }
        }
        let amount = path.iter().map(|edge| self.edges[*edge].left).min().unwrap_or(0);
        for edge in path {
            self.edges[edge].left -= amount;
            self.edges[edge ^ 1].left += amount;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_edges_are_cut() {
        let mut network = Network::new();
        let [a, b, c] = [(); 3].map(|()| network.add_node());
        network.add_edge(Network::SOURCE, a, 5, 0);
        network.add_edge(Network::SOURCE, b, 3, 0);
        network.add_edge(a, b, 4, 4);
        network.add_edge(a, c, 1, 0);
        network.add_edge(b, c, 2, 0);
        network.add_edge(c, Network::SINK, ENDLESS, 0);
        let side = network.cut();
        assert_eq!([a, b, c].map(|node| side[node]), [true, true, false]);
    }

    #[test]
    fn every_small_network_is_cut_as_cheaply_as_can_be() {
        let mut seed = 1u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % below
        };
        for _ in 0..200 {
            let nodes = 6;
            let edges: Vec<(usize, usize, u64)> = (0..12)
                .map(|_| (random(nodes) as usize, random(nodes) as usize, u64::from(random(9))))
                .filter(|(from, to, _)| from != to)
                .collect();
            let mut network = Network::new();
            (2..nodes).for_each(|_| {
                network.add_node();
            });
            edges.iter().for_each(|(from, to, capacity)| network.add_edge(*from, *to, *capacity, 0));
            let cost = |side: &dyn Fn(usize) -> bool| -> u64 {
                edges.iter().filter(|(from, to, _)| side(*from) && !side(*to)).map(|(_, _, c)| c).sum()
            };
            let best = (0..1usize << nodes)
                .filter(|set| set & 3 == 1)
                .map(|set| cost(&|node| set >> node & 1 == 1))
                .min();
            let side = network.cut();
            assert_eq!(Some(cost(&|node| side[node])), best);
        }
    }
}
