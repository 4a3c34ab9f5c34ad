//! Faults: what may go wrong, how often, and what ends it.
//! Always: what would destroy the only good copy is left out (SAFETY lists it as lost); rot and
//! swapped disks come to one node at a time, while the other one is a member with everything.

use super::group_chaos::GroupFault;
use super::judge::index;
use super::link::Kept;
use super::world::{What, World};
use lockstep_ctl::decide::event::Verb;
use lockstep_engine::replica::event::Command;
use lockstep_engine::units::{Epoch, NodeId, Span};
use lockstep_engine::wire::message::Message;

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The network between the engines is cut.
    CutLink,
    /// One direction stalls; the index is the receiver.
    StallLink(NodeId),
    /// The session is reset.
    BreakLink,
    /// Frames take long.
    SlowLink,
    /// No heartbeats either way.
    CutBeats,
    /// No heartbeats to this node.
    DeafBeats(NodeId),
    /// Everything between the nodes is cut.
    CutAll,
    /// A node hears nobody, the arbiter included.
    Isolate(NodeId),
    /// The arbiter is away.
    ArbiterDown,
    /// The arbiter is away for one node.
    ArbiterCut(NodeId),
    /// The arbiter's next reply to a node is lost.
    ArbiterLosesReply(NodeId),
    /// Requests of a node reach the arbiter late.
    ArbiterLate(NodeId),
    /// A host loses power and comes back.
    Power(NodeId),
    /// Both hosts lose power.
    PowerBoth,
    /// SIGKILL of an engine.
    KillEngine(NodeId),
    /// SIGKILL of a daemon.
    KillDaemon(NodeId),
    /// A host stands still.
    Freeze(NodeId),
    /// A disk is slow.
    SlowDisk(NodeId),
    /// Data reads fail.
    ReadErrors(NodeId),
    /// Data writes fail.
    WriteErrors(NodeId),
    /// The cluster partition refuses writes.
    MetaErrors(NodeId),
    /// One block can't be read.
    BadBlock(NodeId),
    /// A frame of an old session or epoch gets past the shell.
    OldFrame(NodeId),
    /// A snapshot of the volume is taken.
    Snapshot(NodeId),
    /// A host goes down; its volume is set back to the snapshot.
    Restore(NodeId),
    /// A host goes down; its data disk is replaced by a blank one.
    Swap(NodeId),
    /// A sector of the cluster partition rots.
    Rot(NodeId),
    /// The engine restarts and reads one page of the cluster partition as another.
    Misread(NodeId),
    /// The arbiter's record is set back to the one before.
    Rollback,
    /// An operator verifies.
    Verify,
    /// An operator pauses resyncs.
    Pause,
    /// An operator moves the volume.
    Move,
    /// An operator stops the volume.
    Stop,
    /// Of a group: see `group_chaos`.
    Group(GroupFault),
}

/// Kinds of faults with their usual weights; the plan of a seed scales each.
pub const KINDS: &[(&str, u64)] = &[
    ("cut-link", 10),
    ("stall-link", 8),
    ("break-link", 12),
    ("slow-link", 4),
    ("cut-beats", 4),
    ("deaf-beats", 4),
    ("cut-all", 8),
    ("isolate", 8),
    ("arbiter-down", 5),
    ("arbiter-cut", 5),
    ("arbiter-loses-reply", 8),
    ("arbiter-late", 8),
    ("power", 16),
    ("power-both", 5),
    ("kill-engine", 16),
    ("kill-daemon", 8),
    ("freeze", 8),
    ("slow-disk", 8),
    ("read-errors", 3),
    ("write-errors", 3),
    ("meta-errors", 3),
    ("bad-block", 4),
    ("old-frame", 12),
    ("snapshot", 5),
    ("restore", 4),
    ("swap", 2),
    ("rot", 3),
    ("move", 6),
    ("stop", 2),
    ("misread", 3),
    ("rollback", 2),
    ("verify", 4),
    ("pause", 2),
];

