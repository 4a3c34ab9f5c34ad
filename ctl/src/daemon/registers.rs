//! The register of a pair without a store, as the daemon runs it: the way to the other one over
//! the call between daemons, what it asks of this one, and what is told of the peer's silence and
//! of the isolation probe. Always: the loop waits for none of it; what is not known to have been
//! silent counts as heard now.

use super::Daemon;
use crate::act::arbiter::Pending;
use crate::act::arbiter::none::alone::{Around, is_unrivalled};
use crate::act::arbiter::none::{Answer, Ask, Lost, Peer, Place, Register};
use crate::act::peer::{Asked, CallError, Caller, Refusal};
use crate::config::cluster::{ArbiterSpec, Group, NodeView};
use crate::decide::monitor::Found;
use crate::decide::node::{Safety, Sentence};
use crate::decide::settings::{GroupIndex, MonitorIndex};
use lockstep_engine::units::{GroupId, LinkState, NodeId, Tick};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Version of the words between two registers.
const VERSION: u32 = 1;
/// A peer that answers others just now is asked again after this.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What is asked, and about which group.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    v: u32,
    group: GroupId,
    record: Ask,
}

/// The way to the other node's register.
pub(super) struct Way {
    group: GroupId,
    /// Of one ask: two and a moment to wait for fit into one attempt (SAFETY §1.2).
    patience: Duration,
    /// Known once the daemon talks to the peer.
    caller: OnceLock<Caller>,
}

impl Peer for Way {
    fn ask(&self, ask: Ask) -> Pending<Result<Answer, Lost>> {
        let said = Said { v: VERSION, group: self.group, record: ask };
        let (body, caller) = (serde_json::to_vec(&said), self.caller.get().cloned());
        let patience = self.patience;
        Box::pin(async move {
            let (Ok(body), Some(caller)) = (body, caller) else { return Err(Lost::Certainly) };
            let until = Instant::now() + patience;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                match caller.call(&body, left).await {
                    Ok(answer) => {
                        return serde_json::from_slice(&answer).map_err(|_| Lost::Perhaps);
                    }
                    Err(CallError::Refused(Refusal::Busy)) if left > 2 * BUSY_PAUSE => {
                        tokio::time::sleep(BUSY_PAUSE).await;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the other register");
                        return Err(match error.is_certain() {
                            true => Lost::Certainly,
                            false => Lost::Perhaps,
                        });
                    }
                }
            }
        })
    }
}

/// A register and the way that it asks over.
#[derive(Clone)]
pub(super) struct Own {
    pub register: Arc<Register>,
    way: Arc<Way>,
}

impl Own {
    /// The register of a group. Nothing is asked before the way is known.
    pub(super) fn new(view: &NodeView, group: &Group) -> Own {
        let place = Place {
            cluster: view.cluster.id,
            group: group.settings.id,
            node: view.node,
            state_dir: view.state_dir.clone(),
            times: view.times,
        };
        let patience = Duration::from_nanos(view.times.arbiter_attempt.0 / 10 * 3);
        let way = Way { group: group.settings.id, patience, caller: OnceLock::new() };
        let way = Arc::new(way);
        Own { register: Arc::new(Register::new(place, Arc::clone(&way) as Arc<dyn Peer>)), way }
    }

    /// From now on it asks over this.
    pub(super) fn speaks_over(&self, caller: &Caller) {
        // It is set once: each daemon makes its own.
        let _ = self.way.caller.set(caller.clone());
    }
}

/// What this daemon knows of the world outside the pair.
#[derive(Clone, Copy, Default)]
pub(super) struct Outside {
    /// Since when this daemon listens.
    pub listens: Tick,
    /// When the probe that has answered last was begun.
    pub probed: Option<Tick>,
}

/// The monitor that tells whether this node is cut off, in a cluster without a store.
pub(super) fn probe_of(view: &NodeView) -> Option<MonitorIndex> {
    let ArbiterSpec::None { probe } = &view.arbiter else { return None };
    let place = view.monitors.iter().position(|one| one.settings.name == *probe);
    place.map(MonitorIndex)
}

