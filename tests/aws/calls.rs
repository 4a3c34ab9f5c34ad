//! Each call of EC2, as it succeeds and as it is refused for what it names.

use crate::open;
use harness::aws::{Moto, World};
use lockstep_ctl::act::aws::leaf::{Block, InstanceState, Kind, RouteState, Target, Which};
use std::net::Ipv4Addr;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_vpc_is_seen_with_all_its_blocks() {
    let (moto, world) = (Moto::shared(), World::build(Moto::shared(), 1));
    let aws = open(&moto.endpoint()).await;
    let vpc = aws.vpc(&world.vpc).await.unwrap();
    for text in ["10.0.0.0/16", "10.50.0.0/16"] {
        assert!(vpc.blocks.contains(&Block::parse(text).unwrap()), "{text} in {vpc:?}");
    }
    assert!(!vpc.blocks.iter().any(|block| block.contains(ip(&world.vip))));
    let lost = aws.vpc("vpc-00000000").await.unwrap_err();
    assert_eq!(lost.kind, Kind::VpcNotFound);
    assert!(lost.to_string().contains("vpc-00000000"), "{lost}");
    assert!(lost.request.is_some(), "{lost:?}");
}

#[tokio::test]
async fn every_route_to_an_address_is_seen_and_replaced_and_no_other() {
    let (moto, world) = (Moto::shared(), World::build(Moto::shared(), 3));
    let aws = open(&moto.endpoint()).await;
    let vip = ip(&world.vip);
    let found = aws.routes(&world.vpc, &[vip]).await.unwrap();
    let mut ids: Vec<&str> = found.iter().map(|table| table.id.as_str()).collect();
    let mut wanted: Vec<&str> = world.tables.iter().map(String::as_str).collect();
    ids.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(ids, wanted, "not the table without the route");
    for table in &found {
        assert_eq!(table.routes.len(), 1, "{table:?}");
        assert_eq!(table.routes[0].state, RouteState::Active);
        assert!(matches!(&table.routes[0].target, Target::Interface { eni, .. }
            if *eni == world.enis[0]));
        aws.replace_route(&table.id, vip, &world.enis[1]).await.unwrap();
        // Once more is no error: nothing needs to remember whether it was done.
        aws.replace_route(&table.id, vip, &world.enis[1]).await.unwrap();
    }
    let found = aws.routes(&world.vpc, &[vip, ip("10.99.0.11")]).await.unwrap();
    assert!(found.iter().all(|table| table.routes[0].leads_to(&world.enis[1])), "{found:?}");
    assert_eq!(world.targets(moto), vec![world.enis[1].clone(); 3]);
    let all = aws.route_tables(&world.vpc).await.unwrap();
    // The VPC's own main table is there too.
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(all.iter().any(|table| table.main));
    assert_eq!(aws.routes(&world.vpc, &[]).await.unwrap(), []);
    assert_eq!(aws.routes("vpc-00000000", &[vip]).await.unwrap(), []);
}

#[tokio::test]
async fn a_route_is_never_made() {
    let (moto, world) = (Moto::shared(), World::build(Moto::shared(), 1));
    let aws = open(&moto.endpoint()).await;
    let vip = ip(&world.vip);
    let missing = aws.replace_route(&world.other_table, vip, &world.enis[0]).await.unwrap_err();
    assert_eq!(missing.kind, Kind::RouteMissing, "{missing:?}");
    assert!(!missing.outcome_is_unknown());
    let lost = aws.replace_route("rtb-00000000", vip, &world.enis[0]).await.unwrap_err();
    assert_eq!(lost.kind, Kind::RouteTableNotFound, "{lost:?}");
    let lost = aws.replace_route(&world.tables[0], vip, "eni-00000000").await.unwrap_err();
    assert_eq!(lost.kind, Kind::EniNotFound, "{lost:?}");
    assert_eq!(world.targets(moto), [world.enis[0].clone()], "the old route stays");
}

