//! Decides whether what happened was allowed: SAFETY §3.3 P1–P8 and the register check of R43.
//!
//! The judge sees requests and answers of clients, the disks themselves, power losses, and the
//! arbiter's records. It knows nothing of how a replica works. A violation is a sentence; the first
//! one ends the run. What a power loss of every member may take (acknowledged, never flushed) is
//! excused; nothing else is, but by `forgive`, for scenarios in which an operator accepts loss.

use super::disk::{Block, Disk};
use super::register::{Conflict, Register};
use lockstep_engine::units::{Extent, Members, NodeId, Tick, VolumeRecord};
use std::collections::{BTreeMap, VecDeque};

/// Lines of a block's history that a report shows.
const HISTORY_LINES: usize = 30;

/// The judge.
#[derive(Default)]
pub struct Judge {
    registers: BTreeMap<u64, Register>,
    log: BTreeMap<u64, VecDeque<(Tick, NodeId, Line)>>,
    instant: u64,
    /// Node that answered in an epoch (P2).
    acks: BTreeMap<u64, NodeId>,
    /// The first violation.
    pub violation: Option<String>,
    members: Members,
    /// The peer's memory counts as its disk until a flush (`received`).
    in_memory: bool,
    /// Client operations that were answered.
    pub operations: u64,
    now: Tick,
}

/// One line of a block's history.
#[derive(Clone, Copy)]
enum Line {
    Asked(u64),
    Answered(u64),
    GaveUp(u64),
    Read(Block),
    Disk(Block, Block),
    Power,
}

impl Line {
    fn show(self) -> String {
        match self {
            Line::Asked(stamp) => format!("write w{stamp} asked"),
            Line::Answered(stamp) => format!("write w{stamp} answered"),
            Line::GaveUp(stamp) => format!("write w{stamp} not answered"),
            Line::Read(data) => format!("read {}", show(data)),
            Line::Disk(before, after) => format!("disk {} -> {}", show(before), show(after)),
            Line::Power => "power lost".to_owned(),
        }
    }
}

/// Index of a node in arrays.
pub fn index(node: NodeId) -> usize {
    match node {
        NodeId::A => 0,
        NodeId::B => 1,
    }
}

fn both(members: Members) -> Vec<usize> {
    [NodeId::A, NodeId::B].into_iter().filter(|n| members.contains(*n)).map(index).collect()
}

impl Judge {
    /// A judge who has seen nothing yet.
    pub fn new(in_memory: bool) -> Judge {
        Judge { in_memory, ..Judge::default() }
    }

    /// Tells the time, for reports.
    pub fn tell(&mut self, now: Tick) {
        self.now = now;
    }

    /// The next instant: unique, growing.
    pub fn instant(&mut self) -> u64 {
        self.instant += 2;
        self.instant
    }

    /// Records a violation; the first one counts.
    pub fn violate(&mut self, text: String) {
        if self.violation.is_none() {
            self.violation = Some(format!("tick {}: {text}", show_tick(self.now)));
        }
    }

    fn violate_block(&mut self, rule: &str, node: NodeId, block: u64, conflict: &Conflict) {
        let against = match conflict.against {
            Some(other) => format!("contradicts w{other}"),
            None => "was never written, or was overwritten for good".to_owned(),
        };
        let lines = self.history(block);
        self.violate(format!(
            "{rule}: node {node}, block {block}, sector {}: w{} {against}; history:{lines}",
            conflict.sector, conflict.stamp
        ));
    }

    /// The recent history of a block, one line each.
    pub fn history(&self, block: u64) -> String {
        let Some(lines) = self.log.get(&block) else { return String::new() };
        lines.iter().fold(String::new(), |all, (at, node, line)| {
            format!("{all}\n    {} {node}: {}", show_tick(*at), line.show())
        })
    }

    fn note(&mut self, block: u64, node: NodeId, line: Line) {
        let now = self.now;
        let lines = self.log.entry(block).or_default();
        if lines.len() == HISTORY_LINES {
            lines.pop_front();
        }
        lines.push_back((now, node, line));
    }

