//! The peer: greetings, sessions, frames. Node a dials, both listen.
//! Always: the replica hears of a session when all its flows are attached and no earlier one is
//! left; one flow lost is a session lost; acknowledgements of a turn share frames.
//! Survives: strangers at the door, peers that restart, and connections that break at any byte.

mod flow;
mod greet;
mod session;
mod stranger;
#[cfg(test)]
mod tests;

use super::hub::Hub;
use super::port::lane;
use crate::replica::event::{BufId, Event};
use crate::units::{Epoch, Session, Span, Tick};
use crate::uring::{Done, File, Op, Token};
use crate::wire::bounds::ACKS_PER_FRAME_MAX;
use crate::wire::greeting::{GreetingConfig, GreetingError};
use crate::wire::message::{Message, Status};
use crate::wire::{FlowKind, FrameError, Kind};
use flow::Read;
use session::Live;
use std::collections::HashMap;
use std::mem::Discriminant;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use stranger::Stranger;

const ACCEPT: u8 = 0;

const BACKOFF_LEAST: Span = Span::millis(50);
const BACKOFF_MOST: Span = Span::millis(1_000);
/// The same refusal is logged once in this time.
const LOG_AGAIN: Span = Span::millis(60_000);
/// Writes whose acknowledgement is timed.
const TIMED: usize = 2048;

/// What the lane must know.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Who this end is.
    pub greeting: GreetingConfig,
    /// Where the peer listens; `None` when it dials.
    pub dial: Option<SocketAddr>,
    /// Time for a greeting, and for all flows to attach.
    pub hello: Span,
}

/// The lane of the peer.
pub struct PeerLane {
    config: PeerConfig,
    listener: File,
    accepting: bool,
    accept_at: Option<Tick>,
    strangers: Vec<Option<Stranger>>,
    live: Option<Live>,
    serial: u32,
    dial_at: Option<Tick>,
    backoff: Span,
    acks: Vec<(u64, Status)>,
    acks_epoch: Epoch,
    stalled: bool,
    is_news: bool,
    told: HashMap<Discriminant<GreetingError>, Tick>,
    sent_at: Box<[(u64, Tick)]>,
}

impl PeerLane {
    /// A lane that listens on a bound TCP socket.
    pub fn new(hub: &mut Hub, config: PeerConfig, listener: OwnedFd) -> PeerLane {
        let dial_at = config.dial.map(|_| hub.now);
        let mut lane = PeerLane {
            config,
            listener: hub.port.ring.adopt(listener),
            accepting: false,
            accept_at: None,
            strangers: (0..hub.bufs.pools.strangers.slots()).map(|_| None).collect(),
            live: None,
            serial: 0,
            dial_at,
            backoff: BACKOFF_LEAST,
            acks: Vec::new(),
            acks_epoch: Epoch(0),
            stalled: false,
            is_news: true,
            told: HashMap::new(),
            sent_at: vec![(u64::MAX, Tick(0)); TIMED].into_boxed_slice(),
        };
        lane.accept(hub);
        lane.wake(hub);
        lane
    }

    fn accept(&mut self, hub: &mut Hub) {
        let due = self.accept_at.is_none_or(|at| at <= hub.now);
        if !self.accepting && due && self.may_accept(hub) {
            (self.accepting, self.accept_at) = (true, None);
            let token = Token { lane: lane::PEER, kind: ACCEPT, id: 0 };
            hub.port.submit(token, Op::Accept { file: self.listener.clone() });
        }
    }

    /// A completion of this lane.
    pub fn done(&mut self, hub: &mut Hub, done: Done) {
        let serial = u32::try_from(done.token.id >> 32).unwrap_or(u32::MAX);
        let index = usize::try_from(done.token.id & 0xffff_ffff).unwrap_or(usize::MAX);
        match done.token.kind {
            ACCEPT => self.accepted(hub, done),
            stranger::CONNECT | stranger::GREET | stranger::ANSWER => {
                self.stranger_done(hub, serial, index, done);
            }
            _ => self.flow_done(hub, serial, index, done),
        }
    }

