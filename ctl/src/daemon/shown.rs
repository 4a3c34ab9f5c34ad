//! What people are shown of an engine's status, where the last line of the engine alone would
//! mislead: pure. Always: copies that parted stay parted until a resync or a new copy ends that,
//! although every attempt of the link to meet begins with a clean slate.

use crate::status::Parted;
use lockstep_engine::units::{DiskState, Generation, Members, Mirror, Role, Status};

/// What earlier lines of an engine have told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// Both copies went on alone.
    pub parted: Option<Parted>,
    /// History of the last record that named the peer alone.
    there: Option<Generation>,
}

impl Shown {
    /// Both copies went on alone: as the engines have found, or by what the records say.
    pub(super) fn apart(&self, status: Option<&Status>, by_records: bool) -> Option<Parted> {
        let here = status.map_or(Generation::NONE, |status| status.generation);
        self.parted.or(by_records.then_some(Parted { here, there: self.there }))
    }

    /// Takes one status; gives it as it is shown.
    pub(super) fn take(&mut self, status: &Status) -> Status {
        let members = status.record.map(|record| record.members);
        let both = members == Some(Members::BOTH);
        if members == Some(Members::only(status.node.peer())) {
            self.there = status.record.map(|record| record.generation);
        }
        if status.split_brain || (self.parted.is_some() && !ends_it(status, both)) {
            self.parted = Some(Parted { here: status.generation, there: self.there });
        } else {
            self.parted = None;
        }
        // A peer tells what its copy is worth when the session begins; that it was filled since is
        // known by what follows from it.
        let filled = status.mirror == Mirror::InSync && status.role == Role::Primary && both;
        let peer_disk = if filled { Some(DiskState::UpToDate) } else { status.peer_disk };
        Status { peer_disk, split_brain: self.parted.is_some(), ..status.clone() }
    }
}

/// Whether the two copies go together again, or the one here is a new one.
fn ends_it(status: &Status, both: bool) -> bool {
    match status.mirror {
        Mirror::SyncSource | Mirror::SyncTarget | Mirror::Growing | Mirror::Reconciling => true,
        Mirror::InSync => both,
        Mirror::Idle | Mirror::Holding | Mirror::Solo => status.needs_full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_engine::units::{
        Epoch, LinkState, NodeId, Nonce, Version, VolumeId, VolumeRecord,
    };

    fn record(version: u64, members: Members, generation: u128) -> Option<VolumeRecord> {
        Some(VolumeRecord {
            version: Version(version),
            epoch: Epoch(1),
            members,
            primary: None,
            generation: Generation(generation),
            parent: Generation(1),
            nonce: Nonce(1),
            writer: NodeId::A,
            since: 5,
            forced: false,
        })
    }

    fn status(members: Members, generation: u128) -> Status {
        Status {
            generation: Generation(2),
            record: record(4, members, generation),
            ..Status::at_rest(VolumeId(5), NodeId::A)
        }
    }

    #[test]
    fn copies_that_parted_stay_so_between_the_attempts_of_the_link_to_meet() {
        let mut shown = Shown::default();
        assert!(!shown.take(&status(Members::only(NodeId::B), 7)).split_brain);
        let mut alone = status(Members::only(NodeId::A), 8);
        alone.mirror = Mirror::Solo;
        alone.split_brain = true;
        assert!(shown.take(&alone).split_brain);
        // The next attempt: the engine has not compared the histories again yet.
        alone.split_brain = false;
        for link in [LinkState::Greeting, LinkState::Up, LinkState::Down] {
            alone.link = link;
            assert!(shown.take(&alone).split_brain, "{link:?}");
        }
        let parted = Parted { here: Generation(2), there: Some(Generation(7)) };
        assert_eq!(shown.parted, Some(parted));
        alone.mirror = Mirror::SyncSource;
        assert!(!shown.take(&alone).split_brain, "the other copy was given up and is filled");
    }

    #[test]
    fn a_standby_that_follows_a_stranger_is_not_in_sync_with_it() {
        let mut shown = Shown::default();
        let mut follows = status(Members::only(NodeId::B), 7);
        follows.split_brain = true;
        shown.take(&follows);
        follows.split_brain = false;
        follows.mirror = Mirror::InSync; // What it says before the first word of the primary.
        assert!(shown.take(&follows).split_brain);
        let formatted = Status { needs_full: true, mirror: Mirror::Idle, ..follows };
        assert!(!shown.take(&formatted).split_brain, "a new copy has no history");
    }

    #[test]
    fn a_copy_that_was_filled_is_shown_as_whole_at_once() {
        let mut shown = Shown::default();
        let mut source = status(Members::only(NodeId::A), 8);
        source.role = Role::Primary;
        source.mirror = Mirror::SyncSource;
        source.peer_disk = Some(DiskState::Inconsistent);
        assert_eq!(shown.take(&source).peer_disk, Some(DiskState::Inconsistent));
        source.record = record(5, Members::BOTH, 8);
        source.mirror = Mirror::InSync;
        assert_eq!(shown.take(&source).peer_disk, Some(DiskState::UpToDate));
    }
}
