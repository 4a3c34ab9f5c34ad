//! Metrics of the cluster as this node sees it, and of this API.

use super::{Kind, Metric, Number, Rows, Snapshot, flag, millis};
use crate::status::cluster::GroupReport;

type Read = fn(&Snapshot, &mut Rows);

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help, read }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help, read }
}

/// One line for each group.
fn groups(s: &Snapshot, rows: &mut Rows, read: impl Fn(&GroupReport) -> Option<Number>) {
    for group in &s.cluster.groups {
        if let Some(number) = read(group) {
            rows.put(&[&group.name], number);
        }
    }
}

/// One line for each word, of which one is so.
fn words(rows: &mut Rows, before: &[&str], all: &[&str], is: &str) {
    for word in all {
        let values: Vec<&str> = before.iter().copied().chain([*word]).collect();
        rows.put(&values, flag(*word == is));
    }
}

const PARTS: &[&str] = &["takes", "suspended", "stopped"];
const HEALTHS: &[&str] = &["unknown", "fine", "warning", "doubtful", "error"];
const WEIGHTS: [&str; 3] = ["info", "warning", "alarm"];
const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// The table.
pub(super) const TABLE: &[Metric] = &[
    gauge(
        "lockstep_build_info",
        &["version", "node"],
        "Always 1; what runs, and as which node.",
        |s, rows| {
            rows.put(&[lockstep_nbd::VERSION, &s.cluster.node.to_string()], Number::Whole(1));
        },
    ),
    gauge(
        "lockstep_node_part",
        &["part"],
        "1 for what this node does in the cluster.",
        |s, rows| {
            words(rows, &[], PARTS, &s.cluster.part);
        },
    ),
    gauge(
        "lockstep_safe",
        &[],
        "1 when any one node may be lost now without losing service.",
        |s, rows| {
            rows.put(&[], flag(s.cluster.safe));
        },
    ),
    gauge("lockstep_alarms", &[], "Number of things that need attention now.", |s, rows| {
        let alarms = u64::try_from(s.cluster.alarms.len()).unwrap_or(u64::MAX);
        rows.put(&[], Number::Whole(alarms));
    }),
    gauge(
        "lockstep_config_differs",
        &[],
        "1 when the nodes run with different files.",
        |s, rows| {
            rows.put(&[], flag(s.cluster.peer.config_differs));
        },
    ),
    gauge(
        "lockstep_peer_heard",
        &[],
        "1 when the other node was heard within the time-out.",
        |s, rows| {
            rows.put(&[], flag(s.cluster.peer.heard));
        },
    ),
    gauge(
        "lockstep_peer_silence_seconds",
        &[],
        "Seconds since the other node was heard.",
        |s, rows| {
            if let Some(ms) = s.cluster.peer.heard_ms_ago {
                rows.put(&[], millis(ms));
            }
        },
    ),
    gauge(
        "lockstep_interconnect_up",
        &["interconnect"],
        "1 when heartbeats come over it.",
        |s, rows| {
            for path in &s.cluster.interconnects {
                rows.put(&[&path.name], flag(path.up));
            }
        },
    ),
    gauge(
        "lockstep_interconnect_silence_seconds",
        &["interconnect"],
        "Seconds since a heartbeat came over it.",
        |s, rows| {
            for path in &s.cluster.interconnects {
                if let Some(ms) = path.heard_ms_ago {
                    rows.put(&[&path.name], millis(ms));
                }
            }
        },
    ),
    counter(
        "lockstep_heartbeats_dropped_total",
        &["reason"],
        "Number of heartbeats that did not count.",
        |s, rows| {
            let Some(volume) = s.volumes.first() else { return };
            let dropped = volume.report.heartbeat.dropped;
            rows.put(&["foreign"], Number::Whole(dropped.foreign));
            rows.put(&["replayed"], Number::Whole(dropped.replayed));
            rows.put(&["misaddressed"], Number::Whole(dropped.misaddressed));
        },
    ),
    gauge("lockstep_group_up", &["group"], "1 when the group runs on this node.", |s, rows| {
        groups(s, rows, |group| Some(flag(group.runs_on == Some(s.cluster.node))));
    }),
    gauge(
        "lockstep_group_owner",
        &["group", "node"],
        "1 for the owner by the newest record.",
        |s, rows| {
            for group in &s.cluster.groups {
                let owner = group.owner.map(|node| node.to_string()).unwrap_or_default();
                words(rows, &[&group.name], &["a", "b"], &owner);
            }
        },
    ),
    gauge(
        "lockstep_group_state",
        &["group", "state"],
        "Always 1; what the group does here.",
        |s, rows| {
            for group in &s.cluster.groups {
                rows.put(&[&group.name, &group.state], Number::Whole(1));
            }
        },
    ),
    gauge(
        "lockstep_group_may_move",
        &["group"],
        "1 when the other node could have it now.",
        |s, rows| {
            groups(s, rows, |group| Some(flag(group.may_move)));
        },
    ),
    gauge("lockstep_group_stopped", &["group"], "1 when an operator has stopped it.", |s, rows| {
        groups(s, rows, |group| Some(flag(group.stopped)));
    }),
    gauge("lockstep_group_barred", &["group"], "1 when it failed here for good.", |s, rows| {
        groups(s, rows, |group| Some(flag(group.barred)));
    }),
    gauge(
        "lockstep_group_epoch",
        &["group"],
        "Epoch of the newest record known here.",
        |s, rows| {
            for volume in &s.volumes {
                let status =
                    volume.report.engine.as_ref().and_then(|engine| engine.status.as_ref());
                if let Some(status) = status {
                    rows.put(&[&volume.report.group.name], Number::Whole(status.epoch.0));
                }
            }
        },
    ),
    gauge(
        "lockstep_resource_on",
        &["group", "resource"],
        "1 when the resource is on here.",
        |s, rows| {
            for group in &s.cluster.groups {
                for resource in &group.resources {
                    rows.put(&[&group.name, &resource.name], flag(resource.power == "on"));
                }
            }
        },
    ),
    gauge(
        "lockstep_resource_failed",
        &["group", "resource"],
        "1 when its last start, stop or check failed here.",
        |s, rows| {
            for group in &s.cluster.groups {
                for resource in &group.resources {
                    rows.put(&[&group.name, &resource.name], flag(resource.failure.is_some()));
                }
            }
        },
    ),
    gauge(
        "lockstep_arbiter_up",
        &["group"],
        "1 when the last call of its store was answered.",
        |s, rows| {
            groups(s, rows, |group| {
                Some(flag(group.arbiter.tried && group.arbiter.trouble.is_none()))
            });
        },
    ),
    gauge(
        "lockstep_arbiter_latency_seconds",
        &["group"],
        "Seconds that the last answered call of its store took.",
        |s, rows| groups(s, rows, |group| group.arbiter.last_ms.map(millis)),
    ),
    gauge(
        "lockstep_arbiter_stuck_calls",
        &["group"],
        "Calls of its store that do not end.",
        |s, rows| {
            groups(s, rows, |group| Some(Number::Whole(u64::from(group.arbiter.stuck))));
        },
    ),
    gauge(
        "lockstep_monitor_health",
        &["monitor", "health"],
        "1 for what the monitor finds.",
        |s, rows| {
            for monitor in &s.cluster.monitors {
                words(rows, &[&monitor.name], HEALTHS, &monitor.health);
            }
        },
    ),
    gauge(
        "lockstep_monitor_bad_probes",
        &["monitor"],
        "Number of bad probes in a row.",
        |s, rows| {
            for monitor in &s.cluster.monitors {
                rows.put(&[&monitor.name], Number::Whole(u64::from(monitor.bad)));
            }
        },
    ),
    gauge("lockstep_monitor_suspended", &["monitor"], "1 when it does not probe.", |s, rows| {
        for monitor in &s.cluster.monitors {
            rows.put(&[&monitor.name], flag(monitor.suspended));
        }
    }),
    counter(
        "lockstep_events_total",
        &["weight"],
        "Number of events since the daemon began.",
        |s, rows| {
            for (weight, count) in WEIGHTS.iter().zip(s.events) {
                rows.put(&[weight], Number::Whole(count));
            }
        },
    ),
    counter(
        "lockstep_events_lost_total",
        &[],
        "Number of events that are in memory only: the disk did not take them.",
        |s, rows| rows.put(&[], Number::Whole(s.cluster.events_lost)),
    ),
    gauge(
        "lockstep_requests_waiting",
        &[],
        "Number of operators' requests under way.",
        |s, rows| {
            let waiting = u64::try_from(s.requests_waiting).unwrap_or(u64::MAX);
            rows.put(&[], Number::Whole(waiting));
        },
    ),
    gauge("lockstep_api_connections", &[], "Number of open connections of this API.", |s, rows| {
        rows.put(&[], Number::Whole(s.connections));
    }),
    counter(
        "lockstep_api_connections_refused_total",
        &[],
        "Number of connections refused because there were too many.",
        |s, rows| rows.put(&[], Number::Whole(s.connections_refused)),
    ),
    counter(
        "lockstep_api_unauthenticated_total",
        &[],
        "Number of requests without the right token or certificate.",
        |s, rows| rows.put(&[], Number::Whole(s.unauthenticated)),
    ),
    counter(
        "lockstep_api_answers_total",
        &["class"],
        "Number of answers by class of status.",
        |s, rows| {
            for (class, count) in CLASSES.iter().zip(s.answers) {
                rows.put(&[class], Number::Whole(count));
            }
        },
    ),
];
