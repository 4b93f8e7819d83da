//! The Vektonn server: an HTTP API over a data source and the shards that follow it, and a command line.
//!
//! Thin: what things mean is in `vektonn-core`, searching in `vektonn-index`, the log and its followers in
//! `vektonn-kafka`. A library only so that fuzz targets and tests can reach the parsers.
#![forbid(unsafe_code)]

mod app;
mod body;
mod catalog;
pub mod cli;
mod client;
mod demo;
#[cfg(test)]
mod distributed_tests;
mod drain;
pub mod dto;
mod error;
mod keeper;
mod limits;
mod remote;
mod request;
mod routes;
mod scatter;
mod search_pool;
mod served;
mod server;
mod shutdown;
mod telemetry;
