//! The transitions of SAFETY §1.1, as one table of pure functions: the record at version v and the
//! author's facts in, the record at v+1 or a refusal out.
//! Always: no other function makes a record; version rises by one; a write that changes the members
//! to its author alone, and `create`, begin a new generation, every other write copies.

use super::mutant::Mutant;
use super::record::{Record, VolumeEntry};
use super::step::Refused;
use lockstep_engine::units::{
    BootId, ClusterId, DiskState, Epoch, Generation, GroupId, InSyncMark, LinkState, Members, Need,
    NodeId, Nonce, Role, Status, Version, VolumeId,
};
use serde::Serialize;

/// Names of the transitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transition {
    /// The first record.
    Create,
    /// An owner for a group that has none, or that this node owned before its host rebooted.
    Start,
    /// The owner goes on alone.
    Shrink,
    /// Both hold every acknowledged write again.
    Grow,
    /// The secondary becomes owner against a dead primary.
    Takeover,
    /// The owner passes ownership on, in order.
    Move,
    /// Nobody is owner.
    Stop,
    /// An operator makes a copy the truth.
    Force,
    /// The same record with a fresh nonce: closes an attempt on its version (R4), or outdates what
    /// was said of it.
    Close,
}

impl Transition {
    /// The word in logs and status.
    pub const fn name(self) -> &'static str {
        match self {
            Transition::Create => "create",
            Transition::Start => "start",
            Transition::Shrink => "shrink",
            Transition::Grow => "grow",
            Transition::Takeover => "takeover",
            Transition::Move => "move",
            Transition::Stop => "stop",
            Transition::Force => "force",
            Transition::Close => "close",
        }
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// The node.
    pub node: NodeId,
    /// Boot of its host.
    pub boot: BootId,
    /// Fresh nonce of this write.
    pub nonce: Nonce,
    /// Wall clock in milliseconds, for people.
    pub since: u64,
}

/// What the author knows of its copy of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The volume.
    pub volume: VolumeId,
    /// What the copy is worth.
    pub disk: DiskState,
    /// Generation of the data.
    pub generation: Generation,
    /// Id for a new generation, should one begin.
    pub fresh: Generation,
    /// In-sync mark that this node holds.
    pub mark: Option<InSyncMark>,
    /// The link is up.
    pub connected: bool,
    /// What the peer says its copy is worth, while the link is up.
    pub peer_disk: Option<DiskState>,
    /// Regions are still to be made equal with the peer.
    pub differs: bool,
    /// They never will be: what is left of them can be read on neither side.
    pub stuck: bool,
    /// The engine answers no client: it is secondary.
    pub quiet: bool,
    /// What the engine asks for.
    pub need: Option<Need>,
}

/// What the author knows beside its copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// One per volume of the group.
    pub copies: Vec<Copy>,
    /// The boot grace has passed, or the operator says that the peer is dead.
    pub peer_dead: bool,
    /// Evidence of §1.2: silence of link and heartbeats, or a release at this version.
    pub evidence: bool,
    /// The old primary's lease is over, or it has released.
    pub lease_over: bool,
    /// The copies were equal when this node was demoted; nobody has served since.
    pub was_in_sync: bool,
}

impl Copy {
    /// What the engine of a volume says of its copy; `fresh` names a new generation.
    pub fn of(status: &Status, fresh: Generation) -> Copy {
        let connected = status.link == LinkState::Up;
        Copy {
            volume: status.volume,
            disk: status.disk,
            generation: status.generation,
            fresh,
            mark: status.mark,
            connected,
            peer_disk: status.peer_disk.filter(|_| connected),
            differs: status.reconcile_pending,
            stuck: status.reconcile_stuck,
            quiet: status.role == Role::Secondary,
            need: status.need,
        }
    }

    /// Whether the peer is there with a copy that can be made equal to this one.
    pub fn can_reconcile(&self) -> bool {
        let spoiled = matches!(self.peer_disk, Some(DiskState::Inconsistent | DiskState::Failed));
        self.connected && !spoiled && !self.stuck
    }

    /// Whether the peer itself says that its copy has to be filled from another: it wins nothing,
    /// however long it is waited for. A failed one may be mended and may hold what is missing.
    fn is_the_last(&self) -> bool {
        self.connected && self.peer_disk == Some(DiskState::Inconsistent)
    }
}

impl Inputs {
    fn copy(&self, volume: VolumeId) -> Result<&Copy, Refused> {
        self.copies.iter().find(|copy| copy.volume == volume).ok_or(Refused::BadCopy)
    }
}

