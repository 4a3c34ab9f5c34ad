//! What somebody takes away by hand is taken back by the owner, by way of its monitor.

use crate::cluster::{Lab, Wanted, With, monitor};
use harness::aws::Moto;
use harness::cluster::{A, is_up};
use std::time::Duration;

/// Interval × (retries + 1) of the tests' monitors.
const NOTICED: Duration = Duration::from_secs(2);
/// For the restart of what depends on the address, on a machine that is busy.
const REPAIRED: Duration = Duration::from_secs(4);

fn repaired(lab: &Lab, with: With, what: &str) {
    let took = lab.wait(what, |lab| lab.is_with(with, A));
    println!("{what}: {took:.1?}");
    assert!(took <= NOTICED + REPAIRED, "{what}: {took:?}\n{}", lab.cluster.logs());
    lab.cluster.wait(A, "the group to be whole again", is_up);
    lab.monitor(A, "cloud", "fine", "");
}

#[test]
fn a_vip_that_was_led_away_or_removed_comes_back() {
    let own = monitor(With::Vip, "");
    let wanted = Wanted { more: &own, ..Wanted::plain(With::Vip) };
    let Some(lab) = Lab::up(&wanted) else { return };
    let after = lab.cluster.nodes[A].last_event();
    Moto::shared().ec2(&[
        ("Action", "ReplaceRoute"),
        ("RouteTableId", &lab.world.tables[1]),
        ("DestinationCidrBlock", &format!("{}/32", lab.world.vip)),
        ("NetworkInterfaceId", &lab.world.enis[1]),
    ]);
    assert!(!lab.leads_to(A));
    repaired(&lab, With::Vip, "a route that was changed by hand leads back");
    let words = format!("error 8: routing for VIP {} was changed: ", lab.world.vip);
    lab.event(A, after, "monitor-health", &words);
    assert_eq!(lab.changes(A), 1, "that route alone");
    lab.cluster.nodes[A].drop_address(&lab.world.vip);
    assert!(!lab.is_with(With::Vip, A));
    repaired(&lab, With::Vip, "a VIP that was removed is on its interface again");
    assert_eq!(lab.changes(A), 1, "no route was touched");
    lab.cluster.judge_turns("app", &[A]);
}

#[test]
fn an_elastic_address_that_was_stolen_comes_back() {
    let own = monitor(With::Eip, "");
    let wanted = Wanted { more: &own, ..Wanted::plain(With::Eip) };
    let Some(lab) = Lab::up(&wanted) else { return };
    let after = lab.cluster.nodes[A].last_event();
    Moto::shared().ec2(&[
        ("Action", "AssociateAddress"),
        ("AllocationId", &lab.world.allocation),
        ("NetworkInterfaceId", &lab.world.enis[1]),
        ("AllowReassociation", "true"),
    ]);
    assert!(!lab.is_with(With::Eip, A));
    repaired(&lab, With::Eip, "an address that was stolen is back");
    lab.event(A, after, "monitor-health", "is not associated with this node but with eni-");
    lab.cluster.judge_turns("app", &[A]);
}