    fn flow_done(&mut self, hub: &mut Hub, serial: u32, index: usize, done: Done) {
        let Some(live) = self.live.as_mut().filter(|live| live.serial == serial) else { return };
        let Some(flow) = live.flows.get_mut(index).and_then(Option::as_mut) else { return };
        match (done.op, done.result) {
            (Op::Send { gather, .. }, result) => {
                let bytes = result.unwrap_or(0);
                hub.metrics.link_sent_bytes += u64::from(bytes);
                self.is_news = true;
                if !flow.out.sent(gather, bytes) {
                    self.lose(hub, &Lost::Send { flow: index });
                }
            }
            (Op::Recv { into, len, .. }, Ok(bytes)) if done.token.kind == flow::BODY => {
                hub.metrics.link_received_bytes += u64::from(bytes);
                if bytes < len {
                    return self.lose(hub, &Lost::Closed { flow: index });
                }
                flow.body_received(into, done.more);
                self.advance(hub, index);
            }
            (Op::Recv { into, .. }, Ok(bytes)) if bytes > 0 => {
                hub.metrics.link_received_bytes += u64::from(bytes);
                flow.received(into, bytes, done.more);
                self.advance(hub, index);
            }
            (Op::Recv { .. }, Ok(_)) => self.lose(hub, &Lost::Closed { flow: index }),
            (_, Err(errno)) => self.lose(hub, &Lost::Socket { flow: index, errno: errno.0 }),
            _ => {}
        }
    }

    fn advance(&mut self, hub: &mut Hub, index: usize) {
        let before = hub.events.len();
        let Some(live) = self.live.as_mut() else { return };
        let Some(flow) = live.flows.get_mut(index).and_then(Option::as_mut) else { return };
        match flow.advance(hub) {
            Ok(Read::Receiving) => {}
            Ok(Read::Stalled) => self.stalled = true,
            Err(error) => self.lose(hub, &Lost::Frame { flow: index, error }),
        }
        for event in hub.events.range(before..) {
            if let Event::Frame { message: Message::Ack { token, .. }, .. } = event {
                let (timed, at) = self.sent_at[timed_place(*token)];
                if timed == *token {
                    hub.metrics.peer_ack.add(hub.now.since(at));
                }
            }
        }
    }

    /// Sends on the live session; dropped in silence when `session` is another.
    pub fn send(
        &mut self,
        hub: &mut Hub,
        session: Session,
        epoch: Epoch,
        message: Message,
        buf: Option<BufId>,
        skip: u32,
    ) {
        let is_live = |live: &Live| live.up && live.session == session;
        if !self.live.as_ref().is_some_and(is_live) {
            return;
        }
        self.is_news = true;
        if let Message::Ack { token, status } = message {
            if self.acks_epoch != epoch {
                self.put_acks();
                self.acks_epoch = epoch;
            }
            self.acks.push((token, status));
            return;
        }
        let payload = match (buf, payload_len(&message)) {
            (Some(buf), Some(len)) => match hub.bufs.lease(buf) {
                Some(lease) => Some((lease, skip, len)),
                None => {
                    tracing::error!(?buf, "send of a buffer that is not there; this is a bug");
                    return self.lose(hub, &Lost::NoBuffer);
                }
            },
            _ => None,
        };
        if let Message::Write { token, .. } | Message::Zero { token, .. } = message {
            self.sent_at[timed_place(token)] = (token, hub.now);
        }
        let Some(live) = self.live.as_mut() else { return };
        let control = Kind::of(&message).flow() == FlowKind::Control;
        let flow = if control { live.flows[0].as_mut() } else { live.data_flow() };
        if let Some(flow) = flow {
            flow.put(epoch, &message, payload);
        }
    }

    fn put_acks(&mut self) {
        let Some(flow) = self.live.as_mut().and_then(Live::data_flow) else {
            self.acks.clear();
            return;
        };
        for acks in self.acks.chunks(ACKS_PER_FRAME_MAX) {
            flow.put_acks(self.acks_epoch, acks);
        }
        self.acks.clear();
    }

