//! What AWS refuses, loses or never answers: told with its number, cause and way out, and no reason
//! to move a service that works.

use crate::cluster::{Lab, Wanted, With, monitor};
use harness::aws::{End, Fault, Rule};
use harness::cluster::{A, B, is_up, resource};
use lockstep_engine::units::NodeId;

#[test]
fn what_aws_does_not_say_is_a_warning_and_a_takeover_gets_through_where_it_can() {
    let own = monitor(With::Vip, "");
    let wanted = Wanted { more: &own, ..Wanted::plain(With::Vip) };
    let Some(mut lab) = Lab::up(&wanted) else { return };
    let throttled = || Fault::refuse(503, "RequestLimitExceeded", "Request limit exceeded.");
    let denied = || Fault::refuse(403, "UnauthorizedOperation", "You are not authorized.");
    let page = Fault::Page { status: 500, body: "<html>Bad Gateway</html>".to_owned() };
    let lost = |how| Fault::Lose { applied: false, how };
    let cases = [
        ("denied", denied(), "warning 105: look at the route tables of vpc-"),
        ("throttled", throttled(), "(RequestLimitExceeded)"),
        ("silent", lost(End::Silence), "warning 106: "),
        ("reset", lost(End::Reset), "check NAT or route to the regional endpoint"),
        ("no service", page, "(HTTP 500); check the endpoint"),
        (
            "skewed",
            Fault::refuse(400, "RequestExpired", "Request has expired."),
            "set the clock of this host",
        ),
    ];
    let after = lab.cluster.nodes[A].last_event();
    for (name, fault, words) in cases {
        lab.proxies[A].add(Rule::always("DescribeRouteTables", fault));
        let seen = lab.monitor(A, "cloud", "warning", words);
        lab.proxies[A].clear();
        let well = lab.monitor(A, "cloud", "fine", "");
        println!("{name}: a warning after {seen:.1?}, well after {well:.1?}");
    }
    let acted = |code: &str| ["monitor-recovers", "resource-start-failed"].contains(&code);
    let events = lab.cluster.nodes[A].events(after);
    assert!(!events.iter().any(|event| acted(&event.code)), "{events:#?}");
    assert_eq!((lab.changes(A), lab.changes(B)), (0, 0));
    lab.cluster.judge_turns("app", &[A]);
    // Throttled at first, one answer lost, and what only checks the set-up not allowed at all.
    for action in ["DescribeVpcs", "DescribeNetworkInterfaces"] {
        lab.proxies[B].add(Rule::always(action, denied()));
    }
    lab.proxies[B].add(Rule::first(2, "DescribeRouteTables", throttled()));
    lab.proxies[B].add(Rule::first(2, "ReplaceRoute", throttled()));
    let applied = Fault::Lose { applied: true, how: End::Reset };
    lab.proxies[B].add(Rule::first(1, "ReplaceRoute", applied));
    lab.cluster.nodes[A].kill();
    lab.cluster.wait(B, "the group on node b", is_up);
    assert!(lab.is_with(With::Vip, B), "{}", lab.cluster.logs());
}

/// The group does not come up anywhere, and says why.
fn stays_down(wanted: &Wanted<'_>, words: &[&str]) {
    let Some(mut lab) = Lab::make(wanted) else { return };
    lab.cluster.nodes.iter_mut().for_each(|node| node.start());
    lab.cluster.create();
    lab.cluster.wait(A, &format!("a start that fails with {words:?}"), |report| {
        let failure = resource(report, "cloud").and_then(|one| one.failure.as_deref());
        failure.is_some_and(|text| words.iter().all(|word| text.contains(word)))
    });
    assert_eq!(lab.changes(A), 0, "{}", lab.cluster.logs());
    let app = |node: usize| lab.cluster.nodes[node].program_pid("app");
    assert_eq!((app(A), app(B)), (None, None), "what needs the address is not started");
}

#[test]
fn mistakes_of_the_set_up_of_a_vip_are_named() {
    let on_a = "cloud: take VIP 10.99.0.10 on node a: error 5: ";
    for (wrong, words) in [
        (["vpc", "vpc-00000000"], [on_a, "vpc-00000000"]),
        (["address", "10.0.7.7"], ["error 7: VIP 10.0.7.7 belongs to a VPC subnet", "10.0.0.0/16"]),
        (["address", "10.50.7.7"], ["error 7: VIP 10.50.7.7 belongs to", "10.50.0.0/16"]),
        (["address", "10.97.7.7"], ["error 5: no route table of vpc-", "make one in each table"]),
    ] {
        stays_down(&Wanted { tables: 1, wrong, ..Wanted::plain(With::Vip) }, &words);
    }
}

#[test]
fn mistakes_of_the_set_up_of_an_elastic_address_are_named() {
    let on_a = "cloud: take EIP eipalloc-00000000 on node a: error 5: ";
    let wrong = ["allocation", "eipalloc-00000000"];
    let wanted = Wanted { tables: 1, wrong, ..Wanted::plain(With::Eip) };
    stays_down(&wanted, &[on_a, "allocation"]);
    let no_eni = Wanted { tables: 1, wrong: ["interface", "lo"], ..Wanted::plain(With::Eip) };
    stays_down(&no_eni, &["is no network interface of this instance", "set `eni`"]);
    let no_role = Wanted { tables: 1, role: false, ..Wanted::plain(With::Eip) };
    stays_down(&no_role, &["error 5: find credentials: ", "give the instance a role"]);
}

#[test]
fn a_zone_in_trouble_is_told_and_nothing_is_done() {
    let own = "[[monitors]]\nname = \"zone\"\ntype = \"aws_az\"\n\
               interval = \"1 s\"\ntimeout = \"1 s\"\n\
               [[monitors]]\nname = \"elsewhere\"\ntype = \"aws_az\"\nzone = \"eu-central-1x\"\n\
               interval = \"1 s\"\ntimeout = \"1 s\"\n";
    let wanted = Wanted { tables: 1, more: own, ..Wanted::plain(With::Vip) };
    let Some(lab) = Lab::up(&wanted) else { return };
    let after = lab.cluster.nodes[A].last_event();
    lab.monitor(A, "zone", "fine", "");
    lab.monitor(A, "elsewhere", "error", "error 5: ");
    lab.monitor(B, "elsewhere", "error", "correct the availability zone");
    let turns = |word: &str| {
        let to = format!("<zoneState>{word}</zoneState>");
        let from = "<zoneState>available</zoneState>".to_owned();
        lab.proxies[A].clear();
        lab.proxies[A].add(Rule::always("DescribeAvailabilityZones", Fault::Rewrite { from, to }));
    };
    turns("impaired");
    let words = format!("warning 105: availability zone {} is impaired", lab.world.zones[A]);
    lab.monitor(A, "zone", "warning", &words);
    turns("unavailable");
    lab.monitor(A, "zone", "error", "is unavailable");
    lab.proxies[A].clear();
    lab.monitor(A, "zone", "fine", "");
    let events = lab.cluster.nodes[A].events(after);
    assert!(!events.iter().any(|event| event.code == "monitor-recovers"), "{events:#?}");
    let report = lab.cluster.nodes[A].report().expect("a daemon");
    assert_eq!(report.groups[0].runs_on, Some(NodeId::A));
    lab.cluster.judge_turns("app", &[A]);
}
