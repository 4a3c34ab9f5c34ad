//! The call between the daemons of a pair: one question and its answer, over TCP on the
//! interconnects, best first. Heartbeats say that somebody is there; a call gets something done.
//!
//! ```text
//! caller                                        answerer
//!   greeting of the link (wire::greeting), with a key for calls alone
//!   ask: head, body, MAC                   ──►
//!                                          ◄──  answer or refusal: head, body, MAC
//! ```
//!
//! Always: nothing is read but a greeting until the key is proved, by both sides; a call is between
//! the lives that heartbeats know of each other, and ends with its deadline; what is held for
//! strangers and for callers is bounded, and what is refused is counted by its reason. Not sent or
//! refused is certain; a lost answer is `Unknown`, so that what is asked must bear being asked
//! twice. Survives: strangers in any number, a path that fails, restarts of either side.

mod call;
pub mod frame;
mod listen;
#[cfg(test)]
mod tests;

pub use call::Caller;
pub use frame::Refusal;
pub use listen::{Asked, Counts, Listener};

use lockstep_engine::units::{
    BootId, ClusterId, GroupId, NodeId, Nonce, Session, StartId, VolumeId,
};
use lockstep_engine::wire::greeting::{GreetingConfig, Key};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest body of an ask or an answer. A configuration of 256 KiB as text in JSON has twice as
/// many bytes at worst, and something around it.
pub const BODY_BYTES_MAX: usize = 640 << 10;
/// Calls that are answered at once; further ones are told to come again. Memory: this ×
/// `BODY_BYTES_MAX` × 2, 5 MiB.
pub const CALLS_MAX: usize = 4;
/// Connections that have not proved themselves, for each interconnect; one more ends the oldest.
pub const STRANGERS_MAX: usize = 16;
/// A greeting, and the connection before it, must be done within this.
pub const GREETING_MAX: Duration = Duration::from_secs(2);
/// An answer is made within this, or the caller gets none.
pub const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What the key of calls is derived for.
const PURPOSE: &str = "calls between daemons";
/// Calls belong to no group and no volume: what stands there in a greeting says that it is one.
const PLACE: u128 = u128::from_be_bytes(*b"lockstep daemons");

/// One life of a daemon on one boot of its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// The boot.
    pub boot: BootId,
    /// The life that its heartbeats name.
    pub life: Nonce,
}

/// Who is there, by the heartbeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lives {
    /// This daemon.
    pub own: Life,
    /// The other one, once it was heard.
    pub peer: Option<Life>,
}

/// What both sides must know of the pair.
#[derive(Clone)]
pub struct Who {
    cluster: ClusterId,
    node: NodeId,
    key: Key,
}

impl Who {
    /// This node of that cluster; calls have a key of their own, made from that of the cluster.
    pub fn new(cluster: ClusterId, node: NodeId, key: &Key) -> Who {
        Who { cluster, node, key: Key::new(key.for_purpose(PURPOSE)) }
    }

    fn greets(&self, own: Life) -> GreetingConfig {
        GreetingConfig {
            cluster: self.cluster,
            group: GroupId(PLACE),
            volume: VolumeId(PLACE),
            node: self.node,
            boot: own.boot,
            start: StartId(own.life.0),
            key: self.key.clone(),
            flows: 1,
        }
    }

    fn of_session(&self, session: Session) -> [u8; 32] {
        self.key.for_purpose(&format!("frames of session {:032x}", session.0))
    }
}

/// Why a call has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The other daemon has not been heard: there is nobody to call. Nothing was sent.
    NotHeard,
    /// Nothing was sent over any path; the reason of each.
    NoPath { causes: Vec<(SocketAddr, String)> },
    /// The body is larger than one may be. Nothing was sent.
    TooLarge { bytes: usize },
    /// The other daemon says no; but for `Away`, nothing was done.
    Refused(Refusal),
    /// It was sent, and no answer came: nobody knows whether it was done.
    Unknown { cause: String },
}

impl CallError {
    /// Whether the other side has certainly not taken it up.
    pub fn is_certain(&self) -> bool {
        !matches!(self, CallError::Unknown { .. } | CallError::Refused(Refusal::Away))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::NotHeard => {
                write!(f, "the other daemon is not heard; start it, or check the interconnects")
            }
            CallError::NoPath { causes } => {
                write!(f, "the other daemon can't be reached")?;
                for (address, cause) in causes {
                    write!(f, "; {address}: {cause}")?;
                }
                write!(f, "; open the port of the heartbeats for TCP too")
            }
            CallError::TooLarge { bytes } => {
                write!(f, "{bytes} bytes are more than a call takes ({BODY_BYTES_MAX})")
            }
            CallError::Refused(refusal) => refusal.fmt(f),
            CallError::Unknown { cause } => write!(
                f,
                "the other daemon was asked and did not answer ({cause}); ask again, it does no \
                 harm"
            ),
        }
    }
}

impl std::error::Error for CallError {}
