//! One vector register of floats, on each instruction set.
//!
//! Kernels are written once, generic over [`Lanes`], and compiled per instruction set by the
//! `for_each_isa` macro, which wraps them in functions that enable the target's features; the
//! methods here are inlined into those.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// A vector register of floats and the operations that kernels need.
///
/// # Safety
/// Of all methods: the processor has the instruction set (see [`Isa::available`](crate::Isa)), and
/// pointers are valid for the elements named. Nothing has to be aligned.
pub(crate) trait Lanes: Copy {
    /// Floats in a register.
    const COUNT: usize;
    /// Pixels of a convolution tile: so many times two accumulators, two weights and a broadcast
    /// value fit the register file.
    const PIXELS: usize;

    unsafe fn zero() -> Self;
    /// The same number in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// All `COUNT` elements.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count < COUNT` elements, zeros behind them.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// Stores only the first `count < COUNT` elements.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `self + x * w`.
    unsafe fn add_product(self, x: Self, w: Self) -> Self;
    /// `acc + x[k] * w` for the one float `x[k]`.
    unsafe fn add_scaled(acc: Self, x: *const f32, k: usize, w: Self) -> Self;
    /// The same for two registers.
    unsafe fn add_scaled_pair(acc: [Self; 2], x: *const f32, k: usize, w: [Self; 2]) -> [Self; 2];
    /// The same for a register and a half: of the second register only the lower half counts. For
    /// sets where half a register takes half the time.
    #[inline(always)]
    unsafe fn add_scaled_half(acc: [Self; 2], x: *const f32, k: usize, w: [Self; 2]) -> [Self; 2] {
        // SAFETY: handed on.
        unsafe { Self::add_scaled_pair(acc, x, k, w) }
    }
    /// Asks for the cache line at `from`, which may lie anywhere, to be in the first-level cache soon.
    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        let _ = from;
    }
    /// The same for the second-level cache.
    #[inline(always)]
    unsafe fn prefetch_far(from: *const f32) {
        let _ = from;
    }
    /// Into the bounds; NaN stays NaN.
    unsafe fn clamp(self, min: f32, max: f32) -> Self;
    /// Times the slope of its lane where it is below 0.
    unsafe fn rectify(self, slopes: Self) -> Self;
    /// Brings `count` numbers of each of `COUNT` rows side by side, from number `first` on: number `i` of
    /// all rows goes to `to + i * pitch`.
    #[inline(always)]
    unsafe fn turn(rows: *const *const f32, first: usize, count: usize, to: *mut f32, pitch: usize) {
        for row in 0..Self::COUNT {
            for i in 0..count {
                // SAFETY: these numbers are readable and writable by the trait's contract.
                unsafe { *to.add(i * pitch + row) = *(*rows.add(row)).add(first + i) };
            }
        }
    }
    /// Into the bounds; NaN becomes the lower one.
    unsafe fn hold(self, low: Self, high: Self) -> Self;
    /// Zero in all lanes but those in which the value lies between the bounds, and is neither of them.
    unsafe fn between(self, value: Self, low: Self, high: Self) -> Self;
}

/// Plain Rust, four floats that the compiler may put into a register of any target.
///
/// Products and sums are rounded separately: without hardware support a fused multiply-add would
/// be a function call.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 4]);

