//! The four answers in the situations that an operator meets.

use super::*;
use crate::act::arbiter::Trouble;
use crate::decide::View;
use crate::decide::node::{Safety, Sentence};
use crate::decide::record::Record;
use lockstep_engine::units::{
    DiskState, Epoch, Generation, LinkState, Members, Mirror, Nonce, Role, StartId, Version,
    VolumeRecord,
};
use std::path::Path;

fn record(members: Members, primary: Option<NodeId>) -> VolumeRecord {
    VolumeRecord {
        version: Version(4),
        epoch: Epoch(2),
        members,
        primary,
        generation: Generation(9),
        parent: Generation(8),
        nonce: Nonce(1),
        writer: NodeId::A,
        since: 1_000_000,
        forced: false,
    }
}

/// Node a, primary, in sync.
fn in_sync() -> Status {
    Status {
        boot: BootId(1),
        start: StartId(1),
        primary_boot: BootId(1),
        role: Role::Primary,
        disk: DiskState::UpToDate,
        peer_disk: Some(DiskState::UpToDate),
        peer_role: Some(Role::Secondary),
        generation: Generation(9),
        record: Some(record(Members::BOTH, Some(NodeId::A))),
        epoch: Epoch(2),
        link: LinkState::Up,
        peer_heard: Some(Tick(5)),
        peer_boot: Some(BootId(2)),
        mirror: Mirror::InSync,
        ..Status::at_rest(VolumeId(5), NodeId::A)
    }
}

fn told(engine: Option<&Status>, arbiter: &Health, peer_heard: bool) -> Summary {
    told_of(engine, None, arbiter, peer_heard)
}

fn told_of(
    engine: Option<&Status>,
    trouble: Option<&str>,
    arbiter: &Health,
    peer_heard: bool,
) -> Summary {
    let node = engine.map_or(NodeId::A, |engine| engine.node);
    let both = engine.and_then(|engine| engine.record).map(|record| record.members);
    let mut safety = Safety::default();
    if both.is_some_and(|members| members != Members::BOTH) {
        safety.against.push((NodeId::A, Sentence::NotMember { dirty_bytes: None }));
    }
    if !peer_heard {
        safety.against.push((node, Sentence::SurvivorUnknown));
    }
    if arbiter.trouble.is_some() {
        safety.against.push((node, Sentence::ArbiterAway));
    }
    let parted = Parted { here: Generation(0x9 << 124), there: Some(Generation(0x7 << 124)) };
    summarise(&Facts {
        node,
        volume: "db",
        engine,
        engine_trouble: trouble,
        engine_file: Path::new("/etc/lockstep/db.toml"),
        view: &View::default(),
        safety: &safety,
        parted: engine.filter(|engine| engine.split_brain).map(|_| &parted),
        arbiter,
        peer_heard,
        wall_ms: 1_000_000 + 192_000,
    })
}

#[test]
fn in_sync_is_green_safe_and_loses_nothing() {
    let summary = told(Some(&in_sync()), &Health::default(), true);
    assert_eq!(summary.colour, Colour::Green);
    assert!(summary.safe);
    assert_eq!(summary.runs_on, Some(NodeId::A));
    assert!(summary.rpo.starts_with("0, "), "{}", summary.rpo);
    assert_eq!(summary.next, "nothing");
    assert!(summary.alarms.is_empty());
}

#[test]
fn alone_is_red_and_says_since_when_and_how_much() {
    let mut status = in_sync();
    status.link = LinkState::Down;
    status.mirror = Mirror::Solo;
    status.record = Some(record(Members::only(NodeId::A), Some(NodeId::A)));
    status.dirty_blocks = 256;
    let summary = told(Some(&status), &Health::default(), false);
    assert_eq!(summary.colour, Colour::Red);
    assert!(!summary.safe);
    assert_eq!(
        summary.rpo,
        "node b is stale for 3 min 12 s: about 1 MiB would be lost if it were used now"
    );
    assert!(summary.next.contains("node b"), "{}", summary.next);
    assert_eq!(summary.alarms.len(), 1, "{:?}", summary.alarms);
}

#[test]
fn a_stale_node_names_the_one_with_the_latest_data() {
    let mut status = in_sync();
    status.node = NodeId::B;
    status.role = Role::Secondary;
    status.link = LinkState::Down;
    status.mirror = Mirror::Idle;
    status.record = Some(record(Members::only(NodeId::A), Some(NodeId::A)));
    let summary = told(Some(&status), &Health::default(), false);
    assert_eq!(summary.runs_on, None);
    assert!(summary.next.contains("bring node a back"), "{}", summary.next);
}

#[test]
fn without_the_arbiter_it_runs_but_is_not_safe() {
    let trouble = Some(Trouble::Slow { ms: 1000 });
    let arbiter = Health { trouble, ..Health::default() };
    let summary = told(Some(&in_sync()), &arbiter, true);
    assert_eq!(summary.colour, Colour::Green);
    assert!(!summary.safe);
    assert_eq!(summary.next, "repair the arbiter");
    assert!(summary.alarms[0].contains("1000 ms"));
}

#[test]
fn without_the_engine_all_is_unknown() {
    let summary = told(None, &Health::default(), true);
    assert_eq!(summary.colour, Colour::Grey);
    assert!(!summary.safe);
    let next = "start the engine here (`lockstep-engine run --config /etc/lockstep/db.toml`)";
    assert_eq!(summary.next, next);
}

