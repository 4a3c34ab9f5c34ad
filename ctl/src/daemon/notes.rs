//! What is worth a line: in the log, and in the diary that `lockstep events` shows.
//! Always: a message names the object, the cause and, where there is one, the next move.

use super::Daemon;
use super::heartbeats::Half;
use crate::act::arbiter::Trouble;
use crate::act::clock;
use crate::act::events::Weight;
use crate::api::{Renewal, TcpError};
use crate::decide::EvidenceView;
use crate::decide::group::{Loss, Note as OfGroup, Part, Refused as OfGroups, State};
use crate::decide::monitor::{Health, Link, Note as OfMonitor};
use crate::decide::node::{HostAction, Note, Refused};
use crate::decide::settings::{FinalAction, GroupIndex, ResourceIndex};
use crate::decide::step::Note as OfArbitration;
use lockstep_engine::units::{NodeId, Span, Tick};

/// One kind of silence that lasts so long is told. The two kinds begin and end at about the same
/// time where a node dies or returns.
const HALF_SILENT: Span = Span::millis(2_000);

impl Daemon {
    /// Writes an event down, in both places.
    pub(super) fn tell(&self, weight: Weight, code: &str, object: Option<&str>, message: String) {
        let node = self.view.node;
        match weight {
            Weight::Info => tracing::info!(%node, code, object, "{message}"),
            Weight::Warning => tracing::warn!(%node, code, object, "{message}"),
            Weight::Alarm => tracing::error!(%node, code, object, "{message}"),
        }
        self.diary.note(clock::wall_ms(), weight, code, object, message);
    }

    pub(super) fn group_name(&self, group: GroupIndex) -> String {
        self.view.groups.get(group.0).map_or_else(String::new, |found| found.settings.name.clone())
    }

    fn resource_name(&self, group: GroupIndex, resource: ResourceIndex) -> String {
        let found = self.view.groups.get(group.0);
        let name = found.and_then(|found| found.settings.resources.get(resource.0));
        name.map_or_else(String::new, |resource| resource.name.clone())
    }

    pub(super) fn note(&self, note: &Note) {
        let node = self.view.node;
        match note {
            Note::Arbitration(group, note) => self.note_arbitration(*group, note),
            Note::Group(group, note) => self.note_group(*group, note),
            Note::Monitor(monitor, note) => {
                let name = self.view.monitors.get(monitor.0).map(|found| &found.settings.name);
                self.note_monitor(name.map_or("", |name| name), note);
            }
            Note::Part(part) => {
                let (weight, word) = match part {
                    Part::Takes => (Weight::Info, "takes part in the cluster"),
                    Part::Suspended => (Weight::Warning, "decides nothing by itself: suspended"),
                    Part::Stopped => (Weight::Warning, "takes no part: the cluster is stopped"),
                };
                self.tell(weight, "node-part", None, format!("node {node} {word}"));
            }
            Note::Final(action) => {
                let message = format!("node {node}: final action {}", final_word(*action));
                self.tell(Weight::Alarm, "final-action", None, message);
            }
            Note::Host(action) => {
                let harmless = if self.hand.is_harmless() { " (only written down)" } else { "" };
                let message = format!("node {node}: {}{harmless}", host_word(*action));
                self.tell(Weight::Alarm, "host-action", None, message);
            }
            Note::HostFailed(cause) => {
                let message = format!("node {node}: the host is still here: {cause}");
                self.tell(Weight::Alarm, "host-action-failed", None, message);
            }
        }
    }

    fn note_arbitration(&self, group: GroupIndex, note: &OfArbitration) {
        let name = self.group_name(group);
        let (node, peer) = (self.view.node, self.view.node.peer());
        let (weight, code, what) = match note {
            OfArbitration::Attempting { transition, version } => (
                Weight::Info,
                "record-attempt",
                format!("{transition}: the arbiter is asked for version {}", version.0),
            ),
            OfArbitration::Won { transition, version } => (
                Weight::Info,
                "record-won",
                format!("{transition}: version {} says: {}", version.0, says(transition, node)),
            ),
            OfArbitration::Lost { transition, version } => (
                Weight::Warning,
                "record-lost",
                format!("{transition}: version {} was written by node {peer} first", version.0),
            ),
            OfArbitration::Unknown { transition, version } => (
                Weight::Warning,
                "record-unknown",
                format!(
                    "{transition}: no answer about version {}; it is asked for until one of both \
                     outcomes is certain",
                    version.0
                ),
            ),
            OfArbitration::FastFence => (
                Weight::Alarm,
                "fast-fence",
                format!("node {node} stops answering: its lease ended without a decision"),
            ),
            OfArbitration::Evidence => (Weight::Alarm, "evidence", self.evidence_words(group)),
            // Told when it lasts: see `tell_half_silence`.
            OfArbitration::HalfSilent => return,
            OfArbitration::ArbiterRolledBack => (
                Weight::Alarm,
                "arbiter-rolled-back",
                "the arbiter holds an older record than was seen before; bring the right one back"
                    .to_owned(),
            ),
        };
        self.tell(weight, code, Some(&name), format!("group {name}: {what}"));
    }

