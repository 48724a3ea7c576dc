//! Recurrent layers on float32: a cell run along time.
//!
//! The input's products of many steps are one matrix product; each step then adds the product of what
//! the cell remembers, and works on whole blocks of the batch. The products are those of
//! [`Conv2d`], so **bits depend on neither the number of threads nor the batch**.

use crate::elementwise::{Unary, unary_in_place};
use crate::float::{Clamp, Conv2d};
use crate::{Isa, ThreadPool};

/// Most steps whose products with the input are computed at once: enough rows for a matrix product,
/// few enough to stay in the cache.
const STEPS_AT_ONCE: usize = 64;

/// What one step computes; blocks of `units` columns of kernels and bias stand in the order named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `h = f(x W + h R)`.
    Simple,
    /// Blocks i, f, c, o: `c = g(f) * c + g(i) * f(c)`, `h = g(o) * f(c)`.
    Lstm,
    /// Blocks z, r, h: `h = n + z * (h - n)`, where `n` is the candidate.
    Gru {
        /// Whether the reset gate acts behind the candidate's recurrent product.
        reset_after: bool,
    },
}

impl Cell {
    /// Number of blocks.
    #[must_use]
    pub const fn gates(self) -> usize {
        match self {
            Cell::Simple => 1,
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
        }
    }
}

/// A function inside a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `x`.
    Linear,
    /// A function of one number.
    Unary(Unary),
    /// `min(max(slope * x + offset, 0), 1)`.
    HardSigmoid {
        /// Factor of `x`.
        slope: f32,
        /// Value at 0.
        offset: f32,
    },
}

impl Function {
    fn apply(self, isa: Isa, pool: &ThreadPool, data: &mut [f32]) {
        match self {
            Function::Linear => {}
            Function::Unary(unary) => unary_in_place(isa, pool, unary, data),
            Function::HardSigmoid { slope, offset } => {
                let clamp = Clamp { min: 0.0, max: 1.0 };
                data.iter_mut().for_each(|x| *x = clamp.apply(*x * slope + offset));
            }
        }
    }
}

/// The weights of a layer as they are stored.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `[features, gates * units]`.
    pub kernel: &'a [f32],
    /// `[units, gates * units]`.
    pub recurrent: &'a [f32],
    /// `[gates * units]`; of [`Cell::Gru`] with `reset_after` twice as many, the second half added to
    /// the recurrent product.
    pub bias: Option<&'a [f32]>,
}

/// What a layer runs on.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// `[batch, time, features]`.
    pub x: &'a [f32],
    /// Number of samples.
    pub batch: usize,
    /// Number of steps.
    pub time: usize,
    /// `h` before the first step, `[batch, units]`; `None` for zeros.
    pub h: Option<&'a [f32]>,
    /// `c` before the first step, `[batch, units]` (LSTM only); `None` for zeros.
    pub c: Option<&'a [f32]>,
    /// Whether a step counts (not 0), `[batch, time]`. One that does not changes no state; its output
    /// is that of the step before, zero where there is none.
    pub mask: Option<&'a [u8]>,
    /// Whether time is taken from its end.
    pub backwards: bool,
    /// Whether the output of a step that does not count is zero.
    pub zero_masked: bool,
}

/// Where the results go.
#[derive(Debug)]
pub struct Results<'a> {
    /// `h` after each step in the order of processing, `[batch, time, units]`; `None` if nobody asks.
    pub sequence: Option<&'a mut [f32]>,
    /// `h` after the last step, `[batch, units]`.
    pub h: &'a mut [f32],
    /// `c` after the last step, `[batch, units]`; empty but for an LSTM.
    pub c: &'a mut [f32],
}

/// A recurrent layer with its weights packed for one instruction set.
pub struct Recurrent {
    isa: Isa,
    cell: Cell,
    features: usize,
    units: usize,
    function: Function,
    gate_function: Function,
    input: Conv2d,
    recurrent: Conv2d,
    /// The recurrent product of the candidate where the reset gate acts before it.
    candidate: Option<Conv2d>,
}

