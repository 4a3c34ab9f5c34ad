//! The client of a soak: writes, reads and flushes on a few blocks of a real mirror, several at a
//! time on the same block, and tells the simulator's judge of a register (R43) what it asked and
//! what it was answered.
//! Always: what is asked is told to the judge before it is sent, and what is answered after it has
//! come. An unanswered write is over only once the server has closed the connection.
//! Survives: servers that die, stand still, refuse or answer errors; it then looks for the one that
//! serves.

use crate::sim::disk::Block;
use crate::sim::random::Random;
use crate::sim::register::{Conflict, Register};
use lockstep_nbd::client::{Address, Client, ClientError, Options, Receiver, Reply, Sender};
use lockstep_nbd::protocol::Cookie;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of a block, and of each of its sectors, which begins with the stamp of its write.
const BLOCK: usize = 4_096;
const SECTOR: usize = 512;
/// Requests in flight.
const DEPTH: usize = 16;
/// Requests per second, so that the client leaves the machine to the nodes.
const RATE: u64 = 2_000;
/// The thread looks this often whether it shall pause.
const LOOK: Duration = Duration::from_millis(50);
/// A server that owes an answer for so long is given up.
const STALL: Duration = Duration::from_secs(4);
/// Complaints that are kept.
const COMPLAINTS_MAX: usize = 20;

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Acknowledged writes.
    pub writes: u64,
    /// Judged reads.
    pub reads: u64,
    /// Answered flushes.
    pub flushes: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Connections made.
    pub connections: u64,
    /// What the judge found wrong.
    pub complaints: Vec<String>,
    /// Longest time without an acknowledged write since `mark`.
    pub longest: Duration,
}

impl Seen {
    /// Answered requests.
    pub fn operations(&self) -> u64 {
        self.writes + self.reads + self.flushes
    }
}

struct Judge {
    registers: Vec<Register>,
    /// Instants of the history: each is used once.
    clock: u64,
    seen: Seen,
    acknowledged: Instant,
}

impl Judge {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn complain(&mut self, what: String) {
        if self.seen.complaints.len() < COMPLAINTS_MAX {
            self.seen.complaints.push(what);
        }
    }

    fn conflict(&mut self, index: usize, what: &str, found: Option<Conflict>) {
        if let Some(conflict) = found {
            self.complain(format!("block {index}: {what}: {conflict:?}"));
        }
    }

    fn read(&mut self, index: usize, data: &[u8], begin: u64) {
        let end = self.tick();
        self.seen.reads += 1;
        match stamps(data) {
            Ok(block) => {
                let found = self.registers[index].read(block, begin, end);
                self.conflict(index, "read", found);
            }
            Err(sector) => self.complain(format!("block {index}: sector {sector} is torn")),
        }
    }

    fn acknowledged(&mut self, index: usize, stamp: u64) {
        let at = self.tick();
        let now = Instant::now();
        self.seen.longest = self.seen.longest.max(now.duration_since(self.acknowledged));
        self.acknowledged = now;
        self.seen.writes += 1;
        // Processes die here, hosts keep their power: nothing acknowledged is in a volatile cache.
        let found = self.registers[index].acked(stamp, at, true);
        self.conflict(index, "write", found);
        self.registers[index].prune();
    }
}

/// The stamp of each sector, or the first sector that has parts of two.
fn stamps(data: &[u8]) -> Result<Block, usize> {
    let mut block = [0; 8];
    for (index, sector) in data.chunks_exact(SECTOR).enumerate() {
        let mut words = sector.chunks_exact(8).map(|word| word.try_into().map(u64::from_le_bytes));
        let first = words.next().and_then(Result::ok).ok_or(index)?;
        if !words.all(|word| word.is_ok_and(|word| word == first)) {
            return Err(index);
        }
        block[index] = first;
    }
    Ok(block)
}

fn filled(stamp: u64) -> Vec<u8> {
    stamp.to_le_bytes().repeat(BLOCK / 8)
}

struct Shared {
    pause: AtomicBool,
    end: AtomicBool,
    idle: AtomicBool,
    judge: Mutex<Judge>,
}

