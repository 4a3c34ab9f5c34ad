//! Each way in which a call fails that is not about what it names: what it is sorted as, whether it
//! was repeated, and whether it may still land.

use crate::{open, settings};
use harness::aws::{End, Fault, Moto, Proxy, Rule, World};
use lockstep_ctl::act::aws::leaf::{Aws, Deadlines, Error, Kind, Permission, Verdict, ZoneState};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Limit of calls that are to run into it.
const SHORT: Duration = Duration::from_millis(700);
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_millis(900);
const THROTTLED: &str = "RequestLimitExceeded";

struct Lab {
    proxy: Proxy,
    world: World,
    vip: Ipv4Addr,
}

fn lab() -> Lab {
    let moto = Moto::shared();
    let world = World::build(moto, 1);
    let vip = world.vip.parse().unwrap();
    Lab { proxy: Proxy::open(moto.address()), world, vip }
}

impl Lab {
    async fn aws(&self) -> Aws {
        open(&self.proxy.endpoint()).await
    }

    /// A client of little patience.
    async fn hasty(&self) -> Aws {
        let deadlines = Deadlines { connect: SHORT, attempt: SHORT, read: SHORT, write: SHORT };
        let settings = settings(&self.proxy.endpoint());
        Aws::open(lockstep_ctl::act::aws::leaf::Settings { deadlines, ..settings }).await.unwrap()
    }

    /// Lets the VIP's route lead to node b.
    async fn replace(&self, aws: &Aws) -> Result<(), Error> {
        aws.replace_route(&self.world.tables[0], self.vip, &self.world.enis[1]).await
    }

    fn leads_to(&self, node: usize) -> bool {
        self.world.targets(Moto::shared()) == [self.world.enis[node].clone()]
    }
}

#[tokio::test]
async fn a_read_that_is_throttled_twice_succeeds_and_for_ever_is_unknown() {
    let lab = lab();
    let aws = lab.aws().await;
    let throttled = || Fault::refuse(503, THROTTLED, "Request limit exceeded.");
    lab.proxy.add(Rule::first(2, "DescribeVpcs", throttled()));
    aws.vpc(&lab.world.vpc).await.unwrap();
    assert_eq!(lab.proxy.seen("DescribeVpcs"), 3);
    lab.proxy.add(Rule::always("DescribeAddresses", throttled()));
    let failed = aws.addresses(&[&lab.world.allocation]).await.unwrap_err();
    assert_eq!((failed.kind, failed.verdict()), (Kind::Throttled, Verdict::Unknown));
    assert!(failed.may_pass());
    assert_eq!(lab.proxy.seen("DescribeAddresses"), 3);
}

