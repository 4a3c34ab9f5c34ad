//! From facts to the four answers.

use super::words::{age, bytes, percent};
use super::{Colour, Parted, Summary};
use crate::act::arbiter::Health;
use crate::decide::node::Safety;
use crate::decide::{EvidenceView, View};
use lockstep_engine::units::{
    BLOCK_BYTES, DiskState, Generation, LinkState, Members, Mirror, NodeId, Role, Status,
    VolumeRecord,
};
use std::path::Path;

/// Where it stands what to do when both copies went on alone.
const PARTED_SECTION: &str = "RUNBOOK.md, \"Histories that parted\"";

/// What the answers are made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// This node.
    pub node: NodeId,
    /// The volume's name.
    pub volume: &'a str,
    /// Engine's status; absent while it is not connected.
    pub engine: Option<&'a Status>,
    /// Why the engine that the daemon started does not run; absent while that is not known.
    pub engine_trouble: Option<&'a str>,
    /// What the engine is started with.
    pub engine_file: &'a Path,
    /// The decider's knowledge.
    pub view: &'a View,
    /// Whether any one node may be lost, and if not, why.
    pub safety: &'a Safety,
    /// Both copies went on alone.
    pub parted: Option<&'a Parted>,
    /// The store.
    pub arbiter: &'a Health,
    /// The peer's daemon is heard.
    pub peer_heard: bool,
    /// Wall clock, to tell ages.
    pub wall_ms: u64,
}

impl Facts<'_> {
    /// The newest record known, from the arbiter or the engine.
    pub fn record(&self) -> Option<VolumeRecord> {
        let of_engine = self.engine.and_then(|engine| engine.record);
        let of_arbiter = self.view.record.as_ref().and_then(|record| {
            let volume = self.engine.map(|engine| engine.volume);
            let volume = volume.or(record.volumes.first().map(|entry| entry.volume))?;
            record.for_volume(volume)
        });
        match (of_arbiter, of_engine) {
            (Some(one), Some(other)) => {
                Some(if one.version >= other.version { one } else { other })
            }
            (one, other) => one.or(other),
        }
    }

    fn dirty_bytes(&self) -> u64 {
        self.engine.map_or(0, |engine| engine.dirty_blocks.saturating_mul(BLOCK_BYTES))
    }

    /// Who holds every acknowledged write alone.
    fn alone(&self, record: &VolumeRecord) -> Option<NodeId> {
        [NodeId::A, NodeId::B].into_iter().find(|node| record.members == Members::only(*node))
    }
}

/// Summarises.
pub fn summarise(facts: &Facts<'_>) -> Summary {
    let record = facts.record();
    let (safe, safe_why) = safety(facts, record.as_ref());
    let (colour, mirror) = mirror(facts, record.as_ref());
    Summary {
        colour,
        mirror,
        runs_on: runs_on(facts, record.as_ref()),
        safe,
        safe_why,
        rpo: rpo(facts, record.as_ref()),
        next: next(facts, record.as_ref()),
        alarms: alarms(facts),
        split_brain: facts.parted.is_some(),
    }
}

fn runs_on(facts: &Facts<'_>, record: Option<&VolumeRecord>) -> Option<NodeId> {
    match facts.engine {
        Some(engine) if engine.role == Role::Primary => Some(facts.node),
        Some(engine) if engine.link == LinkState::Up && engine.peer_role == Some(Role::Primary) => {
            Some(facts.node.peer())
        }
        // Without a word from a living engine the record only says who may serve.
        _ => record
            .and_then(|record| record.primary)
            .filter(|primary| *primary != facts.node && !facts.peer_silent()),
    }
}

impl Facts<'_> {
    fn peer_silent(&self) -> bool {
        !self.peer_heard
    }
}

