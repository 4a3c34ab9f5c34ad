//! The text is what a parser of the format takes, and every metric is in the table with its unit.

use super::*;
use crate::api::tests::lab;
use std::collections::{BTreeMap, BTreeSet};

/// What a name may end with, and the word that its meaning must then have.
const UNITS: &[(&str, &str)] =
    &[("_seconds", "Seconds"), ("_bytes", "Bytes"), ("_info", "Always 1")];

fn snapshot() -> Snapshot {
    Snapshot {
        cluster: lab::cluster(),
        volumes: vec![Volume {
            name: "vol".to_owned(),
            report: lab::volume(),
            stats: Some(lab::stats()),
        }],
        events: [1, 2, 3],
        connections: 1,
        connections_refused: 2,
        unauthenticated: 3,
        answers: [4, 5, 6],
        requests_waiting: 0,
    }
}

/// One sample: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Families of a text, each with kind and samples; the grammar of the format, and nothing else.
fn parse(text: &str) -> BTreeMap<String, (String, Vec<Sample>)> {
    let mut families: BTreeMap<String, (String, Vec<Sample>)> = BTreeMap::new();
    let (mut help, mut current) = (None, String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').expect("a meaning");
            assert!(!words.is_empty());
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert_eq!(help.take().as_deref(), Some(name), "HELP before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let new = families.insert(name.to_owned(), (kind.to_owned(), Vec::new()));
            assert!(new.is_none(), "{name} twice");
            name.clone_into(&mut current);
        } else {
            let (name, labels, value) = sample(line);
            assert!(name.starts_with(&current), "{line} is not of {current}");
            families.get_mut(&current).expect("TYPE first").1.push((name, labels, value));
        }
    }
    families
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a value");
    let name = &line[..end];
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    assert!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain),
        "{line}"
    );
    let mut labels = BTreeMap::new();
    let mut rest = &line[end..];
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, after) = inside.split_once("=\"").expect("a label");
            assert!(label.chars().all(plain), "{line}");
            let mut value = String::new();
            let mut letters = after.char_indices();
            let closed = loop {
                match letters.next().expect("a quote at the end") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match letters.next().expect("an escape").1 {
                        'n' => '\n',
                        other => other,
                    }),
                    (_, letter) => value.push(letter),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            inside = after[closed + 1..].trim_start_matches(',');
        }
        rest = &inside[1..];
    }
    let value = rest.strip_prefix(' ').expect("a space");
    (name.to_owned(), labels, value.parse().expect("a number"))
}

#[test]
fn the_text_is_what_a_parser_takes_and_nothing_stands_in_it_twice() {
    let families = parse(&render(&snapshot()));
    for (name, (kind, samples)) in &families {
        let mut seen = BTreeSet::new();
        for (sample, labels, _) in samples {
            assert!(seen.insert((sample.clone(), labels.clone())), "{sample} {labels:?} twice");
            let suffix = &sample[name.len()..];
            let fits = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => suffix.is_empty(),
            };
            assert!(fits, "{sample}");
        }
    }
    let failed = &families["lockstep_resource_failed"].1[0];
    assert_eq!((failed.1["group"].as_str(), failed.2), ("db", 1.0));
    let store = Number::Nanos(1_500_000_001).to_string();
    assert_eq!(store, "1.500000001");
    assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
}

#[test]
fn histograms_grow_and_end_with_all() {
    let families = parse(&render(&snapshot()));
    let samples = &families["lockstep_request_duration_seconds"].1;
    let writes = |suffix: &str| -> Vec<(String, f64)> {
        let of = |one: &&Sample| one.0.ends_with(suffix) && one.1["operation"] == "write";
        let found = samples.iter().filter(of);
        found.map(|(_, labels, n)| (labels.get("le").cloned().unwrap_or_default(), *n)).collect()
    };
    let buckets = writes("_bucket");
    assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
    assert_eq!(buckets[0], ("0.000004096".to_owned(), 1.0));
    assert_eq!(buckets[1], ("0.000008192".to_owned(), 3.0));
    assert_eq!(buckets.last().unwrap(), &("+Inf".to_owned(), 4.0));
    assert_eq!(writes("_count")[0].1, 4.0);
    assert_eq!(writes("_sum")[0].1, 5.0);
}

#[test]
fn every_metric_is_shown_and_its_name_says_kind_and_unit() {
    let families = parse(&render(&snapshot()));
    // A comparison runs only now and then.
    let rare = ["lockstep_verify_done_bytes", "lockstep_interconnect_silence_seconds"];
    let mut names = BTreeSet::new();
    for Metric { name, kind, labels, help, .. } in table() {
        assert!(names.insert(*name), "{name} twice");
        assert!(name.starts_with("lockstep_"), "{name}");
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let stem = name.trim_end_matches("_total");
        let unit = UNITS.iter().find(|(end, _)| stem.ends_with(end));
        let counts = ["Number", "1 ", "Always 1", "Calls", "Epoch"];
        let said = match unit {
            Some((_, word)) => help.starts_with(word),
            None => counts.iter().any(|word| help.starts_with(word)),
        };
        assert!(said, "{name}: its meaning does not begin with its unit: {help}");
        let Some((shown, samples)) = families.get(*name) else {
            assert!(rare.contains(name), "{name} is not shown");
            continue;
        };
        assert_eq!(shown, kind.word());
        for (_, found, _) in samples {
            let found: BTreeSet<&str> =
                found.keys().map(String::as_str).filter(|label| *label != "le").collect();
            assert_eq!(found, labels.iter().copied().collect(), "{name}");
        }
    }
    assert!(families.keys().all(|name| names.contains(name.as_str())));
}

#[test]
fn an_engine_that_is_away_leaves_the_rest() {
    let mut away = snapshot();
    away.volumes[0].report.engine = None;
    away.volumes[0].stats = None;
    let families = parse(&render(&away));
    assert_eq!(families["lockstep_engine_up"].1[0].2, 0.0);
    assert!(!families.contains_key("lockstep_writes_total"));
    assert!(families.contains_key("lockstep_arbiter_up"));
}