    fn evidence_words(&self, group: GroupIndex) -> String {
        let (node, peer) = (self.view.node, self.view.node.peer());
        let record = self.node.decider(group).and_then(|decider| decider.view().record);
        let then = match record {
            Some(record) if record.owner == Some(node) => "this node goes on without it",
            Some(record) if record.is_member(node) => "this node may take over now",
            _ => "its data is newer than the copy here, so nobody takes over: bring it back",
        };
        format!("node {peer} is silent on the link and on the heartbeats: {then}")
    }

    /// One kind of silence alone is no evidence; where it lasts, a network or a daemon is to blame.
    pub(super) fn tell_half_silence(&mut self, now: Tick) {
        for index in 0..self.view.groups.len() {
            let view = self.node.decider(GroupIndex(index)).map(|decider| decider.view().evidence);
            if view != Some(EvidenceView::HalfSilent) {
                self.late.half[index] = Half::No;
                continue;
            }
            match self.late.half[index] {
                Half::No => self.late.half[index] = Half::Since(now),
                Half::Since(since) if now.since(since) >= HALF_SILENT => {
                    self.late.half[index] = Half::Told;
                    self.half_silent(GroupIndex(index), now);
                }
                Half::Since(_) | Half::Told => {}
            }
        }
    }

    fn half_silent(&self, group: GroupIndex, now: Tick) {
        let (name, peer) = (self.group_name(group), self.view.node.peer());
        let what = if self.peer_heard(now) {
            format!(
                "the link to node {peer} is silent, its heartbeats are not: see its engine, and \
                 the link's network"
            )
        } else {
            format!(
                "the heartbeats of node {peer} are silent, its engine is not: see its daemon, and \
                 the interconnects"
            )
        };
        let message = format!("group {name}: {what}");
        self.tell(Weight::Warning, "half-silent", Some(&name), message);
    }

    fn note_group(&self, group: GroupIndex, note: &OfGroup) {
        let name = self.group_name(group);
        let of = |resource: &ResourceIndex| self.resource_name(group, *resource);
        let (weight, code, what) = match note {
            OfGroup::State(state) => (state_weight(*state), "group-state", state_word(*state)),
            OfGroup::Adopted(resources) => {
                let names: Vec<String> = resources.iter().map(of).collect();
                (Weight::Info, "group-adopted", format!("goes on with {}", names.join(", ")))
            }
            OfGroup::Retry { resource, cause, attempt } => (
                Weight::Warning,
                "resource-retry",
                format!("{} did not start (attempt {attempt}): {cause}", of(resource)),
            ),
            OfGroup::StartFailed { resource, cause } => (
                Weight::Alarm,
                "resource-start-failed",
                format!("{} does not start: {cause}", of(resource)),
            ),
            OfGroup::StopFailed { resource, cause } => (
                Weight::Alarm,
                "resource-stop-failed",
                format!("{} does not stop, so the group stays here: {cause}", of(resource)),
            ),
            OfGroup::FailsOver { because } => {
                let because = because.as_ref().map(|one| format!(" because of {}", of(one)));
                let because = because.unwrap_or_default();
                (Weight::Warning, "group-fails-over", format!("fails over{because}"))
            }
            OfGroup::FailsBack => {
                (Weight::Info, "group-fails-back", "goes back to its preferred node".to_owned())
            }
            OfGroup::Lost(loss) => (Weight::Alarm, "group-lost", loss_word(*loss)),
            OfGroup::FenceConfirmed => {
                (Weight::Info, "fence-confirmed", "nothing of it answers here any more".to_owned())
            }
            OfGroup::FenceLate => (
                Weight::Alarm,
                "fence-late",
                "it could not be fenced in time; the host is told to go".to_owned(),
            ),
            OfGroup::Final { resource, action } => {
                let because = resource.as_ref().map(|one| format!(" because of {}", of(one)));
                let because = because.unwrap_or_default();
                let what = format!("final action {}{because}", final_word(*action));
                (Weight::Alarm, "group-final", what)
            }
            OfGroup::NotOwner(why) => {
                let why = Refused::Group(OfGroups::Arbitration(why.clone()));
                let because = self.explain(&why, group).message;
                (Weight::Warning, "group-not-owner", format!("can't be had here: {because}"))
            }
        };
        self.tell(weight, code, Some(&name), format!("group {name}: {what}"));
    }

