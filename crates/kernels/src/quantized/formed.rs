//! The products of a convolution in whichever form.

use std::borrow::Borrow;

use crate::float::Form;
use crate::sparse::cost::{self, Layer, Zeros};
use crate::{Isa, ThreadPool};

use super::epilogue::Epilogue;
use super::filter::{Filter, WeightOrder};
use super::gather::{Geometry, STEP, Source};
use super::lane::Lane;
use super::product::ByteProduct;
use super::product::sparse::SparseProduct;
#[cfg(target_arch = "x86_64")]
use super::winograd::{self, Winograd};

/// The form in which a convolution of bytes should take the least time for an image of this height and
/// width. The results are the same in every form.
#[must_use]
pub fn best_form(isa: Isa, filter: &Filter, image: [usize; 2]) -> Form {
    let Filter { window, groups, in_channels, out_channels, weights, order } = *filter;
    if groups == 1 && order == WeightOrder::OutputFirst {
        let run = Geometry::of_product(filter, 1, STEP).run();
        let zeros = Zeros::of_bytes(weights, filter.depth(), [run, STEP]);
        let layer = Layer { window, groups, in_channels, out_channels, image };
        if cost::sparse_bytes(isa, &layer, zeros).is_some() {
            return Form::Blocks;
        }
    }
    #[cfg(target_arch = "x86_64")]
    if has_winograd(isa) {
        return winograd::best(isa, filter, image);
    }
    let _ = (isa, filter, image);
    Form::Direct
}

/// The share of the direct form's time that the best dense form takes, if it is possible.
#[cfg(target_arch = "x86_64")]
pub(crate) fn best_share(
    isa: Isa,
    window: &crate::Window,
    groups: usize,
    channels: [usize; 2],
    image: [usize; 2],
) -> f64 {
    if has_winograd(isa) { winograd::best_share(isa, window, groups, channels, image) } else { 1.0 }
}

/// Whether products of words, of which the other forms need fewer, may be fast enough beside those of bytes.
#[cfg(target_arch = "x86_64")]
fn has_winograd(isa: Isa) -> bool {
    matches!(isa, Isa::Avx2 | Isa::Avx512 | Isa::Vnni)
}

/// A product of bytes, packed in one of the forms.
pub(super) enum FormedProduct {
    Direct(ByteProduct),
    Sparse(SparseProduct),
    #[cfg(target_arch = "x86_64")]
    Winograd(Winograd),
}

impl FormedProduct {
    /// Packs a filter in this form, or a simpler one where the instruction set has no kernels for it or its sums
    /// would not be exact; lanes in `packed` order or not, where kernels know one. Also gives the sums of weights by
    /// output channel.
    pub(super) fn new(isa: Isa, form: Form, filter: &Filter, packed: bool) -> (FormedProduct, Vec<i32>) {
        if form == Form::Blocks && filter.groups == 1 {
            let product = SparseProduct::new(isa, filter, packed);
            return (FormedProduct::Sparse(product), filter.weight_sums());
        }
        #[cfg(target_arch = "x86_64")]
        if form != Form::Direct && has_winograd(isa) && filter.order == WeightOrder::OutputFirst {
            filter.check();
            assert!(isa.available(), "this machine cannot run '{isa}'");
            let (sums, largest) = filter.weight_sums_and_largest();
            let form = winograd::exact(form, filter, largest);
            let product = match form {
                Form::Direct => FormedProduct::direct(isa, filter, packed),
                _ => FormedProduct::Winograd(Winograd::new(isa, form, filter)),
            };
            return (product, sums);
        }
        let _ = form;
        (FormedProduct::direct(isa, filter, packed), filter.weight_sums())
    }

    /// Packs a filter as it is, lanes in `packed` order or not.
    pub(super) fn direct(isa: Isa, filter: &Filter, packed: bool) -> FormedProduct {
        FormedProduct::Direct(ByteProduct::new(isa, filter, packed))
    }

    /// Whether it leaves zeros of the weights out.
    pub(super) fn is_sparse(&self) -> bool {
        matches!(self, FormedProduct::Sparse(_))
    }

    /// The taps it reads.
    pub(super) fn geometry(&self) -> &Geometry {
        match self {
            FormedProduct::Direct(product) => product.geometry(),
            FormedProduct::Sparse(product) => product.geometry(),
            #[cfg(target_arch = "x86_64")]
            FormedProduct::Winograd(product) => product.geometry(),
        }
    }

    /// The output channel at each lane.
    pub(super) fn lanes(&self) -> &[Lane] {
        match self {
            FormedProduct::Direct(product) => product.lanes(),
            FormedProduct::Sparse(product) => product.lanes(),
            #[cfg(target_arch = "x86_64")]
            FormedProduct::Winograd(product) => product.lanes(),
        }
    }

    /// Computes all outputs: for each channel `initial` (by lane) plus the products, through the
    /// epilogue that each task begins with.
    pub(super) fn run_each<E: Epilogue, B: Borrow<E>>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[i32],
        begin: impl Fn() -> B + Sync,
        output: &mut [E::Out],
    ) {
        match self {
            FormedProduct::Direct(product) => product.run_each::<E, B>(pool, source, initial, begin, output),
            FormedProduct::Sparse(product) => product.run_each::<E, B>(pool, source, initial, begin, output),
            #[cfg(target_arch = "x86_64")]
            FormedProduct::Winograd(product) => {
                product.run_each::<E, B>(pool, source, initial, begin, output)
            }
        }
    }
}
