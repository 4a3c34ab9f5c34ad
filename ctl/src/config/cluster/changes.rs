//! What another configuration would change, and what that costs. Pure: two checked clusters in, a
//! list out. `config diff` shows it; whoever applies a configuration decides by it: a change asks
//! for no more than its effect, and groups that no effect names are not touched.
//!
//! To apply: both nodes hold the same old file and accept the new one (`Cluster::parse`); no change
//! `needs_stop` while what it names runs; then both nodes install the file, and each node brings
//! down what `rests` names, opens new deciders, and brings up what is wanted.

use super::facts::{Fact, Key, facts};
use super::{Cluster, Local};
use lockstep_engine::units::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What has to happen for a change, from the lightest to the heaviest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "effect", content = "name")]
pub enum Effect {
    /// The daemons take it over; nothing is interrupted.
    Live,
    /// The same, and both daemons must be there: it is how they reach each other.
    Together,
    /// Taken over when the daemon is started the next time.
    NextStart,
    /// Takes effect when the volume's cluster partition is formatted again.
    Format(String),
    /// The volume's engine restarts: its I/O waits for a moment, its group stays.
    EngineRestart(String),
    /// The resource (`GROUP/NAME`) stops and starts again, with those that need it.
    ResourceRestart(String),
    /// Every resource of the group stops and starts again; its mirrors stay.
    GroupRestart(String),
    /// The group must have been stopped before.
    GroupStopped(String),
    /// The cluster service must have been stopped on both nodes before.
    ClusterStopped,
    /// Both daemons must have been stopped, and the file put on both nodes by hand.
    DaemonsStopped,
}

impl Effect {
    /// Whether an operator must stop something first.
    pub fn needs_stop(&self) -> bool {
        matches!(self, Effect::GroupStopped(_) | Effect::ClusterStopped | Effect::DaemonsStopped)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Live => write!(f, "taken over while everything runs"),
            Effect::Together => write!(f, "taken over while everything runs, by both nodes"),
            Effect::NextStart => write!(f, "for the next start of the daemon"),
            Effect::Format(volume) => {
                write!(f, "for the next `format` of the cluster partition of {volume}")
            }
            Effect::EngineRestart(volume) => {
                write!(f, "restarts the engine of {volume}: its I/O waits for a moment")
            }
            Effect::ResourceRestart(resource) => {
                write!(f, "restarts {resource} and what needs it")
            }
            Effect::GroupRestart(group) => write!(f, "restarts group {group}"),
            Effect::GroupStopped(group) => write!(f, "stop group {group} first"),
            Effect::ClusterStopped => {
                write!(f, "stop the cluster on both nodes first: `lockstep cluster stop`")
            }
            Effect::DaemonsStopped => write!(
                f,
                "stop the daemons on both nodes, put the file on both by hand, start them"
            ),
        }
    }
}

/// Which node reads it differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    /// Both, in the same way.
    Both,
    /// Node a.
    A,
    /// Node b.
    B,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// What, with names instead of places: `volumes.orders.flows`.
    pub key: String,
    /// Before; absent when it is new.
    pub old: Option<String>,
    /// After; absent when it goes.
    pub new: Option<String>,
    /// Where.
    pub node: Sides,
    /// What it costs.
    #[serde(flatten)]
    pub effect: Effect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = match self.node {
            Sides::Both => "",
            Sides::A => " on node a",
            Sides::B => " on node b",
        };
        match (&self.old, &self.new) {
            (None, Some(new)) => write!(f, "+ {}{node}: {new}", self.key)?,
            (Some(old), None) => write!(f, "- {}{node}: {old}", self.key)?,
            (old, new) => {
                let (old, new) = (old.as_deref(), new.as_deref());
                let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
                write!(f, "~ {}{node}: {old} → {new}", self.key)?;
            }
        }
        write!(f, " ({})", self.effect)
    }
}

type Facts = BTreeMap<Key, Fact>;

/// What changes from one cluster to the other, by key; empty when both mean the same.
pub fn changes(old: &Cluster, new: &Cluster) -> Vec<Change> {
    let [a, b] =
        [NodeId::A, NodeId::B].map(|node| differences(&facts(old, node), &facts(new, node)));
    let keys: BTreeSet<&Key> = a.keys().chain(b.keys()).collect();
    let mut all = Vec::new();
    for key in keys {
        let change = |(old, new, effect): &Difference, node| Change {
            key: key.join("."),
            old: old.clone(),
            new: new.clone(),
            node,
            effect: effect.clone(),
        };
        match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) if a == b => all.push(change(a, Sides::Both)),
            (a, b) => {
                all.extend(a.map(|a| change(a, Sides::A)));
                all.extend(b.map(|b| change(b, Sides::B)));
            }
        }
    }
    all
}

/// Groups that stop and start again, each once.
pub fn groups_to_restart(changes: &[Change]) -> Vec<String> {
    let name = |change: &Change| match &change.effect {
        Effect::GroupRestart(group) => Some(group.clone()),
        _ => None,
    };
    changes.iter().filter_map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Resources that go down before the change, each once and with its group: those that change or go,
/// and those that the old configuration lets depend on them come with them.
pub fn rests(changes: &[Change], old: &Local) -> Vec<(String, String)> {
    let mut all = BTreeSet::new();
    for change in changes {
        match &change.effect {
            Effect::ResourceRestart(name) => {
                all.extend(name.split_once('/').map(|(g, r)| (g.to_owned(), r.to_owned())));
            }
            Effect::GroupRestart(name) => {
                let group = old.groups.iter().find(|group| group.settings.name == *name);
                let resources = group.map_or(&[][..], |group| &group.settings.resources[..]);
                all.extend(resources.iter().map(|one| (name.clone(), one.name.clone())));
            }
            _ => {}
        }
    }
    let known = |(group, resource): &(String, String)| {
        let group = old.groups.iter().find(|one| one.settings.name == *group);
        group.is_some_and(|group| group.settings.resources.iter().any(|r| r.name == *resource))
    };
    all.into_iter().filter(known).collect()
}

/// Before, after, cost.
type Difference = (Option<String>, Option<String>, Effect);

fn differences(old: &Facts, new: &Facts) -> BTreeMap<Key, Difference> {
    let mut found: BTreeMap<Key, Difference> = BTreeMap::new();
    let keys: BTreeSet<&Key> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (before, after) = (old.get(key), new.get(key));
        // What is inside something new or gone is told by that.
        let inside = (1..key.len()).any(|n| {
            let outer = &key[..n].to_vec();
            old.contains_key(outer) != new.contains_key(outer)
        });
        let effect = match (before, after) {
            (Some(old), Some(new)) if old.value == new.value => continue,
            (Some(_), Some(new)) => &new.changed,
            (None, Some(new)) => &new.added,
            (Some(old), None) => &old.removed,
            (None, None) => continue,
        };
        if !inside {
            let value = |fact: &Fact| fact.value.clone();
            let effect = effect.clone();
            found.insert(key.clone(), (before.map(value), after.map(value), effect));
        }
    }
    found
}