fn fault(kind: usize, node: NodeId) -> Fault {
    match KINDS[kind].0 {
        "cut-link" => Fault::CutLink,
        "stall-link" => Fault::StallLink(node),
        "break-link" => Fault::BreakLink,
        "slow-link" => Fault::SlowLink,
        "cut-beats" => Fault::CutBeats,
        "deaf-beats" => Fault::DeafBeats(node),
        "cut-all" => Fault::CutAll,
        "isolate" => Fault::Isolate(node),
        "arbiter-down" => Fault::ArbiterDown,
        "arbiter-cut" => Fault::ArbiterCut(node),
        "arbiter-loses-reply" => Fault::ArbiterLosesReply(node),
        "arbiter-late" => Fault::ArbiterLate(node),
        "power" => Fault::Power(node),
        "power-both" => Fault::PowerBoth,
        "kill-engine" => Fault::KillEngine(node),
        "kill-daemon" => Fault::KillDaemon(node),
        "freeze" => Fault::Freeze(node),
        "slow-disk" => Fault::SlowDisk(node),
        "read-errors" => Fault::ReadErrors(node),
        "write-errors" => Fault::WriteErrors(node),
        "meta-errors" => Fault::MetaErrors(node),
        "bad-block" => Fault::BadBlock(node),
        "old-frame" => Fault::OldFrame(node),
        "snapshot" => Fault::Snapshot(node),
        "restore" => Fault::Restore(node),
        "swap" => Fault::Swap(node),
        "rot" => Fault::Rot(node),
        "move" => Fault::Move,
        "misread" => Fault::Misread(node),
        "rollback" => Fault::Rollback,
        "verify" => Fault::Verify,
        "pause" => Fault::Pause,
        _ => Fault::Stop,
    }
}

impl World {
    /// A random fault, and the next one later.
    pub fn chaos(&mut self) {
        if self.healed {
            return;
        }
        let calm = self.plan.calm;
        let next = Span(self.random.within(calm / 10, calm * 2));
        self.queue.after(next, What::Chaos);
        if self.plan.theme.is_some() && self.random.chance(500) {
            return self.play_theme();
        }
        if self.group_chaos() {
            return;
        }
        let total: u64 = self.plan.odds.iter().sum();
        let mut left = self.random.below(total);
        let mut kind = 0;
        while left >= self.plan.odds[kind] {
            left -= self.plan.odds[kind];
            kind += 1;
        }
        let serving = [NodeId::A, NodeId::B].into_iter().find(|node| self.serves(*node));
        let node = match serving {
            Some(node) if self.random.chance(550) => node,
            _ if self.random.chance(500) => NodeId::A,
            _ => NodeId::B,
        };
        let fault = fault(kind, node);
        self.faults += 1;
        self.check_marks("at a fault");
        self.inject(fault, None);
    }

    /// How long a fault lasts: sometimes shorter, sometimes longer than the time-outs.
    fn length(&mut self) -> Span {
        match self.random.below(4) {
            0 => self.delay_us(1_000, 300_000),
            1 => self.delay_us(200_000, 2_500_000),
            2 => self.delay_us(2_000_000, 9_000_000),
            _ => self.delay_us(5_000_000, 20_000_000),
        }
    }

