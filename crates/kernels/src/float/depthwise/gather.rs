//! Sums of products of some pixels, channel by channel: what one input pixel of a depthwise convolution
//! gathers from the gradients of the output pixels that saw it.

use crate::Isa;
use crate::float::lanes::{Lanes, for_each_isa, table_by_isa};

/// The function of one instruction set.
pub(crate) struct Gather(unsafe fn(&Pixel<'_>));

impl Gather {
    /// For an instruction set.
    ///
    /// # Panics
    /// When the machine lacks it.
    pub(crate) fn new(isa: Isa) -> &'static Gather {
        functions(isa)
    }

    /// `output[c] = sum of a[c] * b[c] over the terms [a, b]`, in order.
    ///
    /// # Panics
    /// When a length differs.
    #[inline]
    pub(crate) fn run(&self, terms: &[[&[f32]; 2]], output: &mut [f32]) {
        assert!(terms.iter().flatten().all(|term| term.len() == output.len()), "terms of one length");
        // SAFETY: `functions` checked the instruction set; all slices are as long as the output.
        unsafe { self.0(&Pixel { terms, output: output.as_mut_ptr(), channels: output.len() }) };
    }
}

/// What one call computes.
struct Pixel<'a> {
    terms: &'a [[&'a [f32]; 2]],
    output: *mut f32,
    channels: usize,
}

for_each_isa!(
    /// All channels of a pixel.
    ///
    /// # Safety
    /// The processor has the instruction set and the terms have as many channels as the output.
    unsafe fn pixel<>(argument: &super::Pixel<'_>) = pixel
);

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        Gather($isa::pixel)
    };
}

table_by_isa!(
    /// The function for an instruction set.
    fn functions -> Gather = functions
);

/// The loop for every instruction set: two registers of channels at a time, then one, then the rest.
#[inline(always)]
unsafe fn pixel<L: Lanes>(pixel: &Pixel<'_>) {
    let &Pixel { terms, output, channels } = pixel;
    let mut channel = 0;
    // SAFETY: of every access: below the number of channels, which all have.
    unsafe {
        while channel + 2 * L::COUNT <= channels {
            let mut acc = [L::zero(); 2];
            for [a, b] in terms {
                let (a, b) = (a.as_ptr().add(channel), b.as_ptr().add(channel));
                acc[0] = acc[0].add_product(L::load(a), L::load(b));
                acc[1] = acc[1].add_product(L::load(a.add(L::COUNT)), L::load(b.add(L::COUNT)));
            }
            acc[0].store(output.add(channel));
            acc[1].store(output.add(channel + L::COUNT));
            channel += 2 * L::COUNT;
        }
        if channel + L::COUNT <= channels {
            let mut acc = L::zero();
            for [a, b] in terms {
                acc = acc.add_product(L::load(a.as_ptr().add(channel)), L::load(b.as_ptr().add(channel)));
            }
            acc.store(output.add(channel));
            channel += L::COUNT;
        }
        if channel < channels {
            let count = channels - channel;
            let mut acc = L::zero();
            for [a, b] in terms {
                let (a, b) = (a.as_ptr().add(channel), b.as_ptr().add(channel));
                acc = acc.add_product(L::load_first(a, count), L::load_first(b, count));
            }
            acc.store_first(output.add(channel), count);
        }
    }
}
