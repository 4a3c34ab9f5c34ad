//! Each mistake is found, at its place, with the way out; all at once; and never a panic.

use super::*;

/// Every change that must be refused: what is put in place of what, and a part of the answer.
const CASES: &[(&str, &str, &str)] = &[
    // Words and types.
    ("priority = 2", "priorty = 2", "12:1: interconnects[0].priorty: is not a key here; did you"),
    ("priority = 2", "priority = \"2\"", "whole number without quotes"),
    ("priority = 2", "priority = 0", "choose from 1 to 100"),
    ("name = \"shop\"", "name = \"a b\"", "1 to 64 letters"),
    ("id = \"c1\"", "id = \"0\"", "not all zero"),
    ("id = \"c1\"", "id = \"xyz\"", "hex digits"),
    ("id = \"c1\"", "", "cluster.id: is missing; add for example"),
    ("\"/etc/lockstep/cluster.key\"", "\"cluster.key\"", "an absolute path"),
    ("type = \"directory\"", "type = \"directroy\"", "did you mean \"directory\"?"),
    ("type = \"fs\"", "type = \"disk\"", "groups[0].resources[1].type"),
    ("fs = \"xfs\"", "fs = \"btrfs\"", "\"ext4\", \"xfs\""),
    ("port = 7010", "port = 70100", "choose from 1 to 65535"),
    ("port = 7010", "port = 7010\nack = \"local\"", "comes in a later version"),
    ("port = 7010", "port = 7010\nresync_rate_max = \"10 MB/s\"", "MiB/s"),
    ("port = 7010", "port = 7010\nintent_idle = 5", "a time with its unit"),
    ("port = 7010", "port = 7010\nintent_idle = \"1.5 ms\"", "whole milliseconds"),
    ("port = 7010", "port = 7010\nflows = 17", "choose from 1 to 16"),
    // Nodes.
    ("{ a = \"10.0.1.10\", b = \"10.0.2.10\" }", "\"10.0.1.10\"", "is used before"),
    ("{ a = \"10.0.1.10\", b = \"10.0.2.10\" }", "{ a = \"10.0.1.10\" }", "no value for node b"),
    ("\"10.0.2.10\"", "\"fe80::1\"", "can't reach each other"),
    ("\"10.0.2.10\"", "\"10.0.9.20\"", "address 10.0.9.20 is used before"),
    ("name = \"shop\"", "name = { a = \"x\", b = \"y\" }", "must be the same on both nodes"),
    ("name = \"shop-2.example.net\"", "name = \"shop-1\"", "nodes.b.name: name shop-1 is used"),
    ("[nodes.b]", "[nodes.c]", "nodes.c: is not a key here"),
    ("mirror = true", "mirror = false", "mirror = true in the [[interconnects]]"),
    ("priority = 2", "priority = 1", "priority 1 is used before"),
    // References.
    ("volume = \"orders\"", "volume = \"order\"", "did you mean \"orders\"?"),
    ("[[monitors]]", "[[monitors]]\ntarget = \"group d\"", "there is no group \"d\""),
    ("[[monitors]]", "[[monitors]]\nwhile_active = \"db/sf\"", "did you mean \"db/fs\"?"),
    ("[[monitors]]", "[[monitors]]\ntarget = \"db\"", "resource GROUP/NAME"),
    ("port = 7010", "port = 7010\ninterconnect = \"management\"", "with mirror = true"),
    ("mount_point = ", "after = [\"mirorr\"]\nmount_point = ", "did you mean \"mirror\"?"),
    // Order.
    ("mount_point = ", "after = []\nmount_point = ", "add \"mirror\" to its `after`"),
    ("volume = \"orders\"\n[", "volume = \"orders\"\nafter = [\"fs\"]\n[", "wait for one another"),
    ("device = \"/dev/nbd0\"\n", "", "is worth nothing without `device in the volume`"),
    ("volume = \"orders\"\nfs", "device = \"/dev/nbd0\"\nafter = []\nfs", "after its mirror"),
    ("mount_point = ", "device = \"/dev/x\"\nmount_point = ", "excludes `volume`"),
    // Twice.
    ("\"/dev/meta1\"", "{ a = \"/dev/a1\", b = \"/dev/m\" }", "path /dev/a1 is used before"),
    ("[[monitors]]", "[[groups]]\nid = \"61\"\nname = \"x\"\n[[monitors]]", "used before, in line"),
    ("[[monitors]]", "[[groups]]\nid = \"62\"\nname = \"x\"\n[[monitors]]", "has no resources"),
    ("name = \"fs\"", "name = \"mirror\"", "name mirror is used before"),
    // Isolation.
    ("[[monitors]]", "[[monitors]]\nretries = 4", "after 6 s, not before the heartbeat timeout"),
    ("[\"10.0.1.1\"]", "[\"10.0.2.10\"]", "is a node of this cluster"),
    ("[[monitors]]", "[[monitors]]\ntimeout = \"2 s\"", "timeout (2 s) must be at most interval"),
    // Times.
    ("[arbiter]", "[times]\nlease = \"3 s\"\n[arbiter]", "2 × arbiter_attempt (3750 ms) must be"),
    ("[arbiter]", "[heartbeat]\ntimeout = \"4 s\"\n[arbiter]", "lease + fence (5 s) must be at"),
    ("[arbiter]", "[heartbeat]\ninterval = \"2 s\"\n[arbiter]", "4 × heartbeat.interval (8 s)"),
    ("[arbiter]", "[times]\nping = \"1 s\"\n[arbiter]", "4 × ping (4 s)"),
    // Control over TCP.
    ("[arbiter]", "[api]\n[arbiter]", "api.listen: is missing"),
    ("[arbiter]", "[api]\nlisten = \"127.0.0.1:7\"\n[arbiter]", "token_file or client_ca_file"),
    ("[arbiter]", "[api]\nlisten = \"10.0.1.10:7\"\ntoken_file = \"/t\"\n[arbiter]", "cert_file"),
    (
        "[arbiter]",
        "[api]\nlisten = \"[::1]:7\"\ncert_file = \"/c\"\n[arbiter]",
        "without `key_file",
    ),
    (
        "[arbiter]",
        "[api]\nlisten = \"[::1]:7\"\nkey_file = \"/c\"\n[arbiter]",
        "without `cert_file",
    ),
    ("[arbiter]", "[api]\nlisten = \"[::1]:7\"\nclient_ca_file = \"/c\"\n[arbiter]", "`cert_file`"),
    // What is reached in AWS.
    ("type = \"directory\"", "type = \"dynamodb\"", "arbiter.table: is missing"),
    ("type = \"directory\"", "type = \"dynamodb\"\ntable = \"a b\"", "3 to 255 letters"),
    ("[arbiter]", "[aws]\nec2_endpoint = \"ec2\"\n[arbiter]", "https://HOST"),
    ("[arbiter]", "[aws]\nregion = { a = \"x\", b = \"y\" }\n[arbiter]", "aws.region"),
    ("type = \"ping\"", "type = \"ping\"\nzone = \"x\"", "monitors[0].zone: is not a key here"),
    ("[arbiter]", "[forced_stop]\nx = 1\n[arbiter]", "forced_stop.x: is not a key here"),
    ("[arbiter]", "[forced_stop]\ntype = \"aws\"\n[arbiter]", "forced_stop.instance: is missing"),
    ("[arbiter]", "[forced_stop]\ntype = \"ipmi\"\n[arbiter]", "write one of \"aws\""),
    (
        "[arbiter]",
        "[forced_stop]\ntype = \"aws\"\ninstance = \"i-1\"\n[arbiter]",
        "forced_stop.instance: instance i-1 is used before",
    ),
    (
        "[arbiter]",
        "[forced_stop]\ntype = \"aws\"\ninstance = { a = \"i-1\" }\n[arbiter]",
        "forced_stop.instance: has no value for node b",
    ),
    // Syntax.
    ("priority = 2", "priority = ", "12:"),
    ("name = \"shop\"", "name = \"shop\"\nname = \"x\"", "not TOML: duplicate key"),
    ("[arbiter]", "[[cluster.x]]\n[arbiter]", "cluster.x: is not a key here"),
];

