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

/// What a monitor of the volume called `name` makes of it: only red is wrong.
pub fn judge(name: &str, status: &Status) -> Found {
    match colour(status) {
        (Colour::Red, why) => Found::Wrong(format!("mirror {name}: {why}")),
        (Colour::Green | Colour::Yellow, _) => Found::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_engine::units::{BootId, Generation, NodeId, Role, StartId, VolumeId};

    /// A primary whose copies are equal.
    fn in_sync() -> Status {
        Status {
            boot: BootId(7),
            start: StartId(1),
            role: Role::Primary,
            disk: DiskState::UpToDate,
            peer_disk: Some(DiskState::UpToDate),
            peer_role: Some(Role::Secondary),
            generation: Generation(3),
            link: LinkState::Up,
            mirror: Mirror::InSync,
            ..Status::at_rest(VolumeId(5), NodeId::A)
        }
    }

    #[test]
    fn equal_copies_are_green_work_on_them_is_yellow_and_both_are_fine() {
        assert_eq!(colour(&in_sync()).0, Colour::Green);
        assert_eq!(judge("data", &in_sync()), Found::Fine);
        for mirror in [Mirror::SyncSource, Mirror::SyncTarget, Mirror::Growing, Mirror::Holding] {
            let status = Status { mirror, ..in_sync() };
            assert_eq!(colour(&status).0, Colour::Yellow, "{mirror:?}");
            assert_eq!(judge("data", &status), Found::Fine);
        }
    }

    #[test]
    fn one_good_copy_or_none_is_red_and_wrong() {
        let paused = Status { mirror: Mirror::SyncSource, sync_paused: true, ..in_sync() };
        let bad = [
            paused,
            Status { mirror: Mirror::Solo, ..in_sync() },
            Status { split_brain: true, ..in_sync() },
            Status { disk: DiskState::Failed, ..in_sync() },
            Status { disk: DiskState::Outdated, ..in_sync() },
            Status { peer_disk: Some(DiskState::Failed), ..in_sync() },
            Status { mirror: Mirror::Idle, link: LinkState::Down, ..in_sync() },
        ];
        for status in bad {
            assert_eq!(colour(&status).0, Colour::Red, "{status:?}");
            let found = judge("data", &status);
            assert!(matches!(found, Found::Wrong(why) if why.starts_with("mirror data: ")));
        }
    }
}
