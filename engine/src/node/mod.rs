//! The shell: the only room where replica meets uring.

pub mod admin_lane;
mod bufs;
mod client_lane;
mod clock;
mod digest;
mod disk_lane;
mod hub;
mod metrics;
mod outbox;
mod peer_lane;
mod port;
