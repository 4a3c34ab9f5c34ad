//! Metrics of the engines, one line for each volume.

use super::{Kind, Metric, Number, Rows, Snapshot, Volume, flag};
use lockstep_engine::units::{BLOCK_BYTES, LinkState, Role, Status};
use serde_json::Value;

const VOLUME: &[&str] = &["volume"];
const OPERATION: &[&str] = &["volume", "operation"];

/// Upper bounds of buckets are these powers of two of nanoseconds: 4 µs to 17 s. The engine's own
/// buckets end there too, so that nothing is guessed.
const POWERS: std::ops::RangeInclusive<u32> = 12..=34;

const fn metric(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    read: fn(&Snapshot, &mut Rows),
) -> Metric {
    Metric { name, kind, labels: VOLUME, help, read }
}

fn status(volume: &Volume) -> Option<&Status> {
    volume.report.engine.as_ref()?.status.as_ref()
}

/// One line for each volume whose engine is there.
fn each(s: &Snapshot, rows: &mut Rows, read: impl Fn(&Status) -> Option<Number>) {
    for volume in &s.volumes {
        if let Some(number) = status(volume).and_then(&read) {
            rows.put(&[&volume.name], number);
        }
    }
}

fn whole(s: &Snapshot, rows: &mut Rows, read: impl Fn(&Status) -> u64) {
    each(s, rows, |status| Some(Number::Whole(read(status))));
}

fn blocks(count: u64) -> u64 {
    count.saturating_mul(BLOCK_BYTES)
}

/// A number of the engine's shell.
fn shell(s: &Snapshot, rows: &mut Rows, key: &str, number: fn(u64) -> Number) {
    for volume in &s.volumes {
        let found = volume.stats.as_ref().and_then(|stats| stats[key].as_u64());
        if let Some(found) = found {
            rows.put(&[&volume.name], number(found));
        }
    }
}

/// Histograms of the engine's shell: key there, label here.
fn histograms(s: &Snapshot, rows: &mut Rows, all: &[(&str, Option<&str>)]) {
    for volume in &s.volumes {
        let Some(stats) = &volume.stats else { continue };
        for (key, operation) in all {
            let values: Vec<&str> =
                std::iter::once(volume.name.as_str()).chain(*operation).collect();
            histogram(&stats[*key], &values, rows);
        }
    }
}

fn histogram(found: &Value, values: &[&str], rows: &mut Rows) {
    let (Some(count), Some(sum)) = (found["count"].as_u64(), found["sum_ns"].as_u64()) else {
        return;
    };
    let pair = |pair: &Value| Some((pair[0].as_u64()?, pair[1].as_u64()?));
    let pairs: Vec<(u64, u64)> =
        found["buckets_ns"].as_array().into_iter().flatten().filter_map(pair).collect();
    for power in POWERS {
        let upper = 1u64 << power;
        let below = pairs.iter().filter(|(end, _)| *end <= upper).map(|(_, count)| count).sum();
        let shown = Number::Nanos(upper).to_string();
        rows.put_as("_bucket", values, Some(&shown), Number::Whole(below));
    }
    rows.put_as("_bucket", values, Some("+Inf"), Number::Whole(count));
    rows.put_as("_sum", values, None, Number::Nanos(sum));
    rows.put_as("_count", values, None, Number::Whole(count));
}

const STATES: &[&str] =
    &["idle", "holding", "solo", "sync-source", "sync-target", "growing", "reconciling", "in-sync"];

fn mirror_states(s: &Snapshot, rows: &mut Rows) {
    for volume in &s.volumes {
        let Some(status) = status(volume) else { continue };
        let is = serde_json::to_value(status.mirror).unwrap_or_default();
        for state in STATES {
            rows.put(&[&volume.name, state], flag(is == *state));
        }
    }
}