    /// A client asks for a write of `stamp` (0: zeroes).
    pub fn write_begins(&mut self, node: NodeId, at: Extent, stamp: u64) {
        let instant = self.instant();
        for block in at.blocks() {
            self.registers.entry(block).or_default().begin(stamp, instant);
            self.note(block, node, Line::Asked(stamp));
        }
    }

    /// A write was answered Ok by `node`, which believes to be in `epoch`.
    pub fn write_acked(&mut self, node: NodeId, at: Extent, stamp: u64, fua: bool, epoch: u64) {
        self.operations += 1;
        let instant = self.instant();
        if *self.acks.entry(epoch).or_insert(node) != node {
            self.violate(format!("P2: both nodes answered writes in epoch {epoch}"));
        }
        for block in at.blocks() {
            self.note(block, node, Line::Answered(stamp));
            let register = self.registers.entry(block).or_default();
            let conflict = register.acked(stamp, instant, fua);
            register.prune();
            if let Some(conflict) = conflict {
                self.violate_block("R43 (write)", node, block, &conflict);
            }
        }
    }

    /// P1 at the instant of an answer: the value is on the disk of every member.
    /// What came there before its power loss is excused.
    pub fn on_member(&mut self, at: Extent, stamp: u64, fua: bool, node: NodeId, disk: &Disk) {
        if !self.members.contains(node) {
            return;
        }
        let instant = self.instant();
        for block in at.blocks() {
            let Some(register) = self.registers.get_mut(&block) else { continue };
            if register.value(stamp).is_none_or(|value| value.exposed[index(node)]) {
                continue;
            }
            let mut found = register.legal(disk.current.get(block), instant, false);
            let mut rule = "P1 (acknowledged, not on a member)";
            if found.is_none() && fua {
                found = register.legal(disk.stable.get(block), instant, true);
                rule = "P1 (FUA answered, not stable on a member)";
            }
            if let Some(conflict) = found {
                self.violate_block(rule, node, block, &conflict);
            }
        }
    }

    /// Whether this disk has a write that was answered just now, or a later one, or had it before
    /// its host lost power.
    pub fn has(&mut self, at: Extent, stamp: u64, node: NodeId, disk: &Disk) -> bool {
        let instant = self.instant();
        at.blocks().all(|block| {
            let Some(register) = self.registers.get_mut(&block) else { return true };
            register.value(stamp).is_none_or(|value| value.exposed[index(node)])
                || register.legal(disk.current.get(block), instant, false).is_none()
        })
    }

    /// The write of `stamp` failed, or its connection is gone.
    pub fn write_gave_up(&mut self, node: NodeId, at: Extent, stamp: u64) {
        let instant = self.instant();
        for block in at.blocks() {
            self.note(block, node, Line::GaveUp(stamp));
            self.registers.entry(block).or_default().gave_up(stamp, instant);
        }
    }

    /// A read that began at `begin` has returned `data`.
    pub fn read_done(&mut self, node: NodeId, at: Extent, data: &[Block], begin: u64) {
        self.operations += 1;
        let instant = self.instant();
        for (block, data) in at.blocks().zip(data) {
            self.note(block, node, Line::Read(*data));
            let found = self.registers.entry(block).or_default().read(*data, begin, instant);
            if let Some(conflict) = found {
                self.violate_block("R43 (read)", node, block, &conflict);
            }
        }
    }

    /// A flush that began at `begin` was answered Ok. Returns the blocks that it newly covers.
    pub fn flushed(&mut self, begin: u64) -> Vec<u64> {
        self.operations += 1;
        let covered = self.registers.iter_mut().filter_map(|(block, register)| {
            let any = register.cover(begin);
            register.prune();
            any.then_some(*block)
        });
        covered.collect()
    }

