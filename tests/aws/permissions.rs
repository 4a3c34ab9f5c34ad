//! A server that checks permissions, and users who have some.

use crate::dynamodb::place;
use crate::words::{heard, record};
use crate::{keys, settings};
use harness::aws::{Moto, World, iam};
use lockstep_ctl::act::arbiter::dynamodb::Dynamodb;
use lockstep_ctl::act::arbiter::{Arbiter, Trouble};
use lockstep_ctl::act::aws::Real;
use lockstep_ctl::act::aws::cloud::{Cause, Cloud, Failed};
use lockstep_ctl::act::aws::leaf::{Aws, Error, Kind, Settings};
use lockstep_ctl::act::aws::policy::{Scope, Statement, document, statements};
use lockstep_ctl::config::cluster::Cluster;
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_engine::units::{NodeId, Nonce};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test]
async fn what_each_needs_is_enough_and_what_it_lacks_is_named() {
    // Permissions are checked for everybody from then on, so this is a server of its own.
    let moto = Moto::start();
    let world = World::build(&moto, 1);
    let table = "lockstep";
    let admin = Aws::open(settings(&moto.endpoint())).await.unwrap();
    admin.create_table(table).await.unwrap();
    let arbiter = iam::allowing(&["dynamodb:GetItem", "dynamodb:UpdateItem"]);
    let arbiter = iam::user(&moto, "arbiter", &arbiter);
    let routes = iam::allowing(&["ec2:DescribeRouteTables", "ec2:ReplaceRoute"]);
    let routes = iam::user(&moto, "routes", &routes);
    iam::enforce(&moto);

    let of = |user: &(String, String)| Settings {
        keys: Some(keys(&user.0, &user.1)),
        ..settings(&moto.endpoint())
    };
    let dir = tempfile::tempdir().unwrap();
    let store = |node, own, user: &(String, String)| {
        let mut place = place(&moto.endpoint(), table, dir.path(), node, Duration::from_secs(20));
        place.settings = of(user);
        Dynamodb::new(place, Nonce(own))
    };
    let (a, b) = (store(NodeId::A, 1, &arbiter), store(NodeId::B, 2, &arbiter));
    a.tell(heard(2));
    b.tell(heard(1));
    // Each leaves its proof, then sees the other's.
    a.read().await;
    b.read().await;
    assert_eq!(a.read().await, ReadResult::Absent, "{:?}", a.health());
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won, "{:?}", a.health());

    let stranger = store(NodeId::A, 1, &routes);
    stranger.tell(heard(2));
    assert_eq!(stranger.read().await, ReadResult::Failed);
    let told = stranger.health().trouble;
    // The imitation refuses in the language of another service; AWS would name the action.
    let named = matches!(&told, Some(Trouble::Aws { cause }) if cause.contains("HTTP 403"));
    assert!(named, "{told:?}");

    let vip = world.vip.parse().unwrap();
    let aws = Aws::open(of(&routes)).await.unwrap();
    aws.routes(&world.vpc, &[vip]).await.unwrap();
    aws.replace_route(&world.tables[0], vip, &world.enis[1]).await.unwrap();
    let denied = aws.vpc(&world.vpc).await.unwrap_err();
    assert_eq!(denied.kind, Kind::Denied, "{denied:?}");
    let aws = Aws::open(of(&arbiter)).await.unwrap();
    let denied = aws.replace_route(&world.tables[0], vip, &world.enis[0]).await.unwrap_err();
    assert_eq!(denied.kind, Kind::Denied, "{denied:?}");
    assert!(!denied.outcome_is_unknown());

    let aws = Aws::open(of(&("AKIANOBODY".to_owned(), "wrong".to_owned()))).await.unwrap();
    let unknown = aws.vpc(&world.vpc).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::Credentials, "{unknown:?}");
}

const EXAMPLE: &str = include_str!("../../ctl/src/act/aws/example.toml");

