//! AWS on loopback: an imitation of its servers, a proxy in front of it that fails as told, the
//! metadata of an instance, and a VPC to fail over in. Always: each process is ended by its id, or
//! ends by itself when the test that started it is gone; nothing leaves the host.

// Helpers of tests may end in a panic, as tests do.
#![allow(clippy::unwrap_used)]

mod http;
pub mod iam;
pub mod metadata;
pub mod moto;
pub mod proxy;
pub mod world;

pub use metadata::{Card, Metadata};
pub use moto::Moto;
pub use proxy::{End, Fault, Proxy, Rule};
pub use world::World;
