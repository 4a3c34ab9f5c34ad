//! A hub for tests of single lanes: a real ring, real sockets, no replica.

use super::bufs::Bufs;
use super::clock;
use super::hub::Hub;
use super::metrics::Metrics;
use super::port::Port;
use crate::uring::buffers::Arena;
use crate::uring::{Done, Ring};
use std::collections::VecDeque;
use std::time::Duration;

/// A hub with fresh pools.
pub fn hub() -> Hub {
    let mut ring = Ring::open().unwrap();
    let arena = Arena::map(&Bufs::CLASSES, false).unwrap();
    ring.register(&arena);
    Hub {
        port: Port::new(ring),
        bufs: Bufs::new(&arena),
        events: VecDeque::new(),
        now: clock::now(),
        metrics: Metrics::default(),
    }
}

/// Submits, waits a moment and yields what completed.
pub fn completions(hub: &mut Hub) -> Vec<Done> {
    let mut done = Vec::new();
    hub.port.ring.submit_and_wait(Some(Duration::from_millis(2))).unwrap();
    hub.port.drain();
    hub.port.ring.reap(&mut done);
    hub.now = clock::now();
    done
}