/// The policy of a cluster in this world. The server knows neither resources nor conditions of
/// these services: what it is given has the statements and their actions; that they are bound is
/// looked at where they are made.
fn policy(world: &World) -> Vec<Statement> {
    let mut text = EXAMPLE.to_owned();
    let ids = [
        ("vpc-1", &world.vpc),
        ("eni-1", &world.enis[0]),
        ("eni-2", &world.enis[1]),
        ("eipalloc-1", &world.allocation),
        ("i-1", &world.instances[0]),
        ("i-2", &world.instances[1]),
    ];
    for (example, id) in ids {
        text = text.replace(&format!("\"{example}\""), &format!("\"{id}\""));
    }
    let cluster = Cluster::parse(&text).unwrap();
    let mut all = statements(&cluster, &Scope { node: None, account: None });
    for one in &mut all {
        (one.resources, one.condition) = (vec!["*".to_owned()], None);
    }
    all
}

/// Makes every call that the product makes; gives those that were denied. Everything else succeeds.
async fn denied(settings: Settings, world: &World, table: &str) -> BTreeSet<&'static str> {
    let aws = Aws::open(settings).await.unwrap();
    let cloud = Real(aws.clone());
    let vip = world.vip.parse().unwrap();
    let mut all = BTreeSet::new();
    let mut heard = |action: &'static str, said: Result<(), Failed>| match said {
        Ok(()) => {}
        Err(failed) if failed.cause == Cause::Refused => {
            all.insert(action);
        }
        Err(failed) => panic!("{action}: {failed:?}"),
    };
    heard("ec2:DescribeVpcs", cloud.blocks(&world.vpc, vip).await.map(drop));
    heard("ec2:DescribeNetworkInterfaces", cloud.card(&world.enis[0]).await.map(drop));
    heard("ec2:DescribeRouteTables", cloud.routes(&world.vpc, &[vip]).await.map(drop));
    let replaced = cloud.replace(&world.tables[0], vip, &world.enis[0]).await;
    heard("ec2:ReplaceRoute", replaced);
    heard("ec2:DescribeAddresses", cloud.address(&world.allocation).await.map(drop));
    heard("ec2:AssociateAddress", cloud.associate(&world.allocation, &world.enis[0]).await);
    match cloud.disassociate("eipassoc-00000000").await {
        // Allowed, and nothing to end.
        Err(failed) if failed.cause == Cause::Gone => {}
        said => heard("ec2:DisassociateAddress", said),
    }
    heard("ec2:DescribeAvailabilityZones", cloud.zone(&world.zones[0]).await.map(drop));
    heard("ec2:DescribeInstances", cloud.is_down(&world.instances[1]).await.map(drop));
    heard("ec2:StopInstances", cloud.stop(&world.instances[1]).await);
    // The imitation refuses these in the language of another service.
    let mut items = |action: &'static str, said: Result<(), Error>| match said {
        Ok(()) => {}
        Err(error) if error.to_string().contains("HTTP 403") => {
            all.insert(action);
        }
        Err(error) => panic!("{action}: {error:?}"),
    };
    items("dynamodb:GetItem", aws.item(table, "c/g").await.map(drop));
    let noted = aws.note(table, "c/g", ("pair", "1"), false).await;
    items("dynamodb:UpdateItem", noted.map(drop));
    all
}

#[tokio::test]
async fn the_printed_policy_is_enough_and_nothing_of_it_is_too_much() {
    let moto = Moto::start();
    let world = World::build(&moto, 1);
    let table = "lockstep";
    Aws::open(settings(&moto.endpoint())).await.unwrap().create_table(table).await.unwrap();
    let whole = policy(&world);
    let all = iam::user(&moto, "all", &document(&whole));
    let mut lacking = Vec::new();
    for (at, statement) in whole.iter().enumerate() {
        for action in &statement.actions {
            let mut less = whole.clone();
            less[at].actions.retain(|kept| kept != action);
            less.retain(|one| !one.actions.is_empty());
            let name = action.replace(':', "-");
            lacking.push((*action, iam::user(&moto, &name, &document(&less))));
        }
    }
    iam::enforce(&moto);
    let of = |user: &(String, String)| Settings {
        keys: Some(keys(&user.0, &user.1)),
        ..settings(&moto.endpoint())
    };
    assert_eq!(denied(of(&all), &world, table).await, BTreeSet::new());
    assert_eq!(lacking.len(), 12);
    for (action, user) in &lacking {
        assert_eq!(denied(of(user), &world, table).await, BTreeSet::from([*action]), "{action}");
    }
}
