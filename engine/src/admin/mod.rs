//! The small language that ctl speaks to engine: JSON lines over a unix socket, versioned.
//! The engine greets with `Line::Engine`; each call gets one `Line::Reply` with its id; after
//! `Watch`, status and mark lines follow whenever they change. Types only.

use crate::units::{InSyncMark, OpenAttempt, Status, VolumeRecord};
use serde::{Deserialize, Serialize};

/// Version of this language. Raised when an old reader would misread a line.
pub const VERSION: u32 = 1;
/// Longest line that either side accepts.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// One line from ctl to engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Language version.
    pub v: u32,
    /// Comes back in the reply.
    pub id: u64,
    /// What to do.
    pub verb: Verb,
}

/// What ctl may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// Send the status once, as `Line::Status`, before the reply.
    Status,
    /// Send status and marks from now on, whenever they change.
    Watch,
    /// See `replica::event::Command` for the meaning of the following.
    Learn {
        /// The whole record.
        record: VolumeRecord,
    },
    /// Serve under this record.
    Promote {
        /// The whole record.
        record: VolumeRecord,
    },
    /// Drain, flush, stop serving.
    Demote,
    /// Stop answering at once.
    Fence,
    /// Store an attempt before it is sent.
    Attempt {
        /// The attempt.
        attempt: OpenAttempt,
    },
    /// Stop answering pings.
    PrepareTakeover,
    /// Answer pings again.
    CancelTakeover,
    /// Give a mark back after a restart of the engine.
    Mark {
        /// The mark.
        mark: InSyncMark,
    },
    /// Pause or continue resync.
    PauseSync {
        /// Whether to pause.
        paused: bool,
    },
    /// Start or stop a verify.
    Verify {
        /// Whether to start.
        start: bool,
    },
    /// Give this copy up for that of the peer, after both went on alone.
    Discard,
    /// Stop in order.
    Shutdown,
    /// The daemon is there; how long held requests may wait without a decision.
    Attend {
        /// Milliseconds, `None` for ever.
        suspend_max_ms: Option<u64>,
    },
    /// Histograms and counters of the shell.
    Stats,
}

/// One line from engine to ctl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// First line of a connection.
    Engine {
        /// Language version of the engine.
        v: u32,
        /// Build id.
        build: String,
        /// Digest of the configuration that the engine runs with.
        config_digest: String,
    },
    /// Answer to a call.
    Reply {
        /// Id of the call.
        id: u64,
        /// `None` is success, otherwise what refused, as a stable word and a sentence.
        refused: Option<Refused>,
    },
    /// The replica's status.
    Status(Box<Status>),
    /// Keep this mark in memory that does not survive a boot, or forget it.
    KeepMark {
        /// The mark.
        mark: Option<InSyncMark>,
    },
    /// Histograms and counters, as a JSON object of the shell.
    Stats(serde_json::Value),
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Stable word, such as `older-record`.
    pub code: String,
    /// For people: object, cause, next move.
    pub message: String,
}
