//! An address follows its group: at once, wholly, and only to whom the record names.

use crate::cluster::{Lab, Wanted, With};
use harness::aws::moto::element;
use harness::aws::{Fault, Moto, Rule};
use harness::cluster::{A, B, GROUP, is_up};
use harness::pair::signal;
use std::time::{Duration, Instant};

/// Every route of the tables but those to the VIP, as the server shows them.
fn other_routes(lab: &Lab) -> Vec<String> {
    let mut all = Vec::new();
    for table in lab.world.tables.iter().chain([&lab.world.other_table]) {
        let said =
            Moto::shared().ec2(&[("Action", "DescribeRouteTables"), ("RouteTableId.1", table)]);
        let set = element(&said, "routeSet");
        let own = format!("{}/32", lab.world.vip);
        all.extend(set.split("<item>").filter(|route| !route.contains(&own)).map(str::to_owned));
    }
    all
}

/// The owner is lost under load; what it leaves is taken, and it touches nothing when it is back.
fn owner_is_killed(with: With) {
    let Some(mut lab) = Lab::up(&Wanted::plain(with)) else { return };
    assert!(lab.is_with(with, A), "{}", lab.cluster.logs());
    for table in &lab.world.tables {
        Moto::shared().ec2(&[
            ("Action", "CreateRoute"),
            ("RouteTableId", table),
            ("DestinationCidrBlock", "10.98.0.0/16"),
            ("NetworkInterfaceId", &lab.world.enis[A]),
        ]);
    }
    let others = other_routes(&lab);
    let load = lab.load();
    let before = lab.changes(A);
    let dies = lab.cluster.nodes[A].program_pid("app").expect("app runs");
    load.mark();
    let since = Instant::now();
    lab.cluster.nodes[A].kill();
    signal(dies, "KILL");
    lab.cluster.wait(B, "the group on node b", is_up);
    let took = since.elapsed();
    assert!(lab.is_with(with, B), "{}", lab.cluster.logs());
    lab.calm(&load);
    println!("owner killed: address and group moved after {took:.1?}");
    let wanted = if with == With::Vip { 3 } else { 1 };
    assert_eq!(lab.changes(B), wanted, "each once");
    assert_eq!(other_routes(&lab), others, "other routes are as they were");
    lab.cluster.nodes[A].start();
    lab.cluster.settle(B);
    assert_eq!(lab.changes(A), before, "the old node touches nothing");
    assert!(lab.is_with(with, B) && !lab.cluster.nodes[A].has(&lab.world.vip));
    lab.cluster.judge_turns("app", &[A, B]);
    // There and back, in order.
    let answer = lab.cluster.nodes[B].lockstep(&["group", "move", GROUP]);
    lab.cluster.settle(A);
    assert!(lab.is_with(with, A), "{answer:?}\n{}", lab.cluster.logs());
    lab.cluster.judge(load, A);
}

#[test]
fn a_vip_follows_when_its_owner_is_killed() {
    owner_is_killed(With::Vip);
}

#[test]
fn an_elastic_address_follows_when_its_owner_is_killed() {
    owner_is_killed(With::Eip);
}

/// A node that was stopped in the middle of everything still believes that it is the owner.
#[test]
fn an_owner_that_wakes_touches_nothing() {
    let Some(lab) = Lab::up(&Wanted::plain(With::Vip)) else { return };
    let load = lab.load();
    let before = lab.changes(A);
    let old = &lab.cluster.nodes[A];
    let asleep: Vec<u32> = old.engine_pids().into_iter().chain(old.daemon_pid()).collect();
    for pid in &asleep {
        signal(*pid, "STOP");
    }
    for name in ["db", "app"] {
        signal(old.program_pid(name).expect("it runs"), "KILL");
    }
    lab.cluster.wait(B, "the group on node b", is_up);
    assert!(lab.leads_to(B), "{}", lab.cluster.logs());
    for pid in &asleep {
        signal(*pid, "CONT");
    }
    lab.wait("the old node to let go", |lab| !lab.cluster.nodes[A].has(&lab.world.vip));
    lab.cluster.settle(B);
    assert!(lab.is_with(With::Vip, B));
    assert_eq!(lab.changes(A), before, "{}", lab.cluster.logs());
    lab.cluster.judge(load, B);
}

