//! `what-if node-down`: the decision that would be made, with its reasons, from the same table of
//! transitions that makes it. Nothing is changed and nothing is asked of anybody.

use super::{Node, Part_};
use crate::decide::arbitration::ArbiterView;
use crate::decide::group::{Around, Part};
use crate::decide::settings::GroupIndex;
use crate::decide::step;
use lockstep_engine::units::{NodeId, Span, Tick};
use serde::Serialize;
use std::fmt;

/// What would become of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The group.
    pub group: GroupIndex,
    /// What people call it.
    pub name: String,
    /// The service goes on, by itself.
    pub survives: bool,
    /// Why, and how long it takes.
    pub because: Vec<Sentence>,
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
    /// It does not hold every acknowledged write.
    NotMember { dirty_bytes: u64 },
    /// Its copy, or what it knows of it, does not allow it: the word of the transition's refusal.
    Copy(String),
    /// Its engine is not there.
    EngineAway,
    /// It was not heard: nothing is known of it.
    SurvivorUnknown,
    /// No record exists.
    NoRecord,
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sentence::RunsNowhere => f.write_str("it does not run anywhere"),
            Sentence::RunsOnSurvivor(node) => write!(f, "it runs on {node}, which stays"),
            Sentence::HeldFor(ms) => write!(f, "writes are held for about {ms} ms, then go on"),
            Sentence::AloneAlready => f.write_str("it goes on alone as it does now"),
            Sentence::ArbiterAway => {
                f.write_str("the arbiter does not answer: nothing can be decided until it does")
            }
            Sentence::TakesOverAfter(ms) => {
                write!(f, "the other node takes over after about {ms} ms, then starts resources")
            }
            Sentence::FailoverIsManual => {
                f.write_str("failover is manual: `group failover` on the other node brings it up")
            }
            Sentence::SurvivorTakesNoPart => {
                f.write_str("the other node takes no part: `cluster start` or `cluster resume`")
            }
            Sentence::SurvivorUnhealthy => {
                f.write_str("a monitor of the other node reports an error")
            }
            Sentence::SurvivorBarred => {
                f.write_str("it has failed on the other node: `group start` there tries again")
            }
            Sentence::NotMember { dirty_bytes } => write!(
                f,
                "the other node's copy is stale, about {dirty_bytes} bytes behind: wait for the \
                 resync"
            ),
            Sentence::Copy(word) => write!(f, "the other node's copy can't serve ({word})"),
            Sentence::EngineAway => f.write_str("the other node's engine is not running"),
            Sentence::SurvivorUnknown => f.write_str("the other node is not heard"),
            Sentence::NoRecord => f.write_str("no record exists: `mirror create` first"),
        }
    }
}

impl Node {
    /// What would become of each group if `down` lost its power now.
    pub fn what_if_node_down(&self, down: NodeId, now: Tick) -> Vec<Finding> {
        let finding = |index: usize| {
            let around = self.around(index, now);
            let (survives, because) = self.fate(index, down, &around);
            let name = self.parts[index].group.settings().name.clone();
            Finding { group: GroupIndex(index), name, survives, because }
        };
        (0..self.parts.len()).map(finding).collect()
    }

    fn fate(&self, index: usize, down: NodeId, around: &Around) -> (bool, Vec<Sentence>) {
        if around.version.is_none() {
            return (false, vec![Sentence::NoRecord]);
        }
        let away = self.parts[index].decider.view().arbiter != ArbiterView::Answers;
        let times = &self.times;
        match around.owner {
            None => (false, vec![Sentence::RunsNowhere]),
            Some(owner) if owner != down => {
                let mut because = vec![Sentence::RunsOnSurvivor(owner)];
                if !around.both {
                    because.push(Sentence::AloneAlready);
                    return (true, because);
                }
                let held = times.link_dead.plus(times.grace).plus(times.arbiter_attempt);
                because.push(if away { Sentence::ArbiterAway } else { held_for(held) });
                (!away, because)
            }
            Some(_) => {
                let mut against = self.against(index, down.peer(), around);
                if away {
                    against.push(Sentence::ArbiterAway);
                }
                if !against.is_empty() {
                    return (false, against);
                }
                let after = times.heartbeat_timeout.plus(times.margin);
                (true, vec![Sentence::TakesOverAfter(after.as_millis())])
            }
        }
    }

    /// What stands against a takeover by `survivor`.
    fn against(&self, index: usize, survivor: NodeId, around: &Around) -> Vec<Sentence> {
        let part = &self.parts[index];
        let mut against = Vec::new();
        if !part.group.settings().failover_auto {
            against.push(Sentence::FailoverIsManual);
        }
        let (takes, healthy, barred) = if survivor == self.node {
            let own = self.announce();
            (own.part == Part::Takes, own.healthy, part.group.peer_group().barred)
        } else if around.peer_heard {
            let barred = around.peer.is_some_and(|peer| peer.barred);
            (around.peer_part == Part::Takes, around.peer_takes, barred)
        } else {
            against.push(Sentence::SurvivorUnknown);
            return against;
        };
        if !takes {
            against.push(Sentence::SurvivorTakesNoPart);
        } else if !healthy && survivor != self.node {
            against.push(Sentence::SurvivorUnhealthy);
        }
        if barred {
            against.push(Sentence::SurvivorBarred);
        }
        match survivor == self.node {
            true => against.extend(part.against_own_copy()),
            false if !around.both => {
                let dirty = part.statuses().map(|status| status.dirty_blocks * 4096).sum();
                against.push(Sentence::NotMember { dirty_bytes: dirty });
            }
            false => {}
        }
        against
    }
}

fn held_for(span: Span) -> Sentence {
    Sentence::HeldFor(span.as_millis())
}

impl Part_ {
    /// What the table of transitions says against a takeover with the copies here.
    fn against_own_copy(&self) -> Option<Sentence> {
        if !self.is_complete() {
            return Some(Sentence::EngineAway);
        }
        match self.decider.may_take_over() {
            Ok(()) | Err(step::Refused::NoRecord) => None,
            Err(step::Refused::NotMember { .. }) => {
                let dirty = self.statuses().map(|status| status.dirty_blocks * 4096).sum();
                Some(Sentence::NotMember { dirty_bytes: dirty })
            }
            Err(why) => Some(Sentence::Copy(format!("{why:?}"))),
        }
    }
}
