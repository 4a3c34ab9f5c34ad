//! Operators' requests under way: verbs to the node or straight to an engine, answers back.

use super::control::{GroupWant, Refusal, Tell, Verb, WhatIf};
use super::refusal::{self, Known};
use super::report::engine_trouble;
use super::{Daemon, operators};
use crate::act::clock;
use crate::act::engine::CallEnd;
use crate::decide::event::{RequestId, Verb as OfMirror};
use crate::decide::group::{self, Act, GroupVerb};
use crate::decide::node::{self, Event, PlanStep, Refused};
use crate::decide::settings::{GroupIndex, MonitorIndex, ResourceIndex};
use crate::decide::step::Waiting;
use lockstep_engine::admin;
use tokio::sync::mpsc;

/// Requests that may wait for the node at once.
const REQUESTS_MAX: usize = 64;
/// A watcher of the cluster, in the place of an engine's.
pub(super) const CLUSTER: usize = usize::MAX;
/// Most events of one answer.
const EVENTS_MAX: usize = 1_000;

/// Sends a line to an operator who may have gone away or stopped reading: then nobody needs it.
fn tell(to: &mpsc::Sender<Tell>, line: Tell) {
    if to.try_send(line).is_err() {
        tracing::debug!("an operator does not read its answers");
    }
}

fn refuse(to: &mpsc::Sender<Tell>, code: &str, message: String) {
    tell(to, Tell::Refused(Refusal { code: code.to_owned(), message }));
}