#[test]
fn split_brain_is_red_names_both_histories_and_the_next_move() {
    let mut status = in_sync();
    status.split_brain = true;
    status.dirty_blocks = 256;
    let summary = told(Some(&status), &Health::default(), true);
    assert_eq!(summary.colour, Colour::Red);
    assert!(summary.split_brain && summary.mirror.starts_with("SPLIT BRAIN"));
    for words in ["90000000 here", "70000000 on node b", "apart for 3 min 12 s", "about 1 MiB"] {
        assert!(summary.rpo.contains(words), "{words}: {}", summary.rpo);
    }
    assert!(summary.next.contains("nothing is merged"), "{}", summary.next);
    let section = "Histories that parted";
    assert!(summary.next.contains(section), "{}", summary.next);
    let runbook = include_str!("../../RUNBOOK.md");
    assert!(runbook.contains(&format!("\n## {section}\n")));
}

#[test]
fn a_standby_whose_daemon_is_not_heard_is_not_safe_and_the_next_move_is_named() {
    let summary = told(Some(&in_sync()), &Health::default(), false);
    assert!(!summary.safe);
    let cause = "if node a is lost: the daemon of node b is not heard: it could decide nothing";
    assert_eq!(summary.safe_why, cause);
    assert!(summary.next.starts_with("start the daemon of node b"), "{}", summary.next);
    let alarm = "no heartbeats of node b, whose engine is connected: is its daemon up?";
    assert_eq!(summary.alarms, [alarm]);
}

#[test]
fn a_standby_that_no_resync_has_begun_to_fill_is_not_green() {
    let mut status = in_sync();
    status.node = NodeId::B;
    status.role = Role::Secondary;
    status.peer_role = Some(Role::Primary);
    status.disk = DiskState::Outdated;
    status.record = Some(record(Members::only(NodeId::A), Some(NodeId::A)));
    let summary = told(Some(&status), &Health::default(), true);
    assert_eq!(summary.colour, Colour::Yellow, "{}", summary.mirror);
}

#[test]
fn without_the_engine_nothing_is_called_in_sync() {
    // What the other node shows while the engine of the primary is down.
    let mut status = in_sync();
    status.node = NodeId::B;
    status.role = Role::Secondary;
    status.link = LinkState::Down;
    status.mirror = Mirror::Idle;
    let summary = told(Some(&status), &Health::default(), true);
    let expected = "0 by the newest record known here (version 4): both nodes are members, but \
                    they are not connected";
    assert_eq!(summary.rpo, expected);
    // What the node without an engine shows: the arbiter's record is all that it has.
    let mut view = View { record: Some(group_record()), ..View::default() };
    let summary = without_engine(&view);
    assert!(summary.rpo.starts_with("0 by the newest record known here"), "{}", summary.rpo);
    assert!(!summary.rpo.contains("in sync"), "{}", summary.rpo);
    if let Some(record) = &mut view.record {
        record.volumes[0].members = Members::only(NodeId::A);
    }
    let summary = without_engine(&view);
    assert!(summary.rpo.contains("how much it lacks is not known"), "{}", summary.rpo);
}

fn group_record() -> Record {
    Record::of_volume(ClusterId(1), GroupId(2), VolumeId(5), &record(Members::BOTH, None))
}

/// Node a while its engine is down.
fn without_engine(view: &View) -> Summary {
    summarise(&Facts {
        node: NodeId::A,
        volume: "db",
        engine: None,
        engine_trouble: None,
        engine_file: Path::new("/etc/lockstep/db.toml"),
        view,
        safety: &Safety::default(),
        parted: None,
        arbiter: &Health::default(),
        peer_heard: true,
        wall_ms: 1_192_000,
    })
}

fn report(status: Status) -> Report {
    let arbiter = Health { store: "directory /mnt/x".to_owned(), ..Health::default() };
    Report {
        v: 1,
        cluster: Named { id: ClusterId(1), name: "prod".to_owned() },
        group: Named { id: GroupId(2), name: "db".to_owned() },
        volume: Named { id: VolumeId(5), name: "db-data".to_owned() },
        node: NodeId::A,
        now: Tick(10_000_000_000),
        summary: told(Some(&status), &arbiter, true),
        engine: Some(EngineReport {
            build: "x".to_owned(),
            config_digest: "y".to_owned(),
            status: Some(status),
        }),
        record: None,
        heartbeat: HeartbeatReport {
            heard_ms_ago: Some(120),
            answered_ms_ago: Some(130),
            answering: false,
            peer_boot: Some(BootId(2)),
            dropped: Dropped::default(),
        },
        arbiter,
        decision: serde_json::Value::Null,
    }
}

#[test]
fn the_status_fits_a_screen_and_has_no_colours_without_a_terminal() {
    let mut status = in_sync();
    status.mirror = Mirror::SyncSource;
    status.sync_total_blocks = 1024;
    status.sync_done_blocks = 512;
    status.dirty_blocks = 512;
    let text = render::render(&report(status), false);
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    assert!(!text.contains('\x1b'));
    assert!(text.contains("mirror        yellow: resync to the peer, 50 % done"), "{text}");
}

#[test]
fn a_report_survives_json() {
    let report = report(in_sync());
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}

#[test]
fn an_engine_that_refuses_to_start_is_quoted() {
    let trouble = Some("link key /k: not there");
    let summary = told_of(None, trouble, &Health::default(), true);
    assert!(summary.alarms[0].contains("link key /k: not there"), "{:?}", summary.alarms);
    assert!(summary.next.contains("see alarm"), "{}", summary.next);
}
