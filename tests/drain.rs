//! A killed engine's writes against those of its successor (R20). The data partition lies on a
//! disk that has taken a write and not yet carried it out when its engine is killed: whatever the
//! client writes there afterwards must win, on both nodes.
//! Always: the test says when the held write lands, so that nothing depends on how long things
//! take.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::backing::{Backing, Door};
use harness::engines::{Engines, Partitions, Records, serve};
use lockstep_engine::admin::Verb;
use lockstep_engine::units::NodeId::{self, A, B};
use lockstep_nbd::client::{Address, Client, ClientError, Options};
use std::fs::{File, TryLockError};
use std::ops::Range;
use std::path::PathBuf;
use std::process::Child;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The bytes that everybody writes.
const BLOCK: Range<u64> = 5 << 20..(5 << 20) + 4096;
/// What lies there before, what is re-sent, and what is newer.
const OLD: [u8; 4096] = [0x01; 4096];
const X: [u8; 4096] = [0x0a; 4096];
const Y: [u8; 4096] = [0x0b; 4096];
/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long something that must not happen is looked for.
const DOUBT: Duration = Duration::from_millis(500);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// What an engine says while it waits for its predecessor.
const WAITS: &str = "another engine still has it";

/// A pair whose node A works on the slow disk. The disk is dropped first and lets everything go, so
/// that engines can end.
struct Stage {
    disk: Backing,
    engines: Engines,
    records: Records,
}

/// `None`, with the reason printed, where no such disk can be had.
fn stage() -> Option<Stage> {
    let dir = tempfile::tempdir().unwrap();
    let stores = [("data", Partitions::DATA_BYTES), ("meta", Partitions::META_BYTES)];
    let disk = match Backing::mount(dir.path(), &stores) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED, nothing was tested: {reason}");
            return None;
        }
    };
    let partitions = [partitions(&disk, Door::Front), Partitions::files(dir.path(), B)];
    let mut engines = Engines::format_on(dir, partitions);
    let records = serve(&mut engines);
    Some(Stage { disk, engines, records })
}

fn partitions(disk: &Backing, door: Door) -> Partitions {
    Partitions { data: disk.path("data", door), meta: disk.path("meta", door) }
}

/// The writes of a client that gives up on an answer soon.
fn connect(path: PathBuf) -> Result<Client, ClientError> {
    let options = Options { read_timeout: Some(DOUBT), ..Options::default() };
    Client::connect(&Address::Unix(path), &options)
}

/// Sends X again and then Y, as often as it takes to have both answered.
fn resend(path: PathBuf) -> JoinHandle<()> {
    let both = move || {
        let mut client = connect(path.clone())?;
        client.write(BLOCK.start, &X, false)?;
        client.write(BLOCK.start, &Y, false)?;
        client.flush()
    };
    thread::spawn(move || {
        let from = Instant::now();
        while let Err(error) = both() {
            assert!(from.elapsed() < PATIENCE, "Y is not answered: {error}");
            thread::sleep(LOOK);
        }
    })
}

fn wait(what: &str, mut seen: impl FnMut() -> bool) {
    let from = Instant::now();
    while !seen() {
        assert!(from.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(LOOK);
    }
}

impl Stage {
    /// The client has sent X, the disk holds it, the engine of A is killed.
    fn strike(&mut self) -> Child {
        let mut client = connect(self.engines.path("a.nbd")).unwrap();
        client.write(BLOCK.start, &OLD, true).unwrap();
        self.disk.hold("data", BLOCK);
        let sent = thread::spawn(move || client.write(BLOCK.start, &X, false));
        self.disk.wait_held(1);
        let dead = self.engines.strike(A);
        assert!(sent.join().unwrap().is_err(), "X was answered, though it is not on the disk of A");
        dead
    }

    fn stored(&self) -> Vec<u8> {
        self.disk.stored("data", BLOCK)
    }

    /// A serves again, with the record that it served with.
    fn promote(&self) {
        let linked = |status: &lockstep_engine::units::Status| status.peer_disk.is_some();
        self.engines.wait(A, "linked", linked);
        self.engines.admin(A).call(Verb::Promote { record: self.records.last() }).unwrap();
    }

    fn block(&self, node: NodeId) -> Vec<u8> {
        let bytes = self.engines.bytes(node);
        bytes[usize::try_from(BLOCK.start).unwrap()..usize::try_from(BLOCK.end).unwrap()].to_vec()
    }
}

#[test]
fn a_write_of_a_killed_engine_lands_before_anything_of_its_successor() {
    let Some(mut stage) = stage() else { return };
    let mut dead = stage.strike();
    let read_before = stage.disk.reads("meta");
    stage.engines.start(A);
    wait("the successor says that it waits", || stage.engines.log(A).contains(WAITS));
    let resent = resend(stage.engines.path("a.nbd"));

    // Nothing happens, for as long as the disk takes.
    assert!(!stage.engines.greets(A, DOUBT), "a session was accepted");
    assert!(!resent.is_finished(), "Y was answered");
    assert_eq!(stage.disk.reads("meta"), read_before, "the cluster partition was read");
    assert_eq!(stage.stored(), OLD, "nothing has landed");

    // The kernel has not cancelled X, or all of this has shown nothing: it is still with the disk,
    // and its file is still locked although its engine was killed.
    println!("the killed process has ended: {:?}", dead.try_wait().unwrap());
    assert_eq!(stage.disk.held(), 1);
    let file = File::open(stage.disk.path("data", Door::Front)).unwrap();
    assert!(matches!(file.try_lock(), Err(TryLockError::WouldBlock)), "X is not in flight");
    assert_eq!(stage.engines.log(A).matches("engine is up").count(), 1);

    assert_eq!(stage.disk.release(), 1, "X lands after its engine was killed");
    dead.wait().unwrap();
    stage.promote();
    resent.join().unwrap();
    assert_eq!(stage.block(A), Y);
    assert_eq!(stage.block(B), Y);
    assert!(stage.engines.bytes(A) == stage.engines.bytes(B), "the copies differ");
}

/// What the test above would see if the lock were not on the file that does the I/O: the successor
/// comes through the back door, whose locks are others.
#[test]
fn an_engine_that_does_not_wait_loses_the_newer_write() {
    let Some(mut stage) = stage() else { return };
    let mut dead = stage.strike();
    stage.engines.move_to(A, partitions(&stage.disk, Door::Back));
    stage.engines.start(A);
    wait("the successor is up", || stage.engines.log(A).matches("engine is up").count() == 2);
    let resent = resend(stage.engines.path("a.nbd"));
    stage.promote();
    resent.join().unwrap();
    assert!(!stage.engines.log(A).contains(WAITS));
    assert_eq!(stage.stored(), Y, "Y was answered");

    assert_eq!(stage.disk.release(), 1);
    dead.wait().unwrap();
    assert_eq!(stage.stored(), X, "X landed on top of it");
}
