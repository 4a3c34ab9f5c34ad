//! Addresses as resources: started, watched and let go, over a fake cloud.

use super::*;
use crate::act::aws::cloud::{BlockSeen, CardSeen};
use crate::act::aws::fake::{Fake, failed};
use tempfile::TempDir;

/// On the interface that every host has; the address itself is put on no interface here.
fn vip() -> Spec {
    Spec::AwsVip(VipSpec {
        address: Ipv4Addr::new(10, 99, 0, 10),
        interface: "none-such".to_owned(),
        vpc: "vpc-1".to_owned(),
        eni: Some("eni-b".to_owned()),
    })
}

fn eip() -> Spec {
    let (allocation, eni) = ("eipalloc-1".to_owned(), Some("eni-b".to_owned()));
    Spec::AwsEip(EipSpec { allocation, eni, interface: None })
}

struct Lab {
    fake: Fake,
    mover: Mover,
    context: Context,
    _dir: TempDir,
}

fn lab() -> Lab {
    let fake = Fake::default();
    fake.with(|held| {
        held.routes.insert("rtb-1".to_owned(), ("eni-a".to_owned(), true));
        held.card = Some(CardSeen { vpc: "vpc-1".to_owned(), checks: false });
        held.eip = Some("eni-a".to_owned());
    });
    let dir = TempDir::new().unwrap();
    let context = Context {
        node: "shop-2".to_owned(),
        group: "shop".to_owned(),
        resource: "address".to_owned(),
        event: "start".to_owned(),
        runtime_dir: dir.path().to_owned(),
        state_dir: dir.path().to_owned(),
    };
    let mover = Mover::new(Arc::new(fake.clone()), [&vip(), &eip()]);
    Lab { fake, mover, context, _dir: dir }
}

fn soon() -> Tick {
    clock::now().after(Span::millis(5_000))
}

impl Lab {
    async fn start(&self, spec: &Spec) -> Result<(), String> {
        let ended = self.mover.start(spec, &self.fake, &self.context, soon()).await;
        ended.map_err(|failure| failure.to_string())
    }

    async fn check(&self, spec: &Spec) -> State {
        self.mover.check(spec, &self.context, soon()).await.unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.fake.with(|held| held.asked.clone())
    }
}

#[tokio::test]
async fn an_elastic_address_is_on_from_its_start_to_its_stop() {
    let lab = lab();
    assert_eq!(lab.check(&eip()).await, State::Off);
    lab.start(&eip()).await.unwrap();
    assert_eq!(lab.check(&eip()).await, State::On);
    let look = async || lab.mover.look(&eip(), &lab.context, true, soon()).await;
    assert_eq!(look().await, Found::Fine);
    lab.fake.with(|held| held.eip = Some("eni-a".to_owned()));
    let Found::Wrong(text) = look().await else { panic!("stolen") };
    assert!(text.starts_with("error 7: EIP eipalloc-1 is not associated"), "{text}");
    lab.fake.with(|held| held.eip = Some("eni-b".to_owned()));
    lab.mover.stop(&eip(), &lab.fake, &lab.context, soon()).await.unwrap();
    assert_eq!(lab.check(&eip()).await, State::Off);
    assert_eq!(lab.asked(), ["associate eni-b", "disassociate assoc-1"]);
}

#[tokio::test]
async fn what_can_not_be_given_back_is_left_to_the_next_owner() {
    let lab = lab();
    lab.start(&eip()).await.unwrap();
    lab.fake.with(|held| held.looks_fail.push_back(failed(Cause::Refused)));
    lab.mover.stop(&eip(), &lab.fake, &lab.context, soon()).await.unwrap();
    assert_eq!(lab.check(&eip()).await, State::Off);
    // And where the record names the other node, nothing is asked.
    lab.start(&eip()).await.unwrap();
    lab.fake.with(|held| held.rights.push_back(false));
    lab.mover.stop(&eip(), &lab.fake, &lab.context, soon()).await.unwrap();
    assert_eq!(lab.asked(), ["associate eni-b"]);
}

#[tokio::test]
async fn a_start_names_resource_node_number_cause_and_hint() {
    let lab = lab();
    lab.fake.with(|held| {
        let refused = held.changes_fail.entry("eipalloc-1".to_owned()).or_default();
        let text = "associate eipalloc-1: denied (AccessDenied); allow it".to_owned();
        refused.push_back(Failed { cause: Cause::Refused, text });
    });
    let told = lab.start(&eip()).await.unwrap_err();
    let wanted = "address: take EIP eipalloc-1 on node shop-2: error 5: associate eipalloc-1: \
                  denied (AccessDenied); allow it";
    assert_eq!(told, wanted);
    lab.fake.with(|held| {
        held.blocks = vec![BlockSeen { text: "10.99.0.0/16".to_owned(), holds: true }];
    });
    let told = lab.start(&vip()).await.unwrap_err();
    assert!(told.contains("error 7: VIP 10.99.0.10 belongs to a VPC subnet"), "{told}");
    assert!(lab.asked().len() == 1, "no route was touched");
}