impl Daemon {
    /// Takes up a request.
    pub(super) fn request(&mut self, request: operators::Request) {
        let (ask, to) = (request.ask, request.tell);
        match ask.verb {
            Verb::Cluster => {
                let report = Box::new(self.cluster_report());
                return tell(&to, Tell::Cluster(report));
            }
            Verb::WatchCluster => {
                tell(&to, Tell::Cluster(Box::new(self.cluster_report())));
                return self.watchers.push((to, CLUSTER));
            }
            Verb::Events { after, most } => {
                let events = self.diary.after(after, most.min(EVENTS_MAX));
                return tell(&to, Tell::Events(events));
            }
            Verb::Apply { text } => return self.apply(text, ask.dry_run, to),
            Verb::WhatIf { node } => return tell(&to, Tell::WhatIf(self.what_if(node))),
            Verb::Service(verb) => return self.want(node::Verb::Cluster(verb), to, ask.dry_run),
            Verb::Group { name, want } => return self.group_verb(&name, want, to, ask.dry_run),
            Verb::Monitor { name, want } => {
                let place = self.view.monitors.iter().position(|one| one.settings.name == name);
                return match place {
                    Some(place) => {
                        let verb = node::Verb::Monitor(MonitorIndex(place), want);
                        self.want(verb, to, ask.dry_run);
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
        self.volume_verb(place, ask.verb, to, ask.dry_run);
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
                Err(format!("there are several volumes: name one of {}", names.join(", ")))
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

    fn volume_verb(&mut self, place: usize, verb: Verb, to: mpsc::Sender<Tell>, dry_run: bool) {
        let group = self.slots[place].group;
        let decision = match verb {
            Verb::Status => {
                return match self.report(place) {
                    Some(report) => tell(&to, Tell::Status(Box::new(report))),
                    None => refuse(&to, "no-volume", "the volume is in no group".to_owned()),
                };
            }
            Verb::Watch => {
                if let Some(report) = self.report(place) {
                    tell(&to, Tell::Status(Box::new(report)));
                }
                return self.watchers.push((to, place));
            }
            Verb::Stats => return self.call(place, admin::Verb::Stats, to),
            Verb::PauseSync { paused } => {
                return self.call(place, admin::Verb::PauseSync { paused }, to);
            }
            Verb::Verify { start } => return self.call(place, admin::Verb::Verify { start }, to),
            Verb::Create { both_blank } => OfMirror::Create { both_blank },
            Verb::Start { without_peer } => OfMirror::Start { without_peer },
            Verb::Takeover => OfMirror::Takeover,
            Verb::Move => OfMirror::Move,
            Verb::Stop => OfMirror::Stop,
            Verb::ForcePromote { volume } => {
                let name = &self.view.engines[place].config.volume.name;
                if volume != *name {
                    let message = format!(
                        "volume {name}: \"{volume}\" was typed instead of its name; nothing was \
                         done"
                    );
                    return refuse(&to, "name", message);
                }
                tracing::warn!(volume, "an operator forces this copy to be the truth");
                OfMirror::ForcePromote
            }
            _ => return refuse(&to, "not-understood", "no verb of a volume".to_owned()),
        };
        self.want(node::Verb::Mirror(group, decision), to, dry_run);
    }

    fn group_verb(&mut self, name: &str, want: GroupWant, to: mpsc::Sender<Tell>, dry_run: bool) {
        let place = self.view.groups.iter().position(|group| group.settings.name == name);
        let Some(place) = place else {
            return refuse(&to, "no-group", self.unknown("group", name));
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
            Ok(verb) => self.want(node::Verb::Group(GroupIndex(place), verb), to, dry_run),
            Err(message) => refuse(&to, "no-resource", message),
        }
    }

    /// Shows the status to all watchers; one that went away is forgotten, one that is slow misses
    /// a line.
    pub(super) fn show_watchers(&mut self) {
        self.watchers.retain(|(to, _)| !to.is_closed());
        for (to, place) in &self.watchers {
            if *place == CLUSTER {
                tell(to, Tell::Cluster(Box::new(self.cluster_report())));
            } else if let Some(report) = self.report(*place) {
                tell(to, Tell::Status(Box::new(report)));
            }
        }
    }

    fn want(&mut self, verb: node::Verb, to: mpsc::Sender<Tell>, dry_run: bool) {
        let group = match verb {
            node::Verb::Group(group, _) | node::Verb::Mirror(group, _) => group,
            node::Verb::Cluster(_) | node::Verb::Monitor(..) => GroupIndex(0),
        };
        if dry_run {
            let plan = self.node.would(verb, clock::now());
            let refused = plan.refused.map(|why| self.explain(&why, group).message);
            let steps = plan.steps.iter().map(|step| self.plan_step(step)).collect();
            return tell(&to, Tell::Plan { refused, steps });
        }
        if self.requests.len() >= REQUESTS_MAX {
            return tell(&to, Tell::Refused(self.explain(&Refused::Busy, group)));
        }
        self.last_request += 1;
        let request = RequestId(self.last_request);
        tracing::info!(?verb, request = request.0, "operator");
        self.requests.insert(request, (to, group));
        self.event(Event::Operator { request, verb });
    }

    /// A call that needs no decision goes straight to the engine.
    fn call(&mut self, place: usize, verb: admin::Verb, to: mpsc::Sender<Tell>) {
        let slot = &self.slots[place];
        let away = crate::decide::step::Refused::EngineAway;
        let away = Refused::Group(group::Refused::Arbitration(away));
        let gone = self.explain(&away, slot.group);
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

    fn explain(&self, refused: &Refused, group: GroupIndex) -> Refusal {
        let node = self.view.node;
        let found = self.view.groups.get(group.0);
        let record = self.node.decider(group).and_then(|decider| decider.view().record);
        let stale = record.filter(|record| !record.is_member(node));
        let slot = self.slot_of(group);
        let volume = slot.map(|(place, _)| self.view.engines[place].config.volume.name.as_str());
        let names = found.map_or(&[][..], |found| &found.settings.resources[..]);
        refusal::explain(
            refused,
            &Known {
                group: found.map_or("", |found| found.settings.name.as_str()),
                volume: volume.unwrap_or(""),
                resources: &names.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
                node,
                stale_since: stale.map(|record| record.since),
                arbiter: &self.stores.get(group.0).map(|s| s.arbiter.health()).unwrap_or_default(),
                engine_trouble: slot.and_then(|(_, slot)| engine_trouble(slot)),
                wall_ms: clock::wall_ms(),
            },
        )
    }

    /// The last line of a request.
    pub(super) fn reply(&mut self, request: RequestId, result: Result<(), Refused>) {
        let Some((to, group)) = self.requests.remove(&request) else { return };
        let line = match &result {
            Ok(()) => Tell::Done,
            Err(refused) => Tell::Refused(self.explain(refused, group)),
        };
        tracing::info!(request = request.0, ?result, "operator's request ended");
        tell(&to, line);
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
        let told = findings.into_iter().map(|finding| WhatIf {
            group: finding.name.clone(),
            survives: finding.survives,
            because: finding.because.iter().map(ToString::to_string).collect(),
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