    /// P1 for flushes: what is covered is stable on a member.
    pub fn stable_on(&mut self, blocks: &[u64], node: NodeId, disk: &Disk) {
        if !self.members.contains(node) {
            return;
        }
        let instant = self.instant();
        for block in blocks {
            let Some(register) = self.registers.get(block) else { continue };
            if let Some(conflict) = register.legal(disk.stable.get(*block), instant, true) {
                self.violate_block("P1 (flush answered, not stable)", node, *block, &conflict);
            }
        }
    }

    /// A host lost power, or its disk its content.
    pub fn power_lost(&mut self, node: NodeId) {
        let members = both(self.members);
        for register in self.registers.values_mut() {
            register.expose(index(node));
            register.excuse(&members);
        }
        for block in self.blocks() {
            self.note(block, node, Line::Power);
        }
    }

    /// The arbiter took a record. P1 and P3: whoever is a member now holds everything.
    /// A disk that was replaced after it was filled (`lost`) is caught when it serves. `bound`: the
    /// primary took over, or was started while a peer that lives had more of a right to.
    pub fn record(
        &mut self,
        record: &VolumeRecord,
        before: Members,
        disks: [&Disk; 2],
        lost: [bool; 2],
        bound: bool,
    ) {
        self.members = record.members;
        let taken = record.primary.filter(|_| bound).map(NodeId::peer);
        // Whoever takes over must hold what its own power loss took and the old primary still has;
        // whoever starts alone has waited for a peer that can't have anything more (§1.2).
        let members = both(if bound { before } else { record.members });
        for register in self.registers.values_mut() {
            register.excuse(&members);
        }
        if before == Members::NONE {
            return;
        }
        for node in [NodeId::A, NodeId::B] {
            let joins = record.members.contains(node) && !before.contains(node);
            let takes = taken == Some(node.peer()) && record.members == Members::only(node);
            if !(joins || takes) || lost[index(node)] || record.forced {
                continue;
            }
            let disk = disks[index(node)];
            if takes {
                self.relied_upon(node, None);
            }
            let what = if joins { "became a member" } else { "took over" };
            let rule = format!("P1 ({what} in v{})", record.version.0);
            self.holds(&rule, node, disk, !self.in_memory);
        }
    }

    /// A node says that its copy is equal and stable: what an earlier power loss took from it is
    /// there again where its disk holds it. Not when the record lands that makes it a member: by
    /// then it may have lost power once more, and nobody counts on what it has left (seed 725830).
    pub fn filled(&mut self, node: NodeId, disk: &Disk) {
        self.relied_upon(node, Some(disk));
    }

    /// Where the disk holds it, or everywhere: whoever takes over is relied upon at once.
    fn relied_upon(&mut self, node: NodeId, disk: Option<&Disk>) {
        let instant = self.instant();
        if self.in_memory {
            return;
        }
        for (block, register) in &mut self.registers {
            let held = disk.map(|disk| disk.current.get(*block));
            if held.is_none_or(|held| register.legal(held, instant, false).is_none()) {
                register.rely_on(index(node), held);
            }
        }
    }

    /// The content of this disk must be a legal answer for every block, and stable where covered.
    pub fn holds_all(&mut self, rule: &str, node: NodeId, disk: &Disk) {
        self.holds(rule, node, disk, true);
    }

    /// Whether a disk that was replaced holds everything again.
    pub fn is_filled(&self, disk: &Disk) -> bool {
        let now = self.instant + 2;
        self.registers
            .iter()
            .all(|(block, register)| register.legal(disk.current.get(*block), now, false).is_none())
    }

    fn holds(&mut self, rule: &str, node: NodeId, disk: &Disk, acked: bool) {
        let instant = self.instant();
        let host = index(node);
        let mut found = None;
        for (block, register) in &self.registers {
            // What a power loss took while another member holds it is reconciled before it is read.
            if register.values.iter().any(|value| value.exposed[host]) {
                continue;
            }
            let volatile = disk.current.get(*block);
            let wrong = register
                .legal(volatile, instant, false)
                .filter(|_| acked)
                .or_else(|| register.legal(disk.stable.get(*block), instant, true));
            if let Some(conflict) = wrong {
                found = Some((*block, conflict));
                break;
            }
        }
        if let Some((block, conflict)) = found {
            self.violate_block(rule, node, block, &conflict);
        }
    }

