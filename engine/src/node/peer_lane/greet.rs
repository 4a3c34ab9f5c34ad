//! The door: dialing with backoff, accepting strangers, and what becomes of them.

use super::super::bufs::STRANGERS_MAX;
use super::super::hub::Hub;
use super::flow::Flow;
use super::session::Live;
use super::stranger::{CONNECT, Phase, Stranger, Verdict};
use super::{BACKOFF_LEAST, BACKOFF_MOST, LOG_AGAIN, Lost, PeerLane};
use crate::replica::event::Event;
use crate::units::{Span, Tick};
use crate::uring::{Address, Done, Op, sys};
use crate::wire::greeting::{FlowRole, Greeted, Greeting, GreetingError, Refused, refusal};
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;

/// Time before another accept after one failed.
const ACCEPT_AGAIN: Span = Span::millis(1_000);

impl PeerLane {
    /// Strangers that came by themselves are fewer than there are places, so that a dial always
    /// finds one.
    pub(super) fn may_accept(&self, hub: &Hub) -> bool {
        let came = self.strangers.iter().flatten().filter(|s| s.dialed.is_none()).count();
        came < STRANGERS_MAX && hub.bufs.pools.strangers.free() > 0
    }

    pub(super) fn accepted(&mut self, hub: &mut Hub, done: Done) {
        self.accepting = false;
        match done.accepted {
            Some(fd) => {
                if let Err(error) = self.greet_back(hub, fd) {
                    tracing::warn!(%error, "connection of the peer was not accepted");
                }
            }
            None => {
                let error = done.result.err();
                tracing::warn!(?error, "link: accept failed; trying again in 1 s");
                self.accept_at = Some(hub.now.after(ACCEPT_AGAIN));
            }
        }
        self.accept(hub);
    }

    fn greet_back(&mut self, hub: &mut Hub, fd: OwnedFd) -> io::Result<()> {
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        let from = stream.peer_addr()?.to_string();
        let live = self.live.as_ref().map(|live| live.session);
        let greeting = Greeting::accept(&self.config.greeting, random()?, live);
        let phase = Phase::Greeting(Box::new(greeting));
        self.enter(hub, OwnedFd::from(stream), phase, None, from);
        Ok(())
    }

    fn enter(
        &mut self,
        hub: &mut Hub,
        fd: OwnedFd,
        phase: Phase,
        dialed: Option<FlowRole>,
        from: String,
    ) -> Option<usize> {
        let index = self.strangers.iter().position(Option::is_none)?;
        let buffer = hub.bufs.pools.strangers.take()?;
        self.serial = self.serial.wrapping_add(1);
        let (file, by) = (hub.port.ring.adopt(fd), hub.now.after(self.config.hello));
        let mut stranger = Stranger::new(file, self.serial, index, phase, by, buffer, from);
        stranger.dialed = dialed;
        stranger.run(hub);
        self.strangers[index] = Some(stranger);
        Some(index)
    }

    fn dial(&mut self, hub: &mut Hub, flow: FlowRole) {
        let Some(to) = self.config.dial else { return };
        let dialed = sys::tcp_socket(&to).and_then(|fd| {
            let stream = TcpStream::from(fd);
            stream.set_nodelay(true)?;
            Ok(OwnedFd::from(stream))
        });
        let index = match dialed {
            Ok(fd) => self.enter(hub, fd, Phase::Dialing, Some(flow), to.to_string()),
            Err(error) => {
                tracing::warn!(%error, "link: no socket to dial the peer with");
                None
            }
        };
        let Some(stranger) = index.and_then(|index| self.strangers[index].as_ref()) else {
            return self.dial_later(hub);
        };
        let (file, to) = (stranger.file.clone(), Box::new(Address::new(&to)));
        hub.port.submit(stranger.token(CONNECT), Op::Connect { file, to });
    }

    pub(super) fn dial_later(&mut self, hub: &Hub) {
        if self.config.dial.is_none() || self.live.is_some() {
            return;
        }
        self.dial_at = Some(hub.now.after(self.backoff));
        self.backoff = Span((self.backoff.0 * 2).min(BACKOFF_MOST.0));
    }

    pub(super) fn stranger_done(&mut self, hub: &mut Hub, serial: u32, index: usize, done: Done) {
        let place = self.strangers.get_mut(index);
        let Some(stranger) = place.and_then(Option::as_mut).filter(|s| s.serial == serial) else {
            return;
        };
        let verdict = match (done.op, done.result) {
            (Op::Connect { .. }, Ok(_)) => match random() {
                Ok(random) => {
                    let flow = stranger.dialed.unwrap_or(FlowRole::Control);
                    let local = &self.config.greeting;
                    let greeting = stranger
                        .out
                        .open()
                        .put_with(|out| Greeting::dial(local, random, flow, out));
                    stranger.phase = Phase::Greeting(Box::new(greeting));
                    Verdict::More
                }
                Err(error) => {
                    tracing::error!(%error, "no random bytes for a greeting");
                    Verdict::Gone
                }
            },
            (Op::Recv { into, .. }, result) => stranger.received(into, result.unwrap_or(0)),
            (Op::Send { gather, .. }, result) => {
                let whole = stranger.out.sent(gather, result.unwrap_or(0));
                if whole && !matches!(stranger.phase, Phase::Refused) {
                    Verdict::More
                } else {
                    Verdict::Gone
                }
            }
            _ => Verdict::Gone,
        };
        match verdict {
            Verdict::More => stranger.run(hub),
            Verdict::Gone => self.dismiss(hub, index),
            Verdict::Refused(error) => self.refuse(hub, index, error),
            Verdict::Peer(greeted, rest) => self.greeted(hub, index, greeted, &rest),
        }
    }

