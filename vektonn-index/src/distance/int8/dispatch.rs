//! Which instruction set scans codes: chosen once per index, as for the dense kernels.
#![allow(unsafe_code, reason = "calls code compiled for the detected instruction set")]

#[cfg(target_arch = "aarch64")]
use super::aarch64::dotprod;
#[cfg(target_arch = "x86_64")]
use super::x86_64::{avx2, avx512};
use super::{
    GROUP, Line, Probe, QUERIES_AT_ONCE, QueryCode, Rotation, STEP, Scores, Tile, encode, halves, rotation,
    scalar,
};
use crate::distance::InstructionSet;

type ScanOne = unsafe fn(Tile<'_>, &Probe<'_>, &mut Scores) -> usize;

type ScanSeveral =
    unsafe fn(Tile<'_>, &[Line], &[Probe<'_>; QUERIES_AT_ONCE], &mut [Scores; QUERIES_AT_ONCE]);

type Join = unsafe fn(&[Line], &[Line], &mut [Line]);

type Rotate = unsafe fn(&Rotation, &mut [f64]);

type EncodeQuery = unsafe fn(&[f64], &[u8], f64) -> QueryCode;

type Encode = unsafe fn(&[u8], &[f64], &mut [u8]) -> [f64; 2];

/// The kernels of one instruction set; see the module for what they compute.
#[derive(Clone, Copy)]
pub(crate) struct CodeKernels {
    one: ScanOne,
    several: ScanSeveral,
    join: Join,
    rotate: Rotate,
    encode: Encode,
    encode_query: EncodeQuery,
}

// What makes the calls below sound: `new` is the only constructor, and it never picks functions compiled for
// an instruction set that this processor does not support. The functions ask nothing else of their callers.
impl CodeKernels {
    /// The kernels of the instruction set, or the best ones below it that this processor supports.
    pub(crate) fn new(instruction_set: InstructionSet) -> Self {
        match instruction_set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512
                if instruction_set.is_supported() && std::is_x86_feature_detected!("avx512vnni") =>
            {
                Self {
                    one: avx512::scan_1,
                    several: avx512::scan_4,
                    join: avx512::join,
                    rotate: avx512::rotate,
                    encode: avx512::encode,
                    encode_query: avx512::encode_query,
                }
            }
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 | InstructionSet::Avx512 if InstructionSet::Avx2.is_supported() => Self {
                one: avx2::scan_1,
                several: avx2::scan_4,
                join: avx2::join,
                rotate: avx2::rotate,
                encode: avx2::encode,
                encode_query: avx2::encode_query,
            },
            #[cfg(target_arch = "aarch64")]
            InstructionSet::NeonDotprod if instruction_set.is_supported() => Self {
                one: dotprod::scan_1,
                several: dotprod::scan_4,
                join: dotprod::join,
                rotate: dotprod::rotate,
                encode: dotprod::encode,
                encode_query: dotprod::encode_query,
            },
            _ => Self {
                one: scalar::scan_1,
                several: scalar::scan,
                join: halves::join,
                rotate: rotation::rotate,
                encode: encode::encode,
                encode_query: encode::encode_query::<false>,
            },
        }
    }

    /// Rotates a vector of the rotation's dimension.
    pub(crate) fn rotate(&self, rotation: &Rotation, vector: &mut [f64]) {
        // SAFETY: `new` picked a function that this processor supports.
        unsafe { (self.rotate)(rotation, vector) }
    }

    /// See [`encode::encode`].
    pub(crate) fn encode(&self, zero: &[u8], exact: &[f64], codes: &mut [u8]) -> [f64; 2] {
        // SAFETY: `new` picked a function that this processor supports.
        unsafe { (self.encode)(zero, exact, codes) }
    }

    /// See [`encode::encode_query`].
    pub(crate) fn encode_query(&self, exact: &[f64], zero: &[u8], step_min: f64) -> QueryCode {
        // SAFETY: `new` picked a function that this processor supports.
        unsafe { (self.encode_query)(exact, zero, step_min) }
    }

    /// Scores the rows of the tile for one query. Returns of how many groups it read the lower halves.
    pub(crate) fn scan_one(&self, tile: Tile<'_>, probe: &Probe<'_>, out: &mut Scores) -> usize {
        tile.check(probe.code.len());
        // SAFETY: `new` picked functions that this processor supports.
        unsafe { (self.one)(tile, probe, out) }
    }

    /// The whole codes of a tile, in this room, for [`Self::scan_several`].
    pub(crate) fn join<'r>(&self, tile: Tile<'_>, room: &'r mut Vec<Line>) -> &'r [Line] {
        let [high, low] = tile.halves;
        if room.len() < high.len() * 2 {
            room.resize(high.len() * 2, Line([0; GROUP * STEP]));
        }
        let joined = &mut room[..high.len() * 2];
        // SAFETY: `new` picked functions that this processor supports.
        unsafe { (self.join)(high, low, joined) }
        joined
    }

    /// Scores all rows of the tile, whose joined lines are given, for several queries of the same length.
    pub(crate) fn scan_several(
        &self,
        tile: Tile<'_>,
        joined: &[Line],
        probes: &[Probe<'_>; QUERIES_AT_ONCE],
        out: &mut [Scores; QUERIES_AT_ONCE],
    ) {
        probes.iter().for_each(|probe| tile.check(probe.code.len()));
        assert_eq!(joined.len(), tile.halves[0].len() * 2, "two lines for each line of halves");
        // SAFETY: `new` picked functions that this processor supports.
        unsafe { (self.several)(tile, joined, probes, out) }
    }
}
