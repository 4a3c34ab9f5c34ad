//! A VIP: an address outside the VPC to which routes of its tables lead. Taking it is letting every
//! one of them lead here; nobody gives it back, since there is nothing better to point to.
//! Always: routes are only replaced, and only where they lead elsewhere; a table that fails does
//! not keep the others; what was done is looked at before it counts.

use super::cloud::{CardSeen, Cloud, Failed, Right, RouteSeen, Watched, watched};
use super::retry::{Attempts, holds};
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A VIP, as one node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The address.
    pub address: Ipv4Addr,
    /// The VPC.
    pub vpc: String,
    /// The network interface of this node.
    pub eni: String,
}

/// Why the VIP is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VipError {
    /// It is an address of the VPC itself.
    Inside { vip: Ipv4Addr, block: String },
    /// The network interface is of another VPC.
    OtherVpc { eni: String, vpc: String },
    /// No table of the VPC has a route to it.
    NoRoute { vip: Ipv4Addr, vpc: String },
    /// The record does not name this node, or could not be read.
    NotOurs { vip: Ipv4Addr },
    /// AWS could not be asked.
    Call(Failed),
    /// Some routes do not lead here: each table with the reason.
    Routes { vip: Ipv4Addr, tables: Vec<(String, Option<Failed>)> },
}

impl VipError {
    /// Number of its message.
    pub fn number(&self) -> u32 {
        match self {
            VipError::Inside { .. } => 7,
            VipError::NoRoute { .. } | VipError::OtherVpc { .. } => 5,
            VipError::NotOurs { .. } => 99,
            VipError::Call(failed) => failed.number(),
            VipError::Routes { tables, .. } => {
                tables.iter().find_map(|(_, why)| why.as_ref()).map_or(8, Failed::number)
            }
        }
    }
}

