//! Instances, and how one is stopped by force.

use crate::error::{Error, Kind};
use crate::open::Aws;
use aws_sdk_ec2::types;

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// How it is.
    pub state: InstanceState,
    /// Its availability zone.
    pub zone: String,
}

/// How an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It begins.
    Pending,
    /// It runs.
    Running,
    /// It is being stopped and may run yet.
    Stopping,
    /// It is being ended and may run yet.
    ShuttingDown,
    /// It does not run.
    Stopped,
    /// It is no more.
    Terminated,
    /// In a word that this program does not know.
    Other(String),
}

impl InstanceState {
    /// Whether it certainly does not run.
    pub fn is_down(&self) -> bool {
        matches!(self, InstanceState::Stopped | InstanceState::Terminated)
    }
}

impl Aws {
    /// These instances.
    ///
    /// # Errors
    /// One is not there ([`Kind::InstanceNotFound`]), or they could not be asked for.
    pub async fn instances(&self, ids: &[&str]) -> Result<Vec<Instance>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "look at instances";
        let owned = ids.iter().map(|id| (*id).to_owned()).collect();
        let asked = self.ec2.describe_instances().set_instance_ids(Some(owned));
        let found = self.read(doing, &ids.join(" "), asked.send()).await?;
        let all = found.reservations().iter().flat_map(|one| one.instances());
        let found: Vec<Instance> = all.map(instance).collect();
        match ids.iter().find(|id| !found.iter().any(|one| one.id == **id)) {
            Some(id) => Err(Error::missing(Kind::InstanceNotFound, doing, id, "it is not there")),
            None => Ok(found),
        }
    }

    /// Begins to stop an instance without asking its system; whether it is down is a question for
    /// [`Aws::instances`]. Sent once; to one that is down already, without effect.
    ///
    /// # Errors
    /// It is not there; or what became of it is not known ([`Error::outcome_is_unknown`]).
    pub async fn stop_by_force(&self, id: &str) -> Result<(), Error> {
        let asked =
            self.ec2_once.stop_instances().instance_ids(id).force(true).skip_os_shutdown(true);
        self.write("stop by force", id, asked.send()).await.map(drop)
    }
}

fn instance(of: &types::Instance) -> Instance {
    let state = match of.state().and_then(|state| state.name()) {
        Some(types::InstanceStateName::Pending) => InstanceState::Pending,
        Some(types::InstanceStateName::Running) => InstanceState::Running,
        Some(types::InstanceStateName::Stopping) => InstanceState::Stopping,
        Some(types::InstanceStateName::ShuttingDown) => InstanceState::ShuttingDown,
        Some(types::InstanceStateName::Stopped) => InstanceState::Stopped,
        Some(types::InstanceStateName::Terminated) => InstanceState::Terminated,
        other => InstanceState::Other(other.map_or("unknown", |name| name.as_str()).to_owned()),
    };
    Instance {
        id: of.instance_id().unwrap_or_default().to_owned(),
        state,
        zone: of.placement().and_then(|at| at.availability_zone()).unwrap_or_default().to_owned(),
    }
}
