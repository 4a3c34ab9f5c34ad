//! What is found before the first call: region, credentials, the instance itself.

use crate::settings;
use harness::aws::moto::REGION;
use harness::aws::{Card, Moto, World, metadata};
use lockstep_ctl::act::aws::leaf::{Aws, Deadlines, Kind, Metadata, RegionSource, Settings};
use std::time::Duration;

fn told(role: bool) -> metadata::Told {
    metadata::Told {
        instance: "i-0123456789abcdef0".to_owned(),
        region: REGION.to_owned(),
        zone: format!("{REGION}a"),
        cards: vec![
            Card {
                mac: "0a:00:00:00:00:01".to_owned(),
                eni: "eni-1".to_owned(),
                vpc: "vpc-1".to_owned(),
                addresses: vec!["10.0.1.10".to_owned(), "10.0.1.11".to_owned()],
            },
            Card {
                mac: "0a:00:00:00:00:02".to_owned(),
                eni: "eni-2".to_owned(),
                vpc: "vpc-1".to_owned(),
                addresses: vec!["10.0.3.10".to_owned()],
            },
        ],
        role: role.then(|| ("role-key".to_owned(), "role-secret".to_owned())),
    }
}

/// Nothing of what surrounds the test may answer in place of the metadata.
fn bare() {
    let set = ["AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"];
    for name in set {
        assert!(std::env::var_os(name).is_none(), "{name} is set; run scripts/test --aws");
    }
}

fn from_metadata(metadata: &harness::aws::Metadata) -> Settings {
    let mut settings = settings(&Moto::shared().endpoint());
    (settings.region, settings.keys) = (None, None);
    settings.endpoints.metadata = Some(metadata.endpoint());
    settings
}

#[tokio::test]
async fn an_instance_knows_itself() {
    let server = harness::aws::Metadata::open(told(false));
    let metadata = Metadata::open(Some(&server.endpoint()), Deadlines::default()).unwrap();
    let own = metadata.own().await.unwrap();
    assert_eq!(own.instance, "i-0123456789abcdef0");
    assert_eq!((own.region, own.zone), (REGION.to_owned(), format!("{REGION}a")));
    let cards: Vec<_> = own.cards.iter().map(|card| (&*card.mac, &*card.eni)).collect();
    assert_eq!(cards, [("0a:00:00:00:00:01", "eni-1"), ("0a:00:00:00:00:02", "eni-2")]);
    assert_eq!(own.cards[0].addresses.len(), 2);
    assert_eq!(server.tokens(), 1, "one token for all questions");
}

#[tokio::test]
async fn region_and_role_come_from_the_instance() {
    bare();
    let world = World::build(Moto::shared(), 1);
    let server = harness::aws::Metadata::open(told(true));
    let aws = Aws::open(from_metadata(&server)).await.unwrap();
    assert_eq!(aws.region().name, REGION);
    assert_eq!(aws.region().source, RegionSource::Metadata);
    assert_eq!(aws.key_id(), "role-key");
    aws.vpc(&world.vpc).await.unwrap();
}

#[tokio::test]
async fn no_credentials_is_an_error_of_its_own() {
    bare();
    let server = harness::aws::Metadata::open(told(false));
    let failed = Aws::open(from_metadata(&server)).await.unwrap_err();
    assert_eq!(failed.kind, Kind::Credentials, "{failed:?}");
    assert!(!failed.outcome_is_unknown());
    assert!(failed.to_string().starts_with("find credentials: "), "{failed}");
}

#[tokio::test]
async fn no_region_is_an_error_of_its_own() {
    bare();
    let mut settings = settings(&Moto::shared().endpoint());
    settings.region = None;
    // Nobody listens there.
    settings.endpoints.metadata = Some("http://127.0.0.1:9".to_owned());
    settings.deadlines.read = Duration::from_secs(5);
    let failed = Aws::open(settings).await.unwrap_err();
    assert_eq!(failed.kind, Kind::NoRegion, "{failed:?}");
    assert!(failed.to_string().contains("set `region`"), "{failed}");
}