#[test]
fn each_mistake_is_found_with_its_place_and_the_way_out() {
    let mut missed = String::new();
    for (old, new, part) in CASES {
        let told = match Cluster::parse(&with(SMALL, old, new)) {
            Ok(_) => "it was accepted\n".to_owned(),
            Err(mistakes) => told(&mistakes),
        };
        if !told.contains(part) {
            let _ = writeln!(missed, "{old:?} → {new:?}: no {part:?} in\n{told}");
        }
    }
    assert!(missed.is_empty(), "{missed}");
}

/// Addresses of AWS, their monitors and zones: each mistake at its place.
#[test]
fn what_is_in_aws_is_named_by_ids_of_the_right_kind() {
    let [vip, eip] = ADDRESSES;
    let both = format!("{vip}{eip}");
    good(&with(SMALL, "[[monitors]]", &format!("{both}[[monitors]]")));
    for (old, new, part) in [
        ("address = \"10.1.0.5\"\n", "", "groups[0].resources[2].address: is missing; add"),
        ("address = \"10.1.0.5\"", "address = \"fd00::5\"", "an IPv4 address outside every block"),
        ("address = \"10.1.0.5\"", "address = \"10.0.1.10\"", "address 10.0.1.10 is used before"),
        (
            "\"10.1.0.5\"",
            "{ a = \"10.1.0.5\", b = \"10.1.0.6\" }",
            "must be the same on both nodes",
        ),
        ("vpc = \"vpc-1\"", "vpc = \"subnet-1\"", "the id of a VPC, such as \"vpc-"),
        (
            "vpc = \"vpc-1\"\n",
            "",
            "groups[0].resources[2].vpc: is missing; add for example: vpc = ",
        ),
        ("vpc = \"vpc-1\"", "vcp = \"vpc-1\"", "did you mean `vpc`?"),
        ("interface = \"ens5\"\n", "", "groups[0].resources[2].interface: is missing"),
        ("\"ens5\"", "\"an interface of a long name\"", "at most 15 letters"),
        ("b = \"eni-b\"", "b = \"eni-a\"", "network interface eni-a is used before"),
        ("b = \"eni-b\"", "b = \"eni_b\"", "such as \"eni-0a1b2c3d4e5f60718\""),
        ("\"eipalloc-1\"", "\"203.0.113.7\"", "groups[0].resources[3].allocation: is \"203"),
        ("allocation = \"eipalloc-1\"\n", "", "resources[3].allocation: is missing"),
        ("allocation", "interface = \"ens5\"\nallocation", "interface: excludes `eni`"),
    ] {
        let changed = with(&both, old, new);
        let told = bad(&with(SMALL, "[[monitors]]", &format!("{changed}[[monitors]]")));
        assert!(told.contains(part), "{old:?} → {new:?}: no {part:?} in\n{told}");
    }
    let neither = eip.replace("eni = { a = \"eni-a\", b = \"eni-b\" }\n", "");
    let told = bad(&with(SMALL, "[[monitors]]", &format!("{neither}[[monitors]]")));
    assert!(told.contains("interface: is missing; add for example: interface = "), "{told}");
    let twice = eip.replace("\"eip\"", "\"eip-2\"");
    let told = bad(&with(SMALL, "[[monitors]]", &format!("{eip}{twice}[[monitors]]")));
    assert!(told.contains("allocation eipalloc-1 is used before, in line"), "{told}");
}

