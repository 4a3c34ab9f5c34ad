//! Answers become a file that passes every check.

use super::*;

const ANSWERS: &str = r#"
cluster = "shop"
nodes = { a = "shop-1", b = "shop-2" }
interconnects = [
    { a = "10.0.1.10", b = "10.0.2.10" },
    { a = "10.0.9.10", b = "10.0.9.20" },
]
arbiter = { etcd = { endpoints = ["https://10.0.3.1:2379"], ca_file = "/etc/lockstep/ca.pem" } }
ping = { a = "10.0.1.1", b = "10.0.2.1" }

[[volumes]]
name = "orders"
data = { a = "/dev/disk/by-id/a1", b = "/dev/disk/by-id/b1" }
cluster_partition = { a = "/dev/disk/by-id/a2", b = "/dev/disk/by-id/b2" }
fs = "xfs"
mount_point = "/srv/orders"

[[volumes]]
name = "logs"
data = { a = "/dev/sdc1", b = "/dev/sdc1" }
cluster_partition = { a = "/dev/sdc2", b = "/dev/sdc2" }

[group]
name = "shop"
address = "10.1.0.5"
interface = { a = "eth0", b = "ens5" }
unit = "postgresql.service"
"#;

fn counting() -> impl FnMut() -> u128 {
    let mut n = 0x1000;
    move || {
        n += 1;
        n
    }
}

#[test]
fn answers_become_a_good_file() {
    let text = Answers::parse(ANSWERS).unwrap().render(&mut counting());
    let view = good(&text).node(NodeId::B);
    let group = &view.groups[0].settings;
    let names: Vec<&str> = group.resources.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["mirror-orders", "mirror-logs", "fs-orders", "address", "service"]);
    assert_eq!(view.engines[1].config.link.listen.to_string(), "10.0.2.10:7011");
    assert_eq!(view.engines[1].device.as_deref(), Some(Path::new("/dev/lockstep/logs")));
    assert_eq!(view.monitors[0].settings.name, "gateway");
}

#[test]
fn an_arbiter_none_is_given_the_ping_target_as_its_probe() {
    let arbiter = "arbiter = { etcd = { endpoints = [\"https://10.0.3.1:2379\"], \
                   ca_file = \"/etc/lockstep/ca.pem\" } }";
    for (answer, expected) in [
        ("arbiter = \"none\"", ArbiterSpec::None { probe: "gateway".to_owned() }),
        ("arbiter = { directory = \"/mnt/x\" }", ArbiterSpec::Directory("/mnt/x".into())),
    ] {
        let answers = Answers::parse(&with(ANSWERS, arbiter, answer)).unwrap();
        assert_eq!(good(&answers.render(&mut counting())).node(NodeId::A).arbiter, expected);
    }
    let ping = "ping = { a = \"10.0.1.1\", b = \"10.0.2.1\" }";
    let without = with(&with(ANSWERS, arbiter, "arbiter = \"none\""), ping, "");
    let text = Answers::parse(&without).unwrap().render(&mut counting());
    assert!(bad(&text).contains("there is no monitor \"gateway\""));
}

#[test]
fn answers_that_nobody_asked_for_are_refused() {
    let error = Answers::parse(&with(ANSWERS, "cluster = ", "clustr = ")).unwrap_err();
    assert!(error.to_string().contains("clustr"), "{error}");
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn quotes_in_answers_stay_text() {
    let answers = with(ANSWERS, "name = \"orders\"", "name = 'or\"ders\\'");
    let text = Answers::parse(&answers).unwrap().render(&mut counting());
    let told = bad(&text);
    assert!(!told.contains("not TOML"), "{told}");
    assert!(told.contains("volumes[0].name"), "{told}");
}
