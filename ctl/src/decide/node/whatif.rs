//! `what-if node-down`: the decision that would be made, with its reasons, from the same table of
//! transitions that makes it. Nothing is changed and nothing is asked of anybody.

use super::{Node, Part_};
use crate::decide::arbitration::ArbiterView;
use crate::decide::group::{Around, Engines, Part, State};
use crate::decide::settings::GroupIndex;
use crate::decide::step;
use lockstep_engine::units::{BLOCK_BYTES, LinkState, NodeId, Status, Tick};
use serde::Serialize;

/// What would become of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The group.
    pub group: GroupIndex,
    /// What people call it.
    pub name: String,
    /// The service goes on, by itself.
    pub survives: bool,
    /// What would keep the node that stays from going on, even if an operator asked it to.
    pub against: Vec<Sentence>,
    /// Why, and how long it takes.
    pub because: Vec<Sentence>,
}

/// Whether one node may be lost, whichever it is. The same findings as of `what-if`, so that both
/// say the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Safety {
    /// Each node that may not be lost, with what stands against it. None: it is safe.
    pub against: Vec<(NodeId, Sentence)>,
    /// The other node goes on when an operator asks for it, not by itself.
    pub manual: bool,
}

impl Safety {
    /// Any one node may be lost: no acknowledged write is lost, and the other one can go on.
    pub fn is_safe(&self) -> bool {
        self.against.is_empty()
    }
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sentence {
    /// Nobody runs it, so nobody misses it.
    RunsNowhere,
    /// It runs on the node that stays.
    RunsOnSurvivor(NodeId),
    /// Writes are held until the record is shrunk: about this long, in milliseconds.
    HeldFor(u64),
    /// The node that stays is the only member already: nothing is held.
    AloneAlready,
    /// No record can be written while the arbiter is away.
    ArbiterAway,
    /// The node that stays takes over after about this many milliseconds, plus activation.
    TakesOverAfter(u64),
    /// It would take over, when an operator asks for it.
    FailoverIsManual,
    /// The node that stays is suspended or stopped.
    SurvivorTakesNoPart,
    /// It is not healthy.
    SurvivorUnhealthy,
    /// It has given the group up.
    SurvivorBarred,
    /// It does not hold every acknowledged write; how much it lacks, where that is counted here.
    NotMember { dirty_bytes: Option<u64> },
    /// The copies are not connected and in sync.
    NotInSync,
    /// Its copy, or what it knows of it, does not allow it.
    Copy(#[serde(serialize_with = "as_debug")] step::Refused),
    /// Its engine is not there, or serves nobody although it should.
    EngineAway,
    /// It owns the group, and has not brought it up, or can't bring it down.
    NotUp,
    /// Its daemon was not heard: nothing is known of it.
    SurvivorUnknown,
    /// No record exists.
    NoRecord,
    /// No store, and nothing outside the pair answers it: it would take itself for cut off.
    Isolated,
    /// No store, and both nodes went on alone.
    Split,
}

fn as_debug<S: serde::Serializer>(why: &step::Refused, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format!("{why:?}"))
}

impl Sentence {
    /// As people read it, who asked about the loss of `lost`.
    pub fn told(&self, lost: NodeId) -> String {
        let stays = lost.peer();
        match self {
            Sentence::RunsNowhere => "it does not run anywhere".to_owned(),
            Sentence::RunsOnSurvivor(node) => format!("it runs on node {node}, which stays"),
            Sentence::HeldFor(ms) => format!("writes are held for about {ms} ms, then go on"),
            Sentence::AloneAlready => "it goes on alone as it does now".to_owned(),
            Sentence::ArbiterAway => {
                "the arbiter does not answer: nothing can be decided until it does".to_owned()
            }
            Sentence::TakesOverAfter(ms) => {
                format!("node {stays} takes over after about {ms} ms, then starts resources")
            }
            Sentence::FailoverIsManual => {
                format!("failover is manual: somebody has to ask node {stays} to take over")
            }
            Sentence::SurvivorTakesNoPart => {
                format!("node {stays} takes no part: it is suspended or stopped")
            }
            Sentence::SurvivorUnhealthy => format!("a monitor of node {stays} reports an error"),
            Sentence::SurvivorBarred => format!("it has failed on node {stays}"),
            Sentence::NotMember { dirty_bytes: None } => format!(
                "the copy of node {stays} is stale; how far behind it is, is not known here"
            ),
            Sentence::NotMember { dirty_bytes: Some(bytes) } => {
                let behind = match bytes >> 10 {
                    kib @ 0..10_240 => format!("{kib} KiB"),
                    kib => format!("{} MiB", kib >> 10),
                };
                format!("the copy of node {stays} is stale, about {behind} behind")
            }
            Sentence::NotInSync => "the two copies are not connected and in sync".to_owned(),
            Sentence::Copy(step::Refused::NoMark) => {
                format!("node {stays} has rebooted since its copy was last known to be in sync")
            }
            Sentence::Copy(step::Refused::BadCopy) => {
                format!("the copy of node {stays} is not whole, or its disk has failed")
            }
            Sentence::Copy(why) => format!("the copy of node {stays} can't serve ({why:?})"),
            Sentence::EngineAway => format!("the engine of node {stays} does not serve"),
            Sentence::NotUp => format!("node {stays} owns it, but it is not up there"),
            Sentence::SurvivorUnknown => {
                format!("the daemon of node {stays} is not heard: it could decide nothing")
            }
            Sentence::NoRecord => "no record exists".to_owned(),
            Sentence::Isolated => format!(
                "the isolation probe does not answer node {stays}: it would take itself for cut off"
            ),
            Sentence::Split => "both nodes went on alone: nothing is decided any more".to_owned(),
        }
    }