impl Recurrent {
    /// Packs the weights. `function` is that of the candidate and of an LSTM's output, `gate_function`
    /// that of the gates.
    ///
    /// # Panics
    /// When the machine lacks `isa`, `features` or `units` is 0, or a weight has another length.
    #[must_use]
    pub fn new(
        isa: Isa,
        cell: Cell,
        [features, units]: [usize; 2],
        weights: Weights<'_>,
        [function, gate_function]: [Function; 2],
    ) -> Recurrent {
        let width = cell.gates() * units;
        assert_eq!(weights.kernel.len(), features * width, "length of the kernel");
        assert_eq!(weights.recurrent.len(), units * width, "length of the recurrent kernel");
        let (bias, recurrent_bias) = match (cell, weights.bias) {
            (Cell::Gru { reset_after: true }, Some(bias)) => {
                assert_eq!(bias.len(), 2 * width, "length of the bias");
                (Some(&bias[..width]), Some(&bias[width..]))
            }
            (_, bias) => (bias, None),
        };
        let dense = |matrix: &[f32], rows: usize, columns: std::ops::Range<usize>, bias: Option<&[f32]>| {
            let transposed: Vec<f32> = columns
                .clone()
                .flat_map(|column| (0..rows).map(move |row| matrix[row * width + column]))
                .collect();
            Conv2d::dense(isa, rows, columns.len(), &transposed, bias, Clamp::NONE)
        };
        let whole = match cell {
            Cell::Gru { reset_after: false } => 2 * units,
            _ => width,
        };
        Recurrent {
            isa,
            cell,
            features,
            units,
            function,
            gate_function,
            input: dense(weights.kernel, features, 0..width, bias),
            recurrent: dense(weights.recurrent, units, 0..whole, recurrent_bias),
            candidate: (whole < width).then(|| dense(weights.recurrent, units, whole..width, None)),
        }
    }

    /// Number of floats that [`run`](Recurrent::run) wants to work with, where kernels have `width`
    /// columns; `None` if it overflows.
    #[must_use]
    pub fn scratch(width: usize, batch: usize, time: usize) -> Option<usize> {
        batch.checked_mul(width)?.checked_mul(time.min(STEPS_AT_ONCE) + 2)
    }

    /// Runs the layer. `scratch` has the length that [`scratch`](Recurrent::scratch) says.
    ///
    /// # Panics
    /// When a slice has another length than it must have.
    pub fn run(
        &self,
        pool: &ThreadPool,
        sequence: &Sequence<'_>,
        scratch: &mut [f32],
        results: &mut Results<'_>,
    ) {
        let &Sequence { x, batch, time, mask, .. } = sequence;
        let (states, width) = (batch * self.units, self.cell.gates() * self.units);
        assert_eq!(x.len(), batch * time * self.features, "length of the input");
        assert_eq!(results.h.len(), states, "length of h");
        assert_eq!(results.c.len(), if self.cell == Cell::Lstm { states } else { 0 }, "length of c");
        assert!(results.sequence.as_ref().is_none_or(|s| s.len() == states * time), "length of the output");
        assert!(mask.is_none_or(|mask| mask.len() == batch * time), "length of the mask");
        assert_eq!(
            Some(scratch.len()),
            Recurrent::scratch(width, batch, time),
            "length of the scratch memory"
        );
        start(results.h, sequence.h);
        start(results.c, sequence.c);
        if states == 0 {
            return;
        }
        let (products, rest) = scratch.split_at_mut(batch * time.min(STEPS_AT_ONCE) * width);
        let (recurrent, gates) = rest.split_at_mut(batch * width);
        for first in (0..time).step_by(STEPS_AT_ONCE) {
            let steps = STEPS_AT_ONCE.min(time - first);
            let from = if sequence.backwards { time - first - steps } else { first };
            let products = &mut products[..batch * steps * width];
            self.multiply(pool, sequence, from, products);
            for step in 0..steps {
                let place = if sequence.backwards { steps - 1 - step } else { step };
                let product = |sample: usize| &products[(sample * steps + place) * width..][..width];
                self.step(pool, &product, recurrent, gates, results.h, results.c, |sample| {
                    mask.is_none_or(|mask| mask[sample * time + from + place] != 0)
                });
                if let Some(output) = results.sequence.as_deref_mut() {
                    let counts =
                        |sample: usize| mask.is_none_or(|mask| mask[sample * time + from + place] != 0);
                    self.keep(output, results.h, [time, first + step], sequence.zero_masked, counts);
                }
            }
        }
    }

