//! Taking a VIP, and watching it, over a fake cloud.

use super::*;
use crate::act::aws::cloud::{BlockSeen, Cause};
use crate::act::aws::fake::{Fake, failed};
use std::time::Duration;

fn vip() -> Vip {
    Vip { address: Ipv4Addr::new(10, 99, 0, 10), vpc: "vpc-1".to_owned(), eni: "eni-b".to_owned() }
}

/// Three tables, whose routes lead to node a.
fn cloud() -> Fake {
    let fake = Fake::default();
    fake.with(|held| {
        for table in ["rtb-1", "rtb-2", "rtb-3"] {
            held.routes.insert(table.to_owned(), ("eni-a".to_owned(), true));
        }
        held.card = Some(CardSeen { vpc: "vpc-1".to_owned(), checks: false });
    });
    fake
}

async fn taken(fake: &Fake) -> Result<Vec<String>, VipError> {
    taken_within(fake, Duration::from_secs(10)).await
}

async fn taken_within(fake: &Fake, limit: Duration) -> Result<Vec<String>, VipError> {
    let cloud: Arc<dyn Cloud> = Arc::new(fake.clone());
    take(&cloud, fake, &vip(), Instant::now() + limit).await
}

fn asked(fake: &Fake) -> Vec<String> {
    fake.with(|held| held.asked.clone())
}

#[tokio::test]
async fn every_route_leads_here_and_a_second_time_nothing_is_asked() {
    let fake = cloud();
    assert_eq!(taken(&fake).await.map(|tables| tables.len()), Ok(3));
    assert_eq!(asked(&fake).len(), 3);
    assert_eq!(look(&fake, &vip()).await, Watched::Well);
    assert!(taken(&fake).await.is_ok());
    assert_eq!(asked(&fake).len(), 3);
}

#[tokio::test]
async fn only_what_leads_elsewhere_or_nowhere_is_replaced() {
    let fake = cloud();
    fake.with(|held| {
        held.routes.insert("rtb-1".to_owned(), ("eni-b".to_owned(), true));
        held.routes.insert("rtb-2".to_owned(), ("eni-b".to_owned(), false));
    });
    assert!(taken(&fake).await.is_ok());
    assert_eq!(asked(&fake), ["rtb-2 eni-b", "rtb-3 eni-b"]);
}

#[tokio::test]
async fn without_the_record_nothing_is_changed() {
    let fake = cloud();
    fake.with(|held| held.rights.push_back(false));
    assert_eq!(taken(&fake).await, Err(VipError::NotOurs { vip: vip().address }));
    assert!(asked(&fake).is_empty());
    // Lost between two rounds: the second is not sent.
    fake.with(|held| {
        held.rights.extend([true, false]);
        held.changes_fail.entry("rtb-2".to_owned()).or_default().push_back(failed(Cause::Late));
    });
    assert_eq!(taken(&fake).await, Err(VipError::NotOurs { vip: vip().address }));
    assert_eq!(asked(&fake).len(), 3);
}

#[tokio::test]
async fn throttled_looks_and_changes_are_repeated() {
    let fake = cloud();
    fake.with(|held| {
        held.looks_fail.extend([failed(Cause::Passing), failed(Cause::Late)]);
        let passing = held.changes_fail.entry("rtb-2".to_owned()).or_default();
        passing.extend([failed(Cause::Passing), failed(Cause::Passing)]);
    });
    assert!(taken(&fake).await.is_ok());
    assert_eq!(asked(&fake).len(), 5, "the others once, that one three times");
}

#[tokio::test]
async fn a_change_without_an_answer_is_looked_at_before_it_is_repeated() {
    let fake = cloud();
    fake.with(|held| {
        held.fails_late = true;
        held.changes_fail.entry("rtb-1".to_owned()).or_default().push_back(failed(Cause::Late));
    });
    assert!(taken(&fake).await.is_ok());
    assert_eq!(asked(&fake).len(), 3);
}

#[tokio::test]
async fn one_table_that_is_refused_does_not_keep_the_others() {
    let fake = cloud();
    fake.with(|held| {
        let refused = held.changes_fail.entry("rtb-2".to_owned()).or_default();
        refused.push_back(failed(Cause::Refused));
    });
    let error = taken(&fake).await.expect_err("one table is refused");
    let tables = vec![("rtb-2".to_owned(), Some(failed(Cause::Refused)))];
    assert_eq!(error, VipError::Routes { vip: vip().address, tables });
    assert_eq!(error.number(), 5);
    assert_eq!(asked(&fake).len(), 3, "what is refused is not asked again");
    assert!(matches!(look(&fake, &vip()).await, Watched::Wrong(8, _)));
}

#[tokio::test]
async fn what_never_passes_ends_with_the_deadline_and_its_reason() {
    let fake = cloud();
    fake.with(|held| held.looks_fail.extend(vec![failed(Cause::Late); 100]));
    let limit = Duration::from_millis(400);
    let error = taken_within(&fake, limit).await.expect_err("no answer");
    assert_eq!((error.number(), error), (6, VipError::Call(failed(Cause::Late))));
}

#[tokio::test]
async fn no_route_is_a_mistake_of_the_set_up() {
    let fake = Fake::default();
    let error = taken(&fake).await.expect_err("no route");
    assert!(error.to_string().contains("make one in each table"), "{error}");
    assert!(asked(&fake).is_empty(), "and none is made");
}

#[tokio::test]
async fn an_address_of_the_vpc_is_refused() {
    let fake = cloud();
    fake.with(|held| {
        let block = |text: &str, holds| BlockSeen { text: text.to_owned(), holds };
        held.blocks = vec![block("10.0.0.0/16", false), block("10.99.0.0/16", true)];
    });
    let error = check(&fake, &vip()).await.expect_err("inside");
    assert_eq!(error.number(), 7);
    assert!(error.to_string().contains("VIP 10.99.0.10 belongs to a VPC subnet (10.99.0.0/16)"));
}

#[tokio::test]
async fn the_interface_must_be_of_the_vpc_and_should_pass_what_is_not_its_own() {
    let fake = cloud();
    assert_eq!(check(&fake, &vip()).await, Ok(None));
    fake.with(|held| held.card = Some(CardSeen { vpc: "vpc-1".to_owned(), checks: true }));
    let warning = check(&fake, &vip()).await.expect("a warning");
    assert!(warning.is_some_and(|text| text.contains("source/dest check is on for eni-b")));
    fake.with(|held| held.card = Some(CardSeen { vpc: "vpc-2".to_owned(), checks: false }));
    assert!(matches!(check(&fake, &vip()).await, Err(VipError::OtherVpc { .. })));
    fake.with(|held| held.card = None);
    assert_eq!(check(&fake, &vip()).await, Err(VipError::Call(failed(Cause::Missing))));
}

#[tokio::test]
async fn a_monitor_tells_changed_from_unknown() {
    let fake = cloud();
    let Watched::Wrong(8, text) = look(&fake, &vip()).await else { panic!("routes to a") };
    assert!(text.contains("rtb-1 to eni-a") && text.contains("another cluster"), "{text}");
    fake.with(|held| held.looks_fail.push_back(failed(Cause::Passing)));
    assert_eq!(look(&fake, &vip()).await, Watched::Unknown(failed(Cause::Passing)));
    fake.with(|held| held.looks_fail.push_back(failed(Cause::Refused)));
    assert_eq!(look(&fake, &vip()).await, Watched::Unknown(failed(Cause::Refused)));
    fake.with(|held| held.looks_fail.push_back(failed(Cause::Missing)));
    assert!(matches!(look(&fake, &vip()).await, Watched::Wrong(5, _)));
}
