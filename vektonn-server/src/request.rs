//! What all routes read from a request's headers: its time budget, the position it asks for.

use std::time::{Duration, Instant};

use axum::extract::Query;
use axum::http::{HeaderMap, Uri};
use vektonn_core::Position;

use crate::error::ApiError;

pub(crate) const REQUEST_TIMEOUT: &str = "Request-Timeout";
pub(crate) const POSITION: &str = "X-Vektonn-Position";
pub(crate) const MIN_POSITION: &str = "X-Vektonn-Min-Position";
/// The time budget of a request that does not set one.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// A longer budget is cut down to this.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// What a request says of its answer, apart from the body.
pub(crate) struct Terms {
    /// When its time is over.
    pub(crate) deadline: Instant,
    /// What the answer must include at least.
    pub(crate) min_position: Position,
    /// Whether the answer may leave out shards that do not serve.
    pub(crate) partial: bool,
}

impl Terms {
    pub(crate) fn of(headers: &HeaderMap, uri: &Uri) -> Result<Self, ApiError> {
        let partial = match parameter(uri, "partial")?.as_deref() {
            None => false,
            Some("allow") => true,
            Some(other) => {
                return Err(ApiError::bad_request(format!("partial must be 'allow', got '{other}'")));
            }
        };
        Ok(Self { deadline: deadline(headers)?, min_position: min_position(headers)?, partial })
    }
}

/// A parameter of the URL; its name may be written in any case.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Result<Option<String>, ApiError> {
    let Query(parameters): Query<Vec<(String, String)>> =
        Query::try_from_uri(uri).map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok(parameters.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// When the request's time is over.
pub(crate) fn deadline(headers: &HeaderMap) -> Result<Instant, ApiError> {
    let budget = match headers.get(REQUEST_TIMEOUT) {
        None => TIMEOUT_DEFAULT,
        Some(value) => {
            let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
            let seconds =
                seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0).ok_or_else(|| {
                    ApiError::bad_request(format!(
                        "{REQUEST_TIMEOUT} must be a positive number of seconds, got {value:?}"
                    ))
                })?;
            Duration::from_secs_f64(seconds.min(TIMEOUT_MAX.as_secs_f64()))
        }
    };
    Ok(Instant::now() + budget)
}

/// The position of the log that the answer must include at least, if the request names one.
fn min_position(headers: &HeaderMap) -> Result<Position, ApiError> {
    let Some(value) = headers.get(MIN_POSITION) else { return Ok(Position::new()) };
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        ApiError::bad_request(format!(
            "{MIN_POSITION} must be a value that an upload answered as {POSITION}, got {value:?}"
        ))
    })
}