/// The first record: this node is the member, or both when both disks are blank.
pub fn create(
    record: Option<&Record>,
    (cluster, group): (ClusterId, GroupId),
    both_blank: bool,
    author: Author,
    inputs: &Inputs,
) -> Result<Record, Refused> {
    if record.is_some() {
        return Err(Refused::RecordExists);
    }
    let mut volumes = Vec::new();
    for copy in &inputs.copies {
        if copy.disk == DiskState::Failed {
            return Err(Refused::BadCopy);
        }
        if both_blank && !copy.connected {
            return Err(Refused::NotInSync);
        }
        volumes.push(VolumeEntry {
            volume: copy.volume,
            members: if both_blank { Members::BOTH } else { Members::only(author.node) },
            generation: copy.fresh,
            parent: copy.generation,
        });
    }
    Ok(Record {
        cluster,
        group,
        version: Version(1),
        epoch: Epoch(1),
        owner: None,
        nonce: author.nonce,
        writer: author.node,
        since: author.since,
        forced: false,
        volumes,
    })
}

/// This node serves a group that nobody serves.
pub fn start(record: &Record, author: Author, inputs: &Inputs) -> Result<Record, Refused> {
    if record.owner == Some(author.node.peer()) {
        return Err(Refused::OtherPrimary);
    }
    let mut next = successor(record, author);
    next.epoch = Epoch(record.epoch.0 + 1);
    next.owner = Some(author.node);
    for entry in &mut next.volumes {
        let copy = inputs.copy(entry.volume)?;
        promotable(record, entry, author.node, copy)?;
        if entry.members == Members::only(author.node) {
            continue;
        }
        if copy.connected && !copy.differs {
            continue;
        }
        // R42, §1.2: alone only with proof that nothing acknowledged is missing here, or when a
        // peer that lives had the time to win, or can't win for good. Not beside a peer that can
        // still be made equal.
        let proven = holds_mark(entry, author, copy) || inputs.peer_dead || copy.is_the_last();
        let alone = proven && !copy.can_reconcile();
        if !alone && !Mutant::StartWithoutGrace.on() {
            return Err(Refused::NotInSync);
        }
        set_alone(entry, author.node, copy);
    }
    Ok(next)
}

/// The owner goes on without the peer: with the volumes whose engines hold every answer for it, or
/// with all of them while none serves. The other volumes keep the peer. Without one of them it
/// can't win the group any more (R3).
pub fn shrink(record: &Record, author: Author, inputs: &Inputs) -> Result<Record, Refused> {
    owned(record, author)?;
    let mut next = successor(record, author);
    let quiet = inputs.copies.iter().all(|copy| copy.quiet);
    for entry in &mut next.volumes {
        let copy = inputs.copy(entry.volume)?;
        if quiet || copy.need == Some(Need::Shrink) {
            set_alone(entry, author.node, copy);
        }
    }
    if next.volumes == record.volumes { Err(Refused::Busy) } else { Ok(next) }
}

/// Both nodes hold every acknowledged write of the volumes whose engines say so (R27 1–4 are done);
/// the others stay as they are.
pub fn grow(record: &Record, author: Author, inputs: &Inputs) -> Result<Record, Refused> {
    owned(record, author)?;
    let mut next = successor(record, author);
    for entry in &mut next.volumes {
        let copy = inputs.copy(entry.volume)?;
        let proven = copy.need == Some(Need::Grow) && copy.generation == entry.generation;
        if proven || Mutant::GrowWithoutNeed.on() {
            entry.members = Members::BOTH; // R1, R27
        }
    }
    if next.volumes == record.volumes { Err(Refused::NotInSync) } else { Ok(next) }
}

/// The secondary becomes owner and sole member.
pub fn takeover(record: &Record, author: Author, inputs: &Inputs) -> Result<Record, Refused> {
    if record.owner == Some(author.node) {
        return Err(Refused::AlreadyPrimary);
    }
    let mut next = successor(record, author);
    next.epoch = Epoch(record.epoch.0 + 1);
    next.owner = Some(author.node);
    for entry in &mut next.volumes {
        let copy = inputs.copy(entry.volume)?;
        promotable(record, entry, author.node, copy)?;
        if !holds_mark(entry, author, copy) && !Mutant::TakeoverWithoutMark.on() {
            return Err(Refused::NoMark); // R42
        }
        set_alone(entry, author.node, copy);
    }
    if !inputs.evidence && !Mutant::TakeoverWithoutEvidence.on() {
        return Err(Refused::PeerAlive); // §1.2
    }
    if !inputs.lease_over && !Mutant::TakeoverBeforeLease.on() {
        return Err(Refused::Busy); // R13
    }
    Ok(next)
}

