//! Addresses of AWS as resources of a group, and what monitors see of them.
//! Always: what is on this host is decided by this host alone, so that a check needs no AWS; a
//! change in EC2 needs the record, read right before; taking an address down touches nothing there
//! that is not this node's. A failure carries the number by which operators find its cause
//! (REFERENCE §3.4), with 100 added where it is only a warning.

use super::cloud::{Cause, Cloud, Failed, LATE, OwnSeen, Right, RouteSeen, Watched, Way, watched};
use super::eip::{self, Eip, EipError};
use super::vip::{self, Vip, VipError};
use super::zone;
use crate::act::probe::spec::Found;
use crate::act::resource::links;
use crate::act::resource::spec::{EipSpec, Spec, VipSpec};
use crate::act::resource::{Context, Failure, State, address};
use crate::act::{clock, file};
use lockstep_engine::units::{Span, Tick};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// What may be wrong with the set-up is asked for so long; a takeover does not wait for it.
const CHECK: Duration = Duration::from_secs(2);
/// Kept of the time of an effect, so that its own words come before its deadline.
const WORDS: Span = Span::millis(200);
/// Giving an elastic address back is worth this much time: whoever is next takes it anyway.
const RELEASE: Duration = Duration::from_secs(10);
/// What one monitor has seen counts for the next one.
const SHARED: Duration = Duration::from_millis(500);
/// A call that is late by its own limits has landed by then.
const LANDED: Duration = Duration::from_millis(500);

/// How the addresses of one node are moved and looked at.
#[derive(Clone)]
pub struct Mover {
    way: Arc<dyn Way>,
    rounds: Arc<Rounds>,
}

/// What a look at the routes of a VPC has given.
type Look = Result<Vec<RouteSeen>, Failed>;

/// Looks at the routes of a VPC, shared by all monitors of its addresses.
#[derive(Default)]
struct Rounds {
    /// All addresses of each VPC.
    addresses: BTreeMap<String, Vec<Ipv4Addr>>,
    last: Mutex<BTreeMap<String, (Instant, Look)>>,
}

impl Rounds {
    async fn look(&self, cloud: &dyn Cloud, vip: &Vip) -> Watched {
        let mut last = self.last.lock().await;
        let fresh = last.get(&vip.vpc).filter(|(at, _)| at.elapsed() < SHARED);
        let seen = match fresh {
            Some((_, seen)) => seen.clone(),
            None => {
                let all = self.addresses.get(&vip.vpc).cloned().unwrap_or(vec![vip.address]);
                let seen = cloud.routes(&vip.vpc, &all).await;
                last.insert(vip.vpc.clone(), (Instant::now(), seen.clone()));
                seen
            }
        };
        match seen {
            Ok(routes) => {
                let own = |route: &RouteSeen| route.address == vip.address;
                vip::judge(vip, &routes.into_iter().filter(own).collect::<Vec<_>>())
            }
            Err(failed) => watched(failed),
        }
    }
}

/// Why an address can't be had: the number of the message, and the message with its hint.
struct Told(u32, String);

impl From<Failed> for Told {
    fn from(failed: Failed) -> Told {
        Told(failed.number(), failed.text)
    }
}

impl From<VipError> for Told {
    fn from(error: VipError) -> Told {
        Told(error.number(), error.to_string())
    }
}

impl From<EipError> for Told {
    fn from(error: EipError) -> Told {
        Told(error.number(), error.to_string())
    }
}

fn late(doing: &str) -> Told {
    let text = format!(
        "{doing}: no answer in time; check NAT or route to the regional endpoint, or give the VPC \
         an endpoint"
    );
    Told(6, text)
}

fn failure(context: &Context, doing: &str, told: &Told) -> Failure {
    let (cause, hint) = told.1.rsplit_once("; ").unwrap_or((told.1.as_str(), "see the log"));
    let doing = format!("{doing} on node {}", context.node);
    context.failure(&doing, format!("error {}: {cause}", told.0), hint)
}

/// The time of an effect, less what its own words need.
fn time_left(deadline: Tick) -> Duration {
    clock::until(deadline).saturating_sub(Duration::from_nanos(WORDS.0))
}