    /// What an operator does about it; `None` when there is nothing to do.
    pub fn next(&self, lost: NodeId) -> Option<String> {
        let stays = lost.peer();
        Some(match self {
            Sentence::RunsNowhere
            | Sentence::RunsOnSurvivor(_)
            | Sentence::HeldFor(_)
            | Sentence::AloneAlready
            | Sentence::TakesOverAfter(_)
            | Sentence::FailoverIsManual => return None,
            Sentence::ArbiterAway => "repair the arbiter".to_owned(),
            Sentence::SurvivorTakesNoPart => {
                format!("run `lockstep cluster start` or `lockstep cluster resume` on node {stays}")
            }
            Sentence::SurvivorUnhealthy => {
                format!("see `lockstep monitor list` on node {stays} and mend what it names")
            }
            Sentence::SurvivorBarred => {
                format!("mend the cause on node {stays} (`lockstep status` there)")
            }
            Sentence::NotMember { .. } => "wait for the resync to end".to_owned(),
            Sentence::NotInSync => format!("look after node {stays} or the link to it"),
            Sentence::Copy(_) => {
                format!("connect node {stays} to node {lost}, so that its copy is compared")
            }
            Sentence::EngineAway => format!("see why the engine of node {stays} does not serve"),
            Sentence::NotUp => {
                format!("see what keeps it from being up on node {stays} (`lockstep status` there)")
            }
            Sentence::SurvivorUnknown => {
                format!("start the daemon of node {stays}, or repair the heartbeats' network")
            }
            Sentence::Isolated => {
                format!("mend what the isolation probe asks for, seen from node {stays}")
            }
            Sentence::Split => {
                "run `lockstep mirror discard-local` on the node whose copy is given up".to_owned()
            }
            Sentence::NoRecord => {
                "run `lockstep mirror create` on the node whose data counts".to_owned()
            }
        })
    }
}

impl Node {
    /// What would become of each group if `down` lost its power now.
    pub fn what_if_node_down(&self, down: NodeId, now: Tick) -> Vec<Finding> {
        (0..self.parts.len()).map(|index| self.finding(index, down, now)).collect()
    }

    /// Whether any one node may be lost for a group now.
    pub fn safety(&self, group: GroupIndex, now: Tick) -> Safety {
        let mut safety = Safety::default();
        if group.0 >= self.parts.len() {
            return safety;
        }
        for down in [self.node.peer(), self.node] {
            let found = self.finding(group.0, down, now);
            safety.manual |= found.because.contains(&Sentence::FailoverIsManual);
            safety.against.extend(found.against.into_iter().map(|why| (down, why)));
        }
        safety
    }

    fn finding(&self, index: usize, down: NodeId, now: Tick) -> Finding {
        let around = self.around(index, now);
        let mut against = Vec::new();
        let (runs, mut because) = self.fate(index, down, &around, &mut against);
        let manual = because.contains(&Sentence::FailoverIsManual);
        let survives = runs && !manual && against.is_empty();
        if runs && !survives {
            because
                .retain(|why| !matches!(why, Sentence::TakesOverAfter(_) | Sentence::HeldFor(_)));
        }
        because.extend(against.iter().cloned());
        let name = self.parts[index].group.settings().name.clone();
        Finding { group: GroupIndex(index), name, survives, against, because }
    }

