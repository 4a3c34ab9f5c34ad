//! One client connection: its bytes in, its answers out.
//! Always: the staging buffer is either here or with a receive in flight; while it is away nothing
//! is parsed, and while a request waits for a buffer nothing is received.

use super::super::bufs::{LARGE_BYTES, SMALL_BYTES};
use super::super::outbox::Outbox;
use super::feed::Feed;
use super::request::ConnId;
use super::share::{Good, Held};
use crate::units::Tick;
use crate::uring::buffers::{Fill, Lease};
use crate::uring::{File, Gather};
use lockstep_nbd::protocol::{Connection, Negotiated, Request};

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Serves. Leaves for `Finishing` at a disconnect, when clients are refused, or when the
    /// protocol ends it; for `Dead` when the socket fails.
    Open,
    /// Takes no more requests. Leaves for `Dead` when everything is answered and sent.
    Finishing,
    /// The socket is shut. Leaves when the kernel has given back its last op.
    Dead,
}

/// A write whose payload is larger than a small slot, being received.
#[derive(Debug)]
pub(super) struct Body {
    /// Its request.
    pub request: usize,
    /// Where the next piece goes.
    pub offset: u64,
    /// Bytes not yet in a piece that was submitted.
    pub left: u32,
    /// Number of the next piece.
    pub piece: u32,
    /// Stable before the answer.
    pub fua: bool,
    /// The piece being filled: slot, bytes in it.
    pub slot: Option<(Fill, u32)>,
}

/// A client.
#[derive(Debug)]
pub(super) struct Conn {
    pub file: File,
    pub id: ConnId,
    pub protocol: Connection,
    pub negotiated: Negotiated,
    pub stage: Option<Fill>,
    pub start: usize,
    pub end: usize,
    pub receiving: bool,
    pub next: Option<Request>,
    pub body: Option<Body>,
    /// A large slot was taken for a piece that has not entered the replica.
    pub filling: bool,
    pub feed: Option<Feed>,
    /// What its pieces inside the replica hold.
    pub inside: Held,
    /// Slots of answers that have not left.
    pub leaving: Held,
    pub out: Outbox,
    pub outstanding: usize,
    pub phase: Phase,
    pub idle: bool,
    /// The last request was a write larger than a small slot; the next one likely is, too.
    pub bulky: bool,
    pub stalled: bool,
    /// Not parsed until its client has read some of its replies.
    pub choked: bool,
    pub greet_by: Option<Tick>,
    /// The kernel's own: a request that gets no answer is asked again by it.
    pub kernel: bool,
}

impl Conn {
    /// Bytes that are staged and not yet parsed; empty while the buffer is away.
    pub fn staged(&self) -> &[u8] {
        self.stage.as_ref().map_or(&[], |stage| &stage.bytes()[self.start..self.end])
    }

    /// Takes up to `want` staged bytes into `to`, from byte `at` of it on.
    pub fn unstage(&mut self, to: &mut Fill, at: usize, want: usize) -> usize {
        let staged = self.staged();
        let part = staged.len().min(want);
        to.bytes_mut()[at..at + part].copy_from_slice(&staged[..part]);
        self.start += part;
        part
    }

    /// Makes room at the end of the staging buffer, if there is little.
    pub fn compact(&mut self) {
        let Some(stage) = self.stage.as_mut() else { return };
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if stage.len() - self.end < stage.len() / 4 {
            stage.bytes_mut().copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Whether this is that incarnation of its place.
    pub fn is(&self, id: ConnId) -> bool {
        self.id == id
    }

    /// Appends data of an answer without copying it.
    pub fn put_slot(&mut self, lease: Lease, len: usize) {
        let good = if lease.len() == SMALL_BYTES { Good::Small } else { Good::Large };
        self.leaving[good as usize] += 1;
        self.out.open().put_slot(lease, 0..len);
    }

    /// Slots that leave with a gather.
    pub fn slots_in(gather: &Gather) -> Held {
        [0, gather.slots_of(SMALL_BYTES), gather.slots_of(LARGE_BYTES)]
    }

    /// Whether the kernel has nothing of this connection any more.
    pub fn is_idle_in_kernel(&self) -> bool {
        !self.receiving && !self.out.in_flight()
    }
}
