//! The client of the demo: writes blocks that name themselves, reads some back, and remembers
//! every acknowledged write. Always: at most `DEPTH` requests in flight and one per block; what
//! was in flight when a connection broke may have happened or not. Survives: servers that die,
//! hold, or refuse; it then looks for the one that serves.

use super::ledger::{BLOCK, Ledger, Wrong, fill};
use lockstep_nbd::client::{Address, Client, ClientError, Options, Receiver, Sender};
use lockstep_nbd::protocol::{Command, Cookie};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Requests in flight.
const DEPTH: usize = 16;
/// Requests per second, so that the demo does not take the whole machine.
const RATE: u32 = 4_000;
/// One request in this many is a read.
const READ_EVERY: u64 = 8;
/// One request in this many is a flush.
const FLUSH_EVERY: u64 = 512;
/// The thread looks this often whether it should pause.
const LOOK: Duration = Duration::from_millis(100);
/// Pause between two attempts to find a server.
const RETRY: Duration = Duration::from_millis(100);

/// What the load has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Acknowledged writes.
    pub writes: u64,
    /// Answered flushes.
    pub flushes: u64,
    /// Blocks read and judged.
    pub reads: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Connections made.
    pub connections: u64,
    /// Which address serves.
    pub server: Option<usize>,
    /// What was wrong.
    pub wrong: Vec<Wrong>,
    /// Longest time without an acknowledgement since `Load::mark`.
    pub longest: Duration,
    /// Last acknowledgement.
    last: Option<Instant>,
}

/// Wrong blocks that are remembered; more are only counted as one more failure of the same kind.
const WRONG_MAX: usize = 1_000;

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const END: u8 = 2;

struct Shared {
    wish: AtomicU8,
    idle: AtomicBool,
    seen: Mutex<Seen>,
    ledger: Mutex<Ledger>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running client.
pub struct Load {
    shared: Arc<Shared>,
    servers: Vec<Address>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts on the first `blocks` blocks of whichever of `servers` serves.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(servers: Vec<Address>, blocks: usize, seed: u64) -> std::io::Result<Load> {
        Load::patient(servers, blocks, seed, None)
    }

    /// The same; a server that answers nothing for `stall` is given up, its requests unanswered.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn patient(
        servers: Vec<Address>,
        blocks: usize,
        seed: u64,
        stall: Option<Duration>,
    ) -> std::io::Result<Load> {
        let shared = Arc::new(Shared {
            wish: AtomicU8::new(RUN),
            idle: AtomicBool::new(false),
            seen: Mutex::new(Seen::default()),
            ledger: Mutex::new(Ledger::new(blocks)),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            servers: servers.clone(),
            stall,
            turn: 0,
            random: seed,
            issued: 0,
        };
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || worker.work())?;
        Ok(Load { shared, servers, thread: Some(thread) })
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        let mut seen = lock(&self.shared.seen).clone();
        if let (Some(last), RUN) = (seen.last, self.shared.wish.load(Ordering::SeqCst)) {
            seen.longest = seen.longest.max(last.elapsed());
        }
        seen
    }

    /// Measures the longest pause anew from here.
    pub fn mark(&self) {
        let mut seen = lock(&self.shared.seen);
        seen.longest = Duration::ZERO;
        seen.last = Some(Instant::now());
    }

