//! Index algorithms: their names and parameters in configuration files, and what each one means.

use std::fmt;

use crate::index_kind::{
    EF, HNSW_EF_CONSTRUCTION, HNSW_EF_SEARCH, HNSW_M, HnswParams, IndexKind, M, MemoryMode, Metric,
    VectorKind,
};

/// The algorithm of an index: a published or own name, and parameters.
///
/// Prints as `Type`, or as `Type(Key=Value, ...)` with its parameters in the order they were written.
///
/// | names | parameters |
/// |---|---|
/// | `FaissIndex.L2`, `FaissIndex.IP` | `Hnsw_M`, `Hnsw_EfConstruction`, `Hnsw_EfSearch`: all three or none |
/// | `SparnnIndex.Cosine`, `SparnnIndex.JaccardBinary` | none |
/// | `Dense.L2`, `Dense.IP`, `Dense.Cosine` | the three `Hnsw_*`, or `Hnsw: true` for their defaults; with either `Memory: compact` |
/// | `Sparse.IP`, `Sparse.Cosine`, `Sparse.JaccardBinary` | `Approximate: true` |
///
/// Without parameters an algorithm is exact. Jaccard always is: where all coordinates count the same, none can be left out.
///
/// ```
/// use vektonn_core::{Algorithm, HnswParams, Metric, VectorKind};
///
/// let params = [("Hnsw_M", "16"), ("Hnsw_EfConstruction", "200"), ("Hnsw_EfSearch", "100")];
/// let params = params.map(|(key, value)| (key.to_owned(), value.to_owned()));
/// let algorithm = Algorithm::parse("FaissIndex.L2", &params)?;
/// assert_eq!((algorithm.metric(), algorithm.vector_kind()), (Metric::L2, VectorKind::Dense));
/// let params = HnswParams { m: 16, ef_construction: 200, ef_search: 100, ..HnswParams::default() };
/// assert_eq!(algorithm.hnsw(), Some(params));
/// assert_eq!(algorithm.to_string(), "FaissIndex.L2(Hnsw_M=16, Hnsw_EfConstruction=200, Hnsw_EfSearch=100)");
/// # Ok::<(), vektonn_core::AlgorithmError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithm {
    name: AlgorithmName,
    params: Vec<(String, String)>,
    kind: IndexKind,
}

/// Why a name and parameters are not an [`Algorithm`].
///
/// ```
/// use vektonn_core::Algorithm;
///
/// let error = Algorithm::parse("SparnnIndex.Cosine", &[("Hnsw_M".to_owned(), "16".to_owned())]).unwrap_err();
/// assert_eq!(error.to_string(), "algorithm SparnnIndex.Cosine has no parameter 'Hnsw_M'");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlgorithmError {
    /// There is no such algorithm.
    #[error("unknown algorithm '{name}': expected one of {}", names())]
    UnknownName {
        /// The name, whose case matters.
        name: String,
    },
    /// The algorithm does not take this parameter.
    #[error("algorithm {algorithm} has no parameter '{parameter}'")]
    UnknownParameter {
        /// The algorithm's name.
        algorithm: &'static str,
        /// The parameter, whose case matters.
        parameter: String,
    },
    /// A parameter is given twice.
    #[error("parameter {parameter} of algorithm {algorithm} is given twice")]
    DuplicateParameter {
        /// The algorithm's name.
        algorithm: &'static str,
        /// The parameter.
        parameter: String,
    },
    /// Some of the HNSW parameters are given, but not all.
    #[error(
        "algorithm {algorithm} needs all of Hnsw_M, Hnsw_EfConstruction and Hnsw_EfSearch, or none: {parameter} is missing"
    )]
    MissingParameter {
        /// The algorithm's name.
        algorithm: &'static str,
        /// The first one that is missing.
        parameter: &'static str,
    },
    /// A parameter's value is not one of those expected.
    #[error("parameter {parameter} of algorithm {algorithm} must be {expected}, got '{value}'")]
    BadValue {
        /// The algorithm's name.
        algorithm: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// What values it takes.
        expected: &'static str,
        /// The value as written.
        value: String,
    },
    /// The graph is both described and switched off.
    #[error("algorithm {algorithm} has Hnsw_* parameters and Hnsw=false: leave one of them out")]
    Contradiction {
        /// The algorithm's name.
        algorithm: &'static str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AlgorithmName {
    name: &'static str,
    family: Family,
    metric: Metric,
}