impl Daemon {
    /// A monitor has looked; begun at that tick.
    pub(super) fn looked(&mut self, monitor: MonitorIndex, found: &Found, began: Tick) {
        let rehearses = |daemon: &Daemon| {
            let monitors = daemon.node.view(began).monitors;
            monitors.get(monitor.0).is_some_and(|one| one.dummy)
        };
        let isolation = probe_of(&self.view) == Some(monitor);
        if isolation && *found == Found::Fine && !rehearses(self) {
            self.outside.probed = self.outside.probed.max(Some(began));
            self.tell_stores();
        }
    }

    /// Whether the isolation probe does not answer this node, so that it can't decide alone. Not
    /// in a cluster with a store.
    fn is_cut_off(&self, now: Tick) -> bool {
        let Some(monitor) = probe_of(&self.view) else { return false };
        let settings = &self.view.monitors[monitor.0].settings;
        // Two probes and the patience with one: a single late answer means nothing.
        let fresh = settings.interval.plus(settings.interval).plus(settings.timeout);
        now.since(self.outside.probed.unwrap_or(self.outside.listens)) > fresh
    }

    /// What keeps this node from going on without the other one, although the copies would do.
    pub(super) fn against_going_on(&self, group: GroupIndex, now: Tick) -> Option<Sentence> {
        let record = self.node.decider(group)?.view().record;
        let alone = record.is_some_and(|record| is_unrivalled(self.view.node, &record));
        if self.records_split(group) {
            Some(Sentence::Split)
        } else if !alone && self.is_cut_off(now) {
            Some(Sentence::Isolated)
        } else {
            None
        }
    }

    /// Whether any one node may be lost for a group now.
    pub(super) fn safety(&self, group: GroupIndex, now: Tick) -> Safety {
        let mut safety = self.node.safety(group, now);
        let against = self.against_going_on(group, now);
        safety.against.extend(against.map(|why| (self.view.node.peer(), why)));
        safety
    }

    /// What else is to be said of the loss of a node where nothing outside the pair decides.
    pub(super) fn told_without_store(&self, lost: NodeId) -> Option<String> {
        let ArbiterSpec::None { probe } = &self.view.arbiter else { return None };
        let stays = lost.peer();
        Some(format!(
            "there is no arbiter: node {stays} goes on only if {probe} answers it then, and when \
             the nodes only lose sight of each other both become active"
        ))
    }

    /// What the register of a group is told.
    pub(super) fn around(&self, group: GroupIndex, now: Tick) -> Around {
        let on_link = |slot: &super::engines::Slot| match slot.status.as_deref() {
            Some(status) if status.link == LinkState::Down => status.peer_heard,
            // A session is a sign; and without its engine nobody listens to the link.
            _ => Some(now),
        };
        let link = self.slots_of(group).filter_map(|(_, slot)| on_link(slot)).max();
        Around {
            heard: self.exchange.heard().max(link),
            listens: self.outside.listens,
            probed: self.outside.probed,
        }
    }

    /// Takes what the other node's register asks; gives back what is for somebody else.
    pub(super) fn record_asked(&self, asked: Asked) -> Option<Asked> {
        let Ok(Said { v, group, record }) = serde_json::from_slice(&asked.body) else {
            return Some(asked);
        };
        let place = self.view.groups.iter().position(|one| one.settings.id == group);
        let own = place.and_then(|place| self.stores[place].own.clone());
        let Some(own) = own.filter(|_| v == VERSION) else {
            drop(asked.answer.send(Err(Refusal::NotUnderstood)));
            return None;
        };
        tokio::spawn(async move {
            let answer = own.register.asked(record).await;
            // Plain data always fits JSON. Who does not wait any more asks again.
            let body = serde_json::to_vec(&answer).unwrap_or_default();
            drop(asked.answer.send(Ok(body)));
        });
        None
    }
}
