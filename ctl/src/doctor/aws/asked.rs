//! What instance metadata, EC2 and DynamoDB say. Always: one thing that can't be asked does not
//! keep the others.

use super::routes;
use crate::act::aws::leaf::{
    Aws, Clocks, Error, Interface, Kind, Metadata, Own, Permission, Settings, Which, ZoneState,
};
use crate::act::aws::moves::hardware;
use crate::act::aws::settings;
use crate::act::probe::spec::Spec as Probe;
use crate::act::resource::spec::{EipSpec, Spec as Resource, VipSpec};
use crate::config::cluster::{ArbiterSpec, NodeView};
use crate::doctor::{Around, Checks};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// AWS refuses what is signed so many seconds from its own time.
const SKEW_REFUSED: u64 = 300;
/// Seconds that two clocks may differ without a word.
const SKEW_FINE: u64 = 30;

/// The next move after most refusals.
const RIGHTS: &str = "compare the role of the instance with `lockstep aws iam-policy`";

/// What is known so far.
pub(super) struct Known<'a> {
    pub aws: &'a Aws,
    /// What the instance says of itself.
    pub own: Option<&'a Own>,
}

pub(super) async fn look(checks: &mut Checks, around: &Around<'_>) {
    let settings = settings(&around.own.aws);
    let own = metadata(checks, &settings).await;
    let aws = match Aws::open(settings).await {
        Ok(aws) => aws,
        Err(error) => return unopened(checks, &error),
    };
    opened(checks, &aws, own.as_ref());
    clock(checks, aws.clocks().await);
    let known = Known { aws: &aws, own: own.as_ref() };
    let (mut cards, mut vips) = (BTreeSet::new(), Vec::new());
    for (mine, theirs) in around.own.groups.iter().zip(&around.peer.groups) {
        let names = mine.settings.resources.iter().map(|resource| &resource.name);
        for ((name, own), peer) in names.zip(&mine.specs).zip(&theirs.specs) {
            let what = format!("{}/{name}", mine.settings.name);
            match (own, peer) {
                (Resource::AwsVip(own), Resource::AwsVip(peer)) => {
                    let enis = ends_of_vip(checks, &known, &what, own, peer);
                    routes::look(checks, &known, &what, own, &enis).await;
                    vips.push((own.vpc.clone(), enis));
                }
                (Resource::AwsEip(own), Resource::AwsEip(peer)) => {
                    let enis = ends_of_eip(checks, &known, &what, own, peer);
                    elastic(checks, &known, &what, own, &enis).await;
                    cards.extend(enis.into_iter().flatten());
                }
                _ => {}
            }
        }
    }
    for (vpc, enis) in vips {
        for (at, eni) in enis.into_iter().enumerate() {
            let Some(eni) = eni else { continue };
            cards.remove(&eni);
            card(checks, &known, &eni, Some(&vpc), at == 0).await;
        }
    }
    for eni in cards {
        card(checks, &known, &eni, None, false).await;
    }
    zones(checks, &known, around.own).await;
    instances(checks, &known, around.own).await;
    table(checks, &aws, around.own).await;
}

async fn metadata(checks: &mut Checks, settings: &Settings) -> Option<Own> {
    let endpoint = settings.endpoints.metadata.as_deref();
    let asked = async { Metadata::open(endpoint, settings.deadlines)?.own().await };
    match asked.await {
        Ok(own) => {
            checks.pass("instance metadata", format!("{} in {}", own.instance, own.zone));
            Some(own)
        }
        Err(error) => {
            checks.warn(
                "instance metadata",
                error,
                "an instance needs them (`aws ec2 modify-instance-metadata-options \
                 --http-endpoint enabled`, hop limit 2 in a container); anywhere else, set region, \
                 zones and `eni` in cluster.toml",
            );
            None
        }
    }
}

fn unopened(checks: &mut Checks, error: &Error) {
    match error.kind {
        Kind::NoRegion => {
            checks.fail("region", error, "set `region` in [aws], the same for both nodes");
        }
        _ => checks.fail(
            "credentials",
            error,
            "give the instance a profile with a role, or set `profile` in [aws]",
        ),
    }
}

fn opened(checks: &mut Checks, aws: &Aws, own: Option<&Own>) {
    let region = aws.region();
    match own.filter(|own| own.region != region.name) {
        Some(own) => checks.warn(
            "region",
            format!(
                "{} by the {}, but this instance is in {}",
                region.name, region.source, own.region
            ),
            "correct `region` in [aws]: a cluster is in one region",
        ),
        None => checks.pass("region", format!("{}, by the {}", region.name, region.source)),
    }
    let lasting =
        if aws.key_expires().is_some() { "of a role, renewed by itself" } else { "lasting" };
    checks.pass("credentials", format!("key {}, {lasting}", aws.key_id()));
}

