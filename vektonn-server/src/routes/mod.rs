//! One module for each group of routes. A route reads its request, asks the right part, and writes the answer.

pub(crate) mod health;
pub(crate) mod list;
pub(crate) mod open_api;
pub(crate) mod search;
pub(crate) mod shards;
pub(crate) mod upload;
