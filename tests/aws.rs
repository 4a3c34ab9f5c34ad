//! AWS, against an imitation of it on loopback: each call of the leaf crate, each way in which one
//! fails, the arbiter in DynamoDB through the races of every store, and the permissions that all
//! of it needs. What the imitation gets wrong comes from a proxy in front of it.
#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "arbiter/kinds.rs"]
mod kinds;

#[path = "aws/calls.rs"]
mod calls;
#[path = "arbiter/conform.rs"]
mod conform;
#[path = "aws/doctor.rs"]
mod doctor;
#[path = "aws/dynamodb.rs"]
mod dynamodb;
#[path = "aws/failures.rs"]
mod failures;
#[path = "arbiter/faults.rs"]
mod faults;
#[path = "arbiter/lab.rs"]
mod lab;
#[path = "aws/permissions.rs"]
mod permissions;
#[path = "aws/resources.rs"]
mod resources;
#[path = "aws/surroundings.rs"]
mod surroundings;
#[path = "aws/table.rs"]
mod table;
#[path = "arbiter/words.rs"]
mod words;

use dynamodb::DynamodbLab;
use harness::aws::moto::REGION;
use lockstep_ctl::act::aws::leaf::{Aws, Deadlines, Endpoints, Keys, Proxy, Settings};
use std::time::Duration;

conforms!(a_dynamodb, DynamodbLab::new());
withstands!(a_dynamodb_with_faults, DynamodbLab::new());

/// How a client of the tests reaches AWS.
pub fn settings(endpoint: &str) -> Settings {
    Settings {
        region: Some(REGION.to_owned()),
        endpoints: Endpoints {
            ec2: Some(endpoint.to_owned()),
            dynamodb: Some(endpoint.to_owned()),
            sts: Some(endpoint.to_owned()),
            metadata: None,
        },
        // Python beside other tests may take its time.
        deadlines: Deadlines {
            attempt: Duration::from_secs(20),
            read: Duration::from_secs(30),
            write: Duration::from_secs(20),
            ..Deadlines::default()
        },
        keys: Some(keys("test", "test")),
        proxy: Proxy::Direct,
        ..Settings::default()
    }
}

pub fn keys(id: &str, secret: &str) -> Keys {
    Keys { id: id.to_owned(), secret: secret.to_owned(), token: None }
}

/// A client.
pub async fn open(endpoint: &str) -> Aws {
    Aws::open(settings(endpoint)).await.unwrap()
}
