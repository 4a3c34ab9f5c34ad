//! The engine's configuration: what is accepted means what it says, everything wrong is told at
//! once with its key, and the canonical text is stable.

use lockstep_engine::config::{ConfigError, EngineConfig, KernelDevice, Wrong};
use lockstep_engine::limits::Times;
use lockstep_engine::replica::settings::AckMode;
use lockstep_engine::units::{ClusterId, NodeId, Span};

const SMALL: &str = r#"
node = "a"
data = "/lab/a/data"
cluster_partition = "/lab/a/cluster"
admin = "/run/lockstep/orders.admin"
[cluster]
id = "c1"
name = "prod"
[group]
id = "62"
name = "orders"
[volume]
id = "7001"
name = "orders-0"
[link]
listen = "127.0.0.1:7010"
peer = "127.0.0.1:7011"
key_file = "/etc/lockstep/link.key"
"#;

fn problems(text: &str) -> Vec<(String, Wrong)> {
    match EngineConfig::parse(text) {
        Err(ConfigError::Problems(list)) => list.into_iter().map(|p| (p.key, p.what)).collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn a_small_file_gets_the_defaults() {
    let config = EngineConfig::parse(SMALL).expect("sound");
    assert_eq!((config.node, config.cluster.id), (NodeId::A, ClusterId(0xc1)));
    assert_eq!(config.ack, AckMode::Written);
    assert_eq!(config.times, Times::DEFAULT);
    assert_eq!((config.link.flows, config.limits.intent_regions), (2, 16_384));
    assert!(config.clients.unix.is_none() && config.clients.tcp.is_empty());
    assert!(config.sync.digests && config.sync.rate_max.is_none());
}

#[test]
fn the_canonical_text_parses_to_the_same_and_has_one_digest() {
    let mut full = EngineConfig::parse(SMALL).expect("sound");
    full.clients.unix = Some("/run/lockstep/orders \"q\".sock".into());
    full.clients.tcp = vec!["[::1]:10809".parse().expect("address")];
    full.device = Some(KernelDevice { index: None });
    full.times.suspend_max = None;
    full.sync.rate_max = Some(250 << 20);
    full.sync.rate_floor = 20 << 20;
    full.sync.delay_target = Span::millis(3);
    full.ack = AckMode::Received;
    full.intent_idle = Span::millis(777);
    for config in [EngineConfig::parse(SMALL).expect("sound"), full] {
        let again = EngineConfig::parse(&config.to_toml()).expect("we wrote it");
        assert_eq!(again, config);
        assert_eq!(again.digest(), config.digest());
        assert_eq!(config.digest().len(), 32);
        let other = EngineConfig { node: NodeId::B, ..config.clone() };
        assert_ne!(other.digest(), config.digest());
    }
    let spaced = format!("# generated\n{}", SMALL.replace(" = ", "="));
    let digests = [SMALL, &spaced].map(|text| EngineConfig::parse(text).expect("sound").digest());
    assert_eq!(digests[0], digests[1], "comments and spaces do not count");
}

#[test]
fn every_problem_is_told_at_once() {
    let text = SMALL
        .replace("node = \"a\"", "node = \"c\"\nspeed = 3")
        .replace("data = \"/lab/a/data\"\n", "")
        .replace("id = \"7001\"", "id = \"000\"")
        .replace("peer = \"127.0.0.1:7011\"", "peer = \"node-b:7011\"\nflows = 17");
    let found = problems(&text);
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    for key in ["node", "speed", "data", "volume.id", "link.peer", "link.flows"] {
        assert!(keys.contains(&key), "{key} missing in {keys:?}");
    }
    assert_eq!(keys.len(), 6, "{keys:?}");
    let message = EngineConfig::parse(&text).expect_err("wrong").to_string();
    assert!(message.contains("6 problem(s)"), "{message}");
    assert!(message.contains("link.flows: is 17; choose a number from 1 to 16"), "{message}");
    assert!(message.contains("data: is missing; add for example"), "{message}");
}

#[test]
fn unknown_keys_are_refused_in_every_table() {
    for table in ["cluster", "group", "volume", "link"] {
        let text = SMALL.replace(&format!("[{table}]"), &format!("[{table}]\nbogus = 1"));
        let found = problems(&text);
        assert_eq!(found[0].0, format!("{table}.bogus"));
        assert!(matches!(found[0].1, Wrong::Unknown { .. }));
    }
    for table in ["clients", "sync", "times", "limits", "bogus"] {
        let found = problems(&format!("{SMALL}\n[{table}]\nbogus = 1"));
        assert!(matches!(found[0].1, Wrong::Unknown { .. }), "{table}");
    }
}

#[test]
fn a_device_bears_its_number_or_the_name_of_the_volume() {
    let with = |path: &str| format!("device = \"{path}\"\n{SMALL}");
    let numbered = EngineConfig::parse(&with("/dev/nbd3")).expect("sound");
    assert_eq!(numbered.device, Some(KernelDevice { index: Some(3) }));
    let named = EngineConfig::parse(&with("/dev/lockstep/orders-0")).expect("sound");
    assert_eq!(named.device, Some(KernelDevice { index: None }));
    for wrong in ["/dev/lockstep/other", "/dev/sda", "nbd3"] {
        let found = problems(&with(wrong));
        assert_eq!(found[0].0, "device", "{wrong}");
    }
    let without = EngineConfig::parse(SMALL).expect("sound");
    assert!(!without.to_toml().contains("device"), "files that have none stay as they were");
}

#[test]
fn asynchronous_mode_is_refused_with_a_reason() {
    let found = problems(&format!("ack = \"local\"\n{SMALL}"));
    assert_eq!(found, [("ack".to_string(), Wrong::LocalAck)]);
}

#[test]
fn times_that_do_not_hold_together_are_refused() {
    let found = problems(&format!("{SMALL}\n[times]\nlease_ms = 3000"));
    assert_eq!(found, [("times".to_string(), Wrong::Times)]);
    let never = format!("{SMALL}\n[times]\nsuspend_max_ms = \"never\"\nping_ms = 100");
    let config = EngineConfig::parse(&never).expect("sound");
    assert_eq!((config.times.suspend_max, config.times.ping), (None, Span::millis(100)));
    let found = problems(&format!("{SMALL}\n[times]\nping_ms = -1"));
    assert!(matches!(found[0].1, Wrong::Range { found: -1, .. }));
}

#[test]
fn keys_that_must_differ_do() {
    let same = SMALL.replace("/lab/a/cluster", "/lab/a/data").replace("7011", "7010");
    let keys: Vec<String> = problems(&same).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["cluster_partition", "link.peer"]);
    let relative = SMALL.replace("/lab/a/data", "lab/data");
    assert!(matches!(problems(&relative)[0].1, Wrong::Expected { wanted: "an absolute path", .. }));
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    let error = EngineConfig::parse("node = ").expect_err("not TOML").to_string();
    assert!(error.contains("line 1"), "{error}");
    let missing = EngineConfig::load(std::path::Path::new("/nowhere/engine.toml"));
    assert!(matches!(missing, Err(ConfigError::Unreadable { .. })));
}
