//! The VPC of a VIP and the routes to it.

use super::asked::{Ends, Known, may, unanswered};
use crate::act::aws::leaf::{Permission, RouteTable, Target};
use crate::act::resource::spec::VipSpec;
use crate::doctor::Checks;
use std::net::Ipv4Addr;

pub(super) async fn look(
    checks: &mut Checks,
    known: &Known<'_>,
    of: &str,
    spec: &VipSpec,
    enis: &Ends,
) {
    let (vip, vpc) = (spec.address, &spec.vpc);
    let what = format!("{of}: VIP {vip}");
    match known.aws.vpc(vpc).await {
        Ok(found) => match found.blocks.iter().find(|block| block.contains(vip)) {
            Some(block) => checks.fail(
                &what,
                format!("belongs to a VPC subnet ({block} of {vpc})"),
                "choose an address outside every block of the VPC",
            ),
            None => {
                let blocks: Vec<String> = found.blocks.iter().map(ToString::to_string).collect();
                checks.pass(&what, format!("is outside of {vpc} ({})", blocks.join(", ")));
            }
        },
        Err(error) => unanswered(checks, &what, &error),
    }
    let tables = match known.aws.route_tables(vpc).await {
        Ok(tables) => tables,
        Err(error) => return unanswered(checks, format!("{of}: route tables of {vpc}"), &error),
    };
    let first = judge(checks, of, vip, &tables, enis);
    if let Some((table, eni)) = first {
        // To where it leads already: a server that takes a dry run for the call changes nothing.
        may(checks, known.aws, of, Permission::ReplaceRoute { table, address: vip, eni }).await;
    }
}

/// Says how the tables stand; gives one that has the route, with the network interface it leads to.
fn judge<'a>(
    checks: &mut Checks,
    of: &str,
    vip: Ipv4Addr,
    tables: &'a [RouteTable],
    enis: &Ends,
) -> Option<(&'a str, &'a str)> {
    let (mut first, mut without, mut with) = (None, Vec::new(), 0);
    for table in tables {
        let Some(route) = table.routes.iter().find(|route| route.address == vip) else {
            // A main table that no subnet uses is of no account.
            if !table.main || !table.subnets.is_empty() {
                without.push(name(table));
            }
            continue;
        };
        with += 1;
        let what = format!("{of}: route to {vip} in {}", name(table));
        match &route.target {
            Target::Interface { eni, .. } if enis.contains(&Some(eni.clone())) => {
                first.get_or_insert((table.id.as_str(), eni.as_str()));
                checks.pass(what, format!("leads to {eni}"));
            }
            Target::Interface { eni: other, .. } | Target::Other(other) => checks.warn(
                what,
                format!("leads to {other}, which is no node's"),
                "the group changes it when it starts; find out who else counts on it",
            ),
        }
    }
    let make = "aws ec2 create-route --route-table-id TABLE --destination-cidr-block";
    let fix = format!("{make} {vip}/32 --network-interface-id ENI, once, to either node");
    if with == 0 {
        checks.fail(format!("{of}: routes to {vip}"), "no route table has one", fix);
    } else if !without.is_empty() {
        let found = format!("none in {}: nobody there reaches the VIP", without.join(", "));
        checks.warn(format!("{of}: routes to {vip}"), found, fix);
    }
    first
}

fn name(table: &RouteTable) -> String {
    match &table.name {
        Some(name) => format!("{} ({name})", table.id),
        None => table.id.clone(),
    }
}