    fn note_monitor(&self, name: &str, note: &OfMonitor) {
        let (weight, code, what) = match note {
            OfMonitor::Health { health, cause } => {
                let (weight, word) = match health {
                    Health::Unknown => (Weight::Info, "is not looked at"),
                    Health::Fine => (Weight::Info, "is fine"),
                    Health::Warning => (Weight::Warning, "warns"),
                    Health::Doubtful => (Weight::Warning, "is doubtful"),
                    Health::Error => (Weight::Alarm, "finds an error"),
                };
                let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
                (weight, "monitor-health", format!("{word}{cause}"))
            }
            OfMonitor::Recovers { link, times, of } => {
                let what = format!("{} ({times} of {of})", link_word(*link));
                (Weight::Warning, "monitor-recovers", what)
            }
            OfMonitor::WouldRecover(link) => {
                let what = format!("would {}, but this cluster only observes", link_word(*link));
                (Weight::Warning, "monitor-would-recover", what)
            }
            OfMonitor::NoOtherNode => (
                Weight::Alarm,
                "monitor-no-other-node",
                "a failover is due, and no healthy node could take over".to_owned(),
            ),
            OfMonitor::Suppressed(action) => (
                Weight::Alarm,
                "monitor-suppressed",
                format!("{} left out: the other node is not healthy", final_word(*action)),
            ),
        };
        self.tell(weight, code, Some(name), format!("monitor {name}: {what}"));
    }

    pub(super) fn engine_lost(&self, volume: &str) {
        let message = format!(
            "volume {volume}: its engine is gone; where the daemon starts engines, it is started \
             again, see its log"
        );
        self.tell(Weight::Warning, "engine-gone", Some(volume), message);
    }

    pub(super) fn store_troubled(&self, group: usize, store: &str, trouble: &Trouble) {
        let name = self.group_name(GroupIndex(group));
        let message = format!(
            "group {name}: no failover is possible without the arbiter: {store}: {trouble}"
        );
        self.tell(Weight::Warning, "arbiter-away", Some(&name), message);
    }

    /// The records of both nodes have grown apart.
    pub(super) fn records_parted(&self, group: usize, trouble: &Trouble) {
        let name = self.group_name(GroupIndex(group));
        let message = format!(
            "group {name}: {trouble}: `lockstep mirror discard-local` on the node whose copy is \
             given up (RUNBOOK.md, \"Histories that parted\")"
        );
        self.tell(Weight::Alarm, "split-brain", Some(&name), message);
    }

    pub(super) fn store_healthy(&self, group: usize, store: &str) {
        let name = self.group_name(GroupIndex(group));
        let message = format!("group {name}: the arbiter answers: {store}");
        self.tell(Weight::Info, "arbiter-back", Some(&name), message);
    }

    pub(super) fn heartbeats_late(&self, silence: Span, timeout: Span) {
        let peer = self.view.node.peer();
        let message = format!(
            "node {peer}: no heartbeat of its daemon for {} ms, at {} ms it counts as silent: see \
             that daemon, and the interconnects",
            silence.as_millis(),
            timeout.as_millis()
        );
        self.tell(Weight::Warning, "heartbeat-late", None, message);
    }

    pub(super) fn heartbeats_back(&self) {
        let message = format!("node {}: its heartbeats are heard again", self.view.node.peer());
        self.tell(Weight::Info, "heartbeat-back", None, message);
    }

    pub(super) fn path_changed(&self, place: usize, silent: bool) {
        let name = self.view.heartbeat.links.get(place).map_or("", |link| link.name.as_str());
        let (weight, word) = if silent {
            (Weight::Warning, "silent; check that network")
        } else {
            (Weight::Info, "heard again")
        };
        let message = format!("interconnect {name}: {word}");
        self.tell(weight, "interconnect", Some(name), message);
    }

