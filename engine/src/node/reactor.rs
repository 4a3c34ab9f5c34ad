//! The loop: reap everything, read the clock, tell the replica, carry out what it asks, sleep.
//! Always: one clock read a turn, after the reap (R13); one system call a turn while there is
//! work; nothing is started from inside the walk over completions.

use super::admin_lane::AdminLane;
use super::client_lane::ClientLane;
use super::clock;
use super::device_lane::DeviceLane;
use super::digest::Digester;
use super::disk_lane::DiskLane;
use super::hub::Hub;
use super::notes;
use super::peer_lane::PeerLane;
use super::poll::{Awaited, Plan, Poller};
use super::port::lane;
use crate::error::StartError;
use crate::replica::Replica;
use crate::replica::action::{Action, Note};
use crate::replica::event::{CmdId, Command, Event};
use crate::units::{Span, Status, Tick};
use crate::uring::{Done, File, Op, Token};
use std::time::Duration;

/// The engine's own command, at a stop signal.
const STOP: CmdId = CmdId(0);
/// Time for last answers to leave after the replica has stopped.
const LAST_WORDS: Span = Span::millis(500);
/// Longest orderly stop after a signal; the peer may be gone for ever.
const STOP_MOST: Span = Span::millis(10_000);
/// Looks for completions between two looks at the clock while polling.
const LOOKS: u32 = 32;

/// Everything that runs.
pub struct Reactor {
    pub hub: Hub,
    pub replica: Replica,
    pub disk: DiskLane,
    pub digester: Digester,
    pub clients: ClientLane,
    /// Where the kernel shows the volume, if it does.
    pub device: Option<DeviceLane>,
    pub peer: PeerLane,
    pub admin: AdminLane,
    pub signals: File,
    pub poller: Poller,
    pub reaped: Vec<Done>,
    pub events: u64,
    pub stop_by: Option<Tick>,
    pub give_up_at: Option<Tick>,
}