/// The table.
pub(super) const TABLE: &[Metric] = &[
    metric(Kind::Gauge, "lockstep_engine_up", "1 when the engine is connected.", |s, rows| {
        for volume in &s.volumes {
            rows.put(&[&volume.name], flag(volume.report.engine.is_some()));
        }
    }),
    metric(Kind::Counter, "lockstep_reads_total", "Number of reads answered.", |s, rows| {
        whole(s, rows, |status| status.counters.reads);
    }),
    metric(Kind::Counter, "lockstep_writes_total", "Number of writes answered.", |s, rows| {
        whole(s, rows, |status| status.counters.writes);
    }),
    metric(Kind::Counter, "lockstep_flushes_total", "Number of flushes answered.", |s, rows| {
        whole(s, rows, |status| status.counters.flushes);
    }),
    metric(Kind::Counter, "lockstep_read_bytes_total", "Bytes read by clients.", |s, rows| {
        whole(s, rows, |status| status.counters.read_bytes);
    }),
    metric(
        Kind::Counter,
        "lockstep_written_bytes_total",
        "Bytes written by clients.",
        |s, rows| {
            whole(s, rows, |status| status.counters.write_bytes);
        },
    ),
    metric(
        Kind::Counter,
        "lockstep_request_errors_total",
        "Number of requests answered with an error.",
        |s, rows| whole(s, rows, |status| status.counters.errors),
    ),
    metric(
        Kind::Counter,
        "lockstep_intent_misses_total",
        "Number of writes that waited for an entry of the intent log.",
        |s, rows| whole(s, rows, |status| status.counters.intent_misses),
    ),
    metric(
        Kind::Counter,
        "lockstep_reads_repaired_total",
        "Number of reads served from the peer after an error of the disk here.",
        |s, rows| whole(s, rows, |status| status.counters.reads_repaired),
    ),
    Metric {
        labels: OPERATION,
        ..metric(
            Kind::Histogram,
            "lockstep_request_duration_seconds",
            "Seconds from the header of a request to its answer.",
            |s, rows| {
                let all = [
                    ("client_read", Some("read")),
                    ("client_write", Some("write")),
                    ("client_flush", Some("flush")),
                ];
                histograms(s, rows, &all);
            },
        )
    },
    Metric {
        labels: OPERATION,
        ..metric(
            Kind::Histogram,
            "lockstep_disk_duration_seconds",
            "Seconds of one operation of the disks here.",
            |s, rows| {
                let all = [
                    ("disk_read", Some("read")),
                    ("disk_write", Some("write")),
                    ("disk_flush", Some("flush")),
                    ("meta_write", Some("metadata")),
                ];
                histograms(s, rows, &all);
            },
        )
    },
    metric(
        Kind::Histogram,
        "lockstep_peer_acknowledgement_seconds",
        "Seconds from sending a write to the peer's acknowledgement.",
        |s, rows| histograms(s, rows, &[("peer_ack", None)]),
    ),
    metric(
        Kind::Gauge,
        "lockstep_requests_in_flight",
        "Number of pieces of requests held or in flight.",
        |s, rows| whole(s, rows, |status| u64::from(status.client_ops)),
    ),
    metric(Kind::Gauge, "lockstep_clients", "Number of connections of clients.", |s, rows| {
        shell(s, rows, "clients", Number::Whole);
    }),
    metric(Kind::Gauge, "lockstep_primary", "1 when the volume is served here.", |s, rows| {
        whole(s, rows, |status| u64::from(status.role == Role::Primary));
    }),
    metric(Kind::Gauge, "lockstep_link_up", "1 when the mirror link is up.", |s, rows| {
        whole(s, rows, |status| u64::from(status.link == LinkState::Up));
    }),
    metric(
        Kind::Counter,
        "lockstep_link_sessions_total",
        "Number of sessions of the link.",
        |s, rows| {
            whole(s, rows, |status| status.counters.sessions);
        },
    ),
    metric(
        Kind::Counter,
        "lockstep_link_frames_refused_total",
        "Number of frames of an old session or epoch, or without sense.",
        |s, rows| whole(s, rows, |status| status.counters.frames_refused),
    ),
    metric(
        Kind::Counter,
        "lockstep_link_sent_bytes_total",
        "Bytes sent to the peer.",
        |s, rows| {
            shell(s, rows, "link_sent_bytes", Number::Whole);
        },
    ),
    metric(
        Kind::Counter,
        "lockstep_link_received_bytes_total",
        "Bytes received from the peer.",
        |s, rows| shell(s, rows, "link_received_bytes", Number::Whole),
    ),
    metric(
        Kind::Gauge,
        "lockstep_link_queued_bytes",
        "Bytes that wait for the peer's socket.",
        |s, rows| shell(s, rows, "link_queued_bytes", Number::Whole),
    ),
    Metric {
        labels: &["volume", "state"],
        ..metric(
            Kind::Gauge,
            "lockstep_mirror_state",
            "1 for what goes on between the two copies, as this node sees it.",
            mirror_states,
        )
    },
    metric(Kind::Gauge, "lockstep_dirty_bytes", "Bytes that may differ.", |s, rows| {
        whole(s, rows, |status| blocks(status.dirty_blocks));
    }),
    metric(
        Kind::Gauge,
        "lockstep_resync_done_bytes",
        "Bytes resynced in this round.",
        |s, rows| whole(s, rows, |status| blocks(status.sync_done_blocks)),
    ),
    metric(
        Kind::Gauge,
        "lockstep_resync_bytes",
        "Bytes that this round of resync began with.",
        |s, rows| whole(s, rows, |status| blocks(status.sync_total_blocks)),
    ),
    metric(
        Kind::Gauge,
        "lockstep_resync_sent_bytes",
        "Bytes of data that travelled in this round of resync.",
        |s, rows| whole(s, rows, |status| status.sync_sent_bytes),
    ),
    metric(
        Kind::Gauge,
        "lockstep_resync_paused",
        "1 when an operator holds it back.",
        |s, rows| {
            whole(s, rows, |status| u64::from(status.sync_paused));
        },
    ),
    metric(
        Kind::Gauge,
        "lockstep_verify_done_bytes",
        "Bytes compared so far; only while a comparison runs.",
        |s, rows| each(s, rows, |status| status.verify_done_blocks.map(blocks).map(Number::Whole)),
    ),
    metric(
        Kind::Gauge,
        "lockstep_verify_mismatched_bytes",
        "Bytes of blocks that differed in the last comparison.",
        |s, rows| whole(s, rows, |status| blocks(status.verify_mismatches)),
    ),
    metric(Kind::Gauge, "lockstep_split_brain", "1 when both copies went on alone.", |s, rows| {
        whole(s, rows, |status| u64::from(status.split_brain));
    }),
    metric(
        Kind::Gauge,
        "lockstep_lease_seconds",
        "Seconds for which reads are served without another sign of the peer.",
        |s, rows| {
            for volume in &s.volumes {
                let until = status(volume).and_then(|status| status.lease_until);
                if let Some(until) = until {
                    rows.put(&[&volume.name], Number::Nanos(until.since(volume.report.now).0));
                }
            }
        },
    ),
    metric(
        Kind::Gauge,
        "lockstep_writes_held_seconds",
        "Seconds since writes are held; 0 while they are not.",
        |s, rows| {
            for volume in &s.volumes {
                let Some(status) = status(volume) else { continue };
                let held = status.held_since.map_or(0, |since| volume.report.now.since(since).0);
                rows.put(&[&volume.name], Number::Nanos(held));
            }
        },
    ),
    metric(
        Kind::Counter,
        "lockstep_engine_cpu_seconds_total",
        "Seconds of processor time of the engine's thread.",
        |s, rows| shell(s, rows, "reactor_cpu_ns", Number::Nanos),
    ),
];
