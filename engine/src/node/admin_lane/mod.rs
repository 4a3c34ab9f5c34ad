//! Daemons: JSON lines over a unix socket, as `crate::admin` defines them.
//! Always: lines and queues are bounded; within a turn a status line goes out before the replies
//! of that turn, so that a reply never precedes the state it speaks of.
//! Survives: clients that send nonsense, stop reading, or go away with a command under way.

mod words;

pub use words::{refused, to_command};

use super::hub::Hub;
use super::outbox::Outbox;
use super::port::lane;
use crate::admin::{Call, LINE_BYTES_MAX, Line, Refused, VERSION, Verb};
use crate::replica::action::Refusal;
use crate::replica::event::{CmdId, Event};
use crate::units::{InSyncMark, Span, Status, Tick};
use crate::uring::{Done, File, Op, Token, sys};
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

/// Daemons and tools connected at once.
const CONNS_MAX: usize = 16;
/// Bytes that a daemon may leave unread before it is cut off.
const UNREAD_BYTES_MAX: usize = 1 << 20;
/// Commands of one connection under way at once.
const COMMANDS_MAX: usize = 64;
/// Bytes of one receive.
const RECEIVE_BYTES: usize = 4096;
/// Least time between two status lines for progress alone.
const PROGRESS: Span = Span::millis(200);
/// Time before another accept after one failed.
const ACCEPT_AGAIN: Span = Span::millis(1_000);

const ACCEPT: u8 = 0;
const RECEIVE: u8 = 1;
const SEND: u8 = 2;

/// What the engine says of itself at the start of a connection.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Build id.
    pub build: String,
    /// Digest of the configuration.
    pub config_digest: String,
}

#[derive(Debug)]
struct Conn {
    file: File,
    generation: u32,
    line: Vec<u8>,
    receiving: bool,
    out: Outbox,
    watching: bool,
    commands: usize,
    dead: bool,
}

/// Who asked, and under which id.
#[derive(Clone, Copy, Debug)]
struct Caller {
    index: usize,
    generation: u32,
    id: u64,
}

/// The lane of the daemons.
pub struct AdminLane {
    hello: Hello,
    listener: File,
    accepting: bool,
    accept_at: Option<Tick>,
    conns: Vec<Option<Conn>>,
    generation: u32,
    commands: HashMap<u64, Caller>,
    next_command: u64,
    replies: VecDeque<(Caller, Result<(), Refused>)>,
    asked_status: Vec<Caller>,
    changed: bool,
    last: Option<Status>,
    last_at: Tick,
    mark: Option<Option<InSyncMark>>,
}

impl AdminLane {
    /// A lane that listens on a bound unix socket.
    pub fn new(hub: &mut Hub, hello: Hello, listener: OwnedFd) -> AdminLane {
        let mut lane = AdminLane {
            hello,
            listener: hub.port.ring.adopt(listener),
            accepting: false,
            accept_at: None,
            conns: (0..CONNS_MAX).map(|_| None).collect(),
            generation: 0,
            commands: HashMap::new(),
            // Command 0 is the engine's own: the stop signal.
            next_command: 1,
            replies: VecDeque::new(),
            asked_status: Vec::new(),
            changed: false,
            last: None,
            last_at: Tick(0),
            mark: None,
        };
        lane.accept(hub);
        lane
    }

    fn accept(&mut self, hub: &mut Hub) {
        let free = self.conns.iter().any(Option::is_none);
        if free && !self.accepting && self.accept_at.is_none_or(|at| at <= hub.now) {
            (self.accepting, self.accept_at) = (true, None);
            hub.port.submit(token(ACCEPT, 0, 0), Op::Accept { file: self.listener.clone() });
        }
    }

    /// A completion of this lane.
    pub fn done(&mut self, hub: &mut Hub, done: Done) {
        if done.token.kind == ACCEPT {
            self.accepting = false;
            match done.accepted {
                Some(fd) => self.welcome(hub, fd),
                None => {
                    tracing::warn!(error = ?done.result.err(), "admin connection not accepted");
                    self.accept_at = Some(hub.now.after(ACCEPT_AGAIN));
                }
            }
            return self.accept(hub);
        }
        let index = usize::try_from(done.token.id & 0xffff_ffff).unwrap_or(usize::MAX);
        let Some(conn) = self.conns.get_mut(index).and_then(Option::as_mut) else { return };
        match (done.op, done.result) {
            (Op::ReadPlain { into, .. }, result) => {
                conn.receiving = false;
                match result {
                    Ok(bytes) if bytes > 0 => self.received(hub, index, into, bytes as usize),
                    _ => self.kill(index),
                }
            }
            (Op::Send { gather, .. }, result) => {
                let whole = conn.out.sent(gather, result.unwrap_or(0));
                if !whole {
                    self.kill(index);
                }
            }
            _ => {}
        }
        self.bury(hub, index);
    }

