//! What a mirror's status means to people and monitors: a colour, and why. Pure.

use super::spec::Found;
use lockstep_engine::units::{DiskState, LinkState, Mirror, Status};

/// One look at a mirror.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// Both copies are equal, or nothing is written.
    Green,
    /// The copies are being made equal, or it is being decided who goes on.
    Yellow,
    /// There is one good copy or none: losing a node now would hurt.
    Red,
}

/// The colour, and why it is not green.
pub fn colour(status: &Status) -> (Colour, &'static str) {
    if status.split_brain {
        return (Colour::Red, "both copies went on alone: an operator must choose one");
    }
    match status.disk {
        DiskState::Failed => return (Colour::Red, "the disk here has failed"),
        DiskState::Outdated => return (Colour::Red, "the copy here is outdated"),
        _ => {}
    }
    if status.peer_disk == Some(DiskState::Failed) {
        return (Colour::Red, "the disk of the other node has failed");
    }
    match status.mirror {
        Mirror::InSync => (Colour::Green, ""),
        Mirror::Solo => (Colour::Red, "this node goes on alone: the other copy is behind"),
        Mirror::SyncSource | Mirror::SyncTarget if status.sync_paused => {
            (Colour::Red, "resync is paused: the copies differ")
        }
        Mirror::SyncSource | Mirror::SyncTarget => (Colour::Yellow, "resync is under way"),
        Mirror::Growing | Mirror::Reconciling => (Colour::Yellow, "the copies are being aligned"),
        Mirror::Holding => (Colour::Yellow, "writes are held until it is decided who goes on"),
        Mirror::Idle if status.link != LinkState::Up => {
            (Colour::Red, "the other node's copy is not there")
        }
        Mirror::Idle if status.disk == DiskState::Inconsistent => {
            (Colour::Red, "the copy here is incomplete")
        }
        Mirror::Idle => (Colour::Green, ""),
    }
}

/// What a monitor makes of it: only red is wrong.
pub fn judge(status: &Status) -> Found {
    match colour(status) {
        (Colour::Red, why) => Found::Wrong(format!("mirror {}: {why}", status.volume)),
        (Colour::Green | Colour::Yellow, _) => Found::Fine,
    }
}
