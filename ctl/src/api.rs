//! The daemon's API over HTTP: on its unix socket, where rights on the file decide who may, and
//! on TCP when `[api]` says so, with a token or a client certificate. Verbs, status, events,
//! metrics, health, and a page to look at. `routes` is the one table of what there is.
//! Always: it runs on a thread of its own and reaches the daemon's loop through one bounded queue,
//! so that no client, however many or slow, delays a decision; everything that a client can make it
//! keep has a bound. A request that was taken up is carried out whether its client stays or not.

pub mod answer;
mod body;
pub mod control;
mod encode;
mod follow;
mod gate;
mod health;
mod listen;
mod metrics;
mod openapi;
mod path;
mod patient;
mod requests;
pub mod routes;
mod secrets;
mod serve;
mod shared;
mod tls;

pub use encode::{Wanted, encode};
pub use listen::{Api, ListenError, Opening, TcpError};
pub use metrics::manual as metrics_manual;
pub use openapi::document;
pub use routes::manual as routes_manual;
pub use secrets::Renewal;

/// Major version: what stands in front of every path, and in the header `VERSION_HEADER`.
pub const VERSION: u32 = 1;
/// In each answer, and in requests of clients that want to be refused if they are too new or old.
pub const VERSION_HEADER: &str = "lockstep-api";
/// Longest line of a streamed answer, and longest answer, that a client accepts.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Type of an answer that is a line of JSON for each thing that happens.
pub const LINES: &str = "application/x-ndjson";
/// Type of an answer that is one JSON text.
pub const JSON: &str = "application/json";

#[cfg(test)]
mod tests;
