//! The doctor in AWS: what is well, and each thing that is not, with what to do.

use crate::open;
use harness::aws::moto::REGION;
use harness::aws::{Card, Fault, Metadata, Moto, Proxy, Rule, World, metadata};
use lockstep_ctl::config::cluster::Cluster;
use lockstep_ctl::doctor::{Check, Verdict, examine};
use lockstep_engine::units::NodeId;
use std::path::Path;

const EXAMPLE: &str = include_str!("../../ctl/src/act/aws/example.toml");

struct Lab {
    world: World,
    proxy: Proxy,
    text: String,
}

/// Node a of the example in a world of its own, with everything as it should be.
fn lab() -> Lab {
    let moto = Moto::shared();
    let world = World::build(moto, 2);
    let proxy = Proxy::open(moto.address());
    for eni in &world.enis {
        moto.ec2(&[
            ("Action", "ModifyNetworkInterfaceAttribute"),
            ("NetworkInterfaceId", eni),
            ("SourceDestCheck.Value", "false"),
        ]);
    }
    let own = Metadata::open(told(&world, true));
    let table = format!("doctor-{}", world.vpc);
    let runtime = runtime();
    runtime.block_on(async { open(&moto.endpoint()).await.create_table(&table).await.unwrap() });
    let reach = format!(
        "region = \"{REGION}\"\nec2_endpoint = \"{0}\"\ndynamodb_endpoint = \"{0}\"\n\
         sts_endpoint = \"{0}\"\nmetadata_endpoint = \"{1}\"",
        proxy.endpoint(),
        own.endpoint()
    );
    let [zone_a, zone_b] = &world.zones;
    let changes = [
        ("region = \"eu-central-1\"", reach),
        ("\"lockstep\"", format!("\"{table}\"")),
        ("\"vpc-1\"", format!("\"{}\"", world.vpc)),
        ("\"eni-1\"", format!("\"{}\"", world.enis[0])),
        ("\"eni-2\"", format!("\"{}\"", world.enis[1])),
        ("\"eipalloc-1\"", format!("\"{}\"", world.allocation)),
        ("\"i-1\"", format!("\"{}\"", world.instances[0])),
        ("\"i-2\"", format!("\"{}\"", world.instances[1])),
        ("a = \"eu-central-1b\"", format!("a = \"{zone_a}\"")),
        ("b = \"eu-central-1c\"", format!("b = \"{zone_b}\"")),
    ];
    let mut text = EXAMPLE.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    Lab { world, proxy, text }
}

fn told(world: &World, role: bool) -> metadata::Told {
    metadata::Told {
        instance: world.instances[0].clone(),
        region: REGION.to_owned(),
        zone: world.zones[0].clone(),
        cards: vec![Card {
            mac: "0a:00:00:00:00:01".to_owned(),
            eni: world.enis[0].clone(),
            vpc: world.vpc.clone(),
            addresses: vec!["10.0.1.10".to_owned()],
        }],
        role: role.then(|| ("role-key".to_owned(), "role-secret".to_owned())),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What the doctor says of AWS on node a.
fn said(text: &str) -> Vec<Check> {
    let cluster = Cluster::parse(text).unwrap_or_else(|wrong| panic!("{wrong:?}\n{text}"));
    let all = examine(&cluster, Path::new("/nowhere/cluster.toml"), NodeId::A);
    all.into_iter().filter(|check| check.area == "aws").collect()
}

/// The one check of this object.
fn of<'a>(all: &'a [Check], object: &str) -> &'a Check {
    let mut found = all.iter().filter(|check| check.object.contains(object));
    let one = found.next().unwrap_or_else(|| panic!("no {object} in {all:#?}"));
    assert!(found.next().is_none(), "{object} twice in {all:#?}");
    one
}

/// Asserts that it fails, with these words of what was found and of the fix.
fn fails(all: &[Check], object: &str, found: &str, fix: &str) {
    let check = of(all, object);
    assert_eq!(check.verdict, Verdict::Fail, "{check:?}");
    assert!(check.found.contains(found), "{check:?}");
    assert!(check.fix.as_ref().unwrap().contains(fix), "{check:?}");
}

