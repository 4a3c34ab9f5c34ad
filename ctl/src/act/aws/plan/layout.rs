//! Where things lie: the block of the VPC, the subnets, the network interfaces of the nodes. Pure.
//! Always: the addresses of the nodes are the configuration's, each in a subnet of its node's zone.

use super::text::label;
use crate::act::resource::spec::Spec as Resource;
use crate::config::cluster::Cluster;
use lockstep_engine::units::NodeId;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Why there is no plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// An address of a node is none of IPv4.
    NotIpv4 { interconnect: String, address: IpAddr },
    /// Two addresses lie in no common block of the largest size.
    Apart { one: Ipv4Addr, other: Ipv4Addr },
    /// Both nodes are in one subnet, which is of one zone.
    OneSubnet { subnet: Block },
    /// A VIP is an address of the VPC.
    Inside { vip: Ipv4Addr, block: Block },
    /// There are more disks than letters for them.
    Disks { most: usize },
    /// There is no room for the other subnets.
    Full { block: Block },
    /// Two ids of the configuration would be one thing of the plan.
    Several { one: String, other: String },
    /// The nodes take on a role that is not the plan's.
    Role { role: String },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::NotIpv4 { interconnect, address } => write!(
                f,
                "interconnect {interconnect}: {address} is no address of IPv4; the plan knows no \
                 other"
            ),
            PlanError::Apart { one, other } => write!(
                f,
                "{one} and {other} are in no common block of 16 bits, which is the most that a VPC \
                 has; choose addresses of the interconnects that are"
            ),
            PlanError::OneSubnet { subnet } => write!(
                f,
                "both nodes have addresses in {subnet}, and a subnet is of one zone; give each \
                 node a third number of its own, such as 10.0.1.10 and 10.0.2.10"
            ),
            PlanError::Inside { vip, block } => write!(
                f,
                "VIP {vip} is in {block}, the block of the VPC; choose an address outside of it"
            ),
            PlanError::Disks { most } => {
                write!(f, "more than {most} disks on a node; attach further ones by hand")
            }
            PlanError::Several { one, other } => write!(
                f,
                "{one} and {other}: the plan has one VPC, and on each node one interface for all \
                 addresses; name one, or write the environment by hand"
            ),
            PlanError::Role { role } => write!(
                f,
                "`role` {role} in [aws]: the plan gives the rights to the role of the instances; \
                 leave `role` out, or write the environment by hand"
            ),
            PlanError::Full { block } => {
                write!(f, "no room for two more subnets in {block}; use fewer interconnects")
            }
        }
    }
}

impl std::error::Error for PlanError {}

/// A block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Block {
    first: Ipv4Addr,
    prefix: u8,
}

impl Block {
    fn of(address: Ipv4Addr, prefix: u8) -> Block {
        let mask = u32::MAX << (32 - u32::from(prefix));
        Block { first: Ipv4Addr::from(u32::from(address) & mask), prefix }
    }