/// The demoted owner passes ownership on.
pub fn move_(record: &Record, author: Author, inputs: &Inputs) -> Result<Record, Refused> {
    owned(record, author)?;
    if !record.has_both() || !inputs.was_in_sync {
        return Err(Refused::NotInSync);
    }
    let mut next = successor(record, author);
    next.epoch = Epoch(record.epoch.0 + 1);
    next.owner = Some(author.node.peer());
    for entry in &next.volumes {
        if !inputs.copy(entry.volume)?.quiet && !Mutant::MoveBeforeDemote.on() {
            return Err(Refused::Busy);
        }
    }
    Ok(next)
}

/// Nobody serves any more; the engine is demoted.
pub fn stop(record: &Record, author: Author, inputs: &Inputs) -> Result<Record, Refused> {
    owned(record, author)?;
    let mut next = successor(record, author);
    next.owner = None;
    for entry in &next.volumes {
        if !inputs.copy(entry.volume)?.quiet {
            return Err(Refused::Busy);
        }
    }
    Ok(next)
}

/// The stop that a release stores before it is announced: while it is open no restart of this node
/// may serve again, whatever becomes of it.
pub fn give_up(record: &Record, author: Author) -> Result<Record, Refused> {
    owned(record, author)?;
    let mut next = successor(record, author);
    next.owner = None;
    Ok(next)
}

/// This copy is the truth because an operator says so.
pub fn force(record: &Record, author: Author, inputs: &Inputs) -> Result<Record, Refused> {
    let mut next = successor(record, author);
    next.epoch = Epoch(record.epoch.0 + 1);
    next.owner = Some(author.node);
    next.forced = true;
    for entry in &mut next.volumes {
        let copy = inputs.copy(entry.volume)?;
        if copy.disk == DiskState::Failed {
            return Err(Refused::BadCopy);
        }
        set_alone(entry, author.node, copy);
    }
    Ok(next)
}

/// The same record at the next version: makes every other write on `record`'s version lose (R4).
pub fn close(record: &Record, author: Author) -> Record {
    Record { forced: record.forced, ..successor(record, author) }
}

/// Promote conditions of §1.1 for every volume.
pub fn may_promote(record: &Record, node: NodeId, inputs: &Inputs) -> Result<(), Refused> {
    for entry in &record.volumes {
        promotable(record, entry, node, inputs.copy(entry.volume)?)?;
    }
    Ok(())
}

/// Whether this node can prove for every volume that its copy misses nothing (R42).
pub fn has_mark(record: &Record, author: Author, inputs: &Inputs) -> bool {
    record
        .volumes
        .iter()
        .all(|entry| inputs.copy(entry.volume).is_ok_and(|copy| holds_mark(entry, author, copy)))
}

fn promotable(
    record: &Record,
    entry: &VolumeEntry,
    node: NodeId,
    copy: &Copy,
) -> Result<(), Refused> {
    if !entry.members.contains(node) && !Mutant::PromoteNotMember.on() {
        return Err(Refused::NotMember { solo_since: record.since }); // R3
    }
    // R8: a history that this node chose itself need not be adopted yet.
    let unadopted = copy.generation == entry.parent && record.writer == node;
    let same_history = copy.generation == entry.generation || unadopted;
    let sound = matches!(copy.disk, DiskState::UpToDate | DiskState::Consistent);
    if (!same_history || !sound) && !Mutant::PromoteNotMember.on() {
        return Err(Refused::BadCopy);
    }
    Ok(())
}

fn holds_mark(entry: &VolumeEntry, author: Author, copy: &Copy) -> bool {
    copy.mark.is_some_and(|mark| mark.generation == entry.generation && mark.boot == author.boot)
}

fn owned(record: &Record, author: Author) -> Result<(), Refused> {
    if record.owner == Some(author.node) { Ok(()) } else { Err(Refused::NotPrimary) }
}

fn successor(record: &Record, author: Author) -> Record {
    Record {
        version: Version(record.version.0 + 1),
        nonce: author.nonce,
        writer: author.node,
        since: author.since,
        forced: false,
        ..record.clone()
    }
}

fn set_alone(entry: &mut VolumeEntry, node: NodeId, copy: &Copy) {
    if entry.members == Members::only(node) {
        return;
    }
    entry.members = Members::only(node);
    entry.generation = copy.fresh;
    entry.parent = copy.generation;
}

#[cfg(test)]
#[path = "transition_tests.rs"]
mod tests;
