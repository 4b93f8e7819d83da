//! Uploading to a data source.

use std::sync::Arc;

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

/// A body up to this size is parsed at once; a larger one would keep an async thread busy for too long.
const INLINE_BODY_BYTES_MAX: usize = 16 << 10;

/// Uploads data points and deletions: all of them, or none if one is not valid
#[utoipa::path(
    post, path = "/api/v1/upload/{dataSourceName}/{dataSourceVersion}", tag = "Upload",
    params(("dataSourceName" = String, Path), ("dataSourceVersion" = String, Path),
        ("Request-Timeout" = Option<f64>, Header, description = "Time budget in seconds; 60 by default")),
    request_body = [dto::InputDataPoint],
    responses(
        (status = 200, description = "The log has all items; the body is empty",
            headers(("X-Vektonn-Position" = String, description = "Where the log ends now"))),
        (status = 400, description = "An item is not valid; nothing was stored", body = ErrorBody),
        (status = 404, description = "There is no such data source", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 503, description = "The log takes no data at present", body = ErrorBody),
        (status = 504, description = "It is unknown whether the items were stored", body = ErrorBody)),
)]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Path((name, version)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let meta = Arc::clone(app.data_source(name, version)?);
    let deadline = request::deadline(&headers)?;
    let body = request::body(&headers, body, &app.limits).await?;
    let records = read_records(meta, body).await?;
    if records.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    let position =
        tokio::time::timeout_at(deadline.into(), app.source.append(records)).await.map_err(|_| {
            ApiError::timeout(
                "The log did not acknowledge the upload in time: it is unknown whether it was stored",
            )
        })??;
    let mut response = StatusCode::OK.into_response();
    if let Ok(token) = HeaderValue::try_from(position.to_string()) {
        response.headers_mut().insert(request::POSITION, token);
    }
    Ok(response)
}

/// Parses, validates and encodes all items; the first wrong one refuses the whole upload.
async fn read_records(meta: Arc<DataSourceMeta>, body: Vec<u8>) -> Result<Vec<Record>, ApiError> {
    let is_small = body.len() <= INLINE_BODY_BYTES_MAX;
    let read = move || {
        let mut records = Vec::new();
        parse_upload(&body, |item| {
            records.push(codec::encode_record(&meta, &validate_upload(&meta, item)?));
            Ok(())
        })
        .map(|()| records)
    };
    let records = if is_small {
        read()
    } else {
        tokio::task::spawn_blocking(read).await.map_err(|_| {
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Reading the upload failed unexpectedly; the log says why",
            )
        })?
    };
    records.map_err(|error| match error {
        UploadError::Json(error) => ApiError::json(&error),
        UploadError::Item(messages) => ApiError::invalid(messages),
    })
}
