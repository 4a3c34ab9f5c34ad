//! VIP and elastic address over the calls of AWS: taken, stolen, repaired, and left alone.

use crate::{open, settings};
use harness::aws::{Fault, Moto, Proxy, Rule, World};
use lockstep_ctl::act::aws::cloud::{Cause, Cloud, LATE, Right, Watched};
use lockstep_ctl::act::aws::eip::{self, Eip};
use lockstep_ctl::act::aws::leaf::{Aws, Settings};
use lockstep_ctl::act::aws::vip::{self, Vip, VipError};
use lockstep_ctl::act::aws::{Real, zone};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The record names this node, or does not.
struct Owns(bool);

impl Right for Owns {
    fn holds(&self) -> Pin<Box<dyn Future<Output = bool> + Send + 'static>> {
        Box::pin(ready(self.0))
    }
}

struct Lab {
    proxy: Proxy,
    world: World,
    cloud: Arc<dyn Cloud>,
}

async fn lab(tables: usize) -> Lab {
    let moto = Moto::shared();
    let world = World::build(moto, tables);
    let proxy = Proxy::open(moto.address());
    let cloud: Arc<dyn Cloud> = Arc::new(Real(open(&proxy.endpoint()).await));
    Lab { proxy, world, cloud }
}

impl Lab {
    fn vip(&self, node: usize) -> Vip {
        Vip {
            address: self.world.vip.parse().unwrap(),
            vpc: self.world.vpc.clone(),
            eni: self.world.enis[node].clone(),
        }
    }

    fn eip(&self, node: usize) -> Eip {
        Eip { allocation: self.world.allocation.clone(), eni: self.world.enis[node].clone() }
    }

    async fn take(&self, node: usize) -> Result<Vec<String>, VipError> {
        vip::take(&self.cloud, &Owns(true), &self.vip(node), soon()).await
    }

