//! The reports of this daemon: snapshots of everything that it knows.

use super::engines::Slot;
use super::{Daemon, notes};
use crate::act::clock;
use crate::decide::node::{GroupStatus, NodeView as Decided};
use crate::decide::settings::GroupIndex;
use crate::status::cluster::{
    ClusterReport, ConfigReport, GroupReport, MirrorReport, MonitorReport, PathReport, PeerReport,
    ResourceReport,
};
use crate::status::{EngineReport, Facts, HeartbeatReport, Report, Summary, summarise};
use lockstep_engine::units::{LinkState, Tick, VolumeRecord};

/// Version of the reports.
const VERSION: u32 = 1;

fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn ago(now: Tick, tick: Option<Tick>) -> Option<u64> {
    tick.map(|tick| now.since(tick).as_millis())
}

/// Why an engine does not run, as far as this daemon has seen.
pub(super) fn engine_trouble(slot: &Slot, now: Tick) -> Option<String> {
    slot.launcher.as_ref().and_then(|launcher| launcher.trouble(now))
}

impl Daemon {
    fn summary_of(&self, place: usize, now: Tick) -> Option<(Summary, Option<VolumeRecord>)> {
        let slot = self.slots.get(place)?;
        let mut view = self.node.decider(slot.group)?.view();
        let engine = &self.view.engines[place];
        if let Some(record) = &mut view.record {
            // What is told of one volume is not that of another.
            record.volumes.retain(|entry| entry.volume == engine.config.volume.id);
        }
        let (trouble, safety) = (engine_trouble(slot, now), self.safety(slot.group, now));
        let arbiter = self.stores.get(slot.group.0)?.arbiter.health();
        let split = self.records_split(slot.group);
        let parted = slot.shown.apart(slot.status.as_deref(), split);
        let facts = Facts {
            node: self.view.node,
            volume: &engine.config.volume.name,
            engine: slot.status.as_deref(),
            engine_trouble: trouble.as_deref(),
            engine_file: &engine.path,
            view: &view,
            safety: &safety,
            parted: parted.as_ref(),
            arbiter: &arbiter,
            peer_heard: self.peer_heard(now),
            wall_ms: clock::wall_ms(),
        };
        let mut summary = summarise(&facts);
        if self.is_strange(slot) {
            summary.safe = false;
            summary.safe_why = "engine and daemon here do not agree on the boot id".to_owned();
        }
        Some((summary, facts.record()))
    }

    /// What stands against the loss of a node, for each group, with the next move.
    fn unsafe_why(&self, now: Tick) -> Vec<String> {
        let mut told = Vec::new();
        for (index, group) in self.view.groups.iter().enumerate() {
            for (lost, why) in &self.safety(GroupIndex(index), now).against {
                let next = why.next(*lost).map(|next| format!("; {next}")).unwrap_or_default();
                let (name, why) = (&group.settings.name, why.told(*lost));
                told.push(format!("group {name}: if node {lost} is lost: {why}{next}"));
            }
        }
        told
    }

    /// The report of one volume.
    pub(super) fn report(&self, place: usize) -> Option<Report> {
        let now = clock::now();
        let (slot, engine) = (self.slots.get(place)?, self.view.engines.get(place)?);
        let group = self.group_id(slot.group);
        let view = self.node.decider(slot.group)?.view();
        let (summary, record) = self.summary_of(place, now)?;
        Some(Report {
            v: VERSION,
            cluster: self.view.cluster.clone(),
            group: engine.group.clone(),
            volume: crate::config::Named {
                id: engine.config.volume.id,
                name: engine.config.volume.name.clone(),
            },
            node: self.view.node,
            now,
            summary,
            record,
            engine: slot.build.as_ref().map(|(build, config_digest)| EngineReport {
                build: build.clone(),
                config_digest: config_digest.clone(),
                status: slot.status.as_deref().cloned(),
            }),
            heartbeat: HeartbeatReport {
                heard_ms_ago: ago(now, self.exchange.heard()),
                answered_ms_ago: ago(now, self.exchange.answered(group)),
                answering: self.exchange.answering(group),
                peer_boot: self.exchange.peer().map(|packet| packet.boot),
                dropped: self.exchange.dropped(),
            },
            arbiter: self.stores.get(slot.group.0)?.arbiter.health(),
            // A view is plain data; were it not to fit JSON, the rest is still worth telling.
            decision: serde_json::to_value(&view).unwrap_or_default(),
        })
    }

