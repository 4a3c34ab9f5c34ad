//! Operators' requests under way: verbs to the node or straight to an engine, answers back.

use super::Daemon;
use super::refusal::{self, Known};
use super::report::engine_trouble;
use crate::act::clock;
use crate::act::engine::CallEnd;
use crate::api::control::{GroupWant, Refusal, Request, Tell, Verb, WhatIf};
use crate::decide::event::{RequestId, Verb as OfMirror};
use crate::decide::group::{self, Act, GroupVerb, Part};
use crate::decide::node::{self, Event, PlanStep, Refused};
use crate::decide::settings::{GroupIndex, MonitorIndex, ResourceIndex};
use crate::decide::step::Waiting;
use crate::status::words::age;
use lockstep_engine::admin;
use lockstep_engine::units::Span;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use tokio::sync::mpsc;

/// Requests that may wait for the node at once.
const REQUESTS_MAX: usize = 64;
/// A watcher of the cluster, in the place of an engine's.
pub(super) const CLUSTER: usize = usize::MAX;

/// Who asked, and how.
#[derive(Debug)]
pub(super) struct Asker {
    id: RequestId,
    pub(super) to: mpsc::Sender<Tell>,
    pub(super) dry_run: bool,
}

/// Sends a line to an operator who may have gone away or stopped reading: then nobody needs it.
pub(super) fn tell(to: &mpsc::Sender<Tell>, line: Tell) {
    if to.try_send(line).is_err() {
        tracing::debug!("an operator does not read its answers");
    }
}

pub(super) fn refuse(to: &mpsc::Sender<Tell>, code: &str, message: String) {
    tell(to, Tell::Refused(Refusal { code: code.to_owned(), message }));
}

impl Daemon {
    /// Takes up a request.
    pub(super) fn request(&mut self, request: Request) {
        let (ask, to) = (request.ask, request.tell);
        let asker = |to| Asker { id: RequestId(request.id), to, dry_run: ask.dry_run };
        match ask.verb {
            Verb::Cluster => {
                let report = Box::new(self.cluster_report());
                return tell(&to, Tell::Cluster(report));
            }
            Verb::WatchCluster => {
                tell(&to, Tell::Cluster(Box::new(self.cluster_report())));
                return self.watchers.push((to, CLUSTER));
            }
            Verb::Apply { text } => return self.apply(text, ask.dry_run, to),
            Verb::WhatIf { node } => return tell(&to, Tell::WhatIf(self.what_if(node))),
            Verb::Service(verb) => return self.want(node::Verb::Cluster(verb), asker(to)),
            Verb::Group { name, want } => return self.group_verb(&name, want, asker(to)),
            Verb::Monitor { name, want } => {
                let place = self.view.monitors.iter().position(|one| one.settings.name == name);
                return match place {
                    Some(place) => {
                        self.want(node::Verb::Monitor(MonitorIndex(place), want), asker(to));
                    }
                    None => refuse(&to, "no-monitor", self.unknown("monitor", &name)),
                };
            }
            _ => {}
        }
        let place = match self.place_of(ask.volume.as_deref()) {
            Ok(place) => place,
            Err(message) => return refuse(&to, "no-volume", message),
        };
        self.volume_verb(place, ask.verb, asker(to));
    }

    fn place_of(&self, volume: Option<&str>) -> Result<usize, String> {
        let names = || self.view.engines.iter().map(|engine| engine.config.volume.name.as_str());
        match volume {
            Some(volume) => names()
                .position(|name| name == volume)
                .ok_or_else(|| self.unknown("volume", volume)),
            None if self.view.engines.len() == 1 => Ok(0),
            None => {
                let names: Vec<&str> = names().collect();
                Err(format!("request: there are several volumes; name one of {}", names.join(", ")))
            }
        }
    }

    fn unknown(&self, kind: &str, name: &str) -> String {
        let known: Vec<&str> = match kind {
            "volume" => self.view.engines.iter().map(|e| e.config.volume.name.as_str()).collect(),
            "group" => self.view.groups.iter().map(|g| g.settings.name.as_str()).collect(),
            _ => self.view.monitors.iter().map(|m| m.settings.name.as_str()).collect(),
        };
        format!("{kind} {name}: there is none of that name; known are: {}", known.join(", "))
    }