    /// Makes a fault happen; it ends after `length`, drawn when not given.
    pub fn inject(&mut self, fault: Fault, length: Option<Span>) {
        let length = match length {
            Some(length) => length,
            None => self.length(),
        };
        self.say(|| format!("fault {fault:?} for {} ms", length.as_millis()));
        match fault {
            Fault::CutLink
            | Fault::StallLink(_)
            | Fault::CutBeats
            | Fault::DeafBeats(_)
            | Fault::CutAll
            | Fault::Isolate(_)
            | Fault::SlowLink
            | Fault::ArbiterDown
            | Fault::ArbiterCut(_)
            | Fault::ArbiterLate(_) => self.network(fault, true),
            Fault::SlowDisk(_)
            | Fault::ReadErrors(_)
            | Fault::WriteErrors(_)
            | Fault::MetaErrors(_) => self.device(fault, true),
            Fault::BreakLink => return self.break_link(),
            Fault::ArbiterLosesReply(node) => {
                self.arbiter.lose_replies[index(node)] += 1;
                return;
            }
            Fault::Power(node) => self.power_off(node),
            Fault::PowerBoth => {
                self.power_off(NodeId::A);
                self.power_off(NodeId::B);
            }
            Fault::KillEngine(node) => return self.kill_engine(node, Some(length)),
            Fault::KillDaemon(node) => return self.kill_daemon(node, Some(length)),
            Fault::Freeze(node) => {
                let until = self.now().after(length);
                let host = self.host(node);
                host.frozen_until = host.frozen_until.max(until);
                return;
            }
            Fault::BadBlock(node) => return self.bad_block(node),
            Fault::OldFrame(node) => return self.old_frame(node),
            Fault::Snapshot(node) => {
                let taken = self.host(node).disk.snapshot();
                self.host(node).snapshot = Some(taken);
                return;
            }
            Fault::Restore(node) | Fault::Swap(node) => {
                if !self.replace_disk(fault, node) {
                    return;
                }
            }
            Fault::Rot(node) => return self.rot(node),
            Fault::Misread(node) => return self.misread(node, length),
            Fault::Rollback => {
                if !self.roll_back() {
                    return;
                }
            }
            Fault::Pause => self.pause_sync(true),
            Fault::Move | Fault::Stop | Fault::Verify => return self.operator_fault(fault),
            Fault::Group(fault) => {
                if !self.group_fault(fault) {
                    return;
                }
            }
        }
        self.queue.after(length, What::Undo(fault));
    }

    /// Ends a fault.
    pub fn undo(&mut self, fault: Fault) {
        match fault {
            Fault::Power(node) | Fault::Restore(node) | Fault::Swap(node) => self.power_on(node),
            Fault::PowerBoth => {
                self.power_on(NodeId::A);
                let later = self.delay_us(0, 3_000_000);
                self.queue.after(later, What::PowerOn { node: NodeId::B });
            }
            Fault::SlowDisk(_)
            | Fault::ReadErrors(_)
            | Fault::WriteErrors(_)
            | Fault::MetaErrors(_) => self.device(fault, false),
            Fault::Rollback => self.arbiter.roll_forward(),
            Fault::Pause => self.pause_sync(false),
            Fault::Group(fault) => self.end_group_fault(fault),
            _ => self.network(fault, false),
        }
    }

    /// Sets or ends a fault of a network.
    pub fn network(&mut self, fault: Fault, on: bool) {
        let evenly =
            matches!(fault, Fault::CutLink | Fault::StallLink(_) | Fault::SlowLink | Fault::CutAll);
        if !evenly {
            self.network_since = self.now();
        }
        match fault {
            Fault::CutLink => self.stall([true, true], on),
            Fault::StallLink(to) => self.stall([to == NodeId::A, to == NodeId::B], on),
            Fault::SlowLink => {
                self.link.slow = if on { self.random.within(1_000_000, 400_000_000) } else { 0 };
            }
            Fault::CutBeats => self.beats_cut = [on; 2],
            Fault::DeafBeats(node) => self.beats_cut[index(node)] = on,
            Fault::CutAll => {
                self.stall([true, true], on);
                self.beats_cut = [on; 2];
            }
            Fault::Isolate(node) => {
                self.stall([true, true], on);
                self.beats_cut = [on; 2];
                self.arbiter.cut[index(node)] = on;
            }
            Fault::ArbiterDown => self.arbiter.down = on,
            Fault::ArbiterCut(node) => self.arbiter.cut[index(node)] = on,
            Fault::ArbiterLate(node) => {
                let late = self.random.within(100_000_000, 6_000_000_000);
                self.arbiter.late[index(node)] = if on { late } else { 0 };
            }
            _ => {}
        }
    }

