//! The cloud of the resources over the leaf crate, and how AWS is reached.

use super::cloud::{AddressSeen, Answer, BlockSeen, CardSeen, Cause, Cloud, Failed, RouteSeen};
use crate::config::cluster::AwsSpec;
use lockstep_aws::{Aws, Error, Kind, RouteState, Target, Verdict, Which};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The leaf crate, for whoever may not name it.
pub use lockstep_aws as leaf;

/// How AWS is reached, as the configuration says.
pub fn settings(spec: &AwsSpec) -> leaf::Settings {
    leaf::Settings {
        region: spec.region.clone(),
        endpoints: leaf::Endpoints {
            ec2: spec.ec2_endpoint.clone(),
            dynamodb: spec.dynamodb_endpoint.clone(),
            sts: spec.sts_endpoint.clone(),
            metadata: spec.metadata_endpoint.clone(),
        },
        role: spec.role.clone(),
        profile: spec.profile.clone(),
        ..leaf::Settings::default()
    }
}

/// The same, with every call within `limit`.
pub(in crate::act) fn within(settings: &leaf::Settings, limit: Duration) -> leaf::Settings {
    let usual = settings.deadlines;
    let deadlines = leaf::Deadlines {
        connect: usual.connect.min(limit),
        attempt: limit,
        read: limit,
        write: limit,
    };
    leaf::Settings { deadlines, ..settings.clone() }
}

/// AWS itself.
#[derive(Clone, Debug)]
pub struct Real(pub Aws);

impl Real {
    /// Runs a call with a client of its own, so that nothing is borrowed.
    fn ask<T, F>(&self, call: impl FnOnce(Aws) -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let call = call(self.0.clone());
        Box::pin(async move { call.await.map_err(|error| failed(&error)) })
    }
}

fn failed(error: &Error) -> Failed {
    let cause = match error.kind {
        Kind::AssociationNotFound => Cause::Gone,
        Kind::Timeout => Cause::Late,
        _ if error.verdict() == Verdict::Wrong => Cause::Missing,
        _ if error.may_pass() => Cause::Passing,
        _ => Cause::Refused,
    };
    Failed { cause, text: error.to_string() }
}

impl Cloud for Real {
    fn blocks(&self, vpc: &str, address: Ipv4Addr) -> Answer<Vec<BlockSeen>> {
        let vpc = vpc.to_owned();
        self.ask(|aws| async move {
            let seen = |block: &leaf::Block| BlockSeen {
                text: block.to_string(),
                holds: block.contains(address),
            };
            Ok(aws.vpc(&vpc).await?.blocks.iter().map(seen).collect())
        })
    }

    fn card(&self, eni: &str) -> Answer<CardSeen> {
        let eni = eni.to_owned();
        self.ask(|aws| async move {
            let mut found = aws.interfaces(Which::Ids(&[&eni])).await?;
            // Found, or the call has failed.
            let card = found.swap_remove(0);
            Ok(CardSeen { vpc: card.vpc, checks: card.source_dest_check })
        })
    }

    fn routes(&self, vpc: &str, address: Ipv4Addr) -> Answer<Vec<RouteSeen>> {
        let vpc = vpc.to_owned();
        self.ask(move |aws| async move {
            let mut seen = Vec::new();
            for table in aws.routes(&vpc, &[address]).await? {
                for route in table.routes {
                    let target = match route.target {
                        Target::Interface { eni, .. } => eni,
                        Target::Other(id) => id,
                    };
                    let active = route.state == RouteState::Active;
                    seen.push(RouteSeen { table: table.id.clone(), target, active });
                }
            }
            Ok(seen)
        })
    }

    fn replace(&self, table: &str, address: Ipv4Addr, eni: &str) -> Answer<()> {
        let (table, eni) = (table.to_owned(), eni.to_owned());
        self.ask(move |aws| async move { aws.replace_route(&table, address, &eni).await })
    }

    fn address(&self, allocation: &str) -> Answer<AddressSeen> {
        let allocation = allocation.to_owned();
        self.ask(|aws| async move {
            let mut found = aws.addresses(&[&allocation]).await?;
            // Found, or the call has failed.
            let address = found.swap_remove(0);
            Ok(AddressSeen { eni: address.eni, association: address.association })
        })
    }

    fn associate(&self, allocation: &str, eni: &str) -> Answer<()> {
        let (allocation, eni) = (allocation.to_owned(), eni.to_owned());
        self.ask(|aws| async move { aws.associate(&allocation, &eni, None).await.map(drop) })
    }

    fn disassociate(&self, association: &str) -> Answer<()> {
        let association = association.to_owned();
        self.ask(|aws| async move { aws.disassociate(&association).await })
    }
}
