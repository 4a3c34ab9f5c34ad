//! What one part has to know of the others, derived anew from their views whenever it is asked.

use super::{ENGINE_BACK, KeptLease, Node, Part_, Volume};
use crate::decide::arbitration::{EvidenceView, View};
use crate::decide::group::{Around, Engines, Part, State};
use crate::decide::monitor::Context;
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::settings::{Target, Timing};
use lockstep_engine::units::{LinkState, NodeId, Role, Span, Status, Tick, Version};

/// Who owns a group and who holds its data, by the newest record that is known here: the
/// arbiter's, or one that the engines have stored. Of one that not every engine has, what is not
/// known counts as if the peer could win.
#[derive(Clone, Copy, Debug, Default)]
struct Ownership {
    version: Option<Version>,
    owner: Option<NodeId>,
    both: bool,
    alone: bool,
}

impl Ownership {
    fn of((record, whole): (Record, bool), me: NodeId) -> Ownership {
        Ownership {
            version: Some(record.version),
            owner: record.owner,
            both: whole && record.has_both(),
            alone: record.owner == Some(me) && !record.is_member(me.peer()),
        }
    }
}

impl Node {
    pub(super) fn around(&self, index: usize, now: Tick) -> Around {
        let part = &self.parts[index];
        let view = part.decider.view();
        let owned = part.decider.known();
        let owned = owned.map(|known| Ownership::of(known, self.node)).unwrap_or_default();
        let owns = owned.owner == Some(self.node);
        let engines = part.engines(owns, view.fenced, now);
        // Arbitration guards the lease of an engine that it has seen serve. While none does, as
        // it is away or not yet back, its clients are still there, and so are page caches.
        // The last daemon may have left what the record would say.
        let needed = match owned.version {
            Some(_) => owns && !owned.alone,
            None => part.kept.until.is_some(),
        };
        let unguarded = engines != Engines::Serving && needed;
        let over = self.unguarded_until(part, &view).is_some_and(|until| until <= now);
        let peer = self.heard_peer(now);
        let listens = self.heartbeats_from.after(self.times.boot_grace());
        Around {
            owner: owned.owner,
            version: owned.version,
            both: owned.both,
            alone: owned.alone,
            engines,
            silent: !part.volumes.iter().any(|volume| volume.is_serving(view.fenced)),
            fenced: view.fenced || (unguarded && over),
            resumes: view.resumes || !view.fenced,
            in_sync: part.decider.is_in_sync(),
            evidence: matches!(view.evidence, EvidenceView::Silent | EvidenceView::Released),
            released: view.released.is_some(),
            part: self.part,
            peer_heard: peer.is_some(),
            peer_part: peer.map(|peer| peer.part).unwrap_or_default(),
            peer_takes: peer.is_some_and(|peer| peer.part == Part::Takes && peer.healthy),
            peer: peer.and_then(|peer| peer.groups.get(index).copied()),
            listened: peer.is_some() || now >= listens,
            peer_told: part.peer_version >= owned.version || self.is_peer_dead(part, now),
        }
    }

    /// When the peer counts as dead where nobody owns anything: heartbeats were listened to for the
    /// boot grace, and none came.
    pub(super) fn peer_dead_at(&self) -> Tick {
        let heard = self.peer.as_ref().map(|(_, heard)| *heard);
        heard.max(Some(self.heartbeats_from)).unwrap_or_default().after(self.times.boot_grace())
    }

    fn is_peer_dead(&self, part: &Part_, now: Tick) -> bool {
        let linked = part.statuses().any(|status| status.link == LinkState::Up);
        !linked && now >= self.peer_dead_at()
    }

    /// When the lease of an owner ends whose engine arbitration has not seen serve. What the last
    /// daemon has kept holds, and has no second chance: restarts don't lengthen it. An engine that
    /// is there may still tell of a lease that the link has renewed since, within half of FENCE; so
    /// may an engine or the peer where nothing was kept: the predecessor would have fenced at the
    /// end of the lease, so there is that much time if it was away for less than the other half.
    pub(super) fn unguarded_until(&self, part: &Part_, view: &View) -> Option<Tick> {
        let heard = self.heartbeats_from.after(Span(self.times.fence.0 / 2));
        let first = match part.kept {
            KeptLease { until: Some(until), engine_listens: true } => until.max(heard),
            KeptLease { until: Some(until), engine_listens: false } => until,
            KeptLease { until: None, .. } => heard,
        };
        let more = if Mutant::LengthenLease.on() { self.times.lease } else { Span(0) }; // R13
        view.lease_until.map(|until| until.max(first).after(more))
    }