/// A change of the former owner that lands late is undone long before a monitor looks.
#[test]
fn a_late_change_of_the_former_owner_is_taken_back() {
    let own = "[[monitors]]\nname = \"cloud\"\ntype = \"aws_vip\"\nresource = \"shop/cloud\"\n\
               interval = { a = \"1 s\", b = \"60 s\" }\ntimeout = \"1 s\"\nretries = 0\n";
    let wanted = Wanted { more: own, ..Wanted::plain(With::Vip) };
    let Some(mut lab) = Lab::up(&wanted) else { return };
    lab.proxies[A].add(Rule::first(1, "ReplaceRoute", Fault::Hold));
    Moto::shared().ec2(&[
        ("Action", "ReplaceRoute"),
        ("RouteTableId", &lab.world.tables[0]),
        ("DestinationCidrBlock", &format!("{}/32", lab.world.vip)),
        ("NetworkInterfaceId", &lab.world.enis[B]),
    ]);
    lab.wait("node a to change the route", |lab| lab.proxies[A].is_held());
    lab.cluster.nodes[A].kill();
    lab.cluster.wait(B, "the group on node b", is_up);
    assert!(lab.leads_to(B));
    let since = Instant::now();
    lab.proxies[A].release();
    assert!(!lab.leads_to(B), "the late one has landed");
    lab.wait("node b to take it back", |lab| lab.leads_to(B));
    println!("a late change was undone after {:.1?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
}

/// From the record that was won to routes that were seen to lead here.
#[test]
fn three_tables_are_switched_within_half_a_second_of_the_decision() {
    let Some(lab) = Lab::up(&Wanted::plain(With::Vip)) else { return };
    for proxy in &lab.proxies {
        proxy.add(Rule::always("*", Fault::Delay(Duration::from_millis(50))));
    }
    let mut best = u64::MAX;
    for (from, to) in [(A, B), (B, A), (A, B), (B, A)] {
        let after = lab.cluster.nodes[from].last_event();
        lab.cluster.nodes[from].must(&["group", "move", GROUP]);
        lab.cluster.wait(to, "the group there", is_up);
        // Whoever passes the group on writes the record.
        let won = lab.event(from, after, "record-won", "move").at_ms;
        let proxy = &lab.proxies[to];
        let replaced = proxy.answers("ReplaceRoute", won);
        assert_eq!(replaced.len(), 3, "{}", lab.cluster.logs());
        let last = replaced.into_iter().max().unwrap();
        let verified = proxy.answers("DescribeRouteTables", last);
        let verified = verified.into_iter().min().expect("a look after the last change");
        println!("decision to verified switch: {} ms", verified - won);
        best = best.min(verified - won);
        lab.cluster.settle(to);
    }
    // The machine of a test is shared: the best of a few counts.
    assert!(best <= 500, "{best} ms");
}

/// The instance of a lost node is stopped before its volumes are served elsewhere; what can't be
/// stopped is an alarm and no more.
#[test]
fn a_lost_node_is_stopped_by_force_where_that_is_configured() {
    for allowed in [true, false] {
        let wanted = Wanted { tables: 1, forced: true, ..Wanted::plain(With::Vip) };
        let Some(mut lab) = Lab::up(&wanted) else { return };
        // Handed over, nobody is stopped.
        lab.cluster.nodes[A].must(&["group", "move", GROUP]);
        lab.cluster.settle(B);
        lab.cluster.nodes[B].must(&["group", "move", GROUP]);
        lab.cluster.settle(A);
        assert_eq!(lab.proxies[A].seen("StopInstances") + lab.proxies[B].seen("StopInstances"), 0);
        if !allowed {
            let denied = Fault::refuse(403, "UnauthorizedOperation", "You are not authorized.");
            lab.proxies[B].add(Rule::always("StopInstances", denied));
        }
        let after = lab.cluster.nodes[B].last_event();
        lab.cluster.nodes[A].kill();
        lab.cluster.wait(B, "the group on node b", is_up);
        let (code, words) = match allowed {
            true => ("forced-stop", "group shop: node a: its instance was stopped"),
            false => ("forced-stop-failed", "error 5: stop by force "),
        };
        lab.event(B, after, code, words);
        assert_eq!(lab.proxies[B].seen("StopInstances"), 1);
        assert!(lab.is_with(With::Vip, B));
        let fields = [("Action", "DescribeInstances"), ("InstanceId.1", &*lab.world.instances[A])];
        assert_eq!(Moto::shared().ec2(&fields).contains("<name>stopped</name>"), allowed);
    }
}