#[tokio::test]
async fn routes_are_left_alone_while_the_address_can_not_be_put_on_its_interface() {
    let lab = lab();
    let told = lab.start(&vip()).await.unwrap_err();
    assert!(told.contains("there is no interface none-such"), "{told}");
    assert!(lab.asked().is_empty());
    // What can't be checked is no reason to stay down: it comes as far as before.
    lab.fake.with(|held| held.looks_fail.push_back(failed(Cause::Passing)));
    assert!(lab.start(&vip()).await.unwrap_err().contains("none-such"));
}

#[tokio::test]
async fn a_vip_that_left_its_interface_is_wrong_whatever_aws_says() {
    let lab = lab();
    lab.fake.with(|held| held.looks_fail.push_back(failed(Cause::Late)));
    let found = lab.mover.look(&vip(), &lab.context, true, soon()).await;
    let Found::Wrong(text) = found else { panic!("{found:?}") };
    assert!(text.contains("VIP 10.99.0.10 is not on none-such"), "{text}");
}

#[tokio::test]
async fn monitors_of_one_vpc_share_a_look() {
    let lab = lab();
    let one = |address| Vip { address, vpc: "vpc-1".to_owned(), eni: "eni-b".to_owned() };
    let address = Ipv4Addr::new(10, 99, 0, 10);
    let rounds = &lab.mover.rounds;
    let (own, other) = (one(address), one(Ipv4Addr::new(10, 99, 0, 11)));
    let (first, second) =
        tokio::join!(rounds.look(&lab.fake, &own), rounds.look(&lab.fake, &other));
    assert!(matches!(first, Watched::Wrong(8, _)), "{first:?}");
    assert!(matches!(second, Watched::Wrong(8, _)), "{second:?}");
    assert_eq!(lab.fake.with(|held| held.looks), 1);
    tokio::time::sleep(SHARED).await;
    rounds.look(&lab.fake, &one(address)).await;
    assert_eq!(lab.fake.with(|held| held.looks), 2);
}

#[tokio::test]
async fn no_answer_is_a_warning_or_an_error_as_configured_and_a_zone_has_its_words() {
    let lab = lab();
    let look = |warns| lab.mover.look_at_zone(None, &lab.context, warns, soon());
    assert_eq!(look(true).await, Found::Fine);
    lab.fake.with(|held| held.looks_fail.extend([failed(Cause::Late), failed(Cause::Passing)]));
    assert_eq!(look(true).await, Found::NoAnswer("warning 106: Late".to_owned()));
    assert_eq!(look(false).await, Found::NoAnswer("error 5: Passing".to_owned()));
    lab.fake.with(|held| held.zone = Some("impaired".to_owned()));
    let found = look(true).await;
    assert!(matches!(&found, Found::Worth(text) if text.starts_with("warning 105: ")), "{found:?}");
    lab.fake.with(|held| held.zone = Some("unavailable".to_owned()));
    let found = look(true).await;
    assert!(matches!(&found, Found::Wrong(text) if text.contains("zone-b is unavailable")));
}

#[tokio::test]
async fn a_forced_stop_waits_until_the_instance_is_down_or_its_time_is_over() {
    let lab = lab();
    lab.fake.with(|held| held.stops_after = 2);
    lab.mover.stop_instance("i-1", soon()).await.unwrap();
    assert_eq!(lab.asked(), ["stop i-1"]);
    lab.fake.with(|held| held.stops_after = 1_000);
    let short = clock::now().after(Span::millis(700));
    let told = lab.mover.stop_instance("i-1", short).await.unwrap_err();
    assert!(told.starts_with("error 6: stop instance i-1: no answer in time"), "{told}");
}

#[tokio::test]
async fn a_late_call_of_the_former_owner_is_found_and_taken_back() {
    let lab = lab();
    lab.start(&eip()).await.unwrap();
    lab.fake.with(|held| held.eip = Some("eni-a".to_owned()));
    lab.mover.again(&eip(), &lab.fake, &lab.context).await;
    assert_eq!(lab.fake.with(|held| held.eip.clone()).as_deref(), Some("eni-b"));
    // Not by a node that the record does not name any more.
    lab.fake.with(|held| {
        held.eip = Some("eni-a".to_owned());
        held.rights.push_back(false);
    });
    lab.mover.again(&eip(), &lab.fake, &lab.context).await;
    assert_eq!(lab.fake.with(|held| held.eip.clone()).as_deref(), Some("eni-a"));
}