    /// Says why, if there is something to say, and logs it once in a while.
    fn refuse(&mut self, hub: &mut Hub, index: usize, error: GreetingError) {
        let Some(stranger) = self.strangers[index].as_mut() else { return };
        let told = self.told.entry(std::mem::discriminant(&error)).or_insert(Tick(0));
        if *told == Tick(0) || hub.now.since(*told) > LOG_AGAIN {
            *told = hub.now;
            tracing::warn!(from = %stranger.from, "{error}");
        }
        stranger.phase = Phase::Refused;
        if stranger.out.is_empty() {
            self.dismiss(hub, index);
        } else {
            stranger.run(hub);
        }
    }

    /// The connection is of no more use. Its place is free at once: what the kernel still has of
    /// it completes under an old serial.
    fn dismiss(&mut self, hub: &mut Hub, index: usize) {
        let Some(stranger) = self.strangers[index].take() else { return };
        stranger.file.shutdown();
        match stranger.dialed {
            // Without this flow the session never comes up.
            Some(FlowRole::Data { session, .. }) => {
                let waits = |live: &Live| live.session == session && !live.up;
                let waits = self.live.as_ref().is_some_and(waits);
                if waits {
                    self.lose(hub, &Lost::NotAttached);
                }
            }
            Some(FlowRole::Control) => self.dial_later(hub),
            None => {}
        }
        self.accept(hub);
    }

    fn greeted(&mut self, hub: &mut Hub, index: usize, greeted: Greeted, rest: &[u8]) {
        let place = match greeted.flow {
            FlowRole::Control => 0,
            FlowRole::Data { index, .. } => usize::from(index),
        };
        if place == 0 {
            self.begin_session(hub, &greeted);
        }
        let Some(stranger) = self.strangers[index].take() else { return };
        let stage = hub.bufs.pools.staging.take();
        let live = self.live.as_mut().filter(|live| live.session == greeted.session);
        let free = live.filter(|live| live.flows.get(place).is_some_and(Option::is_none));
        let (Some(stage), Some(live)) = (stage, free) else {
            let mut stranger = stranger;
            stranger.out.open().put(&refusal(Refused::FlowTaken));
            stranger.phase = Phase::Refused;
            stranger.run(hub);
            self.strangers[index] = Some(stranger);
            return;
        };
        let (file, session, serial) = (stranger.file.clone(), live.session, live.serial);
        let mut flow = Flow::new(file, session, serial, place, stage, rest);
        // What the greeting has still to say goes first.
        flow.out = stranger.out;
        live.flows[place] = Some(flow);
        self.is_news = true;
        let dials = stranger.dialed.is_some() && place == 0;
        let flows = greeted.flows;
        if dials {
            (1..=flows).for_each(|index| self.dial(hub, FlowRole::Data { session, index }));
        }
        self.accept(hub);
        self.go_live(hub);
    }

    /// A control flow was greeted: it replaces whatever was there.
    fn begin_session(&mut self, hub: &mut Hub, greeted: &Greeted) {
        self.lose(hub, &Lost::Replaced);
        self.dial_at = None;
        self.serial = self.serial.wrapping_add(1);
        let by = hub.now.after(self.config.hello);
        self.live = Some(Live::new(greeted, self.serial, by));
    }

    /// Tells the replica once every flow is attached, and begins to read frames.
    fn go_live(&mut self, hub: &mut Hub) {
        let Some(live) = self.live.as_mut().filter(|live| !live.up && live.is_attached()) else {
            return;
        };
        live.up = true;
        self.backoff = BACKOFF_LEAST;
        let (session, peer) = (live.session, live.peer);
        let (peer_boot, peer_start) = (live.peer_boot, live.peer_start);
        let flows = live.flows.len();
        tracing::info!(%session, %peer, flows = flows - 1, "link attached");
        hub.events.push_back(Event::LinkUp { session, peer, peer_boot, peer_start });
        (0..flows).for_each(|index| self.advance(hub, index));
    }

    /// Time has passed.
    pub fn wake(&mut self, hub: &mut Hub) {
        for index in 0..self.strangers.len() {
            if self.strangers[index].as_ref().is_some_and(|stranger| stranger.by <= hub.now) {
                self.dismiss(hub, index);
            }
        }
        if self.live.as_ref().is_some_and(|live| !live.up && live.attach_by <= hub.now) {
            self.lose(hub, &Lost::NotAttached);
        }
        if self.dial_at.is_some_and(|at| at <= hub.now) {
            self.dial_at = None;
            let dialing = self.strangers.iter().flatten().any(|s| s.dialed.is_some());
            if self.live.is_none() && !dialing {
                self.dial(hub, FlowRole::Control);
            } else {
                self.dial_later(hub);
            }
        }
        self.accept(hub);
    }
}

fn random() -> io::Result<[u8; 32]> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random)
}
