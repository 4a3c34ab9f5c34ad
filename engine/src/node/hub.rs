//! What every lane works with: the way to the ring, the buffers, the events of this turn, the
//! present and the metrics.

use super::bufs::Bufs;
use super::metrics::Metrics;
use super::port::Port;
use crate::replica::event::Event;
use crate::units::Tick;
use std::collections::VecDeque;

/// Shared by the lanes, owned by the loop.
pub struct Hub {
    /// To the kernel.
    pub port: Port,
    /// Payload buffers.
    pub bufs: Bufs,
    /// For the replica, in the order in which they happened.
    pub events: VecDeque<Event>,
    /// Tick of this turn.
    pub now: Tick,
    /// Counters and histograms.
    pub metrics: Metrics,
}
