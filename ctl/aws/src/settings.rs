//! How to reach AWS, as a configuration says it. Always: what is not set is found the way every
//! tool of AWS finds it, and where the region came from can be told.

use std::fmt;
use std::time::Duration;

/// How to reach AWS.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The region; without it: environment, profile, instance metadata, in this order.
    pub region: Option<String>,
    /// Servers other than those of the region: VPC endpoints, tests.
    pub endpoints: Endpoints,
    /// Limits of single calls.
    pub deadlines: Deadlines,
    /// ARN of a role to be taken on by whoever the credentials belong to.
    pub role: Option<String>,
    /// Profile of the shared files; without it: environment, or `default`.
    pub profile: Option<String>,
    /// Keys instead of those that would be found.
    pub keys: Option<Keys>,
    /// The way to the servers.
    pub proxy: Proxy,
}

/// Addresses such as `http://127.0.0.1:5000`; `None` is that of the region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Of EC2.
    pub ec2: Option<String>,
    /// Of DynamoDB.
    pub dynamodb: Option<String>,
    /// Of STS, for a role.
    pub sts: Option<String>,
    /// Of the instance metadata.
    pub metadata: Option<String>,
}

/// Limits of single calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Until a connection stands.
    pub connect: Duration,
    /// One attempt of a call that reads.
    pub attempt: Duration,
    /// All attempts of a call that reads.
    pub read: Duration,
    /// The one attempt of a call that changes something.
    pub write: Duration,
}

impl Default for Deadlines {
    /// A write may be on its way for 2 s, which is what the next owner waits before it looks again.
    fn default() -> Deadlines {
        Deadlines {
            connect: Duration::from_secs(1),
            attempt: Duration::from_secs(2),
            read: Duration::from_secs(8),
            write: Duration::from_secs(2),
        }
    }
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// Token of a session.
    pub token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The way to the servers. Instance metadata are always asked directly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// Directly.
    Direct,
}

/// A region, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Who said so.
    pub source: RegionSource,
}

/// Who named the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionSource {
    /// The settings.
    Settings,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`.
    Environment,
    /// A profile of the shared files.
    Profile,
    /// The instance metadata.
    Metadata,
}

impl fmt::Display for RegionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RegionSource::Settings => "configuration",
            RegionSource::Environment => "environment",
            RegionSource::Profile => "profile",
            RegionSource::Metadata => "instance metadata",
        })
    }
}