impl Shared {
    fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rests(&self) -> bool {
        self.pause.load(Ordering::SeqCst) || self.end.load(Ordering::SeqCst)
    }
}

/// The running client.
pub struct History {
    shared: Arc<Shared>,
    servers: Vec<Address>,
    thread: Option<JoinHandle<()>>,
}

impl History {
    /// Starts on the first `blocks` blocks, all zero, of whichever of `servers` serves.
    ///
    /// # Panics
    /// The system gives no thread.
    pub fn start(servers: Vec<Address>, blocks: usize, seed: u64) -> History {
        let judge = Judge {
            registers: vec![Register::default(); blocks],
            clock: 0,
            seen: Seen::default(),
            acknowledged: Instant::now(),
        };
        let shared = Arc::new(Shared {
            pause: AtomicBool::new(false),
            end: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            judge: Mutex::new(judge),
        });
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            servers: servers.clone(),
            blocks,
            turn: 0,
            random: Random::new(seed),
            stamp: 0,
        };
        let work = move || worker.work();
        let thread = thread::Builder::new().name("history".to_owned()).spawn(work);
        History { shared, servers, thread: Some(thread.expect("a thread")) }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        let judge = self.shared.judge();
        let mut seen = judge.seen.clone();
        if !self.shared.rests() {
            seen.longest = seen.longest.max(judge.acknowledged.elapsed());
        }
        seen
    }

    /// Measures the longest pause anew from here.
    pub fn mark(&self) {
        let mut judge = self.shared.judge();
        judge.seen.longest = Duration::ZERO;
        judge.acknowledged = Instant::now();
    }

    /// Lets requests in flight end and sends no more; false when they do not end in time.
    pub fn pause(&self, within: Duration) -> bool {
        self.shared.pause.store(true, Ordering::SeqCst);
        let began = Instant::now();
        while !self.shared.idle.load(Ordering::SeqCst) {
            if began.elapsed() > within {
                return false;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        true
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.mark();
        self.shared.idle.store(false, Ordering::SeqCst);
        self.shared.pause.store(false, Ordering::SeqCst);
    }

    /// Reads and judges every block from the server `index` while the client pauses.
    ///
    /// # Errors
    /// The server does not answer; then nothing can be said.
    pub fn check_all(&self, index: usize) -> Result<(), ClientError> {
        let mut client = Client::connect(&self.servers[index], &Options::default())?;
        let blocks = self.shared.judge().registers.len();
        let mut data = vec![0; BLOCK];
        for block in 0..blocks {
            let begin = self.shared.judge().tick();
            client.read(block as u64 * BLOCK as u64, &mut data)?;
            self.shared.judge().read(block, &data, begin);
        }
        client.disconnect()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed by it.
            let _ = thread.join();
        }
    }
}

/// A request in flight.
enum Asked {
    Write { block: usize, stamp: u64 },
    Read { block: usize, begin: u64 },
    Flush,
}

struct Session {
    sender: Sender,
    receiver: Receiver,
    asked: HashMap<Cookie, Asked>,
    began: Instant,
    sent: u64,
}

struct Worker {
    shared: Arc<Shared>,
    servers: Vec<Address>,
    blocks: usize,
    turn: usize,
    random: Random,
    stamp: u64,
}

impl Worker {
    fn work(&mut self) {
        while !self.shared.end.load(Ordering::SeqCst) {
            if self.shared.rests() {
                self.shared.idle.store(true, Ordering::SeqCst);
                thread::park_timeout(LOOK);
                continue;
            }
            let Some(mut session) = self.connect() else {
                thread::park_timeout(LOOK);
                continue;
            };
            let ended = self.serve(&mut session);
            self.give_up(session, ended);
        }
    }

    fn connect(&mut self) -> Option<Session> {
        let index = self.turn % self.servers.len();
        self.turn += 1;
        let options = Options {
            connect_timeout: Duration::from_secs(1),
            read_timeout: Some(Duration::from_secs(2)),
            ..Options::default()
        };
        // Whoever does not serve refuses; the other one is next.
        let client = Client::connect(&self.servers[index], &options).ok()?;
        client.set_timeouts(Some(LOOK), Some(STALL)).ok()?;
        self.turn = index;
        self.shared.judge().seen.connections += 1;
        let (sender, receiver) = client.split();
        Some(Session { sender, receiver, asked: HashMap::new(), began: Instant::now(), sent: 0 })
    }

