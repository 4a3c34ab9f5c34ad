//! Taking an elastic address, giving it back and watching it, over a fake cloud.

use super::*;
use crate::act::aws::fake::{Fake, failed};
use std::time::Duration;

fn eip() -> Eip {
    Eip { allocation: "eipalloc-1".to_owned(), eni: "eni-b".to_owned() }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn of(eni: Option<&str>) -> Fake {
    let fake = Fake::default();
    fake.with(|held| held.eip = eni.map(str::to_owned));
    fake
}

fn asked(fake: &Fake) -> Vec<String> {
    fake.with(|held| held.asked.clone())
}

#[tokio::test]
async fn it_is_taken_from_whoever_has_it_and_only_once() {
    for eni in [None, Some("eni-a")] {
        let fake = of(eni);
        assert_eq!(take(&fake, &fake, &eip(), soon()).await, Ok(()));
        assert_eq!(take(&fake, &fake, &eip(), soon()).await, Ok(()));
        assert_eq!(asked(&fake), ["associate eni-b"]);
        assert_eq!(look(&fake, &eip()).await, Watched::Well);
    }
}

#[tokio::test]
async fn without_the_record_it_stays_where_it_is() {
    let fake = of(Some("eni-a"));
    fake.with(|held| held.rights.push_back(false));
    let error = take(&fake, &fake, &eip(), soon()).await.expect_err("not ours");
    assert_eq!(error.number(), 99);
    assert!(asked(&fake).is_empty());
}

#[tokio::test]
async fn a_way_that_is_cut_while_it_moves_is_waited_for() {
    let fake = of(Some("eni-a"));
    fake.with(|held| {
        held.fails_late = true;
        let late = held.changes_fail.entry("eipalloc-1".to_owned()).or_default();
        late.push_back(failed(Cause::Late));
    });
    assert_eq!(take(&fake, &fake, &eip(), soon()).await, Ok(()));
    assert_eq!(asked(&fake).len(), 1, "looked at, not repeated");
}

#[tokio::test]
async fn a_refusal_ends_at_once_with_its_reason() {
    let fake = of(Some("eni-a"));
    fake.with(|held| {
        let refused = held.changes_fail.entry("eipalloc-1".to_owned()).or_default();
        refused.push_back(failed(Cause::Refused));
    });
    let error = take(&fake, &fake, &eip(), soon()).await.expect_err("refused");
    assert_eq!(error, EipError::Call(failed(Cause::Refused)));
    assert_eq!(asked(&fake).len(), 1);
}

#[tokio::test]
async fn only_its_own_association_is_ended() {
    let fake = of(Some("eni-a"));
    assert_eq!(release(&fake, &fake, &eip(), soon()).await, Ok(()));
    assert!(asked(&fake).is_empty(), "the other node's");
    let fake = of(Some("eni-b"));
    fake.with(|held| held.rights.push_back(false));
    assert_eq!(release(&fake, &fake, &eip(), soon()).await, Ok(()));
    assert!(asked(&fake).is_empty(), "the record names the other node, which will take it");
    assert_eq!(release(&fake, &fake, &eip(), soon()).await, Ok(()));
    assert_eq!(asked(&fake), ["disassociate assoc-0"]);
    assert_eq!(fake.with(|held| held.eip.clone()), None);
    assert_eq!(release(&fake, &fake, &eip(), soon()).await, Ok(()), "already given back");
}

#[tokio::test]
async fn an_association_that_is_gone_was_given_back() {
    let fake = of(Some("eni-b"));
    fake.with(|held| {
        let gone = held.changes_fail.entry("assoc-0".to_owned()).or_default();
        gone.push_back(failed(Cause::Gone));
    });
    assert_eq!(release(&fake, &fake, &eip(), soon()).await, Ok(()));
}

#[tokio::test]
async fn a_monitor_tells_stolen_from_unknown() {
    let fake = of(Some("eni-a"));
    let Watched::Wrong(7, text) = look(&fake, &eip()).await else { panic!("stolen") };
    assert!(text.contains("is not associated with this node but with eni-a"), "{text}");
    fake.with(|held| held.looks_fail.push_back(failed(Cause::Late)));
    assert_eq!(look(&fake, &eip()).await, Watched::Unknown(failed(Cause::Late)));
}