    fn volume_verb(&mut self, place: usize, verb: Verb, asker: Asker) {
        let group = self.slots[place].group;
        let to = &asker.to;
        let decision = match verb {
            Verb::Status => {
                return match self.report(place) {
                    Some(report) => tell(to, Tell::Status(Box::new(report))),
                    None => refuse(to, "no-volume", "the volume is in no group".to_owned()),
                };
            }
            Verb::Watch => {
                if let Some(report) = self.report(place) {
                    tell(to, Tell::Status(Box::new(report)));
                }
                return self.watchers.push((asker.to, place));
            }
            Verb::Stats => return self.call(place, admin::Verb::Stats, asker),
            Verb::PauseSync { paused } => {
                return self.direct(place, admin::Verb::PauseSync { paused }, asker);
            }
            Verb::Verify { start } => {
                return self.direct(place, admin::Verb::Verify { start }, asker);
            }
            Verb::Create { both_blank } => OfMirror::Create { both_blank },
            Verb::Start { without_peer } => OfMirror::Start { without_peer },
            Verb::Takeover => OfMirror::Takeover,
            Verb::Move => OfMirror::Move,
            Verb::Stop => OfMirror::Stop,
            Verb::ForcePromote { volume } => {
                if let Some(message) = self.mistyped(place, &volume) {
                    return refuse(to, "name", message);
                }
                if !asker.dry_run {
                    tracing::warn!(volume, "an operator forces this copy to be the truth");
                }
                OfMirror::ForcePromote
            }
            Verb::DiscardLocal { volume } => {
                return match self.mistyped(place, &volume) {
                    Some(message) => refuse(to, "name", message),
                    None => self.discard_local(place, asker),
                };
            }
            _ => return refuse(to, "not-understood", "no verb of a volume".to_owned()),
        };
        self.want(node::Verb::Mirror(group, decision), asker);
    }

    /// What is said when something else was typed than the name of the volume.
    fn mistyped(&self, place: usize, typed: &str) -> Option<String> {
        let name = &self.view.engines[place].config.volume.name;
        let told = || {
            format!("volume {name}: \"{typed}\" was typed instead of its name; nothing was done")
        };
        (typed != name).then(told)
    }

    fn group_verb(&mut self, name: &str, want: GroupWant, asker: Asker) {
        let place = self.view.groups.iter().position(|group| group.settings.name == name);
        let Some(place) = place else {
            return refuse(&asker.to, "no-group", self.unknown("group", name));
        };
        let resources = &self.view.groups[place].settings.resources;
        let resource = |name: &str| {
            let found = resources.iter().position(|resource| resource.name == name);
            found.map(ResourceIndex).ok_or_else(|| {
                let known: Vec<&str> = resources.iter().map(|one| one.name.as_str()).collect();
                format!("resource {name}: there is none; known are: {}", known.join(", "))
            })
        };
        let verb = match want {
            GroupWant::Start { without_peer } => Ok(GroupVerb::Start { without_peer }),
            GroupWant::Stop => Ok(GroupVerb::Stop),
            GroupWant::Move => Ok(GroupVerb::Move),
            GroupWant::Failover => Ok(GroupVerb::Failover),
            GroupWant::ResourceStart { resource: name } => {
                resource(&name).map(GroupVerb::ResourceStart)
            }
            GroupWant::ResourceStop { resource: name } => {
                resource(&name).map(GroupVerb::ResourceStop)
            }
        };
        match verb {
            Ok(verb) => self.want(node::Verb::Group(GroupIndex(place), verb), asker),
            Err(message) => refuse(&asker.to, "no-resource", message),
        }
    }

    /// Shows the status to all watchers; one that went away is forgotten, one that is slow misses
    /// a line.
    pub(super) fn show_watchers(&mut self) {
        self.watchers.retain(|(to, _)| !to.is_closed());
        let mut shown: HashMap<usize, Tell> = HashMap::new();
        for (to, place) in &self.watchers {
            let line = match shown.entry(*place) {
                Entry::Occupied(line) => line.get().clone(),
                Entry::Vacant(free) => {
                    let report = if *place == CLUSTER {
                        Tell::Cluster(Box::new(self.cluster_report()))
                    } else if let Some(report) = self.report(*place) {
                        Tell::Status(Box::new(report))
                    } else {
                        continue;
                    };
                    free.insert(report).clone()
                }
            };
            tell(to, line);
        }
    }

    fn want(&mut self, verb: node::Verb, Asker { id, to, dry_run }: Asker) {
        let group = match verb {
            node::Verb::Group(group, _) | node::Verb::Mirror(group, _) => group,
            node::Verb::Cluster(_) | node::Verb::Monitor(..) => GroupIndex(0),
        };
        let plan = self.node.would(verb, clock::now());
        let unheard = plan.refused.is_none().then(|| self.unheard(&plan)).flatten();
        if dry_run {
            let alive = plan.refused.is_none() && self.is_answered(&plan, group);
            let alive = alive.then_some(crate::decide::step::Refused::PeerAlive);
            let alive = alive.map(|why| Refused::Group(group::Refused::Arbitration(why)));
            let refused = plan.refused.or(alive).map(|why| self.explain(&why, group)).or(unheard);
            let steps = plan.steps.iter().filter(|_| refused.is_none());
            let steps = steps.map(|step| self.plan_step(step)).collect();
            return tell(&to, Tell::Plan { refused, steps });
        }
        if let Some(refusal) = unheard {
            return tell(&to, Tell::Refused(refusal));
        }
        if self.requests.len() >= REQUESTS_MAX {
            return tell(&to, Tell::Refused(self.explain(&Refused::Busy, group)));
        }
        tracing::info!(request = id.0, "an operator asks: {}", self.verb_words(&verb));
        self.requests.insert(id, (to, group));
        self.event(Event::Operator { request: id, verb });
    }

