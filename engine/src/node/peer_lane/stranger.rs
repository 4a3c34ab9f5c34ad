//! Connections between two engines that have not proved themselves to each other yet.
//! Always: few of them, a small buffer each, and a deadline; nothing of them reaches the replica.

use super::super::hub::Hub;
use super::super::outbox::Outbox;
use super::super::port::lane;
use crate::units::Tick;
use crate::uring::buffers::Fill;
use crate::uring::{File, Op, Token};
use crate::wire::greeting::{Greeted, Greeting, GreetingError};

/// Ops of a stranger.
pub(super) const CONNECT: u8 = 1;
pub(super) const GREET: u8 = 2;
pub(super) const ANSWER: u8 = 6;

/// Where it stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// Waits for the connection. Leaves when it stands, or for the end.
    Dialing,
    /// Waits for the other end's messages. Leaves with a verdict or at its deadline.
    Greeting(Box<Greeting>),
    /// Refused: waits until the refusal is sent. Leaves for the end.
    Refused,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Stranger {
    pub file: File,
    pub serial: u32,
    pub index: usize,
    pub phase: Phase,
    pub dialed: Option<crate::wire::greeting::FlowRole>,
    pub by: Tick,
    pub out: Outbox,
    pub from: String,
    buffer: Option<Fill>,
    have: usize,
    receiving: bool,
}

/// What came of received bytes.
#[derive(Debug)]
pub(super) enum Verdict {
    /// More is needed.
    More,
    /// The peer: what it proved, and the bytes behind the greeting.
    Peer(Greeted, Vec<u8>),
    /// Not the peer.
    Refused(GreetingError),
    /// The connection ended.
    Gone,
}

impl Stranger {
    /// A connection with a buffer and a deadline.
    pub fn new(
        file: File,
        serial: u32,
        index: usize,
        phase: Phase,
        by: Tick,
        buffer: Fill,
        from: String,
    ) -> Stranger {
        let out = Outbox::default();
        let (have, receiving, dialed) = (0, false, None);
        let buffer = Some(buffer);
        Stranger { file, serial, index, phase, dialed, by, out, from, buffer, have, receiving }
    }

    pub fn token(&self, kind: u8) -> Token {
        let id = (u64::from(self.serial) << 32) | self.index as u64;
        Token { lane: lane::PEER, kind, id }
    }

    /// Sends what waits and receives more.
    pub fn run(&mut self, hub: &mut Hub) {
        let token = self.token(ANSWER);
        self.out.kick(&mut hub.port, token, &self.file);
        if self.receiving || !matches!(self.phase, Phase::Greeting(_)) {
            return;
        }
        let Some(into) = self.buffer.take() else { return };
        let from = u32::try_from(self.have).expect("a small buffer");
        let len = u32::try_from(into.len() - self.have).expect("a small buffer");
        self.receiving = true;
        let file = self.file.clone();
        let op = Op::Recv { file, into, from, len, all: false, idle: false };
        hub.port.submit(self.token(GREET), op);
    }

    /// Bytes came in.
    pub fn received(&mut self, into: Fill, bytes: u32) -> Verdict {
        self.receiving = false;
        self.have += bytes as usize;
        let Phase::Greeting(greeting) = &mut self.phase else { return Verdict::Gone };
        if bytes == 0 {
            self.buffer = Some(into);
            return Verdict::Gone;
        }
        let input = &into.bytes()[..self.have];
        let fed = self.out.open().put_with(|out| greeting.feed(input, out));
        let verdict = match fed {
            Err(error) => Verdict::Refused(error),
            Ok(progress) => {
                let rest = input[progress.consumed..].to_vec();
                match progress.done {
                    Some(greeted) => Verdict::Peer(greeted, rest),
                    None if progress.consumed == 0 && self.have == into.len() => Verdict::Gone,
                    None => {
                        let mut into = into;
                        into.bytes_mut()[..rest.len()].copy_from_slice(&rest);
                        self.have = rest.len();
                        self.buffer = Some(into);
                        return Verdict::More;
                    }
                }
            }
        };
        self.buffer = Some(into);
        verdict
    }
}