impl Mover {
    /// A mover of these resources.
    pub fn new<'s>(way: Arc<dyn Way>, specs: impl IntoIterator<Item = &'s Spec>) -> Mover {
        let mut rounds = Rounds::default();
        for spec in specs {
            if let Spec::AwsVip(vip) = spec {
                rounds.addresses.entry(vip.vpc.clone()).or_default().push(vip.address);
            }
        }
        Mover { way, rounds: Arc::new(rounds) }
    }

    /// Finds region, credentials and the instance before they are needed.
    pub async fn warm_up(&self) {
        let (cloud, own) = tokio::join!(self.way.cloud(), self.way.own());
        if let Err(failed) = cloud {
            tracing::warn!(%failed, "AWS is not reached yet");
        }
        if let Err(failed) = own {
            tracing::debug!(%failed, "the metadata of the instance are not there");
        }
    }

    /// Whether this is a resource for a mover.
    pub fn is_for(spec: &Spec) -> bool {
        matches!(spec, Spec::AwsVip(_) | Spec::AwsEip(_))
    }

    /// Takes the address here; nothing happens when it is here. Whoever is done calls
    /// [`Mover::again`].
    ///
    /// # Errors
    /// It is not here, or not whole.
    pub async fn start(
        &self,
        spec: &Spec,
        right: &dyn Right,
        context: &Context,
        deadline: Tick,
    ) -> Result<(), Failure> {
        match spec {
            Spec::AwsVip(vip) => self.start_vip(vip, right, context, deadline).await,
            Spec::AwsEip(eip) => self.start_eip(eip, right, context, deadline).await,
            _ => Err(not_ours(context, "start")),
        }
    }

    async fn start_vip(
        &self,
        spec: &VipSpec,
        right: &dyn Right,
        context: &Context,
        deadline: Tick,
    ) -> Result<(), Failure> {
        let doing = format!("take VIP {}", spec.address);
        let limit = time_left(deadline);
        let until = Instant::now() + limit;
        let work = async {
            let (cloud, vip) = self.vip(spec).await?;
            match timeout(CHECK, vip::check(cloud.as_ref(), &vip)).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(warning))) => tracing::warn!(resource = context.resource, "{warning}"),
                // Not knowing whether something is wrong is no reason to keep a service down.
                Ok(Err(VipError::Call(failed))) if failed.cause != Cause::Missing => {
                    tracing::warn!(resource = context.resource, %failed, "set-up not checked");
                }
                Ok(Err(error)) => return Err(Ok(Told::from(error))),
                Err(_) => tracing::warn!(resource = context.resource, "set-up not checked in time"),
            }
            address::put(&spec.on_interface(), context, deadline).await.map_err(Err)?;
            vip::take(&cloud, right, &vip, until).await.map_err(|error| Ok(Told::from(error)))?;
            Ok::<(), Result<Told, Failure>>(())
        };
        match timeout(limit, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Ok(told))) => Err(failure(context, &doing, &told)),
            Ok(Err(Err(local))) => Err(local),
            Err(_) => Err(failure(context, &doing, &late(&doing))),
        }
    }

    async fn start_eip(
        &self,
        spec: &EipSpec,
        right: &dyn Right,
        context: &Context,
        deadline: Tick,
    ) -> Result<(), Failure> {
        let doing = format!("take EIP {}", spec.allocation);
        let limit = time_left(deadline);
        let until = Instant::now() + limit;
        let work = async {
            let (cloud, eip) = self.eip(spec).await?;
            // From the first change on, it is something to give back.
            note(context, true).map_err(|cause| Told(99, format!("{cause}; see the log")))?;
            eip::take(cloud.as_ref(), right, &eip, until).await.map_err(Told::from)
        };
        match timeout(limit, work).await {
            Ok(ended) => ended.map_err(|told| failure(context, &doing, &told)),
            Err(_) => Err(failure(context, &doing, &late(&doing))),
        }
    }

    /// Looks once more when a late call of the former owner must have landed, and takes the address
    /// back (EC2 compares nothing).
    pub async fn again(&self, spec: &Spec, right: &dyn Right, context: &Context) {
        tokio::time::sleep(LATE + LANDED).await;
        let until = Instant::now() + RELEASE;
        let ended = match spec {
            Spec::AwsVip(spec) => match self.vip(spec).await {
                Ok((cloud, vip)) => {
                    vip::take(&cloud, right, &vip, until).await.map(drop).map_err(Told::from)
                }
                Err(Ok(told)) => Err(told),
                Err(Err(_)) => return,
            },
            Spec::AwsEip(spec) => match self.eip(spec).await {
                Ok((cloud, eip)) => {
                    eip::take(cloud.as_ref(), right, &eip, until).await.map_err(Told::from)
                }
                Err(told) => Err(told),
            },
            _ => return,
        };
        if let Err(told) = ended {
            let failed = failure(context, "look once more after taking it", &told);
            tracing::warn!(%failed, "the monitor looks again");
        }
    }

    /// Lets go of the address. In EC2 nothing is touched but an association that is this node's,
    /// while the record names it.
    ///
    /// # Errors
    /// A VIP is on the interface still. What can't be given back in EC2 is no error: the next owner
    /// takes it all the same.
    pub async fn stop(
        &self,
        spec: &Spec,
        right: &dyn Right,
        context: &Context,
        deadline: Tick,
    ) -> Result<(), Failure> {
        match spec {
            Spec::AwsVip(vip) => address::stop(&vip.on_interface(), context, deadline).await,
            Spec::AwsEip(eip) => {
                let limit = time_left(deadline).min(RELEASE);
                let until = Instant::now() + limit;
                let work = async {
                    let (cloud, eip) = self.eip(eip).await?;
                    eip::release(cloud.as_ref(), right, &eip, until).await.map_err(Told::from)
                };
                let doing = format!("give back EIP {}", eip.allocation);
                let ended = timeout(limit, work).await.unwrap_or_else(|_| Err(late(&doing)));
                if let Err(told) = ended {
                    let failed = failure(context, &doing, &told);
                    tracing::warn!(%failed, "it stays until the next owner takes it");
                }
                note(context, false).map_err(|cause| {
                    let told = Told(99, format!("{cause}; see the log"));
                    failure(context, &doing, &told)
                })
            }
            _ => Err(not_ours(context, "stop")),
        }
    }

    /// What is here of it, by what this host knows alone.
    ///
    /// # Errors
    /// This host does not tell.
    pub async fn check(
        &self,
        spec: &Spec,
        context: &Context,
        deadline: Tick,
    ) -> Result<State, Failure> {
        match spec {
            Spec::AwsVip(vip) => address::status(&vip.on_interface(), context, deadline).await,
            Spec::AwsEip(_) => match context.note("eip").exists() {
                true => Ok(State::On),
                false => Ok(State::Off),
            },
            _ => Err(not_ours(context, "check")),
        }
    }

    /// Looks at it as its monitor does. `warns`: what AWS does not say is no more than a warning.
    pub async fn look(&self, spec: &Spec, context: &Context, warns: bool, deadline: Tick) -> Found {
        let work = async {
            match spec {
                Spec::AwsVip(vip) => self.look_vip(vip, context, deadline).await,
                Spec::AwsEip(eip) => match self.eip(eip).await {
                    Ok((cloud, eip)) => eip::look(cloud.as_ref(), &eip).await,
                    Err(told) => unknown(told),
                },
                _ => Watched::Wrong(99, not_ours(context, "look").to_string()),
            }
        };
        found(timeout(time_left(deadline), work).await.unwrap_or_else(|_| silent(context)), warns)
    }

    async fn look_vip(&self, spec: &VipSpec, context: &Context, deadline: Tick) -> Watched {
        let here = address::status(&spec.on_interface(), context, deadline).await;
        let (address, interface) = (spec.address, &spec.interface);
        match here {
            Ok(State::On) => {}
            Ok(State::Off) => {
                let text = format!("VIP {address} is not on {interface}; somebody has removed it");
                return Watched::Wrong(7, text);
            }
            Ok(State::Broken(cause)) => {
                return Watched::Wrong(7, format!("VIP {address}: {cause}"));
            }
            Err(failure) => {
                let failed = Failed { cause: Cause::Passing, text: failure.to_string() };
                return Watched::Unknown(failed);
            }
        }
        match self.vip(spec).await {
            Ok((cloud, vip)) => self.rounds.look(cloud.as_ref(), &vip).await,
            Err(Ok(told)) => unknown(told),
            Err(Err(failure)) => {
                Watched::Unknown(Failed { cause: Cause::Passing, text: failure.to_string() })
            }
        }
    }

    /// Looks at a zone; without a name, at that of the instance.
    pub async fn look_at_zone(
        &self,
        name: Option<&str>,
        context: &Context,
        warns: bool,
        deadline: Tick,
    ) -> Found {
        let work = async {
            let name = match name {
                Some(name) => name.to_owned(),
                None => match self.way.own().await {
                    Ok(own) => own.zone,
                    Err(failed) => return Watched::Unknown(failed),
                },
            };
            let cloud = match self.way.cloud().await {
                Ok(cloud) => cloud,
                Err(failed) => return Watched::Unknown(failed),
            };
            match cloud.zone(&name).await {
                Ok(seen) => zone::judge(&name, &seen.state, &seen.messages),
                Err(failed) => watched(failed),
            }
        };
        found(timeout(time_left(deadline), work).await.unwrap_or_else(|_| silent(context)), warns)
    }

    /// Stops an instance by force and waits until it is down.
    ///
    /// # Errors
    /// It is not known to be down by then.
    pub async fn stop_instance(&self, instance: &str, deadline: Tick) -> Result<(), String> {
        let doing = format!("stop instance {instance}");
        let work = async {
            let cloud = self.way.cloud().await.map_err(Told::from)?;
            let mut attempts = super::retry::Attempts::until(Instant::now() + time_left(deadline));
            let mut told = false;
            loop {
                // Once it was told to stop, only its end is waited for.
                let ended = match told {
                    true => cloud.is_down(instance).await,
                    false => cloud.stop(instance).await.map(|()| false),
                };
                match ended {
                    Ok(true) => return Ok(()),
                    Ok(false) => told = true,
                    Err(failed) if failed.may_pass() => tracing::warn!(%failed, "{doing}"),
                    Err(failed) => return Err(Told::from(failed)),
                }
                if !attempts.again().await {
                    return Err(late(&doing));
                }
            }
        };
        let ended = timeout(time_left(deadline), work).await.unwrap_or_else(|_| Err(late(&doing)));
        ended.map_err(|Told(number, text)| format!("error {number}: {text}"))
    }

    async fn vip(&self, spec: &VipSpec) -> Result<(Arc<dyn Cloud>, Vip), Result<Told, Failure>> {
        let eni = self.eni(spec.eni.as_deref(), Some(&spec.interface)).await.map_err(Ok)?;
        let cloud = self.way.cloud().await.map_err(|failed| Ok(failed.into()))?;
        Ok((cloud, Vip { address: spec.address, vpc: spec.vpc.clone(), eni }))
    }

    async fn eip(&self, spec: &EipSpec) -> Result<(Arc<dyn Cloud>, Eip), Told> {
        let eni = self.eni(spec.eni.as_deref(), spec.interface.as_deref()).await?;
        let cloud = self.way.cloud().await?;
        Ok((cloud, Eip { allocation: spec.allocation.clone(), eni }))
    }

    /// The network interface of this node: as configured, or the one that an interface is.
    async fn eni(&self, eni: Option<&str>, interface: Option<&str>) -> Result<String, Told> {
        if let Some(eni) = eni {
            return Ok(eni.to_owned());
        }
        let name = interface.unwrap_or_default();
        let own = self.way.own().await?;
        let mac = hardware(name)
            .map_err(|cause| Told(99, format!("interface {name}: {cause}; check `interface`")))?;
        card(&own, &mac).ok_or_else(|| {
            let text = format!(
                "interface {name} ({mac}) is no network interface of this instance; set `eni`"
            );
            Told(5, text)
        })
    }
}

