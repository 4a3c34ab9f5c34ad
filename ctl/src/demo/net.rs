//! Addresses of the demo: a few of the many that loopback has, so that both nodes can use the same
//! ports and none of another program. Always: what the nodes dial are the relays of the cable.

use super::relay::Cable;
use crate::act::host;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Attempts to find addresses that nobody uses.
const ATTEMPTS: u32 = 16;
/// First port that is tried; below those that the kernel gives away by itself.
const PORT_FIRST: u16 = 20_000;
/// Ports that are tried.
const PORTS: u128 = 12_000;

/// One node: its own address, and the relay through which the other one reaches it.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    pub own: Ipv4Addr,
    pub relay: Ipv4Addr,
}

/// Addresses and ports of both nodes.
#[derive(Clone, Copy, Debug)]
pub struct Net {
    /// Node a, then node b.
    pub nodes: [Reach; 2],
    /// TCP port of the link.
    pub link: u16,
}

impl Net {
    /// Port of heartbeats, by UDP, and of calls between the daemons, by TCP.
    pub fn beat(&self) -> u16 {
        self.link + 1
    }

    /// Any addresses out of `random`.
    fn of(random: u128) -> Net {
        let [one, two, ..] = random.to_le_bytes();
        // Neither the first network, which everybody uses, nor the last.
        let at = |last: u8| Ipv4Addr::new(127, one.clamp(1, 254), two, last);
        let port = u16::try_from((random >> 16) % PORTS).unwrap_or(0);
        let [a, b] =
            [(1, 11), (2, 12)].map(|(own, relay)| Reach { own: at(own), relay: at(relay) });
        Net { nodes: [a, b], link: PORT_FIRST + port }
    }

    /// Addresses that are free, with the cable's relays on theirs.
    ///
    /// # Errors
    /// None are to be had.
    pub fn find(cable: &Cable) -> io::Result<Net> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..ATTEMPTS {
            let random = host::nonce().map_err(|error| io::Error::other(error.to_string()))?;
            let net = Net::of(random.0);
            match net.free().and_then(|()| net.join(cable)) {
                Ok(()) => return Ok(net),
                Err(cause) => last = cause,
            }
        }
        Err(last)
    }

    /// Whether a node could listen on all of its own.
    fn free(&self) -> io::Result<()> {
        for Reach { own, .. } in self.nodes {
            TcpListener::bind((own, self.link))?;
            TcpListener::bind((own, self.beat()))?;
            UdpSocket::bind((own, self.beat()))?;
        }
        Ok(())
    }

    fn join(&self, cable: &Cable) -> io::Result<()> {
        for Reach { own, relay } in self.nodes {
            let at = |address: Ipv4Addr, port| SocketAddr::new(IpAddr::V4(address), port);
            cable.tcp(at(relay, self.link), at(own, self.link))?;
            cable.tcp(at(relay, self.beat()), at(own, self.beat()))?;
            cable.udp(at(relay, self.beat()), at(own, self.beat()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_random_number_gives_addresses_of_this_host_alone() {
        for random in [0, 1, u128::MAX, 0xff00, 0x1234_5678_9abc] {
            let net = Net::of(random);
            let all = net.nodes.iter().flat_map(|node| [node.own, node.relay]);
            let mut all: Vec<Ipv4Addr> = all.collect();
            assert!(all.iter().all(|one| one.is_loopback() && one.octets()[1] != 0));
            all.dedup();
            assert_eq!(all.len(), 4);
            assert!((20_000..32_767).contains(&net.link), "{}", net.link);
        }
    }
}
