//! Whether the credentials may do something, without doing it: EC2 checks a dry run and stops
//! there. Always: a dry run is sent once, like the call that it stands for, since an imitation of
//! AWS may take it for one.

use crate::error::{Error, Kind};
use crate::open::Aws;
use std::net::Ipv4Addr;

/// What is to be allowed. DynamoDB has no dry run.
#[derive(Clone, Copy, Debug)]
pub enum Permission<'a> {
    /// `ec2:DescribeRouteTables`.
    DescribeRouteTables,
    /// `ec2:DescribeVpcs`.
    DescribeVpcs,
    /// `ec2:DescribeNetworkInterfaces`.
    DescribeNetworkInterfaces,
    /// `ec2:DescribeAddresses`.
    DescribeAddresses,
    /// `ec2:DescribeAvailabilityZones`.
    DescribeAvailabilityZones,
    /// `ec2:DescribeInstances`.
    DescribeInstances,
    /// `ec2:DescribeSecurityGroups`.
    DescribeSecurityGroups,
    /// `ec2:ReplaceRoute`.
    ReplaceRoute {
        /// The table.
        table: &'a str,
        /// Whose route.
        address: Ipv4Addr,
        /// The new target.
        eni: &'a str,
    },
    /// `ec2:AssociateAddress`.
    AssociateAddress {
        /// The address.
        allocation: &'a str,
        /// Who gets it.
        eni: &'a str,
    },
    /// `ec2:DisassociateAddress`.
    DisassociateAddress {
        /// The association.
        association: &'a str,
    },
    /// `ec2:StopInstances`.
    StopInstances {
        /// The instance.
        instance: &'a str,
    },
}

impl Permission<'_> {
    /// The action, as policies name it.
    pub fn action(&self) -> &'static str {
        match self {
            Permission::DescribeRouteTables => "ec2:DescribeRouteTables",
            Permission::DescribeVpcs => "ec2:DescribeVpcs",
            Permission::DescribeNetworkInterfaces => "ec2:DescribeNetworkInterfaces",
            Permission::DescribeAddresses => "ec2:DescribeAddresses",
            Permission::DescribeAvailabilityZones => "ec2:DescribeAvailabilityZones",
            Permission::DescribeInstances => "ec2:DescribeInstances",
            Permission::DescribeSecurityGroups => "ec2:DescribeSecurityGroups",
            Permission::ReplaceRoute { .. } => "ec2:ReplaceRoute",
            Permission::AssociateAddress { .. } => "ec2:AssociateAddress",
            Permission::DisassociateAddress { .. } => "ec2:DisassociateAddress",
            Permission::StopInstances { .. } => "ec2:StopInstances",
        }
    }
}

/// Sends the dry run of one action.
macro_rules! dry {
    ($aws:expr, $doing:expr, $call:expr) => {
        judged($aws.write("check the permission for", $doing, $call.dry_run(true).send()).await)
    };
}

impl Aws {
    /// Whether the credentials may do this.
    ///
    /// # Errors
    /// They may not ([`Kind::Denied`]), the objects are not there, or it could not be asked.
    pub async fn may(&self, what: Permission<'_>) -> Result<(), Error> {
        let (ec2, action) = (&self.ec2_once, what.action());
        match what {
            Permission::DescribeRouteTables => dry!(self, action, ec2.describe_route_tables()),
            Permission::DescribeVpcs => dry!(self, action, ec2.describe_vpcs()),
            Permission::DescribeNetworkInterfaces => {
                dry!(self, action, ec2.describe_network_interfaces())
            }
            Permission::DescribeAddresses => dry!(self, action, ec2.describe_addresses()),
            Permission::DescribeAvailabilityZones => {
                dry!(self, action, ec2.describe_availability_zones())
            }
            Permission::DescribeInstances => dry!(self, action, ec2.describe_instances()),
            Permission::DescribeSecurityGroups => {
                dry!(self, action, ec2.describe_security_groups())
            }
            Permission::ReplaceRoute { table, address, eni } => {
                let call = ec2
                    .replace_route()
                    .route_table_id(table)
                    .destination_cidr_block(format!("{address}/32"))
                    .network_interface_id(eni);
                dry!(self, action, call)
            }
            Permission::AssociateAddress { allocation, eni } => {
                let call = ec2
                    .associate_address()
                    .allocation_id(allocation)
                    .network_interface_id(eni)
                    .allow_reassociation(true);
                dry!(self, action, call)
            }
            Permission::DisassociateAddress { association } => {
                dry!(self, action, ec2.disassociate_address().association_id(association))
            }
            Permission::StopInstances { instance } => {
                dry!(self, action, ec2.stop_instances().instance_ids(instance).force(true))
            }
        }
    }
}

/// What a dry run says: that it would have been done is an error of its own.
fn judged<T>(said: Result<T, Error>) -> Result<(), Error> {
    match said {
        Ok(_) => Ok(()),
        Err(error) if error.code.as_deref() == Some("DryRunOperation") => Ok(()),
        // Allowed, and against the state of things: an address that nobody may take, say.
        Err(error) if matches!(error.kind, Kind::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
