//! The simulated link: one session at a time, several flows with an order of their own.
//!
//! Fault model: frames of one flow stay in order, flows overtake each other; a direction stalls
//! (what is sent waits until it heals, or dies with the session); a session breaks on both sides or
//! on one only. The shell never delivers a frame of an old session; because the replica must check
//! that itself, such frames, and frames of an older epoch, are also injected past the shell.
//! Each message is encoded and decoded by the production wire code; payloads are stamps.

use super::disk::Block;
use super::random::scramble;
use lockstep_engine::units::{Epoch, Session, Tick};
use lockstep_engine::wire::message::Message;
use lockstep_engine::wire::{FRAME_SEQUENCE_FIRST, FlowKind, Framer, Kind, Step, codec};
use std::collections::VecDeque;

/// Data flows of a session.
pub const DATA_FLOWS: usize = 2;

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Session it belongs to.
    pub session: Session,
    /// Flow: 0 is control.
    pub flow: usize,
    /// Encoded header and body.
    pub bytes: Vec<u8>,
    /// Payload.
    pub payload: Option<Vec<Block>>,
}

/// Frames kept of each epoch.
const KEPT: usize = 48;

/// A frame as it was sent, kept to be injected later.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Receiver, as an index.
    pub to: usize,
    /// Session it was sent in.
    pub session: Session,
    /// Epoch it was sent in.
    pub epoch: Epoch,
    /// The message.
    pub message: Message,
    /// Its payload.
    pub payload: Option<Vec<Block>>,
}

struct Flow {
    sequence: u64,
    framer: Framer,
    last: Tick,
    /// Sent, not yet arrived: a flow keeps its order whatever delays each frame.
    inside: VecDeque<Frame>,
}

/// One direction of a session.
struct Direction {
    flows: Vec<Flow>,
}

impl Direction {
    fn new(session: Session, from: Tick) -> Direction {
        let flow = |kind| Flow {
            sequence: FRAME_SEQUENCE_FIRST,
            framer: Framer::pinned(kind, session),
            last: from,
            inside: VecDeque::new(),
        };
        let mut flows = vec![flow(FlowKind::Control)];
        flows.extend((0..DATA_FLOWS).map(|_| flow(FlowKind::Data)));
        Direction { flows }
    }
}

/// The session that was greeted last, and the network below it.
#[derive(Default)]
pub struct Link {
    /// The session, while at least one side believes in it.
    pub session: Option<Session>,
    /// Engine runs that it joins.
    pub runs: [u64; 2],
    /// Direction stalls: index is the receiver.
    pub stalled: [bool; 2],
    /// Nanoseconds added to each frame.
    pub slow: u64,
    /// Flows of which a frame waits for a stall to end, per receiver.
    pub waiting: [Vec<usize>; 2],
    /// Frames kept for injection.
    pub kept: Vec<Kept>,
    directions: Vec<Direction>,
    turn: usize,
}

fn crc_of(blocks: &[Block]) -> u32 {
    let mixed = blocks
        .iter()
        .flatten()
        .fold(blocks.len() as u64, |sum, stamp| scramble(sum.rotate_left(9) ^ *stamp));
    u32::try_from(mixed >> 32).expect("half a word")
}

impl Link {
    /// A new session between two engine runs; `up` is when each side hears of it.
    pub fn open(&mut self, session: Session, runs: [u64; 2], up: [Tick; 2]) {
        self.session = Some(session);
        self.runs = runs;
        self.waiting = Default::default();
        self.directions = up.into_iter().map(|at| Direction::new(session, at)).collect();
    }

    /// Whether a greeting can pass.
    pub fn passes(&self) -> bool {
        !self.stalled[0] && !self.stalled[1]
    }

    /// Encodes a message for receiver `to` and puts it on a flow.
    pub fn encode(
        &mut self,
        to: usize,
        session: Session,
        epoch: Epoch,
        message: Message,
        payload: Option<Vec<Block>>,
    ) -> usize {
        let flow = match Kind::of(&message).flow() {
            FlowKind::Control => 0,
            FlowKind::Data => {
                self.turn += 1;
                1 + self.turn % DATA_FLOWS
            }
        };
        let described = payload.as_ref().map(|blocks| {
            let bytes = u32::try_from(blocks.len() * 4096).expect("a piece is small");
            (bytes, crc_of(blocks))
        });
        let state = &mut self.directions[to].flows[flow];
        let mut bytes = Vec::with_capacity(128);
        codec::encode(session, epoch, state.sequence, &message, described, &mut bytes);
        state.sequence += 1;
        if !matches!(message, Message::Ping { .. } | Message::Pong { .. }) {
            let same = |kept: &Kept| kept.epoch == epoch;
            if self.kept.iter().filter(|kept| same(kept)).count() == KEPT
                && let Some(oldest) = self.kept.iter().position(same)
            {
                self.kept.remove(oldest);
            }
            self.kept.push(Kept { to, session, epoch, message, payload: payload.clone() });
        }
        self.directions[to].flows[flow].inside.push_back(Frame { session, flow, bytes, payload });
        flow
    }

    /// The next frame of a flow.
    pub fn take(&mut self, to: usize, flow: usize) -> Option<Frame> {
        self.directions[to].flows[flow].inside.pop_front()
    }

    /// When a frame that would arrive at `at` really arrives: never before an earlier one.
    pub fn arrival(&mut self, to: usize, flow: usize, at: Tick) -> Tick {
        let last = &mut self.directions[to].flows[flow].last;
        *last = at.max(*last);
        *last
    }

    /// Decodes a frame of the live session.
    pub fn decode(&mut self, to: usize, frame: &Frame) -> Result<(Epoch, Vec<Message>), String> {
        let framer = &mut self.directions[to].flows[frame.flow].framer;
        let (epoch, messages, expects) = match framer.next(&frame.bytes) {
            Ok(Step::Frame(found)) => {
                let epoch = found.epoch;
                let expects = found.payload.is_some();
                (epoch, found.messages.collect::<Vec<_>>(), expects)
            }
            other => return Err(format!("a frame did not decode: {other:?}")),
        };
        if expects {
            let blocks = frame.payload.as_deref().unwrap_or_default();
            framer
                .check_payload(crc_of(blocks))
                .map_err(|error| format!("a payload did not check: {error:?}"))?;
        }
        Ok((epoch, messages))
    }
}