#[test]
fn monitors_of_aws_look_at_what_is_theirs() {
    let [vip, _] = ADDRESSES;
    for (monitor, part) in [
        ("type = \"aws_vip\"\n", "resource: is missing"),
        ("type = \"aws_vip\"\nresource = \"db/fs\"\n", "\"fs\" is no aws_vip; name a resource"),
        ("type = \"aws_eip\"\nresource = \"db/vip\"\n", "\"vip\" is no aws_eip"),
        ("type = \"aws_vip\"\nresource = \"db/vp\"\n", "did you mean \"db/vip\"?"),
        ("type = \"aws_az\"\nzone = \"\"\n", "such as \"eu-central-1a\""),
        ("type = \"aws_az\"\nzone = \"EU\"\n", "such as \"eu-central-1a\""),
        ("type = \"aws_az\"\nzone = { a = \"eu-central-1a\" }\n", "has no value for node b"),
        ("type = \"aws_az\"\nzones = \"eu-central-1a\"\n", "did you mean `zone`?"),
    ] {
        let text = format!("{vip}[[monitors]]\nname = \"own\"\n{monitor}[[monitors]]");
        let told = bad(&with(SMALL, "[[monitors]]", &text));
        assert!(told.contains(part), "{monitor:?}: no {part:?} in\n{told}");
    }
}

