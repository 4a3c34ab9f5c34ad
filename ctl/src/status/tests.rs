//! The four answers in the situations that an operator meets.

use super::*;
use crate::act::arbiter::Trouble;
use crate::decide::View;
use lockstep_engine::units::{
    DiskState, Epoch, Generation, LinkState, Members, Mirror, Nonce, Role, StartId, Version,
    VolumeRecord,
};

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
    summarise(&Facts {
        node: engine.map_or(NodeId::A, |engine| engine.node),
        volume: "db",
        engine,
        engine_trouble: trouble,
        view: &View::default(),
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
    assert_eq!(summary.next, "start the engine here (`lockstep-engine run`)");
}

#[test]
fn split_brain_is_red_and_nothing_is_merged() {
    let mut status = in_sync();
    status.split_brain = true;
    let summary = told(Some(&status), &Health::default(), true);
    assert_eq!(summary.colour, Colour::Red);
    assert!(summary.split_brain && summary.next.contains("nothing is merged"));
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