#[test]
fn what_is_well_is_seen_and_left_as_it_is() {
    let lab = lab();
    let all = said(&lab.text);
    let unwell: Vec<&Check> = all.iter().filter(|one| one.verdict != Verdict::Pass).collect();
    // The one table without the route.
    assert_eq!(unwell.len(), 1, "{unwell:#?}");
    assert_eq!(unwell[0].verdict, Verdict::Warn);
    assert!(unwell[0].found.contains(&lab.world.other_table), "{unwell:?}");
    for object in [
        "instance metadata",
        "region",
        "credentials",
        "clock against AWS",
        "db/vip: VIP 10.99.0.10",
        "db/eip: elastic address",
        "db/vip: ec2:ReplaceRoute",
        "db/eip: ec2:AssociateAddress",
        "forced_stop: ec2:StopInstances",
        "availability zone",
        "arbiter table",
    ] {
        assert_eq!(of(&all, object).verdict, Verdict::Pass, "{object}");
    }
    for eni in &lab.world.enis {
        assert!(of(&all, &format!("network interface {eni}")).found.contains("check is off"));
    }
    let routes = all.iter().filter(|one| one.object.starts_with("db/vip: route to 10.99.0.10 in"));
    assert_eq!(routes.count(), 2);
    assert!(of(&all, "arbiter table").found.contains("answers within"));
    // Nothing has moved, and nobody was stopped.
    let runtime = runtime();
    runtime.block_on(async {
        let aws = open(&Moto::shared().endpoint()).await;
        let peer = aws.instances(&[&lab.world.instances[1]]).await.unwrap().remove(0);
        assert!(!peer.state.is_down(), "{peer:?}");
        let address = aws.addresses(&[&lab.world.allocation]).await.unwrap().remove(0);
        assert_eq!(address.association, None);
    });
    assert_eq!(lab.world.targets(Moto::shared()), vec![lab.world.enis[0].clone(); 2]);
}

#[test]
fn each_mistake_of_the_set_up_has_its_cause_and_its_next_move() {
    let lab = lab();
    let world = &lab.world;
    Moto::shared().ec2(&[
        ("Action", "ModifyNetworkInterfaceAttribute"),
        ("NetworkInterfaceId", &world.enis[1]),
        ("SourceDestCheck.Value", "true"),
    ]);
    let table = format!("doctor-{}", world.vpc);
    let text = lab
        .text
        .replace("10.99.0.10", "10.50.7.7")
        .replace(&world.allocation, "eipalloc-00000000")
        .replace(&format!("\"{table}\""), "\"nowhere\"")
        .replace(&format!("a = \"{}\"", world.zones[0]), &format!("a = \"{}\"", world.zones[1]))
        .replace(&world.instances[0], "i-00000000");
    let all = said(&text);
    fails(&all, "db/vip: VIP 10.50.7.7", "belongs to a VPC subnet (10.50.0.0/16", "outside every");
    fails(&all, "db/vip: routes to 10.50.7.7", "no route table has one", "create-route");
    let eni = &world.enis[1];
    fails(&all, &format!("network interface {eni}"), "check is on", "--no-source-dest-check");
    fails(&all, "elastic address eipalloc-00000000", "eipalloc-00000000", "correct");
    fails(&all, "arbiter table nowhere", "nowhere", "lockstep aws create-arbiter");
    fails(&all, "availability zone", &world.zones[0], "correct `zone`");
    fails(&all, "instance i-00000000", &world.instances[0], "[forced_stop]");

    let no_vpc = said(&lab.text.replace(&world.vpc, "vpc-00000000"));
    fails(&no_vpc, "db/vip: VIP", "vpc-00000000", "correct");
    fails(&no_vpc, &format!("network interface {}", world.enis[0]), "not in vpc-00000000", "`vpc`");
    let swapped = lab.text.replace(&world.enis[0], "eni-00000000");
    fails(&said(&swapped), "network interface eni-00000000", "eni-00000000", "correct");
}

#[test]
fn no_credentials_no_rights_and_no_time_are_named() {
    let lab = lab();
    let nobody = Metadata::open(told(&lab.world, false));
    let line = lab.text.lines().find(|line| line.starts_with("metadata_endpoint")).unwrap();
    let bare = lab.text.replace(line, &format!("metadata_endpoint = \"{}\"", nobody.endpoint()));
    fails(&said(&bare), "credentials", "find credentials", "profile with a role");

    let denied = || Fault::refuse(403, "UnauthorizedOperation", "You are not authorized.");
    lab.proxy.add(Rule::always("DescribeVpcs", denied()));
    lab.proxy.add(Rule::always("StopInstances", denied()));
    let skewed = || Fault::refuse(400, "RequestExpired", "Request has expired.");
    lab.proxy.add(Rule::always("DescribeAddresses", skewed()));
    let all = said(&lab.text);
    fails(&all, "db/vip: VIP", "not authorized", "lockstep aws iam-policy");
    fails(&all, "forced_stop: ec2:StopInstances", "not authorized", "lockstep aws iam-policy");
    fails(&all, "db/eip: elastic address", "expired", "clock");
    assert_eq!(of(&all, "arbiter table").verdict, Verdict::Pass);
}