    fn stall(&mut self, to: [bool; 2], on: bool) {
        for node in [NodeId::A, NodeId::B] {
            if to[index(node)] {
                if on {
                    self.link.stalled[index(node)] = true;
                } else {
                    self.unstall(node);
                }
            }
        }
    }

    /// Sets or ends a fault of a device.
    pub fn device(&mut self, fault: Fault, on: bool) {
        let slow = self.random.within(20_000_000, 4_000_000_000);
        match fault {
            Fault::SlowDisk(node) => {
                let now = self.now();
                let host = self.host(node);
                host.disk.faults.slow = if on { slow } else { 0 };
                host.pace_since = now;
            }
            Fault::ReadErrors(node) => {
                self.host(node).disk.faults.reads = on;
                self.host(node).hurt |= on;
            }
            Fault::WriteErrors(node) => {
                self.host(node).disk.faults.writes = on;
                if on {
                    self.host(node).spoil("write errors");
                    self.host(node).broken = true;
                }
            }
            Fault::MetaErrors(node) => {
                self.host(node).disk.faults.meta = on;
                if on {
                    self.host(node).spoil("metadata errors");
                    self.host(node).broken = true;
                }
            }
            _ => {}
        }
    }

    /// Resets the session: on both sides, or the reset reaches one side only.
    pub fn break_link(&mut self) {
        let Some(session) = self.link.session else { return };
        let sides = if self.plan.jitter { self.random.within(1, 3) } else { 3 };
        for node in [NodeId::A, NodeId::B] {
            let mask = 1 << index(node);
            if sides & mask != 0 {
                let run = self.host(node).engine.as_ref().map(|engine| engine.run);
                if let Some(run) = run {
                    let soon = self.delay_us(10, 20_000);
                    self.queue.after(soon, What::LinkDown { node, run, session });
                }
            }
        }
    }

    fn bad_block(&mut self, node: NodeId) {
        let block = self.plan.working[self.random.index(self.plan.working.len())];
        self.host(node).disk.bad_blocks.push(block);
    }

    /// Gives a kept frame to a replica as if the shell had not looked at its session.
    pub fn old_frame(&mut self, node: NodeId) {
        let to = index(node);
        let current = self.host(node).engine.as_ref().and_then(|engine| engine.session);
        let epoch = self.arbiter.record.as_ref().map_or(Epoch(0), |record| record.epoch);
        let old_epoch = self.random.chance(400);
        let fits = |kept: &&Kept| {
            kept.to == to
                && if old_epoch {
                    // Fenced are frames that change something; a greeting is not one of them.
                    kept.epoch < epoch
                        && !matches!(kept.message, Message::Hello(_) | Message::Bye(_))
                } else {
                    Some(kept.session) != current
                }
        };
        let found: Vec<Kept> = self.link.kept.iter().filter(fits).cloned().collect();
        let writes = |kept: &&Kept| matches!(kept.message, Message::Write { .. });
        let writes: Vec<Kept> = found.iter().filter(writes).cloned().collect();
        let known = self.hosts[to].engine.as_ref().map(|engine| engine.replica.status().epoch);
        if found.is_empty() {
            return;
        }
        let found = if writes.is_empty() { found } else { writes };
        let kept = found[self.random.index(found.len())].clone();
        // A frame of an older epoch comes in the live session; the receiver must know better.
        let session = match (old_epoch, current) {
            (true, Some(current)) if known > Some(kept.epoch) => current,
            (true, _) => return,
            _ => kept.session,
        };
        self.deliver(node, session, kept.epoch, kept.message, kept.payload);
    }

    /// Whether the peer of this node holds everything, so that this copy may be destroyed.
    fn spare(&self, node: NodeId) -> bool {
        let peer = node.peer();
        let other = &self.hosts[index(peer)];
        self.members().contains(peer) && !other.content_lost && !other.rotted
    }

