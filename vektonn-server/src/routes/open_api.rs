//! The OpenAPI document, and the user interface on it.

use std::sync::{Arc, LazyLock};

use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa_swagger_ui::Config;

use super::{health, list, search, shards, upload};
use crate::app::{Role, not_found};
use crate::{dto, telemetry};

/// Where the document is.
pub(crate) const DOCUMENT: &str = "/swagger/v1/swagger.json";

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
        shards::digest,
        health::ping,
        health::version,
        health::healthz,
        health::readyz,
        telemetry::metrics
    ),
    components(schemas(dto::Attribute, dto::AttributeValue, dto::Vector, dto::FoundDataPoint))
)]
struct Document;

/// The OpenAPI document of the routes that a role has.
pub(crate) fn document(role: &Role) -> serde_json::Result<Vec<u8>> {
    const SHARD: &str = "/api/v1/indices/{indexName}/{indexVersion}/shards/{shardId}";
    let mut document = Document::openapi();
    let paths = &mut document.paths.paths;
    match role {
        Role::Whole => {}
        Role::Api => paths.retain(|path, _| !path.starts_with(SHARD)),
        Role::IndexShard { .. } => {
            paths.retain(|path, _| {
                !["/api/v1/search/", "/api/v1/upload/"].iter().any(|it| path.starts_with(it))
            });
            let bare = paths.iter().filter_map(|(path, item)| {
                Some((format!("/api/v1{}", path.strip_prefix(SHARD)?), of_the_only_shard(item)))
            });
            let bare: Vec<_> = bare.collect();
            paths.extend(bare);
        }
    }
    serde_json::to_vec(&document)
}

/// A route without the parameters that say which shard it is for.
fn of_the_only_shard(item: &PathItem) -> PathItem {
    let without = |operation: &Operation| {
        let mut operation = operation.clone();
        let in_path =
            |it: &RefOr<Parameter>| matches!(it, RefOr::T(it) if it.parameter_in == ParameterIn::Path);
        operation.parameters.iter_mut().for_each(|all| all.retain(|it| !in_path(it)));
        operation.operation_id = operation.operation_id.map(|id| format!("{id}_of_the_only_shard"));
        operation
    };
    let mut bare = item.clone();
    (bare.get, bare.post) = (item.get.as_ref().map(without), item.post.as_ref().map(without));
    bare
}

/// The user interface at `/index.html` and its files; anything else is not here.
pub(crate) async fn user_interface(method: Method, uri: Uri) -> Response {
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
        // The default asks a server on the internet.
        Arc::new(Config::from(DOCUMENT).validator_url("none"))
    });
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
