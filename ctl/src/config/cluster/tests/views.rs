//! What a node's daemon is given.

use super::*;
use crate::act::resource::spec::{Fsck, Spec};
use crate::decide::settings::{FinalAction, GroupIndex, ResourceIndex, Target, Timing};
use lockstep_engine::config::EngineConfig;

#[test]
fn both_nodes_see_each_other_and_the_same_cluster() {
    let cluster = good(SMALL);
    let (a, b) = (cluster.node(NodeId::A), cluster.node(NodeId::B));
    assert_eq!(a.heartbeat.links[0].name, "management", "the best first");
    assert_eq!(a.heartbeat.links[1].bind.to_string(), "10.0.1.10:7790");
    assert_eq!(a.heartbeat.links[1].peer.to_string(), "10.0.2.10:7790");
    for (own, peer) in a.heartbeat.links.iter().zip(&b.heartbeat.links) {
        assert_eq!((own.bind, own.peer), (peer.peer, peer.bind));
    }
    let (own, peer) = (&a.engines[0].config, &b.engines[0].config);
    assert_eq!(own.link.listen.to_string(), "10.0.1.10:7010");
    assert_eq!((own.link.listen, own.link.peer), (peer.link.peer, peer.link.listen));
    assert_eq!((own.data.to_str(), peer.data.to_str()), (Some("/dev/a1"), Some("/dev/b1")));
    assert_eq!(own.group.name, "db");
    assert_eq!(own.admin, Path::new("/run/lockstep/orders.admin"));
    assert_eq!(a.engines[0].path, Path::new("/var/lib/lockstep/engines/orders.toml"));
    assert_eq!(a.groups, b.groups);
    assert_eq!(a.daemon_socket, Path::new("/run/lockstep/daemon.sock"));
}

#[test]
fn the_file_of_an_engine_is_one_that_it_reads() {
    for text in [SMALL, SAMPLE] {
        let cluster = good(text);
        for node in [NodeId::A, NodeId::B] {
            for engine in cluster.node(node).engines {
                let read = EngineConfig::parse(&engine.text).unwrap();
                assert_eq!(read, engine.config);
                assert_eq!(read.digest(), engine.digest);
                let head = engine.text.lines().next().unwrap();
                assert!(head.starts_with("# Generated") && head.contains(&engine.digest));
            }
        }
    }
}

#[test]
fn a_relay_or_nat_between_the_nodes_can_be_named() {
    let reach = "mirror = true\nreach = { a = \"192.0.2.2\", b = \"192.0.2.1\" }";
    let cluster = good(&with(SMALL, "mirror = true", reach));
    let (a, b) = (cluster.node(NodeId::A), cluster.node(NodeId::B));
    assert_eq!(a.engines[0].config.link.peer.to_string(), "192.0.2.2:7010");
    assert_eq!(b.heartbeat.links[1].peer.to_string(), "192.0.2.1:7790");
    assert_eq!(b.heartbeat.links[1].bind.to_string(), "10.0.2.10:7790");
    let ports = with(SMALL, "port = 7010", "port = { a = 7010, b = 8010 }");
    let view = good(&ports).node(NodeId::B);
    assert_eq!(view.engines[0].config.link.listen.port(), 8010);
    assert_eq!(view.engines[0].config.link.peer.port(), 7010);
}

#[test]
fn a_volume_outside_every_group_is_a_group_of_its_own_name() {
    let more = "[[volumes]]\nid = \"80\"\nname = \"logs\"\ndata = \"/dev/l1\"\n\
                cluster_partition = \"/dev/l2\"\nport = 7011\n[[monitors]]";
    let view = good(&with(SMALL, "[[monitors]]", more)).node(NodeId::A);
    let group = &view.groups[1];
    assert!(group.implicit);
    assert_eq!((group.settings.name.as_str(), group.settings.id.0), ("logs", 0x80));
    assert_eq!(group.specs, [Spec::Mirror(VolumeId(0x80))]);
    assert_eq!(view.engines[1].config.group.name, "logs");
}

