//! Two real engines over real sockets and files, commanded by hand as a daemon would.
//! Always: what a client was told is on the disks it was promised for, whoever is killed.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::engines::{Engines, Records, SIZE, attempt, serving};
use harness::nbd_clients::{Outcome, Target, check_all};
use lockstep_engine::admin::Verb;
use lockstep_engine::units::{Members, Mirror, Need, NodeId, Role};
use lockstep_nbd::client::{Address, Client, Options};
use std::time::Duration;

use NodeId::{A, B};

/// A block that says what it is.
fn block(n: u64) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    for (word, at) in bytes.chunks_exact_mut(8).zip(0_u64..) {
        word.copy_from_slice(&(n << 16 | at).to_le_bytes());
    }
    bytes
}

fn grow(engines: &Engines, records: &mut Records) {
    engines.wait(A, "ready to grow", |status| status.need == Some(Need::Grow));
    let wanted = records.next(|record| record.members = Members::BOTH);
    let mut admin = engines.admin(A);
    admin.call(Verb::Attempt { attempt: attempt(records, wanted) }).unwrap();
    admin.call(Verb::Learn { record: wanted }).unwrap();
    engines.wait(A, "in sync", |status| status.mirror == Mirror::InSync);
}

fn shrink(engines: &Engines, records: &mut Records) {
    engines.wait(A, "in need of a decision", |status| status.need == Some(Need::Shrink));
    let record = records.alone(A);
    engines.admin(A).call(Verb::Learn { record }).unwrap();
}

fn same(engines: &Engines) {
    let (a, b) = (engines.bytes(A), engines.bytes(B));
    let differ = a.chunks(4096).zip(b.chunks(4096)).position(|(a, b)| a != b);
    assert_eq!(differ, None, "both copies are equal");
}

#[test]
fn what_is_written_is_on_both_disks_and_both_stop_in_order() {
    let (mut engines, _) = serving();
    let mut client = engines.client(A);
    for (n, len) in [4 << 10, 16 << 10, 20 << 10, 256 << 10, 1 << 20, 5 << 20].iter().enumerate() {
        let data = vec![u8::try_from(n + 1).unwrap(); *len];
        client.write(u64::try_from(n).unwrap() << 23, &data, n % 2 == 0).unwrap();
    }
    client.trim(0, 8192, false).unwrap();
    client.flush().unwrap();
    same(&engines);
    client.disconnect().unwrap();
    assert!(engines.stop(A).success());
    assert!(engines.stop(B).success());
    same(&engines);
}

#[test]
fn a_write_waits_for_the_decision_when_the_secondary_is_killed_and_is_not_lost() {
    let (mut engines, mut records) = serving();
    let mut client = engines.client(A);
    (0..64).for_each(|n| client.write(n << 16, &block(n), false).unwrap());
    engines.kill(B);
    let held = std::thread::spawn(move || {
        client.write(0, &block(999), false).unwrap();
        client
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(!held.is_finished(), "nobody has decided yet");
    shrink(&engines, &mut records);
    let mut client = held.join().unwrap();
    (64..128).for_each(|n| client.write(n << 16, &block(n), false).unwrap());
    engines.start(B);
    grow(&engines, &mut records);
    (128..192).for_each(|n| client.write(n << 16, &block(n), true).unwrap());
    client.flush().unwrap();
    same(&engines);
    assert_eq!(engines.bytes(B)[..4096], block(999));
}

#[test]
fn a_killed_primary_serves_again_on_the_same_boot() {
    let (mut engines, records) = serving();
    let mut client = engines.client(A);
    (0..256).for_each(|n| client.write(n << 12, &block(n), false).unwrap());
    engines.kill(A);
    engines.start(A);
    engines.wait(A, "linked", |status| status.peer_disk.is_some());
    engines.admin(A).call(Verb::Promote { record: records.last() }).unwrap();
    let mut client = engines.client(A);
    let mut back = [0; 4096];
    for n in 0..256 {
        client.read(n << 12, &mut back).unwrap();
        assert_eq!(back, block(n), "block {n}");
    }
    client.flush().unwrap();
    same(&engines);
}

#[test]
fn the_secondary_takes_over_with_every_acknowledged_write() {
    let (mut engines, mut records) = serving();
    let mut client = engines.client(A);
    (0..256).for_each(|n| client.write(n << 12, &block(n), false).unwrap());
    engines.kill(A);
    engines.admin(B).call(Verb::PrepareTakeover).unwrap();
    let mut record = records.alone(B);
    record.epoch.0 += 1;
    record.primary = Some(B);
    engines.admin(B).call(Verb::Promote { record }).unwrap();
    let status = engines.admin(B).status();
    assert_eq!(status.role, Role::Primary);
    let mut client = engines.client(B);
    let mut back = [0; 4096];
    for n in 0..256 {
        client.read(n << 12, &mut back).unwrap();
        assert_eq!(back, block(n), "block {n}");
    }
    client.write(0, &block(777), true).unwrap();
    engines.start(A);
    engines.wait(B, "ready to grow", |status| status.need == Some(Need::Grow));
    same(&engines);
    assert_eq!(engines.bytes(A)[..4096], block(777));
}

#[test]
fn a_secondary_refuses_clients() {
    let (engines, _) = serving();
    let address = Address::Unix(engines.path("b.nbd"));
    assert!(Client::connect(&address, &Options::default()).is_err());
}

#[test]
fn clients_of_others_are_content() {
    let (engines, _) = serving();
    let scratch = tempfile::tempdir().unwrap();
    let target = Target::new(&engines.path("a.nbd"), SIZE, scratch.path());
    for (name, outcome) in check_all(&target) {
        if let Outcome::Missing(tool) = outcome {
            println!("{name}: {tool} is not installed");
        }
    }
    same(&engines);
}

#[test]
fn a_client_that_asks_and_never_reads_costs_nothing() {
    let (engines, _) = serving();
    let client = engines.client(A);
    client.set_timeouts(None, Some(Duration::from_secs(1))).unwrap();
    let (mut sender, receiver) = client.split();
    let before = engines.resident_kib(A);
    let sent = (0..3_000_000).take_while(|_| sender.send_flush().is_ok()).count();
    let grown = engines.resident_kib(A).saturating_sub(before);
    println!("{sent} requests sent, memory grew by {grown} KiB");
    assert!(sent < 3_000_000, "nobody stopped it");
    assert!(grown < 16 << 10, "{grown} KiB");
    drop((sender, receiver));
    let mut other = engines.client(A);
    other.write(0, &block(1), true).unwrap();
}
