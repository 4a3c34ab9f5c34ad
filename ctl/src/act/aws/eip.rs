//! An elastic address. Taking it is associating it with this node's network interface, from whoever
//! has it; giving it back is ending that association, if it is still the one seen to be ours.
//! Always: what was done is looked at before it counts; a release of a former owner hits nobody.

use super::cloud::{AddressSeen, Cause, Cloud, Failed, Right, Watched, watched};
use super::retry::{Attempts, holds};
use std::fmt;
use tokio::time::Instant;

/// An elastic address, as one node has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eip {
    /// Id of its allocation.
    pub allocation: String,
    /// The network interface of this node.
    pub eni: String,
}

/// Why the address is not here, or not given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EipError {
    /// The record does not name this node, or could not be read.
    NotOurs { allocation: String },
    /// AWS could not be asked, or did not do it.
    Call(Failed),
    /// It is somebody else's all the time.
    Elsewhere { allocation: String, eni: Option<String> },
}

impl EipError {
    /// Number of its message.
    pub fn number(&self) -> u32 {
        match self {
            EipError::NotOurs { .. } => 99,
            EipError::Call(failed) => failed.number(),
            EipError::Elsewhere { .. } => 7,
        }
    }
}

impl fmt::Display for EipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EipError::NotOurs { allocation } => write!(
                f,
                "EIP {allocation}: the record does not name this node now; nothing was changed"
            ),
            EipError::Call(failed) => failed.fmt(f),
            EipError::Elsewhere { allocation, eni } => f.write_str(&elsewhere(allocation, eni)),
        }
    }
}

impl std::error::Error for EipError {}

fn elsewhere(allocation: &str, eni: &Option<String>) -> String {
    let who = eni.as_ref().map_or(String::new(), |eni| format!(" but with {eni}"));
    format!(
        "EIP {allocation} is not associated with this node{who}; somebody else has changed it, or \
         another cluster uses it"
    )
}

fn is_here(eip: &Eip, seen: &AddressSeen) -> bool {
    seen.eni.as_ref() == Some(&eip.eni)
}

/// Takes the address, and looks. Whoever is done looks once more when [`super::cloud::LATE`] has
/// passed.
///
/// # Errors
/// It is not here by then.
pub async fn take(
    cloud: &dyn Cloud,
    right: &dyn Right,
    eip: &Eip,
    until: Instant,
) -> Result<(), EipError> {
    let mut attempts = Attempts::until(until);
    let mut failure: Option<Failed> = None;
    let mut first = true;
    loop {
        let seen = match cloud.address(&eip.allocation).await {
            Ok(seen) => seen,
            // The way to AWS may be cut for a moment, while the address moves.
            Err(failed) if failed.may_pass() && attempts.again().await => continue,
            Err(failed) => return Err(EipError::Call(failed)),
        };
        if is_here(eip, &seen) {
            return Ok(());
        }
        let hopeless = failure.as_ref().is_some_and(|failed| !failed.may_pass());
        if hopeless || (!first && !attempts.again().await) {
            let allocation = eip.allocation.clone();
            let elsewhere = EipError::Elsewhere { allocation, eni: seen.eni };
            return Err(failure.map_or(elsewhere, EipError::Call));
        }
        first = false;
        // Right before the change: nothing else keeps a former owner from it.
        if !holds(right).await {
            return Err(EipError::NotOurs { allocation: eip.allocation.clone() });
        }
        failure = cloud.associate(&eip.allocation, &eip.eni).await.err();
    }
}

/// Gives the address back, if this node has it and the record names it. Whoever comes after takes
/// the address all the same.
///
/// # Errors
/// It is here still.
pub async fn release(
    cloud: &dyn Cloud,
    right: &dyn Right,
    eip: &Eip,
    until: Instant,
) -> Result<(), EipError> {
    let mut attempts = Attempts::until(until);
    loop {
        let failed = match cloud.address(&eip.allocation).await {
            Ok(AddressSeen { association: Some(association), eni })
                if eni.as_ref() == Some(&eip.eni) =>
            {
                if !holds(right).await {
                    return Ok(());
                }
                match cloud.disassociate(&association).await {
                    Ok(()) => return Ok(()),
                    Err(failed) if failed.cause == Cause::Gone => return Ok(()),
                    Err(failed) => failed,
                }
            }
            Ok(_) => return Ok(()),
            Err(failed) => failed,
        };
        if !failed.may_pass() || !attempts.again().await {
            return Err(EipError::Call(failed));
        }
    }
}

/// Whether the address is here.
pub async fn look(cloud: &dyn Cloud, eip: &Eip) -> Watched {
    match cloud.address(&eip.allocation).await {
        Ok(seen) if is_here(eip, &seen) => Watched::Well,
        Ok(seen) => Watched::Wrong(7, elsewhere(&eip.allocation, &seen.eni)),
        Err(failed) => watched(failed),
    }
}

#[cfg(test)]
#[path = "eip_tests.rs"]
mod tests;
