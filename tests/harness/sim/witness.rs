//! Watches from outside what the rules of SAFETY say of order and time: what travels on the link,
//! which heartbeats are answered, which writes are on their way to the arbiter, what the disks say
//! of themselves when a promise is given. A violation names the rule.
//!
//! Nothing here asks a replica or a decider what it believes: only what it did counts. What a node
//! stored is read from its simulated disk, as the next start would find it.

use super::arbiter::Want;
use super::host::ClientOp;
use super::judge::index;
use super::partition;
use super::world::World;
use lockstep_ctl::decide::record::Record;
use lockstep_engine::format::superblock::Superblock;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{
    DiskState, Generation, Members, NodeId, OpenAttempt, Session, Span, Tick, Version, VolumeRecord,
};
use lockstep_engine::wire::message::{Message, SyncKind};
use std::collections::BTreeSet;

/// A report of the engine to its daemon, and the loop turn before it, take this long at most.
const TELLING: Span = Span::millis(2);
/// What was confirmed by a read before the arbiter was set back may still be acted on this long.
const CONFIRMED: Span = Span::millis(3_000);

/// What was seen. Indices are nodes.
#[derive(Default)]
pub struct Witness {
    /// Last frame or heartbeat that came to a node.
    heard: [Tick; 2],
    /// Last answer that a node gave to a ping or a heartbeat.
    answered: [Tick; 2],
    /// Releases that a node has announced.
    releases: BTreeSet<(usize, Version)>,
    /// Session in which a node became the target of a resync that is not a reconciliation.
    target: [Option<Session>; 2],
    /// Resync pieces that a node has sent in a session and not heard of.
    pieces: [(Session, BTreeSet<u64>); 2],
    /// When the arbiter was last set back.
    pub rolled_back: Tick,
    /// Daemons (a, b) to which it has told an older record since, and how often.
    pub told_older: [(u64, u32); 2],
}

impl Witness {
    /// The arbiter, set back, has answered a daemon that knows its engine.
    pub fn told_older(&mut self, node: NodeId, run: u64) {
        let (daemon, times) = &mut self.told_older[index(node)];
        *times = if *daemon == run { *times + 1 } else { 1 };
        *daemon = run;
    }

    /// A daemon says that its node has given up the group at that version.
    pub fn released(&mut self, node: NodeId, version: Option<Version>) {
        self.releases.extend(version.map(|version| (index(node), version)));
    }
}

fn took_over(before: &Record, next: &Record, node: NodeId) -> bool {
    let passed = before.owner == Some(node.peer()) && next.owner == Some(node);
    passed && next.writer == node && !next.forced
}

impl World {
    /// A message leaves for a live session.
    pub fn witness_sent(&mut self, node: NodeId, session: Session, message: &Message) {
        let (since, sent) = &mut self.witness.pieces[index(node)];
        if std::mem::replace(since, session) != session {
            sent.clear();
        }
        match message {
            Message::Pong { .. } => {
                self.witness.answered[index(node)] = self.now();
                self.witness_answering(node, None, "a ping");
            }
            Message::SyncBegin { .. } => sent.clear(),
            Message::UpToDateDone { .. } => {
                self.judge.filled(node, &self.hosts[index(node)].disk);
            }
            Message::SyncWrite { token, .. } => {
                sent.insert(*token);
                let (count, limit) = (sent.len(), self.plan.sync_window);
                if count > limit {
                    self.judge.violate(format!(
                        "R29: node {node}: {count} resync pieces in flight in session \
                         {session:?}, the limit is {limit}"
                    ));
                }
            }
            _ => {}
        }
    }

    /// A frame of the live session comes to a node.
    pub fn witness_frame(&mut self, to: NodeId, session: Session, message: &Message) {
        self.witness.heard[index(to)] = self.now();
        match message {
            Message::SyncBegin { kind, .. } => {
                let target = (*kind != SyncKind::Reconcile).then_some(session);
                self.witness.target[index(to)] = target;
            }
            Message::MakeUpToDate { .. } => self.witness.target[index(to)] = None,
            Message::SyncWrite { .. } if self.witness.target[index(to)] == Some(session) => {
                self.witness_target(to);
            }
            Message::Ack { token, .. } => {
                self.witness.pieces[index(to)].1.remove(token);
            }
            _ => {}
        }
    }

