//! What one side of the heartbeats knows of the other: pure, told of packets, asked for packets.
//! Always: a packet counts as a sign of life only if it is addressed to this life of this daemon
//! and is newer than the last one; so no recorded packet, however old, keeps a dead node alive.
//! An answer given is the sequence and tick of a packet that counted; for each group it is given
//! or kept back (R13). The same packet goes over every interconnect: the first copy counts, the
//! others show that their path works. Survives: reordering, duplicates, restarts of either side.

use super::packet::{Answer, GroupBeat, Packet, Pair, open, seal};
use crate::decide::event::{Event, PeerBeat};
use lockstep_engine::units::{BootId, GroupId, Nonce, Tick, Version};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Former lives of the peer that are remembered as dead. When the list is full this side takes a
/// new life itself, to which no older packet is addressed.
pub const DEAD_LIVES_MAX: usize = 64;

/// Packets that did not count, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// Of another key, cluster, group, version, or no heartbeats at all.
    pub foreign: u64,
    /// Older than one that has been heard, or of a former life of the peer.
    pub replayed: u64,
    /// Addressed to a former life of this daemon; harmless right after a restart of it.
    pub misaddressed: u64,
}

/// What came out of a packet.
#[derive(Debug, Default)]
pub struct Heard {
    /// For the deciders of the groups.
    pub events: Vec<(GroupId, Event)>,
    /// To be sent at once: the peer does not know this life yet.
    pub reply: Option<Vec<u8>>,
}

/// One interconnect.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    life: Nonce,
    sequence: u64,
    heard: Option<Tick>,
}

/// The peer in its present life.
#[derive(Clone, Debug)]
struct Peer {
    packet: Packet,
    heard: Tick,
}

/// What this node says about a group in each packet, and what it has heard about it.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// The group.
    pub group: GroupId,
    /// Whether the peer's lease on it is extended (R13).
    pub answers: bool,
    /// Released at this version.
    pub released: Option<Version>,
    /// Highest record version known.
    pub record: Option<Version>,
    /// Own proof in the arbiter's store, once it is written.
    pub proof: Option<Nonce>,
    /// How it is doing here.
    pub state: u8,
    /// When the newest heartbeat that extended this node's lease on it was sent.
    answered: Option<Tick>,
}

impl Telling {
    /// Nothing is known of it yet.
    fn new(group: GroupId) -> Telling {
        Telling {
            group,
            answers: true,
            released: None,
            record: None,
            proof: None,
            state: 0,
            answered: None,
        }
    }
}

/// One side of the heartbeats.
pub struct Exchange {
    pair: Pair,
    key: Vec<u8>,
    boot: BootId,
    life: Nonce,
    next_life: fn() -> Option<Nonce>,
    sequence: u64,
    state: u8,
    digest: u128,
    telling: Vec<Telling>,
    peer: Option<Peer>,
    paths: Vec<Path>,
    /// Life that asked to be known and has not answered to this life yet.
    introduced: Option<Nonce>,
    dead: VecDeque<Nonce>,
    dropped: Dropped,
}

/// What an exchange is opened with.
pub struct Opening {
    /// Who talks to whom.
    pub pair: Pair,
    /// Key of the cluster.
    pub key: Vec<u8>,
    /// Boot of this host.
    pub boot: BootId,
    /// The first life.
    pub life: Nonce,
    /// Gives fresh random lives, should many be needed.
    pub next_life: fn() -> Option<Nonce>,
    /// Number of interconnects.
    pub paths: usize,
    /// Groups of the cluster.
    pub groups: Vec<GroupId>,
}

impl Exchange {
    /// Starts a life.
    pub fn new(opening: Opening) -> Exchange {
        Exchange {
            pair: opening.pair,
            key: opening.key,
            boot: opening.boot,
            life: opening.life,
            next_life: opening.next_life,
            sequence: 0,
            state: 0,
            digest: 0,
            telling: opening.groups.iter().map(|group| Telling::new(*group)).collect(),
            peer: None,
            paths: vec![Path::default(); opening.paths],
            introduced: None,
            dead: VecDeque::new(),
            dropped: Dropped::default(),
        }
    }

    /// Begins to speak of these groups, as if nothing had been said of them yet; this side lives
    /// on, and so do the leases that the peer has extended.
    pub fn renew(&mut self, groups: &[GroupId]) {
        let former = std::mem::take(&mut self.telling);
        let renewed = |group: &GroupId| {
            let known = former.iter().find(|telling| telling.group == *group);
            Telling { answered: known.and_then(|known| known.answered), ..Telling::new(*group) }
        };
        self.telling = groups.iter().map(renewed).collect();
    }

    /// This side, as packets name it.
    pub fn life(&self) -> Nonce {
        self.life
    }

    /// What packets say about a group from now on; `None` for one that is not of this cluster.
    /// An answer that is kept back takes effect with the next packet; heartbeats go on.
    pub fn telling(&mut self, group: GroupId) -> Option<&mut Telling> {
        self.telling.iter_mut().find(|telling| telling.group == group)
    }

    /// What packets say about this node from now on.
    pub fn tell_node(&mut self, state: u8, digest: u128) {
        (self.state, self.digest) = (state, digest);
    }

    /// The next packet to the peer.
    pub fn packet(&mut self, now: Tick) -> Vec<u8> {
        let to_life = self
            .peer
            .as_ref()
            .map(|peer| peer.packet.life)
            .or(self.introduced)
            .unwrap_or(Nonce::NONE);
        self.packet_to(to_life, now)
    }