/// Which parameters an algorithm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Faiss,
    Sparnn,
    Dense,
    Sparse,
}

const fn named(name: &'static str, family: Family, metric: Metric) -> AlgorithmName {
    AlgorithmName { name, family, metric }
}

/// The names accepted in configuration files, case-sensitive: the published ones, then our own.
const NAMES: [AlgorithmName; 10] = [
    named("FaissIndex.L2", Family::Faiss, Metric::L2),
    named("FaissIndex.IP", Family::Faiss, Metric::InnerProduct),
    named("SparnnIndex.Cosine", Family::Sparnn, Metric::Cosine),
    named("SparnnIndex.JaccardBinary", Family::Sparnn, Metric::JaccardBinary),
    named("Dense.L2", Family::Dense, Metric::L2),
    named("Dense.IP", Family::Dense, Metric::InnerProduct),
    named("Dense.Cosine", Family::Dense, Metric::Cosine),
    named("Sparse.IP", Family::Sparse, Metric::InnerProduct),
    named("Sparse.Cosine", Family::Sparse, Metric::Cosine),
    named("Sparse.JaccardBinary", Family::Sparse, Metric::JaccardBinary),
];

const HNSW: &str = "Hnsw";
const APPROXIMATE: &str = "Approximate";
const MEMORY: &str = "Memory";

fn names() -> String {
    NAMES.map(|name| name.name).join(", ")
}

impl Family {
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Faiss => &[HNSW_M, HNSW_EF_CONSTRUCTION, HNSW_EF_SEARCH],
            Self::Sparnn => &[],
            Self::Dense => &[HNSW_M, HNSW_EF_CONSTRUCTION, HNSW_EF_SEARCH, HNSW, MEMORY],
            Self::Sparse => &[APPROXIMATE],
        }
    }
}

/// The parameters as written, known to be among those that the algorithm takes.
struct Parameters<'a> {
    algorithm: &'static str,
    params: &'a [(String, String)],
}

impl<'a> Parameters<'a> {
    fn new(name: AlgorithmName, params: &'a [(String, String)]) -> Result<Self, AlgorithmError> {
        let algorithm = name.name;
        for (i, (key, _)) in params.iter().enumerate() {
            if !name.family.parameters().contains(&key.as_str()) {
                return Err(AlgorithmError::UnknownParameter { algorithm, parameter: key.clone() });
            }
            if params[..i].iter().any(|(earlier, _)| earlier == key) {
                return Err(AlgorithmError::DuplicateParameter { algorithm, parameter: key.clone() });
            }
        }
        Ok(Self { algorithm, params })
    }

