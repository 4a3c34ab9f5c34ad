//! `/metrics`: engine and cluster in the text format of Prometheus. One table says name, kind, unit
//! and meaning of each metric and how it is read, so that none is shown that is not in the manual.
//! Always: an engine that hangs leaves out its histograms and nothing else.

mod cluster;
mod engine;

use super::body::{Body, whole};
use super::control::{Ask, Refusal, Tell, Verb};
use super::serve;
use super::shared::Shared;
use crate::status::Report;
use crate::status::cluster::ClusterReport;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::Value;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Type of the answer.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Kind of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
struct Metric {
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Snapshot, &mut Rows),
}

/// A number as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Number {
    Whole(u64),
    /// Nanoseconds, written as seconds.
    Nanos(u64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(number) => write!(f, "{number}"),
            Number::Nanos(ns) => write!(f, "{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
        }
    }
}

fn millis(ms: u64) -> Number {
    Number::Nanos(ms.saturating_mul(1_000_000))
}

fn flag(on: bool) -> Number {
    Number::Whole(u64::from(on))
}

/// One volume.
struct Volume {
    name: String,
    report: Report,
    /// Histograms and counters of its engine.
    stats: Option<Value>,
}

/// Everything that is read once for one answer.
struct Snapshot {
    cluster: ClusterReport,
    volumes: Vec<Volume>,
    events: [u64; 3],
    connections: u64,
    connections_refused: u64,
    unauthenticated: u64,
    answers: [u64; 3],
    requests_waiting: usize,
}

/// Lines of one metric.
struct Rows {
    text: String,
    name: &'static str,
    labels: &'static [&'static str],
}

impl Rows {
    /// One value, with a value for each label.
    fn put(&mut self, values: &[&str], number: Number) {
        self.put_as("", values, None, number);
    }

    /// The same below a longer name, and with the upper bound of a bucket.
    fn put_as(&mut self, suffix: &str, values: &[&str], upper: Option<&str>, number: Number) {
        let pairs = self.labels.iter().copied().zip(values.iter().copied());
        let pairs = pairs.chain(upper.map(|upper| ("le", upper)));
        let labels: Vec<String> =
            pairs.map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let all =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{}{suffix}{all} {number}", self.name);
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn table() -> impl Iterator<Item = &'static Metric> {
    cluster::TABLE.iter().chain(engine::TABLE)
}

/// The text of a snapshot.
fn render(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for metric in table() {
        let (name, labels) = (metric.name, metric.labels);
        let mut rows = Rows { text: String::new(), name, labels };
        (metric.read)(snapshot, &mut rows);
        if rows.text.is_empty() {
            continue;
        }
        let _ = writeln!(text, "# HELP {name} {}", metric.help);
        let _ = writeln!(text, "# TYPE {name} {}", metric.kind.word());
        text.push_str(&rows.text);
    }
    text
}

/// The table for people, as it stands in the manual.
pub fn manual() -> String {
    let mut text = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for Metric { name, kind, labels, help, .. } in table() {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.word(), labels.join(" "));
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    text
}

async fn volume(shared: &Shared, name: &str) -> Option<Volume> {
    let ask = |verb| Ask { volume: Some(name.to_owned()), dry_run: false, verb };
    let Ok(Tell::Status(report)) = shared.ask(ask(Verb::Status)).await else { return None };
    let stats = match shared.ask(ask(Verb::Stats)).await {
        Ok(Tell::Stats(stats)) => Some(stats),
        _ => None,
    };
    Some(Volume { name: name.to_owned(), report: *report, stats })
}

/// The answer.
pub(super) async fn answer(shared: &Shared) -> Result<Response<Body>, Refusal> {
    let cluster = *serve::cluster(shared).await?;
    let mut volumes = Vec::new();
    for mirror in cluster.groups.iter().flat_map(|group| &group.mirrors) {
        volumes.extend(volume(shared, &mirror.volume).await);
    }
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let snapshot = Snapshot {
        cluster,
        volumes,
        events: shared.diary.told(),
        connections: count(&shared.counts.open),
        connections_refused: count(&shared.counts.refused),
        unauthenticated: count(&shared.counts.unauthenticated),
        answers: [0, 1, 2].map(|class: usize| count(&shared.counts.answers[class])),
        requests_waiting: shared.requests.waiting(),
    };
    Ok(whole(StatusCode::OK, TEXT, Bytes::from(render(&snapshot))))
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