#[test]
fn resources_come_in_an_order_that_respects_every_after() {
    let text = with(
        SMALL,
        "[[monitors]]",
        "[[groups.resources]]\nname = \"ip\"\n\
        type = \"address\"\naddress = \"10.1.0.5\"\ninterface = \"eth0\"\nafter = []\n\
        [[groups.resources]]\nname = \"app\"\ntype = \"exec\"\nstart = [\"/bin/app\", \"up\"]\n\
        stop = [\"/bin/app\"]\nafter = [\"ip\", \"fs\"]\n[[monitors]]",
    );
    let text = with(&text, "type = \"mirror\"", "type = \"mirror\"\nafter = [\"ip\"]");
    let view = good(&text).node(NodeId::A);
    let settings = &view.groups[0].settings;
    let names: Vec<&str> = settings.resources.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["ip", "mirror", "fs", "app"]);
    assert_eq!(settings.resources[3].after, [ResourceIndex(0), ResourceIndex(2)]);
    assert_eq!(settings.volumes, [VolumeId(0x7f)]);
    let Spec::Fs(fs) = &view.groups[0].specs[2] else { panic!("no file system") };
    assert_eq!((fs.device.to_str(), fs.fsck), (Some("/dev/nbd0"), Fsck::Never));
}

#[test]
fn monitors_come_with_their_resources_unless_the_file_replaces_them() {
    let names = |text: &str| -> Vec<String> {
        let view = good(text).node(NodeId::B);
        view.monitors.iter().map(|monitor| monitor.settings.name.clone()).collect()
    };
    assert_eq!(names(SMALL), ["gateway", "db/fs", "mirror:orders", "disk:orders"]);
    let own = "[[monitors]]\nname = \"mine\"\ntype = \"resource\"\nresource = \"db/fs\"\n\
               interval = \"60 s\"\n[[monitors]]\nname = \"disks\"\ntype = \"disk\"\n\
               volume = \"orders\"\n[[monitors]]\nname = \"gateway\"";
    let text = with(SMALL, "[[monitors]]\nname = \"gateway\"", own);
    assert_eq!(names(&text), ["mine", "disks", "gateway", "mirror:orders"]);
    let view = good(&text).node(NodeId::B);
    let (mine, disks) = (&view.monitors[0].settings, &view.monitors[1].settings);
    assert_eq!(mine.timing, Timing::WhileActive(GroupIndex(0), ResourceIndex(1)));
    assert_eq!(mine.recovery.target, Some(Target::Resource(GroupIndex(0), ResourceIndex(1))));
    assert_eq!((mine.recovery.reactivations_max, mine.recovery.failovers_max), (3, 1));
    assert_eq!(disks.recovery.target, Some(Target::Group(GroupIndex(0))));
    let paths = ["/dev/b1", "/dev/meta1"].map(std::path::PathBuf::from);
    assert_eq!(view.monitors[1].spec, Probe::Disk { paths: paths.to_vec() });
    let gateway = &view.monitors[2].settings;
    assert_eq!(gateway.recovery.final_action, FinalAction::Shutdown);
    assert!(!gateway.recovery.fences, "a store says who may serve");
}

#[test]
fn a_host_finds_itself_by_its_name() {
    let cluster = good(SMALL);
    assert_eq!(cluster.which("shop-1"), Some(NodeId::A));
    assert_eq!(cluster.which("shop-1.example.net"), Some(NodeId::A));
    assert_eq!(cluster.which("shop-2"), Some(NodeId::B));
    assert_eq!(cluster.which("shop"), None);
    assert_eq!(cluster.which(""), None);
}

