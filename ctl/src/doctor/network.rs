//! The network: own addresses, free ports, the peer, the arbiter.

use super::{Around, Checks};
use crate::config::cluster::ArbiterSpec;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

/// Longest wait for one connection.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn look(checks: &mut Checks, around: &Around<'_>) {
    for link in &around.own.heartbeat.links {
        address(checks, &link.name, link.bind.ip());
        free(checks, "heartbeat port", link.bind, around, |at| UdpSocket::bind(at).map(drop));
    }
    for (own, peer) in around.own.engines.iter().zip(&around.peer.engines) {
        let name = &own.config.volume.name;
        let what = format!("link port of {name}");
        free(checks, &what, own.config.link.listen, around, |at| TcpListener::bind(at).map(drop));
        let there = own.config.link.peer;
        let what = format!("engine of {name} on node {}, {there}", peer.config.node);
        match connect(there) {
            Ok(took) => checks.pass(what, format!("answers within {} ms", took.as_millis())),
            Err(cause) => checks.warn(
                what,
                format!("{cause}; fine while its engine does not run"),
                "else open the port in firewalls and security groups, in both directions",
            ),
        }
    }
    arbiter(checks, &around.own.arbiter);
}

fn address(checks: &mut Checks, name: &str, address: IpAddr) {
    match UdpSocket::bind(SocketAddr::new(address, 0)) {
        Ok(_) => checks.pass(format!("interconnect {name}"), format!("{address} is of this host")),
        Err(cause) => checks.fail(
            format!("interconnect {name}"),
            format!("{address}: {cause}"),
            "bring its interface up, or correct the address in [[interconnects]]",
        ),
    }
}

/// A port is free, or in use by what should use it.
fn free(
    checks: &mut Checks,
    what: &str,
    at: SocketAddr,
    around: &Around<'_>,
    bind: impl FnOnce(SocketAddr) -> io::Result<()>,
) {
    let what = format!("{what} {at}");
    match bind(at) {
        Ok(()) => checks.pass(what, "free"),
        Err(cause) if cause.kind() == io::ErrorKind::AddrInUse && around.runs.is_ok() => {
            checks.pass(what, "in use, as it should be while the daemon runs");
        }
        Err(cause) => checks.fail(
            &what,
            cause,
            format!("`ss -lnp` shows who has port {}; choose another one on both nodes", at.port()),
        ),
    }
}

fn connect(to: SocketAddr) -> io::Result<Duration> {
    let began = Instant::now();
    TcpStream::connect_timeout(&to, PATIENCE).map(|_| began.elapsed())
}

fn arbiter(checks: &mut Checks, spec: &ArbiterSpec) {
    match spec {
        ArbiterSpec::Directory(path) => {
            let what = format!("arbiter directory {}", path.display());
            match std::fs::read_dir(path) {
                Ok(_) => checks.warn(
                    what,
                    "is there",
                    "a directory is for one host and for shared file systems: both nodes must see \
                     the same one, and it must not die with either",
                ),
                Err(cause) => checks.fail(what, cause, "mount it, or make it"),
            }
        }
        ArbiterSpec::Etcd(spec) => {
            for endpoint in &spec.endpoints {
                endpoint_answers(checks, endpoint);
            }
            if spec.endpoints.len() < 3 {
                checks.warn(
                    "arbiter",
                    format!("{} etcd endpoint(s)", spec.endpoints.len()),
                    "three members, of which one outside both zones, survive the loss of any one",
                );
            }
        }
        // It is asked with everything else of AWS.
        ArbiterSpec::Dynamodb { .. } => {}
        ArbiterSpec::None { .. } => checks.warn(
            "arbiter",
            "none: both nodes may become active when they lose sight of each other",
            "use a store that both can reach",
        ),
    }
}

fn endpoint_answers(checks: &mut Checks, endpoint: &str) {
    let what = format!("arbiter {endpoint}");
    let host = endpoint.split("://").nth(1).unwrap_or(endpoint).trim_end_matches('/');
    let answer = host.to_socket_addrs().and_then(|mut found| {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        connect(found.next().ok_or_else(none)?)
    });
    match answer {
        Ok(took) => checks.pass(what, format!("answers within {} ms", took.as_millis())),
        Err(cause) => {
            checks.fail(what, cause, "start that member, or open the way to it for both nodes");
        }
    }
}
