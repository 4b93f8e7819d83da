//! Every answer that is not 200: a status and `{"errorMessages": [...]}`.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use vektonn_core::{DataSourceId, IndexId};
use vektonn_kafka::{AppendError, AppendFailure, RecordOutcome};

use crate::dto::ErrorBody;

/// What every response with a body says it is.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// When a busy server may be asked again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// A request that was not answered with 200.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    messages: Vec<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, messages: vec![message.into()] }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn with_messages(status: StatusCode, messages: Vec<String>) -> Self {
        Self { status, messages }
    }

    pub(crate) fn invalid(messages: Vec<String>) -> Self {
        Self::with_messages(StatusCode::BAD_REQUEST, messages)
    }

    pub(crate) fn json(error: &serde_json::Error) -> Self {
        Self::bad_request(format!("The body is not valid: {error}"))
    }

    pub(crate) fn unknown_index(id: &IndexId) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Index {id} does not exist"))
    }

    pub(crate) fn unknown_data_source(id: &DataSourceId) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Data source {id} does not exist"))
    }

    /// The server could answer this later.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Nothing that the client did.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The request's time is over.
    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, message)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("; "))
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        if error.count(RecordOutcome::Unknown) > 0 {
            return Self::timeout(format!("It is unknown whether the upload was stored: {error}"));
        }
        let written =
            if error.count(RecordOutcome::Acked) > 0 { "was stored only in part" } else { "was not stored" };
        let status = match error.failure {
            AppendFailure::KeyTooLong { .. } => StatusCode::BAD_REQUEST,
            AppendFailure::RecordTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            AppendFailure::DiskFull { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, format!("The upload {written}: {error}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, messages } = self;
        let mut response = json_response(&ErrorBody { error_messages: messages });
        *response.status_mut() = status;
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
        }
        response
    }
}

/// A 200 with a JSON body.
pub(crate) fn json_response(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => json_bytes(body),
        Err(error) => ApiError::internal(format!("Cannot write the answer: {error}")).into_response(),
    }
}

/// A 200 with a body that is JSON already.
pub(crate) fn json_bytes(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], body.into()).into_response()
}
