//! AWS: how it is reached, and what is done there. The SDK is behind `lockstep-aws`.
//! Always: nothing here is built without the feature `aws`.

use crate::config::cluster::AwsSpec;
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
pub(super) fn within(settings: &leaf::Settings, limit: Duration) -> leaf::Settings {
    let usual = settings.deadlines;
    let deadlines = leaf::Deadlines {
        connect: usual.connect.min(limit),
        attempt: limit,
        read: limit,
        write: limit,
    };
    leaf::Settings { deadlines, ..settings.clone() }
}
