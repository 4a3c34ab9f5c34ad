//! Heartbeats as the loop sends and hears them.

use super::{Daemon, words};
use crate::act::arbiter::PairView;
use crate::act::clock;
use crate::act::heartbeat::Telling;
use crate::act::peer::{Life, Lives};
use crate::decide::event::Event as Of;
use crate::decide::node::Event;
use crate::decide::settings::GroupIndex;
use lockstep_engine::units::{GroupId, Span, Tick};

/// What of the heartbeats has been told, so that it is told once.
pub(super) struct Late {
    /// All of them are late.
    peer: bool,
    /// Each interconnect is silent.
    paths: Vec<bool>,
    /// The peer runs with another configuration.
    digest: bool,
    /// Only one of link and heartbeats is silent, of each group.
    pub(super) half: Vec<Half>,
}

/// Whether only one of link and heartbeats is silent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Half {
    /// Both, or neither.
    No,
    /// So, from then on.
    Since(Tick),
    /// For so long that it was told.
    Told,
}

impl Late {
    pub(super) fn new(paths: usize, groups: usize) -> Late {
        Late { peer: false, paths: vec![false; paths], digest: false, half: vec![Half::No; groups] }
    }
}

impl Daemon {
    pub(super) fn group_id(&self, group: GroupIndex) -> GroupId {
        self.view.groups.get(group.0).map_or(GroupId(0), |group| group.settings.id)
    }

    fn group_index(&self, id: GroupId) -> Option<GroupIndex> {
        self.view.groups.iter().position(|group| group.settings.id == id).map(GroupIndex)
    }

    /// Changes what heartbeats say about a group.
    pub(super) fn tell_peer(&mut self, group: GroupIndex, change: impl FnOnce(&mut Telling)) {
        let id = self.group_id(group);
        if let Some(telling) = self.exchange.telling(id) {
            change(telling);
        }
    }

    /// Sends one heartbeat.
    pub(super) fn beat(&mut self) {
        for index in 0..self.stores.len() {
            let proof = self.stores[index].arbiter.health().own_nonce;
            self.tell_peer(GroupIndex(index), |telling| telling.proof = proof);
        }
        let packet = self.exchange.packet(clock::now());
        self.paths.send(&packet);
    }

    /// Puts into the heartbeats what the node says of itself. What is new is told at once: a wish
    /// of an operator must be known on the other node before the record that follows from it is.
    pub(super) fn announce(&mut self) {
        let announced = self.node.announce();
        for (index, group) in announced.groups.iter().enumerate() {
            let (group, beat) = (words::group_byte(group), self.node.beat(GroupIndex(index)));
            self.tell_peer(GroupIndex(index), |telling| {
                telling.state = group;
                if let Some(beat) = beat {
                    telling.released = beat.released;
                    telling.record = beat.version;
                }
            });
        }
        self.exchange.tell_node(words::node_byte(&announced), self.digest);
        if announced != self.announced {
            self.announced = announced;
            self.beat();
        }
    }

    pub(super) fn datagram(&mut self, path: usize, raw: &[u8]) {
        let heard = self.exchange.handle(raw, path, clock::now());
        if let Some(reply) = heard.reply {
            self.paths.send(&reply);
        }
        self.know_lives();
        // The stores are asked by the steps that follow: they must know the peer of this packet.
        self.tell_stores();
        let mut beats = Vec::new();
        let mut answers = Vec::new();
        for (id, event) in heard.events {
            match event {
                Of::Heartbeat(beat) => beats.push(beat),
                event => answers.extend(self.group_index(id).map(|group| (group, event))),
            }
        }
        if !beats.is_empty() {
            let groups = self.view.groups.iter().map(|group| {
                self.exchange.peer_group(group.settings.id).map_or(0, |beat| beat.state)
            });
            let node = self.exchange.peer().map_or(0, |packet| packet.state);
            let state = words::peer_state(node, groups);
            self.compare_digests();
            self.event(Event::Peer { state, beats });
        }
        for (group, event) in answers {
            self.event(Event::Arbitration { group, event });
        }
    }

    /// Calls are between the lives that heartbeats know of.
    fn know_lives(&self) {
        let own = Life { boot: self.boot, life: self.exchange.life() };
        let peer = self.exchange.peer().map(|packet| Life { boot: packet.boot, life: packet.life });
        let lives = Lives { own, peer };
        self.lives.send_if_modified(|known| std::mem::replace(known, lives) != lives);
    }

    fn compare_digests(&mut self) {
        let theirs = self.exchange.peer().map_or(0, |packet| packet.digest);
        let differ = self.digests_differ();
        let in_charge = self.applying.told().is_some();
        if differ && !self.late.digest && !in_charge {
            self.config_differs(theirs);
        }
        self.late.digest = differ;
    }

    /// Whether the peer runs with another configuration than this node.
    pub(super) fn digests_differ(&self) -> bool {
        let theirs = self.exchange.peer().map_or(0, |packet| packet.digest);
        theirs != 0 && self.digest != 0 && theirs != self.digest
    }

    /// Whether the peer's daemon is heard.
    pub(super) fn peer_heard(&self, now: Tick) -> bool {
        let timeout = self.view.times.heartbeat_timeout;
        self.exchange.heard().is_some_and(|heard| now.since(heard) < timeout)
    }

    /// Warns of heartbeats that are late (at 80 % of the time-out) and of silent interconnects.
    pub(super) fn watch_paths(&mut self, now: Tick) {
        let timeout = self.view.times.heartbeat_timeout;
        let warn = Span(timeout.0 / 5 * 4);
        let silent_for = |heard: Option<Tick>| heard.map(|heard| now.since(heard));
        let late = silent_for(self.exchange.heard()).filter(|silence| *silence >= warn);
        if let (Some(silence), false) = (late, self.late.peer) {
            self.heartbeats_late(silence, timeout);
        }
        if self.late.peer && late.is_none() {
            self.heartbeats_back();
        }
        self.late.peer = late.is_some();
        self.tell_half_silence(now);
        let silent: Vec<bool> = self
            .exchange
            .heard_over()
            .map(|heard| silent_for(heard).is_none_or(|silence| silence >= timeout))
            .collect();
        // Before the peer was heard at all, it is not a path that is to blame; and of a single one
        // all is told.
        if self.exchange.heard().is_none() || silent.len() == 1 {
            return;
        }
        for (place, silent) in silent.into_iter().enumerate() {
            if std::mem::replace(&mut self.late.paths[place], silent) != silent {
                self.path_changed(place, silent);
            }
        }
    }

    pub(super) fn tell_stores(&self) {
        let now = clock::now();
        let heard = self.peer_heard(now);
        for (index, store) in self.stores.iter().enumerate() {
            let group = GroupIndex(index);
            let stored = self.slots_of(group).filter_map(|(_, slot)| slot.floor).max();
            let floor = stored.max(self.keepers.floor(group));
            let beat = self.exchange.peer_group(self.group_id(group));
            store.arbiter.tell(PairView {
                peer_heard: heard,
                peer_nonce: beat.and_then(|beat| beat.proof),
                floor,
            });
            if let Some(own) = &store.own {
                own.register.tell_around(self.around(group, now));
            }
        }
    }
}
