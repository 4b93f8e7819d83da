//! What all routes do with a request: its body, its time budget, the position it asks for.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use vektonn_core::Position;

use crate::error::ApiError;
use crate::limits::Limits;

const REQUEST_TIMEOUT: &str = "Request-Timeout";
pub(crate) const POSITION: &str = "X-Vektonn-Position";
const MIN_POSITION: &str = "X-Vektonn-Min-Position";
/// The time budget of a request that does not set one.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// A longer budget is cut down to this.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Room made for a body before its first byte; a longer one grows as it comes, whatever its header says.
const BODY_ROOM_BYTES_MAX: usize = 64 << 20;

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

/// The whole body, in one buffer.
pub(crate) async fn body(headers: &HeaderMap, mut body: Body, limits: &Limits) -> Result<Vec<u8>, ApiError> {
    check_content_type(headers)?;
    let max = limits.body_bytes_max;
    let too_large = || {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The body must not be larger than {max} bytes"))
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > max) {
        return Err(too_large());
    }
    let pause_max = Duration::from_secs(limits.body_pause_s_max);
    let mut whole = Vec::with_capacity(announced.unwrap_or_default().min(BODY_ROOM_BYTES_MAX));
    loop {
        let frame = tokio::time::timeout(pause_max, body.frame()).await.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("Nothing came of the body for {} s", limits.body_pause_s_max),
            )
        })?;
        let Some(frame) = frame else { return Ok(whole) };
        let frame = frame.map_err(|error| ApiError::bad_request(format!("The body broke off: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if whole.len() + data.len() > max {
            return Err(too_large());
        }
        whole.extend_from_slice(data);
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence =
        value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("Content-Type must be application/json, got {value:?}"),
    ))
}
