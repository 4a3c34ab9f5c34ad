//! The report of this daemon: a snapshot of everything that it knows.

use super::Daemon;
use crate::act::clock;
use crate::act::launch::Launcher;
use crate::status::{EngineReport, Facts, HeartbeatReport, Report, summarise};
use lockstep_engine::units::Tick;

/// Version of the report.
const VERSION: u32 = 1;

impl Daemon {
    /// Whether the peer's daemon is heard.
    pub(super) fn peer_heard(&self, now: Tick) -> bool {
        let timeout = self.config.times.heartbeat_timeout;
        self.exchange.heard().is_some_and(|heard| now.since(heard) < timeout)
    }

    /// Why the engine does not run, as far as this daemon has seen.
    pub(super) fn engine_trouble(&self) -> Option<&str> {
        self.launcher.as_ref().and_then(Launcher::trouble)
    }

    pub(super) fn report(&self) -> Report {
        let (now, wall_ms) = (clock::now(), clock::wall_ms());
        let (config, view, arbiter) = (&self.config, self.decider.view(), self.arbiter.health());
        let ago = |tick: Option<Tick>| tick.map(|tick| now.since(tick).as_millis());
        let summary = summarise(&Facts {
            node: config.node,
            volume: &config.volume.name,
            engine: self.status.as_deref(),
            engine_trouble: self.engine_trouble(),
            view: &view,
            arbiter: &arbiter,
            peer_heard: self.peer_heard(now),
            wall_ms,
        });
        Report {
            v: VERSION,
            cluster: config.cluster.clone(),
            group: config.group.clone(),
            volume: config.volume.clone(),
            node: config.node,
            now,
            summary,
            engine: self.build.as_ref().map(|(build, config_digest)| EngineReport {
                build: build.clone(),
                config_digest: config_digest.clone(),
                status: self.status.as_deref().cloned(),
            }),
            heartbeat: HeartbeatReport {
                heard_ms_ago: ago(self.exchange.heard()),
                answered_ms_ago: ago(self.exchange.answered(config.group.id)),
                answering: self.exchange.answering(config.group.id),
                peer_boot: self.exchange.peer().map(|packet| packet.boot),
                dropped: self.exchange.dropped(),
            },
            arbiter,
            // A view is plain data; were it not to fit JSON, the rest is still worth telling.
            decision: serde_json::to_value(&view).unwrap_or_default(),
        }
    }
}
