//! A server that checks permissions, and users who have some.

use crate::dynamodb::place;
use crate::words::{heard, record};
use crate::{keys, settings};
use harness::aws::{Moto, World, iam};
use lockstep_ctl::act::arbiter::dynamodb::Dynamodb;
use lockstep_ctl::act::arbiter::{Arbiter, Trouble};
use lockstep_ctl::act::aws::leaf::{Aws, Kind, Settings};
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_engine::units::{NodeId, Nonce};
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
