//! A VPC in two zones with an instance in each, route tables with a route to a VIP, and an elastic
//! address: what a cluster finds when it begins.

use super::moto::{Moto, REGION, element, elements};

/// An image that the server knows without looking far.
const IMAGE: &str = "ami-12c6146b";

/// One VPC and what is in it. Everything of a node stands in the order a, b.
pub struct World {
    pub vpc: String,
    pub zones: [String; 2],
    pub enis: [String; 2],
    pub instances: [String; 2],
    /// Tables with a route to the VIP.
    pub tables: Vec<String>,
    /// A table of the VPC without one.
    pub other_table: String,
    pub vip: String,
    pub allocation: String,
}

impl World {
    /// A fresh one with so many route tables that lead to the VIP; all to node a.
    pub fn build(moto: &Moto, tables: usize) -> World {
        let vip = "10.99.0.10".to_owned();
        let made = moto.ec2(&[("Action", "CreateVpc"), ("CidrBlock", "10.0.0.0/16")]);
        let vpc = element(&made, "vpcId");
        moto.ec2(&[
            ("Action", "AssociateVpcCidrBlock"),
            ("VpcId", &vpc),
            ("CidrBlock", "10.50.0.0/16"),
        ]);
        let zones = ["a", "b"].map(|letter| format!("{REGION}{letter}"));
        let nodes = [0, 1].map(|at| node(moto, &vpc, &zones[at], at));
        let enis = [nodes[0].0.clone(), nodes[1].0.clone()];
        let instances = [nodes[0].1.clone(), nodes[1].1.clone()];
        let made: Vec<String> = (0..tables).map(|_| table(moto, &vpc)).collect();
        for table in &made {
            moto.ec2(&[
                ("Action", "CreateRoute"),
                ("RouteTableId", table),
                ("DestinationCidrBlock", &format!("{vip}/32")),
                ("NetworkInterfaceId", &enis[0]),
            ]);
        }
        let other_table = table(moto, &vpc);
        let address = moto.ec2(&[("Action", "AllocateAddress"), ("Domain", "vpc")]);
        let allocation = element(&address, "allocationId");
        World { vpc, zones, enis, instances, tables: made, other_table, vip, allocation }
    }

    /// Whose network interface the VIP's route of each table leads to.
    pub fn targets(&self, moto: &Moto) -> Vec<String> {
        let of = |table: &String| {
            let said = moto.ec2(&[("Action", "DescribeRouteTables"), ("RouteTableId.1", table)]);
            let routes = said.split("<destinationCidrBlock>");
            let own = routes.into_iter().find(|part| part.starts_with(&format!("{}/32", self.vip)));
            element(own.unwrap_or_default(), "networkInterfaceId")
        };
        self.tables.iter().map(of).collect()
    }
}

fn table(moto: &Moto, vpc: &str) -> String {
    element(&moto.ec2(&[("Action", "CreateRouteTable"), ("VpcId", vpc)]), "routeTableId")
}

/// A subnet in a zone, and an instance with one network interface in it.
fn node(moto: &Moto, vpc: &str, zone: &str, at: usize) -> (String, String) {
    let subnet = moto.ec2(&[
        ("Action", "CreateSubnet"),
        ("VpcId", vpc),
        ("CidrBlock", &format!("10.0.{}.0/24", at + 1)),
        ("AvailabilityZone", zone),
    ]);
    let eni = moto.ec2(&[
        ("Action", "CreateNetworkInterface"),
        ("SubnetId", &element(&subnet, "subnetId")),
        ("PrivateIpAddress", &format!("10.0.{}.10", at + 1)),
    ]);
    let eni = element(&eni, "networkInterfaceId");
    let run = moto.ec2(&[
        ("Action", "RunInstances"),
        ("ImageId", IMAGE),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("Placement.AvailabilityZone", zone),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.NetworkInterfaceId", &eni),
    ]);
    let instance = elements(&run, "instanceId").into_iter().next();
    (eni, instance.unwrap_or_else(|| panic!("no instance in {run}")))
}