    /// Serves until the connection is of no use, or the client shall rest.
    fn serve(&mut self, session: &mut Session) -> Result<(), ClientError> {
        let mut data = Vec::new();
        let mut answered = Instant::now();
        loop {
            let rests = self.shared.rests();
            if rests && session.asked.is_empty() {
                return session.sender.send_disconnect();
            }
            while !rests && session.asked.len() < DEPTH && session.may_send() {
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
                    self.replied(session, &reply, &data)?;
                }
                Err(ClientError::TimedOut { clean: true, .. }) if answered.elapsed() < STALL => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, session: &mut Session) -> Result<(), ClientError> {
        session.sent += 1;
        let choice = self.random.below(256);
        if choice == 0 {
            let cookie = session.sender.send_flush()?;
            session.asked.insert(cookie, Asked::Flush);
            return Ok(());
        }
        // Half of all requests meet on a few blocks.
        let crowd = if self.random.chance(500) { self.blocks.min(8) } else { self.blocks };
        let block = self.random.index(crowd);
        let offset = block as u64 * BLOCK as u64;
        if choice < 64 {
            let begin = self.shared.judge().tick();
            let cookie = session.sender.send_read(offset, 4_096)?;
            session.asked.insert(cookie, Asked::Read { block, begin });
            return Ok(());
        }
        self.stamp += 1;
        let stamp = self.stamp;
        {
            let mut judge = self.shared.judge();
            let at = judge.tick();
            judge.registers[block].begin(stamp, at);
        }
        let cookie = session.sender.send_write(offset, &filled(stamp), choice < 80)?;
        session.asked.insert(cookie, Asked::Write { block, stamp });
        Ok(())
    }

    /// An answer has come; an error ends the connection, since another node may serve better.
    fn replied(
        &mut self,
        session: &mut Session,
        reply: &Reply,
        data: &[u8],
    ) -> Result<(), ClientError> {
        let asked = session.asked.remove(&reply.cookie);
        let mut judge = self.shared.judge();
        if reply.result.is_err() {
            judge.seen.errors += 1;
            if let Some(Asked::Write { block, stamp }) = asked {
                // The server has answered, so it is over for good.
                let at = judge.tick();
                judge.registers[block].gave_up(stamp, at);
            }
            return Err(ClientError::OutOfStep);
        }
        match asked {
            Some(Asked::Write { block, stamp }) => judge.acknowledged(block, stamp),
            Some(Asked::Read { block, begin }) => judge.read(block, data, begin),
            Some(Asked::Flush) => judge.seen.flushes += 1,
            None => judge.complain(format!("an answer that nobody waits for: {reply:?}")),
        }
        Ok(())
    }

    /// The connection is over. What the server has closed is answered no more; what this side has
    /// given up may still be carried out, for ever as far as anybody here knows.
    fn give_up(&mut self, session: Session, ended: Result<(), ClientError>) {
        let by_server = matches!(
            ended,
            Err(ClientError::Closed { .. } | ClientError::Io { .. } | ClientError::Connect { .. })
        );
        if by_server {
            let mut judge = self.shared.judge();
            for asked in session.asked.into_values() {
                if let Asked::Write { block, stamp } = asked {
                    let at = judge.tick();
                    judge.registers[block].gave_up(stamp, at);
                }
            }
        }
        if ended.is_err() {
            self.turn += 1;
        }
    }
}

impl Session {
    fn may_send(&self) -> bool {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX / RATE);
        self.sent <= ms * RATE / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_with_parts_of_two_writes_in_one_sector_is_torn() {
        let mut data = filled(7);
        assert_eq!(stamps(&data), Ok([7; 8]));
        data[..SECTOR].copy_from_slice(&filled(8)[..SECTOR]);
        assert_eq!(stamps(&data), Ok([8, 7, 7, 7, 7, 7, 7, 7]));
        data[SECTOR + 8] ^= 1;
        assert_eq!(stamps(&data), Err(1));
    }
}
