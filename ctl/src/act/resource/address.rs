//! An address on an interface of this host. Always: on means that the kernel has it on that very
//! interface and the interface is up; the neighbours are told after each addition. Dropping it is
//! one message to the kernel, which is why it is part of the fast fence.

use super::announce::announce;
use super::links::{self, Link};
use super::spec::AddressSpec;
use super::{Context, Failure, State};
use crate::act::{clock, work};
use lockstep_engine::units::{Span, Tick};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// Times that the neighbours are told, because a frame may be lost.
const ANNOUNCEMENTS: u32 = 3;
/// Between two of them.
const PAUSE: Span = Span::millis(20);

/// Where the address is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Ours,
    /// On our interface, with another prefix.
    OtherPrefix(u8),
    /// On another interface.
    Other(String),
    Nowhere,
}

pub(super) async fn start(
    spec: &AddressSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    put(spec, context, deadline).await?;
    tell_neighbours(spec, deadline).await;
    Ok(())
}

/// As a start, where nobody on the link needs to know: what is routed here asks no neighbour.
pub(in crate::act) async fn put(
    spec: &AddressSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    let doing = format!("add {}", shown(spec));
    valid(spec).map_err(|cause| context.failure(&doing, cause, "check `prefix` and `address`"))?;
    let wanted = spec.clone();
    let (cause, hint) = match alone(spec, deadline, move || bring_up(&wanted)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err((cause, hint))) => (cause, hint),
        Err(cause) => (cause.to_string(), "see the log of the kernel".to_owned()),
    };
    Err(context.failure(&doing, cause, hint))
}

/// Runs what changes or announces the address after whatever was begun before has ended: a start
/// that was given up is still in its thread, and would add the address after it was dropped.
async fn alone<T: Send + 'static>(
    spec: &AddressSpec,
    deadline: Tick,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, work::Unfinished> {
    work::run_alone("address", &format!("address {}", spec.address), deadline, work).await
}

/// Adds it unless it is there. The error: cause and hint.
fn bring_up(spec: &AddressSpec) -> Result<(), (String, String)> {
    let (address, name) = (spec.address, &spec.interface);
    let links = links::read().map_err(refused)?;
    let Some(link) = links.get(name) else {
        let names: Vec<&str> = links.keys().map(String::as_str).collect();
        let hint = format!("check `interface`; this host has {}", names.join(", "));
        return Err((format!("there is no interface {name}"), hint));
    };
    if !link.up {
        return Err((format!("interface {name} is down"), format!("ip link set {name} up")));
    }
    match place(spec, &links) {
        Place::Ours => return Ok(()),
        Place::OtherPrefix(prefix) => {
            let cause = format!("{name} has it with prefix /{prefix}");
            return Err((cause, format!("ip address del {address}/{prefix} dev {name}")));
        }
        Place::Other(other) => {
            let cause = format!("interface {other} of this host has it");
            let hint = format!("remove it there, or correct `interface`: ip address show {other}");
            return Err((cause, hint));
        }
        Place::Nowhere => {}
    }
    let number = link.hardware.as_ref().map_or(0, links::index);
    links::add(number, address, spec.prefix).map(drop).map_err(refused)
}

fn refused(cause: io::Error) -> (String, String) {
    let hint = if cause.kind() == io::ErrorKind::PermissionDenied {
        "the daemon needs CAP_NET_ADMIN"
    } else {
        "the kernel's log (`dmesg`) may say more; is IPv6 switched off?"
    };
    (cause.to_string(), hint.to_owned())
}

/// A neighbour that hears nothing only learns later: no reason to fail.
async fn tell_neighbours(spec: &AddressSpec, deadline: Tick) {
    for round in 0..ANNOUNCEMENTS {
        if round > 0 {
            tokio::time::sleep(clock::until(clock::now().after(PAUSE).min(deadline))).await;
        }
        let wanted = spec.clone();
        let telling = move || match links::read()?.get(&wanted.interface) {
            Some(link) if has(link, &wanted) => announce(link, wanted.address),
            _ => Ok(()),
        };
        match alone(spec, deadline, telling).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => {
                tracing::warn!(address = %spec.address, %cause, "neighbours are not told");
            }
            Err(cause) => {
                tracing::warn!(address = %spec.address, %cause, "neighbours are not told");
            }
        }
    }
}

pub(in crate::act) async fn stop(
    spec: &AddressSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    let doing = format!("remove {}", shown(spec));
    let wanted = spec.clone();
    let (cause, hint) = match alone(spec, deadline, move || take_down(&wanted)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(cause)) => refused(cause),
        Err(cause) => (cause.to_string(), "treat the address as being here".to_owned()),
    };
    Err(context.failure(&doing, cause, hint))
}

fn take_down(spec: &AddressSpec) -> io::Result<()> {
    let links = links::read()?;
    let Some(link) = links.get(&spec.interface) else { return Ok(()) };
    let number = link.hardware.as_ref().map_or(0, links::index);
    // With whatever prefix: it must not answer here any more.
    for (address, prefix) in link.addresses.iter().filter(|(a, _)| *a == spec.address) {
        links::remove(number, *address, *prefix)?;
    }
    Ok(())
}