    fn get(&self, parameter: &str) -> Option<&'a str> {
        self.params.iter().find(|(key, _)| key == parameter).map(|(_, value)| value.as_str())
    }

    fn flag(&self, parameter: &'static str) -> Result<Option<bool>, AlgorithmError> {
        let flag = |value: &str| match value {
            _ if value.eq_ignore_ascii_case("true") => Ok(true),
            _ if value.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.bad_value(parameter, "true or false", value)),
        };
        self.get(parameter).map(flag).transpose()
    }

    fn number(
        &self,
        parameter: &'static str,
        (range, expected): (std::ops::RangeInclusive<u32>, &'static str),
    ) -> Result<u32, AlgorithmError> {
        let algorithm = self.algorithm;
        let value = self.get(parameter).ok_or(AlgorithmError::MissingParameter { algorithm, parameter })?;
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| self.bad_value(parameter, expected, value))
    }

    fn bad_value(&self, parameter: &'static str, expected: &'static str, value: &str) -> AlgorithmError {
        AlgorithmError::BadValue { algorithm: self.algorithm, parameter, expected, value: value.to_owned() }
    }

    fn hnsw(&self) -> Result<Option<HnswParams>, AlgorithmError> {
        let switch = self.flag(HNSW)?;
        let memory = self.memory()?;
        if self.params.iter().all(|(key, _)| [HNSW, MEMORY].contains(&key.as_str())) {
            if let (Some(_), Some(value), false) = (memory, self.get(MEMORY), switch == Some(true)) {
                return Err(self.bad_value(MEMORY, "left out of an exact index", value));
            }
            let memory = memory.unwrap_or_default();
            return Ok((switch == Some(true)).then(|| HnswParams { memory, ..HnswParams::default() }));
        }
        if switch == Some(false) {
            return Err(AlgorithmError::Contradiction { algorithm: self.algorithm });
        }
        Ok(Some(HnswParams {
            m: self.number(HNSW_M, M)?,
            ef_construction: self.number(HNSW_EF_CONSTRUCTION, EF)?,
            ef_search: self.number(HNSW_EF_SEARCH, EF)?,
            memory: memory.unwrap_or_default(),
        }))
    }

    fn memory(&self) -> Result<Option<MemoryMode>, AlgorithmError> {
        let mode = |value: &str| match value {
            "balanced" => Ok(MemoryMode::Balanced),
            "compact" => Ok(MemoryMode::Compact),
            _ => Err(self.bad_value(MEMORY, "balanced or compact", value)),
        };
        self.get(MEMORY).map(mode).transpose()
    }
}

impl Algorithm {
    /// The algorithm of a name and its parameters, both as configuration files write them. Names and parameters are
    /// case-sensitive.
    ///
    /// # Errors
    /// [`AlgorithmError`].
    pub fn parse(name: &str, params: &[(String, String)]) -> Result<Self, AlgorithmError> {
        let unknown = || AlgorithmError::UnknownName { name: name.to_owned() };
        let name = NAMES.into_iter().find(|known| known.name == name).ok_or_else(unknown)?;
        let parameters = Parameters::new(name, params)?;
        let kind = match name.family {
            Family::Faiss | Family::Dense => parameters.hnsw()?.map_or(IndexKind::Flat, IndexKind::Hnsw),
            Family::Sparnn | Family::Sparse => {
                let approximate = parameters.flag(APPROXIMATE)?.unwrap_or(false);
                IndexKind::Inverted { approximate: approximate && name.metric != Metric::JaccardBinary }
            }
        };
        Ok(Self { name, params: params.to_vec(), kind })
    }

