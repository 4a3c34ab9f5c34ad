//! VPCs and the routes of single addresses. Always: every table of the VPC is seen, whatever pages
//! they come on; a route is only ever replaced, never made.

use crate::error::{Error, Kind};
use crate::open::Aws;
use aws_sdk_ec2::types;
use std::net::Ipv4Addr;

/// Tables that one page may hold: the most that AWS takes.
const PAGE: i32 = 100;

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// All its blocks of addresses, without those that were given back.
    pub blocks: Vec<Block>,
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its first address.
    pub first: Ipv4Addr,
    /// Bits that all its addresses share.
    pub prefix: u8,
}

/// A route table of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// It counts for every subnet without one of its own.
    pub main: bool,
    /// Subnets that it is tied to.
    pub subnets: Vec<String>,
    /// Its routes for single addresses.
    pub routes: Vec<Route>,
}

/// A route for one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address.
    pub address: Ipv4Addr,
    /// Where it leads.
    pub target: Target,
    /// Whether it does.
    pub state: RouteState,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a network interface.
    Interface {
        /// Its id.
        eni: String,
        /// The instance that has it.
        instance: Option<String>,
    },
    /// To something else: its id.
    Other(String),
}

/// Whether a route leads anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// It does.
    Active,
    /// Its target is gone.
    Blackhole,
    /// In AWS's own word.
    Other(String),
}

