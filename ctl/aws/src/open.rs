//! From settings to clients. Always: region and credentials are found before the first call, so
//! that their absence is an error of its own; clients that change something never repeat a call by
//! themselves, clients that read do so a few times.

use crate::error::{Error, Kind, chain};
use crate::metadata::Metadata;
use crate::settings::{Deadlines, Proxy, Region, RegionSource, Settings};
use aws_config::SdkConfig;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::{
    Credentials, ProvideCredentials, SharedCredentialsProvider, SharedHttpClient,
};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};
use std::future::Future;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Attempts of a call that reads.
const READ_ATTEMPTS: u32 = 3;
/// First wait between them at most; the SDK doubles it and picks a random part.
const READ_BACKOFF: Duration = Duration::from_millis(200);
/// What role sessions are called in AWS's own log.
const SESSION: &str = "lockstep";

/// A way to AWS in one region.
#[derive(Clone, Debug)]
pub struct Aws {
    /// Reads, with a few attempts.
    pub(crate) ec2: aws_sdk_ec2::Client,
    /// Changes, with one.
    pub(crate) ec2_once: aws_sdk_ec2::Client,
    /// Reads and changes of items, with one.
    pub(crate) items: aws_sdk_dynamodb::Client,
    pub(crate) deadlines: Deadlines,
    region: Region,
    key_id: String,
    expires: Option<SystemTime>,
}

impl Aws {
    /// Finds region and credentials, and makes the clients. Nothing but instance metadata and, for
    /// a role, STS is asked.
    ///
    /// # Errors
    /// No region ([`Kind::NoRegion`]) or no credentials ([`Kind::Credentials`]); both may be there
    /// later, when instance metadata or STS answer again.
    pub async fn open(settings: Settings) -> Result<Aws, Error> {
        let deadlines = settings.deadlines;
        let metadata = Metadata::open(settings.endpoints.metadata.as_deref(), deadlines)?;
        let http = http(settings.proxy);
        let region = region(&settings, &metadata).await?;
        let base = base(&settings, &region, &metadata, http).await;
        let provider = provider(&settings, &base, &region).await?;
        let found = credentials(&provider, deadlines.read).await?;
        let base = base.into_builder().credentials_provider(provider).build();
        let ec2 = |retries, limit| {
            let mut config = aws_sdk_ec2::config::Builder::from(&base)
                .retry_config(retries)
                .timeout_config(times(deadlines, limit));
            // None would hide what environment or profile say.
            if let Some(endpoint) = &settings.endpoints.ec2 {
                config.set_endpoint_url(Some(endpoint.clone()));
            }
            aws_sdk_ec2::Client::from_conf(config.build())
        };
        let mut items = aws_sdk_dynamodb::config::Builder::from(&base)
            .retry_config(RetryConfig::disabled())
            .timeout_config(times(deadlines, deadlines.write));
        if let Some(endpoint) = &settings.endpoints.dynamodb {
            items.set_endpoint_url(Some(endpoint.clone()));
        }
        let reading = RetryConfig::standard()
            .with_max_attempts(READ_ATTEMPTS)
            .with_initial_backoff(READ_BACKOFF);
        Ok(Aws {
            ec2: ec2(reading, deadlines.attempt),
            ec2_once: ec2(RetryConfig::disabled(), deadlines.write),
            items: aws_sdk_dynamodb::Client::from_conf(items.build()),
            deadlines,
            region,
            key_id: found.access_key_id().to_owned(),
            expires: found.expiry(),
        })
    }

    /// The region, and who said so.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Id of the access key that was found when this was opened; of a role, a temporary one.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// When that key ends by itself; it is renewed before.
    pub fn key_expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// A call that reads, within its deadline.
    pub(crate) async fn read<T, E>(
        &self,
        doing: &'static str,
        object: &str,
        call: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        within(self.deadlines.read, doing, object, call).await
    }

    /// A call that changes something, within its deadline.
    pub(crate) async fn write<T, E>(
        &self,
        doing: &'static str,
        object: &str,
        call: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        within(self.deadlines.write, doing, object, call).await
    }
}

