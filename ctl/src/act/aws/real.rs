//! The cloud of the resources over the leaf crate, and how AWS is reached.

use super::aside::aside;
use super::cloud::{
    AddressSeen, Answer, BlockSeen, CardSeen, Cause, Cloud, Failed, OwnSeen, RouteSeen, Way,
    ZoneSeen,
};
use crate::config::cluster::AwsSpec;
use lockstep_aws::{Aws, Error, Kind, Metadata, RouteState, Target, Verdict, Which, ZoneState};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

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
        Box::pin(apart(call))
    }
}

/// A call beside the thread of the daemon's loop.
async fn apart<T: Send + 'static>(
    call: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Failed> {
    match aside(call).await {
        Ok(ended) => ended.map_err(|error| failed(&error)),
        Err(cause) => {
            let text = format!("a call of AWS ended in a defect: {cause}; report it");
            Err(Failed { cause: Cause::Passing, text })
        }
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

    fn routes(&self, vpc: &str, addresses: &[Ipv4Addr]) -> Answer<Vec<RouteSeen>> {
        let (vpc, addresses) = (vpc.to_owned(), addresses.to_vec());
        self.ask(move |aws| async move {
            let mut seen = Vec::new();
            for table in aws.routes(&vpc, &addresses).await? {
                for route in table.routes {
                    let target = match route.target {
                        Target::Interface { eni, .. } => eni,
                        Target::Other(id) => id,
                    };
                    let (address, active) = (route.address, route.state == RouteState::Active);
                    seen.push(RouteSeen { address, table: table.id.clone(), target, active });
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

    fn zone(&self, name: &str) -> Answer<ZoneSeen> {
        let name = name.to_owned();
        self.ask(|aws| async move {
            let mut found = aws.zones(&[&name]).await?;
            // Found, or the call has failed.
            let zone = found.swap_remove(0);
            Ok(ZoneSeen { state: word(zone.state), messages: zone.messages })
        })
    }

    fn stop(&self, instance: &str) -> Answer<()> {
        let instance = instance.to_owned();
        self.ask(|aws| async move { aws.stop_by_force(&instance).await })
    }

    fn is_down(&self, instance: &str) -> Answer<bool> {
        let instance = instance.to_owned();
        self.ask(|aws| async move {
            let found = aws.instances(&[&instance]).await?;
            Ok(found.iter().all(|one| one.state.is_down()))
        })
    }
}

fn word(state: ZoneState) -> String {
    match state {
        ZoneState::Available => "available".to_owned(),
        ZoneState::Information => "information".to_owned(),
        ZoneState::Constrained => "constrained".to_owned(),
        ZoneState::Impaired => "impaired".to_owned(),
        ZoneState::Unavailable => "unavailable".to_owned(),
        ZoneState::Other(word) => word,
    }
}

/// The way to AWS as the settings say; what was found once stays.
pub struct RealWay {
    settings: leaf::Settings,
    aws: Arc<OnceCell<Aws>>,
    own: Arc<OnceCell<OwnSeen>>,
}

impl RealWay {
    /// Nothing is asked yet.
    pub fn new(settings: leaf::Settings) -> RealWay {
        RealWay { settings, aws: Arc::default(), own: Arc::default() }
    }
}

impl Way for RealWay {
    fn cloud(&self) -> Answer<Arc<dyn Cloud>> {
        let (settings, aws) = (self.settings.clone(), Arc::clone(&self.aws));
        Box::pin(async move {
            let open = async move { aws.get_or_try_init(|| Aws::open(settings)).await.cloned() };
            Ok(Arc::new(Real(apart(open).await?)) as Arc<dyn Cloud>)
        })
    }

    fn own(&self) -> Answer<OwnSeen> {
        let (settings, own) = (self.settings.clone(), Arc::clone(&self.own));
        Box::pin(apart(async move {
            let ask = || async {
                let endpoint = settings.endpoints.metadata.as_deref();
                let found = Metadata::open(endpoint, settings.deadlines)?.own().await?;
                let cards = found.cards.into_iter().map(|card| (card.mac, card.eni)).collect();
                Ok(OwnSeen { zone: found.zone, cards })
            };
            own.get_or_try_init(ask).await.cloned()
        }))
    }
}
