//! What the resources of AWS need of it, in plain words: a trait, so that a fake stands in for it.

use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A call under way.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send + 'static>>;

/// How long a call that changes something may be on its way: its one attempt. Whoever has taken an
/// address looks once more when that has passed, since a late call of the former owner may land.
pub const LATE: Duration = Duration::from_secs(2);

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What it means.
    pub cause: Cause,
    /// AWS's own reason, with the next move.
    pub text: String,
}

/// What a failed call means to a resource or a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// AWS has answered, and what was named is not there.
    Missing,
    /// The association is no more.
    Gone,
    /// AWS refuses, and will refuse again.
    Refused,
    /// No answer in time; a change may land yet.
    Late,
    /// It may work later: too many calls, a broken connection, a failure of AWS.
    Passing,
}

impl Failed {
    /// Number of its message: 6 when no answer came, 5 for the rest.
    pub fn number(&self) -> u32 {
        if self.cause == Cause::Late { 6 } else { 5 }
    }

    /// Whether the same call may succeed later without anybody's doing.
    pub fn may_pass(&self) -> bool {
        matches!(self.cause, Cause::Late | Cause::Passing)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A block of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSeen {
    /// As people write it.
    pub text: String,
    /// Whether the address that was asked about is in it.
    pub holds: bool,
}

/// The route to an address in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSeen {
    /// The address.
    pub address: Ipv4Addr,
    /// The table.
    pub table: String,
    /// The network interface, or whatever else it leads to.
    pub target: String,
    /// Whether it leads anywhere.
    pub active: bool,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardSeen {
    /// Its VPC.
    pub vpc: String,
    /// It drops what is not for its own addresses.
    pub checks: bool,
}

/// An elastic address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSeen {
    /// The network interface that has it.
    pub eni: Option<String>,
    /// Id of that association.
    pub association: Option<String>,
}

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSeen {
    /// In AWS's word.
    pub state: String,
    /// What AWS says about that.
    pub messages: Vec<String>,
}

/// What an instance knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnSeen {
    /// Its availability zone.
    pub zone: String,
    /// Hardware address, in lower case with colons, and id of each network interface.
    pub cards: Vec<(String, String)>,
}

/// The calls.
pub trait Cloud: Send + Sync {
    /// All blocks of a VPC, and whether they hold an address.
    fn blocks(&self, vpc: &str, address: Ipv4Addr) -> Answer<Vec<BlockSeen>>;

    /// A network interface.
    fn card(&self, eni: &str) -> Answer<CardSeen>;

    /// The routes to these addresses in every table of a VPC that has one, by one question.
    fn routes(&self, vpc: &str, addresses: &[Ipv4Addr]) -> Answer<Vec<RouteSeen>>;

    /// Lets the route of one table lead to a network interface. Sent once.
    fn replace(&self, table: &str, address: Ipv4Addr, eni: &str) -> Answer<()>;

    /// An elastic address.
    fn address(&self, allocation: &str) -> Answer<AddressSeen>;

    /// Gives an elastic address to a network interface, from whoever has it. Sent once.
    fn associate(&self, allocation: &str, eni: &str) -> Answer<()>;

    /// Ends one association. Sent once.
    fn disassociate(&self, association: &str) -> Answer<()>;

    /// An availability zone.
    fn zone(&self, name: &str) -> Answer<ZoneSeen>;

    /// Begins to stop an instance by force. Sent once.
    fn stop(&self, instance: &str) -> Answer<()>;

    /// Whether an instance certainly does not run.
    fn is_down(&self, instance: &str) -> Answer<bool>;
}

/// How one daemon comes to its cloud. What was found once is kept.
pub trait Way: Send + Sync {
    /// The cloud, once region and credentials are found.
    fn cloud(&self) -> Answer<Arc<dyn Cloud>>;

    /// What the instance knows of itself.
    fn own(&self) -> Answer<OwnSeen>;
}

/// Whether the record names this node at its epoch, by a strongly consistent read.
pub trait Right: Send + Sync {
    /// Reads it now. What can't be known is no right.
    fn holds(&self) -> Pin<Box<dyn Future<Output = bool> + Send + 'static>>;
}

/// What a monitor has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// As it should be.
    Well,
    /// Not as it should be; the number of the message, and the message.
    Wrong(u32, String),
    /// Worth telling, and nothing to act on.
    Warn(u32, String),
    /// AWS did not say; what becomes of that is configured.
    Unknown(Failed),
}

/// A failed call as a monitor sees it: AWS has said that something is not there, or nothing.
pub(super) fn watched(failed: Failed) -> Watched {
    match failed.cause {
        Cause::Missing | Cause::Gone => Watched::Wrong(failed.number(), failed.text),
        _ => Watched::Unknown(failed),
    }
}