async fn within<T, E>(
    limit: Duration,
    doing: &'static str,
    object: &str,
    call: impl Future<Output = Result<T, SdkError<E>>>,
) -> Result<T, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::of(doing, object, &error)),
        Err(_) => Err(Error::late(doing, object, limit)),
    }
}

/// What all clients have in common, without credentials of a role.
async fn base(
    settings: &Settings,
    region: &Region,
    metadata: &Metadata,
    http: SharedHttpClient,
) -> SdkConfig {
    let name = aws_config::Region::new(region.name.clone());
    let provider = ProviderConfig::without_region()
        .with_region(Some(name.clone()))
        .with_http_client(http.clone());
    let mut chain =
        DefaultCredentialsChain::builder().configure(provider).imds_client(metadata.client());
    let mut loader = aws_config::from_env()
        .http_client(http)
        .timeout_config(times(settings.deadlines, settings.deadlines.attempt))
        .region(name);
    if let Some(profile) = &settings.profile {
        chain = chain.profile_name(profile);
        loader = loader.profile_name(profile);
    }
    let loader = match &settings.keys {
        Some(keys) => loader.credentials_provider(Credentials::new(
            &keys.id,
            &keys.secret,
            keys.token.clone(),
            None,
            "settings",
        )),
        None => loader.credentials_provider(chain.build().await),
    };
    loader.load().await
}

async fn provider(
    settings: &Settings,
    base: &SdkConfig,
    region: &Region,
) -> Result<SharedCredentialsProvider, Error> {
    let own = base.credentials_provider().ok_or_else(|| {
        Error::unsent(
            Kind::Credentials,
            "find credentials",
            "",
            "there is no place to look for them",
        )
    })?;
    let Some(role) = &settings.role else { return Ok(own) };
    let base = match &settings.endpoints.sts {
        Some(endpoint) => base.to_builder().endpoint_url(endpoint).build(),
        None => base.clone(),
    };
    let role = AssumeRoleProvider::builder(role)
        .session_name(SESSION)
        .region(aws_config::Region::new(region.name.clone()))
        .configure(&base)
        .build()
        .await;
    Ok(SharedCredentialsProvider::new(role))
}

async fn credentials(
    provider: &SharedCredentialsProvider,
    limit: Duration,
) -> Result<Credentials, Error> {
    let doing = "find credentials";
    match timeout(limit, provider.provide_credentials()).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(Error::unsent(Kind::Credentials, doing, "", chain(&error))),
        Err(_) => {
            let message = format!("none within {} ms", limit.as_millis());
            Err(Error::unsent(Kind::Credentials, doing, "", message))
        }
    }
}

async fn region(settings: &Settings, metadata: &Metadata) -> Result<Region, Error> {
    if let Some(name) = &settings.region {
        return Ok(Region { name: name.clone(), source: RegionSource::Settings });
    }
    let known = |found: Option<aws_config::Region>, source| {
        found.map(|region| Region { name: region.as_ref().to_owned(), source })
    };
    let environment = EnvironmentVariableRegionProvider::new().region().await;
    if let Some(region) = known(environment, RegionSource::Environment) {
        return Ok(region);
    }
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = &settings.profile {
        profile = profile.profile_name(name);
    }
    if let Some(region) = known(profile.build().region().await, RegionSource::Profile) {
        return Ok(region);
    }
    match metadata.region().await {
        Ok(name) => Ok(Region { name, source: RegionSource::Metadata }),
        Err(error) => {
            let message = format!("not configured, not in the environment; {}", error.message);
            Err(Error::unsent(Kind::NoRegion, "find the region", "", message))
        }
    }
}

/// Limits of the SDK's own: one attempt never takes longer than ours for all of them.
fn times(deadlines: Deadlines, attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(deadlines.connect)
        .operation_attempt_timeout(attempt)
        .build()
}

/// Connections with the TLS of this build; the SDK has none of its own here.
pub(crate) fn http(proxy: Proxy) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder();
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        connector.set_sleep_impl(components.and_then(|found| found.sleep_impl()));
        let proxy = match proxy {
            Proxy::Environment => ProxyConfig::from_env(),
            Proxy::Direct => ProxyConfig::disabled(),
        };
        connector
            .proxy_config(proxy)
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build()
    })
}
