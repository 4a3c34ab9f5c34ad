//! One monitor on one node: when it probes, what a result counts as, and the recovery chain that an
//! error runs through (REFERENCE §4): script, reactivation, failover, final action.
//! Always: a warning never acts; a link of the chain is used up only when it is asked for; all
//! counters are zero again after a good probe; the same story gives the same steps, there is no
//! jitter. Survives: probes that never report.

mod chain;
mod view;

pub use view::{Health, MonitorView};

use super::event::StepId;
use super::settings::{FinalAction, MonitorSettings, OnNoResponse};
use lockstep_engine::units::{Span, Tick};
use serde::Serialize;
use std::collections::VecDeque;

/// A probe or a script that reports this long after its deadline counts as lost.
const REPORT_SLACK: Span = Span::millis(1_000);
/// A script of a recovery chain may take this long.
pub const SCRIPT_MAX: Span = Span::millis(60_000);

/// An error is this old before a final action: by then each node has heard what the other thinks
/// of itself, so that two with the same error do not stop each other. One that fences waits not.
pub const TOLD_AFTER: Span = Span::millis(1_500);

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A probe ended.
    Probed { id: StepId, found: Found },
    /// The script of the chain ended, well or not: the next probe tells whether it helped.
    Scripted { id: StepId },
    /// An operator wants no probes until `Resume`.
    Suspend,
    /// Probes again.
    Resume,
    /// Fails on purpose (true) for a rehearsal, or no longer.
    Fail(bool),
    /// An operator has started the cluster service: the chain begins anew.
    Reset,
    /// The deadline has come, or the context may have changed.
    Wake,
}

/// What a probe found; causes name object and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is as it should be.
    Fine,
    /// Worth a look; never acts.
    Worth(String),
    /// It is not as it should be.
    Wrong(String),
    /// Nothing could be found out.
    NoAnswer(String),
}

/// What a monitor has to know of its node, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Context {
    /// Its time: the cluster service runs here and, if asked for, the monitored resource is on.
    pub active: bool,
    /// Nothing of the target is on its way up or down.
    pub settled: bool,
    /// The target runs on this node.
    pub here: bool,
    /// The target's group could be passed to the other node now.
    pub can_fail_over: bool,
    /// The other node is healthy and takes part.
    pub other_healthy: bool,
    /// Errors are acted on: the global switch is not on "observe", this node is not suspended.
    pub acting: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look; report `Probed` by the deadline.
    Probe { id: StepId, deadline: Tick },
    /// Run the chain's script; report `Scripted` by the deadline.
    Script { id: StepId, deadline: Tick },
    /// Stop and start the target again.
    Reactivate,
    /// Pass the target's group to the other node.
    FailOver,
    /// Carry this out.
    Final(FinalAction),
    /// Worth a line.
    Note(Note),
}

/// Worth a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// Its health is now this, because of that.
    Health { health: Health, cause: Option<String> },
    /// The chain's link of that number is used.
    Recovers { link: Link, times: u32, of: u32 },
    /// Only observing: this link would have been used.
    WouldRecover(Link),
    /// A failover is due and there is no healthy node to take over.
    NoOtherNode,
    /// The final action is not carried out: there is no other healthy node (and it does not fence).
    Suppressed(FinalAction),
}

/// A link of the recovery chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// The monitor's script.
    Script,
    /// The target is stopped and started.
    Reactivate,
    /// The target's group goes to the other node.
    FailOver,
    /// The last resort.
    Final(FinalAction),
}

/// What a monitor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not its time, or suspended. Leaves to `Waiting` when the context says active.
    Idle,
    /// For the tick of the next probe; while a recovery that it asked for is under way, for its
    /// end. Leaves to `Probing`, with a dummy failure to itself, or to `Idle`.
    Waiting { at: Tick },
    /// For the report of a probe that began at `began`. Leaves with it or after the deadline.
    Probing { id: StepId, began: Tick, deadline: Tick },
    /// For the end of the chain's script. Leaves to `Waiting` with it or after the deadline.
    Scripting { id: StepId, deadline: Tick },
}

/// Links of the chain that were used since the last good probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Runs of the script.
    pub scripts: u32,
    /// Reactivations.
    pub reactivations: u32,
    /// Failovers.
    pub failovers: u32,
    /// The final action was asked for.
    pub final_action: bool,
}

/// Decides for one monitor on one node.
#[derive(Clone, Debug)]
pub struct Monitor {
    settings: MonitorSettings,
    phase: Phase,
    health: Health,
    cause: Option<String>,
    /// Bad probes in a row.
    bad: u32,
    used: Used,
    /// A link was used and its work may not be done.
    recovering: bool,
    suspended: bool,
    dummy: bool,
    /// Since when the health is what it is.
    since: Tick,
    told: Option<Note>,
    steps: VecDeque<Step>,
    last_step: u64,
}

