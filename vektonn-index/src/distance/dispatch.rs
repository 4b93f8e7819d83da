//! Which instruction set runs: chosen once per index, then called through function pointers.
#![allow(unsafe_code, reason = "calls code compiled for the detected instruction set")]

#[cfg(target_arch = "aarch64")]
use super::aarch64::neon;
use super::scalar;
#[cfg(target_arch = "x86_64")]
use super::x86_64::{avx2, avx512};
use std::ffi::{OsStr, OsString};
use std::fmt;

/// The environment variable that overrides the choice of [`InstructionSet`], for tests and comparisons.
const VARIABLE: &str = "VEKTONN_INSTRUCTION_SET";

/// An instruction set that the distance kernels are written for. All give the same bits; they differ in speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstructionSet {
    /// Plain Rust, runs everywhere.
    Scalar,
    /// AVX2 with FMA, x86-64.
    Avx2,
    /// AVX-512F, x86-64.
    Avx512,
    /// NEON, AArch64.
    Neon,
    /// NEON with the dot product instructions (FEAT_DotProd), AArch64.
    NeonDotprod,
}

/// Why the instruction set asked for by `VEKTONN_INSTRUCTION_SET` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstructionSetError {
    /// The value is none of the names.
    #[error("{VARIABLE} must be one of scalar, avx2, avx512, neon, neon-dotprod, but is {value:?}")]
    Unknown {
        /// What stands in the variable.
        value: OsString,
    },
    /// This processor does not have it.
    #[error(
        "{VARIABLE} asks for {wanted}, which this processor does not support; the best it supports is {best}"
    )]
    Unsupported {
        /// The instruction set asked for.
        wanted: InstructionSet,
        /// The best instruction set of this processor.
        best: InstructionSet,
    },
}

impl InstructionSet {
    /// Every instruction set, best first.
    pub const ALL: [Self; 5] = [Self::Avx512, Self::Avx2, Self::NeonDotprod, Self::Neon, Self::Scalar];

    /// The one to use on this processor: the best supported, or what `VEKTONN_INSTRUCTION_SET` says.
    ///
    /// # Errors
    /// The variable is set, not empty, and names no instruction set or one that this processor does not support.
    pub fn detect() -> Result<Self, InstructionSetError> {
        match std::env::var_os(VARIABLE) {
            Some(value) if !value.is_empty() => Self::wanted(&value),
            _ => Ok(Self::best()),
        }
    }

    /// Whether this processor (and operating system) can run it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => has_avx2(),
            // What is compiled for AVX-512F may use AVX2, FMA and F16C: the compiler takes them for a part of it.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                has_avx2()
                    && std::is_x86_feature_detected!("f16c")
                    && std::is_x86_feature_detected!("avx512f")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDotprod => {
                Self::Neon.is_supported() && std::arch::is_aarch64_feature_detected!("dotprod")
            }
            // Those of other architectures.
            _ => false,
        }
    }

    fn best() -> Self {
        Self::ALL.into_iter().find(|set| set.is_supported()).unwrap_or(Self::Scalar)
    }

    fn wanted(value: &OsStr) -> Result<Self, InstructionSetError> {
        let wanted = Self::ALL
            .into_iter()
            .find(|set| value == set.name())
            .ok_or_else(|| InstructionSetError::Unknown { value: value.to_owned() })?;
        if wanted.is_supported() {
            Ok(wanted)
        } else {
            Err(InstructionSetError::Unsupported { wanted, best: Self::best() })
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
}

type Many = unsafe fn(query: &[f32], block: &[f32], stride: usize, out: &mut [f32]);

/// The raw dense kernels of one instruction set, in the canonical summation.
///
/// They take any coordinates and return what the sum gives, infinities and NaN included: the functions in
/// [`super`] make final distances of it.
#[derive(Clone, Copy)]
pub(crate) struct DenseKernels {
    instruction_set: InstructionSet,
    dot_many: Many,
    l2_many: Many,
}

// What makes the calls below sound: `new` is the only constructor, and it never picks functions compiled for
// an instruction set that this processor does not support. The functions ask nothing else of their callers.
impl DenseKernels {
    /// The kernels of the instruction set, or the scalar ones if this processor does not support it.
    pub(crate) fn new(instruction_set: InstructionSet) -> Self {
        match instruction_set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 if instruction_set.is_supported() => {
                Self { instruction_set, dot_many: avx512::dot_many, l2_many: avx512::l2_many }
            }
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 if instruction_set.is_supported() => {
                Self { instruction_set, dot_many: avx2::dot_many, l2_many: avx2::l2_many }
            }
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon | InstructionSet::NeonDotprod if instruction_set.is_supported() => {
                Self { instruction_set, dot_many: neon::dot_many, l2_many: neon::l2_many }
            }
            _ => Self {
                instruction_set: InstructionSet::Scalar,
                dot_many: scalar::dot_many,
                l2_many: scalar::l2_many,
            },
        }
    }

    /// The instruction set in use.
    pub(crate) fn instruction_set(&self) -> InstructionSet {
        self.instruction_set
    }

    /// The inner products of the query with the first `out.len()` rows of a block.
    ///
    /// Row `i` is `block[i * stride..][..query.len()]`, so `stride >= query.len()`; what lies between the rows is
    /// not read.
    #[inline]
    pub(crate) fn dot_many(&self, query: &[f32], block: &[f32], stride: usize, out: &mut [f32]) {
        assert!(stride >= query.len());
        // SAFETY: `new` picked functions that this processor supports.
        unsafe { (self.dot_many)(query, block, stride, out) }
    }

    /// The squared Euclidean distances of the query to the first `out.len()` rows of a block; shapes as in
    /// [`Self::dot_many`].
    #[inline]
    pub(crate) fn l2_many(&self, query: &[f32], block: &[f32], stride: usize, out: &mut [f32]) {
        assert!(stride >= query.len());
        // SAFETY: `new` picked functions that this processor supports.
        unsafe { (self.l2_many)(query, block, stride, out) }
    }
}

impl fmt::Debug for DenseKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DenseKernels").field(&self.instruction_set).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_variable_takes() {
        for set in InstructionSet::ALL {
            match InstructionSet::wanted(OsStr::new(&set.to_string())) {
                Ok(found) => assert_eq!(found, set),
                Err(error) => assert!(!set.is_supported(), "{error}"),
            }
        }
    }

    #[test]
    fn an_unknown_name_is_told() {
        let error = InstructionSet::wanted(OsStr::new("AVX2")).map_err(|error| error.to_string());
        let text = "VEKTONN_INSTRUCTION_SET must be one of scalar, avx2, avx512, neon, neon-dotprod, but is \"AVX2\"";
        assert_eq!(error, Err(text.to_owned()));
    }

    #[test]
    fn an_unsupported_instruction_set_is_told_and_never_run() {
        let error =
            InstructionSetError::Unsupported { wanted: InstructionSet::Avx512, best: InstructionSet::Avx2 };
        let text = "VEKTONN_INSTRUCTION_SET asks for avx512, which this processor does not support; \
                    the best it supports is avx2";
        assert_eq!(error.to_string(), text);
        for set in InstructionSet::ALL {
            let runs = DenseKernels::new(set).instruction_set();
            assert_eq!(runs, if set.is_supported() { set } else { InstructionSet::Scalar });
        }
    }
}
