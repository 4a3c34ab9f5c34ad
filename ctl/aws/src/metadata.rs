//! What an instance can learn of itself. Always: by tokens (IMDSv2), which stay in memory; asked
//! directly, never through a proxy.

use crate::error::{Error, Kind, chain};
use crate::open::http;
use crate::settings::{Deadlines, Proxy};
use aws_config::imds::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::timeout;

/// Attempts of one question.
const ATTEMPTS: u32 = 2;
const DOING: &str = "ask the instance metadata for";

/// The instance metadata.
#[derive(Clone, Debug)]
pub struct Metadata {
    client: Client,
    limit: Duration,
}

/// What an instance knows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its id.
    pub instance: String,
    /// Its region.
    pub region: String,
    /// Its availability zone.
    pub zone: String,
    /// Its network interfaces.
    pub cards: Vec<Card>,
}

/// A network interface as an instance sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Hardware address, in lower case with colons.
    pub mac: String,
    /// Id of the network interface.
    pub eni: String,
    /// Its VPC.
    pub vpc: String,
    /// Its private addresses, the first one first.
    pub addresses: Vec<Ipv4Addr>,
}

impl Metadata {
    /// The metadata of this instance; `endpoint` such as `http://127.0.0.1:80` is for tests. Where
    /// none is given, `AWS_EC2_METADATA_SERVICE_ENDPOINT` counts. Nothing is asked yet.
    ///
    /// # Errors
    /// The endpoint is no address.
    pub fn open(endpoint: Option<&str>, deadlines: Deadlines) -> Result<Metadata, Error> {
        let provider = ProviderConfig::without_region().with_http_client(http(Proxy::Direct));
        let mut builder = Client::builder()
            .configure(&provider)
            .max_attempts(ATTEMPTS)
            .connect_timeout(deadlines.connect)
            .read_timeout(deadlines.attempt);
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint(endpoint).map_err(|cause| {
                Error::unsent(Kind::Other, "read the endpoint of the metadata", endpoint, cause)
            })?;
        }
        Ok(Metadata { client: builder.build(), limit: deadlines.read })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The region.
    ///
    /// # Errors
    /// This is no instance, or its metadata do not answer.
    pub async fn region(&self) -> Result<String, Error> {
        self.get("placement/region").await
    }

    /// Everything that a cluster needs to know.
    ///
    /// # Errors
    /// This is no instance, or its metadata do not answer.
    pub async fn own(&self) -> Result<Own, Error> {
        let instance = self.get("instance-id").await?;
        let region = self.region().await?;
        let zone = self.get("placement/availability-zone").await?;
        let macs = self.get("network/interfaces/macs/").await?;
        let mut cards = Vec::new();
        for mac in macs.lines().map(|line| line.trim().trim_end_matches('/')) {
            if !mac.is_empty() {
                cards.push(self.card(mac).await?);
            }
        }
        Ok(Own { instance, region, zone, cards })
    }

    async fn card(&self, mac: &str) -> Result<Card, Error> {
        let of = |what: &str| format!("network/interfaces/macs/{mac}/{what}");
        let eni = self.get(&of("interface-id")).await?;
        let vpc = self.get(&of("vpc-id")).await?;
        let addresses = self.get(&of("local-ipv4s")).await?;
        let addresses = addresses.lines().filter_map(|line| line.trim().parse().ok()).collect();
        Ok(Card { mac: mac.to_ascii_lowercase(), eni, vpc, addresses })
    }

    async fn get(&self, what: &str) -> Result<String, Error> {
        let path = format!("/latest/meta-data/{what}");
        match timeout(self.limit, self.client.get(path)).await {
            Ok(Ok(said)) => Ok(said.as_ref().to_owned()),
            Ok(Err(error)) => {
                let kind = match &error {
                    ImdsError::ErrorResponse(said) => {
                        Kind::Server { status: said.response().status().as_u16() }
                    }
                    _ => Kind::Unreachable,
                };
                let message = match kind {
                    // Its own words are the whole answer, headers too.
                    Kind::Server { .. } => "refused".to_owned(),
                    _ => chain(&error),
                };
                Err(Error::unsent(kind, DOING, what, message))
            }
            Err(_) => Err(Error::late(DOING, what, self.limit)),
        }
    }
}
