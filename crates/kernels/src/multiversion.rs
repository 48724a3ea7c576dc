//! One loop, compiled for every instruction set.

/// Defines a function whose body is compiled once per instruction-set level and which picks one
/// at run time by its first argument, an [`Isa`](crate::Isa).
///
/// The body is ordinary portable Rust that the compiler vectorizes as well as each level allows.
/// Rust neither reorders nor contracts floating-point operations, so every level gives the same
/// bits. A level that the machine lacks is never run, whatever the caller asks for.
///
/// Generic parameters stand in square brackets, each with one bound.
macro_rules! multiversion {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $([$($generic:ident: $bound:path),+])? (
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name $(<$($generic: $bound),+>)? (
            isa: $crate::Isa,
            $($argument: $type),*
        ) $(-> $result)? {
            #[inline(always)]
            fn portable $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                    portable($($argument),*)
                }

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                    portable($($argument),*)
                }

                if isa >= $crate::Isa::Avx512 && $crate::Isa::Avx512.available() {
                    // SAFETY: the machine has these instructions, as was just asked.
                    return unsafe { avx512($($argument),*) };
                }
                if isa >= $crate::Isa::Avx2 && $crate::Isa::Avx2.available() {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            let _ = isa;
            portable($($argument),*)
        }
    };
}

pub(crate) use multiversion;
