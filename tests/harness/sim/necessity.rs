//! Whether the group can be brought up without an operator's force, from what is on the disks and
//! in the arbiter, not from what the nodes say (P5). Asked after healing only: every network
//! passes, the arbiter answers, and whatever can run does.
//! Always: what is called a way is a transition of SAFETY §1.1 that its table allows right now.

use super::judge::index;
use super::partition;
use super::world::World;
use lockstep_ctl::decide::record::{Record, VolumeEntry};
use lockstep_engine::format::recover::TailVerdict;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{DiskState, InSyncMark, Members, NodeId};

/// What keeps a node from being the one that brings the group up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// Not in the record: its copy is old.
    NotMember,
    /// What can't be read of its cluster partition can't be trusted.
    PartitionLost,
    /// Its data device is another one, or was set back.
    DeviceReplaced,
    /// Its device refused a write.
    DeviceFailed,
    /// Its copy has to be filled.
    Inconsistent,
    /// Its copy is of another history than the record's.
    OtherHistory,
    /// It may miss what the owner has answered: it rebooted since it was last in sync (R42), and
    /// the owner's copy is gone.
    NoMark,
    /// The same, but its host has not rebooted: an engine that had reported from memory
    /// (`received`) was restarted, or the copy has failed in between.
    MarkDropped,
    /// The owner has never been in sync with it in this generation.
    NeverMarked,
}

impl Obstacle {
    /// Whether only a fault of a device explains it.
    const fn is_damage(self) -> bool {
        use Obstacle::{MarkDropped, NeverMarked, NoMark, NotMember};
        !matches!(self, NotMember | NoMark | MarkDropped | NeverMarked)
    }

    /// As the run's output says it.
    pub const fn words(self) -> &'static str {
        match self {
            Obstacle::NotMember => "is no member",
            Obstacle::PartitionLost => "lost its cluster partition",
            Obstacle::DeviceReplaced => "lost its data device",
            Obstacle::DeviceFailed => "has a failed data device",
            Obstacle::Inconsistent => "has a copy that must be filled",
            Obstacle::OtherHistory => "has another history",
            Obstacle::NoMark => "has rebooted and holds no mark",
            Obstacle::MarkDropped => "has lost its mark on this boot",
            Obstacle::NeverMarked => "was never in sync in this generation",
        }
    }
}

/// How a node may bring the group up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A plain `start`.
    Start,
    /// `start`, with the operator's word that the peer serves nothing: its engine does not run, or
    /// its device failed, while its daemon is heard.
    StartAlone,
    /// `takeover`.
    Takeover,
    /// `takeover`, once the operator has silenced the owner: its engine does not run, so that
    /// nothing can be released, while its daemon is heard.
    TakeoverFromSilence,
}

impl World {
    /// The way that is open to a node, or what stands in it.
    pub fn way(&self, node: NodeId) -> Result<Way, Obstacle> {
        let Some(record) = &self.arbiter.record else { return Err(Obstacle::NotMember) };
        let entry = &record.volumes[0];
        self.sound(node, record, entry)?;
        let peer = node.peer();
        let beside = self.sound(peer, record, entry);
        let runs = self.hosts[index(peer)].engine.is_some();
        if record.owner == Some(peer) {
            // A sound owner has a way of its own, with all that this node holds.
            return match (self.is_marked(node, entry), runs) {
                (false, _) => Err(self.why_unmarked(node, entry)),
                (true, true) => Ok(Way::Takeover),
                (true, false) => Ok(Way::TakeoverFromSilence),
            };
        }
        let told = matches!(beside, Err(Obstacle::PartitionLost | Obstacle::DeviceFailed));
        let alone = entry.members == Members::only(node);
        Ok(if alone || !told { Way::Start } else { Way::StartAlone })
    }

    /// The first node with a way, and its way.
    pub fn way_out(&self) -> Option<(NodeId, Way)> {
        [NodeId::A, NodeId::B].into_iter().find_map(|node| Some((node, self.way(node).ok()?)))
    }

    /// What stands in the way of both, as the run's output counts it. The owner comes first.
    pub fn why_none(&self) -> String {
        let owner = self.arbiter.record.as_ref().and_then(|record| record.owner);
        let first = owner.unwrap_or(NodeId::A);
        let says = |node: NodeId| match (self.way(node), self.hosts[index(node)].suspect()) {
            (Ok(_), _) => "has a way".to_owned(),
            (Err(why), Some(fault)) if why.is_damage() => format!("{} ({fault})", why.words()),
            (Err(why), _) => why.words().to_owned(),
        };
        let (one, other) = (says(first), says(first.peer()));
        match owner {
            Some(_) => format!("the owner {one}, the other {other}"),
            None if one == other => format!("nobody owns it, each {one}"),
            None => {
                let [one, other] = if one < other { [one, other] } else { [other, one] };
                format!("nobody owns it, one {one}, one {other}")
            }
        }
    }

    /// A member whose copy, or whose mark, is worth nothing although nothing ever happened to its
    /// devices.
    pub fn spoiled_by_itself(&self) -> Option<(NodeId, Obstacle)> {
        let written = self.plan.ack == AckMode::Written;
        [NodeId::A, NodeId::B].into_iter().find_map(|node| {
            let obstacle = self.way(node).err()?;
            let bad = obstacle.is_damage() || (obstacle == Obstacle::MarkDropped && written);
            let spared = self.hosts[index(node)].suspect().is_none() && bad;
            spared.then_some((node, obstacle))
        })
    }

    /// The promote conditions of §1.1, on what the disks hold.
    fn sound(&self, node: NodeId, record: &Record, entry: &VolumeEntry) -> Result<(), Obstacle> {
        if !entry.members.contains(node) {
            return Err(Obstacle::NotMember);
        }
        let host = &self.hosts[index(node)];
        let Ok(found) = partition::open(&host.disk, None, &host.serial) else {
            return Err(Obstacle::PartitionLost);
        };
        let kept = matches!(found.tail, TailVerdict::Matches | TailVerdict::OneAhead);
        if !kept || host.content_lost {
            return Err(Obstacle::DeviceReplaced);
        }
        let superblock = &found.superblock;
        if superblock.disk == DiskState::Failed {
            return Err(Obstacle::DeviceFailed);
        }
        if superblock.disk != DiskState::UpToDate || superblock.needs_full {
            return Err(Obstacle::Inconsistent);
        }
        let unadopted = superblock.generation == entry.parent && record.writer == node;
        if superblock.generation != entry.generation && !unadopted {
            return Err(Obstacle::OtherHistory);
        }
        Ok(())
    }

    fn why_unmarked(&self, node: NodeId, entry: &VolumeEntry) -> Obstacle {
        let host = &self.hosts[index(node)];
        match host.marked {
            Some(mark) if mark.generation != entry.generation => Obstacle::NeverMarked,
            Some(mark) if mark.boot == host.boot => Obstacle::MarkDropped,
            Some(_) => Obstacle::NoMark,
            None => Obstacle::NeverMarked,
        }
    }

    fn is_marked(&self, node: NodeId, entry: &VolumeEntry) -> bool {
        let host = &self.hosts[index(node)];
        let mark = Some(InSyncMark { generation: entry.generation, boot: host.boot });
        host.engine.as_ref().is_some_and(|engine| engine.replica.status().mark == mark)
    }
}