impl Lanes for Portable {
    const COUNT: usize = 4;
    const PIXELS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Portable([0.0; 4])
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Portable([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: four elements are readable by the trait's contract.
        Portable(unsafe { from.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        // SAFETY: `count` elements are readable by the trait's contract.
        let values = unsafe { std::slice::from_raw_parts(from, count) };
        Portable(std::array::from_fn(|i| values.get(i).copied().unwrap_or(0.0)))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: four elements are writable by the trait's contract.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (i, value) in self.0.iter().take(count).enumerate() {
            // SAFETY: `count` elements are writable by the trait's contract.
            unsafe { to.add(i).write(*value) }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        Portable(std::array::from_fn(|i| self.0[i] + x.0[i] * w.0[i]))
    }

    #[inline(always)]
    unsafe fn add_scaled(acc: Self, x: *const f32, k: usize, w: Self) -> Self {
        // SAFETY: this element is readable by the trait's contract.
        let x = unsafe { *x.add(k) };
        Portable(std::array::from_fn(|i| acc.0[i] + x * w.0[i]))
    }

    #[inline(always)]
    unsafe fn add_scaled_pair(acc: [Self; 2], x: *const f32, k: usize, w: [Self; 2]) -> [Self; 2] {
        // SAFETY: handed on.
        unsafe { [Self::add_scaled(acc[0], x, k, w[0]), Self::add_scaled(acc[1], x, k, w[1])] }
    }

    #[inline(always)]
    unsafe fn clamp(self, min: f32, max: f32) -> Self {
        Portable(self.0.map(|value| super::Clamp { min, max }.apply(value)))
    }

    #[inline(always)]
    unsafe fn rectify(self, slopes: Self) -> Self {
        Portable(std::array::from_fn(|i| crate::elementwise::prelu(self.0[i], slopes.0[i])))
    }

    #[inline(always)]
    unsafe fn hold(self, low: Self, high: Self) -> Self {
        Portable(std::array::from_fn(|i| {
            let raised = if self.0[i] > low.0[i] { self.0[i] } else { low.0[i] };
            if raised < high.0[i] { raised } else { high.0[i] }
        }))
    }

    #[inline(always)]
    unsafe fn between(self, value: Self, low: Self, high: Self) -> Self {
        Portable(std::array::from_fn(|i| {
            if value.0[i] > low.0[i] && value.0[i] < high.0[i] { self.0[i] } else { 0.0 }
        }))
    }
}

/// Defines a module per instruction set with a copy of each of some generic functions in it.
///
/// `for_each_isa!(unsafe fn name<const P: usize>(argument: &Type) = generic)` makes
/// `portable::name`, `avx512::name` and so on, each `generic::<Lanes of that set, P>(argument)`.
macro_rules! for_each_isa {
    ($($(#[$doc:meta])* unsafe fn $name:ident<$(const $P:ident: usize),*>($argument:ident: $Argument:ty) = $generic:ident);+) => {
        mod portable {
            $(
                $(#[$doc])*
                pub(super) unsafe fn $name<$(const $P: usize),*>($argument: $Argument) {
                    // SAFETY: handed on; plain Rust runs everywhere.
                    unsafe { super::$generic::<crate::float::lanes::Portable, $($P),*>($argument) }
                }
            )+
        }
        #[cfg(target_arch = "x86_64")]
        mod avx2 {
            $(
                $(#[$doc])*
                #[target_feature(enable = "avx2,fma")]
                pub(super) unsafe fn $name<$(const $P: usize),*>($argument: $Argument) {
                    // SAFETY: handed on; the caller has checked for the features.
                    unsafe { super::$generic::<crate::float::lanes::Avx2, $($P),*>($argument) }
                }
            )+
        }
        #[cfg(target_arch = "x86_64")]
        mod avx512 {
            $(
                $(#[$doc])*
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                pub(super) unsafe fn $name<$(const $P: usize),*>($argument: $Argument) {
                    // SAFETY: handed on; the caller has checked for the features.
                    unsafe { super::$generic::<crate::float::lanes::Avx512, $($P),*>($argument) }
                }
            )+
        }
        #[cfg(target_arch = "aarch64")]
        mod neon {
            $(
                $(#[$doc])*
                #[target_feature(enable = "neon")]
                pub(super) unsafe fn $name<$(const $P: usize),*>($argument: $Argument) {
                    // SAFETY: handed on; the caller has checked for the features.
                    unsafe { super::$generic::<crate::float::lanes::Neon, $($P),*>($argument) }
                }
            )+
        }
    };
}
pub(crate) use for_each_isa;

/// Defines a function that gives the table of functions for an instruction set.
///
/// `table_by_isa!(fn name -> Type = table)` makes `name(isa) -> &'static Type` from
/// `table!(Lanes of that set, module of that set)`. It panics when the machine lacks the set.
macro_rules! table_by_isa {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident -> $Type:ty = $table:ident) => {
        $(#[$doc])*
        $visibility fn $name(isa: $crate::Isa) -> &'static $Type {
            use $crate::Isa;
            assert!(isa.available(), "this machine cannot run '{isa}'");
            static PORTABLE: $Type = $table!($crate::float::lanes::Portable, portable);
            #[cfg(target_arch = "x86_64")]
            static AVX2: $Type = $table!($crate::float::lanes::Avx2, avx2);
            #[cfg(target_arch = "x86_64")]
            static AVX512: $Type = $table!($crate::float::lanes::Avx512, avx512);
            #[cfg(target_arch = "aarch64")]
            static NEON: $Type = $table!($crate::float::lanes::Neon, neon);
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Vnni | Isa::Amx => &AVX512,
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 | Isa::AvxVnni => &AVX2,
                #[cfg(target_arch = "aarch64")]
                Isa::Neon | Isa::NeonDot => &NEON,
                _ => &PORTABLE,
            }
        }
    };
}
pub(crate) use table_by_isa;

/// Repeats a block for each pixel of a tile, with a literal index.
///
/// A `for` loop would do the same, but where the function around it is big the compiler does not
/// unroll it and keeps the accumulators in memory, at a third of the speed.
macro_rules! for_each_pixel {
    ($i:ident < $count:ident, $body:block) => {
        for_each_pixel!(@ $i $count $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $i:ident $count:ident $body:block $($index:literal)*) => {
        $(if $index < $count {
            let $i: usize = $index;
            $body
        })*
    };
}
pub(crate) use for_each_pixel;

/// Most pixels in a tile of any instruction set: as many as [`for_each_pixel`] repeats.
pub(crate) const MOST_PIXELS: usize = 14;
