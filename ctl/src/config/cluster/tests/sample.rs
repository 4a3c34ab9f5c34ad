//! The sample has every key that the reader knows, and no other.

use super::*;
use crate::config::cluster::section::Notes;
use std::collections::BTreeSet;

/// A head with the lines below it, whether commented out or not.
struct Block {
    head: String,
    used: bool,
    lines: Vec<Line>,
}

struct Line {
    key: String,
    value: String,
    used: bool,
}

impl Block {
    fn value(&self, key: &str) -> Option<&str> {
        let found = self.lines.iter().find(|line| line.key == key);
        found.map(|line| line.value.trim().trim_matches('"'))
    }

    /// Its name as the reader's catalogue has it: with the type of what it describes.
    fn shape(&self) -> String {
        let name = self.head.trim_matches(['[', ']']).to_owned();
        let typed = ["arbiter", "monitors", "groups.resources"].contains(&name.as_str());
        match self.value("type") {
            Some(kind) if typed => format!("{name}({kind})"),
            _ => name,
        }
    }
}

/// The sample with everything that is commented out: a "#" without a space behind it.
fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in SAMPLE.lines() {
        let (line, used) = match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(' ') || rest.is_empty() => continue,
            Some(rest) => (rest, false),
            None => (line, true),
        };
        if line.starts_with('[') {
            blocks.push(Block { head: line.to_owned(), used, lines: Vec::new() });
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.to_owned());
            blocks.last_mut().unwrap().lines.push(Line { key, value, used });
        }
    }
    blocks
}

/// One file with all blocks, of the kinds of arbiter the n-th alone.
pub(super) fn everything(n: usize) -> String {
    let mut text = String::new();
    let mut arbiters = 0;
    for block in blocks() {
        if block.head == "[arbiter]" {
            arbiters += 1;
            if arbiters - 1 != n {
                continue;
            }
        }
        let _ = writeln!(text, "{}", block.head);
        for line in &block.lines {
            let _ = writeln!(text, "{} = {}", line.key, line.value);
        }
    }
    text
}

#[test]
fn the_sample_is_good() {
    let cluster = good(SAMPLE);
    assert_eq!(cluster.node(NodeId::A).engines.len(), 1);
}

#[test]
fn the_sample_and_the_reader_know_the_same_keys() {
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    for n in 0..4 {
        let text = everything(n);
        let (table, errors) = DeTable::parse_recoverable(&text);
        assert!(errors.is_empty(), "{errors:?}\n{text}");
        let (_, notes): (Local, Notes) = read::read(table.get_ref(), NodeId::A);
        for note in notes.found.into_inner() {
            let unknown = matches!(note.wrong, Wrong::Unknown { .. });
            assert!(!unknown, "{} is in the sample alone", note.key);
        }
        let keys = notes.known.into_inner();
        known.extend(keys.into_iter().map(|(shape, key)| (shape, key.to_owned())));
    }
    let mut there: BTreeSet<(String, String)> = BTreeSet::new();
    for block in blocks() {
        let shape = block.shape();
        there.extend(block.lines.iter().map(|line| (shape.clone(), line.key.clone())));
        // A head is a key of the table around it.
        let name = block.head.trim_matches(['[', ']']);
        let (outer, key) = name.rsplit_once('.').unwrap_or(("", name));
        there.insert((outer.to_owned(), key.to_owned()));
        if !outer.is_empty() {
            there.insert((String::new(), outer.to_owned()));
        }
    }
    let missing: Vec<_> = known.difference(&there).collect();
    let strange: Vec<_> = there.difference(&known).collect();
    assert!(missing.is_empty(), "not in the sample: {missing:?}");
    assert!(strange.is_empty(), "in the sample alone: {strange:?}");
    assert!(known.len() > 150, "{}", known.len());
}

#[test]
fn what_is_commented_out_is_the_default_where_there_is_one() {
    let whole = ["[heartbeat]", "[times]", "[events]", "[paths]", "[engine]"];
    let mut text = String::new();
    for block in blocks() {
        if !block.used && !whole.contains(&block.head.as_str()) {
            continue;
        }
        let _ = writeln!(text, "{}", block.head);
        for line in &block.lines {
            let default = DEFAULTS.contains(&line.key.as_str()) || !block.used;
            if line.used || (default && line.key != "program") {
                let _ = writeln!(text, "{} = {}", line.key, line.value);
            }
        }
    }
    assert_eq!(good(&text), good(SAMPLE));
}

/// Keys of which the commented-out value is the default.
const DEFAULTS: &[&str] = &[
    "observe_only",
    "harmless",
    "prefix",
    "flows",
    "ack",
    "intent_idle",
    "resync_digests",
    "resync_window",
    "intent_regions",
    "connections",
    "lock_memory",
    "poll",
    "startup",
    "failover",
    "failback",
    "nodes",
    "after",
    "start_timeout",
    "stop_timeout",
    "start_retries",
    "failovers_max",
    "start_failed",
    "stop_failed",
    "fsck",
    "mount_retries",
    "kill_holders",
    "require",
    "interval",
    "timeout",
    "retries",
    "wait_before_start",
    "on_no_response",
    "target",
    "reactivations_max",
    "final_action",
    "fences",
];
