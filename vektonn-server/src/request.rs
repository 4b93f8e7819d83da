//! What all routes read from a request's headers: its time budget, the position it asks for.

use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use vektonn_core::Position;

use crate::error::ApiError;

const REQUEST_TIMEOUT: &str = "Request-Timeout";
pub(crate) const POSITION: &str = "X-Vektonn-Position";
pub(crate) const MIN_POSITION: &str = "X-Vektonn-Min-Position";
/// The time budget of a request that does not set one.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// A longer budget is cut down to this.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

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
pub(crate) fn min_position(headers: &HeaderMap) -> Result<Position, ApiError> {
    let Some(value) = headers.get(MIN_POSITION) else { return Ok(Position::new()) };
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        ApiError::bad_request(format!(
            "{MIN_POSITION} must be a value that an upload answered as {POSITION}, got {value:?}"
        ))
    })
}