fn clock(checks: &mut Checks, said: Result<Option<Clocks>, Error>) {
    let what = "clock against AWS";
    let clocks = match said {
        Ok(Some(clocks)) => clocks,
        Ok(None) => return checks.skip(what, "its answer tells no time", "try again"),
        Err(error) => return unanswered(checks, what, &error),
    };
    let (ahead, apart) = (clocks.ahead(), clocks.ahead().unsigned_abs());
    let found = format!("{apart} s {}", if ahead < 0 { "behind" } else { "ahead" });
    let fix = "install systemd-timesyncd or chrony, with 169.254.169.123 as its server";
    if apart <= SKEW_FINE {
        checks.pass(what, found);
    } else if apart < SKEW_REFUSED {
        checks.warn(what, found, fix);
    } else {
        checks.fail(what, format!("{found}: AWS refuses every call"), fix);
    }
}

/// A call that failed, with what to do about it.
pub(super) fn unanswered(checks: &mut Checks, what: impl std::fmt::Display, error: &Error) {
    match error.kind {
        Kind::Timeout | Kind::Unreachable => checks.fail(
            what,
            error,
            "look at NAT, route table and endpoints of this node's subnet, and at their security \
             groups (TCP 443)",
        ),
        Kind::Denied => checks.fail(what, error, RIGHTS),
        Kind::ClockSkew => checks.fail(what, error, "set the clock of this host right"),
        Kind::Credentials => checks.fail(what, error, "renew the keys, or use a role"),
        Kind::Throttled | Kind::Server { .. } => {
            checks.warn(what, error, "try again; if it stays, find who else calls in this account");
        }
        _ => checks.fail(what, error, "correct cluster.toml, or make it"),
    }
}

/// Network interfaces of this node and of the other one, as far as they are known here.
pub(super) type Ends = [Option<String>; 2];

fn ends_of_vip(
    checks: &mut Checks,
    known: &Known<'_>,
    what: &str,
    own: &VipSpec,
    peer: &VipSpec,
) -> Ends {
    if own.vpc != peer.vpc {
        checks.warn(
            what,
            format!("{} here, {} on the other node", own.vpc, peer.vpc),
            "a VIP is reached through the route tables of one VPC; give both nodes the same `vpc`",
        );
    }
    let here = own.eni.clone().or_else(|| by_interface(checks, known, what, &own.interface));
    [here, peer.eni.clone()]
}

fn ends_of_eip(
    checks: &mut Checks,
    known: &Known<'_>,
    what: &str,
    own: &EipSpec,
    peer: &EipSpec,
) -> Ends {
    let name = own.interface.as_deref().unwrap_or_default();
    let here = own.eni.clone().or_else(|| by_interface(checks, known, what, name));
    [here, peer.eni.clone()]
}

/// The network interface that an interface of this host is.
fn by_interface(checks: &mut Checks, known: &Known<'_>, what: &str, name: &str) -> Option<String> {
    let own = known.own?;
    let mac = match hardware(name) {
        Ok(mac) => mac,
        Err(cause) => {
            checks.fail(what, format!("interface {name}: {cause}"), "correct `interface`");
            return None;
        }
    };
    let found = own.cards.iter().find(|card| card.mac == mac).map(|card| card.eni.clone());
    if found.is_none() {
        let found = format!("interface {name} ({mac}) is no network interface of this instance");
        checks.fail(what, found, "correct `interface`, or set `eni`");
    }
    found
}

/// A network interface; of a VIP, with its VPC. `here`: it has to be this instance's.
async fn card(checks: &mut Checks, known: &Known<'_>, eni: &str, vpc: Option<&str>, here: bool) {
    let what = format!("network interface {eni}");
    let found = match known.aws.interfaces(Which::Ids(&[eni])).await {
        Ok(mut found) => found.swap_remove(0),
        Err(error) => return unanswered(checks, what, &error),
    };
    if let Some(vpc) = vpc.filter(|vpc| *vpc != found.vpc) {
        let found = format!("is in {}, not in {vpc}", found.vpc);
        return checks.fail(what, found, "correct `eni` or `vpc`");
    }
    if let Some(wrong) = stranger(&found, known.own.filter(|_| here)) {
        return checks.fail(what, wrong, "correct `eni`, or attach it");
    }
    if vpc.is_some() && found.source_dest_check {
        return checks.fail(
            what,
            "source/dest check is on: a VIP will not answer there",
            format!(
                "aws ec2 modify-network-interface-attribute --network-interface-id {eni} \
                 --no-source-dest-check"
            ),
        );
    }
    let check = if vpc.is_some() { ", source/dest check is off" } else { "" };
    checks.pass(what, format!("in {} and {}{check}", found.vpc, found.zone));
}

/// Why this can't be a node's network interface.
fn stranger(found: &Interface, own: Option<&Own>) -> Option<String> {
    let Some(attachment) = &found.attachment else {
        return Some("is attached to no instance".to_owned());
    };
    let own = own.filter(|own| own.instance != attachment.instance)?;
    Some(format!("is attached to {}, and this is {}", attachment.instance, own.instance))
}

