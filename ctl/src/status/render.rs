//! A report as a person reads it: fits a screen, the answers first.

use super::words::{age, bytes};
use super::{Colour, HeartbeatReport, Report};
use lockstep_engine::units::{BLOCK_BYTES, Status, Tick};
use std::fmt::Write;

/// Paints a word on a terminal.
fn paint(colour: Colour, word: &str, terminal: bool) -> String {
    if !terminal {
        return word.to_owned();
    }
    let code = match colour {
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Red => 31,
        Colour::Grey => 90,
    };
    format!("\x1b[1;{code}m{word}\x1b[0m")
}

/// The whole status as lines. `terminal` allows colours.
pub fn render(report: &Report, terminal: bool) -> String {
    let mut text = String::new();
    let summary = &report.summary;
    let safe = if summary.safe { Colour::Green } else { Colour::Red };
    let runs = summary.runs_on.map_or("nowhere, as far as this node knows".to_owned(), |node| {
        if node == report.node { format!("node {node} (here)") } else { format!("node {node}") }
    });
    let colour = paint(summary.colour, &summary.colour.to_string(), terminal);
    let safe_word = paint(safe, if summary.safe { "yes" } else { "no" }, terminal);
    let mut line = |label: &str, value: &str| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{label:<14}{value}");
    };
    line(
        "volume",
        &format!(
            "{} (group {}, cluster {}), seen from node {}",
            report.volume.name, report.group.name, report.cluster.name, report.node
        ),
    );
    line("mirror", &format!("{colour}: {}", summary.mirror));
    line("runs on", &runs);
    line("safe to lose", &format!("{safe_word}: {}", summary.safe_why));
    line("RPO", &summary.rpo);
    line("next", &summary.next);
    for alarm in &summary.alarms {
        line("alarm", &paint(Colour::Yellow, alarm, terminal));
    }
    match report.engine.as_ref().and_then(|engine| engine.status.as_ref()) {
        Some(status) => engine_lines(report, status, &mut line),
        None => line("engine", "not connected"),
    }
    line("heartbeat", &heartbeat(&report.heartbeat));
    line("arbiter", &format!("{}, {}", report.arbiter.store, arbiter(report)));
    text
}

fn engine_lines(report: &Report, status: &Status, line: &mut impl FnMut(&str, &str)) {
    let now = report.now;
    let peer = status.peer_disk.map_or("unknown".to_owned(), |disk| format!("{disk:?}"));
    line("copy here", &format!("{:?}, role {:?}", status.disk, status.role));
    line("copy there", &format!("{peer}, link {:?}", status.link));
    if let Some(record) = report.record.as_ref().or(status.record.as_ref()) {
        let members: Vec<String> =
            Vec::from(record.members).iter().map(|n| n.to_string()).collect();
        line(
            "record",
            &format!(
                "version {}, epoch {}, members {}",
                record.version.0,
                record.epoch.0,
                members.join("+")
            ),
        );
    }
    if status.dirty_blocks > 0 || status.sync_total_blocks > status.sync_done_blocks {
        let left = status.sync_total_blocks.saturating_sub(status.sync_done_blocks);
        line(
            "resync",
            &format!(
                "{} dirty, {} of {} left, {} sent",
                bytes(status.dirty_blocks.saturating_mul(BLOCK_BYTES)),
                bytes(left.saturating_mul(BLOCK_BYTES)),
                bytes(status.sync_total_blocks.saturating_mul(BLOCK_BYTES)),
                bytes(status.sync_sent_bytes)
            ),
        );
    }
    if let Some(device) = &status.device {
        let number = device.index.map_or(String::new(), |index| format!(" (/dev/nbd{index})"));
        let attached = if device.attached { "attached" } else { "not attached" };
        line("device", &format!("{}{number}, {attached}, {}", device.path, bytes(device.bytes)));
    }
    if let Some(held) = status.held_since {
        line("held", &format!("{} requests for {}", status.client_ops, since(now, held)));
    }
    if let Some(done) = status.verify_done_blocks {
        line(
            "verify",
            &format!(
                "{} compared, {} blocks differ",
                bytes(done.saturating_mul(BLOCK_BYTES)),
                status.verify_mismatches
            ),
        );
    }
    let counters = &status.counters;
    line(
        "served",
        &format!(
            "{} reads ({}), {} writes ({}), {} flushes, {} errors",
            counters.reads,
            bytes(counters.read_bytes),
            counters.writes,
            bytes(counters.write_bytes),
            counters.flushes,
            counters.errors
        ),
    );
}

fn since(now: Tick, then: Tick) -> String {
    age(now.since(then).as_millis())
}

fn heartbeat(report: &HeartbeatReport) -> String {
    let heard = report
        .heard_ms_ago
        .map_or("peer never heard".to_owned(), |ms| format!("peer heard {} ago", age(ms)));
    let dropped = report.dropped.foreign + report.dropped.replayed;
    if dropped == 0 { heard } else { format!("{heard}, {dropped} packets refused") }
}

fn arbiter(report: &Report) -> String {
    match (&report.arbiter.trouble, report.arbiter.last_ms) {
        (Some(_), _) => "no answer (see alarm)".to_owned(),
        (None, Some(ms)) => format!("answers within {ms} ms"),
        (None, None) => "not asked yet".to_owned(),
    }
}