    /// The replica gives this session up. What it said last leaves if the socket takes it now.
    pub fn drop_link(&mut self, hub: &mut Hub, session: Session) {
        if self.live.as_ref().is_none_or(|live| live.session != session) {
            return;
        }
        self.put_acks();
        if let Some(control) = self.live.as_mut().and_then(|live| live.flows[0].as_mut()) {
            control.kick(hub);
            if let Err(error) = hub.port.ring.submit() {
                tracing::debug!(%error, "last words to the peer were not sent");
            }
        }
        self.end_session(hub);
    }

    /// The session is over for a reason of its own.
    fn lose(&mut self, hub: &mut Hub, why: &Lost) {
        let Some(live) = self.live.as_ref() else { return };
        let (session, up) = (live.session, live.up);
        tracing::warn!(%session, "link lost: {why}");
        self.end_session(hub);
        if up {
            hub.events.push_back(Event::LinkDown { session });
        }
    }

    fn end_session(&mut self, hub: &mut Hub) {
        if let Some(live) = self.live.take() {
            live.shut();
        }
        self.acks.clear();
        self.stalled = false;
        hub.metrics.link_queued_bytes = 0;
        self.dial_later(hub);
    }

    /// End of a turn: acknowledgements and frames leave, flows that waited for slots go on.
    pub fn flush(&mut self, hub: &mut Hub) {
        if self.stalled {
            self.stalled = false;
            let flows = self.live.as_ref().map_or(0, |live| live.flows.len());
            (0..flows).for_each(|index| self.advance(hub, index));
        }
        if !self.is_news {
            return;
        }
        self.is_news = false;
        if !self.acks.is_empty() {
            self.put_acks();
        }
        if let Some(live) = self.live.as_mut() {
            live.flows.iter_mut().flatten().for_each(|flow| flow.kick(hub));
            hub.metrics.link_queued_bytes = live.queued();
        }
    }

    /// When this lane wants to be called next.
    pub fn deadline(&self) -> Option<Tick> {
        let strangers = self.strangers.iter().flatten().map(|stranger| stranger.by);
        let attach = self.live.as_ref().filter(|live| !live.up).map(|live| live.attach_by);
        let room = self.strangers.iter().any(Option::is_none);
        let again = self.accept_at.filter(|_| room);
        strangers.chain(attach).chain(self.dial_at).chain(again).min()
    }
}

/// Why a session ended on this side.
#[derive(Debug)]
enum Lost {
    /// The peer closed a flow.
    Closed { flow: usize },
    /// A socket failed.
    Socket { flow: usize, errno: i32 },
    /// A send did not go out whole.
    Send { flow: usize },
    /// Bytes that are no frame.
    Frame { flow: usize, error: FrameError },
    /// A bug of ours.
    NoBuffer,
    /// Not every flow attached in time.
    NotAttached,
    /// The peer greeted anew.
    Replaced,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lost::Closed { flow } => write!(f, "the peer closed flow {flow}; reconnecting"),
            Lost::Socket { flow, errno } => {
                write!(f, "flow {flow}: {}; reconnecting", crate::uring::Errno(*errno))
            }
            Lost::Send { flow } => {
                write!(f, "flow {flow} did not take what was sent; reconnecting")
            }
            Lost::Frame { flow, error } => write!(f, "flow {flow}: {error}"),
            Lost::NoBuffer => f.write_str("a payload was missing; report it as a bug"),
            Lost::NotAttached => {
                f.write_str("not every flow attached in time; check the number of flows")
            }
            Lost::Replaced => f.write_str("the peer greeted anew"),
        }
    }
}

fn timed_place(token: u64) -> usize {
    usize::try_from(token % TIMED as u64).unwrap_or(0)
}

fn payload_len(message: &Message) -> Option<u32> {
    match message {
        Message::Write { at, .. } | Message::SyncWrite { at, .. } => Some(at.len),
        Message::ReadDone { status: Status::Ok, at, .. } => Some(at.len),
        _ => None,
    }
}