    fn replace_disk(&mut self, fault: Fault, node: NodeId) -> bool {
        if !self.spare(node) {
            return false;
        }
        let host = self.host(node);
        if matches!(fault, Fault::Restore(_)) {
            // Without a serial only the life counters tell, and they move at most once a minute:
            // a younger snapshot of a file goes unnoticed, which R21 accepts.
            let Some(snapshot) = &host.snapshot else { return false };
            let then = super::partition::lives(&snapshot.as_disk()).map(|(life, _)| life);
            let heard = super::partition::lives(&self.hosts[index(node.peer())].disk);
            if !self.plan.serials && heard.map(|(_, heard)| heard) <= then {
                return false;
            }
        }
        self.power_off(node);
        let host = self.host(node);
        match (&fault, host.snapshot.take()) {
            (Fault::Restore(_), Some(snapshot)) => host.disk.restore(&snapshot),
            (_, kept) => {
                host.snapshot = kept;
                host.disk.swap();
            }
        }
        self.new_device(node);
        true
    }

    /// The data device is another one now.
    pub fn new_device(&mut self, node: NodeId) {
        let name = self.name();
        let host = self.host(node);
        host.content_lost = true;
        host.spoil("a replaced disk");
        if !host.serial.is_empty() {
            host.serial = format!("disk-{node}-{name}");
        }
    }

    fn rot(&mut self, node: NodeId) {
        if !self.spare(node) {
            return;
        }
        let mask = 1 << self.random.below(8);
        let pages = self.hosts[index(node)].disk.pages.len();
        let page = self.random.index(pages);
        let host = self.host(node);
        host.rotted = true;
        host.spoil("rot");
        host.disk.rot(page, mask);
    }

    fn misread(&mut self, node: NodeId, length: Span) {
        if !self.spare(node) {
            return;
        }
        let pages = self.hosts[index(node)].disk.pages.len();
        // The superblock is two pages of many; half of the time it is one of them.
        let near = if self.random.chance(500) { 4.min(pages) } else { pages };
        let mut page = || u64::try_from(self.random.index(near)).expect("a small partition");
        let pair = (page(), page());
        let host = self.host(node);
        host.misread = Some(pair);
        host.rotted = true;
        host.spoil("a misread page");
        self.kill_engine(node, Some(length));
    }

    /// Only while both engines know the record, and no write is under way: nothing can protect a
    /// node that has never heard of what was taken back.
    pub fn roll_back(&mut self) -> bool {
        let newest = self.arbiter.record.as_ref().map(|record| record.version);
        let knows = |node: &NodeId| {
            let engine = self.hosts[index(*node)].engine.as_ref();
            let seen = engine.and_then(|engine| engine.replica.status().record);
            let daemon = self.hosts[index(*node)].daemon.as_ref();
            // One whose reply was lost is written again.
            let open = daemon.is_some_and(|daemon| daemon.brain.decider().view().attempt.is_some());
            seen.map(|record| record.version) == newest && !open
        };
        let done = [NodeId::A, NodeId::B].iter().all(knows) && self.arbiter.roll_back();
        if done {
            self.witness.rolled_back = self.now();
            self.witness.told_older = Default::default();
        }
        done
    }

    /// Tells the engines that serve; a resync of an earlier owner stays paused until it is told.
    pub fn pause_sync(&mut self, paused: bool) {
        for node in [NodeId::A, NodeId::B] {
            if !paused || self.serves(node) {
                self.command_now(node, 0, None, Command::PauseSync { paused });
            }
        }
    }

    fn operator_fault(&mut self, fault: Fault) {
        let serving = [NodeId::A, NodeId::B].into_iter().find(|node| self.serves(*node));
        if let Some(node) = serving {
            match fault {
                Fault::Move => self.operator(node, Verb::Move),
                Fault::Stop => self.operator(node, Verb::Stop),
                _ => self.command_now(node, 0, None, Command::Verify { start: true }),
            }
        }
    }
}
