//! AWS, where the configuration needs it: who this instance is, whom AWS takes it for, and whether
//! everything that is named is there and as it has to be.
//! Always: nothing is changed: what would change something is asked as a dry run, and for the state
//! that is there already; a build without AWS says so, once.

#[cfg(feature = "aws")]
mod asked;
#[cfg(feature = "aws")]
mod routes;

use super::{Around, Checks};
use crate::config::cluster::needs_aws;

pub(super) fn look(checks: &mut Checks, around: &Around<'_>) {
    let needs = needs_aws(around.own);
    if needs.is_empty() {
        return;
    }
    #[cfg(feature = "aws")]
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(asked::look(checks, around)),
        Err(cause) => checks.skip("AWS", cause, "see `ulimit -a`"),
    }
    #[cfg(not(feature = "aws"))]
    checks.fail(
        "AWS",
        format!("this build has none, and can't act on {}", needs.join(", ")),
        "install the package with AWS support on both nodes",
    );
}