fn mirror(facts: &Facts<'_>, record: Option<&VolumeRecord>) -> (Colour, String) {
    if facts.parted.is_some() {
        let told = "SPLIT BRAIN: both copies went on alone, each has writes that the other lacks";
        return (Colour::Red, told.to_owned());
    }
    let Some(engine) = facts.engine else {
        return (Colour::Grey, "unknown: the engine here does not run".to_owned());
    };
    if engine.disk == DiskState::Failed {
        return (Colour::Red, "the disk here failed".to_owned());
    }
    let Some(record) = record else {
        return (Colour::Grey, "not created yet".to_owned());
    };
    let share = percent(engine.sync_done_blocks, engine.sync_total_blocks);
    let both = record.members == Members::BOTH;
    match engine.mirror {
        Mirror::InSync if both => (Colour::Green, "in sync".to_owned()),
        // It follows a primary that has not begun to fill it.
        Mirror::InSync => (Colour::Yellow, "connected, the resync has not begun yet".to_owned()),
        Mirror::SyncSource => (Colour::Yellow, format!("resync to the peer, {share} % done")),
        Mirror::SyncTarget => (Colour::Yellow, format!("resync from the peer, {share} % done")),
        Mirror::Growing => (Colour::Yellow, "copies are equal, joining".to_owned()),
        Mirror::Reconciling => {
            (Colour::Yellow, "making the last writes before a crash equal".to_owned())
        }
        Mirror::Holding => {
            (Colour::Red, "writes are held until the membership is decided".to_owned())
        }
        Mirror::Solo => (Colour::Red, "runs on one copy alone".to_owned()),
        Mirror::Idle if both && engine.link == LinkState::Up && engine.dirty_blocks == 0 => {
            (Colour::Green, "stopped, both copies are equal".to_owned())
        }
        Mirror::Idle if both => (Colour::Red, "not connected to the peer".to_owned()),
        Mirror::Idle => (Colour::Red, "one copy is stale".to_owned()),
    }
}

fn safety(facts: &Facts<'_>, record: Option<&VolumeRecord>) -> (bool, String) {
    if facts.engine.is_none() || record.is_none() {
        return (false, "unknown without engine and record".to_owned());
    }
    if facts.parted.is_some() {
        return (false, "each copy has writes that the other one lacks".to_owned());
    }
    match facts.safety.against.first() {
        Some((lost, why)) => (false, format!("if node {lost} is lost: {}", why.told(*lost))),
        None if facts.safety.manual => {
            (true, "every write is on both nodes; a takeover has to be asked for".to_owned())
        }
        None => (true, "every acknowledged write is on both nodes".to_owned()),
    }
}

fn rpo(facts: &Facts<'_>, record: Option<&VolumeRecord>) -> String {
    let Some(record) = record else { return "unknown: no record yet".to_owned() };
    let since = age(facts.wall_ms.saturating_sub(record.since));
    if let Some(parted) = facts.parted {
        return parted_words(facts, parted, &since);
    }
    let Some(node) = facts.alone(record) else { return rpo_of_both(facts, record) };
    let stale = node.peer();
    match facts.engine {
        Some(engine) if node == facts.node && engine.dirty_blocks > 0 => format!(
            "node {stale} is stale for {since}: about {} would be lost if it were used now",
            bytes(facts.dirty_bytes())
        ),
        None if node == facts.node => format!(
            "node {stale} is stale for {since}: how much it lacks is not known while the engine \
             here does not run"
        ),
        _ => format!("node {stale} is stale for {since}: it must not be used before a resync"),
    }
}

/// Both nodes are members: nothing is lost with one of them, whether they are connected or not.
fn rpo_of_both(facts: &Facts<'_>, record: &VolumeRecord) -> String {
    let version = record.version.0;
    let Some(engine) = facts.engine else {
        return format!(
            "0 by the newest record known here (version {version}): both nodes are members; the \
             engine here does not run"
        );
    };
    if record.members != Members::BOTH {
        return format!("unknown: the record (version {version}) names no member");
    }
    if engine.link == LinkState::Up {
        return match engine.mirror {
            Mirror::Holding | Mirror::Reconciling => {
                "0: what is not on both nodes yet is not acknowledged".to_owned()
            }
            _ => "0, in sync: both nodes hold every acknowledged write".to_owned(),
        };
    }
    format!(
        "0 by the newest record known here (version {version}): both nodes are members, but they \
         are not connected"
    )
}

fn parted_words(facts: &Facts<'_>, parted: &Parted, since: &str) -> String {
    let short = |generation: Generation| generation.to_string()[..8].to_owned();
    let there = parted.there.map_or("not known here".to_owned(), short);
    let peer = facts.node.peer();
    let here = match facts.dirty_bytes() {
        0 => "how much only this copy has is not known".to_owned(),
        count => format!("about {} written here are not on node {peer}", bytes(count)),
    };
    format!(
        "generation {} here, {there} on node {peer}, apart for {since}: {here}; node {peer} tells \
         its part in its own status",
        short(parted.here)
    )
}

