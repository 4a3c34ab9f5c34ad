//! Availability zones.

use crate::error::{Error, Kind};
use crate::open::Aws;
use aws_sdk_ec2::types;

/// An availability zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: ZoneState,
    /// What AWS says about that.
    pub messages: Vec<String>,
}

/// How a zone is, in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneState {
    /// Everything works.
    Available,
    /// There is something to know.
    Information,
    /// There is too little of something.
    Constrained,
    /// Something does not work.
    Impaired,
    /// Nothing works.
    Unavailable,
    /// In a word that this program does not know.
    Other(String),
}

impl Aws {
    /// These zones.
    ///
    /// # Errors
    /// One is not there ([`Kind::InvalidAz`]), or they could not be asked for.
    pub async fn zones(&self, names: &[&str]) -> Result<Vec<Zone>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "look at availability zones";
        let owned = names.iter().map(|name| (*name).to_owned()).collect();
        let asked = self.ec2.describe_availability_zones().set_zone_names(Some(owned));
        let found = self.read(doing, &names.join(" "), asked.send()).await;
        let found = found.map_err(|error| match error.code.as_deref() {
            // No other parameter was given.
            Some("InvalidParameterValue") => error.sorted_as(Kind::InvalidAz),
            _ => error,
        })?;
        let found: Vec<Zone> = found.availability_zones().iter().map(zone).collect();
        match names.iter().find(|name| !found.iter().any(|one| one.name == **name)) {
            Some(name) => Err(Error::missing(Kind::InvalidAz, doing, name, "it is not there")),
            None => Ok(found),
        }
    }
}

fn zone(of: &types::AvailabilityZone) -> Zone {
    let state = match of.state() {
        Some(types::AvailabilityZoneState::Available) => ZoneState::Available,
        Some(types::AvailabilityZoneState::Information) => ZoneState::Information,
        Some(types::AvailabilityZoneState::Constrained) => ZoneState::Constrained,
        Some(types::AvailabilityZoneState::Impaired) => ZoneState::Impaired,
        Some(types::AvailabilityZoneState::Unavailable) => ZoneState::Unavailable,
        other => ZoneState::Other(other.map_or("unknown", |state| state.as_str()).to_owned()),
    };
    let messages = of.messages().iter();
    Zone {
        name: of.zone_name().unwrap_or_default().to_owned(),
        state,
        messages: messages.filter_map(|one| one.message().map(str::to_owned)).collect(),
    }
}