/// Parts of an arbiter `none` and of etcd that are not enough.
#[test]
fn an_arbiter_is_written_whole_or_refused() {
    let directory = "type = \"directory\"\ndirectory = \"/mnt/shared/lockstep\"";
    let none = with(SMALL, &format!("[arbiter]\n{directory}\n"), "");
    assert!(bad(&none).contains("arbiter: is missing"), "{}", bad(&none));
    let arbiter = |text: &str| with(SMALL, directory, text);
    for (text, part) in [
        ("type = \"none\"", "arbiter.probe: is missing"),
        ("type = \"none\"\nprobe = \"gatway\"", "did you mean \"gateway\"?"),
        ("type = \"etcd\"", "endpoints: is missing"),
        ("type = \"etcd\"\nendpoints = []", "endpoints: is missing"),
        ("type = \"etcd\"\nendpoints = [\"10.0.1.1:2379\"]", "https://HOST:PORT"),
        ("type = \"etcd\"\nendpoints = [\"https://x:2379\"]", "without `ca_file`"),
        ("type = \"etcd\"\nendpoints = [\"http://x:1\"]\ncert_file = \"/c\"", "without `key_file`"),
        ("type = \"etcd\"\nendpoints = [\"http://x:1\"]\ncredentials_file = \"/c\"", "https in"),
        ("type = \"directory\"\ndirectory = \"/x\"\nendpoints = []", "is not a key here"),
    ] {
        let told = bad(&arbiter(text));
        assert!(told.contains(part), "{text}: no {part:?} in\n{told}");
    }
    let cluster = good(&arbiter("type = \"none\"\nprobe = \"gateway\""));
    let view = cluster.node(NodeId::A);
    let gateway = view.monitors.iter().find(|one| one.settings.name == "gateway").unwrap();
    assert!(gateway.settings.recovery.fences, "without a store the isolated node must go");
    good(&arbiter("type = \"etcd\"\nendpoints = [\"http://127.0.0.1:2379\"]"));
    let late = with(
        &arbiter("type = \"none\"\nprobe = \"gateway\""),
        "[[monitors]]",
        "[[monitors]]\n\
        while_active = \"db/fs\"",
    );
    assert!(bad(&late).contains("can't tell whether this node is isolated"));
}

/// Without a store a node must know in time whether it is the isolated one, and what its copy is.
#[test]
fn without_a_store_the_probe_is_quick_and_each_group_has_a_mirror() {
    let directory = "type = \"directory\"\ndirectory = \"/mnt/shared/lockstep\"";
    let none = with(SMALL, directory, "type = \"none\"\nprobe = \"gateway\"");
    let probe =
        |keys: &str| with(&none, "name = \"gateway\"", &format!("name = \"gateway\"\n{keys}"));
    for (keys, part) in [
        // As quick as the lease wants it, and too patient for the heartbeat timeout.
        ("retries = 4", "notices an isolation after 6 s, not before the heartbeat timeout of 5 s"),
        ("interval = \"1500 ms\"\nretries = 0", "4 × interval of the arbiter's probe"),
    ] {
        let text = probe(keys);
        let mistakes = Cluster::parse(&text).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{}", bad(&text));
        let told = mistakes[0].to_string();
        assert!(told.contains(part) && told.contains("monitors[0].interval"), "{told}");
        let line = text.lines().nth(mistakes[0].line - 1).unwrap();
        assert!(line.contains("interval") || line.contains("[[monitors]]"), "{line}");
    }
    good(&probe("interval = \"1 s\"\nretries = 2"));
    let bare = format!(
        "{none}[[groups]]\nid = \"e1\"\nname = \"web\"\n[[groups.resources]]\nname = \"ip\"\n\
         type = \"address\"\naddress = \"10.0.9.9\"\ninterface = \"eth0\"\n"
    );
    assert!(bad(&bare).contains("group \"web\" has no mirror"), "{}", bad(&bare));
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let mut text = with(SMALL, "id = \"c1\"", "id = \"zz\"");
    text = with(&text, "priority = 2", "priority = \"x\"");
    text = with(&text, "directory = \"/mnt/shared/lockstep\"", "directory = \"x\"");
    text = with(&text, "port = 7010", "prt = 7010");
    text = with(&text, "mount_point = ", "after = []\nmount_point = ");
    let mistakes = Cluster::parse(&text).unwrap_err();
    let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
    let mut sorted = lines.clone();
    sorted.sort_unstable();
    assert_eq!(lines, sorted);
    let keys: Vec<&str> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
    let expected = [
        "cluster.id",
        "interconnects[0].priority",
        "arbiter.directory",
        "volumes[0].port",
        "volumes[0].prt",
        "groups[0].resources[1]",
    ];
    assert_eq!(keys, expected, "{}", told(&mistakes));
}