    /// The report of the cluster.
    pub(super) fn cluster_report(&self) -> ClusterReport {
        let now = clock::now();
        let decided = self.node.view(now);
        let timeout = self.view.times.heartbeat_timeout;
        let path = |(name, heard): (&str, Option<Tick>)| PathReport {
            name: name.to_owned(),
            heard_ms_ago: ago(now, heard),
            up: heard.is_some_and(|heard| now.since(heard) < timeout),
        };
        let names = self.view.heartbeat.links.iter().map(|link| link.name.as_str());
        let groups: Vec<GroupReport> = decided
            .groups
            .iter()
            .enumerate()
            .filter_map(|(index, group)| self.group_report(GroupIndex(index), group, now))
            .collect();
        let peer = PeerReport {
            heard: self.peer_heard(now),
            heard_ms_ago: ago(now, self.exchange.heard()),
            part: decided.peer.as_ref().map(|peer| word(&peer.part)),
            healthy: decided.peer.as_ref().map(|peer| peer.healthy),
            config_differs: self.digests_differ(),
        };
        // The same findings as of `what-if`, and what no decision knows of.
        let unsafe_why = self.unsafe_why(now);
        let safe = unsafe_why.is_empty() && self.strange_boots().next().is_none();
        ClusterReport {
            v: VERSION,
            cluster: self.view.cluster.clone(),
            node: self.view.node,
            hosts: self.view.hosts.clone().map(|host| host.name),
            part: word(&decided.part),
            leaving: decided.leaving,
            observe_only: decided.observe_only,
            peer,
            interconnects: names.zip(self.exchange.heard_over()).map(path).collect(),
            safe,
            unsafe_why,
            alarms: self.alarms(&groups, &decided),
            config: self.config_report(),
            groups,
            monitors: decided
                .monitors
                .iter()
                .map(|monitor| MonitorReport {
                    name: monitor.name.clone(),
                    health: word(&monitor.health),
                    cause: monitor.cause.clone(),
                    suspended: monitor.suspended,
                    dummy: monitor.dummy,
                    bad: monitor.bad,
                    retries: monitor.retries,
                })
                .collect(),
            events_lost: self.diary.lost(),
            decision: serde_json::to_value(&decided).unwrap_or_default(),
        }
    }

    fn group_report(
        &self,
        index: GroupIndex,
        group: &GroupStatus,
        now: Tick,
    ) -> Option<GroupReport> {
        let mirrors = self.slots_of(index);
        let mirror = |(place, _): (usize, &Slot)| {
            let (summary, _) = self.summary_of(place, now)?;
            let volume = self.view.engines.get(place)?.config.volume.name.clone();
            Some(MirrorReport { volume, summary })
        };
        Some(GroupReport {
            name: group.group.name.clone(),
            runs_on: group.runs_on,
            owner: group.owner,
            state: notes::state_word(group.group.state),
            stopped: group.group.stopped,
            barred: group.group.barred,
            may_move: group.may_move,
            resources: group
                .group
                .resources
                .iter()
                .map(|resource| ResourceReport {
                    name: resource.name.clone(),
                    power: resource.power.to_owned(),
                    stopped: resource.stopped,
                    failure: resource.failure.clone(),
                })
                .collect(),
            mirrors: mirrors.filter_map(mirror).collect(),
            arbiter: self.stores.get(index.0)?.arbiter.health(),
        })
    }

    /// Volumes whose engine believes in another boot than this daemon: its in-sync mark is worth
    /// nothing here, so that this node can't take over.
    fn strange_boots(&self) -> impl Iterator<Item = &str> {
        let slots = self.slots.iter().zip(&self.view.engines);
        let found = slots.filter(|(slot, _)| self.is_strange(slot));
        found.map(|(_, engine)| engine.config.volume.name.as_str())
    }

    fn is_strange(&self, slot: &Slot) -> bool {
        slot.status.as_ref().is_some_and(|status| status.boot != self.boot)
    }

    fn config_report(&self) -> Option<ConfigReport> {
        let (version, digest, taken_over, trouble) = self.applying.told()?;
        let calls = self.listener.counts();
        Some(ConfigReport { version, digest, taken_over, trouble, calls })
    }

    fn config_alarms(&self) -> Vec<String> {
        let node = self.view.node;
        let mut alarms = Vec::new();
        match self.applying.told() {
            Some((_, _, _, Some(trouble))) => alarms.push(trouble),
            Some((version, _, _, None)) if self.applying.is_moving() && self.digests_differ() => {
                let what = format!("version {version} of cluster.toml is being taken over");
                alarms.push(format!("node {node}: {what}"));
            }
            _ if self.digests_differ() => alarms.push(
                "cluster.toml differs between the nodes: make both the same and restart the \
                 daemons"
                    .to_owned(),
            ),
            _ => {}
        }
        alarms.extend(self.engines_behind().into_iter().map(|volume| {
            format!(
                "volume {volume}: its engine runs with an older configuration: restart it (with \
                 systemd: `systemctl restart lockstep-engine@{volume}`)"
            )
        }));
        alarms
    }

    fn alarms(&self, groups: &[GroupReport], decided: &Decided) -> Vec<String> {
        let mut alarms = Vec::new();
        alarms.extend(self.config_alarms());
        alarms.extend(self.strange_boots().map(|volume| {
            format!(
                "volume {volume}: its engine and this daemon do not agree on the boot id, so this \
                 node can't take over: start the engine by the daemon, or leave out [lab] boot_id"
            )
        }));
        for (index, (group, status)) in groups.iter().zip(&decided.groups).enumerate() {
            if group.barred {
                alarms.push(format!(
                    "group {} failed here for good: mend the cause, then `lockstep group start {}`",
                    group.name, group.name
                ));
            }
            if status.group.stopped {
                alarms.push(format!("group {} was stopped by an operator", group.name));
            }
            let index = GroupIndex(index);
            alarms.extend(self.keepers.trouble(index).map(str::to_owned));
            let linked = self
                .slots_of(index)
                .all(|(_, slot)| slot.status.as_ref().is_some_and(|s| s.link == LinkState::Up));
            if !linked && self.peer_heard(clock::now()) {
                alarms.push(format!("group {}: the mirror link is down", group.name));
            }
            for mirror in &group.mirrors {
                alarms.extend(mirror.summary.alarms.iter().cloned());
            }
        }
        if self.diary.lost() > 0 {
            alarms.push("events are kept in memory only: make room in the state directory".into());
        }
        alarms.dedup();
        alarms
    }
}
