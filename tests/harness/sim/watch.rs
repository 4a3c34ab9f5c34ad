//! Watches from outside what SAFETY asks of a group: what is on, where, and when. As `witness`, it
//! asks nobody what they believe; it sees resources, acts, records and heartbeats.
//!
//! Always checked: (a) nothing that answers clients is on at two hosts, and whoever loses the group
//! has all of it off before the record says so; (b) a resource comes on after all that it needs,
//! and goes off after all that need it; (c) after healing the group is up on one node, a member
//! that owns it; (d) what an operator has stopped stays down; (e) nothing answers clients for long
//! on a host whose engine does not.
//! Excused is a host that could not act: frozen, or without a daemon for longer than half of FENCE.

use super::group::{APP, FS, G, HANDS, MIRROR};
use super::judge::index;
use super::world::World;
use lockstep_ctl::decide::event::Verb as OfMirror;
use lockstep_ctl::decide::group::{self, Act, GroupVerb, Part, State};
use lockstep_ctl::decide::node::{ENGINE_BACK, Note, PeerState, Verb};
use lockstep_ctl::decide::record::Record;
use lockstep_ctl::decide::settings::ResourceIndex;
use lockstep_engine::units::{Members, Mirror, NodeId, Role, Span, Tick, Version};

/// What is told of an engine comes to the group within this.
const TOLD: Span = Span::millis(5);
/// Beside FENCE: a wake-up, a reset of the host.
const SLACK: Span = Span::millis(200);

/// What was seen. Indices are nodes.
#[derive(Default)]
pub struct Watch {
    /// A node has said in this boot that an operator has stopped the group.
    stopped: [bool; 2],
    /// What that node remembers of a stop is over: the group has come up since, elsewhere and
    /// unseen from there (a takeover from a node that was cut off while it stopped the group).
    over: [bool; 2],
    /// An operator has asked for the group since it was stopped.
    wanted: bool,
    /// Since when a node has something on although its engine serves nobody.
    idle: [Option<Tick>; 2],
    /// Since when a node has something on that it does not own.
    foreign: [Option<Tick>; 2],
}

impl World {
    /// Whether a host could not do what SAFETY asks of it in time.
    fn is_excused(&self, node: NodeId) -> bool {
        let now = self.now();
        let host = &self.hosts[index(node)];
        let fence = self.plan.times.fence;
        let forced = self.arbiter.newest().is_some_and(|record| record.forced);
        let frozen = host.frozen_until.after(fence).after(SLACK) > now;
        let Some(daemon) = &host.daemon else { return true };
        let half = Span(fence.0 / 2);
        let unkillable = host.notes.hands.iter().any(|hand| hand.trouble.is_some());
        let late = daemon.since.since(host.notes.daemon_gone) > half || unkillable;
        let young = daemon.since.after(half).after(fence).after(SLACK) > now;
        forced || frozen || (late && young)
    }

    /// A resource comes on.
    pub fn watch_coming_on(&mut self, node: NodeId, resource: ResourceIndex) {
        let peer = node.peer();
        if resource == FS {
            return; // A mount on a fenced engine answers nobody.
        }
        if resource == APP {
            self.watch.stopped = [false; 2];
            self.watch.over = [NodeId::A, NodeId::B].map(|each| self.remembers_stop(each));
        }
        let there = self.answering(peer);
        if !there.is_empty() && !self.is_excused(peer) && !self.is_excused(node) {
            let text = format!("(a): {resource:?} comes on at {node} while {peer} has {there:?}");
            self.judge.violate(format!("{text}; {}", self.describe()));
        }
    }

    /// The arbiter took a record: whoever has lost the group has nothing on that answers.
    pub fn watch_record(&mut self, before: Option<&Record>, record: &Record) {
        if self.plan.group.is_none() || record.forced {
            return;
        }
        let Some(old) = before.and_then(|before| before.owner) else { return };
        let left = self.answering(old);
        if record.owner != Some(old) && !left.is_empty() && !self.is_excused(old) {
            let version = record.version.0;
            let text = format!("(a): v{version} takes the group from {old}, which has {left:?} on");
            self.judge.violate(format!("{text}; {}", self.describe()));
        }
    }

    /// A node asks the arbiter to pass its group on, or to end its ownership.
    pub fn watch_gives(&mut self, node: NodeId) {
        let on = self.on(node);
        if self.plan.group.is_some() && !on.is_empty() {
            self.judge.violate(format!("(a): {node} gives the group away with {on:?} on"));
        }
    }

