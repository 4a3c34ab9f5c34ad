//! Effects on resources, probes and scripts under way.
//! Always: of one resource at most one effect runs; the next one begins when the dropped one has
//! let go. What ends after its deadline may still report: the node knows that it is late.

use super::forced::Stops;
use super::{Daemon, End, cloud};
use crate::act::aws::moves::Mover;
use crate::act::clock;
use crate::act::last::LastError;
use crate::act::probe::spec::Found as Seen;
use crate::act::probe::{self, Surroundings};
use crate::act::resource::program::{self, Rest};
use crate::act::resource::spec::Spec;
use crate::act::resource::{self, Context, State};
use crate::config::cluster::NodeView;
use crate::decide::event::StepId;
use crate::decide::group::{Act, Outcome};
use crate::decide::monitor::Found;
use crate::decide::node::HostAction;
use crate::decide::settings::{FinalAction, GroupIndex, MonitorIndex, OnNoResponse, ResourceIndex};
use lockstep_engine::units::{Span, Tick};
use std::collections::HashMap;
use tokio::task::JoinHandle;

/// What runs on the resources.
pub(super) struct Effects {
    running: HashMap<(GroupIndex, ResourceIndex), JoinHandle<()>>,
    /// Moves addresses of AWS, where there are some.
    pub mover: Option<Mover>,
    /// Forced stops that others wait for.
    pub stops: Stops,
}

impl Effects {
    /// Nothing runs yet.
    pub(super) fn new(view: &NodeView) -> Effects {
        Effects { running: HashMap::new(), mover: cloud::mover(view), stops: Stops::default() }
    }

    /// Whether nothing is being done to any resource.
    pub(super) fn is_idle(&self) -> bool {
        self.running.values().all(JoinHandle::is_finished)
    }
}

