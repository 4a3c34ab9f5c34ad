//! Network interfaces, and what is let through to them.

use crate::error::{Error, Kind};
use crate::open::Aws;
use crate::routes::{Block, filter};
use aws_sdk_ec2::types;
use std::net::Ipv4Addr;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its availability zone.
    pub zone: String,
    /// Hardware address, in lower case with colons.
    pub mac: String,
    /// It drops what is not for its own addresses: a VIP never answers then.
    pub source_dest_check: bool,
    /// Who has it.
    pub attachment: Option<Attachment>,
    /// Its first private address.
    pub address: Option<Ipv4Addr>,
    /// All its private addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Its public address.
    pub public: Option<Ipv4Addr>,
    /// Its security groups.
    pub groups: Vec<String>,
}

/// Who has a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The instance.
    pub instance: String,
    /// Its place there; 0 is the first.
    pub index: u32,
    /// `attached`, or on the way to it or from it.
    pub state: String,
}

/// Which network interfaces.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// These.
    Ids(&'a [&'a str]),
    /// All of this instance.
    OfInstance(&'a str),
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it lets in.
    pub into: Vec<Rule>,
    /// What it lets out.
    pub out_of: Vec<Rule>,
}

/// What is let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which protocol.
    pub protocol: Protocol,
    /// First and last port; `None` is all of them.
    pub ports: Option<(u16, u16)>,
    /// From where, or to where.
    pub from: Vec<Source>,
}

/// The protocol of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Every protocol.
    All,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// In AWS's own word.
    Other(String),
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// These addresses.
    Block(Block),
    /// Whoever is in this group.
    Group(String),
    /// Addresses of a list that this program does not read, or of IPv6.
    Other(String),
}

impl Rule {
    /// Whether it lets this through from or to the address, which is in these groups.
    pub fn allows(
        &self,
        protocol: &Protocol,
        port: u16,
        peer: Ipv4Addr,
        groups: &[String],
    ) -> bool {
        let fits = self.protocol == Protocol::All || self.protocol == *protocol;
        let open = self.ports.is_none_or(|(first, last)| (first..=last).contains(&port));
        let known = |source: &Source| match source {
            Source::Block(block) => block.contains(peer),
            Source::Group(group) => groups.contains(group),
            Source::Other(_) => false,
        };
        fits && open && self.from.iter().any(known)
    }
}

impl Aws {
    /// Network interfaces, in no order.
    ///
    /// # Errors
    /// One of the ids is not there ([`Kind::EniNotFound`]), or they could not be asked for.
    pub async fn interfaces(&self, which: Which<'_>) -> Result<Vec<Interface>, Error> {
        let asked = self.ec2.describe_network_interfaces();
        let doing = "look at network interfaces";
        let (asked, object) = match which {
            Which::Ids([]) => return Ok(Vec::new()),
            Which::Ids(ids) => {
                let owned = ids.iter().map(|id| (*id).to_owned()).collect();
                (asked.set_network_interface_ids(Some(owned)), ids.join(" "))
            }
            Which::OfInstance(id) => {
                let only = filter("attachment.instance-id", vec![id.to_owned()]);
                (asked.filters(only), format!("of {id}"))
            }
        };
        let found = self.read(doing, &object, asked.send()).await?;
        let found: Vec<Interface> = found.network_interfaces().iter().map(interface).collect();
        if let Which::Ids(ids) = which
            && let Some(lost) = ids.iter().find(|id| !found.iter().any(|one| one.id == **id))
        {
            return Err(Error::missing(Kind::EniNotFound, doing, lost, "it is not there"));
        }
        Ok(found)
    }

    /// Security groups, in no order.
    ///
    /// # Errors
    /// They could not be asked for.
    pub async fn security_groups(&self, ids: &[&str]) -> Result<Vec<SecurityGroup>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let owned = ids.iter().map(|id| (*id).to_owned()).collect();
        let asked = self.ec2.describe_security_groups().set_group_ids(Some(owned));
        let found = self.read("look at security groups", &ids.join(" "), asked.send()).await?;
        Ok(found.security_groups().iter().map(group).collect())
    }
}

fn interface(of: &types::NetworkInterface) -> Interface {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let ip = |value: Option<&str>| value.and_then(|text| text.parse::<Ipv4Addr>().ok());
    let attachment = of.attachment().and_then(|tie| {
        Some(Attachment {
            instance: tie.instance_id()?.to_owned(),
            index: tie.device_index().and_then(|index| u32::try_from(index).ok()).unwrap_or(0),
            state: tie.status().map_or("unknown", |state| state.as_str()).to_owned(),
        })
    });
    let own = of.private_ip_addresses().iter();
    Interface {
        id: text(of.network_interface_id()),
        vpc: text(of.vpc_id()),
        zone: text(of.availability_zone()),
        mac: text(of.mac_address()).to_ascii_lowercase(),
        source_dest_check: of.source_dest_check().unwrap_or(true),
        attachment,
        address: ip(of.private_ip_address()),
        addresses: own.filter_map(|one| ip(one.private_ip_address())).collect(),
        public: of.association().and_then(|tie| ip(tie.public_ip())),
        groups: of.groups().iter().filter_map(|one| one.group_id().map(str::to_owned)).collect(),
    }
}

fn group(of: &types::SecurityGroup) -> SecurityGroup {
    SecurityGroup {
        id: of.group_id().unwrap_or_default().to_owned(),
        name: of.group_name().unwrap_or_default().to_owned(),
        into: of.ip_permissions().iter().map(rule).collect(),
        out_of: of.ip_permissions_egress().iter().map(rule).collect(),
    }
}

fn rule(of: &types::IpPermission) -> Rule {
    let protocol = match of.ip_protocol() {
        Some("-1") | None => Protocol::All,
        Some("tcp" | "6") => Protocol::Tcp,
        Some("udp" | "17") => Protocol::Udp,
        Some("icmp" | "1") => Protocol::Icmp,
        Some(other) => Protocol::Other(other.to_owned()),
    };
    let port = |value: Option<i32>| value.and_then(|port| u16::try_from(port).ok());
    let mut from = Vec::new();
    for block in of.ip_ranges().iter().filter_map(|range| range.cidr_ip()) {
        from.push(match Block::parse(block) {
            Some(block) => Source::Block(block),
            None => Source::Other(block.to_owned()),
        });
    }
    let groups = of.user_id_group_pairs().iter().filter_map(|pair| pair.group_id());
    from.extend(groups.map(|id| Source::Group(id.to_owned())));
    let wide = of.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6());
    let lists = of.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id());
    from.extend(wide.chain(lists).map(|id| Source::Other(id.to_owned())));
    Rule { protocol, ports: port(of.from_port()).zip(port(of.to_port())), from }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_allows_what_it_says() {
        let built = types::IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(7780)
            .to_port(7789)
            .ip_ranges(types::IpRange::builder().cidr_ip("10.0.1.0/24").build())
            .user_id_group_pairs(types::UserIdGroupPair::builder().group_id("sg-1").build())
            .build();
        let rule = rule(&built);
        let near = Ipv4Addr::new(10, 0, 1, 9);
        let far = Ipv4Addr::new(10, 0, 2, 9);
        assert!(rule.allows(&Protocol::Tcp, 7780, near, &[]));
        assert!(!rule.allows(&Protocol::Tcp, 7790, near, &[]));
        assert!(!rule.allows(&Protocol::Udp, 7780, near, &[]));
        assert!(!rule.allows(&Protocol::Tcp, 7780, far, &[]));
        assert!(rule.allows(&Protocol::Tcp, 7780, far, &["sg-1".to_owned()]));
    }
}