    /// A daemon announces a release.
    pub fn watch_release(&mut self, node: NodeId, version: Option<Version>) {
        let left = self.answering(node);
        if version.is_some() && !left.is_empty() && !self.is_excused(node) {
            self.judge.violate(format!("(a): {node} releases the group with {left:?} on"));
        }
    }

    /// A node does something to a resource.
    pub fn watch_act(&mut self, node: NodeId, resource: ResourceIndex, act: Act) {
        let Some(plan) = &self.plan.group else { return };
        let host = &self.hosts[index(node)];
        let is_on = |resource: &ResourceIndex| host.notes.hands[resource.0].on;
        let settings = &plan.settings.resources;
        let text = match act {
            Act::Start => {
                // A host that stood still hears of its engine's end when it goes on.
                let ended = host.notes.served_until.max(host.frozen_until);
                let served = self.serves(node)
                    || (host.notes.served_until > Tick(0) && ended.after(TOLD) > self.now());
                let off = |needed: &&ResourceIndex| {
                    if **needed == MIRROR { !served } else { !is_on(needed) }
                };
                let missing = settings[resource.0].after.iter().find(off);
                let stopped = self.watch.stopped[index(node)] && !self.watch.wanted;
                match missing {
                    Some(needed) => {
                        format!("(b): {node} starts {resource:?} while {needed:?} is not on")
                    }
                    None if stopped => {
                        format!("(d): {node} starts {resource:?}, which an operator has stopped")
                    }
                    None => return,
                }
            }
            Act::Stop => {
                let needs = |other: &&ResourceIndex| {
                    settings[other.0].after.contains(&resource) && is_on(other)
                };
                match HANDS.iter().find(needs) {
                    Some(other) => format!("(b): {node} stops {resource:?} while {other:?} is on"),
                    None => return,
                }
            }
            Act::Check | Act::Kill => return,
        };
        self.judge.violate(format!("{text}; {}", self.describe()));
    }

    /// A node says something that a fault of the rules would make it say too early, or that the
    /// group is up: whoever looks next may find it on its way back to its best node, and it is down
    /// since then only.
    pub fn watch_note(&mut self, node: NodeId, note: &Note) {
        if matches!(note, Note::Group(_, group::Note::State(State::Up)))
            && self.healed
            && self.group_is_up()
        {
            self.idle_since = self.now();
        }
        let Note::Group(_, group::Note::FailsBack) = note else { return };
        let engine = self.hosts[index(node)].engine.as_ref();
        let synced = engine.is_some_and(|e| e.replica.status().mirror == Mirror::InSync);
        if self.members() != Members::BOTH || !(synced || engine.is_none()) {
            let text = format!("(c): {node} gives the group back to a node that may lack writes");
            self.judge.violate(format!("{text}; {}", self.describe()));
        }
    }

    /// A node says something new of itself in its heartbeats.
    pub fn watch_announced(&mut self, node: NodeId) {
        let daemon = self.hosts[index(node)].daemon.as_ref();
        let stopped = daemon.is_some_and(|daemon| is_stopped(&daemon.announced));
        self.watch.over[index(node)] &= self.remembers_stop(node);
        self.watch.stopped[index(node)] |= stopped && !self.watch.over[index(node)];
    }

    /// Whether a node remembers a stop, or its next daemon will.
    fn remembers_stop(&self, node: NodeId) -> bool {
        let known = &self.hosts[index(node)].notes.memory.groups;
        known.iter().any(|(_, memory)| memory.stopped)
    }

    /// Whether a node says that an operator has stopped the group.
    pub fn says_stopped(&self, node: NodeId) -> bool {
        let daemon = self.hosts[index(node)].daemon.as_ref();
        daemon.is_some_and(|daemon| is_stopped(&daemon.announced))
    }

    /// An operator has asked a node to stop the group, which it had not said before.
    pub fn watch_stopped(&mut self, node: NodeId, before: bool) {
        if !before && self.says_stopped(node) {
            self.watch.wanted = false;
        }
    }

    /// An operator asks for something.
    pub fn watch_wish(&mut self, verb: Verb) {
        let wanted = match verb {
            Verb::Group(_, verb) => verb != GroupVerb::Stop,
            Verb::Mirror(_, verb) => !matches!(verb, OfMirror::Stop | OfMirror::Create { .. }),
            Verb::Cluster(_) | Verb::Monitor(..) => false,
        };
        if wanted {
            self.watch.wanted = true;
            self.watch.stopped = [false; 2];
        }
    }

