//! Keepers: what they refuse, and what a restart or a reboot leaves of them.

use super::*;
use lockstep_engine::units::{Epoch, Generation, Members, Nonce, Version};

fn record(version: u64, primary: Option<NodeId>) -> VolumeRecord {
    VolumeRecord {
        version: Version(version),
        epoch: Epoch(version),
        members: Members::BOTH,
        primary,
        generation: Generation(9),
        parent: Generation::NONE,
        nonce: Nonce(u128::from(version)),
        writer: NodeId::A,
        since: 0,
        forced: false,
    }
}

fn keeper(boot: u128, kept: Kept) -> Keeper {
    Keeper::open(NodeId::A, GroupId(5), (BootId(boot), StartId(boot)), kept)
}

#[test]
fn it_serves_through_a_restart_and_not_through_a_reboot() {
    let served = keeper(1, Kept::default());
    let served = served.after(&EngineCommand::Promote(record(2, Some(NodeId::A)))).unwrap();
    assert_eq!(served.status().role, Role::Primary);
    assert_eq!(keeper(1, served.kept().clone()).status().role, Role::Primary);
    let rebooted = keeper(2, served.kept().clone()).status();
    assert_eq!((rebooted.role, rebooted.primary_boot), (Role::Secondary, BootId(1)));
    let ended = served.after(&EngineCommand::Demote).unwrap();
    assert_eq!(keeper(2, ended.kept().clone()).status().primary_boot, BootId::NONE);
}

#[test]
fn it_takes_nothing_older_and_no_second_record_of_a_version() {
    let keeper = keeper(1, Kept::default());
    let keeper = keeper.after(&EngineCommand::Learn(record(4, None))).unwrap();
    assert_eq!(keeper.after(&EngineCommand::Learn(record(3, None))), Err("older-record"));
    let other = VolumeRecord { nonce: Nonce(77), ..record(4, None) };
    assert_eq!(keeper.after(&EngineCommand::Learn(other)), Err("other-nonce"));
    let promote = EngineCommand::Promote(record(5, Some(NodeId::B)));
    assert_eq!(keeper.after(&promote), Err("not-primary-in-record"));
}

#[test]
fn an_attempt_is_kept_until_a_higher_version_is_learned() {
    let attempt = OpenAttempt { expected: Version(4), wanted: record(5, None) };
    let keeper = keeper(1, Kept::default()).after(&EngineCommand::Attempt(attempt)).unwrap();
    let same = keeper.after(&EngineCommand::Learn(record(4, None))).unwrap();
    assert_eq!(same.status().attempts, [attempt]);
    let higher = same.after(&EngineCommand::Learn(record(5, None))).unwrap();
    assert_eq!(higher.status().attempts, []);
}