async fn elastic(checks: &mut Checks, known: &Known<'_>, of: &str, spec: &EipSpec, enis: &Ends) {
    let what = format!("{of}: elastic address {}", spec.allocation);
    let address = match known.aws.addresses(&[&spec.allocation]).await {
        Ok(mut found) => found.swap_remove(0),
        Err(error) => return unanswered(checks, what, &error),
    };
    match &address.eni {
        None => checks.pass(&what, "is there, with nobody"),
        Some(eni) if enis.contains(&Some(eni.clone())) => {
            checks.pass(&what, format!("is there, with {eni}"));
        }
        Some(eni) => checks.warn(
            &what,
            format!("is with {eni}, which is no node's"),
            "the group takes it when it starts; find out who else counts on it",
        ),
    }
    if let Some(eni) = &enis[0] {
        let allocation = &spec.allocation;
        may(checks, known.aws, of, Permission::AssociateAddress { allocation, eni }).await;
    }
    if let Some(association) = &address.association {
        may(checks, known.aws, of, Permission::DisassociateAddress { association }).await;
    }
}

/// Whether AWS would let this node do it.
pub(super) async fn may(checks: &mut Checks, aws: &Aws, of: &str, what: Permission<'_>) {
    let name = format!("{of}: {}", what.action());
    match aws.may(what).await {
        Ok(()) => checks.pass(name, "allowed"),
        Err(error) => unanswered(checks, name, &error),
    }
}

async fn zones(checks: &mut Checks, known: &Known<'_>, own: &NodeView) {
    for monitor in &own.monitors {
        let Probe::AwsZone { zone } = &monitor.spec else { continue };
        let real = known.own.map(|own| own.zone.clone());
        let Some(name) = zone.clone().or_else(|| real.clone()) else {
            let what = format!("monitor {}", monitor.settings.name);
            checks.skip(what, "the zone is not known", "set `zone`");
            continue;
        };
        let what = format!("availability zone {name}");
        if let Some(real) = real.filter(|real| *real != name) {
            let found = format!("this instance is in {real}");
            checks.fail(what, found, "correct `zone`, which is each node's own");
            continue;
        }
        match known.aws.zones(&[&name]).await {
            Ok(found) if found[0].state == ZoneState::Available => checks.pass(what, "available"),
            Ok(found) => {
                let found = format!("{:?} {}", found[0].state, found[0].messages.join(" "));
                checks.warn(what, found.trim_end(), "see AWS's health page");
            }
            Err(error) => unanswered(checks, what, &error),
        }
    }
}

async fn instances(checks: &mut Checks, known: &Known<'_>, own: &NodeView) {
    let Some(stop) = &own.forced_stop else { return };
    if let Some(real) = known.own.filter(|real| real.instance != stop.own) {
        let found = format!("is to be this node, and this is {}", real.instance);
        let fix = "correct `instance` in [forced_stop]: a wrong one stops a stranger";
        checks.fail(format!("instance {}", stop.own), found, fix);
    }
    let what = format!("instance {}", stop.peer);
    match known.aws.instances(&[&stop.peer]).await {
        Ok(found) => checks.pass(what, format!("{:?} in {}", found[0].state, found[0].zone)),
        Err(error) => return unanswered(checks, what, &error),
    }
    let instance = &stop.peer;
    may(checks, known.aws, "forced_stop", Permission::StopInstances { instance }).await;
}

/// The table of the arbiter, by the read that a decision begins with.
async fn table(checks: &mut Checks, aws: &Aws, own: &NodeView) {
    let ArbiterSpec::Dynamodb { table } = &own.arbiter else { return };
    let Some(group) = own.groups.first() else { return };
    let what = format!("arbiter table {table}");
    let id = format!("{}/{}", own.cluster.id, group.settings.id);
    // The first call also opens a connection.
    if let Err(error) = aws.item(table, &id).await {
        return match error.kind {
            Kind::TableNotFound => checks.fail(
                what,
                error,
                "`lockstep aws create-arbiter` makes it, once, with an administrator's rights",
            ),
            _ => unanswered(checks, what, &error),
        };
    }
    let begun = Instant::now();
    if let Err(error) = aws.item(table, &id).await {
        return unanswered(checks, what, &error);
    }
    let took = begun.elapsed();
    let limit = Duration::from_nanos(own.times.arbiter_attempt.0);
    let found = format!("answers within {} ms", took.as_millis());
    if took > limit / 2 {
        checks.warn(
            what,
            format!("{found}; an attempt may take {} ms", limit.as_millis()),
            "give the VPC a gateway endpoint of DynamoDB, or let an attempt take longer in [times]",
        );
    } else {
        checks.pass(what, found);
    }
}
