//! The OpenAPI document, and the user interface on it.

use std::sync::{Arc, LazyLock};

use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa::OpenApi;
use utoipa_swagger_ui::Config;

use super::{list, search, shards, upload};
use crate::app::not_found;
use crate::dto;
use crate::error::json_response;

const DOCUMENT: &str = "/swagger/v1/swagger.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vektonn",
        description = "k nearest neighbour search for data that lives in a log",
        license(name = "Apache-2.0")
    ),
    paths(
        search::search,
        upload::upload,
        list::indices,
        list::data_sources,
        shards::search,
        shards::info,
        shards::probe,
        shards::digest
    ),
    components(schemas(dto::Attribute, dto::AttributeValue, dto::Vector, dto::FoundDataPoint))
)]
struct Document;

/// The OpenAPI document of the HTTP API.
pub(crate) async fn document() -> Response {
    static OPEN_API: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(Document::openapi);
    json_response(&*OPEN_API)
}

/// The user interface at `/index.html` and its files; anything else is not here.
pub(crate) async fn user_interface(method: Method, uri: Uri) -> Response {
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from(DOCUMENT)));
    if method != Method::GET && method != Method::HEAD {
        return not_found(&uri).into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if path.is_empty() {
        return Redirect::to("/index.html").into_response();
    }
    match utoipa_swagger_ui::serve(path, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => {
            let content_type = HeaderValue::try_from(file.content_type);
            let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            ([(header::CONTENT_TYPE, content_type)], file.bytes.into_owned()).into_response()
        }
        _ => not_found(&uri).into_response(),
    }
}