    fn welcome(&mut self, hub: &mut Hub, fd: OwnedFd) {
        let Some(index) = self.conns.iter().position(Option::is_none) else { return };
        self.generation = self.generation.wrapping_add(1);
        self.conns[index] = Some(Conn {
            file: hub.port.ring.adopt(fd),
            generation: self.generation,
            line: Vec::new(),
            receiving: false,
            out: Outbox::default(),
            watching: false,
            commands: 0,
            dead: false,
        });
        let Hello { build, config_digest } = self.hello.clone();
        self.say(index, &Line::Engine { v: VERSION, build, config_digest });
        self.receive(hub, index, vec![0; RECEIVE_BYTES].into_boxed_slice());
    }

    fn receive(&mut self, hub: &mut Hub, index: usize, into: Box<[u8]>) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        conn.receiving = true;
        let token = token(RECEIVE, index, conn.generation);
        let file = conn.file.clone();
        hub.port.submit(token, Op::ReadPlain { file, into, from: 0, socket: true });
    }

    fn received(&mut self, hub: &mut Hub, index: usize, into: Box<[u8]>, bytes: usize) {
        let mut rest = &into[..bytes];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let Some(conn) = self.conns[index].as_mut() else { return };
            let mut line = std::mem::take(&mut conn.line);
            line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if line.len() > LINE_BYTES_MAX || !self.call(hub, index, &line) {
                return self.kill(index);
            }
        }
        let Some(conn) = self.conns[index].as_mut() else { return };
        conn.line.extend_from_slice(rest);
        if conn.line.len() > LINE_BYTES_MAX {
            tracing::warn!(bytes = conn.line.len(), "admin line is too long; connection closed");
            return self.kill(index);
        }
        self.receive(hub, index, into);
    }

    /// One line. False when the connection makes no sense.
    fn call(&mut self, hub: &mut Hub, index: usize, line: &[u8]) -> bool {
        let call: Call = match serde_json::from_slice(line) {
            Ok(call) => call,
            Err(error) => {
                tracing::warn!(%error, "admin line is not a call; connection closed");
                return false;
            }
        };
        let Some(conn) = self.conns[index].as_mut() else { return false };
        let caller = Caller { index, generation: conn.generation, id: call.id };
        if call.v != VERSION {
            let message = format!("this engine speaks version {VERSION}, the call {}", call.v);
            let refused = Refused { code: "version".into(), message };
            self.replies.push_back((caller, Err(refused)));
            return true;
        }
        match (&call.verb, to_command(&call.verb)) {
            (Verb::Stats, _) => {
                let stats = hub.metrics.to_json(sys::thread_cpu_ns());
                self.say(index, &Line::Stats(stats));
                self.replies.push_back((caller, Ok(())));
            }
            (verb, None) => {
                conn.watching |= *verb == Verb::Watch;
                self.asked_status.push(caller);
                if let (Verb::Watch, Some(mark)) = (verb, self.mark) {
                    self.say(index, &Line::KeepMark { mark });
                }
            }
            (_, Some(_)) if conn.commands >= COMMANDS_MAX => {
                let message = format!("{COMMANDS_MAX} commands are under way; wait for one");
                let refused = Refused { code: "too-many-commands".into(), message };
                self.replies.push_back((caller, Err(refused)));
            }
            (_, Some(what)) => {
                conn.commands += 1;
                let cmd = CmdId(self.next_command);
                self.next_command += 1;
                self.commands.insert(cmd.0, caller);
                hub.events.push_back(Event::Command { cmd, what });
            }
        }
        true
    }

    /// The replica's reply to a command.
    pub fn reply(&mut self, cmd: CmdId, result: Result<(), Refusal>) {
        let Some(caller) = self.commands.remove(&cmd.0) else { return };
        if let Some(conn) = self.alive(caller) {
            conn.commands -= 1;
        }
        self.replies.push_back((caller, result.map_err(refused)));
    }

    /// The status changed in a way that a daemon acts on.
    pub fn status_changed(&mut self) {
        self.changed = true;
    }

    /// The daemon is to keep this mark, or to forget it.
    pub fn keep_mark(&mut self, mark: Option<InSyncMark>) {
        self.mark = Some(mark);
        self.tell_watchers(&Line::KeepMark { mark });
    }

    fn alive(&mut self, caller: Caller) -> Option<&mut Conn> {
        let conn = self.conns[caller.index].as_mut()?;
        (conn.generation == caller.generation && !conn.dead).then_some(conn)
    }

    fn say(&mut self, index: usize, line: &Line) {
        let Some(conn) = self.conns[index].as_mut() else { return };
        let written = conn.out.open().put_with(|out| {
            let written = serde_json::to_writer(&mut *out, line);
            out.push(b'\n');
            written
        });
        if let Err(error) = written {
            tracing::error!(%error, "admin line was not written; this is a bug");
            self.kill(index);
        } else if conn.out.bytes() > UNREAD_BYTES_MAX {
            tracing::warn!("an admin client does not read; connection closed");
            self.kill(index);
        }
    }

    fn tell_watchers(&mut self, line: &Line) {
        for index in 0..self.conns.len() {
            if self.conns[index].as_ref().is_some_and(|conn| conn.watching && !conn.dead) {
                self.say(index, line);
            }
        }
    }

    fn is_watched(&self) -> bool {
        self.conns.iter().flatten().any(|conn| conn.watching && !conn.dead)
    }

    /// End of a turn: status first, then replies, then everything leaves.
    pub fn flush(&mut self, hub: &mut Hub, status: impl FnOnce() -> Status) {
        let due = self.is_watched() && (self.changed || hub.now.since(self.last_at) >= PROGRESS);
        if due || !self.asked_status.is_empty() {
            self.tell_status(hub, status(), due);
        }
        while let Some((caller, result)) = self.replies.pop_front() {
            if self.alive(caller).is_some() {
                let reply = Line::Reply { id: caller.id, refused: result.err() };
                self.say(caller.index, &reply);
            }
        }
        for index in 0..self.conns.len() {
            let Some(conn) = self.conns[index].as_mut() else { continue };
            if !conn.dead {
                let token = token(SEND, index, conn.generation);
                conn.out.kick(&mut hub.port, token, &conn.file);
            }
            self.bury(hub, index);
        }
    }

    fn tell_status(&mut self, hub: &Hub, status: Status, due: bool) {
        let line = Line::Status(Box::new(status.clone()));
        let news = self.changed || self.last.as_ref() != Some(&status);
        if due && news {
            self.tell_watchers(&line);
        }
        if due {
            (self.changed, self.last, self.last_at) = (false, Some(status), hub.now);
        }
        for caller in std::mem::take(&mut self.asked_status) {
            let told = due && news && self.alive(caller).is_some_and(|conn| conn.watching);
            if self.alive(caller).is_some() && !told {
                self.say(caller.index, &line);
            }
            self.replies.push_back((caller, Ok(())));
        }
    }

    fn kill(&mut self, index: usize) {
        if let Some(conn) = self.conns[index].as_mut()
            && !conn.dead
        {
            conn.dead = true;
            conn.out.clear();
            conn.file.shutdown();
        }
    }

    fn bury(&mut self, hub: &mut Hub, index: usize) {
        let over = |conn: &Conn| conn.dead && !conn.receiving && !conn.out.in_flight();
        if self.conns[index].as_ref().is_some_and(over) {
            self.conns[index] = None;
            self.accept(hub);
        }
    }

    /// When this lane wants to be called next.
    pub fn deadline(&self) -> Option<Tick> {
        let progress = self.is_watched().then(|| self.last_at.after(PROGRESS));
        progress.into_iter().chain(self.accept_at).min()
    }

    /// Time has passed.
    pub fn wake(&mut self, hub: &mut Hub) {
        self.accept(hub);
    }

    /// Whether every reply has left.
    pub fn is_quiet(&self) -> bool {
        self.conns.iter().flatten().all(|conn| conn.dead || conn.out.is_empty())
    }
}

fn token(kind: u8, index: usize, generation: u32) -> Token {
    Token { lane: lane::ADMIN, kind, id: (u64::from(generation) << 32) | index as u64 }
}

#[cfg(test)]
mod tests;
