//! The JSON of the HTTP API: how it is read and how it is written.
//!
//! Reading is as lenient as the published server: names in any case, members in any order, numbers also as strings,
//! null like absent, unknown members ignored. Writing is exact: camelCase, no nulls, and members in the order that
//! the .NET client needs.

mod members;
mod number;
mod quick;
mod read;
mod schema;
mod upload;
mod write;

pub use read::parse_search;
pub(crate) use read::parse_search_results;
pub(crate) use schema::{
    Attribute, AttributeValue, DataSourceItem, ErrorBody, FoundDataPoint, IndexItem, InputDataPoint,
    SearchQuery, SearchResult, ShardDetails, ShardDigest, ShardInfo, ShardItem, Vector,
};
pub use upload::{UploadError, parse_upload};
pub(crate) use write::search_results;

/// JSON without the mark that some programs and editors begin UTF-8 with.
pub(crate) fn without_byte_order_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}