pub(in crate::act) async fn status(
    spec: &AddressSpec,
    context: &Context,
    deadline: Tick,
) -> Result<State, Failure> {
    let doing = format!("look for {}", shown(spec));
    let links = match work::run("address", deadline, links::read).await {
        Ok(Ok(links)) => links,
        Ok(Err(cause)) => {
            return Err(context.failure(&doing, cause, "the kernel does not list its interfaces"));
        }
        Err(cause) => return Err(context.failure(&doing, cause, "is this host overloaded?")),
    };
    let (address, name) = (spec.address, &spec.interface);
    Ok(match place(spec, &links) {
        Place::Nowhere => State::Off,
        Place::Ours => match links.get(name) {
            Some(link) if link.up && (link.running || link.loopback) => State::On,
            Some(link) if link.up => State::Broken(format!("interface {name} has no carrier")),
            _ => State::Broken(format!("interface {name} is down")),
        },
        Place::OtherPrefix(prefix) => {
            State::Broken(format!("{name} has {address} with prefix /{prefix}"))
        }
        Place::Other(other) => {
            State::Broken(format!("interface {other} has {address}, not {name}"))
        }
    })
}

pub(super) async fn kill(
    spec: &AddressSpec,
    context: &Context,
    deadline: Tick,
) -> Result<(), Failure> {
    stop(spec, context, deadline).await
}

fn place(spec: &AddressSpec, links: &BTreeMap<String, Link>) -> Place {
    if let Some(link) = links.get(&spec.interface) {
        if has(link, spec) {
            return Place::Ours;
        }
        if let Some((_, prefix)) = link.addresses.iter().find(|(a, _)| *a == spec.address) {
            return Place::OtherPrefix(*prefix);
        }
    }
    let other =
        links.iter().find(|(_, link)| link.addresses.iter().any(|(a, _)| *a == spec.address));
    other.map_or(Place::Nowhere, |(name, _)| Place::Other(name.clone()))
}

fn has(link: &Link, spec: &AddressSpec) -> bool {
    link.addresses.contains(&(spec.address, spec.prefix))
}

fn shown(spec: &AddressSpec) -> String {
    format!("{}/{} on {}", spec.address, spec.prefix, spec.interface)
}

fn valid(spec: &AddressSpec) -> Result<(), String> {
    let (longest, special) = match spec.address {
        IpAddr::V4(v4) => (32, v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => (128, v6.is_unspecified() || v6.is_multicast()),
    };
    if spec.prefix == 0 || spec.prefix > longest {
        return Err(format!("a prefix of this address is 1 to {longest} bits long"));
    }
    if special || spec.address.is_loopback() {
        return Err(format!("{} is no address of a host", spec.address));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str, prefix: u8) -> AddressSpec {
        AddressSpec { address: address.parse().unwrap(), prefix, interface: "eth0".to_owned() }
    }

    #[test]
    fn the_place_of_an_address_is_found() {
        let ours = spec("10.0.0.7", 32);
        let with = |prefix| Link {
            addresses: vec![("10.0.0.7".parse().unwrap(), prefix)],
            ..Link::default()
        };
        let links = |name: &str, prefix| BTreeMap::from([(name.to_owned(), with(prefix))]);
        assert_eq!(place(&ours, &links("eth0", 32)), Place::Ours);
        assert_eq!(place(&ours, &links("eth0", 24)), Place::OtherPrefix(24));
        assert_eq!(place(&ours, &links("eth1", 32)), Place::Other("eth1".to_owned()));
        assert_eq!(place(&spec("10.0.0.8", 32), &links("eth0", 32)), Place::Nowhere);
    }

    #[tokio::test]
    async fn a_start_that_was_given_up_does_not_end_after_the_address_was_dropped() {
        let spec = spec("10.0.0.7", 32);
        let soon = |ms| clock::now().after(Span::millis(ms));
        let (free, stuck) = std::sync::mpsc::channel::<()>();
        let (done, ends) = std::sync::mpsc::channel();
        let (added, dropped) = (done.clone(), done);
        let adding = alone(&spec, soon(5_000), move || {
            stuck.recv().unwrap();
            added.send("added").unwrap();
        });
        // The effect is dropped, as a kill drops what runs.
        assert!(tokio::time::timeout(clock::until(soon(20)), adding).await.is_err());
        let dropping = move || dropped.send("dropped").unwrap();
        let (dropping, ()) = tokio::join!(alone(&spec, soon(5_000), dropping), async {
            tokio::time::sleep(clock::until(soon(50))).await;
            free.send(()).unwrap();
        });
        dropping.unwrap();
        assert_eq!(ends.iter().collect::<Vec<_>>(), ["added", "dropped"]);
    }

    #[test]
    fn addresses_of_no_host_are_refused() {
        assert!(valid(&spec("10.0.0.7", 32)).is_ok());
        for (address, prefix) in
            [("10.0.0.7", 33), ("10.0.0.7", 0), ("::1", 128), ("224.0.0.1", 32)]
        {
            assert!(valid(&spec(address, prefix)).is_err(), "{address}/{prefix}");
        }
    }
}
