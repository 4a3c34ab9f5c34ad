//! The lanes' way to the ring: what does not fit waits in order and is pushed first next time.
//! Always: the backlog is bounded, because every op holds a buffer, a connection or a request
//! that is counted elsewhere.

use crate::uring::{Full, Op, Ring, Token};
use std::collections::VecDeque;

/// Lanes, as they stand in tokens.
pub mod lane {
    /// Disks.
    pub const DISK: u8 = 1;
    /// Digest helper.
    pub const DIGEST: u8 = 2;
    /// Clients.
    pub const CLIENT: u8 = 3;
    /// The peer.
    pub const PEER: u8 = 4;
    /// Daemons.
    pub const ADMIN: u8 = 5;
    /// Signals.
    pub const SIGNAL: u8 = 6;
    /// The kernel's block device.
    pub const DEVICE: u8 = 7;
}

/// The ring with a backlog.
pub struct Port {
    /// The ring itself.
    pub ring: Ring,
    backlog: VecDeque<(Token, Op)>,
}

impl Port {
    /// A port on `ring`.
    pub fn new(ring: Ring) -> Port {
        Port { ring, backlog: VecDeque::new() }
    }

    /// Queues an op; when the ring is full, behind the ops that wait already.
    pub fn submit(&mut self, token: Token, op: Op) {
        if !self.backlog.is_empty() {
            self.backlog.push_back((token, op));
        } else if let Err(Full(op)) = self.ring.push(token, op) {
            self.backlog.push_back((token, op));
        }
    }

    /// Moves what waits into the ring, as far as it goes. Call after each submit.
    pub fn drain(&mut self) {
        while let Some((token, op)) = self.backlog.pop_front() {
            if let Err(Full(op)) = self.ring.push(token, op) {
                self.backlog.push_front((token, op));
                return;
            }
        }
    }

    /// Whether something waits for room.
    pub fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }
}
