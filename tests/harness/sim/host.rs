//! One simulated host: its storage, its engine process, its daemon process.
//! Always: a process belongs to a run; what arrives for an earlier run is dropped.

use super::brain::Brain;
use super::disk::{Block, Disk, Snapshot};
use super::hands::Notes;
use lockstep_ctl::decide::event::{RequestId, StepId};
use lockstep_ctl::decide::node::PeerState;
use lockstep_engine::replica::Replica;
use lockstep_engine::replica::event::{CmdId, ReqId};
use lockstep_engine::units::{BootId, Extent, InSyncMark, NodeId, Session, StartId, Tick};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a client asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A read.
    Read,
    /// A write of a stamp.
    Write {
        /// Stable when answered.
        fua: bool,
    },
    /// Zeroes.
    Zero {
        /// Stable when answered.
        fua: bool,
    },
    /// A flush.
    Flush,
}

/// A client request inside an engine.
#[derive(Clone, Debug)]
pub struct ClientOp {
    /// What was asked.
    pub asked: Asked,
    /// Where.
    pub at: Extent,
    /// Stamp of a write; 0 for zeroes.
    pub stamp: u64,
    /// Judge's instant at which it was asked.
    pub begin: u64,
    /// Tick at which it was asked.
    pub since: Tick,
    /// Buffer of a read or write.
    pub buf: Option<u32>,
    /// The connection is gone: the answer is thrown away.
    pub gone: bool,
}

/// An engine process.
pub struct Engine {
    /// Its run.
    pub run: u64,
    /// Its start id.
    pub start: StartId,
    /// When it started.
    pub since: Tick,
    /// The production replica.
    pub replica: Replica,
    /// Buffers of clients and of received payloads.
    pub bufs: HashMap<u32, Vec<Block>>,
    /// Next buffer name.
    pub next_buf: u32,
    /// The replica's own buffers.
    pub internal: HashMap<u32, Vec<Block>>,
    /// The live session, as this shell sees it.
    pub session: Option<Session>,
    /// Clients are accepted.
    pub open: bool,
    /// Requests not yet answered.
    pub requests: BTreeMap<ReqId, ClientOp>,
    /// Commands not yet replied to, and who sent them.
    pub commands: HashMap<CmdId, (u64, Option<StepId>)>,
    /// Next command name.
    pub next_command: u64,
    /// The wake-up that is scheduled.
    pub wake_at: Option<Tick>,
    /// The status changed since it was told.
    pub dirty: bool,
    /// Calls of `Wake` in a row at one tick.
    pub spins: u32,
    /// An engine poll is scheduled.
    pub lazy: bool,
}

/// A daemon process.
pub struct Daemon {
    /// Its run.
    pub run: u64,
    /// When it started.
    pub since: Tick,
    /// Production code that decides.
    pub brain: Brain,
    /// What the last heartbeat said of the node.
    pub announced: PeerState,
    /// Run of the engine it is connected to.
    pub engine: Option<u64>,
    /// Answers heartbeats (R13).
    pub answering: bool,
    /// The wake-up that is scheduled.
    pub wake_at: Option<Tick>,
    /// Arbiter requests that wait for a reply.
    pub asking: BTreeSet<StepId>,
    /// Operator requests that wait.
    pub operator: BTreeMap<RequestId, String>,
    /// Calls of `Wake` in a row at one tick.
    pub spins: u32,
}

/// A host.
pub struct Host {
    /// Its node.
    pub node: NodeId,
    /// Powered and booted.
    pub power: bool,
    /// This boot.
    pub boot: BootId,
    /// Its clock is this far ahead of the simulation's.
    pub skew: u64,
    /// Nothing runs on it before this tick.
    pub frozen_until: Tick,
    /// Its storage.
    pub disk: Disk,
    /// When its disk was last made slow, or quick again.
    pub pace_since: Tick,
    /// Runs of engines and daemons so far.
    pub runs: u64,
    /// The service manager starts the engine.
    pub wants_engine: bool,
    /// The service manager starts the daemon.
    pub wants_daemon: bool,
    /// The engine.
    pub engine: Option<Engine>,
    /// The daemon.
    pub daemon: Option<Daemon>,
    /// The mark that outlives an engine, and a daemon, but no boot.
    pub mark: Option<InSyncMark>,
    /// Why the engine does not open.
    pub refused: Option<String>,
    /// Serial of the data device, new after a swap or restore; empty for files.
    pub serial: String,
    /// A snapshot of the volume.
    pub snapshot: Option<Snapshot>,
    /// Reads of one page give another, at the next open.
    pub misread: Option<(u64, u64)>,
    /// The data is not what it was: swapped or restored, and not resynced since.
    pub content_lost: bool,
    /// A device failed; the operator starts the engine again once it is repaired.
    pub broken: bool,
    /// The cluster partition rotted since the node was last made good.
    pub rotted: bool,
    /// A fault has hit its disks at some time.
    pub hurt: bool,
    /// The last fault that may have cost it its copy.
    pub spoiler: Option<&'static str>,
    /// The last mark that it was seen to hold.
    pub marked: Option<InSyncMark>,
    /// Resources, and what else a daemon has beside the engine.
    pub notes: Notes,
}

impl Host {
    /// A host that is off.
    pub fn new(node: NodeId, disk: Disk, skew: u64) -> Host {
        Host {
            node,
            power: false,
            boot: BootId::NONE,
            skew,
            frozen_until: Tick(0),
            disk,
            pace_since: Tick(0),
            runs: 0,
            wants_engine: true,
            wants_daemon: true,
            engine: None,
            daemon: None,
            mark: None,
            refused: None,
            serial: String::new(),
            snapshot: None,
            misread: None,
            content_lost: false,
            broken: false,
            rotted: false,
            hurt: false,
            spoiler: None,
            marked: None,
            notes: Notes::default(),
        }
    }

    /// The host's own clock.
    pub fn local(&self, now: Tick) -> Tick {
        Tick(now.0 + self.skew)
    }

    /// A tick of the host's clock as the simulation counts.
    pub fn global(&self, local: Tick) -> Tick {
        Tick(local.0.saturating_sub(self.skew))
    }

    /// A fault that may cost this host its copy.
    pub fn spoil(&mut self, fault: &'static str) {
        self.hurt = true;
        self.spoiler = Some(fault);
    }

    /// What may have cost it its copy. Blocks that can't be read never do: the others are good.
    pub fn suspect(&self) -> Option<&'static str> {
        self.spoiler
    }

    /// A new run.
    pub fn next_run(&mut self) -> u64 {
        self.runs += 1;
        self.runs
    }
}
