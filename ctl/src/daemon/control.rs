//! The small language of operators: JSON lines over the daemon's unix socket, versioned.
//! The daemon answers one `Ask` with any number of `Progress` lines and one last line;
//! only `Watch` never ends by itself. Types only.

use crate::status::Report;
use serde::{Deserialize, Serialize};

/// Version of this language.
pub const VERSION: u32 = 1;
/// Longest line that either side accepts.
pub const LINE_BYTES_MAX: usize = 256 << 10;

/// One line to the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Language version.
    pub v: u32,
    /// What is wanted.
    pub verb: Verb,
}

/// What an operator may want.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// Everything that is known.
    Status,
    /// A `Status` line at every heartbeat interval until the operator goes away.
    Watch,
    /// Histograms and counters of the engine.
    Stats,
    /// Write the first record.
    Create {
        /// Both copies are blank and so equal.
        both_blank: bool,
    },
    /// Serve here.
    Start {
        /// The operator says that the peer is dead.
        without_peer: bool,
    },
    /// Take over here.
    Takeover,
    /// Hand over to the peer.
    Move,
    /// Stop serving.
    Stop,
    /// Make this copy the truth, against the rules.
    ForcePromote {
        /// The volume's name, as typed.
        volume: String,
    },
    /// Hold resync back, or let it go on.
    PauseSync {
        /// Whether to hold it back.
        paused: bool,
    },
    /// Start or stop a comparison of both copies.
    Verify {
        /// Whether to start.
        start: bool,
    },
}

/// One line from the daemon.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tell {
    /// The request waits for this.
    Progress {
        /// Stable word.
        waiting: String,
        /// For people.
        message: String,
    },
    /// Last line: done.
    Done,
    /// Last line of `Status`, each line of `Watch`.
    Status(Box<Report>),
    /// Last line of `Stats`.
    Stats(serde_json::Value),
    /// Last line: not done.
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable word, such as `not-member`.
    pub code: String,
    /// Object, cause and next move.
    pub message: String,
}