    /// P7 and bookkeeping: a block of a disk has changed.
    pub fn disk_changed(&mut self, node: NodeId, block: u64, before: Block, after: Block) {
        let Some(register) = self.registers.get_mut(&block) else { return };
        // Elsewhere what comes back counts when the node says so (`filled`): until then it may be
        // taken for lost, by whoever made it equal and has lost it since (seed 831914).
        if self.in_memory {
            for (sector, stamp) in after.into_iter().enumerate() {
                if sector == 0 || stamp != after[sector - 1] {
                    register.arrived(stamp, index(node));
                }
            }
        }
        let reverted =
            (0..8).find(|s| before[*s] != after[*s] && register.reverts(*s, before[*s], after[*s]));
        let members = self.members;
        self.note(block, node, Line::Disk(before, after));
        if let Some(sector) = reverted
            && members.contains(node)
        {
            let conflict = Conflict { sector, stamp: after[sector], against: Some(before[sector]) };
            self.violate_block("P7 (older write applied over a newer one)", node, block, &conflict);
        }
    }

    /// P4: blocks that differ between the disks are all marked somewhere.
    pub fn differing_are_marked(
        &mut self,
        disks: [&Disk; 2],
        marked: &dyn Fn(u64) -> bool,
        when: &str,
    ) {
        let bad = self.registers.keys().find(|block| {
            let (a, b) = (disks[0].current.get(**block), disks[1].current.get(**block));
            a != b && !marked(**block)
        });
        if let Some(block) = bad.copied() {
            let (a, b) = (disks[0].current.get(block), disks[1].current.get(block));
            let lines = self.history(block);
            self.violate(format!(
                "P4: block {block} differs ({} on a, {} on b) and is marked nowhere ({when}); \
                 history:{lines}",
                show(a),
                show(b)
            ));
        }
    }

    /// Blocks that clients have touched.
    pub fn blocks(&self) -> Vec<u64> {
        self.registers.keys().copied().collect()
    }

    /// Members in the arbiter's record.
    pub fn members(&self) -> Members {
        self.members
    }

    /// Whether a zero write to this block would be told apart from older zeroes.
    pub fn zero_is_fresh(&self, block: u64) -> bool {
        self.registers.get(&block).is_some_and(|register| {
            let zero = register.values.iter().find(|value| value.stamp == 0);
            let newest = register
                .values
                .iter()
                .filter(|value| value.durable && value.stamp != 0)
                .map(|value| value.begin)
                .max();
            match (zero, newest) {
                (Some(zero), Some(newest)) => zero.end < newest,
                (None, Some(_)) => true,
                _ => false,
            }
        })
    }

    /// An operator accepted loss: start over from what is on the disks.
    pub fn forgive(&mut self, disks: [&Disk; 2]) {
        let blocks: Vec<u64> = self.registers.keys().copied().collect();
        for block in blocks {
            let mut fresh = Register { values: Vec::new() };
            let instant = self.instant();
            let stores = disks.into_iter().flat_map(|disk| [&disk.current, &disk.stable]);
            for stamp in stores.flat_map(|store| store.get(block)) {
                if fresh.value(stamp).is_none() {
                    fresh.begin(stamp, instant);
                }
            }
            self.registers.insert(block, fresh);
        }
    }
}

fn show(data: Block) -> String {
    if data.iter().all(|stamp| *stamp == data[0]) {
        return format!("w{}", data[0]);
    }
    let parts: Vec<String> = data.iter().map(|stamp| format!("w{stamp}")).collect();
    format!("torn[{}]", parts.join(" "))
}

/// Seconds and milliseconds of a tick.
pub fn show_tick(tick: Tick) -> String {
    format!("{}.{:06}s", tick.0 / 1_000_000_000, tick.0 / 1_000 % 1_000_000)
}