fn next(facts: &Facts<'_>, record: Option<&VolumeRecord>) -> String {
    let (node, peer) = (facts.node, facts.node.peer());
    if facts.parted.is_some() {
        return format!(
            "decide which copy to keep, and run `lockstep mirror discard-local` where the other \
             one is: {PARTED_SECTION}; nothing is merged by itself"
        );
    }
    let Some(engine) = facts.engine else {
        return match facts.engine_trouble {
            Some(_) => {
                "remove what ends the engine here (see alarm); it is started again by itself"
                    .to_owned()
            }
            None => format!(
                "start the engine here (`lockstep-engine run --config {}`)",
                facts.engine_file.display()
            ),
        };
    };
    let Some(record) = record else {
        return "run `lockstep mirror create` on the node whose data counts".to_owned();
    };
    if engine.disk == DiskState::Failed {
        return "replace the disk of this node".to_owned();
    }
    match (record.primary, engine.role) {
        (None, _) if record.members.contains(node) => {
            "run `lockstep mirror start` on the node that should serve".to_owned()
        }
        (None, _) => format!("run `lockstep mirror start` on node {peer}: its copy is the latest"),
        (Some(primary), _) if primary == peer && facts.peer_silent() => {
            if engine.link == LinkState::Up {
                format!("start the daemon of node {peer}: its engine serves, nobody decides there")
            } else if record.members.contains(node) {
                format!("if node {peer} is dead, run `lockstep mirror takeover` here")
            } else {
                format!("bring node {peer} back: its copy is the latest")
            }
        }
        (Some(primary), role) if primary == node && role != Role::Primary => {
            "run `lockstep mirror start` here".to_owned()
        }
        _ if engine.sync_paused => "run `lockstep mirror resume` to let resync go on".to_owned(),
        _ if engine.link != LinkState::Up => {
            format!("look after node {peer} or the link to it; resync follows by itself")
        }
        _ if record.members != Members::BOTH => "wait for the resync to end".to_owned(),
        _ if facts.arbiter.trouble.is_some() => "repair the arbiter".to_owned(),
        _ => {
            let mut moves = facts.safety.against.iter();
            let first = moves.find_map(|(lost, why)| why.next(*lost));
            first.unwrap_or_else(|| "nothing".to_owned())
        }
    }
}

fn alarms(facts: &Facts<'_>) -> Vec<String> {
    let peer = facts.node.peer();
    let mut alarms = Vec::new();
    if let (None, Some(trouble)) = (facts.engine, facts.engine_trouble) {
        alarms.push(format!("the engine here has ended: {trouble}"));
    }
    if let Some(trouble) = &facts.arbiter.trouble {
        alarms.push(format!("arbiter ({}): {trouble}", facts.arbiter.store));
    }
    let linked = facts.engine.is_some_and(|engine| engine.link == LinkState::Up);
    if facts.peer_silent() {
        alarms.push(if linked {
            format!("no heartbeats of node {peer}, whose engine is connected: is its daemon up?")
        } else {
            format!("no heartbeats of node {peer}: takeover or move can't be agreed on")
        });
    }
    match facts.view.evidence {
        EvidenceView::HalfSilent if !facts.peer_silent() => {
            let told = "the link is silent, its heartbeats are not: check the link's network";
            alarms.push(format!("node {peer}: {told}"));
        }
        // The heartbeats are, and that was just said.
        EvidenceView::HalfSilent => {}
        EvidenceView::Silent => alarms.push(format!("node {peer} is silent on every path")),
        EvidenceView::Released => alarms.push(format!("node {peer} has released the group")),
        EvidenceView::None => {}
    }
    if facts.view.fenced {
        alarms.push("the engine here was fenced at the end of its lease".to_owned());
    }
    if facts.view.attempt.is_some() {
        alarms.push("a change of the record is not decided yet; answers wait for it".to_owned());
    }
    let Some(engine) = facts.engine else { return alarms };
    if engine.verify_mismatches > 0 {
        alarms.push(format!(
            "the last verify found {} blocks that differed; check the disks",
            engine.verify_mismatches
        ));
    }
    if engine.sync_paused {
        alarms.push("resync is paused by an operator".to_owned());
    }
    if engine.counters.reads_repaired > 0 {
        alarms.push(format!(
            "{} reads failed on the disk here and came from the peer",
            engine.counters.reads_repaired
        ));
    }
    alarms
}