impl Monitor {
    /// A monitor that has not looked yet.
    pub fn new(settings: MonitorSettings) -> Monitor {
        Monitor {
            settings,
            phase: Phase::Idle,
            health: Health::Unknown,
            cause: None,
            bad: 0,
            used: Used::default(),
            recovering: false,
            suspended: false,
            dummy: false,
            since: Tick(0),
            told: None,
            steps: VecDeque::new(),
            last_step: 0,
        }
    }

    /// Tells what happened.
    pub fn handle(&mut self, event: Event, context: &Context, now: Tick) {
        match event {
            Event::Probed { id, found } => self.probed(id, found, context, now),
            Event::Scripted { id } => {
                if matches!(self.phase, Phase::Scripting { id: open, .. } if open == id) {
                    self.rest(now.after(self.settings.interval));
                }
            }
            Event::Suspend => self.suspended = true,
            Event::Resume => self.suspended = false,
            Event::Fail(on) => self.dummy = on,
            Event::Reset => self.used = Used::default(),
            Event::Wake => {}
        }
        self.settle(context, now);
    }

    /// The next thing to do, in order.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When to call `handle` with `Event::Wake` at the latest.
    pub fn deadline(&self) -> Option<Tick> {
        match self.phase {
            Phase::Idle => None,
            Phase::Waiting { at } => Some(at),
            Phase::Probing { deadline, .. } | Phase::Scripting { deadline, .. } => {
                Some(deadline.after(REPORT_SLACK))
            }
        }
    }

    /// What it is configured to do.
    pub fn settings(&self) -> &MonitorSettings {
        &self.settings
    }

    fn settle(&mut self, context: &Context, now: Tick) {
        if self.suspended || !context.active {
            // What was asked for may report later; nobody waits for it any more.
            self.phase = Phase::Idle;
            self.bad = 0;
            if self.health != Health::Unknown {
                self.become_(Health::Unknown, None, now);
            }
            return;
        }
        if self.phase == Phase::Idle {
            self.rest(now.after(self.settings.wait_before_start));
        }
        match self.phase {
            Phase::Waiting { at } if now >= at => {
                if self.recovering && !context.settled {
                    self.rest(now.after(self.settings.interval));
                    return;
                }
                self.recovering = false;
                self.begin(context, now);
            }
            Phase::Probing { id, deadline, .. } if now >= deadline.after(REPORT_SLACK) => {
                let seconds = self.settings.timeout.as_millis() / 1000;
                let why = format!("no result within {seconds} s");
                self.probed(id, Found::NoAnswer(why), context, now);
            }
            Phase::Scripting { deadline, .. } if now >= deadline.after(REPORT_SLACK) => {
                self.rest(now.after(self.settings.interval));
            }
            _ => {}
        }
    }

    fn rest(&mut self, at: Tick) {
        self.phase = Phase::Waiting { at };
    }

    fn next_id(&mut self) -> StepId {
        self.last_step += 1;
        StepId(self.last_step)
    }

    /// A probe, or the result that a dummy failure stands for.
    fn begin(&mut self, context: &Context, now: Tick) {
        let (id, deadline) = (self.next_id(), now.after(self.settings.timeout));
        self.phase = Phase::Probing { id, began: now, deadline };
        if self.dummy {
            let found = Found::Wrong("fails on purpose, asked for by an operator".to_owned());
            return self.probed(id, found, context, now);
        }
        self.steps.push_back(Step::Probe { id, deadline });
    }

    fn probed(&mut self, id: StepId, found: Found, context: &Context, now: Tick) {
        let Phase::Probing { id: open, began, .. } = self.phase else { return };
        if open != id {
            return;
        }
        let next = began.after(self.settings.interval).max(now.after(Span::millis(1)));
        self.rest(next);
        let found = match (found, self.settings.on_no_response) {
            (Found::NoAnswer(_), OnNoResponse::Ignore) => return,
            (Found::NoAnswer(why), OnNoResponse::Warn) => Found::Worth(why),
            (Found::NoAnswer(why), OnNoResponse::Recover) => Found::Wrong(why),
            (other, _) => other,
        };
        match found {
            Found::Fine => {
                self.bad = 0;
                self.used = Used::default();
                self.told = None;
                self.become_(Health::Fine, None, now);
            }
            Found::Worth(why) | Found::NoAnswer(why) => {
                self.become_(Health::Warning, Some(why), now)
            }
            Found::Wrong(why) => {
                self.bad = self.bad.saturating_add(1);
                if self.bad <= self.settings.retries {
                    let health = match self.health {
                        Health::Error => Health::Error,
                        _ => Health::Doubtful,
                    };
                    return self.become_(health, Some(why), now);
                }
                self.become_(Health::Error, Some(why), now);
                self.escalate(context, now);
            }
        }
    }

    fn become_(&mut self, health: Health, cause: Option<String>, now: Tick) {
        let changed = self.health != health;
        self.health = health;
        self.cause.clone_from(&cause);
        if changed {
            self.since = now;
            self.steps.push_back(Step::Note(Note::Health { health, cause }));
        }
    }
}
