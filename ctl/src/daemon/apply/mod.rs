//! `cluster.toml` while the daemon runs: taking it from an operator, from the other node, and over.
//!
//! Two phases: both nodes look whether the file would do and put it beside the old one; then the
//! node that was asked makes it its own, and tells the other. From that rename on there is no way
//! back: a node that was away, or died in between, fetches it when they meet again. After that each
//! daemon lets what changes go down in order, is opened anew with the new file, and takes on what
//! runs.
//!
//! Always: what does not change is not touched; a daemon runs the old file until all that the new
//! one changes is down; a file is taken from the other node only if it is known to come after ours.
//! Survives: a crash of either node at any moment, files that were changed apart.

mod coordinate;
mod peer;
pub(super) mod reload;
mod source;
#[cfg(test)]
mod tests;
mod words;

pub use source::{Source, SourceError, this_node};

use super::{Daemon, End};
use crate::act::clock;
use crate::act::events::Weight;
use crate::act::installed::Record;
use crate::act::peer::Asked;
use crate::api::control::{Applied, ConfigPlan, Refusal, Tell};
use crate::config::cluster::{Change, Cluster, Effect, changes, rests};
use crate::decide::group::Part;
use crate::decide::node::Event;
use crate::decide::settings::{GroupIndex, ResourceIndex};
use lockstep_engine::units::{NodeId, Nonce, Span, Tick};
use tokio::sync::mpsc;

/// Largest file that is applied.
pub(crate) const TEXT_BYTES_MAX: usize = 256 << 10;
/// Beside the time-outs of what goes down, a change waits this long for groups to come to rest.
const SETTLE_SLACK: Span = Span::millis(30_000);
/// A change that found no rest is tried again after this.
const SETTLE_AGAIN: Span = Span::millis(60_000);
/// The last word of an `apply` waits this long for both nodes to run the new file.
const WATCH_MAX: Span = Span::millis(30_000);
/// Asks and files that wait for a task.
const DEFERRED_MAX: usize = 8;
/// Pause between two looks at the other node's file, while the two differ.
const LOOK_AGAIN: Span = Span::millis(2_000);

/// What is done about the file now.
#[derive(Debug)]
enum Phase {
    /// Nothing.
    Idle,
    /// A task looks, prepares or commits, for an operator here or by itself and for the other
    /// node. Leaves with `Done`.
    Working { operator: bool },
    /// The file is here; what it changes goes down. Leaves to another daemon, or to `Waiting`.
    Settling { next: Box<Next>, deadline: Tick },
    /// No rest was found: tried again then.
    Waiting { next: Box<Next>, at: Tick },
    /// Taken over; waits for what runs to be up again, and for the other node.
    Watching { telling: Telling, until: Tick },
}

/// A file that is to be taken over.
#[derive(Debug)]
struct Next {
    text: String,
    cluster: Cluster,
    record: Record,
    telling: Option<Telling>,
}

/// The operator who waits.
#[derive(Debug)]
struct Telling {
    tell: mpsc::Sender<Tell>,
    /// What became of it on the other node, as far as is known.
    other: String,
    /// It was heard when this was asked for. On other ways it has to be heard again first.
    heard: bool,
}

/// How a task has ended.
#[derive(Debug)]
pub(super) enum Done {
    /// Nothing has changed here. Trouble with the other node's file is replaced by this.
    Looked { trouble: Option<String> },
    /// Nothing has changed here, and nothing was found out.
    Nothing,
    /// Nothing has changed here, and an operator gets this as the last word.
    Said { tell: mpsc::Sender<Tell>, last: Box<Tell> },
    /// The same file has another version.
    Adopted(Record),
    /// This node has another file.
    Committed(Box<Committed>),
}

/// This node has another file.
#[derive(Debug)]
pub(super) struct Committed {
    record: Record,
    text: String,
    cluster: Cluster,
    telling: Option<Telling>,
}

/// The daemon's part of `cluster.toml`.
pub(super) struct Applying {
    /// None in a lab with a file of each node.
    source: Option<Source>,
    phase: Phase,
    trouble: Option<String>,
    /// Why the file that lies here can't be run.
    unfit: Option<String>,
    /// The other node's life and file when they were looked at last.
    looked: Option<(Nonce, u128)>,
    look_at: Tick,
    /// Wait until a short task has ended.
    deferred: Vec<Deferred>,
}

/// What waits for a task.
enum Deferred {
    /// An ask of the other daemon.
    Asked(Asked),
    /// A file that an operator brings.
    Apply { text: String, dry_run: bool, tell: mpsc::Sender<Tell> },
}