    fn leads_to(&self, node: usize) -> bool {
        let all = self.world.targets(Moto::shared());
        all.iter().all(|eni| *eni == self.world.enis[node])
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test]
async fn three_tables_are_switched_and_verified_within_half_a_second() {
    let lab = lab(3).await;
    lab.take(0).await.unwrap();
    let latency = Duration::from_millis(50);
    lab.proxy.add(Rule::always("*", Fault::Delay(latency)));
    // The machine of a test is shared: the best of some counts.
    let (limit, mut best, mut rounds) = (Duration::from_millis(500), Duration::MAX, 0_u32);
    while rounds < 4 || (best > limit && rounds < 20) {
        let to = usize::from(rounds % 2 == 0);
        let begun = Instant::now();
        assert_eq!(lab.take(to).await.unwrap().len(), 3);
        best = best.min(begun.elapsed());
        assert!(lab.leads_to(to));
        rounds += 1;
    }
    assert!(best >= 3 * latency, "look, replace, look: {best:?}");
    assert!(best <= limit, "{best:?} after {rounds} rounds");
    assert_eq!(lab.proxy.seen("ReplaceRoute"), 3 * rounds);
    assert_eq!(lab.proxy.seen("CreateRoute"), 0);
}

#[tokio::test]
async fn a_vip_that_was_led_elsewhere_is_seen_and_taken_back() {
    let lab = lab(2).await;
    let cloud = lab.cloud.as_ref();
    lab.take(1).await.unwrap();
    assert_eq!(vip::look(cloud, &lab.vip(1)).await, Watched::Well);
    lab.take(0).await.unwrap();
    let Watched::Wrong(8, text) = vip::look(cloud, &lab.vip(1)).await else { panic!("stolen") };
    assert!(text.contains(&lab.world.enis[0]) && text.contains("another cluster"), "{text}");
    lab.take(1).await.unwrap();
    assert!(lab.leads_to(1));
}

#[tokio::test]
async fn throttling_and_lost_answers_end_in_the_same_routes() {
    let lab = lab(3).await;
    let throttled = || Fault::refuse(503, "RequestLimitExceeded", "Request limit exceeded.");
    lab.proxy.add(Rule::first(2, "DescribeRouteTables", throttled()));
    lab.proxy.add(Rule::first(2, "ReplaceRoute", throttled()));
    let lost = Fault::Lose { applied: true, how: harness::aws::End::Reset };
    lab.proxy.add(Rule::first(1, "ReplaceRoute", lost));
    lab.take(1).await.unwrap();
    assert!(lab.leads_to(1));
    assert_eq!(lab.proxy.seen("ReplaceRoute"), 5, "the lost one was seen to be done");
}

#[tokio::test]
async fn whoever_does_not_own_the_group_touches_nothing() {
    let lab = lab(1).await;
    let refused = vip::take(&lab.cloud, &Owns(false), &lab.vip(1), soon()).await;
    assert!(matches!(refused, Err(VipError::NotOurs { .. })), "{refused:?}");
    let cloud = lab.cloud.as_ref();
    eip::take(cloud, &Owns(true), &lab.eip(0), soon()).await.unwrap();
    assert!(eip::take(cloud, &Owns(false), &lab.eip(1), soon()).await.is_err());
    // An old node that wakes gives back only what it has.
    eip::release(cloud, &Owns(true), &lab.eip(1), soon()).await.unwrap();
    assert_eq!(eip::look(cloud, &lab.eip(0)).await, Watched::Well);
    assert!(lab.leads_to(0));
    let changes = ["ReplaceRoute", "DisassociateAddress"];
    assert!(changes.iter().all(|action| lab.proxy.seen(action) == 0));
}

#[tokio::test]
async fn an_elastic_address_moves_and_what_was_stolen_is_taken_back() {
    let lab = lab(1).await;
    let cloud = lab.cloud.as_ref();
    for node in [0, 1] {
        eip::take(cloud, &Owns(true), &lab.eip(node), soon()).await.unwrap();
        assert_eq!(eip::look(cloud, &lab.eip(node)).await, Watched::Well);
    }
    let Watched::Wrong(7, text) = eip::look(cloud, &lab.eip(0)).await else { panic!("stolen") };
    assert!(text.contains(&lab.world.enis[1]), "{text}");
    eip::take(cloud, &Owns(true), &lab.eip(0), soon()).await.unwrap();
    eip::release(cloud, &Owns(true), &lab.eip(0), soon()).await.unwrap();
    let Watched::Wrong(7, text) = eip::look(cloud, &lab.eip(0)).await else { panic!("nobody's") };
    assert!(text.contains("is not associated with this node;"), "{text}");
    eip::release(cloud, &Owns(true), &lab.eip(0), soon()).await.unwrap();
}

#[tokio::test]
async fn a_late_change_of_the_former_owner_is_found_by_looking_once_more() {
    let lab = lab(1).await;
    let proxy = &lab.proxy;
    proxy.add(Rule::first(1, "ReplaceRoute", Fault::Hold));
    let mut hasty = settings(&proxy.endpoint());
    hasty.deadlines.write = Duration::from_millis(300);
    let former = Aws::open(Settings { ..hasty }).await.unwrap();
    let vip = lab.vip(1);
    // The former owner, b, has sent its change when the record passes to a.
    let sent = former.replace_route(&lab.world.tables[0], vip.address, &vip.eni).await;
    assert!(sent.unwrap_err().outcome_is_unknown());
    lab.take(0).await.unwrap();
    proxy.release();
    assert!(lab.leads_to(1), "the late one has landed");
    assert!(LATE >= Duration::from_secs(2));
    assert!(matches!(vip::look(lab.cloud.as_ref(), &lab.vip(0)).await, Watched::Wrong(8, _)));
    lab.take(0).await.unwrap();
    assert!(lab.leads_to(0));
}

#[tokio::test]
async fn mistakes_of_the_set_up_are_named_with_their_number() {
    let lab = lab(1).await;
    let cloud = lab.cloud.as_ref();
    let good = lab.vip(0);
    let warning = vip::check(cloud, &good).await.unwrap();
    assert!(warning.unwrap().contains("source/dest check is on"));
    // One in each block of the VPC, the secondary one too.
    for inside in ["10.0.7.7", "10.50.7.7"] {
        let bad = Vip { address: inside.parse().unwrap(), ..good.clone() };
        let error = vip::check(cloud, &bad).await.unwrap_err();
        assert_eq!(error.number(), 7);
        assert!(error.to_string().contains("belongs to a VPC subnet"), "{error}");
    }
    let no_vpc = Vip { vpc: "vpc-00000000".to_owned(), ..good.clone() };
    let no_eni = Vip { eni: "eni-00000000".to_owned(), ..good.clone() };
    for (bad, part) in [(&no_vpc, "vpc-00000000"), (&no_eni, "eni-00000000")] {
        let error = vip::check(cloud, bad).await.unwrap_err();
        assert_eq!(error.number(), 5);
        assert!(matches!(&error, VipError::Call(failed) if failed.cause == Cause::Missing));
        assert!(error.to_string().contains(part), "{error}");
    }
    let no_route = Vip { address: "10.98.0.1".parse().unwrap(), ..good };
    let error = vip::take(&lab.cloud, &Owns(true), &no_route, soon()).await.unwrap_err();
    assert!(matches!(error, VipError::NoRoute { .. }), "{error}");
    let lost = Eip { allocation: "eipalloc-00000000".to_owned(), ..lab.eip(0) };
    let error = eip::take(cloud, &Owns(true), &lost, soon()).await.unwrap_err();
    assert_eq!(error.number(), 5);
    assert!(error.to_string().contains("eipalloc-00000000"), "{error}");
}

#[tokio::test]
async fn no_answer_is_six_and_not_a_reason_to_act() {
    let lab = lab(1).await;
    let mut hasty = settings(&lab.proxy.endpoint());
    let short = Duration::from_millis(300);
    (hasty.deadlines.attempt, hasty.deadlines.read) = (short, short);
    let cloud: Arc<dyn Cloud> = Arc::new(Real(Aws::open(hasty).await.unwrap()));
    lab.proxy.pause(true);
    let seen = vip::look(cloud.as_ref(), &lab.vip(0)).await;
    lab.proxy.pause(false);
    let Watched::Unknown(failed) = seen else { panic!("{seen:?}") };
    assert_eq!((failed.number(), failed.cause), (6, Cause::Late));
    assert!(failed.to_string().contains("NAT or route to the regional endpoint"), "{failed}");
    assert_eq!(zone::judge("eu-central-1a", "available", &[]), Watched::Well);
}
