//! Which instruction set runs a task, and what else of coded rows needs unsafe code.
#![allow(unsafe_code, reason = "calls code compiled for the detected instruction set")]

#[cfg(target_arch = "aarch64")]
use super::aarch64::Dotprod;
use super::scalar::Scalar;
#[cfg(target_arch = "x86_64")]
use super::x86_64::{Avx2, Avx512};
use super::{Line, Task};
use crate::distance::InstructionSet;
use crate::store::mapped::Zeroed;

/// The kernels of one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct RowKernels(InstructionSet);

// What makes the calls below sound: `new` is the only constructor, and it never picks an instruction set that this
// processor does not support.
impl RowKernels {
    /// The kernels of the instruction set, or the best ones below it that this processor supports.
    pub(crate) fn new(instruction_set: InstructionSet) -> Self {
        match instruction_set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 if can_run_avx512() => Self(instruction_set),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 | InstructionSet::Avx512 if can_run_avx2() => Self(InstructionSet::Avx2),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::NeonDotprod if instruction_set.is_supported() => Self(instruction_set),
            _ => Self(InstructionSet::Scalar),
        }
    }

    /// Runs the task, compiled for the instruction set.
    #[inline]
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            // SAFETY: `new` chose what this processor supports.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { run_avx512(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { run_avx2(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            InstructionSet::NeonDotprod => unsafe { run_dotprod(task) },
            _ => task.run(Scalar),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx512<T: Task>(task: T) -> T::Output {
    // SAFETY: this function is called only where the processor has them.
    task.run(unsafe { Avx512::new() })
}

/// Whether this processor has all that [`run_avx512`] is compiled for. A virtual machine may hide any of it for itself.
#[cfg(target_arch = "x86_64")]
fn can_run_avx512() -> bool {
    // What AVX-512F includes for the compiler is detected with it.
    InstructionSet::Avx512.is_supported()
        && can_run_avx2()
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vnni")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx2<T: Task>(task: T) -> T::Output {
    // SAFETY: this function is called only where the processor has it.
    task.run(unsafe { Avx2::new() })
}

/// Whether this processor has all that [`run_avx2`] is compiled for.
#[cfg(target_arch = "x86_64")]
fn can_run_avx2() -> bool {
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("lzcnt")
        && std::is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,dotprod")]
fn run_dotprod<T: Task>(task: T) -> T::Output {
    // SAFETY: this function is called only where the processor has them.
    task.run(unsafe { Dotprod::new() })
}

// SAFETY: zero bytes are a line of zeros, which need not be dropped.
unsafe impl Zeroed for Line {}
