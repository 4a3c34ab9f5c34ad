//! What another file would change, and what that costs.

use super::*;

fn between(old: &str, new: &str) -> Vec<Change> {
    changes(&good(old), &good(new))
}

/// The only change between the small cluster and the same with that put in.
#[track_caller]
fn only(old: &str, new: &str) -> Change {
    let found = between(SMALL, &with(SMALL, old, new));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next().unwrap()
}

#[test]
fn the_same_meaning_is_no_change() {
    assert_eq!(between(SMALL, SMALL), []);
    let other = with(SMALL, "\"/dev/meta1\"", "{ a = \"/dev/meta1\", b = \"/dev/meta1\" }");
    let other = with(&other, "port = 7010", "# a comment\nflows = 2\nport = 7010");
    assert_eq!(between(SMALL, &other), []);
}

#[test]
fn each_change_asks_for_no_more_than_it_needs() {
    let orders = || "orders".to_owned();
    let db = || "db".to_owned();
    for (old, new, key, effect) in [
        ("name = \"shop\"", "name = \"x\"", "cluster.name", Effect::Live),
        ("id = \"c1\"", "id = \"c2\"", "cluster.id", Effect::DaemonsStopped),
        ("lockstep\"\n[", "other\"\n[", "arbiter.directory", Effect::ClusterStopped),
        (
            "port = 7010",
            "port = 7010\nflows = 4",
            "volumes.orders.flows",
            Effect::EngineRestart(orders()),
        ),
        (
            "port = 7010",
            "port = 7010\nintent_regions = 1024",
            "volumes.orders.intent_regions",
            Effect::Format(orders()),
        ),
        (
            "mount_point = \"",
            "options = \"noatime\"\nmount_point = \"",
            "groups.db.resources.fs.options",
            Effect::ResourceRestart("db/fs".to_owned()),
        ),
        (
            "mount_point = \"",
            "start_timeout = \"9 s\"\nmount_point = \"",
            "groups.db.resources.fs.start_timeout",
            Effect::Live,
        ),
        ("name = \"db\"", "name = \"db\"\nfailback = \"auto\"", "groups.db.failback", Effect::Live),
        ("[[monitors]]", "[[monitors]]\nretries = 1", "monitors.gateway.retries", Effect::Live),
        ("id = \"7f\"", "id = \"7e\"", "volumes.orders", Effect::GroupStopped(db())),
        ("[arbiter]", "[times]\nhello = \"6 s\"\n[arbiter]", "times.hello", Effect::ClusterStopped),
    ] {
        let change = only(old, new);
        assert_eq!((change.key.as_str(), &change.effect), (key, &effect), "{change}");
    }
}

#[test]
fn a_change_of_one_node_says_which() {
    let change = only("b = \"/dev/b1\"", "b = \"/dev/b2\"");
    assert_eq!(change.node, Sides::B);
    let text = "~ volumes.orders.data on node b: /dev/b1 → /dev/b2 (restarts the engine of orders: \
                its I/O waits for a moment)";
    assert_eq!(change.to_string(), text);
}

#[test]
fn an_address_that_moves_restarts_the_engines_it_carries() {
    let found = between(SMALL, &with(SMALL, "10.0.1.10", "10.0.1.11"));
    let link: Vec<&Change> = found.iter().filter(|one| one.key == "volumes.orders.link").collect();
    assert_eq!(link.len(), 2, "each node reads it in its own way: {found:#?}");
    assert!(link.iter().all(|one| one.effect == Effect::EngineRestart("orders".to_owned())));
    assert_eq!(groups_to_restart(&found), [] as [String; 0]);
}

#[test]
fn what_is_added_or_goes_is_one_line() {
    let group = "[[groups]]\nid = \"62\"\nname = \"web\"\n[[groups.resources]]\nname = \"nginx\"\n\
                 type = \"unit\"\nunit = \"nginx.service\"\n[[monitors]]";
    let more = with(SMALL, "[[monitors]]", group);
    let added = between(SMALL, &more);
    assert_eq!(added.len(), 1, "{added:#?}");
    assert_eq!((added[0].key.as_str(), &added[0].effect), ("groups.web", &Effect::Live));
    let gone = between(&more, SMALL);
    assert_eq!(gone.len(), 1, "{gone:#?}");
    assert_eq!(gone[0].effect, Effect::GroupStopped("web".to_owned()));
    assert!(gone[0].effect.needs_stop());
}

#[test]
fn a_new_resource_interrupts_nothing_and_one_that_goes_is_stopped() {
    let app = "[[groups.resources]]\nname = \"app\"\ntype = \"unit\"\nunit = \"app.service\"\n\
               [[monitors]]";
    let more = with(SMALL, "[[monitors]]", app);
    let found = between(SMALL, &more);
    assert!(found.iter().all(|one| one.effect == Effect::Live), "{found:#?}");
    let found = between(&more, SMALL);
    assert_eq!(groups_to_restart(&found), [] as [String; 0]);
    let resting = rests(&found, good(&more).local(NodeId::A));
    assert_eq!(resting, [("db".to_owned(), "app".to_owned())]);
}

#[test]
fn what_a_change_takes_down_is_named_with_its_group() {
    let old = good(SMALL);
    let device = with(SMALL, "device = \"/dev/nbd0\"", "device = \"/dev/nbd1\"");
    let found = between(SMALL, &device);
    assert_eq!(groups_to_restart(&found), ["db"]);
    let names = |found: &[Change]| {
        let all = rests(found, old.local(NodeId::A)).into_iter();
        all.map(|(group, resource)| format!("{group}/{resource}")).collect::<Vec<_>>()
    };
    assert_eq!(names(&found), ["db/fs", "db/mirror"]);
    let options = with(SMALL, "mount_point = \"", "options = \"noatime\"\nmount_point = \"");
    assert_eq!(names(&between(SMALL, &options)), ["db/fs"]);
    let retries = with(SMALL, "[[monitors]]", "[[monitors]]\nretries = 1");
    assert_eq!(names(&between(SMALL, &retries)), [] as [String; 0]);
}

#[test]
fn every_fact_has_a_row_and_every_row_a_fact() {
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..4 {
        let text = sample::everything(n);
        // The sample with all that is commented out need not be right as a whole: it is read.
        let (table, errors) = DeTable::parse_recoverable(&text);
        assert!(errors.is_empty(), "{errors:?}");
        let [a, b] = [NodeId::A, NodeId::B].map(|node| read::read(table.get_ref(), node).0);
        let cluster = Cluster { a, b };
        for node in [NodeId::A, NodeId::B] {
            for key in facts::facts(&cluster, node).keys() {
                let row = costs::row(key).unwrap_or_else(|| panic!("{} has no row", key.join(".")));
                seen.insert(row.key);
            }
        }
    }
    let idle: Vec<&str> = COSTS.iter().map(|row| row.key).filter(|k| !seen.contains(k)).collect();
    assert_eq!(idle, [] as [&str; 0]);
}

#[test]
fn changes_are_json_with_their_effect() {
    let change = only("port = 7010", "port = 7010\nflows = 4");
    let json = serde_json::to_value(&change).unwrap();
    assert_eq!(json["effect"], "engine_restart");
    assert_eq!(json["name"], "orders");
    assert_eq!((&json["old"], &json["new"]), (&"2".into(), &"4".into()));
    assert_eq!(json["node"], "both");
}
