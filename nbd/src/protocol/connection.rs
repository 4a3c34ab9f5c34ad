//! One connection from its greeting to its end: which bytes are whose.
//! Always: after a write was handed out, its payload is the caller's to take off the stream;
//! every other byte is consumed here. A connection that ended stays ended.

use super::constants::REQUEST_BYTES;
use super::export::Export;
use super::handshake::{Ending, Handshake, Negotiated, State};
use super::reply::{Head, failure};
use super::request::{Reject, Request, Violation, decode_request};
use std::fmt;

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// In the handshake.
    Handshake(Ending),
    /// In the transmission phase.
    Violation(Violation),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Handshake(ending) => ending.fmt(f),
            Why::Violation(violation) => violation.fmt(f),
        }
    }
}

/// What a step came upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Nothing whole. Call again with more bytes.
    More,
    /// Transmission begins.
    Entered(Negotiated),
    /// Carry it out. For a write, `request.payload()` bytes follow on the stream; take them off
    /// it before the next step. After a disconnect, finish and close; no step may follow.
    Request(Request),
    /// Send this answer; the request is dealt with.
    Refused(Head),
    /// Send what is queued, then close.
    Close(Why),
}

/// One message further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// What they were.
    pub what: What,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Options. Leaves for `Transmission` or `Closed`.
    Handshake(Handshake),
    /// Requests. `skip` bytes of a refused write are dropped first. Leaves for `Closed`.
    Transmission { negotiated: Negotiated, skip: u32 },
    /// Over.
    Closed(Why),
}

/// The server's side of one connection.
#[derive(Clone, Debug)]
pub struct Connection {
    phase: Phase,
}

impl Connection {
    /// A new connection: queues the greeting.
    pub fn greet(out: &mut Vec<u8>) -> Connection {
        Connection { phase: Phase::Handshake(Handshake::start(out)) }
    }

    /// A connection whose handshake took place elsewhere, such as the kernel's socket pair.
    pub fn adopt(negotiated: Negotiated) -> Connection {
        Connection { phase: Phase::Transmission { negotiated, skip: 0 } }
    }

    /// Refuse options from now on: the server is going down. No effect in transmission.
    pub fn refuse_from_now(&mut self) {
        if let Phase::Handshake(shake) = &mut self.phase {
            shake.refuse_from_now();
        }
    }

    /// What was negotiated, once in the transmission phase.
    pub fn negotiated(&self) -> Option<Negotiated> {
        match self.phase {
            Phase::Transmission { negotiated, .. } => Some(negotiated),
            Phase::Handshake(_) | Phase::Closed(_) => None,
        }
    }

    /// Looks at `input`, deals with at most one request or the whole of the options in it.
    /// Answers to options are appended to `out`.
    pub fn step(&mut self, export: &Export, input: &[u8], out: &mut Vec<u8>) -> Step {
        match &mut self.phase {
            Phase::Closed(why) => Step { consumed: 0, what: What::Close(*why) },
            Phase::Handshake(shake) => {
                let progress = shake.feed(export, input, out);
                let what = match progress.state {
                    State::Haggling => What::More,
                    State::Transmission(negotiated) => {
                        self.phase = Phase::Transmission { negotiated, skip: 0 };
                        What::Entered(negotiated)
                    }
                    State::Ended(ending) => self.close(Why::Handshake(ending)),
                };
                Step { consumed: progress.consumed, what }
            }
            Phase::Transmission { negotiated, skip } => {
                let dropped = input.len().min(*skip as usize);
                // `dropped` is at most `skip`, so it fits.
                *skip -= u32::try_from(dropped).unwrap_or(*skip);
                let Some(head) = input[dropped..].first_chunk::<REQUEST_BYTES>() else {
                    return Step { consumed: dropped, what: What::More };
                };
                let consumed = dropped + REQUEST_BYTES;
                let what = match decode_request(export, negotiated, head) {
                    Ok(request) => What::Request(request),
                    Err(Reject::Answer { cookie, errno, skip: payload }) => {
                        *skip = payload;
                        What::Refused(failure(negotiated, cookie, errno))
                    }
                    Err(Reject::Close(violation)) => self.close(Why::Violation(violation)),
                };
                Step { consumed, what }
            }
        }
    }

    fn close(&mut self, why: Why) -> What {
        self.phase = Phase::Closed(why);
        What::Close(why)
    }
}
