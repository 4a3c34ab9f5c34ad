//! EC2, DynamoDB and instance metadata as plain types: the only crate that names the SDK of AWS.
//! Always: no type of the SDK is in its public interface; a call ends within its own deadline; a
//! call that changes something is sent once, so that whoever asked knows what may still land
//! (SAFETY R4); one that reads is repeated a few times, with jitter.

mod addresses;
mod clock;
mod error;
mod instances;
mod interfaces;
mod items;
mod metadata;
mod open;
mod permission;
mod routes;
mod settings;
mod tables;
mod zones;

pub use addresses::Address;
pub use clock::Clocks;
pub use error::{Conflict, Error, Kind, Verdict};
pub use instances::{Instance, InstanceState};
pub use interfaces::{Attachment, Interface, Protocol, Rule, SecurityGroup, Source, Which};
pub use items::{Item, Seen, Swap, Swapped};
pub use metadata::{Card, Metadata, Own};
pub use open::Aws;
pub use permission::Permission;
pub use routes::{Block, Route, RouteState, RouteTable, Target, Vpc};
pub use settings::{Deadlines, Endpoints, Keys, Proxy, Region, RegionSource, Settings};
pub use tables::{Table, TableState};
pub use zones::{Zone, ZoneState};