    /// R26: a crash from here on must not leave a half-filled copy that looks whole.
    fn witness_target(&mut self, node: NodeId) {
        let stored = partition::stored(&self.hosts[index(node)].disk);
        if let Some(found) = stored
            && !matches!(found.disk, DiskState::Inconsistent | DiskState::Failed)
        {
            self.judge.violate(format!(
                "R26: node {node} takes resync data while its superblock says {:?}",
                found.disk
            ));
        }
    }

    /// A heartbeat comes to a node, whose daemon answers it or not.
    pub fn witness_beat(&mut self, to: NodeId, answers: bool) {
        let now = self.now();
        self.witness.heard[index(to)] = now;
        if answers {
            self.witness.answered[index(to)] = now;
            let run = self.hosts[index(to)].daemon.as_ref().map(|daemon| daemon.run);
            self.witness_answering(to, run, "a heartbeat");
        }
    }

    /// R13: whoever may be taking over at this moment extends nobody's lease. `run`: only requests
    /// of this daemon count; one that was restarted waits again before it serves.
    fn witness_answering(&mut self, node: NodeId, run: Option<u64>, what: &str) {
        let Some(before) = &self.arbiter.record else { return };
        if self.hosts[index(node)].content_lost {
            // Its stored attempt went with the rest of an old snapshot (seed 702683). Should it
            // land, nothing here may serve under it: this copy has to be filled.
            return;
        }
        let found = self.arbiter.may_land().any(|(request, next)| {
            request.node == node
                && run.is_none_or(|run| run == request.run)
                && took_over(before, next, node)
        });
        if found {
            let text = format!("R13: node {node} answers {what} while its own takeover may land");
            self.judge.violate(text);
        }
    }

    /// A daemon sends a request to the arbiter. Those that can't win harm nobody.
    pub fn witness_request(&mut self, node: NodeId, want: &Want) {
        let (Want::Swap { expected, next }, Some(before)) = (want, &self.arbiter.record) else {
            return;
        };
        if Some(before.version) != *expected {
            return;
        }
        let gives = before.owner == Some(node) && next.owner != Some(node);
        let taken = took_over(before, next, node);
        let released = (index(node.peer()), before.version);
        if gives {
            self.watch_gives(node);
        }
        if gives && self.serves(node) {
            let text = format!("§1.1: node {node} gives the group away while it accepts clients");
            self.judge.violate(text);
            return;
        }
        if taken {
            if self.witness.releases.contains(&released) {
                self.witness_released(node);
            } else {
                self.witness_takeover(node);
            }
        }
    }

    /// §1.2: what was released answers nobody.
    fn witness_released(&mut self, node: NodeId) {
        let peer = node.peer();
        if self.serves(peer) {
            self.judge.violate(format!("§1.2: node {peer} serves what it has released"));
        }
    }

    /// §1.2 and R13: no takeover without silence, nor before the old lease can be over.
    fn witness_takeover(&mut self, node: NodeId) {
        let (now, times) = (self.now(), self.plan.times);
        let heard = self.witness.heard[index(node)];
        let answered = self.witness.answered[index(node)];
        let silent = now < heard.after(TELLING) || now >= heard.after(times.heartbeat_timeout);
        let over = answered.after(times.lease).after(times.fence).after(times.margin);
        if !silent {
            let ago = now.since(heard).as_millis();
            self.judge.violate(format!(
                "§1.2: node {node} takes over {ago} ms after it heard of its peer"
            ));
        } else if now.after(TELLING) < over {
            let ago = now.since(answered).as_millis();
            self.judge.violate(format!(
                "R13: node {node} sends its takeover {ago} ms after its last answer to the primary"
            ));
        }
    }

    /// The arbiter took a record: whoever joins has stored that it is up to date (R27 4).
    pub fn witness_record(&mut self, record: &VolumeRecord, before: Members) {
        if before == Members::NONE || record.forced {
            return;
        }
        for node in [NodeId::A, NodeId::B] {
            let host = &self.hosts[index(node)];
            let joins = record.members.contains(node) && !before.contains(node);
            // A device may fail while the write travels; the owner holds all answers until then.
            let joins = joins && !host.broken;
            let Some(found) = partition::stored(&host.disk).filter(|_| joins) else { continue };
            if !host.content_lost && !is_proven(&found, record) {
                self.judge.violate(format!(
                    "R27: node {node} became a member in v{} while its superblock says {:?}",
                    record.version.0, found.disk
                ));
            }
        }
    }

