//! Uploading to a data source.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use vektonn_core::DataSourceMeta;
use vektonn_core::codec::{self, Record};
use vektonn_core::validation::validate_upload;

use super::search::PathOf;
use crate::app::App;
use crate::dto::{self, ErrorBody, UploadError, parse_upload};
use crate::error::ApiError;
use crate::request;

/// A longer position is left out: clients limit the headers they take, the published one to 8 KiB.
const POSITION_BYTES_MAX: usize = 4 << 10;

/// Uploads data points and deletions: all of them, or none if one is not valid
#[utoipa::path(
    post, path = "/api/v1/upload/{dataSourceName}/{dataSourceVersion}", tag = "Upload",
    params(("dataSourceName" = String, Path), ("dataSourceVersion" = String, Path),
        ("Request-Timeout" = Option<f64>, Header, description = "Time budget in seconds; 60 by default")),
    request_body = [dto::InputDataPoint],
    responses(
        (status = 200, description = "The log has all items; the body is empty",
            headers(("X-Vektonn-Position" = String, description = "Where the log ends now; left out if it is longer than 4 KiB"))),
        (status = 400, description = "An item is not valid; nothing was stored", body = ErrorBody),
        (status = 404, description = "There is no such data source", body = ErrorBody),
        (status = 408, description = "The body paused for too long", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON, or is encoded", body = ErrorBody),
        (status = 429, description = "Too much is running already", body = ErrorBody),
        (status = 503, description = "The log takes no data at present", body = ErrorBody),
        (status = 507, description = "The disk of the log is full; nothing was stored", body = ErrorBody),
        (status = 504, description = "It is unknown whether the items were stored", body = ErrorBody)),
)]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Path((name, version)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let meta = Arc::clone(app.served.load().data_source(name, version)?);
    let deadline = request::deadline(&headers)?;
    let body = app.bodies.receive(&headers, body, deadline).await?;
    let records = body.parse(move |body| read_records(&meta, body)).await?;
    if records.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    if Instant::now() >= deadline {
        return Err(ApiError::timeout("The upload was not read within Request-Timeout; nothing was stored"));
    }
    let position =
        tokio::time::timeout_at(deadline.into(), app.source.append(records)).await.map_err(|_| {
            ApiError::timeout(
                "The log did not acknowledge the upload in time: it is unknown whether it was stored",
            )
        })??;
    let mut response = StatusCode::OK.into_response();
    let token = position.to_string();
    if token.len() <= POSITION_BYTES_MAX
        && let Ok(token) = HeaderValue::try_from(token)
    {
        response.headers_mut().insert(request::POSITION, token);
    }
    Ok(response)
}

/// Parses, validates and encodes all items; the first wrong one refuses the whole upload.
fn read_records(meta: &DataSourceMeta, body: &[u8]) -> Result<Vec<Record>, ApiError> {
    let mut records = Vec::new();
    let read = parse_upload(body, |item| {
        records.push(codec::encode_record(meta, &validate_upload(meta, item)?));
        Ok(())
    });
    match read {
        Ok(()) => Ok(records),
        Err(UploadError::Json(error)) => Err(ApiError::json(&error)),
        Err(UploadError::Item(messages)) => Err(ApiError::invalid(messages)),
    }
}