/// A file that an operator brings, beside what runs.
struct Draft {
    text: String,
    cluster: Cluster,
    changes: Vec<Change>,
    rests: Vec<String>,
}

impl Applying {
    pub(super) fn new(source: Option<Source>) -> Applying {
        let mut applying = Applying {
            source,
            phase: Phase::Idle,
            trouble: None,
            unfit: None,
            looked: None,
            look_at: Tick(0),
            deferred: Vec::new(),
        };
        // What was committed before this daemon was started is taken over now.
        let next = applying.source.as_mut().and_then(|source| {
            let text = source.next.take()?;
            let cluster = Cluster::parse(&text).ok()?;
            Some(Next { text, cluster, record: source.record.clone(), telling: None })
        });
        if let Some(next) = next {
            applying.phase = Phase::Waiting { next: Box::new(next), at: Tick(0) };
        }
        applying
    }

    /// Digest of what runs, for the heartbeats; zero when there is nothing to compare.
    pub(super) fn digest(&self) -> u128 {
        self.source.as_ref().map_or(0, |source| source.running().0)
    }

    /// Version of the file here, its digest, whether it runs, and what is wrong with it.
    pub(super) fn told(&self) -> Option<(u64, String, bool, Option<String>)> {
        let source = self.source.as_ref()?;
        let runs = source.running() == source.record.digest;
        let digest = source.record.digest.to_string();
        let trouble = self.unfit.as_ref().or(self.trouble.as_ref());
        Some((source.record.version, digest, runs, trouble.cloned()))
    }

    /// Whether something is on its way that may make the files of both nodes differ for a while.
    pub(super) fn is_moving(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// Whether what comes now waits for a task that ends soon by itself. An operator's own may wait
    /// for the other node, which must not wait for this one then.
    fn is_short(&self) -> bool {
        let room = self.deferred.len() < DEFERRED_MAX;
        room && matches!(self.phase, Phase::Working { operator: false })
    }

    /// Why nothing can be begun now.
    fn busy(&self, node: NodeId) -> Option<String> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Working { .. } | Phase::Watching { .. } => Some(format!(
                "node {node}: a change of the configuration is under way; try again in a moment"
            )),
            Phase::Settling { .. } | Phase::Waiting { .. } => Some(format!(
                "node {node} has not taken over the last file yet; see `lockstep status` there"
            )),
        }
    }
}

impl Daemon {
    /// An operator brings a file.
    pub(super) fn apply(&mut self, text: String, dry_run: bool, tell: mpsc::Sender<Tell>) {
        let node = self.view.node;
        if self.applying.is_short() {
            return self.applying.deferred.push(Deferred::Apply { text, dry_run, tell });
        }
        let refuse = |code: &str, message: String| {
            let refusal = Refusal { code: code.to_owned(), message };
            // Who went away needs no answer.
            let _ = tell.try_send(Tell::Refused(refusal));
        };
        if let Some(busy) = self.applying.busy(node) {
            return refuse("busy", busy);
        }
        let draft = match self.draft(text) {
            Ok(draft) => draft,
            Err((code, message)) => return refuse(code, message),
        };
        let mut stops = self.stops(&draft.changes);
        if needs_both(&draft.changes) && !self.peer_heard(clock::now()) {
            stops.push(format!(
                "node {} is not heard, and this change needs both nodes; bring it back first",
                node.peer()
            ));
        }
        let Some(source) = &self.applying.source else { return };
        let plan = coordinate::Plan {
            view: self.view.clone(),
            source: source.clone(),
            draft,
            stops,
            caller: self.peer_heard(clock::now()).then(|| self.caller.clone()),
            dry_run,
            tell,
        };
        tracing::info!(dry_run, digest = %plan.digest(), "an operator brings a configuration");
        self.applying.phase = Phase::Working { operator: true };
        let ends = self.ends.clone();
        tokio::spawn(async move {
            let done = coordinate::apply(plan).await;
            // The receiver lives as long as the daemon.
            let _ = ends.send(End::Config(done)).await;
        });
    }