    fn holds(&self, address: Ipv4Addr) -> bool {
        Block::of(address, self.prefix) == *self
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

const VPC_BITS: u8 = 16;
const SUBNET_BITS: u8 = 24;

pub(super) struct Subnet {
    pub name: String,
    pub node: NodeId,
    pub block: Block,
    /// Its route table.
    pub table: String,
}

/// A network interface of a node.
pub(super) struct Card {
    pub name: String,
    pub subnet: String,
    /// The first one first.
    pub addresses: Vec<Ipv4Addr>,
}

pub(super) struct Vip {
    pub label: String,
    pub address: Ipv4Addr,
}

pub(super) struct Eip {
    pub label: String,
    pub name: String,
}

pub(super) struct Layout {
    pub name: String,
    pub block: Block,
    pub subnets: Vec<Subnet>,
    /// Of nodes a and b; neither is empty.
    pub cards: [Vec<Card>; 2],
    pub vips: Vec<Vip>,
    pub eips: Vec<Eip>,
}

impl Layout {
    pub fn of(cluster: &Cluster) -> Result<Layout, PlanError> {
        let own = cluster.local(NodeId::A);
        let (mut vips, mut eips) = (Vec::new(), Vec::new());
        for group in &own.groups {
            for (settings, spec) in group.settings.resources.iter().zip(&group.specs) {
                let label = label(&format!("{}_{}", group.settings.name, settings.name));
                match spec {
                    Resource::AwsVip(vip) => vips.push(Vip { label, address: vip.address }),
                    Resource::AwsEip(_) => {
                        let name = format!("{}/{}", group.settings.name, settings.name);
                        eips.push(Eip { label, name });
                    }
                    _ => {}
                }
            }
        }
        let nodes = [nets(cluster, NodeId::A)?, nets(cluster, NodeId::B)?];
        let all: Vec<Ipv4Addr> = nodes.iter().flatten().flat_map(|(_, ips)| ips.clone()).collect();
        let block = Block::of(all[0], VPC_BITS);
        if let Some(other) = all.iter().find(|ip| !block.holds(**ip)) {
            return Err(PlanError::Apart { one: all[0], other: *other });
        }
        if let Some((subnet, _)) =
            nodes[0].iter().find(|(net, _)| nodes[1].iter().any(|(other, _)| other == net))
        {
            return Err(PlanError::OneSubnet { subnet: *subnet });
        }
        if let Some(vip) = vips.iter().find(|vip| block.holds(vip.address)) {
            return Err(PlanError::Inside { vip: vip.address, block });
        }
        let (subnets, cards) = place(block, &nodes, !eips.is_empty())?;
        Ok(Layout { name: own.cluster.name.clone(), block, subnets, cards, vips, eips })
    }
}

type Nets = Vec<(Block, Vec<Ipv4Addr>)>;

/// Subnets of a node with its addresses there, in the order of the file.
fn nets(cluster: &Cluster, node: NodeId) -> Result<Nets, PlanError> {
    let mut found: Nets = Vec::new();
    for one in &cluster.local(node).interconnects {
        let IpAddr::V4(address) = one.address else {
            let interconnect = one.name.clone();
            return Err(PlanError::NotIpv4 { interconnect, address: one.address });
        };
        let net = Block::of(address, SUBNET_BITS);
        match found.iter_mut().find(|(known, _)| *known == net) {
            Some((_, addresses)) => addresses.push(address),
            None => found.push((net, vec![address])),
        }
    }
    Ok(found)
}

/// Nodes behind elastic addresses are in the public subnets, all others in the private ones; the
/// other pair is where there is room.
fn place(
    block: Block,
    nodes: &[Nets; 2],
    public: bool,
) -> Result<(Vec<Subnet>, [Vec<Card>; 2]), PlanError> {
    let taken: BTreeSet<Block> = nodes.iter().flatten().map(|(net, _)| *net).collect();
    let start = u32::from(block.first);
    let mut free = (100..256_u32)
        .map(|number| Block::of(Ipv4Addr::from(start + number * 256), SUBNET_BITS))
        .filter(|net| !taken.contains(net));
    let (mut subnets, mut cards) = (Vec::new(), [Vec::new(), Vec::new()]);
    for (index, node) in [NodeId::A, NodeId::B].into_iter().enumerate() {
        let mut subnet = |name: String, block: Block, is_public: bool| {
            let table = if is_public { "public".to_owned() } else { format!("private_{node}") };
            subnets.push(Subnet { name: name.clone(), node, block, table });
            name
        };
        for (at, (net, addresses)) in nodes[index].iter().enumerate() {
            let addresses = addresses.clone();
            let (name, subnet) = if at == 0 {
                let kind = if public { "public" } else { "private" };
                (format!("node_{node}"), subnet(format!("{kind}_{node}"), *net, public))
            } else {
                let name = format!("node_{node}_{}", at + 1);
                (name.clone(), subnet(name, *net, false))
            };
            cards[index].push(Card { name, subnet, addresses });
        }
        let other = free.next().ok_or(PlanError::Full { block })?;
        let kind = if public { "private" } else { "public" };
        subnet(format!("{kind}_{node}"), other, !public);
    }
    Ok((subnets, cards))
}