    /// Nothing is handed to a node whose daemon has just gone silent: it may be dead, although its
    /// silence is no evidence yet.
    fn unheard(&self, plan: &node::Plan) -> Option<Refusal> {
        let peer = self.view.node.peer();
        let handed = |step: &PlanStep| match step {
            PlanStep::Resource { node, .. } => *node == peer,
            PlanStep::Record { transition, .. } => *transition == "move",
            _ => false,
        };
        if !plan.steps.iter().any(handed) {
            return None;
        }
        refusal::unheard(peer, self.silence(), self.view.heartbeat.interval)
    }

    fn silence(&self) -> Option<Span> {
        let now = clock::now();
        self.exchange.heard().map(|heard| now.since(heard))
    }

    /// Whether a takeover that is planned would be answered by the next heartbeat of the owner.
    fn is_answered(&self, plan: &node::Plan, group: GroupIndex) -> bool {
        let takes =
            |step: &PlanStep| matches!(step, PlanStep::Record { transition: "takeover", .. });
        let around = self.node.around_of(group, clock::now());
        let evident = around.is_some_and(|around| around.evidence);
        let (peer, interval) = (self.view.node.peer(), self.view.heartbeat.interval);
        let heard = refusal::unheard(peer, self.silence(), interval).is_none();
        plan.steps.iter().any(takes) && heard && !evident
    }

    /// A verb that needs no decision: refused with what stands against it here, else carried out by
    /// the engine.
    fn direct(&mut self, place: usize, verb: admin::Verb, asker: Asker) {
        let volume = &self.view.engines[place].config.volume.name;
        let slot = &self.slots[place];
        let refused = match (&slot.build, slot.status.as_deref()) {
            (Some(_), Some(status)) => refusal::of_engine_verb(&verb, volume, status),
            _ => Some(self.engine_away(slot.group)),
        };
        match refused {
            refused if asker.dry_run => {
                let steps = refused.is_none().then(|| refusal::engine_step(&verb, volume));
                tell(&asker.to, Tell::Plan { refused, steps: steps.into_iter().collect() });
            }
            Some(refusal) => tell(&asker.to, Tell::Refused(refusal)),
            None => self.call(place, verb, asker),
        }
    }

    pub(super) fn engine_away(&self, group: GroupIndex) -> Refusal {
        let away = crate::decide::step::Refused::EngineAway;
        self.explain(&Refused::Group(group::Refused::Arbitration(away)), group)
    }

    /// A call that needs no decision goes straight to the engine.
    fn call(&mut self, place: usize, verb: admin::Verb, Asker { to, .. }: Asker) {
        let slot = &self.slots[place];
        let gone = self.engine_away(slot.group);
        if slot.build.is_none() {
            return tell(&to, Tell::Refused(gone));
        }
        let ended = slot.engine.call(verb);
        tokio::spawn(async move {
            let line = match ended.await.unwrap_or(CallEnd::Gone) {
                CallEnd::Done(Some(stats)) => Tell::Stats(stats),
                CallEnd::Done(None) => Tell::Done,
                CallEnd::Refused(admin::Refused { code, message }) => {
                    Tell::Refused(Refusal { code, message })
                }
                CallEnd::Gone => Tell::Refused(gone),
            };
            tell(&to, line);
        });
    }

    pub(super) fn explain(&self, refused: &Refused, group: GroupIndex) -> Refusal {
        let node = self.view.node;
        let found = self.view.groups.get(group.0);
        let record = self.node.decider(group).and_then(|decider| decider.view().record);
        let stale = record.filter(|record| !record.is_member(node));
        let volumes = self
            .slots_of(group)
            .map(|(place, _)| self.view.engines[place].config.volume.name.as_str());
        let volumes = volumes.collect::<Vec<_>>().join(", ");
        let now = clock::now();
        let mut troubles = self.slots_of(group).filter_map(|(_, slot)| engine_trouble(slot, now));
        let keeper = || self.keepers.trouble(group).map(str::to_owned);
        let trouble = troubles.next().or_else(keeper);
        let names = found.map_or(&[][..], |found| &found.settings.resources[..]);
        refusal::explain(
            refused,
            &Known {
                group: found.map_or("", |found| found.settings.name.as_str()),
                volume: &volumes,
                resources: &names.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
                node,
                stale_since: stale.map(|record| record.since),
                arbiter: &self.stores.get(group.0).map(|s| s.arbiter.health()).unwrap_or_default(),
                engine_trouble: trouble.as_deref(),
                peer: &self.peer_words(),
                wall_ms: clock::wall_ms(),
            },
        )
    }

