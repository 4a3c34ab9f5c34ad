//! The table of the record: made, missing, emptied.

use crate::dynamodb::{DynamodbLab, place};
use crate::lab::{AMPLE, Lab, proved};
use crate::settings;
use crate::words::{alone, heard, record};
use harness::aws::Moto;
use harness::aws::moto::REGION;
use lockstep_ctl::act::arbiter::dynamodb::{Dynamodb, MakeError, make};
use lockstep_ctl::act::arbiter::{Arbiter, Trouble};
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_engine::units::{NodeId, Nonce, Version};
use std::process::Command;

#[tokio::test]
async fn a_table_is_made_once_and_only_one_that_fits_is_taken() {
    let settings = settings(&Moto::shared().endpoint());
    let made = make(settings.clone(), "made-once").await.unwrap();
    assert!(!made.was_there && made.table.fits && made.table.protected, "{made:?}");
    let again = make(settings.clone(), "made-once").await.unwrap();
    assert!(again.was_there, "{again:?}");
    Moto::shared().dynamodb(
        "CreateTable",
        "{\"TableName\":\"other-key\",\"BillingMode\":\"PAY_PER_REQUEST\",\
         \"AttributeDefinitions\":[{\"AttributeName\":\"name\",\"AttributeType\":\"S\"}],\
         \"KeySchema\":[{\"AttributeName\":\"name\",\"KeyType\":\"HASH\"}]}",
    );
    let other = make(settings, "other-key").await.unwrap_err();
    assert!(matches!(other, MakeError::OtherKey { .. }), "{other}");
}

#[tokio::test]
async fn a_missing_table_is_named_with_the_verb_that_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Moto::shared().endpoint();
    let store = Dynamodb::new(place(&endpoint, "nowhere", dir.path(), NodeId::A, AMPLE), Nonce(1));
    store.tell(heard(2));
    assert_eq!(store.read().await, ReadResult::Failed);
    assert_eq!(store.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Unknown);
    let told = store.health().trouble.unwrap().to_string();
    assert!(told.contains("nowhere") && told.contains("lockstep aws create-arbiter"), "{told}");
}

#[tokio::test]
async fn a_deleted_item_is_refused_and_told() {
    let lab = DynamodbLab::new();
    let (a, b) = proved(&lab).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    lab.delete_item();
    // Alone: what this node has persisted is not there any more.
    a.tell(alone(1));
    assert_eq!(a.read().await, ReadResult::Failed);
    let rolled = Some(Trouble::RolledBack { found: None, persisted: Version(1) });
    assert_eq!(a.health().trouble, rolled);
    assert_eq!(a.swap(Some(Version(1)), record(2, NodeId::A, 2)).await, SwapResult::Unknown);
    // With the peer: not before each has left its proof anew, and then no record is written over
    // the one that was lost; that there is none is what the decider refuses.
    a.tell(heard(crate::words::PROOF_B));
    assert_eq!(a.read().await, ReadResult::Failed);
    assert_eq!(a.health().trouble, Some(Trouble::Different { found: None }));
    assert_eq!(b.read().await, ReadResult::Absent);
    assert_eq!(a.read().await, ReadResult::Absent);
    assert_eq!(a.swap(Some(Version(1)), record(2, NodeId::A, 2)).await, SwapResult::Unknown);
    assert_eq!(a.health().trouble, rolled);
}

#[tokio::test]
async fn no_write_of_a_record_is_repeated_by_the_sdk() {
    use harness::aws::{Fault, Rule};
    let lab = DynamodbLab::new();
    let (a, _b) = proved(&lab).await;
    let before = lab.proxy.seen("UpdateItem");
    let throttled = Fault::refuse(400, "ThrottlingException", "Rate exceeded");
    lab.proxy.add(Rule::always("UpdateItem", throttled));
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Unknown);
    assert_eq!(lab.proxy.seen("UpdateItem"), before + 1);
    let told = a.health().trouble.unwrap().to_string();
    assert!(told.contains("Rate exceeded"), "{told}");
    lab.proxy.clear();
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    assert_eq!(lab.state().join("a").read_dir().unwrap().count(), 1, "what was proved is kept");
}

#[test]
fn the_verb_makes_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.toml");
    let sample = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ctl/cluster.sample.toml"),
    );
    let text = with_table(&sample.unwrap(), "by-verb", &Moto::shared().endpoint());
    std::fs::write(&path, text).unwrap();
    let run = |more: &[&str]| {
        let output = Command::new(harness::bins::find().unwrap().lockstep)
            .args(["aws", "create-arbiter", "--cluster"])
            .arg(&path)
            .args(more)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{told}");
        told
    };
    assert!(run(&["--dry-run"]).contains("would make the table by-verb"));
    let told = run(&[]);
    assert!(told.contains(&format!("made the table by-verb in {REGION}")), "{told}");
    let told = run(&[]);
    assert!(told.contains("is there") && !told.contains("not protected"), "{told}");
}

/// The sample with its arbiter in this table.
fn with_table(sample: &str, table: &str, endpoint: &str) -> String {
    let mut text = String::new();
    let mut skipping = false;
    for line in sample.lines() {
        if line.starts_with('[') {
            skipping = line == "[arbiter]";
        }
        if !skipping {
            text.push_str(line);
            text.push('\n');
        }
    }
    text + &format!(
        "\n[arbiter]\ntype = \"dynamodb\"\ntable = \"{table}\"\n\n[aws]\nregion = \"{REGION}\"\n\
         dynamodb_endpoint = \"{endpoint}\"\nec2_endpoint = \"{endpoint}\"\n"
    )
}
