//! AWS's clock, as its answers tell it: calls that are signed with a time far from it are refused.
//! Always: any answer tells the time, a refusal too.

use crate::error::Error;
use crate::open::Aws;
use aws_sdk_ec2::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Two clocks at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// AWS's, in seconds since 1970.
    pub theirs: i64,
    /// This host's, when the answer came.
    pub own: i64,
}

impl Clocks {
    /// How far this host is ahead, in seconds; AWS tells whole ones.
    pub fn ahead(&self) -> i64 {
        self.own.saturating_sub(self.theirs)
    }
}

/// What the answers have told.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Option<Clocks>>>);

impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let theirs = date.and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        if let Some(theirs) = theirs {
            let clocks =
                Clocks { theirs: theirs.secs(), own: DateTime::from(SystemTime::now()).secs() };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(clocks);
        }
        Ok(())
    }
}

impl Aws {
    /// Both clocks. Whatever AWS answers will do.
    ///
    /// # Errors
    /// It does not answer. `None`: its answer tells no time.
    pub async fn clocks(&self) -> Result<Option<Clocks>, Error> {
        let heard = Heard::default();
        let asked = self.ec2.describe_availability_zones().customize().interceptor(heard.clone());
        let said = self.read("compare clocks with", "EC2", asked.send()).await;
        let clocks = *heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (clocks, said) {
            (None, Err(error)) => Err(error),
            (clocks, _) => Ok(clocks),
        }
    }
}
