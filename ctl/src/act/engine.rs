//! The admin client: keeps a connection to the engine, watches it, carries commands there.
//! Always: commands of a dead connection are never repeated by themselves; the decider hears
//! `EngineGone` and decides anew. Survives: restarts of the engine, in any number. Gives the
//! in-sync mark back to a restarted engine (SAFETY R42).

use super::mark::MarkKeeper;
use crate::decide::event::{Event, StepId};
use crate::decide::step::EngineCommand;
use lockstep_engine::admin::{self, Call, LINE_BYTES_MAX, Line, Verb};
use lockstep_engine::units::{StartId, VolumeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Pause between attempts to reach the engine's socket.
const RECONNECT: Duration = Duration::from_millis(100);
/// The engine greets within this time.
const GREETING: Duration = Duration::from_secs(5);
/// Questions that are asked within the patience with an engine. They are counted, so that time in
/// which this process was held up is not taken for silence.
const QUESTIONS: u32 = 4;
/// Commands that may wait for the connection task.
const COMMANDS_MAX: usize = 64;

/// The admin verb of a decider's command.
pub fn to_verb(command: &EngineCommand) -> Verb {
    match command {
        EngineCommand::Learn(record) => Verb::Learn { record: *record },
        EngineCommand::Promote(record) => Verb::Promote { record: *record },
        EngineCommand::Demote => Verb::Demote,
        EngineCommand::Fence => Verb::Fence,
        EngineCommand::Attempt(attempt) => Verb::Attempt { attempt: *attempt },
        EngineCommand::PrepareTakeover => Verb::PrepareTakeover,
        EngineCommand::CancelTakeover => Verb::CancelTakeover,
        EngineCommand::Mark(mark) => Verb::Mark { mark: *mark },
    }
}

/// The decider's event in a line of the engine; `step` finds the step of a call.
pub fn to_event(line: &Line, step: impl FnOnce(u64) -> Option<StepId>) -> Option<Event> {
    match line {
        Line::Status(status) => Some(Event::Engine(status.clone())),
        Line::Reply { id, refused } => step(*id).map(|id| Event::EngineDone {
            id,
            refused: refused.as_ref().map(|refused| refused.code.clone()),
        }),
        Line::Engine { .. } | Line::KeepMark { .. } | Line::Stats(_) => None,
    }
}

/// How an operator's own call to the engine ended.
#[derive(Clone, Debug, PartialEq)]
pub enum CallEnd {
    /// Done; the statistics when those were asked for.
    Done(Option<serde_json::Value>),
    /// Refused.
    Refused(admin::Refused),
    /// The engine went away or is not there.
    Gone,
}

/// What the daemon wants of the engine.
enum Wanted {
    Step { id: StepId, verb: Verb },
    Call { verb: Verb, end: oneshot::Sender<CallEnd> },
}

/// What the daemon hears of the engine.
#[derive(Debug)]
pub enum Heard {
    /// Connected.
    Connected { build: String, config_digest: String },
    /// For the decider.
    Event(Event),
}

/// How to reach the engine, and what to tell it first.
pub struct Link {
    /// Its volume.
    pub volume: VolumeId,
    /// Its admin socket.
    pub socket: PathBuf,
    /// How long held requests may wait without a decision while the daemon is there.
    pub suspend_max_ms: Option<u64>,
    /// Keeper of the in-sync mark.
    pub marks: MarkKeeper,
    /// An engine that is asked and says nothing for so long counts as gone.
    pub patience: Duration,
}

/// The daemon's end of the connection task.
pub struct Engine {
    wanted: mpsc::Sender<Wanted>,
}

impl Engine {
    /// Starts the connection task on the current runtime; gives what the engine says.
    pub fn connect(link: Link) -> (Engine, mpsc::Receiver<Heard>) {
        let (wanted, commands) = mpsc::channel(COMMANDS_MAX);
        let (told, heard) = mpsc::channel(COMMANDS_MAX);
        tokio::spawn(run(link, commands, told));
        (Engine { wanted }, heard)
    }

    /// Sends a step. When it can't even be queued, the engine counts as gone for it: the caller
    /// gets it back as refused.
    pub fn step(&self, id: StepId, command: &EngineCommand) -> Result<(), StepId> {
        self.wanted.try_send(Wanted::Step { id, verb: to_verb(command) }).map_err(|_| id)
    }

    /// Sends an operator's own call.
    pub fn call(&self, verb: Verb) -> oneshot::Receiver<CallEnd> {
        let (end, ended) = oneshot::channel();
        if let Err(refused) = self.wanted.try_send(Wanted::Call { verb, end }) {
            let (mpsc::error::TrySendError::Full(wanted)
            | mpsc::error::TrySendError::Closed(wanted)) = refused;
            drop(wanted);
        }
        ended
    }
}

/// Why a connection ended.
#[derive(Debug)]
enum Ended {
    /// The daemon ends.
    Daemon,
    /// The engine closed it, or the socket failed.
    Engine,
    /// The engine speaks another language; reconnecting helps only after it was replaced.
    Version { found: u32 },
}

async fn run(mut link: Link, mut commands: mpsc::Receiver<Wanted>, told: mpsc::Sender<Heard>) {
    let mut reported = None;
    loop {
        let ended = match UnixStream::connect(&link.socket).await {
            Ok(stream) => serve(&mut link, stream, &mut commands, &told).await,
            Err(_) => Ended::Engine,
        };
        match ended {
            Ended::Daemon => return,
            Ended::Engine => reported = None,
            Ended::Version { found } => {
                if reported.replace(found) != Some(found) {
                    tracing::error!(
                        found,
                        expected = admin::VERSION,
                        "engine speaks another admin language: install the same release of both"
                    );
                }
            }
        }
        tokio::time::sleep(RECONNECT).await;
        // Whoever waits for the engine now waits in vain; what was meant for the last one, and was
        // decided before its end was heard of, is not for the next one.
        while let Ok(wanted) = commands.try_recv() {
            if !give_back(wanted, link.volume, &told).await {
                return;
            }
        }
    }
}

/// Ends a command that can't reach an engine. False when the daemon is gone.
async fn give_back(wanted: Wanted, volume: VolumeId, told: &mpsc::Sender<Heard>) -> bool {
    match wanted {
        // The decider has heard or will hear `EngineGone`, which ends all its steps.
        Wanted::Step { .. } => told.send(Heard::Event(Event::EngineGone { volume })).await.is_ok(),
        Wanted::Call { end, .. } => {
            let _ = end.send(CallEnd::Gone);
            true
        }
    }
}

/// Who waits for a reply.
enum Waiter {
    Step(StepId),
    Call { end: oneshot::Sender<CallEnd>, stats: Option<serde_json::Value> },
    Mark,
    Nobody,
}

struct Session<'a> {
    link: &'a mut Link,
    writer: OwnedWriteHalf,
    told: &'a mpsc::Sender<Heard>,
    waiting: HashMap<u64, Waiter>,
    last_id: u64,
    start: Option<StartId>,
    /// Questions in a row that nothing was heard after.
    unanswered: u32,
    /// A kept mark is on its way to the engine: until it has answered, its own "no mark" is the
    /// state before.
    returning_mark: bool,
}