impl Daemon {
    /// Does something to a resource, after what is being done to it has been dropped.
    pub(super) fn affect(
        &mut self,
        group: GroupIndex,
        id: StepId,
        resource: ResourceIndex,
        act: Act,
        deadline: Tick,
    ) {
        let found = self.view.groups.get(group.0).and_then(|found| found.specs.get(resource.0));
        let (Some(spec), Some(context)) = (found.cloned(), self.context_of(group, resource, act))
        else {
            return tracing::error!(?group, ?resource, "no such resource; this is a defect");
        };
        let before = self.effects.running.remove(&(group, resource));
        if let Some(moving) = self.moving(group, &spec, &context) {
            let task = self.move_address((group, id, resource), moving, act, deadline, before);
            self.effects.running.insert((group, resource), task);
            return;
        }
        let ends = self.ends.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                before.abort();
                // Its end is what matters, not how it ended.
                let _ = before.await;
            }
            let outcome = carry_out(&spec, &context, act, deadline).await;
            // The receiver lives as long as the daemon.
            let _ = ends.send(End::Resource { group, id, outcome }).await;
        });
        self.effects.running.insert((group, resource), task);
    }

    fn context_of(&self, group: GroupIndex, resource: ResourceIndex, act: Act) -> Option<Context> {
        let found = self.view.groups.get(group.0)?;
        let name = &found.settings.resources.get(resource.0)?.name;
        let event = match act {
            Act::Check => "check",
            Act::Start => "start",
            Act::Stop => "stop",
            Act::Kill => "kill",
        };
        Some(self.context(&found.settings.name, name, event))
    }

    fn context(&self, group: &str, resource: &str, event: &str) -> Context {
        let host = &self.view.hosts[usize::from(self.view.node.to_byte() - 1)];
        Context {
            node: host.name.clone(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            event: event.to_owned(),
            runtime_dir: self.view.run_dir.clone(),
            state_dir: self.view.state_dir.clone(),
        }
    }

    /// Looks at what a monitor watches.
    pub(super) fn look(&self, monitor: MonitorIndex, id: StepId, deadline: Tick) {
        use probe::spec::Spec as Watched;
        let Some(found) = self.view.monitors.get(monitor.0) else { return };
        let (spec, name) = (found.spec.clone(), &found.settings.name);
        let context = self.context("monitors", name, "monitor");
        let watched = match &spec {
            Watched::Resource { group, resource } => self.resource_named(group, resource),
            _ => None,
        };
        let mirror = match &spec {
            Watched::Mirror(volume) => {
                let place = self.view.engines.iter().position(|e| e.config.volume.id == *volume);
                place.map(|place| {
                    let name = self.view.engines[place].config.volume.name.clone();
                    (name, self.slots[place].told.subscribe())
                })
            }
            _ => None,
        };
        let (ends, began) = (self.ends.clone(), clock::now());
        if let Some(mover) =
            self.effects.mover.clone().filter(|_| is_of_aws(&spec, watched.as_ref()))
        {
            let warns = found.settings.on_no_response != OnNoResponse::Recover;
            tokio::spawn(async move {
                let found = match (&spec, &watched) {
                    (Watched::AwsZone { zone }, _) => {
                        mover.look_at_zone(zone.as_deref(), &context, warns, deadline).await
                    }
                    (_, Some((spec, context))) => mover.look(spec, context, warns, deadline).await,
                    _ => return,
                };
                let found = in_words_of_a_monitor(found);
                let _ = ends.send(End::Probed { monitor, id, found, began }).await;
            });
            return;
        }
        tokio::spawn(async move {
            let mut status = None;
            let mut volume = String::new();
            if let Some((name, mut told)) = mirror {
                // An engine that has only just been started, or connected to, is not silent yet.
                let spoken = told.wait_for(Option::is_some);
                let half = Span(deadline.since(clock::now()).0 / 2);
                let ends = tokio::time::timeout(clock::until(clock::now().after(half)), spoken);
                status = ends.await.ok().and_then(Result::ok).and_then(|status| status.clone());
                volume = name;
            }
            let around = Surroundings {
                context: &context,
                resource: watched.as_ref().map(|(spec, context)| (spec, context)),
                mirror: (&volume, status.as_deref()),
            };
            let found = in_words_of_a_monitor(probe::probe(&spec, around, deadline).await);
            let _ = ends.send(End::Probed { monitor, id, found, began }).await;
        });
    }

    fn resource_named(&self, group: &str, resource: &str) -> Option<(Spec, Context)> {
        let found = self.view.groups.iter().find(|found| found.settings.name == group)?;
        let place = found.settings.resources.iter().position(|one| one.name == resource)?;
        Some((found.specs.get(place)?.clone(), self.context(group, resource, "monitor")))
    }

    /// Runs the script of a monitor.
    pub(super) fn run_script(&self, monitor: MonitorIndex, id: StepId, deadline: Tick) {
        let Some(found) = self.view.monitors.get(monitor.0) else { return };
        let context = self.context("monitors", &found.settings.name, "recover");
        let (script, ends) = (found.script.clone(), self.ends.clone());
        tokio::spawn(async move {
            if let Some(script) = script {
                match program::run(&script, "script", Rest::Dies, &context, deadline).await {
                    Ok(outcome) if outcome.good() => {}
                    Ok(outcome) => {
                        let (monitor, said) = (&context.resource, outcome.words());
                        tracing::warn!(monitor, said, "recovery script failed");
                    }
                    Err(failure) => tracing::warn!(%failure, "recovery script not run"),
                }
            }
            let _ = ends.send(End::Scripted { monitor, id }).await;
        });
    }

    /// Does something to the host.
    pub(super) fn end_host(&self, action: HostAction) {
        let (hand, ends) = (self.hand.clone(), self.ends.clone());
        let of_group = match action {
            HostAction::Shutdown => FinalAction::Shutdown,
            HostAction::Reboot | HostAction::Reset => FinalAction::Reboot,
            HostAction::Panic => FinalAction::Panic,
        };
        tokio::spawn(async move {
            let done: Result<(), LastError> = match action {
                HostAction::Reset => hand.reset().await,
                _ => hand.carry_out(of_group).await,
            };
            if let Err(cause) = done {
                let _ = ends.send(End::HostFailed { cause: cause.to_string() }).await;
            }
        });
    }
}

/// Whether AWS is asked about it.
fn is_of_aws(spec: &probe::spec::Spec, watched: Option<&(Spec, Context)>) -> bool {
    let zone = matches!(spec, probe::spec::Spec::AwsZone { .. });
    zone || watched.is_some_and(|(spec, _)| Mover::is_for(spec))
}

fn in_words_of_a_monitor(seen: Seen) -> Found {
    match seen {
        Seen::Fine => Found::Fine,
        Seen::Worth(cause) => Found::Worth(cause),
        Seen::Wrong(cause) => Found::Wrong(cause),
        Seen::NoAnswer(cause) => Found::NoAnswer(cause),
    }
}

async fn carry_out(spec: &Spec, context: &Context, act: Act, deadline: Tick) -> Outcome {
    let failed = |failure: resource::Failure| Outcome::Failed(failure.to_string());
    match act {
        Act::Check => match resource::status(spec, context, deadline).await {
            Ok(State::On) => Outcome::On,
            Ok(State::Off) => Outcome::Off,
            Ok(State::Broken(cause)) => Outcome::Failed(cause),
            Err(failure) => failed(failure),
        },
        Act::Start => {
            resource::start(spec, context, deadline).await.map_or_else(failed, |()| Outcome::On)
        }
        Act::Stop => {
            resource::stop(spec, context, deadline).await.map_or_else(failed, |()| Outcome::Off)
        }
        Act::Kill => {
            resource::kill(spec, context, deadline).await.map_or_else(failed, |()| Outcome::Off)
        }
    }
}