    /// The products of `steps` times from `from` on with the kernel, bias added: `[batch, steps, width]`.
    fn multiply(&self, pool: &ThreadPool, sequence: &Sequence<'_>, from: usize, products: &mut [f32]) {
        let &Sequence { x, batch, time, .. } = sequence;
        let steps = products.len() / (batch * self.cell.gates() * self.units);
        if steps == time {
            return self.input.run(pool, x, [batch * time, 1, 1], products);
        }
        let samples =
            x.chunks_exact(time * self.features).zip(products.chunks_exact_mut(products.len() / batch));
        for (x, products) in samples {
            let x = &x[from * self.features..][..steps * self.features];
            self.input.run(pool, x, [steps, 1, 1], products);
        }
    }

    /// One step: `h` and `c` of the samples for which it counts.
    // What a step reads, works with and writes: none of it goes together better.
    #[allow(clippy::too_many_arguments)]
    fn step<'p>(
        &self,
        pool: &ThreadPool,
        product: &dyn Fn(usize) -> &'p [f32],
        recurrent: &mut [f32],
        gates: &mut [f32],
        h: &mut [f32],
        c: &mut [f32],
        counts: impl Fn(usize) -> bool,
    ) {
        let (n, units) = (h.len(), self.units);
        let batch = n / units;
        let width = recurrent.len() / batch;
        let added = if self.candidate.is_some() { 2 * units } else { width };
        self.recurrent.run(pool, h, [batch, 1, 1], &mut recurrent[..batch * added]);
        // Each gate becomes one block of the whole batch.
        let reset_after = self.cell == Cell::Gru { reset_after: true };
        for sample in 0..batch {
            let (product, recurrent) = (product(sample), &recurrent[sample * added..][..added]);
            for (gate, block) in gates.chunks_exact_mut(n).enumerate() {
                let block = &mut block[sample * units..][..units];
                let columns = gate * units..(gate + 1) * units;
                let product = &product[columns.clone()];
                match recurrent.get(columns) {
                    Some(recurrent) if !(reset_after && gate == 2) => {
                        for ((block, x), h) in block.iter_mut().zip(product).zip(recurrent) {
                            *block = x + h;
                        }
                    }
                    _ => block.copy_from_slice(product),
                }
            }
        }
        let fresh = match self.cell {
            Cell::Simple => {
                self.function.apply(self.isa, pool, gates);
                &*gates
            }
            Cell::Lstm => self.lstm(pool, gates, c, &counts),
            Cell::Gru { .. } => self.gru(pool, recurrent, gates, h),
        };
        for (sample, (h, fresh)) in h.chunks_exact_mut(units).zip(fresh.chunks_exact(units)).enumerate() {
            if counts(sample) {
                h.copy_from_slice(fresh);
            }
        }
    }

    /// From the sums of the blocks i, f, c, o to the next `h`; changes `c` of the samples that count.
    fn lstm<'g>(
        &self,
        pool: &ThreadPool,
        gates: &'g mut [f32],
        c: &mut [f32],
        counts: &dyn Fn(usize) -> bool,
    ) -> &'g [f32] {
        let n = c.len();
        let (enter, rest) = gates.split_at_mut(2 * n);
        self.gate_function.apply(self.isa, pool, enter);
        let (candidate, output) = rest.split_at_mut(n);
        self.function.apply(self.isa, pool, candidate);
        self.gate_function.apply(self.isa, pool, output);
        let (input, forget) = enter.split_at(n);
        let kept = candidate.iter_mut().zip(input).zip(forget.iter().zip(&*c));
        kept.for_each(|((candidate, input), (forget, c))| *candidate = forget * c + input * *candidate);
        for (sample, (c, fresh)) in
            c.chunks_exact_mut(self.units).zip(candidate.chunks_exact(self.units)).enumerate()
        {
            if counts(sample) {
                c.copy_from_slice(fresh);
            }
        }
        self.function.apply(self.isa, pool, candidate);
        output.iter_mut().zip(candidate).for_each(|(output, candidate)| *output *= *candidate);
        output
    }

    /// From the sums of the blocks z and r and the input's product of block h to the next `h`.
    fn gru<'g>(
        &self,
        pool: &ThreadPool,
        recurrent: &mut [f32],
        gates: &'g mut [f32],
        h: &[f32],
    ) -> &'g [f32] {
        let (n, units) = (h.len(), self.units);
        let (enter, candidate) = gates.split_at_mut(2 * n);
        self.gate_function.apply(self.isa, pool, enter);
        let (update, reset) = enter.split_at(n);
        match &self.candidate {
            Some(product) => {
                let (rest, result) = recurrent.split_at_mut(2 * n);
                let kept = &mut rest[..n];
                kept.iter_mut().zip(reset.iter().zip(h)).for_each(|(kept, (reset, h))| *kept = reset * h);
                product.run(pool, kept, [n / units, 1, 1], result);
                candidate.iter_mut().zip(result).for_each(|(candidate, result)| *candidate += *result);
            }
            None => {
                let samples = candidate.chunks_exact_mut(units).zip(reset.chunks_exact(units));
                for ((candidate, reset), recurrent) in samples.zip(recurrent.chunks_exact(3 * units)) {
                    let products = reset.iter().zip(&recurrent[2 * units..]);
                    candidate.iter_mut().zip(products).for_each(|(c, (reset, h))| *c += reset * h);
                }
            }
        }
        self.function.apply(self.isa, pool, candidate);
        let values = candidate.iter_mut().zip(update.iter().zip(h));
        values.for_each(|(candidate, (update, h))| *candidate += update * (h - *candidate));
        candidate
    }

    /// Writes `h` as the output of step `place[1]` of `place[0]`, where the mask does not say otherwise.
    fn keep(
        &self,
        output: &mut [f32],
        h: &[f32],
        [time, step]: [usize; 2],
        zero_masked: bool,
        counts: impl Fn(usize) -> bool,
    ) {
        let units = self.units;
        for (sample, (output, h)) in
            output.chunks_exact_mut(time * units).zip(h.chunks_exact(units)).enumerate()
        {
            let (before, now) = output.split_at_mut(step * units);
            let now = &mut now[..units];
            if counts(sample) {
                now.copy_from_slice(h);
            } else if zero_masked || step == 0 {
                now.fill(0.0);
            } else {
                now.copy_from_slice(&before[(step - 1) * units..]);
            }
        }
    }
}