fn card(own: &OwnSeen, mac: &str) -> Option<String> {
    own.cards.iter().find(|(known, _)| known == mac).map(|(_, eni)| eni.clone())
}

/// The hardware address of an interface, in lower case with colons.
///
/// # Errors
/// There is no such interface, or it has none.
pub fn hardware(name: &str) -> Result<String, String> {
    let links = links::read().map_err(|cause| cause.to_string())?;
    let link = links.get(name).ok_or("there is no such interface")?;
    let bytes = link.hardware.as_ref().and_then(|found| found.addr());
    let bytes = bytes.ok_or("it has no hardware address")?;
    Ok(bytes.map(|byte| format!("{byte:02x}")).join(":"))
}

/// Writes down, or no longer, that the address is this node's to give back.
fn note(context: &Context, here: bool) -> io::Result<()> {
    let path = context.note("eip");
    if here {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        return file::replace_synced(&path, b"");
    }
    match fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

fn not_ours(context: &Context, doing: &str) -> Failure {
    context.failure(doing, "it is no address of AWS", "this is a defect; report it")
}

fn unknown(Told(number, text): Told) -> Watched {
    let cause = if number == 6 { Cause::Late } else { Cause::Refused };
    Watched::Unknown(Failed { cause, text })
}

fn silent(context: &Context) -> Watched {
    let Told(_, text) = late(&format!("monitor {}", context.resource));
    Watched::Unknown(Failed { cause: Cause::Late, text })
}

/// In a monitor's words.
fn found(watched: Watched, warns: bool) -> Found {
    match watched {
        Watched::Well => Found::Fine,
        Watched::Wrong(number, text) => Found::Wrong(format!("error {number}: {text}")),
        Watched::Warn(number, text) => Found::Worth(format!("warning {number}: {text}")),
        Watched::Unknown(failed) if warns => {
            Found::NoAnswer(format!("warning {}: {failed}", failed.number() + 100))
        }
        Watched::Unknown(failed) => Found::NoAnswer(format!("error {}: {failed}", failed.number())),
    }
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
