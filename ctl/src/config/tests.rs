//! A configuration is either whole or refused with everything that is wrong with it.

use super::*;

const GOOD: &str = r#"
node = "b"
key_file = "/etc/lockstep/key"
runtime_dir = "/run/lockstep"
state_dir = "/var/lib/lockstep"
daemon_socket = "/run/lockstep/daemon.sock"
spawn_engine = true

[cluster]
id = "c1"
name = "prod"
[group]
id = "61"
name = "db"
[volume]
id = "7f"
name = "db-data"
[engine]
socket = "/run/lockstep/engine.sock"
config = "/etc/lockstep/engine.toml"
[heartbeat]
bind = "10.0.1.10:7790"
peer = "10.0.2.10:7790"
[arbiter]
directory = "/mnt/shared/lockstep"
[times]
suspend_max_ms = "never"
ping_ms = 200
"#;

#[test]
fn a_good_file_is_read_whole() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.node, NodeId::B);
    assert_eq!(config.volume, Named { id: VolumeId(0x7f), name: "db-data".to_owned() });
    assert_eq!(config.heartbeat.interval, Span::millis(500));
    assert_eq!(config.times.suspend_max, None);
    assert_eq!(config.times.ping, Span::millis(200));
    assert!(config.spawn_engine && config.auto_takeover);
}

#[test]
fn the_arbiter_has_no_default() {
    let text = GOOD.replace("[arbiter]\ndirectory = \"/mnt/shared/lockstep\"\n", "");
    let problems = Config::parse(&text).unwrap_err();
    assert_eq!(problems, [Problem::Missing { key: "arbiter".to_owned() }]);
    assert!(problems[0].to_string().contains("no default"));
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = GOOD
        .replace("node = \"b\"", "node = \"c\"")
        .replace("spawn_engine = true", "spawn_engin = true")
        .replace("bind = \"10.0.1.10:7790\"", "bind = 7")
        .replace("id = \"61\"", "id = \"00\"")
        .replace("key_file = \"/etc/lockstep/key\"", "key_file = \"key\"")
        .replace("ping_ms = 200", "lease_ms = 4500");
    let problems = Config::parse(&text).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for key in ["node", "spawn_engin", "heartbeat.bind", "group.id", "key_file", "times"] {
        assert!(lines.iter().any(|line| line.starts_with(key)), "{key} in {lines:?}");
    }
    assert_eq!(lines.len(), 6, "{lines:?}");
}