#[tokio::test]
async fn a_write_that_is_throttled_is_sent_once_and_had_no_effect() {
    let lab = lab();
    let aws = lab.aws().await;
    lab.proxy.add(Rule::always("ReplaceRoute", Fault::refuse(503, THROTTLED, "Too many.")));
    let failed = lab.replace(&aws).await.unwrap_err();
    assert_eq!(failed.kind, Kind::Throttled);
    assert!(!failed.outcome_is_unknown());
    assert_eq!(lab.proxy.seen("ReplaceRoute"), 1);
    assert!(lab.leads_to(0));
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_within_its_deadline() {
    let lab = lab();
    let aws = lab.hasty().await;
    let silence = Fault::Lose { applied: true, how: End::Silence };
    lab.proxy.add(Rule::first(1, "ReplaceRoute", silence));
    let begun = Instant::now();
    let failed = lab.replace(&aws).await.unwrap_err();
    assert!(begun.elapsed() < SHORT + SLACK, "{:?}", begun.elapsed());
    assert_eq!((failed.kind, failed.verdict()), (Kind::Timeout, Verdict::Unknown));
    assert!(failed.outcome_is_unknown());
    assert_eq!(lab.proxy.seen("ReplaceRoute"), 1, "never twice by itself");
    assert!(lab.leads_to(1), "and it did take effect");
}

#[tokio::test]
async fn a_write_whose_connection_breaks_is_unknown_and_sent_once() {
    for how in [End::Reset, End::Close] {
        let lab = lab();
        let aws = lab.aws().await;
        lab.proxy.add(Rule::always("ReplaceRoute", Fault::Lose { applied: true, how }));
        let failed = lab.replace(&aws).await.unwrap_err();
        assert_eq!(failed.kind, Kind::Unreachable, "{how:?}: {failed:?}");
        assert!(failed.outcome_is_unknown());
        assert_eq!(lab.proxy.seen("ReplaceRoute"), 1, "{how:?}");
        assert!(lab.leads_to(1));
    }
}

#[tokio::test]
async fn a_late_write_of_the_old_owner_lands_after_the_new_one_and_is_seen() {
    let lab = lab();
    let (old, new) = (lab.hasty().await, lab.aws().await);
    lab.proxy.add(Rule::first(1, "ReplaceRoute", Fault::Hold));
    let (table, vip) = (&lab.world.tables[0], lab.vip);
    let failed = old.replace_route(table, vip, &lab.world.enis[0]).await.unwrap_err();
    assert!(failed.outcome_is_unknown());
    lab.replace(&new).await.unwrap();
    assert!(lab.leads_to(1));
    lab.proxy.release();
    // EC2 compares nothing: only looking again shows it.
    let found = new.routes(&lab.world.vpc, &[vip]).await.unwrap();
    assert!(found[0].routes[0].leads_to(&lab.world.enis[0]));
    lab.replace(&new).await.unwrap();
    assert!(lab.leads_to(1));
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let aws = open(&nowhere).await;
    let vip = Ipv4Addr::new(10, 99, 0, 10);
    let failed = aws.replace_route("rtb-1", vip, "eni-1").await.unwrap_err();
    assert_eq!(failed.kind, Kind::Unreachable, "{failed:?}");
    assert!(!failed.outcome_is_unknown(), "{failed:?}");
    assert!(failed.to_string().contains("route to the regional endpoint"), "{failed}");
}

#[tokio::test]
async fn an_answer_that_is_none_of_aws_is_unknown() {
    let lab = lab();
    let aws = lab.aws().await;
    let page = |status| Fault::Page { status, body: "<html>Bad Gateway</html>".to_owned() };
    lab.proxy.add(Rule::always("DescribeVpcs", page(500)));
    let failed = aws.vpc(&lab.world.vpc).await.unwrap_err();
    assert_eq!((failed.kind, failed.verdict()), (Kind::Server { status: 500 }, Verdict::Unknown));
    assert!(failed.to_string().contains("HTTP 500"), "{failed}");
    lab.proxy.add(Rule::always("ReplaceRoute", page(502)));
    let failed = lab.replace(&aws).await.unwrap_err();
    assert!(failed.outcome_is_unknown(), "{failed:?}");
    lab.proxy.add(Rule::always("DescribeAddresses", page(200)));
    let failed = aws.addresses(&[&lab.world.allocation]).await.unwrap_err();
    assert_eq!(failed.verdict(), Verdict::Unknown, "{failed:?}");
}

#[tokio::test]
async fn refusals_name_their_cause_and_the_way_out() {
    let cases = [
        ("UnauthorizedOperation", "You are not authorized.", 403, Kind::Denied, "iam-policy"),
        ("AccessDenied", "You are not authorized.", 403, Kind::Denied, "iam-policy"),
        ("AuthFailure", "AWS was not able to validate.", 401, Kind::Credentials, "access key"),
        ("RequestExpired", "Request has expired.", 400, Kind::ClockSkew, "clock"),
    ];
    let lab = lab();
    for (code, message, status, kind, hint) in cases {
        let aws = lab.aws().await;
        let before = lab.proxy.seen("ReplaceRoute");
        lab.proxy.clear();
        lab.proxy.add(Rule::always("ReplaceRoute", Fault::refuse(status, code, message)));
        let failed = lab.replace(&aws).await.unwrap_err();
        assert_eq!(failed.kind, kind, "{failed:?}");
        assert_eq!(failed.code.as_deref(), Some(code));
        assert_eq!(failed.verdict(), Verdict::Unknown);
        assert!(!failed.outcome_is_unknown());
        let told = failed.to_string();
        assert!([message, code, hint].iter().all(|part| told.contains(part)), "{told}");
        assert_eq!(lab.proxy.seen("ReplaceRoute"), before + 1);
    }
    assert!(lab.leads_to(0));
}

#[tokio::test]
async fn the_state_of_a_zone_is_told() {
    let lab = lab();
    let aws = lab.aws().await;
    let zone = lab.world.zones[0].as_str();
    assert_eq!(aws.zones(&[zone]).await.unwrap()[0].state, ZoneState::Available);
    for (word, state) in
        [("impaired", ZoneState::Impaired), ("unavailable", ZoneState::Unavailable)]
    {
        let to = format!("<zoneState>{word}</zoneState>");
        let from = "<zoneState>available</zoneState>".to_owned();
        lab.proxy.clear();
        lab.proxy.add(Rule::always("DescribeAvailabilityZones", Fault::Rewrite { from, to }));
        assert_eq!(aws.zones(&[zone]).await.unwrap()[0].state, state);
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_is_allowed() {
    let lab = lab();
    let aws = lab.aws().await;
    let (table, eni) = (lab.world.tables[0].as_str(), lab.world.enis[1].as_str());
    let what = Permission::ReplaceRoute { table, address: lab.vip, eni };
    // The imitation would carry it out, which AWS does not.
    let would = "Request would have succeeded, but DryRun flag is set.";
    lab.proxy.add(Rule::first(1, "ReplaceRoute", Fault::refuse(412, "DryRunOperation", would)));
    aws.may(what).await.unwrap();
    let denied = Fault::refuse(403, "UnauthorizedOperation", "You are not authorized.");
    lab.proxy.add(Rule::first(1, "ReplaceRoute", denied));
    let failed = aws.may(what).await.unwrap_err();
    assert_eq!(failed.kind, Kind::Denied);
    assert!(failed.to_string().contains("ec2:ReplaceRoute"), "{failed}");
    // Where the imitation has dry runs, it is asked.
    aws.may(Permission::StopInstances { instance: &lab.world.instances[1] }).await.unwrap();
    let down = aws.instances(&[&lab.world.instances[1]]).await.unwrap()[0].state.is_down();
    assert!(!down, "asked, not done");
    assert!(lab.leads_to(0));
}
