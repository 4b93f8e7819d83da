//! Other libraries, from PyPI: each in a process of its own that searches on command. See `benches/peers/`.

mod environment;
mod lineup;
mod worker;

pub(crate) use environment::Environment;
pub(crate) use lineup::{Lineup, Peer};
pub(crate) use worker::Worker;

/// Kernels of OpenBLAS that this processor can run, as its variable `OPENBLAS_CORETYPE` names them.
pub(crate) fn openblas_kernels() -> impl Iterator<Item = &'static str> {
    let flags = crate::machine::cpu_flags();
    let has = move |flag: &str| flags.iter().any(|known| known == flag);
    [("avx2", "Haswell"), ("avx2", "Zen"), ("avx512f", "SkylakeX")]
        .into_iter()
        .filter(move |(flag, _)| has(flag))
        .map(|kernel| kernel.1)
}
