//! How a step sees its operands in the arena, without copies and without `unsafe`.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use litesmith_graph::{DType, Data};

use crate::buffer::{Buffer, LINE};
use crate::states::States;

/// Where an operand's bytes lie.
#[derive(Clone)]
pub(crate) enum Source {
    /// In the arena.
    Arena(Range<usize>),
    /// Outside, the same in every run.
    Fixed(Arc<Stored>),
    /// Outside, the variable of this index, which the caller of the run lends.
    Variable(usize),
    /// It was left out.
    Absent,
}

/// The bytes of a fixed tensor in the plan's own form (see the crate's documentation), aligned for
/// their type.
pub(crate) enum Stored {
    /// As the model holds them.
    Shared(Data),
    /// Converted or moved.
    Own(Buffer),
}

impl Stored {
    /// The plan's form of a constant; `None` if memory runs out.
    pub(crate) fn new(data: &Data, dtype: DType) -> Option<Stored> {
        let bytes = data.bytes();
        let aligned = bytes.as_ptr().addr().is_multiple_of(size_of::<u64>());
        if aligned && dtype != DType::I8 {
            return Some(Stored::Shared(data.clone()));
        }
        let mut buffer = Buffer::zeroed(bytes.len())?;
        enter(dtype, bytes, buffer.bytes_mut());
        Some(Stored::Own(buffer))
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Stored::Shared(data) => data.bytes(),
            Stored::Own(buffer) => buffer.bytes(),
        }
    }
}

/// Places for blocks of these sizes behind one another, each on a cache line, and the size of all;
/// `None` on overflow.
pub(crate) fn grouped(sizes: &[usize]) -> Option<(Vec<Range<usize>>, usize)> {
    let mut end = 0usize;
    let mut places = Vec::with_capacity(sizes.len());
    for size in sizes {
        let start = end.checked_next_multiple_of(LINE)?;
        end = start.checked_add(*size)?;
        places.push(start..end);
    }
    Some((places, end))
}

/// Copies elements from the model's form to the plan's, or back (`int8` has its top bit flipped).
pub(crate) fn enter(dtype: DType, from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
    if dtype == DType::I8 {
        to.iter_mut().for_each(|byte| *byte ^= 0x80);
    }
}

/// The operands of one step.
pub(crate) struct Io<'a> {
    /// What it reads.
    pub inputs: Inputs<'a>,
    /// What it writes. Where `in_place` is set it holds the first input beforehand.
    pub output: &'a mut [u8],
    /// Bytes that only this step uses; what they hold beforehand is anything.
    pub scratch: &'a mut [u8],
    /// The model's states.
    pub states: &'a mut States,
    /// Whether the first input lies in `output`; it cannot be had from `inputs` then.
    pub in_place: bool,
}

impl<'a> Io<'a> {
    /// Views a step's operands in the arena. `output` and `scratch` do not overlap, and inputs in
    /// the arena overlap neither.
    pub(crate) fn new(
        arena: &'a mut [u8],
        sources: &'a [Source],
        output: &Range<usize>,
        scratch: &Range<usize>,
        in_place: bool,
        states: &'a mut States,
        variables: &'a [&'a [u8]],
    ) -> Io<'a> {
        // An empty range at the start of the other comes before it.
        let output_first = (output.start, output.end) <= (scratch.start, scratch.end);
        let (low, high) = if output_first { (output, scratch) } else { (scratch, output) };
        let (before, rest) = arena.split_at_mut(low.start);
        let (low_bytes, rest) = rest.split_at_mut(low.len());
        let (between, rest) = rest.split_at_mut(high.start - low.end);
        let (high_bytes, after) = rest.split_at_mut(high.len());
        let pieces = [(0, &*before), (low.end, &*between), (high.end, &*after)];
        let inputs = Inputs { sources, pieces, variables };
        let (output, scratch) = if output_first { (low_bytes, high_bytes) } else { (high_bytes, low_bytes) };
        Io { inputs, output, scratch, states, in_place }
    }

    /// Operands that lie in no arena.
    pub(crate) fn apart(
        sources: &'a [Source],
        output: &'a mut [u8],
        scratch: &'a mut [u8],
        states: &'a mut States,
    ) -> Io<'a> {
        let inputs = Inputs { sources, pieces: [(0, &[]); 3], variables: &[] };
        Io { inputs, output, scratch, states, in_place: false }
    }

    /// The output as elements.
    pub(crate) fn output_as<T: Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.output)
    }
}

/// What a step reads.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    sources: &'a [Source],
    /// What is left of the arena beside output and scratch, each piece with its offset.
    pieces: [(usize, &'a [u8]); 3],
    variables: &'a [&'a [u8]],
}

impl<'a> Inputs<'a> {
    /// An input as elements; empty if it was left out.
    pub(crate) fn get<T: Pod>(self, index: usize) -> &'a [T] {
        match self.bytes(index) {
            [] => &[],
            bytes => bytemuck::cast_slice(bytes),
        }
    }

    /// An input's bytes; empty if it was left out.
    pub(crate) fn bytes(self, index: usize) -> &'a [u8] {
        match self.sources.get(index) {
            Some(Source::Arena(range)) => {
                let holds = |(start, piece): &&(usize, &[u8])| {
                    *start <= range.start && range.end <= start + piece.len()
                };
                let (start, piece) = self.pieces.iter().find(holds).expect("operands of a step overlap");
                &piece[range.start - start..range.end - start]
            }
            Some(Source::Fixed(stored)) => stored.bytes(),
            Some(Source::Variable(index)) => self.variables[*index],
            Some(Source::Absent) | None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_found_around_output_and_scratch() {
        let mut arena: Vec<u8> = (0..100).collect();
        let sources = [Source::Arena(0..4), Source::Arena(20..22), Source::Absent, Source::Arena(90..100)];
        for (output, scratch) in [(4..20, 60..70), (60..70, 4..20), (4..20, 0..0)] {
            let mut states = States::default();
            let io = Io::new(&mut arena, &sources, &output, &scratch, false, &mut states, &[]);
            assert_eq!((io.output[0], io.output.len()), (output.start as u8, output.len()));
            assert_eq!(io.scratch.len(), scratch.len());
            assert_eq!(io.inputs.bytes(0), [0, 1, 2, 3]);
            assert_eq!(io.inputs.bytes(1), [20, 21]);
            assert!(io.inputs.bytes(2).is_empty());
            assert_eq!(io.inputs.bytes(3)[9], 99);
        }
    }

    #[test]
    fn signed_bytes_are_flipped() {
        let stored = Stored::new(&Data::from_vec(vec![-128i8, 0, 127]), DType::I8).unwrap();
        assert_eq!(stored.bytes(), [0, 128, 255]);
    }
}