#[tokio::test]
async fn network_interfaces_are_found_by_id_and_by_instance() {
    let (moto, world) = (Moto::shared(), World::build(Moto::shared(), 1));
    let aws = open(&moto.endpoint()).await;
    let ids = [world.enis[0].as_str(), world.enis[1].as_str()];
    let both = aws.interfaces(Which::Ids(&ids)).await.unwrap();
    assert_eq!(both.len(), 2);
    let own = aws.interfaces(Which::OfInstance(&world.instances[0])).await.unwrap();
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!(own[0].id, world.enis[0]);
    assert_eq!(own[0].vpc, world.vpc);
    assert_eq!(own[0].zone, world.zones[0]);
    assert_eq!(own[0].address, Some(ip("10.0.1.10")));
    assert!(own[0].addresses.contains(&ip("10.0.1.10")));
    assert!(own[0].source_dest_check);
    assert_eq!(own[0].attachment.as_ref().unwrap().instance, world.instances[0]);
    moto.ec2(&[
        ("Action", "ModifyNetworkInterfaceAttribute"),
        ("NetworkInterfaceId", &world.enis[0]),
        ("SourceDestCheck.Value", "false"),
    ]);
    let own = aws.interfaces(Which::Ids(&ids[..1])).await.unwrap();
    assert!(!own[0].source_dest_check);
    let groups: Vec<&str> = own[0].groups.iter().map(String::as_str).collect();
    let groups = aws.security_groups(&groups).await.unwrap();
    assert!(!groups.is_empty());
    let lost = aws.interfaces(Which::Ids(&["eni-00000000"])).await.unwrap_err();
    assert_eq!(lost.kind, Kind::EniNotFound);
}

#[tokio::test]
async fn an_elastic_address_is_taken_and_given_back_only_where_it_is() {
    let (moto, world) = (Moto::shared(), World::build(Moto::shared(), 1));
    let aws = open(&moto.endpoint()).await;
    let of = async || aws.addresses(&[&world.allocation]).await.unwrap().remove(0);
    assert_eq!(of().await.association, None);
    let first = aws.associate(&world.allocation, &world.enis[0], None).await.unwrap();
    assert_eq!(of().await.eni.as_ref(), Some(&world.enis[0]));
    // The other node takes it from whoever has it.
    let private = Some(ip("10.0.2.10"));
    let second = aws.associate(&world.allocation, &world.enis[1], private).await.unwrap();
    let now = of().await;
    assert_eq!((now.eni.as_ref(), now.private), (Some(&world.enis[1]), private));
    assert_eq!(now.association.as_ref(), Some(&second));
    // A late release of the old owner hits nobody.
    let stale = aws.disassociate(&first).await.unwrap_err();
    assert_eq!(stale.kind, Kind::AssociationNotFound, "{stale:?}");
    assert_eq!(of().await.eni.as_ref(), Some(&world.enis[1]));
    aws.disassociate(&second).await.unwrap();
    assert_eq!(of().await.association, None);
    let lost = aws.addresses(&["eipalloc-00000000"]).await.unwrap_err();
    assert_eq!(lost.kind, Kind::AllocationNotFound, "{lost:?}");
    let lost = aws.associate("eipalloc-00000000", &world.enis[0], None).await.unwrap_err();
    assert_eq!(lost.kind, Kind::AllocationNotFound, "{lost:?}");
}

#[tokio::test]
async fn zones_and_instances_are_seen_and_an_instance_is_stopped() {
    let (moto, world) = (Moto::shared(), World::build(Moto::shared(), 1));
    let aws = open(&moto.endpoint()).await;
    let names = [world.zones[0].as_str(), world.zones[1].as_str()];
    assert_eq!(aws.zones(&names).await.unwrap().len(), 2);
    let lost = aws.zones(&["eu-central-1x"]).await.unwrap_err();
    assert_eq!(lost.kind, Kind::InvalidAz);
    let id = world.instances[1].as_str();
    let now = aws.instances(&[id]).await.unwrap().remove(0);
    assert_eq!((now.state, now.zone), (InstanceState::Running, world.zones[1].clone()));
    aws.stop_by_force(id).await.unwrap();
    // The imitation is down at the second look.
    let mut looks = 0;
    while !aws.instances(&[id]).await.unwrap()[0].state.is_down() {
        looks += 1;
        assert!(looks < 10, "it does not stop");
    }
    aws.stop_by_force(id).await.unwrap();
    let lost = aws.instances(&["i-00000000"]).await.unwrap_err();
    assert_eq!(lost.kind, Kind::InstanceNotFound);
}