    /// What the peer said last, if that is not too long ago.
    pub(super) fn heard_peer(&self, now: Tick) -> Option<&super::PeerState> {
        let (state, heard) = self.peer.as_ref()?;
        (now < heard.after(self.times.heartbeat_timeout)).then_some(state)
    }

    /// What the monitor at `index` sees.
    pub(super) fn context(&self, index: usize, now: Tick) -> Context {
        let settings = self.monitors[index].settings();
        let running = self.part != Part::Stopped;
        let active = match settings.timing {
            Timing::Always => running,
            Timing::WhileActive(group, resource) => {
                let known = self.parts.get(group.0);
                running && known.is_some_and(|part| part.group.is_active(resource))
            }
        };
        let groups: Vec<usize> = match settings.recovery.target {
            None => Vec::new(),
            Some(Target::Resource(group, _) | Target::Group(group)) => vec![group.0],
            Some(Target::Node) => (0..self.parts.len()).collect(),
        };
        let states = || groups.iter().filter_map(|group| self.parts.get(*group));
        let passes = |group: &usize| {
            let part = &self.parts[*group];
            part.group.state().is_online() && part.group.can_fail_over(&self.around(*group, now))
        };
        let other = self.heard_peer(now);
        Context {
            active,
            settled: states().all(|part| part.group.state().is_settled()),
            here: states().any(|part| {
                matches!(part.group.state(), State::Rising | State::Up | State::Degraded)
            }),
            can_fail_over: groups.iter().filter(|g| **g < self.parts.len()).any(passes),
            other_healthy: other.is_some_and(|peer| peer.part == Part::Takes && peer.healthy),
            acting: !self.observe_only && self.part == Part::Takes && self.leaving.is_none(),
        }
    }
}

impl Part_ {
    /// Statuses of the engines that are there.
    pub(super) fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.volumes.iter().filter_map(|volume| volume.status.as_deref())
    }

    /// Whether every engine is there.
    pub(super) fn is_complete(&self) -> bool {
        self.volumes.iter().all(|volume| volume.status.is_some())
    }

    fn engines(&self, owner: bool, fenced: bool, now: Tick) -> Engines {
        let seen: Vec<Engines> =
            self.volumes.iter().map(|volume| volume.engine(owner, fenced, now)).collect();
        if seen.contains(&Engines::Quiet) {
            Engines::Quiet
        } else if seen.contains(&Engines::Away) {
            Engines::Away
        } else {
            Engines::Serving
        }
    }
}

impl Volume {
    /// A restarted engine of an owner counts as away until it serves, or has had its time.
    fn engine(&self, owner: bool, fenced: bool, now: Tick) -> Engines {
        match &self.status {
            None => Engines::Away,
            Some(_) if self.is_serving(fenced) => Engines::Serving,
            Some(status) if status.role == Role::Promoting => Engines::Away,
            // It ends, and is like one that is away when it has.
            Some(status) if status.stopping && self.restarted && owner && !fenced => Engines::Away,
            Some(_) => match self.back_at.filter(|_| self.restarted && owner && !fenced) {
                Some(at) if now < at.after(ENGINE_BACK) => Engines::Away,
                _ => Engines::Quiet,
            },
        }
    }

    /// Whether it is there and answers clients. A keeper has none: it is fenced when that is
    /// decided, and stores it later.
    fn is_serving(&self, fenced: bool) -> bool {
        self.status.as_deref().is_some_and(serves) && !(self.is_seat && fenced)
    }

    /// A new status, or none: the engine is gone.
    pub(super) fn see(&mut self, status: Option<&Status>, now: Tick) {
        let served = self.status.as_deref().is_some_and(serves);
        match status {
            None => {
                self.restarted |= served;
                self.back_at = None;
            }
            Some(status) if serves(status) => {
                self.restarted = false;
                self.back_at = None;
            }
            Some(status) if status.stopping => self.restarted |= served,
            Some(_) => {
                if self.restarted && self.back_at.is_none() {
                    self.back_at = Some(now);
                }
            }
        }
        self.status = status.map(|status| Box::new(status.clone()));
    }
}

/// Whether the engine answers clients. One that hands over refuses them already.
pub(super) fn serves(status: &Status) -> bool {
    status.role == Role::Primary
}
