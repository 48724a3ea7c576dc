//! Instruction sets: what the machine has, and which of them kernels may use.

use std::fmt;
use std::str::FromStr;

/// An instruction-set level. A kernel takes the best code path at or below the level it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// No target-specific code at all.
    Portable,
    /// Arm Advanced SIMD (aarch64 only).
    Neon,
    /// Neon with the byte dot product (FEAT_DotProd).
    NeonDot,
    /// AVX2 and FMA.
    Avx2,
    /// AVX2 with the byte dot product on its registers: AVX-VNNI, or the same instruction as AVX-512
    /// VNNI encodes it.
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// AVX-512 with the byte dot product (VNNI) and byte permutes (VBMI).
    Vnni,
    /// AVX-512 with AMX int8 tiles.
    Amx,
}

impl Isa {
    /// Every level with the name that `LITESMITH_ISA` takes.
    pub const ALL: [(Isa, &'static str); 8] = [
        (Isa::Portable, "portable"),
        (Isa::Neon, "neon"),
        (Isa::NeonDot, "neondot"),
        (Isa::Avx2, "avx2"),
        (Isa::AvxVnni, "avxvnni"),
        (Isa::Avx512, "avx512"),
        (Isa::Vnni, "vnni"),
        (Isa::Amx, "amx"),
    ];

    /// Whether this machine can run code of this level.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Isa::Portable => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(not(target_arch = "aarch64"))]
            Isa::NeonDot => false,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => {
                let encoded_by_avx512 =
                    is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl");
                Isa::Avx2.available() && (is_x86_feature_detected!("avxvnni") || encoded_by_avx512)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni => {
                Isa::Avx512.available()
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512vbmi")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Vnni.available() && crate::quantized::tiles_are_granted(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The best level of this machine.
    #[must_use]
    pub fn detect() -> Isa {
        Isa::ALL.iter().rev().map(|(isa, _)| *isa).find(|isa| isa.available()).unwrap_or(Isa::Portable)
    }

    /// Every level this machine can run, lowest first: what tests walk through.
    #[must_use]
    pub fn available_levels() -> Vec<Isa> {
        Isa::ALL.iter().map(|(isa, _)| *isa).filter(|isa| isa.available()).collect()
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Isa::ALL.iter().find(|(isa, _)| isa == self).map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

/// A name that is no instruction set, or one that this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsaError {
    /// The name is unknown.
    Unknown(String),
    /// The machine cannot run it.
    Missing(Isa),
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IsaError::Unknown(name) => {
                let names: Vec<_> = Isa::ALL.iter().map(|(_, name)| *name).collect();
                write!(f, "'{name}' is no instruction set; it is one of {}", names.join(", "))
            }
            IsaError::Missing(isa) => write!(f, "this machine cannot run '{isa}'"),
        }
    }
}

impl std::error::Error for IsaError {}

impl FromStr for Isa {
    type Err = IsaError;

    /// A level by name, if the machine has it.
    fn from_str(name: &str) -> Result<Isa, IsaError> {
        let (isa, _) = Isa::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .ok_or_else(|| IsaError::Unknown(name.to_owned()))?;
        if isa.available() { Ok(*isa) } else { Err(IsaError::Missing(*isa)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detected_level_is_available_and_parses() {
        let best = Isa::detect();
        assert!(best.available());
        assert_eq!(best.to_string().parse(), Ok(best));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!("sse9".parse::<Isa>(), Err(IsaError::Unknown("sse9".into())));
    }
}
