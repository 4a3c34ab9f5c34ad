//! What one side of the heartbeats knows of the other: pure, told of packets, asked for packets.
//! Always: a packet counts as a sign of life only if it is addressed to this life of this daemon
//! and is newer than the last one; so no recorded packet, however old, keeps a dead node alive.
//! An answer given is the sequence and tick of a packet that counted. Survives: reordering,
//! duplicates, restarts of either side.

use super::packet::{Answer, Packet, Pair, open, seal};
use crate::decide::event::{Event, PeerBeat};
use lockstep_engine::units::{BootId, Nonce, Tick, Version};
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
    /// For the decider.
    pub events: Vec<Event>,
    /// To be sent at once: the peer does not know this life yet.
    pub reply: Option<Vec<u8>>,
}

/// The peer in its present life.
#[derive(Clone, Copy, Debug)]
struct Peer {
    life: Nonce,
    sequence: u64,
    sent: Tick,
    heard: Tick,
    boot: BootId,
    record: Option<Version>,
    directory: Option<Nonce>,
}

/// What this node says about itself in each packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling {
    /// Released at this version.
    pub released: Option<Version>,
    /// Highest record version known.
    pub record: Option<Version>,
    /// Own nonce in the arbiter's directory, once it is written.
    pub directory: Option<Nonce>,
}

/// One side of the heartbeats.
pub struct Exchange {
    pair: Pair,
    key: Vec<u8>,
    boot: BootId,
    life: Nonce,
    next_life: fn() -> Option<Nonce>,
    sequence: u64,
    answering: bool,
    telling: Telling,
    peer: Option<Peer>,
    /// Life that asked to be known and has not answered to this life yet.
    introduced: Option<Nonce>,
    dead: VecDeque<Nonce>,
    answered: Option<Tick>,
    dropped: Dropped,
}

impl Exchange {
    /// Starts a life. `next_life` gives fresh random lives, should many be needed.
    pub fn new(
        pair: Pair,
        key: Vec<u8>,
        boot: BootId,
        life: Nonce,
        next_life: fn() -> Option<Nonce>,
    ) -> Exchange {
        Exchange {
            pair,
            key,
            boot,
            life,
            next_life,
            sequence: 0,
            answering: true,
            telling: Telling::default(),
            peer: None,
            introduced: None,
            dead: VecDeque::new(),
            answered: None,
            dropped: Dropped::default(),
        }
    }

    /// Answer the peer's heartbeats from now on, or fall silent (R13). Takes effect with the next
    /// packet; heartbeats themselves go on.
    pub fn answer(&mut self, answering: bool) {
        self.answering = answering;
    }

    /// What packets say from now on.
    pub fn telling(&mut self) -> &mut Telling {
        &mut self.telling
    }

    /// The next packet to the peer.
    pub fn packet(&mut self, now: Tick) -> Vec<u8> {
        let to_life = self.peer.map(|peer| peer.life).or(self.introduced).unwrap_or(Nonce::NONE);
        self.packet_to(to_life, now)
    }

    fn packet_to(&mut self, to_life: Nonce, now: Tick) -> Vec<u8> {
        self.sequence += 1;
        let known = self.peer.filter(|peer| peer.life == to_life);
        let answer = known
            .filter(|_| self.answering)
            .map(|peer| Answer { sequence: peer.sequence, sent: peer.sent });
        let packet = Packet {
            node: self.pair.node,
            boot: self.boot,
            life: self.life,
            to_life,
            sequence: self.sequence,
            sent: now,
            answer,
            released: self.telling.released,
            record: self.telling.record,
            directory: self.telling.directory,
        };
        seal(&packet, &self.pair, &self.key).to_vec()
    }

    /// Takes one datagram.
    pub fn handle(&mut self, raw: &[u8], now: Tick) -> Heard {
        match open(raw, &self.pair, &self.key) {
            Ok(packet) => self.accept(&packet, now),
            Err(reason) => {
                self.dropped.foreign += 1;
                tracing::debug!(?reason, "foreign heartbeat dropped");
                Heard::default()
            }
        }
    }

    fn accept(&mut self, packet: &Packet, now: Tick) -> Heard {
        if self.dead.contains(&packet.life) {
            self.dropped.replayed += 1;
            return Heard::default();
        }
        if packet.to_life != self.life {
            return self.introduce(packet, now);
        }
        let same = self.peer.filter(|peer| peer.life == packet.life);
        if same.is_some_and(|peer| packet.sequence <= peer.sequence) {
            self.dropped.replayed += 1;
            return Heard::default();
        }
        if let (None, Some(former)) = (same, self.peer) {
            self.bury(former.life);
        }
        self.introduced = None;
        self.peer = Some(Peer {
            life: packet.life,
            sequence: packet.sequence,
            sent: packet.sent,
            heard: now,
            boot: packet.boot,
            record: packet.record,
            directory: packet.directory,
        });
        let mut events = vec![Event::Heartbeat(PeerBeat {
            boot: packet.boot,
            released: packet.released,
            version: packet.record,
        })];
        if let Some(sent) = self.answer_of(packet, now) {
            self.answered = Some(sent);
            events.push(Event::HeartbeatAnswered { sent });
        }
        Heard { events, reply: None }
    }

    /// The tick of the heartbeat that `packet` answers, when it is the newest one answered so far.
    fn answer_of(&self, packet: &Packet, now: Tick) -> Option<Tick> {
        let answer = packet.answer?;
        let possible = answer.sequence <= self.sequence && answer.sent <= now;
        let newer = self.answered.is_none_or(|last| answer.sent > last);
        (possible && newer).then_some(answer.sent)
    }

    /// The peer does not know this life: its packet proves nothing, but it is told who is here.
    fn introduce(&mut self, packet: &Packet, now: Tick) -> Heard {
        self.dropped.misaddressed += u64::from(packet.to_life.is_some());
        let known = self.peer.is_some_and(|peer| peer.life == packet.life);
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

    /// When the peer was last heard.
    pub fn heard(&self) -> Option<Tick> {
        self.peer.map(|peer| peer.heard)
    }

    /// When the newest heartbeat that the peer answered was sent.
    pub fn answered(&self) -> Option<Tick> {
        self.answered
    }

    /// What the peer wrote into the directory of the arbiter, as last heard.
    pub fn peer_directory(&self) -> Option<Nonce> {
        self.peer.and_then(|peer| peer.directory)
    }

    /// Highest record version that the peer knows, as last heard.
    pub fn peer_record(&self) -> Option<Version> {
        self.peer.and_then(|peer| peer.record)
    }

    /// Boot of the peer's host, as last heard.
    pub fn peer_boot(&self) -> Option<BootId> {
        self.peer.map(|peer| peer.boot)
    }

    /// Whether heartbeats are answered.
    pub fn answering(&self) -> bool {
        self.answering
    }

    /// Counts of packets that did not count.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