    /// A host has lost power, and with it what it knew.
    pub fn watch_power_loss(&mut self, node: NodeId) {
        self.watch.stopped[index(node)] = false;
        self.watch.over[index(node)] = false;
        self.watch.idle[index(node)] = None;
        self.watch.foreign[index(node)] = None;
    }

    /// Now and then: whether a node may have on what it has on, and whether two think so.
    pub fn watch_right(&mut self, node: NodeId) {
        if self.plan.group.is_none() {
            return;
        }
        let now = self.now();
        let answers = !self.answering(node).is_empty();
        let engine = self.hosts[index(node)].engine.as_ref();
        let rests = engine
            .is_some_and(|engine| !engine.open && engine.replica.status().role == Role::Secondary);
        let owner = self.arbiter.newest().and_then(|record| record.owner);
        let excused = self.is_excused(node);
        let since = |was: Option<Tick>, is: bool| is.then(|| was.unwrap_or(now));
        let idle = since(self.watch.idle[index(node)], answers && rests && !excused);
        let foreign = answers && owner != Some(node) && !excused;
        let foreign = since(self.watch.foreign[index(node)], foreign);
        self.watch.idle[index(node)] = idle;
        self.watch.foreign[index(node)] = foreign;
        let fence = self.plan.times.fence.plus(SLACK);
        let over = |since: Option<Tick>, limit: Span| since.is_some_and(|at| now > at.after(limit));
        let slow = Span(self.hosts[index(node)].disk.faults.slow);
        if over(idle, ENGINE_BACK.plus(fence).plus(slow)) {
            let text = format!("(e): {node} has resources on and an engine that serves nobody");
            self.judge.violate(format!("{text}; {}", self.describe()));
        } else if over(foreign, fence) {
            let text = format!("(e): {node} has resources on and does not own the group");
            self.judge.violate(format!("{text}; {}", self.describe()));
        } else if self.is_online(node) && self.is_online(node.peer()) {
            let known = !excused && !self.is_excused(node.peer());
            if known {
                let text = "(a): the group is online at both nodes".to_owned();
                self.judge.violate(format!("{text}; {}", self.describe()));
            }
        }
    }

    /// What the group of a node is doing.
    pub fn state_of(&self, node: NodeId) -> Option<State> {
        let daemon = self.hosts[index(node)].daemon.as_ref()?;
        Some(daemon.brain.node()?.group(G)?.state())
    }

    fn is_online(&self, node: NodeId) -> bool {
        self.state_of(node).is_some_and(State::is_online)
    }

    /// Whether the peer of an owner that has died would take the group over without an operator.
    pub fn would_take(&self, node: NodeId) -> bool {
        let Some(plan) = &self.plan.group else { return true };
        let Some(daemon) = &self.hosts[index(node)].daemon else { return false };
        let said = daemon.brain.announce();
        let free = said.groups.iter().all(|group| !group.barred && group.state == State::Down);
        plan.settings.failover_auto && free && said.part == Part::Takes
    }

    /// (c): up on exactly one node, which owns it and is a member, and nothing on at the other.
    pub fn group_is_up(&self) -> bool {
        if self.plan.group.is_none() {
            return true;
        }
        let up = |node: &NodeId| {
            let all = self.on(*node).len() == HANDS.len();
            all && self.serves(*node) && self.state_of(*node) == Some(State::Up)
        };
        let owner = self.arbiter.record.as_ref().and_then(|record| record.owner);
        owner.is_some_and(|node| {
            let other = node.peer();
            let down = self.on(other).is_empty() && self.state_of(other) == Some(State::Down);
            up(&node) && down && self.members().contains(node)
        })
    }

    /// What is on and what each node thinks, for reports.
    pub fn describe_group(&self) -> String {
        if self.plan.group.is_none() {
            return String::new();
        }
        let one = |node: NodeId| {
            let on: Vec<usize> = self.on(node).iter().map(|resource| resource.0).collect();
            let said = self.hosts[index(node)].daemon.as_ref().map(|d| d.brain.announce());
            format!("; {node}: group {:?} on {on:?} says {said:?}", self.state_of(node))
        };
        one(NodeId::A) + &one(NodeId::B)
    }
}

fn is_stopped(state: &PeerState) -> bool {
    state.groups.first().is_some_and(|group| group.stopped)
}
