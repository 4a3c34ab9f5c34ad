//! The decider's refusals and waits in words: object, cause and next move.

use super::control::Refusal;
use crate::decide::step::{Refused, Waiting};
use crate::status::words::age;
use lockstep_engine::units::NodeId;

/// Stable word of a refusal; the command line maps it to an exit code.
pub fn code(refused: &Refused) -> &str {
    match refused {
        Refused::NoRecord => "no-record",
        Refused::RecordExists => "record-exists",
        Refused::OtherPrimary => "other-primary",
        Refused::NotMember { .. } => "not-member",
        Refused::BadCopy => "bad-copy",
        Refused::NoMark => "no-mark",
        Refused::PeerAlive => "peer-alive",
        Refused::NotInSync => "not-in-sync",
        Refused::NotPrimary => "not-primary",
        Refused::AlreadyPrimary => "already-primary",
        Refused::Lost => "lost",
        Refused::ArbiterAway => "arbiter-away",
        Refused::ArbiterRolledBack => "arbiter-rolled-back",
        Refused::EngineAway => "engine-away",
        Refused::Engine(word) => word,
        Refused::Busy => "busy",
    }
}

/// A refusal as an operator reads it. `volume` and `node` are those of this daemon.
pub fn explain(refused: &Refused, volume: &str, node: NodeId, wall_ms: u64) -> Refusal {
    let peer = node.peer();
    let because = match refused {
        Refused::NoRecord => {
            "no record exists yet; run `lockstep mirror create` on one node".to_owned()
        }
        Refused::RecordExists => {
            "the mirror exists already; run `lockstep mirror status`".to_owned()
        }
        Refused::OtherPrimary => format!(
            "node {peer} is primary in the record; run `lockstep mirror move` there, or \
             `lockstep mirror takeover` here if it is dead"
        ),
        Refused::NotMember { solo_since } => format!(
            "the copy on node {node} is stale: node {peer} has gone on alone for {}; bring node \
             {peer} back, then this copy is resynced by itself",
            age(wall_ms.saturating_sub(*solo_since))
        ),
        Refused::BadCopy => format!(
            "the copy on node {node} is not whole or its disk failed; look at \
             `lockstep mirror status` and let it resync from node {peer}"
        ),
        Refused::NoMark => format!(
            "node {node} rebooted while node {peer} went on, so writes may be missing here; bring \
             node {peer} back, or run `lockstep mirror force-promote` and accept the loss"
        ),
        Refused::PeerAlive => {
            format!("node {peer} is alive; run `lockstep mirror move` there instead")
        }
        Refused::NotInSync => format!(
            "node {peer} is not connected and in sync; wait for the resync to end \
             (`lockstep mirror status`)"
        ),
        Refused::NotPrimary => {
            format!("node {node} is not primary; run this on the primary node")
        }
        Refused::AlreadyPrimary => format!("node {node} is primary already; nothing to do"),
        Refused::Lost => format!(
            "node {peer} changed the record first and has won; this node follows it, run \
             `lockstep mirror status`"
        ),
        Refused::ArbiterAway => "the arbiter does not answer and nothing was changed; see \
             `arbiter` in `lockstep mirror status`"
            .to_owned(),
        Refused::ArbiterRolledBack => "the arbiter holds an older record than this node has \
             seen: it was deleted or restored; bring the right one back"
            .to_owned(),
        Refused::EngineAway => {
            "the engine does not run; start it (`systemctl start lockstep-engine`)".to_owned()
        }
        Refused::Engine(word) => format!("the engine refused: {word}; see its log"),
        Refused::Busy => {
            "another request is under way; wait for it (`lockstep mirror status`)".to_owned()
        }
    };
    Refusal { code: code(refused).to_owned(), message: format!("volume {volume}: {because}") }
}

/// Stable word and sentence of a wait.
pub fn waiting(waiting: Waiting, node: NodeId) -> (&'static str, String) {
    let peer = node.peer();
    match waiting {
        Waiting::Arbiter => ("arbiter", "for the arbiter to answer".to_owned()),
        Waiting::Engine => ("engine", "for the engine to carry out a command".to_owned()),
        Waiting::Evidence => ("evidence", format!("for node {peer} to be silent long enough")),
        Waiting::Lease => ("lease", format!("for the lease of node {peer} to be over")),
        Waiting::Reconcile => {
            ("reconcile", format!("for the last writes to be made equal with node {peer}"))
        }
        Waiting::BootGrace => {
            ("boot-grace", format!("for node {peer} to be heard, or the boot grace to pass"))
        }
    }
}