#[test]
fn places_count_characters() {
    let text = "[cluster]\nname = { ä = 1 }, é";
    let told = bad(text);
    assert!(told.starts_with("2:10:"), "{told}");
    assert_eq!(mistake::position("äb\nc", 3), (1, 3));
    assert_eq!(mistake::position("äb\nc", 4), (2, 1));
    assert_eq!(mistake::position("äb", 1), (1, 1));
    assert_eq!(mistake::position("", 9), (1, 1));
}

/// A small generator: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
        usize::try_from(self.0 >> 33).unwrap() % most.max(1)
    }
}

#[test]
fn a_truncated_file_is_refused_or_good_but_never_a_panic() {
    for text in [SMALL, SAMPLE] {
        let cuts = text.char_indices().map(|(at, _)| at);
        for at in cuts.step_by(if text.len() > 5_000 { 37 } else { 1 }) {
            let _ = Cluster::parse(&text[..at]).map(|cluster| cluster.node(NodeId::B));
        }
    }
}

#[test]
fn a_mutated_file_is_refused_or_good_but_never_a_panic() {
    let mut random = Random(7);
    let lines: Vec<&str> =
        SMALL.lines().chain(SAMPLE.lines().filter(|l| !l.starts_with("# "))).collect();
    let old = good(SMALL);
    for _ in 0..1500 {
        let mut text: Vec<String> = SMALL.lines().map(str::to_owned).collect();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len());
            match random.below(6) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, lines[random.below(lines.len())].replace('#', "")),
                2 => text[at] = text[at].replace('"', ""),
                3 => text[at] = text[at].replace(['1', 'a'], "9"),
                4 => {
                    let other = random.below(text.len());
                    text.swap(at, other);
                }
                _ => {
                    let mut letters: Vec<char> = text[at].chars().collect();
                    let place = random.below(letters.len() + 1);
                    letters.insert(place, ['[', ']', '{', '=', '"', '\u{0}', 'é'][random.below(7)]);
                    text[at] = letters.into_iter().collect();
                }
            }
            if text.is_empty() {
                break;
            }
        }
        if let Ok(new) = Cluster::parse(&text.join("\n")) {
            let found = changes(&old, &new);
            let sets = |cluster: &Cluster| [NodeId::A, NodeId::B].map(|n| cluster.node(n).engines);
            assert!(!found.is_empty() || sets(&old) == sets(&new), "{text:#?}");
        }
    }
}

#[test]
fn nesting_and_size_have_bounds() {
    let deep = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(bad(&deep).contains("not TOML"));
    let tables = format!("{}x = 1", "[a.".repeat(20_000));
    assert!(!bad(&tables).is_empty());
    let long = "#".repeat(FILE_BYTES_MAX + 1);
    assert!(bad(&long).contains("at most 1048576"));
    let many = format!("{SMALL}{}", "[[monitors]]\nx = 1\n".repeat(1_000));
    let mistakes = Cluster::parse(&many).unwrap_err();
    assert_eq!(mistakes.len(), MISTAKES_MAX);
    assert!(told(&mistakes).contains("at most 256 are possible"), "{}", told(&mistakes));
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let missing = Cluster::load(Path::new("/nonexistent/cluster.toml")).unwrap_err();
    assert!(missing.to_string().contains("name a file that exists"), "{missing}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.toml");
    std::fs::write(&path, b"x = 1\ny = \"\xff\"").unwrap();
    let error = Cluster::load(&path).unwrap_err().to_string();
    assert!(error.contains(":2:6: is not text"), "{error}");
    std::fs::write(&path, SMALL).unwrap();
    assert_eq!(Cluster::load(&path).unwrap(), good(SMALL));
}

/// Its lease lives on heartbeats alone.
#[test]
fn a_group_without_mirrors_needs_quick_heartbeats() {
    let cut = SMALL.find("[[volumes]]").unwrap();
    let text = format!(
        "{}[[groups]]\nid = \"e1\"\nname = \"web\"\n[[groups.resources]]\nname = \"ip\"\n\
         type = \"address\"\naddress = \"10.0.9.9\"\ninterface = \"eth0\"\n",
        &SMALL[..cut]
    );
    let view = good(&text).node(NodeId::A);
    assert!(view.engines.is_empty() && view.groups[0].settings.volumes.is_empty());
    let slow = with(&text, "[arbiter]", "[heartbeat]\ninterval = \"1 s\"\n[arbiter]");
    assert!(bad(&slow).contains("a group without mirrors"), "{}", bad(&slow));
    let slow = with(SMALL, "[arbiter]", "[heartbeat]\ninterval = \"1 s\"\n[arbiter]");
    good(&slow);
}
