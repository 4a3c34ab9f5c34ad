//! The table: what clients send is what it understands, and the manual has it as it is.

use crate::api::control::{Ask, GroupWant, Verb};
use crate::api::encode::encode;
use crate::api::routes::{Found, Given, Method, TABLE, What, find};
use crate::decide::node::{ClusterVerb, MonitorVerb};
use lockstep_engine::units::NodeId;
use std::collections::BTreeSet;
use std::path::Path;

fn verbs() -> Vec<Verb> {
    let name = || "a b".to_owned();
    let group = |want| Verb::Group { name: name(), want };
    let monitor = |want| Verb::Monitor { name: name(), want };
    let mut all = vec![
        Verb::Status,
        Verb::Watch,
        Verb::Stats,
        Verb::Takeover,
        Verb::Move,
        Verb::Stop,
        Verb::ForcePromote { volume: name() },
        Verb::DiscardLocal { volume: name() },
        Verb::Cluster,
        Verb::WatchCluster,
        Verb::Service(ClusterVerb::Start),
        Verb::Service(ClusterVerb::Suspend),
        Verb::Service(ClusterVerb::Resume),
        group(GroupWant::Stop),
        group(GroupWant::Move),
        group(GroupWant::Failover),
        group(GroupWant::ResourceStart { resource: name() }),
        group(GroupWant::ResourceStop { resource: name() }),
        monitor(MonitorVerb::Suspend),
        monitor(MonitorVerb::Resume),
        Verb::Apply { text: "[cluster]\nname = \"a b\"\n".to_owned() },
        Verb::WhatIf { node: NodeId::A },
        Verb::WhatIf { node: NodeId::B },
    ];
    for on in [true, false] {
        all.extend([
            Verb::Create { both_blank: on },
            Verb::Start { without_peer: on },
            Verb::PauseSync { paused: on },
            Verb::Verify { start: on },
            Verb::Service(ClusterVerb::Stop { hand_over: on }),
            group(GroupWant::Start { without_peer: on }),
            monitor(MonitorVerb::Fail(on)),
        ]);
    }
    all
}

#[test]
fn every_verb_comes_back_as_it_was_sent() {
    let mut used = BTreeSet::new();
    for verb in verbs() {
        for (volume, dry_run) in [(None, false), (Some("vol/1".to_owned()), true)] {
            let wanted = encode(&Ask { volume: volume.clone(), dry_run, verb: verb.clone() });
            let (path, query) = wanted.target.split_once('?').unwrap_or((&wanted.target, ""));
            let Found::Route(route, names) = find(wanted.method.word(), path) else {
                panic!("{wanted:?} leads nowhere");
            };
            used.insert(route.path);
            let body = if wanted.body.is_null() { String::new() } else { wanted.body.to_string() };
            let given = Given::read(route, names, query, body.as_bytes()).unwrap();
            let (back, of_volume) = match route.what {
                What::Ask(back) => (back(&given), false),
                What::AskVolume(back) => (back(&given), true),
                _ => panic!("{wanted:?} asks nothing"),
            };
            assert_eq!(back.as_ref(), Some(&verb), "{wanted:?}");
            assert_eq!(given.flag("dry_run"), dry_run && wanted.method == Method::Post);
            if of_volume {
                assert_eq!(given.name(0), volume.as_deref().unwrap_or("-"));
            }
        }
    }
    let asks = |what: &What| matches!(what, What::Ask(_) | What::AskVolume(_));
    for route in TABLE.iter().filter(|route| asks(&route.what)) {
        assert!(used.contains(route.path), "no verb of a client leads to {}", route.path);
    }
}

#[test]
fn every_route_is_found_and_says_what_it_does() {
    let mut seen = BTreeSet::new();
    for route in TABLE {
        assert!(seen.insert((route.method.word(), route.path)), "{} twice", route.path);
        assert!(!route.about.is_empty() && !route.about.ends_with('.'), "{}", route.about);
        let path = route.path.replace(['{', '}'], "");
        let Found::Route(found, _) = find(route.method.word(), &path) else { panic!("{path}") };
        assert_eq!(found.path, route.path);
        assert_eq!(route.changes(), route.method == Method::Post);
    }
}

#[test]
fn fields_that_are_unknown_missing_or_of_another_shape_are_refused() {
    let route = |path: &str| TABLE.iter().find(|route| route.path == path).unwrap();
    let read = |path: &str, query: &str, body: &str| {
        Given::read(route(path), vec!["x".to_owned()], query, body.as_bytes())
    };
    let promote = "/v1/volumes/{volume}/force-promote";
    for (path, query, body, part) in [
        ("/v1/events", "after=x", "", "not a integer"),
        ("/v1/events", "aftr=1", "", "known are: after, most, follow"),
        ("/v1/events", "after=%", "", "it makes no sense"),
        ("/v1/events", "follow=maybe", "", "not a boolean"),
        ("/v1/cluster/stop", "", "{\"hold_down\":1}", "not a boolean"),
        ("/v1/cluster/stop", "", "[]", "write one JSON object"),
        ("/v1/cluster/stop", "hold_down=true", "", "no field \"hold_down\" here"),
        ("/v1/cluster/start", "", "{\"x\":1}", "known are: none"),
        (promote, "", "", "field `volume`: it is missing"),
        (promote, "", "{\"volume\":7}", "not a string"),
    ] {
        let told = read(path, query, body).unwrap_err();
        assert!(told.contains(part), "{path}: {told}");
    }
    let given = read("/v1/cluster/stop", "dry_run=1&wait=0", "{\"hold_down\":true}").unwrap();
    assert!(given.flag("dry_run") && given.flag("hold_down") && !given.flag_or("wait", true));
}

/// The tables of the manual, as they are made from the code. `LOCKSTEP_REWRITE=1` writes them.
#[test]
fn the_manual_has_every_request_and_every_metric() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("API.md");
    let mut text = std::fs::read_to_string(&path).unwrap();
    let before = text.clone();
    for (mark, table) in
        [("requests", crate::api::routes_manual()), ("metrics", crate::api::metrics_manual())]
    {
        let (open, close) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
        let from = text.find(&open).expect("the mark") + open.len();
        let to = text.find(&close).expect("the end of it");
        text.replace_range(from..to, &table);
    }
    if std::env::var_os("LOCKSTEP_REWRITE").is_some() {
        std::fs::write(&path, &text).unwrap();
        return;
    }
    assert!(text == before, "API.md is old; run this test with LOCKSTEP_REWRITE=1");
}
