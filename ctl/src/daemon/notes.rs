//! What is worth a line: in the log, and in the diary that `lockstep events` shows.
//! Always: a message names the object, the cause and, where there is one, the next move.

use super::Daemon;
use crate::act::arbiter::Trouble;
use crate::act::clock;
use crate::act::events::Weight;
use crate::api::TcpError;
use crate::decide::group::{Loss, Note as OfGroup, Part, State};
use crate::decide::monitor::{Health, Link, Note as OfMonitor};
use crate::decide::node::{HostAction, Note};
use crate::decide::settings::{FinalAction, GroupIndex, ResourceIndex};
use crate::decide::step::Note as OfArbitration;
use lockstep_engine::units::Span;
use std::path::Path;

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

    fn group_name(&self, group: GroupIndex) -> String {
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
        let (weight, code, what) = match note {
            OfArbitration::Attempting { transition, version } => {
                (Weight::Info, "record-attempt", format!("{transition} to version {}", version.0))
            }
            OfArbitration::Won { transition, version } => {
                (Weight::Info, "record-won", format!("{transition}: version {}", version.0))
            }
            OfArbitration::Lost { transition, version } => (
                Weight::Warning,
                "record-lost",
                format!("{transition}: version {} was written by the other node", version.0),
            ),
            OfArbitration::Unknown { transition, version } => (
                Weight::Warning,
                "record-unknown",
                format!("{transition}: no answer for version {}; it is being closed", version.0),
            ),
            OfArbitration::FastFence => (
                Weight::Alarm,
                "fast-fence",
                "the lease ended without a decision: this node stops answering".to_owned(),
            ),
            OfArbitration::Evidence => (
                Weight::Alarm,
                "evidence",
                "link and heartbeats of the other node are silent".to_owned(),
            ),
            OfArbitration::HalfSilent => (
                Weight::Warning,
                "half-silent",
                "only one of link and heartbeats is silent: check the network".to_owned(),
            ),
            OfArbitration::ArbiterRolledBack => (
                Weight::Alarm,
                "arbiter-rolled-back",
                "the arbiter holds an older record than was seen before; bring the right one back"
                    .to_owned(),
            ),
        };
        self.tell(weight, code, Some(&name), format!("group {name}: {what}"));
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
            OfGroup::NotOwner(why) => (
                Weight::Warning,
                "group-not-owner",
                format!("can't be had here: {}", super::refusal::code(why)),
            ),
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
        let message = format!("volume {volume}: its engine is gone; it is waited for");
        self.tell(Weight::Warning, "engine-gone", Some(volume), message);
    }

    pub(super) fn store_troubled(&self, group: usize, store: &str, trouble: &Trouble) {
        let name = self.group_name(GroupIndex(group));
        let message = format!(
            "group {name}: no failover is possible without the arbiter: {store}: {trouble}"
        );
        self.tell(Weight::Warning, "arbiter-away", Some(&name), message);
    }

    pub(super) fn store_healthy(&self, group: usize, store: &str) {
        let name = self.group_name(GroupIndex(group));
        let message = format!("group {name}: the arbiter answers: {store}");
        self.tell(Weight::Info, "arbiter-back", Some(&name), message);
    }

    pub(super) fn heartbeats_late(&self, silence: Span, timeout: Span) {
        let peer = self.view.node.peer();
        let message = format!(
            "node {peer}: no heartbeat for {} ms of {} ms on any interconnect",
            silence.as_millis(),
            timeout.as_millis()
        );
        self.tell(Weight::Warning, "heartbeat-late", None, message);
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
        let message = format!("API: not on TCP: {trouble}");
        self.tell(Weight::Alarm, "api-refused", None, message);
    }

    pub(super) fn memory_lost(&self, path: &Path, cause: &std::io::Error) {
        let message = format!(
            "{}: {cause}; after a restart of the daemon, stopped groups may start again",
            path.display()
        );
        self.tell(Weight::Warning, "memory-lost", None, message);
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