#[test]
fn a_cluster_without_volumes_is_a_cluster() {
    let cut = SMALL.find("[[volumes]]").unwrap();
    let view = good(&SMALL[..cut]).node(NodeId::A);
    assert!(view.engines.is_empty() && view.groups.is_empty() && view.monitors.is_empty());
}

#[test]
fn addresses_of_aws_come_with_their_monitors_and_say_that_they_need_aws() {
    let [vip, eip] = ADDRESSES;
    let more = "[[monitors]]\nname = \"zone\"\ntype = \"aws_az\"\n\
                zone = { a = \"eu-central-1a\", b = \"eu-central-1b\" }\n\
                [forced_stop]\ntype = \"aws\"\ninstance = { a = \"i-1\", b = \"i-2\" }\n";
    let cluster = good(&with(SMALL, "[[monitors]]", &format!("{vip}{eip}{more}[[monitors]]")));
    let view = cluster.node(NodeId::B);
    let Spec::AwsVip(vip) = &view.groups[0].specs[2] else { panic!("{:?}", view.groups[0].specs) };
    assert_eq!((vip.eni.as_deref(), vip.vpc.as_str()), (Some("eni-b"), "vpc-1"));
    assert_eq!((vip.address.to_string().as_str(), vip.interface.as_str()), ("10.1.0.5", "ens5"));
    let Spec::AwsEip(eip) = &view.groups[0].specs[3] else { panic!("{:?}", view.groups[0].specs) };
    assert_eq!((eip.allocation.as_str(), eip.eni.as_deref()), ("eipalloc-1", Some("eni-b")));
    let monitor = |name: &str| {
        view.monitors
            .iter()
            .find(|one| one.settings.name == name)
            .unwrap_or_else(|| panic!("{name}"))
    };
    for (n, name) in [(2, "db/vip"), (3, "db/eip")] {
        let found = monitor(name);
        let (group, resource) = (GroupIndex(0), ResourceIndex(n));
        assert!(found.automatic);
        assert_eq!(found.settings.timing, Timing::WhileActive(group, resource));
        assert_eq!(found.settings.interval, Span::millis(60_000));
        assert_eq!(found.settings.recovery.target, Some(Target::Resource(group, resource)));
    }
    let zone = monitor("zone");
    assert_eq!(zone.spec, Probe::AwsZone { zone: Some("eu-central-1b".to_owned()) });
    assert_eq!((zone.settings.timing, zone.settings.recovery.target), (Timing::Always, None));
    let stop = view.forced_stop.as_ref().unwrap();
    assert_eq!((stop.own.as_str(), stop.peer.as_str()), ("i-2", "i-1"));
    assert_eq!(stop.timeout, Span::millis(60_000));
    let needs = ["resource db/vip (aws_vip)", "resource db/eip (aws_eip)", "monitor zone (aws_az)"];
    assert_eq!(needs_aws(&view), [&needs[..], &["forced_stop"]].concat());
    assert_eq!(cluster.beyond_this_build().is_empty(), AWS_HERE);
}

#[test]
fn a_monitor_of_an_address_of_aws_replaces_the_automatic_one() {
    let [vip, _] = ADDRESSES;
    for kind in ["aws_vip", "resource"] {
        let own = format!(
            "[[monitors]]\nname = \"own\"\ntype = \"{kind}\"\nresource = \"db/vip\"\n\
             on_no_response = \"ignore\"\n"
        );
        let view = good(&with(SMALL, "[[monitors]]", &format!("{vip}{own}[[monitors]]")));
        let view = view.node(NodeId::A);
        let (group, resource) = ("db".to_owned(), "vip".to_owned());
        let own = Probe::Resource { group, resource };
        let looks = |one: &&Monitor| one.spec == own;
        let found: Vec<_> = view.monitors.iter().filter(looks).collect();
        assert_eq!(found.len(), 1, "{kind}");
        assert_eq!(found[0].settings.interval, Span::millis(60_000));
        assert!(matches!(found[0].settings.timing, Timing::WhileActive(..)));
    }
}