    fn packet_to(&mut self, to_life: Nonce, now: Tick) -> Vec<u8> {
        self.sequence += 1;
        let known = self.peer.as_ref().filter(|peer| peer.packet.life == to_life);
        let answer =
            known.map(|peer| Answer { sequence: peer.packet.sequence, sent: peer.packet.sent });
        let group = |telling: &Telling| GroupBeat {
            group: telling.group,
            answers: telling.answers && answer.is_some(),
            released: telling.released,
            record: telling.record,
            proof: telling.proof,
            state: telling.state,
        };
        let packet = Packet {
            node: self.pair.node,
            state: self.state,
            boot: self.boot,
            life: self.life,
            to_life,
            digest: self.digest,
            sequence: self.sequence,
            sent: now,
            answer,
            groups: self.telling.iter().map(group).collect(),
        };
        seal(&packet, &self.pair, &self.key)
    }

    /// Takes one datagram that came over the interconnect at that place.
    pub fn handle(&mut self, raw: &[u8], path: usize, now: Tick) -> Heard {
        match open(raw, &self.pair, &self.key) {
            Ok(packet) => self.accept(packet, path, now),
            Err(reason) => {
                self.dropped.foreign += 1;
                tracing::debug!(?reason, "foreign heartbeat dropped");
                Heard::default()
            }
        }
    }

    fn accept(&mut self, packet: Packet, path: usize, now: Tick) -> Heard {
        if self.dead.contains(&packet.life) {
            self.dropped.replayed += 1;
            return Heard::default();
        }
        if packet.to_life != self.life {
            return self.introduce(&packet, now);
        }
        if !self.is_new_on(path, &packet, now) {
            self.dropped.replayed += 1;
            return Heard::default();
        }
        let former = self.peer.as_ref().map(|peer| (peer.packet.life, peer.packet.sequence));
        match former {
            // A copy of one that has been heard over another interconnect.
            Some((life, last)) if life == packet.life && packet.sequence <= last => {
                return Heard::default();
            }
            Some((life, _)) if life != packet.life => self.bury(life),
            _ => {}
        }
        self.introduced = None;
        let mut events = Vec::new();
        for own in &mut self.telling {
            // A peer that says nothing about a group is alive all the same.
            let said = packet.groups.iter().find(|beat| beat.group == own.group);
            let beat = PeerBeat {
                boot: packet.boot,
                released: said.and_then(|beat| beat.released),
                version: said.and_then(|beat| beat.record),
            };
            events.push((own.group, Event::Heartbeat(beat)));
            let answer = packet.answer.filter(|answer| {
                let possible = answer.sequence <= self.sequence && answer.sent <= now;
                let newer = own.answered.is_none_or(|last| answer.sent > last);
                said.is_some_and(|beat| beat.answers) && possible && newer
            });
            if let Some(Answer { sent, .. }) = answer {
                own.answered = Some(sent);
                events.push((own.group, Event::HeartbeatAnswered { sent }));
            }
        }
        self.peer = Some(Peer { packet, heard: now });
        Heard { events, reply: None }
    }

    /// Whether a packet is the newest of its life that came this way: a sign of life of the path.
    fn is_new_on(&mut self, path: usize, packet: &Packet, now: Tick) -> bool {
        let Some(path) = self.paths.get_mut(path) else { return false };
        if path.life == packet.life && packet.sequence <= path.sequence {
            return false;
        }
        *path = Path { life: packet.life, sequence: packet.sequence, heard: Some(now) };
        true
    }

    /// The peer does not know this life: its packet proves nothing, but it is told who is here.
    fn introduce(&mut self, packet: &Packet, now: Tick) -> Heard {
        self.dropped.misaddressed += u64::from(packet.to_life.is_some());
        let known = self.peer.as_ref().is_some_and(|peer| peer.packet.life == packet.life);
        if !known {
            self.introduced = Some(packet.life);
        }
        Heard { events: Vec::new(), reply: Some(self.packet_to(packet.life, now)) }
    }

    /// A former life of the peer is never believed again.
    fn bury(&mut self, life: Nonce) {
        self.dead.push_back(life);
        if self.dead.len() < DEAD_LIVES_MAX {
            return;
        }
        if let Some(fresh) = (self.next_life)() {
            self.life = fresh;
            self.dead.clear();
        }
    }

    /// When the peer was last heard, over any interconnect.
    pub fn heard(&self) -> Option<Tick> {
        self.peer.as_ref().map(|peer| peer.heard)
    }

    /// When the peer was last heard over each interconnect.
    pub fn heard_over(&self) -> impl Iterator<Item = Option<Tick>> {
        self.paths.iter().map(|path| path.heard)
    }

    /// When the newest heartbeat that extended this node's lease on the group was sent.
    pub fn answered(&self, group: GroupId) -> Option<Tick> {
        self.telling.iter().find(|own| own.group == group).and_then(|own| own.answered)
    }

    /// What the peer said last.
    pub fn peer(&self) -> Option<&Packet> {
        self.peer.as_ref().map(|peer| &peer.packet)
    }

    /// What the peer said last about a group.
    pub fn peer_group(&self, group: GroupId) -> Option<&GroupBeat> {
        self.peer()?.groups.iter().find(|beat| beat.group == group)
    }

    /// Whether the peer's lease on the group is extended.
    pub fn answering(&self, group: GroupId) -> bool {
        self.telling.iter().any(|own| own.group == group && own.answers)
    }

    /// Counts of packets that did not count.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