    /// Whether somebody would run it, and why; what stands against that goes to `against`.
    fn fate(
        &self,
        index: usize,
        down: NodeId,
        around: &Around,
        against: &mut Vec<Sentence>,
    ) -> (bool, Vec<Sentence>) {
        if around.version.is_none() {
            against.push(Sentence::NoRecord);
            return (false, Vec::new());
        }
        let away = self.parts[index].decider.view().arbiter != ArbiterView::Answers;
        let times = &self.times;
        let (runs, because) = match around.owner {
            None => {
                self.against_a_start(index, down.peer(), around, against);
                (false, vec![Sentence::RunsNowhere])
            }
            Some(owner) if owner != down => {
                let state = match around.peer {
                    _ if owner == self.node => Some(self.parts[index].group.state()),
                    peer => peer.map(|peer| peer.state),
                };
                if owner == self.node && around.engines != Engines::Serving {
                    against.push(Sentence::EngineAway);
                } else if state.is_some_and(|state| !state.is_online() || state == State::Stuck) {
                    against.push(Sentence::NotUp);
                }
                let runs = Sentence::RunsOnSurvivor(owner);
                if !around.both {
                    return (true, vec![runs, Sentence::AloneAlready]);
                }
                if owner != self.node && !around.peer_heard {
                    // Without its daemon it would hold writes for ever.
                    against.push(Sentence::SurvivorUnknown);
                }
                let held = times.link_dead.plus(times.grace).plus(times.arbiter_attempt);
                (true, vec![runs, Sentence::HeldFor(held.as_millis())])
            }
            Some(_) => {
                self.against_a_takeover(index, down.peer(), around, against);
                let after = times.heartbeat_timeout.plus(times.margin);
                let mut because = vec![Sentence::TakesOverAfter(after.as_millis())];
                if !self.parts[index].group.settings().failover_auto {
                    because.push(Sentence::FailoverIsManual);
                }
                (true, because)
            }
        };
        if away {
            against.push(Sentence::ArbiterAway);
        }
        (runs, because)
    }

    /// What stands against a start by `survivor` of a group that runs nowhere.
    fn against_a_start(
        &self,
        index: usize,
        survivor: NodeId,
        around: &Around,
        against: &mut Vec<Sentence>,
    ) {
        let part = &self.parts[index];
        if survivor != self.node && !around.peer_heard {
            against.push(Sentence::SurvivorUnknown);
        } else if survivor == self.node && !part.is_complete() {
            against.push(Sentence::EngineAway);
        }
        if !around.both {
            if around.alone != (survivor == self.node) {
                against.push(part.behind(survivor, self));
            }
        } else if !part.is_linked() {
            against.push(Sentence::NotInSync);
        }
    }

    /// What stands against a takeover by `survivor`.
    fn against_a_takeover(
        &self,
        index: usize,
        survivor: NodeId,
        around: &Around,
        against: &mut Vec<Sentence>,
    ) {
        let part = &self.parts[index];
        // An owner is in sync only with a peer that has taken its mark.
        let equal = if survivor == self.node { part.is_linked() } else { around.in_sync };
        let own = (survivor == self.node).then(|| part.against_own_copy(self)).flatten();
        if let Some(why) = own {
            against.push(why);
        } else if !around.both {
            against.push(part.behind(survivor, self));
        } else if !equal {
            against.push(Sentence::NotInSync);
        }
        let (takes, healthy, barred) = if survivor == self.node {
            let own = self.announce();
            (own.part == Part::Takes, true, part.group.peer_group().barred)
        } else if around.peer_heard {
            let barred = around.peer.is_some_and(|peer| peer.barred);
            (around.peer_part == Part::Takes, around.peer_takes, barred)
        } else {
            return against.push(Sentence::SurvivorUnknown);
        };
        if !takes {
            against.push(Sentence::SurvivorTakesNoPart);
        } else if !healthy {
            against.push(Sentence::SurvivorUnhealthy);
        }
        if barred {
            against.push(Sentence::SurvivorBarred);
        }
    }
}

impl Part_ {
    /// Both copies are connected, and nothing has to be made equal first.
    fn is_linked(&self) -> bool {
        let linked = |status: &Status| status.link == LinkState::Up && !status.reconcile_pending;
        self.is_complete() && self.statuses().all(linked)
    }

    /// The copy of `survivor` is stale; the only member counts by how much.
    fn behind(&self, survivor: NodeId, node: &Node) -> Sentence {
        let blocks: u64 = self.statuses().map(|status| status.dirty_blocks).sum();
        let counted = survivor != node.node && self.is_complete();
        let dirty_bytes = counted.then(|| blocks.saturating_mul(BLOCK_BYTES));
        Sentence::NotMember { dirty_bytes }
    }

    /// What the table of transitions says against a takeover with the copies here.
    fn against_own_copy(&self, node: &Node) -> Option<Sentence> {
        if !self.is_complete() {
            return Some(Sentence::EngineAway);
        }
        match self.decider.may_take_over() {
            Ok(()) | Err(step::Refused::NoRecord) => None,
            Err(step::Refused::NotMember { .. }) => Some(self.behind(node.node, node)),
            Err(why) => Some(Sentence::Copy(why)),
        }
    }
}