    /// Whether a copy says of itself that it is a member's under this record.
    pub fn is_proven(&self, node: NodeId, record: &VolumeRecord) -> bool {
        let found = partition::stored(&self.hosts[index(node)].disk);
        found.is_some_and(|found| is_proven(&found, record))
    }

    /// An engine's superblock is durable in both slots.
    pub fn witness_stored(&mut self, node: NodeId) {
        let host = &self.hosts[index(node)];
        let Some(record) = partition::stored(&host.disk).and_then(|found| found.record) else {
            return;
        };
        let newest = self.arbiter.newest().map_or(Version(0), |newest| newest.version);
        if record.version > newest && !record.forced {
            self.judge.violate(format!(
                "R1: node {node} acts on v{}, which the arbiter has not taken",
                record.version.0
            ));
        }
        let open = host.engine.as_ref().is_some_and(|engine| engine.open);
        if open && record.primary != Some(node) {
            self.judge.violate(format!(
                "R14: node {node} accepts clients with v{} on its disk, which names {:?}",
                record.version.0, record.primary
            ));
        }
    }

    /// A write was answered. What the peer does not hold is a promise of this node alone, and its
    /// disk must say so: R4 and R6 (no record, stored or on its way, names the peer), R8 (the
    /// history that the two shared is over).
    pub fn witness_answer(&mut self, node: NodeId, op: &ClientOp, fua: bool) {
        let peer = node.peer();
        let other = &self.hosts[index(peer)];
        let in_memory = self.plan.ack == AckMode::Received && !fua;
        if in_memory || other.content_lost || self.judge.has(op.at, op.stamp, peer, &other.disk) {
            return;
        }
        let Some(found) = partition::stored(&self.hosts[index(node)].disk) else { return };
        let names = |record: &VolumeRecord| record.members.contains(peer);
        // What the arbiter has decided since can't land any more, stored or not.
        let now = self.arbiter.newest().map_or(Version(0), |newest| newest.version);
        let opens = |open: &OpenAttempt| open.expected >= now && names(&open.wanted);
        let wanted = found.record.map_or(Generation::NONE, |record| record.generation);
        let rule = if found.record.as_ref().is_some_and(names) {
            "R6: stores that the peer is a member"
        } else if found.attempts.iter().flatten().any(opens) {
            "R4: stores an open attempt that makes the peer a member"
        } else if found.generation != wanted {
            "R8: stores the generation that both had"
        } else {
            return;
        };
        self.judge.violate(format!(
            "{rule}: node {node} answers w{} at {:?}, which {peer} does not hold",
            op.stamp, op.at
        ));
    }

    /// A node begins to accept clients: no write of its own that gives the group away may land
    /// any more (R4), and the record that it acts on is the arbiter's (§3.1).
    pub fn witness_opening(&mut self, node: NodeId) {
        let away = self.arbiter.may_land().any(|(request, next)| {
            let owner = self.arbiter.record.as_ref().and_then(|record| record.owner);
            request.node == node && owner == Some(node) && next.owner != Some(node)
        });
        if away {
            self.judge.violate(format!(
                "R4: node {node} serves while its own write that gives the group away may land"
            ));
        }
        // Alone under its record it may go on without the arbiter (R10): it has to have been told,
        // and not only by a read that began before it knew of anything newer.
        let daemon = self.hosts[index(node)].daemon.as_ref().map(|daemon| daemon.run);
        let (heard, times) = self.witness.told_older[index(node)];
        let told = daemon == Some(heard) && times > 1;
        let since = self.witness.rolled_back.after(CONFIRMED);
        let forced = self.arbiter.newest().is_some_and(|record| record.forced);
        if self.arbiter.is_rolled_back() && told && since <= self.now() && !forced {
            self.judge.violate(format!(
                "§3.1: node {node} begins to serve while the arbiter holds an older record"
            ));
        }
    }
}

fn is_proven(found: &Superblock, record: &VolumeRecord) -> bool {
    let whole = found.disk == DiskState::UpToDate && !found.needs_full;
    whole && found.generation == record.generation
}