impl Block {
    /// The block of a text such as `10.0.0.0/16`.
    pub fn parse(text: &str) -> Option<Block> {
        let (first, prefix) = text.split_once('/')?;
        let (first, prefix) = (first.parse().ok()?, prefix.parse().ok()?);
        (prefix <= 32).then_some(Block { first, prefix })
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let apart = u32::from(self.first) ^ u32::from(address);
        self.prefix == 0 || apart >> (32 - u32::from(self.prefix)) == 0
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl Route {
    /// Whether it leads to this network interface.
    pub fn leads_to(&self, eni: &str) -> bool {
        self.state == RouteState::Active
            && matches!(&self.target, Target::Interface { eni: own, .. } if own == eni)
    }
}

impl Aws {
    /// A VPC with all its blocks.
    ///
    /// # Errors
    /// It is not there ([`Kind::VpcNotFound`]), or could not be asked for.
    pub async fn vpc(&self, id: &str) -> Result<Vpc, Error> {
        let doing = "look at the VPC";
        let found = self.read(doing, id, self.ec2.describe_vpcs().vpc_ids(id).send()).await?;
        let Some(vpc) = found.vpcs().first() else {
            return Err(Error::missing(Kind::VpcNotFound, doing, id, "it is not there"));
        };
        let gone = |block: &types::VpcCidrBlockAssociation| {
            let state = block.cidr_block_state().and_then(|state| state.state());
            matches!(
                state,
                Some(
                    types::VpcCidrBlockStateCode::Disassociated
                        | types::VpcCidrBlockStateCode::Failed
                )
            )
        };
        let sets = vpc.cidr_block_association_set().iter().filter(|block| !gone(block));
        let texts = vpc.cidr_block().into_iter().chain(sets.filter_map(|block| block.cidr_block()));
        let mut blocks = Vec::new();
        for block in texts.filter_map(Block::parse) {
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        Ok(Vpc { id: id.to_owned(), blocks })
    }

    /// Every route table of a VPC that has a route for one of these addresses, with those routes
    /// alone. One question for all of them; no address, no question.
    ///
    /// # Errors
    /// They could not be asked for. A VPC that is not there has no tables.
    pub async fn routes(
        &self,
        vpc: &str,
        addresses: &[Ipv4Addr],
    ) -> Result<Vec<RouteTable>, Error> {
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let texts = addresses.iter().map(|address| format!("{address}/32")).collect();
        let only = filter("route.destination-cidr-block", texts);
        let mut tables = self.tables(vpc, Some(only)).await?;
        for table in &mut tables {
            table.routes.retain(|route| addresses.contains(&route.address));
        }
        Ok(tables)
    }

    /// Every route table of a VPC.
    ///
    /// # Errors
    /// They could not be asked for.
    pub async fn route_tables(&self, vpc: &str) -> Result<Vec<RouteTable>, Error> {
        self.tables(vpc, None).await
    }

    async fn tables(
        &self,
        vpc: &str,
        only: Option<types::Filter>,
    ) -> Result<Vec<RouteTable>, Error> {
        let mut filters = vec![filter("vpc-id", vec![vpc.to_owned()])];
        filters.extend(only);
        let asked = self.ec2.describe_route_tables().set_filters(Some(filters));
        let pages = asked.into_paginator().page_size(PAGE).items().send();
        let all = pages.collect::<Result<Vec<types::RouteTable>, _>>();
        let all = self.read("look at the route tables of", vpc, all).await?;
        Ok(all.iter().map(table).collect())
    }

    /// Lets the route for one address lead to a network interface. Sent once.
    ///
    /// # Errors
    /// The table has no such route ([`Kind::RouteMissing`]) and gets none; table or interface are
    /// not there; or what became of it is not known ([`Error::outcome_is_unknown`]).
    pub async fn replace_route(
        &self,
        table: &str,
        address: Ipv4Addr,
        eni: &str,
    ) -> Result<(), Error> {
        let asked = self
            .ec2_once
            .replace_route()
            .route_table_id(table)
            .destination_cidr_block(format!("{address}/32"))
            .network_interface_id(eni);
        let object = format!("for {address} in {table} by {eni}");
        self.write("replace the route", &object, asked.send()).await.map(drop)
    }
}

/// A filter of a Describe.
pub(crate) fn filter(name: &str, values: Vec<String>) -> types::Filter {
    types::Filter::builder().name(name).set_values(Some(values)).build()
}

fn table(of: &types::RouteTable) -> RouteTable {
    let name = of.tags().iter().find(|tag| tag.key() == Some("Name")).and_then(|tag| tag.value());
    RouteTable {
        id: of.route_table_id().unwrap_or_default().to_owned(),
        name: name.map(str::to_owned),
        main: of.associations().iter().any(|tie| tie.main() == Some(true)),
        subnets: of
            .associations()
            .iter()
            .filter_map(|tie| tie.subnet_id().map(str::to_owned))
            .collect(),
        routes: of.routes().iter().filter_map(route).collect(),
    }
}

/// The route, if it is one for a single address.
fn route(of: &types::Route) -> Option<Route> {
    let block = Block::parse(of.destination_cidr_block()?)?;
    let target = match of.network_interface_id() {
        Some(eni) => {
            Target::Interface { eni: eni.to_owned(), instance: of.instance_id().map(str::to_owned) }
        }
        None => {
            let ids = [
                of.gateway_id(),
                of.nat_gateway_id(),
                of.transit_gateway_id(),
                of.vpc_peering_connection_id(),
                of.local_gateway_id(),
                of.carrier_gateway_id(),
                of.core_network_arn(),
                of.instance_id(),
            ];
            Target::Other(ids.into_iter().flatten().next().unwrap_or("nothing").to_owned())
        }
    };
    let state = match of.state() {
        Some(types::RouteState::Active) => RouteState::Active,
        Some(types::RouteState::Blackhole) => RouteState::Blackhole,
        other => RouteState::Other(other.map_or("unknown", |state| state.as_str()).to_owned()),
    };
    (block.prefix == 32).then_some(Route { address: block.first, target, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_knows_its_addresses() {
        let block = Block::parse("10.0.0.0/16").expect("a block");
        assert!(block.contains(Ipv4Addr::new(10, 0, 255, 255)));
        assert!(!block.contains(Ipv4Addr::new(10, 1, 0, 0)));
        assert!(Block::parse("0.0.0.0/0").expect("all").contains(Ipv4Addr::new(1, 2, 3, 4)));
        let one = Block::parse("10.9.9.9/32").expect("one");
        assert!(one.contains(Ipv4Addr::new(10, 9, 9, 9)));
        assert!(!one.contains(Ipv4Addr::new(10, 9, 9, 8)));
        for bad in ["10.0.0.0", "10.0.0.0/33", "2001:db8::/32", "10.0.0/8"] {
            assert_eq!(Block::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_an_active_route_leads_anywhere() {
        let plain = types::Route::builder().destination_cidr_block("10.9.9.9/32");
        let to = plain.clone().network_interface_id("eni-1").state(types::RouteState::Active);
        assert!(route(&to.build()).expect("a route").leads_to("eni-1"));
        let hole = plain.clone().network_interface_id("eni-1").state(types::RouteState::Blackhole);
        assert!(!route(&hole.build()).expect("a route").leads_to("eni-1"));
        let gateway = plain.gateway_id("igw-1").state(types::RouteState::Active).build();
        assert_eq!(route(&gateway).expect("a route").target, Target::Other("igw-1".to_owned()));
        let wide = types::Route::builder().destination_cidr_block("10.9.0.0/16").build();
        assert_eq!(route(&wide), None);
    }
}