    /// What keeps the peer from taking anything over, if that is known.
    fn peer_words(&self) -> String {
        let now = clock::now();
        let peer = self.node.view(now).peer;
        match (peer, self.exchange.heard()) {
            (Some(peer), _) if peer.part == Part::Stopped => "takes no part: stopped".to_owned(),
            (Some(peer), _) if peer.part == Part::Suspended => "is suspended".to_owned(),
            (Some(_), _) => "is not healthy".to_owned(),
            (None, Some(heard)) => {
                let ago = age(now.since(heard).as_millis());
                format!("is away: the last heartbeat of its daemon came {ago} ago")
            }
            (None, None) => "is away: its daemon was not heard yet".to_owned(),
        }
    }

    /// The last line of a request.
    pub(super) fn reply(&mut self, request: RequestId, result: Result<(), Refused>) {
        let Some((to, group)) = self.requests.remove(&request) else { return };
        let line = match &result {
            Ok(()) => {
                tracing::info!(request = request.0, "the operator's request is done");
                Tell::Done
            }
            Err(refused) => {
                let refusal = self.explain(refused, group);
                let because = &refusal.message;
                tracing::info!(request = request.0, "the operator's request is refused: {because}");
                Tell::Refused(refusal)
            }
        };
        tell(&to, line);
    }

    /// A request with the name of what it is about, for the log.
    fn verb_words(&self, verb: &node::Verb) -> String {
        let group = |group: &GroupIndex| {
            let found = self.view.groups.get(group.0);
            found.map_or("", |found| found.settings.name.as_str()).to_owned()
        };
        match verb {
            node::Verb::Cluster(verb) => format!("cluster service: {verb:?}"),
            node::Verb::Group(index, verb) => format!("group {}: {verb:?}", group(index)),
            node::Verb::Mirror(index, verb) => {
                format!("mirror of group {}: {verb:?}", group(index))
            }
            node::Verb::Monitor(index, verb) => {
                let found = self.view.monitors.get(index.0);
                let name = found.map_or("", |found| found.settings.name.as_str());
                format!("monitor {name}: {verb:?}")
            }
        }
    }

    /// What a request waits for.
    pub(super) fn progress(&self, request: RequestId, waiting: Waiting) {
        let Some((to, group)) = self.requests.get(&request) else { return };
        let health = self.stores.get(group.0).map(|store| store.arbiter.health());
        let (word, message) =
            refusal::waiting(waiting, self.view.node, &health.unwrap_or_default());
        tell(to, Tell::Progress { waiting: word.to_owned(), message });
    }

    fn what_if(&self, lost: lockstep_engine::units::NodeId) -> Vec<WhatIf> {
        let findings = self.node.what_if_node_down(lost, clock::now());
        let told = findings.into_iter().map(|finding| {
            let here = lost == self.view.node.peer();
            let against = self.against_going_on(finding.group, clock::now()).filter(|_| here);
            let mut because: Vec<String> =
                against.iter().chain(&finding.because).map(|why| why.told(lost)).collect();
            because.extend(self.told_without_store(lost));
            let survives = finding.survives && against.is_none();
            WhatIf { group: finding.name.clone(), survives, because }
        });
        told.collect()
    }

    fn plan_step(&self, step: &PlanStep) -> String {
        match step {
            PlanStep::Resource { node, group, resource, act } => {
                let found = self.view.groups.get(group.0);
                let name = found.and_then(|found| found.settings.resources.get(resource.0));
                let name = name.map_or("", |resource| resource.name.as_str());
                let word = match act {
                    Act::Check => "check",
                    Act::Start => "start",
                    Act::Stop => "stop",
                    Act::Kill => "kill",
                };
                format!("{word} {name} on node {node}")
            }
            PlanStep::Record { group, transition } => {
                let found = self.view.groups.get(group.0);
                let name = found.map_or("", |found| found.settings.name.as_str());
                format!("change the record of group {name}: {transition}")
            }
            PlanStep::TakesPart(true) => "this node takes part".to_owned(),
            PlanStep::TakesPart(false) => "this node takes no part any more".to_owned(),
            PlanStep::Suspends(true) => "nothing is decided without an operator".to_owned(),
            PlanStep::Suspends(false) => "decisions are made again".to_owned(),
            PlanStep::Monitor => "the monitor changes its ways, nothing else does".to_owned(),
        }
    }
}
