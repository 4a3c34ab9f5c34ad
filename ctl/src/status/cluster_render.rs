//! One screen for the cluster: readable without colour, the answers first.

use super::cluster::{ClusterReport, GroupReport};
use std::fmt::Write;

/// Monitors that are named when all is well, at most.
const FINE_SHOWN_MAX: usize = 12;

/// The screen.
pub fn render(report: &ClusterReport) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = head(&mut out, report);
    for group in &report.groups {
        let _ = show_group(&mut out, report, group);
    }
    let _ = tail(&mut out, report);
    out.trim_end().to_owned()
}

fn head(out: &mut String, report: &ClusterReport) -> std::fmt::Result {
    let (node, peer) = (report.node, report.node.peer());
    let leaving = if report.leaving { ", is being stopped" } else { "" };
    let observing = if report.observe_only { ", only observes" } else { "" };
    writeln!(
        out,
        "cluster {}: {} {}{leaving}{observing}",
        report.cluster.name,
        report.host(node),
        part(&report.part)
    )?;
    match (&report.peer.part, report.peer.heard) {
        (Some(word), true) => {
            let well = if report.peer.healthy == Some(false) { ", is not healthy" } else { "" };
            writeln!(out, "  {} is heard and {}{well}", report.host(peer), part(word))?;
        }
        _ => match report.peer.heard_ms_ago {
            Some(ms) => {
                writeln!(out, "  {} is silent for {}", report.host(peer), super::words::age(ms))?;
            }
            None => writeln!(out, "  {} was not heard yet", report.host(peer))?,
        },
    }
    let safe = if report.safe { "yes" } else { "NO" };
    writeln!(out, "  safe to lose a node now: {safe}")?;
    for why in &report.unsafe_why {
        writeln!(out, "    {why}")?;
    }
    for alarm in &report.alarms {
        writeln!(out, "  ! {alarm}")?;
    }
    Ok(())
}

fn part(word: &str) -> &str {
    match word {
        "takes" => "takes part",
        "suspended" => "is suspended: decides nothing by itself",
        "stopped" => "is stopped: takes no part",
        other => other,
    }
}

fn show_group(out: &mut String, report: &ClusterReport, group: &GroupReport) -> std::fmt::Result {
    let place = match group.runs_on {
        Some(node) => format!("runs on {}", report.host(node)),
        None => "runs nowhere".to_owned(),
    };
    writeln!(out, "group {}: {place}; here: {}", group.name, group.state)?;
    for mirror in &group.mirrors {
        let summary = &mirror.summary;
        writeln!(out, "  mirror {}  {}: {}", mirror.volume, summary.colour, summary.mirror)?;
        writeln!(out, "    RPO: {}", summary.rpo)?;
        writeln!(out, "    next: {}", summary.next)?;
    }
    let on = group.resources.iter().filter(|one| one.power == "on" && one.failure.is_none());
    let on: Vec<&str> = on.map(|one| one.name.as_str()).collect();
    if !on.is_empty() {
        writeln!(out, "  on: {}", on.join(", "))?;
    }
    for resource in &group.resources {
        let quiet = resource.power == "off" && group.runs_on != Some(report.node);
        if (resource.power == "on" || quiet) && resource.failure.is_none() {
            continue;
        }
        let stopped = if resource.stopped { ", stopped by an operator" } else { "" };
        let why = resource.failure.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        writeln!(out, "  {} is {}{stopped}{why}", resource.name, resource.power)?;
    }
    Ok(())
}

fn tail(out: &mut String, report: &ClusterReport) -> std::fmt::Result {
    let fine: Vec<&str> = report
        .monitors
        .iter()
        .filter(|monitor| monitor.health == "fine" && !monitor.suspended && !monitor.dummy)
        .map(|monitor| monitor.name.as_str())
        .collect();
    if !fine.is_empty() {
        let shown = &fine[..fine.len().min(FINE_SHOWN_MAX)];
        let more = fine.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(out, "monitors that are fine: {}{more}", shown.join(", "))?;
    }
    for monitor in &report.monitors {
        let mut words = vec![monitor.health.clone()];
        if monitor.suspended {
            words.push("suspended".to_owned());
        }
        if monitor.dummy {
            words.push("fails on purpose".to_owned());
        }
        if words == ["fine"] || words == ["unknown"] {
            continue;
        }
        let why = monitor.cause.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        writeln!(out, "monitor {}: {}{why}", monitor.name, words.join(", "))?;
    }
    let path = |path: &super::cluster::PathReport| {
        format!("{} {}", path.name, if path.up { "up" } else { "DOWN" })
    };
    let paths: Vec<String> = report.interconnects.iter().map(path).collect();
    writeln!(out, "interconnects: {}", paths.join(", "))?;
    for group in &report.groups {
        let state = match (&group.arbiter.trouble, group.arbiter.last_ms) {
            (Some(trouble), _) => trouble.to_string(),
            (None, Some(ms)) => format!("answers within {ms} ms"),
            (None, None) => "not asked yet".to_owned(),
        };
        writeln!(out, "arbiter of {}: {}: {state}", group.name, group.arbiter.store)?;
    }
    Ok(())
}