impl fmt::Display for VipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VipError::Inside { vip, block } => write!(
                f,
                "VIP {vip} belongs to a VPC subnet ({block}); choose an address outside every \
                 block of the VPC"
            ),
            VipError::OtherVpc { eni, vpc } => {
                write!(f, "network interface {eni} is in {vpc}; correct `eni` or `vpc`")
            }
            VipError::NoRoute { vip, vpc } => write!(
                f,
                "no route table of {vpc} has a route to {vip}/32; make one in each table once, \
                 to either node"
            ),
            VipError::NotOurs { vip } => {
                write!(f, "VIP {vip}: the record does not name this node now; no route was changed")
            }
            VipError::Call(failed) => failed.fmt(f),
            VipError::Routes { vip, tables } => {
                write!(f, "routes to VIP {vip} do not lead here:")?;
                for (table, why) in tables {
                    match why {
                        Some(failed) => write!(f, " {table}: {failed}.")?,
                        None => write!(f, " {table}: changed by somebody else.")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for VipError {}

/// Whether the VIP can be had here at all; asked before the address is put on an interface. Gives
/// what is worth a warning.
///
/// # Errors
/// It can't, or AWS could not be asked.
pub async fn check(cloud: &dyn Cloud, vip: &Vip) -> Result<Option<String>, VipError> {
    let asked = (cloud.blocks(&vip.vpc, vip.address), cloud.card(&vip.eni));
    let (blocks, card) = tokio::join!(asked.0, asked.1);
    let blocks = blocks.map_err(VipError::Call)?;
    if let Some(block) = blocks.into_iter().find(|block| block.holds) {
        return Err(VipError::Inside { vip: vip.address, block: block.text });
    }
    suits(vip, &card.map_err(VipError::Call)?)
}

/// The part of `check` about the network interface.
fn suits(vip: &Vip, card: &CardSeen) -> Result<Option<String>, VipError> {
    if card.vpc != vip.vpc {
        return Err(VipError::OtherVpc { eni: vip.eni.clone(), vpc: card.vpc.clone() });
    }
    let warning = || {
        format!(
            "source/dest check is on for {}: VIP {} will not answer; switch it off",
            vip.eni, vip.address
        )
    };
    Ok(card.checks.then(warning))
}

/// Tables whose route to the VIP does not lead here.
fn astray<'a>(vip: &Vip, routes: &'a [RouteSeen]) -> Vec<&'a RouteSeen> {
    routes.iter().filter(|route| route.target != vip.eni || !route.active).collect()
}

/// Lets every route to the VIP lead here, all tables at once, and looks at them. Whoever is done
/// looks once more when [`super::cloud::LATE`] has passed.
///
/// # Errors
/// Not all of them lead here by then; those that do stay.
pub async fn take(
    cloud: &Arc<dyn Cloud>,
    right: &dyn Right,
    vip: &Vip,
    until: Instant,
) -> Result<Vec<String>, VipError> {
    let mut attempts = Attempts::until(until);
    let mut failures: BTreeMap<String, Failed> = BTreeMap::new();
    let mut first = true;
    loop {
        let seen = cloud.routes(&vip.vpc, &[vip.address]).await;
        let routes = match seen {
            Ok(routes) => routes,
            Err(failed) if failed.may_pass() && attempts.again().await => continue,
            Err(failed) => return Err(VipError::Call(failed)),
        };
        if routes.is_empty() {
            return Err(VipError::NoRoute { vip: vip.address, vpc: vip.vpc.clone() });
        }
        let astray: Vec<String> = astray(vip, &routes).iter().map(|r| r.table.clone()).collect();
        if astray.is_empty() {
            return Ok(routes.into_iter().map(|route| route.table).collect());
        }
        let hopeless = |table: &String| failures.get(table).is_some_and(|why| !why.may_pass());
        let over = astray.iter().all(hopeless) || (!first && !attempts.again().await);
        if over {
            let why = |table: String| (table.clone(), failures.get(&table).cloned());
            let tables = astray.into_iter().map(why).collect();
            return Err(VipError::Routes { vip: vip.address, tables });
        }
        first = false;
        // Right before the change: nothing else keeps a former owner from it.
        if !holds(right).await {
            return Err(VipError::NotOurs { vip: vip.address });
        }
        let wanted = astray.into_iter().filter(|table| !hopeless(table)).collect();
        failures.extend(replace(cloud, vip, wanted).await);
    }
}

/// Replaces the routes of these tables at once; gives those that failed.
async fn replace(
    cloud: &Arc<dyn Cloud>,
    vip: &Vip,
    tables: Vec<String>,
) -> BTreeMap<String, Failed> {
    let mut calls = JoinSet::new();
    for table in tables {
        let call = cloud.replace(&table, vip.address, &vip.eni);
        calls.spawn(async move { call.await.map_err(|failed| (table, failed)) });
    }
    let mut failures = BTreeMap::new();
    while let Some(ended) = calls.join_next().await {
        // A call that panicked is seen by the look that follows.
        if let Ok(Err((table, failed))) = ended {
            failures.insert(table, failed);
        }
    }
    failures
}

/// Whether every route to the VIP leads here. Whether the address is on the interface is another
/// question.
pub async fn look(cloud: &dyn Cloud, vip: &Vip) -> Watched {
    match cloud.routes(&vip.vpc, &[vip.address]).await {
        Ok(routes) => judge(vip, &routes),
        Err(failed) => watched(failed),
    }
}

/// What these routes to the VIP mean.
pub(super) fn judge(vip: &Vip, routes: &[RouteSeen]) -> Watched {
    if routes.is_empty() {
        let error = VipError::NoRoute { vip: vip.address, vpc: vip.vpc.clone() };
        return Watched::Wrong(8, error.to_string());
    }
    let astray = astray(vip, routes);
    if astray.is_empty() {
        return Watched::Well;
    }
    let each = |route: &&RouteSeen| {
        let state = if route.active { "" } else { ", which leads nowhere" };
        format!("{} to {}{state}", route.table, route.target)
    };
    let list: Vec<String> = astray.iter().map(each).collect();
    let text = format!(
        "routing for VIP {} was changed: {}; another cluster may use the same VIP",
        vip.address,
        list.join(", ")
    );
    Watched::Wrong(8, text)
}

#[cfg(test)]
#[path = "vip_tests.rs"]
mod tests;