impl Reactor {
    /// Serves until the replica has stopped.
    pub fn serve(&mut self) -> Result<(), StartError> {
        self.listen_for_signals();
        self.work();
        while !self.is_over() {
            if self.give_up_at.is_some_and(|at| at <= self.hub.now) {
                return Err(StartError::NotStopped);
            }
            self.wait()?;
            self.turn();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stop_by.is_some_and(|by| {
            by <= self.hub.now || (self.admin.is_quiet() && self.clients.is_quiet())
        })
    }

    fn listen_for_signals(&mut self) {
        // One signalfd_siginfo.
        let (file, into) = (self.signals.clone(), vec![0; 128].into_boxed_slice());
        let token = Token { lane: lane::SIGNAL, kind: 0, id: 0 };
        self.hub.port.submit(token, Op::ReadPlain { file, into, from: 0, socket: false });
    }

    fn turn(&mut self) {
        let mut reaped = std::mem::take(&mut self.reaped);
        self.hub.port.ring.reap(&mut reaped);
        self.hub.now = self.hub.now.max(clock::now());
        self.hub.metrics.turns += 1;
        self.hub.metrics.completions += reaped.len() as u64;
        for done in reaped.drain(..) {
            self.dispatch(done);
        }
        self.reaped = reaped;
        self.wake_lanes();
        self.work();
        self.hub.metrics.events += self.events;
        self.poller.load(std::mem::take(&mut self.events));
    }

    fn dispatch(&mut self, done: Done) {
        let hub = &mut self.hub;
        match done.token.lane {
            lane::DISK => self.disk.done(hub, done),
            lane::DIGEST => self.digester.done(hub, done),
            lane::CLIENT => self.clients.done(hub, done),
            lane::PEER => self.peer.done(hub, done),
            lane::ADMIN => self.admin.done(hub, done),
            lane::DEVICE => {
                if let Some(device) = &mut self.device
                    && device.done(hub, &mut self.clients)
                {
                    self.admin.status_changed();
                }
            }
            _ => self.stop_signal(),
        }
    }

    /// The first stop signal asks for an orderly stop; one that takes too long, and a second
    /// signal, end the process like a crash, which is safe and only costs a comparison later.
    fn stop_signal(&mut self) {
        if self.give_up_at.is_some() {
            self.give_up_at = Some(self.hub.now);
            return;
        }
        tracing::info!("stop signal received");
        self.give_up_at = Some(self.hub.now.after(STOP_MOST));
        let (cmd, what) = (STOP, Command::Shutdown);
        self.hub.events.push_back(Event::Command { cmd, what });
        self.listen_for_signals();
    }

    fn wake_lanes(&mut self) {
        let now = self.hub.now;
        let due = |at: Option<Tick>| at.is_some_and(|at| at <= now);
        if due(self.clients.deadline()) {
            self.clients.wake(&mut self.hub);
        }
        if due(self.peer.deadline()) {
            self.peer.wake(&mut self.hub);
        }
        if due(self.admin.deadline()) {
            self.admin.wake(&mut self.hub);
        }
        if due(self.replica.deadline()) {
            self.hub.events.push_back(Event::Wake);
        }
    }

    /// Tells the replica and carries out what it asks, until both are quiet; then lets everything
    /// leave.
    fn work(&mut self) {
        loop {
            while let Some(event) = self.hub.events.pop_front() {
                self.events += 1;
                let fence = matches!(event, Event::Command { what: Command::Fence, .. });
                self.replica.handle(event, self.hub.now);
                while let Some(action) = self.replica.poll_action() {
                    self.carry_out(action);
                }
                if fence {
                    // What an engine before this one left to wait must fail, too.
                    self.show(false);
                }
            }
            self.disk.retry_waiting(&mut self.hub);
            self.clients.flush(&mut self.hub);
            if let Some(device) = &mut self.device {
                device.look_after(&self.clients);
            }
            self.peer.flush(&mut self.hub);
            if self.disk.has_aside() && self.hub.events.is_empty() {
                // A ring that fails says so at the next wait.
                if self.hub.port.ring.submit().is_err() {
                    break;
                }
                self.disk.run_aside(&mut self.hub);
            }
            if self.hub.events.is_empty() {
                break;
            }
        }
        let replica = &self.replica;
        let dead = u32::try_from(self.hub.metrics.client_dead[0]).unwrap_or(u32::MAX);
        let (device, clients) = (&self.device, &self.clients);
        let device = || device.as_ref().map(|device| device.shown(clients));
        let status = || Status { client_ops_dead: dead, device: device(), ..replica.status() };
        self.admin.flush(&mut self.hub, status);
    }

    fn carry_out(&mut self, action: Action) {
        let hub = &mut self.hub;
        match action {
            Action::DiskRead { op, at, buf } => self.disk.read(hub, op, at, buf),
            Action::DiskWrite { op, at, buf, fua } => self.disk.write(hub, op, at, buf, fua),
            Action::DiskZero { op, at, punch, fua } => self.disk.zero(hub, op, at, punch, fua),
            Action::DiskFlush { op } => self.disk.flush(hub, op),
            Action::MetaWrite { op, page, bytes } => self.disk.meta_write(hub, op, page, bytes),
            Action::TailWrite { op, slot, bytes } => self.disk.tail_write(hub, op, slot, bytes),
            Action::Digest { op, at, buf, session } => {
                self.digester.digest(hub, op, at, buf, session);
            }
            Action::Send { session, epoch, message, buf, skip } => {
                self.peer.send(hub, session, epoch, message, buf, skip);
            }
            Action::CopyBuf { from, to, len } => {
                if !hub.bufs.copy(from, to, len as usize) {
                    tracing::error!(?from, ?to, "a payload was not copied; this is a bug");
                }
            }
            Action::Answer { req, result } => self.clients.answer(hub, req, result),
            Action::Free { buf } => hub.bufs.free(buf),
            Action::DropLink { session, why } => {
                notes::log_drop(session, why);
                self.peer.drop_link(hub, session);
            }
            Action::Clients { open } => {
                self.clients.set_open(hub, open);
                self.show(open);
            }
            Action::Reply { cmd: STOP, result: Err(refusal) } => {
                tracing::error!(?refusal, "the stop signal was refused");
            }
            Action::Reply { cmd, result } => self.admin.reply(cmd, result),
            Action::KeepMark { mark } => self.admin.keep_mark(mark),
            Action::Note(note) => {
                notes::log(note);
                if note == Note::RecordLearned && !self.replica.may_serve() {
                    self.show(false);
                }
            }
            Action::StatusChanged => self.admin.status_changed(),
            Action::Stopped => {
                tracing::info!("stopped in order");
                self.stop_by = Some(hub.now.after(LAST_WORDS));
            }
        }
    }

    /// Makes or ends the kernel's device. A stop of this process alone ends nothing: requests wait
    /// in the kernel for the engine that comes next.
    fn show(&mut self, open: bool) {
        let stopping = self.replica.is_stopping();
        match &mut self.device {
            Some(device) if open => device.attach(),
            Some(device) if stopping => device.leave(),
            Some(device) => device.detach(),
            None => {}
        }
    }

    fn deadline(&self) -> Option<Tick> {
        let lanes = [self.clients.deadline(), self.peer.deadline(), self.admin.deadline()];
        let own = [self.replica.deadline(), self.stop_by, self.give_up_at];
        lanes.into_iter().chain(own).flatten().min()
    }

    /// Submits, and waits until something completes or is due: asleep, or polling around the
    /// moment at which it is expected.
    fn wait(&mut self) -> Result<(), StartError> {
        let limit = self.deadline().map(|at| at.since(self.hub.now));
        if self.hub.port.is_behind() || limit == Some(Span(0)) {
            self.submit()?;
            self.hub.port.drain();
            return Ok(());
        }
        if !self.poller.is_calm() {
            return self.sleep(limit);
        }
        self.submit()?;
        if self.hub.port.ring.has_news() {
            // Nothing was waited for: sockets and disks that complete at once.
            return self.submit();
        }
        let what = Awaited { disk: self.disk.is_busy(), answer: self.clients.is_serving() };
        let began = self.hub.now;
        self.wait_as_planned(self.poller.plan(what), limit)?;
        self.poller.learn(what, began, clock::now());
        Ok(())
    }

    fn wait_as_planned(&mut self, plan: Plan, limit: Option<Span>) -> Result<(), StartError> {
        let Plan::Poll { first, then } = plan else { return self.sleep(limit) };
        let began = clock::now();
        let left = |limit: Option<Span>| {
            limit.map(|at| Span(at.0.saturating_sub(clock::now().since(began).0)))
        };
        if limit.is_some_and(|at| at <= first) {
            return self.sleep(limit);
        }
        if first > Span(0) {
            self.sleep(Some(first))?;
            if self.hub.port.ring.has_news() {
                return Ok(());
            }
        }
        let until = clock::now().after(left(limit).unwrap_or(then).min(then));
        if self.poll(until) {
            return self.submit();
        }
        self.sleep(left(limit))
    }

    fn submit(&mut self) -> Result<(), StartError> {
        self.hub.port.ring.submit().map_err(|error| StartError::Ring { error })
    }

    fn sleep(&mut self, limit: Option<Span>) -> Result<(), StartError> {
        self.hub.metrics.sleeps += 1;
        let limit = limit.map(|span| Duration::from_nanos(span.0));
        let slept = self.hub.port.ring.submit_and_wait(limit);
        slept.map_err(|error| StartError::Ring { error })
    }

    /// Looks for completions until `until`. True when there are some.
    fn poll(&mut self, until: Tick) -> bool {
        loop {
            for _ in 0..LOOKS {
                if self.hub.port.ring.has_news() {
                    self.hub.metrics.polls_won += 1;
                    return true;
                }
                std::hint::spin_loop();
            }
            if clock::now() >= until {
                self.hub.metrics.polls_lost += 1;
                return false;
            }
            // With few processors, the one that is waited for may need this one.
            std::thread::yield_now();
        }
    }
}