    pub(super) fn config_differs(&self, theirs: u128) {
        let message = format!(
            "cluster.toml differs between the nodes (digest {:032x} here, {theirs:032x} there); \
             make both the same and restart the daemons",
            self.digest
        );
        self.tell(Weight::Alarm, "config-differs", None, message);
    }

    pub(super) fn api_refused(&self, trouble: &TcpError) {
        let message =
            format!("API: not on TCP: {trouble}, then restart the daemon, which harms nothing");
        self.tell(Weight::Alarm, "api-refused", None, message);
    }

    pub(super) fn api_renewed(&self, renewal: &Renewal) {
        match renewal {
            Renewal::Taken => {
                let message = "API: token or certificates have changed and count from now on";
                self.tell(Weight::Info, "api-renewed", None, message.to_owned());
            }
            Renewal::Kept(cause) => {
                let message = format!(
                    "API: files have changed and can't be used; what was read before still counts: \
                     {cause}; the next connection over TCP has them read again"
                );
                self.tell(Weight::Alarm, "api-kept", None, message);
            }
        }
    }

    /// `cause` names the file and what the system said.
    pub(super) fn memory_lost(&self, cause: &str) {
        let message = format!(
            "{cause}; what operators ask for is refused as not stored, and after a restart of the \
             daemon stopped groups may start again: make the file writable"
        );
        self.tell(Weight::Alarm, "memory-lost", None, message);
    }

    pub(super) fn memory_back(&self) {
        let message = "what operators want is stored again".to_owned();
        self.tell(Weight::Info, "memory-back", None, message);
    }
}

/// What a record says that `node` has written.
fn says(transition: &str, node: NodeId) -> String {
    let peer = node.peer();
    match transition {
        "create" => "nobody owns it yet".to_owned(),
        "start" => format!("node {node} owns it"),
        "shrink" => format!("node {node} goes on alone, node {peer} is no member any more"),
        "grow" => "both nodes are members".to_owned(),
        "takeover" => format!("node {node} owns it alone, taken over from node {peer}"),
        "move" => format!("node {peer} owns it"),
        "stop" => "nobody owns it any more".to_owned(),
        "force" => format!("the copy of node {node} is the truth, by force"),
        _ => "the same as before".to_owned(),
    }
}

fn state_weight(state: State) -> Weight {
    match state {
        State::Degraded | State::Fencing => Weight::Warning,
        State::Stuck => Weight::Alarm,
        _ => Weight::Info,
    }
}

/// A state of a group, for people.
pub(super) fn state_word(state: State) -> String {
    let word = match state {
        State::Asking => "finding out what runs here",
        State::Down => "down here",
        State::Claiming => "asking for ownership",
        State::Rising => "coming up",
        State::Up => "up",
        State::Degraded => "up, but a resource failed",
        State::Falling => "going down",
        State::Passing => "down, passing ownership on",
        State::Stuck => "a resource can't be stopped",
        State::Fencing => "being fenced",
        State::Cleaning => "fenced, cleaning up",
    };
    word.to_owned()
}

fn loss_word(loss: Loss) -> String {
    let word = match loss {
        Loss::Record => "the record names another owner: everything is killed here",
        Loss::Lease => "the lease ended: everything is killed here",
        Loss::Engine => "its engine serves nobody: everything is killed here",
        Loss::EngineAway => "its engine stays away: everything is killed here",
        Loss::Unknown => "nothing is known of its record: everything is killed here",
    };
    word.to_owned()
}

fn final_word(action: FinalAction) -> &'static str {
    match action {
        FinalAction::None => "none",
        FinalAction::StopGroup => "stop_group",
        FinalAction::StopCluster => "stop_cluster",
        FinalAction::Shutdown => "shutdown",
        FinalAction::Reboot => "reboot",
        FinalAction::Panic => "panic",
    }
}

fn host_word(action: HostAction) -> &'static str {
    match action {
        HostAction::Shutdown => "shuts down",
        HostAction::Reboot => "reboots",
        HostAction::Reset => "reboots at once",
        HostAction::Panic => "halts at once",
    }
}

fn link_word(link: Link) -> String {
    match link {
        Link::Script => "run the script".to_owned(),
        Link::Reactivate => "reactivate its target".to_owned(),
        Link::FailOver => "fail over".to_owned(),
        Link::Final(action) => format!("final action {}", final_word(action)),
    }
}