fn start(state: &mut [f32], given: Option<&[f32]>) {
    match given {
        Some(given) => state.copy_from_slice(given),
        None => state.fill(0.0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::recurrent as reference;

    const CELLS: [Cell; 4] =
        [Cell::Simple, Cell::Lstm, Cell::Gru { reset_after: false }, Cell::Gru { reset_after: true }];

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(next).collect()
    }

    /// A layer with all that it runs on.
    #[derive(Clone, Debug)]
    struct Case {
        cell: Cell,
        features: usize,
        units: usize,
        batch: usize,
        time: usize,
        /// Of bias, initial states, mask.
        given: [bool; 3],
        backwards: bool,
        zero_masked: bool,
        functions: [Function; 2],
        seed: u64,
    }

    fn cases() -> impl Strategy<Value = Case> {
        let sizes = (1usize..20, 1usize..20, 1usize..5, prop_oneof![0usize..9, 60usize..140]);
        let functions = prop_oneof![
            Just([Function::Unary(Unary::Tanh), Function::Unary(Unary::Logistic)]),
            Just([Function::Unary(Unary::Relu), Function::HardSigmoid { slope: 0.2, offset: 0.5 }]),
            Just([Function::Linear, Function::Unary(Unary::HardSigmoid)]),
        ];
        (0usize..4, sizes, any::<[bool; 5]>(), functions, any::<u64>()).prop_map(
            |(cell, (features, units, batch, time), flags, functions, seed)| Case {
                cell: CELLS[cell],
                features,
                units,
                batch,
                time,
                given: [flags[0], flags[1], flags[2]],
                backwards: flags[3],
                zero_masked: flags[4],
                functions,
                seed,
            },
        )
    }

    /// Kernel, recurrent kernel, bias, x, h, c and mask. The weights are small, so that states stay
    /// small whatever the functions are.
    struct Data {
        weights: [Vec<f32>; 3],
        x: Vec<f32>,
        states: [Vec<f32>; 2],
        mask: Vec<u8>,
    }

    impl Case {
        fn data(&self) -> Data {
            let width = self.cell.gates() * self.units;
            let biases = if self.cell == (Cell::Gru { reset_after: true }) { 2 * width } else { width };
            let small = |count: usize, seed: u64, size: f32| {
                numbers(count, self.seed ^ seed).into_iter().map(|x| x * size).collect::<Vec<f32>>()
            };
            let states = self.batch * self.units;
            let mask = numbers(self.batch * self.time, self.seed ^ 7);
            Data {
                weights: [
                    small(self.features * width, 1, 0.5),
                    small(self.units * width, 2, 0.5 / self.units as f32),
                    small(biases, 3, 0.2),
                ],
                x: numbers(self.batch * self.time * self.features, self.seed ^ 4),
                states: [numbers(states, self.seed ^ 5), numbers(states, self.seed ^ 6)],
                mask: mask.into_iter().map(|x| u8::from(x > -0.3)).collect(),
            }
        }

        fn weights<'a>(&self, data: &'a Data) -> Weights<'a> {
            let [kernel, recurrent, bias] = &data.weights;
            Weights { kernel, recurrent, bias: self.given[0].then_some(bias) }
        }

        fn sequence<'a>(&self, data: &'a Data) -> Sequence<'a> {
            let [h, c] = &data.states;
            Sequence {
                x: &data.x,
                batch: self.batch,
                time: self.time,
                h: self.given[1].then_some(h),
                c: (self.given[1] && self.cell == Cell::Lstm).then_some(c),
                mask: self.given[2].then_some(&data.mask),
                backwards: self.backwards,
                zero_masked: self.zero_masked,
            }
        }

        fn run(&self, isa: Isa, pool: &ThreadPool, data: &Data, sequence: &Sequence<'_>) -> [Vec<f32>; 3] {
            let sizes = [self.features, self.units];
            let layer = Recurrent::new(isa, self.cell, sizes, self.weights(data), self.functions);
            let states = sequence.batch * self.units;
            let cells = if self.cell == Cell::Lstm { states } else { 0 };
            let mut results = [vec![9.0; states * self.time], vec![9.0; states], vec![9.0; cells]];
            let mut scratch =
                vec![
                    9.0;
                    Recurrent::scratch(self.cell.gates() * self.units, sequence.batch, self.time).unwrap()
                ];
            let [output, h, c] = &mut results;
            layer.run(pool, sequence, &mut scratch, &mut Results { sequence: Some(output), h, c });
            results
        }
    }

    fn check(cases_: u32, test: impl Fn(Case)) {
        use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};
        let config = Config {
            cases: cases_,
            rng_algorithm: RngAlgorithm::ChaCha,
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..Config::default()
        };
        let run = TestRunner::new(config).run(&cases(), |case| {
            test(case);
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{failure}"));
    }

    #[test]
    fn layers_follow_plain_loops_on_every_level() {
        let pool = ThreadPool::new(2);
        check(40, |case| {
            let data = case.data();
            let exact = reference::recurrent(
                case.cell,
                [case.features, case.units],
                case.weights(&data),
                case.functions,
                &case.sequence(&data),
            );
            for isa in Isa::available_levels() {
                let got = case.run(isa, &pool, &data, &case.sequence(&data));
                for (got, exact) in got.iter().zip(&exact) {
                    assert_eq!(got.len(), exact.len(), "{case:?}");
                    for (got, exact) in got.iter().zip(exact) {
                        let error = (f64::from(*got) - exact).abs();
                        assert!(error <= 2e-5 * exact.abs().max(1.0), "{got} instead of {exact}, {case:?}");
                    }
                }
            }
        });
    }

    #[test]
    fn bits_do_not_depend_on_threads_or_batch() {
        let [one, two] = [ThreadPool::new(1), ThreadPool::new(3)];
        check(20, |case| {
            let data = case.data();
            let sequence = case.sequence(&data);
            let isa = Isa::detect();
            let all = case.run(isa, &one, &data, &sequence);
            assert_eq!(case.run(isa, &two, &data, &sequence), all, "{case:?}");
            let part = |sample: usize, per_sample: usize| sample * per_sample..(sample + 1) * per_sample;
            for sample in 0..case.batch {
                let state = part(sample, case.units);
                let single = Sequence {
                    x: &sequence.x[part(sample, case.time * case.features)],
                    batch: 1,
                    h: sequence.h.map(|h| &h[state.clone()]),
                    c: sequence.c.map(|c| &c[state.clone()]),
                    mask: sequence.mask.map(|mask| &mask[part(sample, case.time)]),
                    ..sequence
                };
                let [output, h, c] = case.run(isa, &one, &data, &single);
                assert_eq!(output, all[0][part(sample, case.time * case.units)], "{case:?}");
                assert_eq!(h, all[1][state.clone()], "{case:?}");
                assert!(c.is_empty() || c == all[2][state], "{case:?}");
            }
        });
    }
}