    fn draft(&self, text: String) -> Result<Draft, (&'static str, String)> {
        let Some(source) = &self.applying.source else {
            let why = "this daemon runs from a file of its own node alone (--config); edit it and \
                       restart the daemon";
            return Err(("no-cluster-file", why.to_owned()));
        };
        if text.len() > TEXT_BYTES_MAX {
            let bytes = text.len();
            let why = format!("the file has {bytes} bytes, at most {TEXT_BYTES_MAX} are applied");
            return Err(("config-wrong", why));
        }
        let cluster = Cluster::parse(&text).map_err(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            ("config-wrong", format!("the file has mistakes:\n  {}", lines.join("\n  ")))
        })?;
        let changes = changes(&source.cluster, &cluster);
        let rests = rests(&changes, source.cluster.local(self.view.node));
        let rests = rests.iter().map(|(group, resource)| format!("{group}/{resource}")).collect();
        Ok(Draft { text, cluster, changes, rests })
    }

    /// What must be stopped on this node before these changes.
    pub(super) fn stops(&self, changes: &[Change]) -> Vec<String> {
        let node = self.view.node;
        let now = clock::now();
        let idle = |index: usize| self.node.is_idle(GroupIndex(index), now);
        let mut all = Vec::new();
        for change in changes.iter().filter(|change| change.effect.needs_stop()) {
            let blocked = match &change.effect {
                Effect::GroupStopped(name) => {
                    let group = self.view.groups.iter().position(|g| g.settings.name == *name);
                    group.is_some_and(|index| !idle(index))
                }
                Effect::ClusterStopped => {
                    let stopped = self.node.announce().part == Part::Stopped;
                    !stopped || !(0..self.view.groups.len()).all(idle)
                }
                _ => true,
            };
            if blocked {
                all.push(format!("node {node}: {}: {}", change.key, change.effect));
            }
        }
        all
    }

    /// A task about the file has ended.
    pub(super) fn config_done(&mut self, done: Done) {
        self.applying.phase = Phase::Idle;
        match done {
            Done::Nothing => {}
            // Not before this: whoever reads it may ask for the next thing at once. Who went away
            // needs no answer.
            Done::Said { tell, last } => drop(tell.try_send(*last)),
            Done::Looked { trouble } => {
                if let Some(trouble) =
                    trouble.clone().filter(|new| Some(new) != self.applying.trouble.as_ref())
                {
                    self.tell(Weight::Alarm, "config-differs", None, trouble);
                }
                self.applying.trouble = trouble;
            }
            Done::Adopted(record) => {
                self.applying.trouble = None;
                if let Some(source) = &mut self.applying.source {
                    source.record = record;
                }
            }
            Done::Committed(committed) => self.committed(*committed),
        }
        for deferred in std::mem::take(&mut self.applying.deferred) {
            match deferred {
                Deferred::Asked(asked) => self.asked(asked),
                Deferred::Apply { text, dry_run, tell } => self.apply(text, dry_run, tell),
            }
        }
    }

    fn committed(&mut self, committed: Committed) {
        let Committed { record, text, cluster, telling } = committed;
        let node = self.view.node;
        let message = format!(
            "node {node} has version {} of cluster.toml, digest {}",
            record.version,
            record.digest.short()
        );
        self.tell(Weight::Info, "config-committed", None, message);
        self.applying.trouble = None;
        if let Some(source) = &mut self.applying.source {
            source.record = record.clone();
        }
        self.settle(Next { text, cluster, record, telling });
    }

    /// Lets everything that the file changes go down.
    fn settle(&mut self, next: Next) {
        let Some(source) = &self.applying.source else { return };
        let changes = changes(&source.cluster, &next.cluster);
        let resting = rests(&changes, source.cluster.local(self.view.node));
        let mut resources = Vec::new();
        let mut longest = SETTLE_SLACK;
        for (group, resource) in &resting {
            let place = self.view.groups.iter().position(|one| one.settings.name == *group);
            let Some(place) = place else { continue };
            let all = &self.view.groups[place].settings.resources;
            longest = all.iter().fold(longest, |sum, one| sum.plus(one.stop_timeout));
            let index = all.iter().position(|one| one.name == *resource);
            resources.extend(index.map(|index| (GroupIndex(place), ResourceIndex(index))));
        }
        let deadline = clock::now().after(longest);
        self.applying.phase = Phase::Settling { next: Box::new(next), deadline };
        if !resources.is_empty() {
            self.event(Event::Rest { resources });
        }
    }

    /// Looks at what is under way, once per turn of the loop; true when a daemon with the new file
    /// is to take over now.
    pub(super) fn config_turn(&mut self) -> bool {
        let now = clock::now();
        match &self.applying.phase {
            Phase::Idle | Phase::Working { .. } => false,
            Phase::Settling { deadline, .. } => {
                let rests = self.node.may_be_replaced() && self.effects.is_idle();
                if rests && self.requests.is_empty() {
                    return true;
                }
                if now >= *deadline {
                    self.config_unsettled(now);
                }
                false
            }
            Phase::Waiting { at, .. } => {
                if now >= *at {
                    let phase = std::mem::replace(&mut self.applying.phase, Phase::Idle);
                    if let Phase::Waiting { next, .. } = phase {
                        self.settle(*next);
                    }
                }
                false
            }
            Phase::Watching { until, .. } => {
                if now >= *until || self.is_up_with_it(now) {
                    self.config_taken();
                }
                false
            }
        }
    }

    fn is_up_with_it(&self, now: Tick) -> bool {
        let Phase::Watching { telling, .. } = &self.applying.phase else { return false };
        let heard = self.peer_heard(now);
        let same = if heard { !self.digests_differ() } else { !telling.heard };
        let renewed = (0..self.slots.len()).all(|place| !self.may_renew(place, now));
        same && renewed && self.node.may_be_replaced() && self.effects.is_idle()
    }

    /// What has to go down does not.
    fn config_unsettled(&mut self, now: Tick) {
        let phase = std::mem::replace(&mut self.applying.phase, Phase::Idle);
        let Phase::Settling { mut next, .. } = phase else { return };
        let node = self.view.node;
        let message = format!(
            "node {node} has version {} of cluster.toml and still runs the one before: its groups \
             do not come to rest; see `lockstep status`, it is tried again every minute",
            next.record.version
        );
        self.event(Event::LetGo);
        self.tell(Weight::Alarm, "config-waits", None, message.clone());
        if let Some(telling) = next.telling.take() {
            let refusal = Refusal { code: "config-waits".to_owned(), message: message.clone() };
            let _ = telling.tell.try_send(Tell::Refused(refusal));
        }
        self.applying.trouble = Some(message);
        self.applying.phase = Phase::Waiting { next, at: now.after(SETTLE_AGAIN) };
    }

    /// The last word of an `apply`.
    fn config_taken(&mut self) {
        let phase = std::mem::replace(&mut self.applying.phase, Phase::Idle);
        let Phase::Watching { telling, .. } = phase else { return };
        let now = clock::now();
        let (Some(source), node) = (&self.applying.source, self.view.node) else { return };
        let other = match (self.peer_heard(now), self.digests_differ()) {
            (true, false) => "runs it".to_owned(),
            (true, true) => format!("does not run it yet: {}", telling.other),
            (false, _) => format!("is not heard: {}", telling.other),
        };
        let applied = Applied {
            version: source.record.version,
            digest: source.record.digest.to_string(),
            both: self.peer_heard(now) && !self.digests_differ(),
            nodes: vec![(node, "runs it".to_owned()), (node.peer(), other)],
            engines: self.engines_behind(),
        };
        let _ = telling.tell.try_send(Tell::Applied(applied));
    }

    /// Whether an engine runs with another configuration than the file's.
    fn is_behind(&self, place: usize) -> bool {
        let runs = self.slots.get(place).and_then(|slot| slot.build.as_ref());
        let wanted = self.view.engines.get(place).map(|engine| &engine.digest);
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        runs.is_some_and(|(_, digest)| wanted.is_some_and(|wanted| wanted != digest))
    }

    /// Whether such an engine may be started anew by itself: nobody runs its group.
    fn may_renew(&self, place: usize, now: Tick) -> bool {
        self.is_behind(place) && self.node.is_idle(self.slots[place].group, now)
    }

    /// Has engines that are behind end in order, where that interrupts nobody: whoever started them
    /// starts them again, with the new file.
    pub(super) fn renew_engines(&mut self, now: Tick) {
        for place in 0..self.slots.len() {
            if self.slots[place].renewing || !self.may_renew(place, now) {
                continue;
            }
            self.slots[place].renewing = true;
            // Its end shows in its connection.
            drop(self.slots[place].engine.call(lockstep_engine::admin::Verb::Shutdown));
            let volume = self.view.engines[place].config.volume.name.clone();
            let message = format!("volume {volume}: its engine ends, to run with the new file");
            self.tell(Weight::Info, "engine-renewed", Some(&volume), message);
        }
    }

    /// Volumes whose engine here runs with another configuration than the file's.
    pub(super) fn engines_behind(&self) -> Vec<String> {
        let behind = (0..self.slots.len()).filter(|place| self.is_behind(*place));
        behind.map(|place| self.view.engines[place].config.volume.name.clone()).collect()
    }
}

/// Whether such changes are made by both nodes at once or not at all.
fn needs_both(changes: &[Change]) -> bool {
    changes.iter().any(|change| {
        matches!(change.effect, Effect::Together | Effect::GroupStopped(_) | Effect::ClusterStopped)
    })
}

impl Draft {
    fn told(&self, stops: &[String], lacks: Vec<String>, other: &str) -> ConfigPlan {
        ConfigPlan {
            changes: self.changes.clone(),
            restarts: self.rests.clone(),
            stops: stops.to_vec(),
            lacks,
            other: other.to_owned(),
        }
    }
}