    /// Lets requests in flight end and sends no more. False when they do not end in time.
    pub fn pause(&self, within: Duration) -> bool {
        self.shared.wish.store(PAUSE, Ordering::SeqCst);
        let deadline = Instant::now() + within;
        while !self.shared.idle.load(Ordering::SeqCst) {
            if Instant::now() > deadline {
                return false;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        true
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.shared.wish.store(RUN, Ordering::SeqCst);
        self.mark();
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Reads and judges every block from the server `index`, while the load pauses. Gives the
    /// number of blocks.
    ///
    /// # Errors
    /// The server does not answer; then nothing can be said.
    pub fn check_all(
        &self,
        index: usize,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<u64, ClientError> {
        /// Blocks per request.
        const RUN_BLOCKS: u64 = 64;
        let mut client = Client::connect(&self.servers[index], &Options::default())?;
        let blocks = lock(&self.shared.ledger).blocks();
        let mut data = Vec::new();
        for first in (0..blocks).step_by(64) {
            let count = RUN_BLOCKS.min(blocks - first);
            data.resize(usize::try_from(count).unwrap_or(0) * BLOCK, 0);
            client.read(first * BLOCK as u64, &mut data)?;
            let mut ledger = lock(&self.shared.ledger);
            for (block, bytes) in (first..).zip(data.chunks_exact(BLOCK)) {
                let judged = ledger.read(block, bytes);
                self.shared.judged(judged);
            }
            progress(first + count, blocks);
        }
        client.disconnect()?;
        Ok(blocks)
    }

    /// Ends the load; gives what it has seen.
    pub fn end(mut self) -> Seen {
        self.stop();
        self.seen()
    }

    fn stop(&mut self) {
        self.shared.wish.store(END, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                lock(&self.shared.seen).errors += 1;
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn judged(&self, judged: Result<(), Wrong>) {
        let mut seen = lock(&self.seen);
        seen.reads += 1;
        if let Err(wrong) = judged
            && seen.wrong.len() < WRONG_MAX
        {
            seen.wrong.push(wrong);
        }
    }

    fn acknowledged(&self) {
        let mut seen = lock(&self.seen);
        let now = Instant::now();
        if let Some(last) = seen.last {
            seen.longest = seen.longest.max(now.duration_since(last));
        }
        seen.last = Some(now);
        seen.writes += 1;
    }

    fn wish(&self) -> u8 {
        self.wish.load(Ordering::SeqCst)
    }
}

/// A request in flight.
enum Asked {
    Write { block: u64, version: u32 },
    Read { block: u64 },
    Flush,
}

struct Worker {
    shared: Arc<Shared>,
    servers: Vec<Address>,
    /// Longest silence of a server that owes an answer.
    stall: Option<Duration>,
    turn: usize,
    random: u64,
    issued: u64,
}

/// One connection with its requests in flight.
struct Session {
    sender: Sender,
    receiver: Receiver,
    asked: HashMap<Cookie, Asked>,
    began: Instant,
    sent: u32,
}

impl Worker {
    fn work(mut self) {
        loop {
            match self.shared.wish() {
                END => return,
                PAUSE => {
                    self.shared.idle.store(true, Ordering::SeqCst);
                    thread::park_timeout(LOOK);
                    continue;
                }
                _ => self.shared.idle.store(false, Ordering::SeqCst),
            }
            let Some(mut session) = self.connect() else {
                thread::park_timeout(RETRY);
                continue;
            };
            // How it ended says nothing that the next attempt does not show.
            let ended = self.serve(&mut session);
            self.give_up(session, ended.is_ok());
        }
    }

    /// Tries the next server.
    fn connect(&mut self) -> Option<Session> {
        let index = self.turn % self.servers.len();
        self.turn += 1;
        let options = Options {
            connect_timeout: Duration::from_secs(1),
            read_timeout: Some(Duration::from_secs(2)),
            ..Options::default()
        };
        let client = Client::connect(&self.servers[index], &options).ok()?;
        client.set_timeouts(Some(LOOK), Some(Duration::from_secs(30))).ok()?;
        let (sender, receiver) = client.split();
        let mut seen = lock(&self.shared.seen);
        seen.connections += 1;
        seen.server = Some(index);
        // The next attempt after a break starts with the server that served last.
        self.turn = index;
        drop(seen);
        let asked = HashMap::new();
        Some(Session { sender, receiver, asked, began: Instant::now(), sent: 0 })
    }

    /// Serves until the connection breaks (an error) or the load pauses.
    fn serve(&mut self, session: &mut Session) -> Result<(), ClientError> {
        let mut data = Vec::new();
        let mut answered = Instant::now();
        loop {
            let run = self.shared.wish() == RUN;
            if !run && session.asked.is_empty() {
                session.sender.send_disconnect()?;
                return Ok(());
            }
            while run && session.asked.len() < DEPTH && session.may_send() {
                self.send(session)?;
            }
            if session.asked.is_empty() {
                thread::park_timeout(Duration::from_millis(1));
                answered = Instant::now();
                continue;
            }
            match session.receiver.recv_reply(&mut data) {
                Ok(reply) => {
                    answered = Instant::now();
                    let asked = session.asked.remove(&reply.cookie);
                    self.replied(asked, reply.result.is_ok(), &data, reply.command);
                    if reply.result.is_err() {
                        // A server that answers errors is not the one to talk to.
                        return Err(ClientError::OutOfStep);
                    }
                }
                Err(ClientError::TimedOut { clean: true, .. })
                    if self.stall.is_none_or(|stall| answered.elapsed() < stall) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, session: &mut Session) -> Result<(), ClientError> {
        self.issued += 1;
        session.sent += 1;
        if self.issued.is_multiple_of(FLUSH_EVERY) {
            let cookie = session.sender.send_flush()?;
            session.asked.insert(cookie, Asked::Flush);
            return Ok(());
        }
        let block = self.pick(session);
        let offset = block * BLOCK as u64;
        if self.issued.is_multiple_of(READ_EVERY) {
            let cookie = session.sender.send_read(offset, 4096)?;
            session.asked.insert(cookie, Asked::Read { block });
            return Ok(());
        }
        let version = lock(&self.shared.ledger).begin(block);
        let mut data = [0; BLOCK];
        fill(block, version, &mut data);
        match session.sender.send_write(offset, &data, false) {
            Ok(cookie) => {
                session.asked.insert(cookie, Asked::Write { block, version });
                Ok(())
            }
            Err(error) => {
                lock(&self.shared.ledger).unanswered(block, version);
                Err(error)
            }
        }
    }

    /// A block without a request in flight.
    fn pick(&mut self, session: &Session) -> u64 {
        let blocks = lock(&self.shared.ledger).blocks();
        loop {
            // xorshift: any spread will do, the same for the same seed.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let block = self.random % blocks;
            let busy = session.asked.values().any(|asked| match asked {
                Asked::Write { block: other, .. } | Asked::Read { block: other } => *other == block,
                Asked::Flush => false,
            });
            if !busy {
                return block;
            }
        }
    }

    fn replied(&mut self, asked: Option<Asked>, fine: bool, data: &[u8], _command: Command) {
        match asked {
            Some(Asked::Write { block, version }) if fine => {
                lock(&self.shared.ledger).acknowledged(block, version);
                self.shared.acknowledged();
            }
            Some(Asked::Write { block, version }) => {
                lock(&self.shared.ledger).unanswered(block, version);
            }
            Some(Asked::Read { block }) if fine => {
                let judged = lock(&self.shared.ledger).read(block, data);
                self.shared.judged(judged);
            }
            Some(Asked::Flush) if fine => lock(&self.shared.seen).flushes += 1,
            _ => {}
        }
        if !fine {
            lock(&self.shared.seen).errors += 1;
        }
    }

    /// The connection is over: what it left in flight is never answered.
    fn give_up(&mut self, session: Session, in_order: bool) {
        let mut ledger = lock(&self.shared.ledger);
        let mut left: Vec<(u64, u32)> = session
            .asked
            .into_values()
            .filter_map(|asked| match asked {
                Asked::Write { block, version } => Some((block, version)),
                _ => None,
            })
            .collect();
        left.sort_unstable();
        for (block, version) in left {
            ledger.unanswered(block, version);
        }
        drop(ledger);
        if !in_order {
            // Another server may have taken over.
            self.turn += 1;
            lock(&self.shared.seen).server = None;
        }
    }
}

impl Session {
    /// Whether the rate allows another request.
    fn may_send(&self) -> bool {
        let allowed = self.began.elapsed().as_millis() * u128::from(RATE) / 1000;
        u128::from(self.sent) <= allowed
    }
}
