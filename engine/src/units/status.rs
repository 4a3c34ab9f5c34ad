//! What a replica tells of itself: read by the daemon to decide and by people to understand.

use super::{
    BootId, DiskState, Epoch, Generation, InSyncMark, Need, NodeId, OpenAttempt, Role, StartId,
    Tick, VolumeId, VolumeRecord,
};
use serde::{Deserialize, Serialize};

/// State of the replication link as this node sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// No session.
    Down,
    /// Session authenticated, hellos under way.
    Greeting,
    /// Both hellos are in.
    Up,
}

/// What is going on between the two copies, as this node sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mirror {
    /// Nothing: no peer, or nobody is primary.
    Idle,
    /// Writes are held until membership is decided.
    Holding,
    /// This node is primary and sole member; the peer misses what is dirty.
    Solo,
    /// Dirty blocks travel from here to the peer.
    SyncSource,
    /// Dirty blocks travel from the peer to here.
    SyncTarget,
    /// Copies are equal; R27 is under way.
    Growing,
    /// Members both; intent regions are being made equal before they are read.
    Reconciling,
    /// Every write is on both nodes before it is answered.
    InSync,
}

/// A snapshot of a replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The volume.
    pub volume: VolumeId,
    /// This node.
    pub node: NodeId,
    /// Boot of this host and start of this engine.
    pub boot: BootId,
    /// Start of this engine.
    pub start: StartId,
    /// Boot in which this node last became primary, `NONE` after an orderly demotion.
    pub primary_boot: BootId,
    /// What the engine does.
    pub role: Role,
    /// What this copy is worth.
    pub disk: DiskState,
    /// What the peer's copy is worth, as last heard.
    pub peer_disk: Option<DiskState>,
    /// Peer's role, as last heard in this session.
    pub peer_role: Option<Role>,
    /// Generation of the data here.
    pub generation: Generation,
    /// Last accepted record.
    pub record: Option<VolumeRecord>,
    /// Epoch of that record.
    pub epoch: Epoch,
    /// Attempts not yet closed.
    pub attempts: Vec<OpenAttempt>,
    /// Link.
    pub link: LinkState,
    /// Last tick at which anything authentic of the peer was received on the link.
    pub peer_heard: Option<Tick>,
    /// Boot of the peer's host in this or the last session.
    pub peer_boot: Option<BootId>,
    /// Last tick at which this node answered a ping, for R13.
    pub pong_sent: Option<Tick>,
    /// Pings are not answered: a takeover is prepared.
    pub silent: bool,
    /// Reads are served until this tick; `None` when this node is the only member.
    pub lease_until: Option<Tick>,
    /// Mirror.
    pub mirror: Mirror,
    /// What the daemon should have decided.
    pub need: Option<Need>,
    /// Since when writes are held.
    pub held_since: Option<Tick>,
    /// Blocks that may differ.
    pub dirty_blocks: u64,
    /// Regions with open intent.
    pub hot_regions: u32,
    /// Intent regions still to be made equal before this node may start or read them.
    pub reconcile_pending: bool,
    /// Of those, some can be read on neither side: this copy wins, and waiting changes nothing.
    #[serde(default)]
    pub reconcile_stuck: bool,
    /// Blocks resynced in this round, and blocks that the round began with.
    pub sync_done_blocks: u64,
    /// See `sync_done_blocks`.
    pub sync_total_blocks: u64,
    /// Bytes of data that travelled in this round, or in the last one while none runs.
    pub sync_sent_bytes: u64,
    /// Resync is paused by an operator.
    pub sync_paused: bool,
    /// Verify under way: blocks compared so far.
    pub verify_done_blocks: Option<u64>,
    /// Mismatches of the last verify.
    pub verify_mismatches: u64,
    /// In-sync mark that this node holds.
    pub mark: Option<InSyncMark>,
    /// The last session was refused because both histories went on alone.
    pub split_brain: bool,
    /// This copy must be filled whole before it counts.
    pub needs_full: bool,
    /// Wall-clock free: requests held or in flight.
    pub client_ops: u32,
    /// Of those, pieces of requests whose client connections have ended: they are carried out, and
    /// whoever sends them again queues behind them (R20).
    pub client_ops_dead: u32,
    /// The process ends in order, and may come back to what it served: what waits for its device
    /// waits in the kernel.
    #[serde(default)]
    pub stopping: bool,
    /// The kernel's block device of the volume; absent where none is configured.
    #[serde(default)]
    pub device: Option<ShownDevice>,
    /// Totals since start.
    pub counters: Counters,
}

/// A volume's block device in the kernel, as the engine knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownDevice {
    /// Its name below `/dev` that stays.
    pub path: String,
    /// The N of `/dev/nbdN` behind that name, while this engine has a device.
    pub index: Option<u32>,
    /// The kernel has a socket of this engine, so that requests are answered.
    pub attached: bool,
    /// Bytes.
    pub bytes: u64,
}

/// Totals since the engine started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Client reads answered.
    pub reads: u64,
    /// Client writes and zeroes answered Ok.
    pub writes: u64,
    /// Client flushes answered Ok.
    pub flushes: u64,
    /// Client bytes read.
    pub read_bytes: u64,
    /// Client bytes written.
    pub write_bytes: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Writes that waited for an intent transaction.
    pub intent_misses: u64,
    /// Reads served from the peer after a local error.
    pub reads_repaired: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Frames refused: old session, old epoch or without sense.
    pub frames_refused: u64,
}

impl Status {
    /// What an engine says that has found a whole copy and nothing else: no peer, no record,
    /// nothing to do. Tests change what they are about.
    pub fn at_rest(volume: VolumeId, node: NodeId) -> Status {
        Status {
            volume,
            node,
            boot: BootId::NONE,
            start: StartId(0),
            generation: Generation::NONE,
            primary_boot: BootId::NONE,
            role: Role::Secondary,
            disk: DiskState::Consistent,
            peer_disk: None,
            peer_role: None,
            record: None,
            epoch: Epoch(0),
            attempts: Vec::new(),
            link: LinkState::Down,
            peer_heard: None,
            peer_boot: None,
            pong_sent: None,
            silent: false,
            lease_until: None,
            mirror: Mirror::Idle,
            need: None,
            held_since: None,
            dirty_blocks: 0,
            hot_regions: 0,
            reconcile_pending: false,
            reconcile_stuck: false,
            sync_done_blocks: 0,
            sync_total_blocks: 0,
            sync_sent_bytes: 0,
            sync_paused: false,
            verify_done_blocks: None,
            verify_mismatches: 0,
            mark: None,
            split_brain: false,
            needs_full: false,
            client_ops: 0,
            client_ops_dead: 0,
            device: None,
            stopping: false,
            counters: Counters::default(),
        }
    }
}