async fn serve(
    link: &mut Link,
    stream: UnixStream,
    commands: &mut mpsc::Receiver<Wanted>,
    told: &mpsc::Sender<Heard>,
) -> Ended {
    let volume = link.volume;
    let (reader, writer) = stream.into_split();
    let mut lines = BufReader::new(reader);
    // A hung engine accepts connections in its backlog and never greets.
    let greeting = tokio::time::timeout(GREETING, next_line(&mut lines)).await;
    let version = match greeting.ok().flatten() {
        Some(Line::Engine { v, build, config_digest }) => {
            if v == admin::VERSION {
                let connected = Heard::Connected { build, config_digest };
                if told.send(connected).await.is_err() {
                    return Ended::Daemon;
                }
            }
            v
        }
        _ => return Ended::Engine,
    };
    if version != admin::VERSION {
        return Ended::Version { found: version };
    }
    let mut session = Session {
        link,
        writer,
        told,
        waiting: HashMap::new(),
        last_id: 0,
        start: None,
        unanswered: 0,
        returning_mark: false,
    };
    let ended = session.talk(&mut lines, commands).await;
    session.give_up().await;
    if told.send(Heard::Event(Event::EngineGone { volume })).await.is_err() {
        return Ended::Daemon;
    }
    ended
}

impl Session<'_> {
    async fn talk(
        &mut self,
        lines: &mut BufReader<OwnedReadHalf>,
        commands: &mut mpsc::Receiver<Wanted>,
    ) -> Ended {
        let suspend_max_ms = self.link.suspend_max_ms;
        for verb in [Verb::Attend { suspend_max_ms }, Verb::Watch] {
            if !self.send(verb, Waiter::Nobody).await {
                return Ended::Engine;
            }
        }
        let (lines_in, mut lines_out) = mpsc::channel(COMMANDS_MAX);
        // Reading a line must not be cut short by a command that comes meanwhile.
        let read = async {
            while let Some(line) = next_line(lines).await {
                if lines_in.send(line).await.is_err() {
                    break;
                }
            }
            drop(lines_in);
        };
        tokio::pin!(read);
        let mut reading = true;
        let pause = self.link.patience / QUESTIONS;
        let mut ask = interval_at(Instant::now() + pause, pause);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What a hung engine said last of its lease would hold for ever (R13). Lines that
                // have come count before a silence does.
                biased;
                () = &mut read, if reading => reading = false,
                line = lines_out.recv() => match line {
                    Some(line) => if !self.take(line).await { return Ended::Engine },
                    None => return Ended::Engine,
                },
                wanted = commands.recv() => match wanted {
                    Some(Wanted::Step { id, verb }) => {
                        if !self.send(verb, Waiter::Step(id)).await { return Ended::Engine }
                    }
                    Some(Wanted::Call { verb, end }) => {
                        let waiter = Waiter::Call { end, stats: None };
                        if !self.send(verb, waiter).await { return Ended::Engine }
                    }
                    None => return Ended::Daemon,
                },
                _ = ask.tick() => {
                    if self.unanswered == QUESTIONS {
                        tracing::error!(
                            engine = %self.link.socket.display(),
                            "the engine says nothing: it hangs, or its disk does; its process is \
                             taken for gone"
                        );
                        return Ended::Engine;
                    }
                    self.unanswered += 1;
                    if !self.send(Verb::Status, Waiter::Nobody).await { return Ended::Engine }
                }
            }
            if !reading && lines_out.is_empty() {
                return Ended::Engine;
            }
        }
    }

    async fn send(&mut self, verb: Verb, waiter: Waiter) -> bool {
        self.last_id += 1;
        let call = Call { v: admin::VERSION, id: self.last_id, verb };
        self.waiting.insert(self.last_id, waiter);
        let Ok(mut line) = serde_json::to_vec(&call) else { return false };
        line.push(b'\n');
        // One that reads nothing hangs as well.
        let written = tokio::time::timeout(self.link.patience, self.writer.write_all(&line));
        matches!(written.await, Ok(Ok(())))
    }

    /// Takes one line of the engine. False when the session can't go on.
    async fn take(&mut self, line: Line) -> bool {
        self.unanswered = 0;
        let mut step = None;
        match &line {
            Line::Status(status) => {
                if self.start != Some(status.start) {
                    self.start = Some(status.start);
                    if status.mark.is_none() && !self.return_mark(status.start).await {
                        return false;
                    }
                }
                if status.mark.is_some() {
                    self.link.marks.keep(status.start, status.mark);
                }
            }
            Line::KeepMark { mark } => self.keep_mark(*mark),
            Line::Stats(stats) => self.keep_stats(stats),
            Line::Reply { id, refused } => step = self.reply(*id, refused.clone()),
            Line::Engine { .. } => return false,
        }
        match to_event(&line, |_| step) {
            Some(event) => self.told.send(Heard::Event(event)).await.is_ok(),
            None => true,
        }
    }

    async fn return_mark(&mut self, start: StartId) -> bool {
        let Some(mark) = self.link.marks.for_engine(start) else {
            // Nothing to give back, or this very engine has dropped it.
            self.link.marks.keep(start, None);
            return true;
        };
        self.returning_mark = true;
        tracing::info!(generation = %mark.generation, "in-sync mark given back to the engine");
        self.send(Verb::Mark { mark }, Waiter::Mark).await
    }

    fn keep_mark(&mut self, mark: Option<lockstep_engine::units::InSyncMark>) {
        // Before the first status this is the state of an engine that has not met us yet.
        let Some(start) = self.start else { return };
        if mark.is_some() || !self.returning_mark {
            self.link.marks.keep(start, mark);
        }
    }

    fn keep_stats(&mut self, found: &serde_json::Value) {
        for waiter in self.waiting.values_mut() {
            if let Waiter::Call { stats, .. } = waiter {
                *stats = Some(found.clone());
            }
        }
    }

    /// Ends who waits for the call; the step, if it was one.
    fn reply(&mut self, id: u64, refused: Option<admin::Refused>) -> Option<StepId> {
        match self.waiting.remove(&id)? {
            Waiter::Step(step) => {
                if let Some(admin::Refused { code, message }) = refused {
                    let engine = self.link.socket.display();
                    if code == "busy" {
                        // Something else came first; what is still needed is asked for again.
                        tracing::debug!(%engine, message, "the engine does something else now");
                    } else {
                        tracing::warn!(
                            %engine, code, cause = message,
                            "the engine refused what was decided; it is decided anew"
                        );
                    }
                }
                Some(step)
            }
            Waiter::Call { end, stats } => {
                // An operator who went away needs no answer.
                let _ = end.send(refused.map_or(CallEnd::Done(stats), CallEnd::Refused));
                None
            }
            Waiter::Mark => {
                self.returning_mark = false;
                if let (Some(refused), Some(start)) = (refused, self.start) {
                    tracing::warn!(
                        engine = %self.link.socket.display(), cause = refused.message,
                        "the engine does not take its mark back: no takeover here before a resync"
                    );
                    self.link.marks.keep(start, None);
                }
                None
            }
            Waiter::Nobody => {
                if let Some(refused) = refused {
                    tracing::error!(
                        engine = %self.link.socket.display(), cause = refused.message,
                        "the engine refuses to be watched: install the same release of both"
                    );
                }
                None
            }
        }
    }

    async fn give_up(&mut self) {
        for (_, waiter) in self.waiting.drain() {
            if let Waiter::Call { end, .. } = waiter {
                let _ = end.send(CallEnd::Gone);
            }
        }
    }
}

/// The next line, or `None` when the connection is over or the line makes no sense.
async fn next_line(lines: &mut BufReader<OwnedReadHalf>) -> Option<Line> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = lines.take(limit).read_until(b'\n', &mut line).await.ok()?;
    if bytes == 0 {
        return None;
    }
    match serde_json::from_slice(&line) {
        Ok(line) => Some(line),
        Err(cause) => {
            tracing::error!(%cause, "a line of the engine makes no sense: reconnecting");
            None
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