    /// The name, such as `FaissIndex.L2`.
    pub fn name(&self) -> &'static str {
        self.name.name
    }

    /// How near two vectors are.
    pub fn metric(&self) -> Metric {
        self.name.metric
    }

    /// How it is searched.
    pub fn kind(&self) -> IndexKind {
        self.kind
    }

    /// Whether it is for dense or for sparse vectors.
    pub fn vector_kind(&self) -> VectorKind {
        self.kind.vector_kind()
    }

    /// The parameters of the graph, if there is to be one.
    pub fn hnsw(&self) -> Option<HnswParams> {
        match self.kind {
            IndexKind::Hnsw(params) => Some(params),
            IndexKind::Flat | IndexKind::Inverted { .. } => None,
        }
    }

    /// Whether a search that asks for nothing else may miss some of the nearest neighbours to be faster.
    pub fn is_approximate(&self) -> bool {
        self.kind.is_approximate()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        for (i, (key, value)) in self.params.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { "(" } else { ", " })?;
        }
        f.write_str(if self.params.is_empty() { "" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(name: &str, params: &[(&str, &str)]) -> Result<Algorithm, AlgorithmError> {
        let params: Vec<_> = params.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Algorithm::parse(name, &params)
    }

    fn refusal(name: &str, params: &[(&str, &str)]) -> String {
        parse(name, params).unwrap_err().to_string()
    }

    #[test]
    fn every_name_is_exact_without_parameters_and_prints_as_itself() {
        for name in NAMES {
            let algorithm = parse(name.name, &[]).unwrap();
            assert_eq!(algorithm.to_string(), name.name);
            assert_eq!((algorithm.hnsw(), algorithm.is_approximate()), (None, false));
        }
        assert_eq!(parse("SparnnIndex.Cosine", &[]).unwrap().vector_kind(), VectorKind::Sparse);
        assert_eq!(parse("Dense.IP", &[]).unwrap().metric(), Metric::InnerProduct);
    }

    #[test]
    fn parameters_print_as_they_were_written() {
        let params = [("Hnsw_EfSearch", "100"), ("Hnsw_M", "016"), ("Hnsw_EfConstruction", "200")];
        let algorithm = parse("FaissIndex.IP", &params).unwrap();
        assert_eq!(algorithm.hnsw(), Some(HnswParams::default()));
        assert!(algorithm.is_approximate());
        assert_eq!(
            algorithm.to_string(),
            "FaissIndex.IP(Hnsw_EfSearch=100, Hnsw_M=016, Hnsw_EfConstruction=200)"
        );
    }

    #[test]
    fn own_algorithms_have_switches() {
        assert_eq!(parse("Dense.L2", &[("Hnsw", "true")]).unwrap().hnsw(), Some(HnswParams::default()));
        assert_eq!(parse("Dense.L2", &[("Hnsw", "False")]).unwrap().hnsw(), None);
        let memory = |value| parse("Dense.L2", &[("Hnsw", "true"), ("Memory", value)]);
        assert_eq!(memory("compact").unwrap().hnsw().unwrap().memory, MemoryMode::Compact);
        assert_eq!(memory("balanced").unwrap().hnsw(), Some(HnswParams::default()));
        assert!(memory("none").unwrap_err().to_string().contains("must be balanced or compact, got 'none'"));
        let exact = parse("Dense.L2", &[("Memory", "compact")]).unwrap_err();
        assert!(exact.to_string().contains("must be left out of an exact index"), "{exact}");
        assert!(parse("Sparse.IP", &[("Approximate", "true")]).unwrap().is_approximate());
        assert!(!parse("Sparse.IP", &[("Approximate", "false")]).unwrap().is_approximate());
        assert!(!parse("Sparse.JaccardBinary", &[("Approximate", "true")]).unwrap().is_approximate());
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        assert!(
            refusal("faissIndex.L2", &[])
                .starts_with("unknown algorithm 'faissIndex.L2': expected one of FaissI")
        );
        assert_eq!(
            refusal("SparnnIndex.Cosine", &[("Hnsw_M", "1")]),
            "algorithm SparnnIndex.Cosine has no parameter 'Hnsw_M'"
        );
        assert_eq!(
            refusal("FaissIndex.L2", &[("Hnsw", "true")]),
            "algorithm FaissIndex.L2 has no parameter 'Hnsw'"
        );
        assert_eq!(
            refusal("FaissIndex.L2", &[("Hnsw_M", "16"), ("Hnsw_EfSearch", "1")]),
            "algorithm FaissIndex.L2 needs all of Hnsw_M, Hnsw_EfConstruction and Hnsw_EfSearch, or none: \
             Hnsw_EfConstruction is missing"
        );
        let params = [("Hnsw_M", "1"), ("Hnsw_EfConstruction", "200"), ("Hnsw_EfSearch", "100")];
        assert_eq!(
            refusal("Dense.L2", &params),
            "parameter Hnsw_M of algorithm Dense.L2 must be a whole number from 2 to 1024, got '1'"
        );
        let params = [("Hnsw_M", "8"), ("Hnsw_EfConstruction", "-1"), ("Hnsw_EfSearch", "100")];
        assert!(refusal("Dense.L2", &params).contains("Hnsw_EfConstruction"));
        assert!(refusal("Dense.L2", &[("Hnsw", "yes")]).contains("must be true or false, got 'yes'"));
        assert!(refusal("Dense.L2", &[("Hnsw", "true"), ("Hnsw", "true")]).contains("given twice"));
        assert!(refusal("Dense.L2", &[("Hnsw", "false"), ("Hnsw_M", "16")]).contains("Hnsw=false"));
    }
}
