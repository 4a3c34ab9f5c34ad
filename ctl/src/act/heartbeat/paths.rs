//! The interconnects: one socket and one task for each.
//! Always: a packet goes out on all of them at once, and a path that can't be used now is tried
//! again, because addresses of a host that boots may come later than its daemon.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::packet::BYTES_MAX;

/// Packets that wait for a socket; the newest is the one that matters.
const OUTGOING_MAX: usize = 4;
/// Datagrams that wait for the daemon's loop.
const INCOMING_MAX: usize = 256;
/// Pause between two tries to have an address.
const BIND_AGAIN: Duration = Duration::from_millis(500);

/// Both ends of one interconnect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathAddress {
    /// Address of this node.
    pub bind: SocketAddr,
    /// Address of the peer.
    pub peer: SocketAddr,
}

/// All interconnects, by priority.
pub struct Paths {
    out: Vec<mpsc::Sender<Vec<u8>>>,
    heard: mpsc::Receiver<(usize, Vec<u8>)>,
}

impl Paths {
    /// Starts a task for each interconnect.
    pub fn open(addresses: &[PathAddress]) -> Paths {
        let (tell, heard) = mpsc::channel(INCOMING_MAX);
        let start = |(place, address): (usize, &PathAddress)| {
            let (out, packets) = mpsc::channel(OUTGOING_MAX);
            tokio::spawn(run(place, *address, packets, tell.clone()));
            out
        };
        Paths { out: addresses.iter().enumerate().map(start).collect(), heard }
    }

    /// Sends one packet everywhere. Where that is not possible it is a packet lost: the next one
    /// follows within an interval.
    pub fn send(&self, packet: &[u8]) {
        for out in &self.out {
            if out.try_send(packet.to_vec()).is_err() {
                tracing::debug!("heartbeat left out: its interconnect takes nothing");
            }
        }
    }

    /// Waits for one datagram and says over which interconnect it came.
    pub async fn receive(&mut self) -> (usize, Vec<u8>) {
        match self.heard.recv().await {
            Some(heard) => heard,
            // Without interconnects nothing will ever come.
            None => std::future::pending().await,
        }
    }
}

async fn run(
    place: usize,
    address: PathAddress,
    mut packets: mpsc::Receiver<Vec<u8>>,
    tell: mpsc::Sender<(usize, Vec<u8>)>,
) {
    let Some(socket) = bind(address, &mut packets).await else { return };
    let mut buffer = [0; BYTES_MAX + 1];
    let mut failing = false;
    loop {
        tokio::select! {
            packet = packets.recv() => match packet {
                Some(packet) => send(&socket, address.peer, &packet, &mut failing),
                None => return,
            },
            // Errors here are reports about packets sent earlier (refused port); the silence that
            // follows is what counts.
            got = socket.recv_from(&mut buffer) => match got {
                Ok((bytes, _)) => {
                    if tell.try_send((place, buffer[..bytes].to_vec())).is_err() {
                        tracing::debug!("heartbeat dropped: the daemon is behind");
                    }
                }
                Err(cause) => tracing::debug!(%cause, "heartbeat socket"),
            },
        }
    }
}

/// The socket, as soon as the address can be had; `None` when the daemon ends before.
async fn bind(address: PathAddress, packets: &mut mpsc::Receiver<Vec<u8>>) -> Option<UdpSocket> {
    let mut told = false;
    loop {
        match UdpSocket::bind(address.bind).await {
            Ok(socket) => {
                tracing::info!(bind = %address.bind, peer = %address.peer, "interconnect open");
                return Some(socket);
            }
            Err(cause) if !told => {
                told = true;
                tracing::warn!(
                    bind = %address.bind,
                    %cause,
                    "interconnect: address can't be had yet and is tried again; check that it is \
                     configured on this host and that no other daemon runs"
                );
            }
            Err(_) => {}
        }
        let again = tokio::time::sleep(BIND_AGAIN);
        tokio::pin!(again);
        loop {
            tokio::select! {
                () = &mut again => break,
                // What is sent meanwhile is lost, as on a path that is down.
                packet = packets.recv() => drop(packet?),
            }
        }
    }
}

/// Only the first failure in a row is worth a line.
fn send(socket: &UdpSocket, peer: SocketAddr, packet: &[u8], failing: &mut bool) {
    match socket.try_send_to(packet, peer) {
        Ok(_) => *failing = false,
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
        Err(cause) if !*failing => {
            *failing = true;
            tracing::warn!(%peer, %cause, "heartbeats can't be sent");
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(bind: &UdpSocket, peer: SocketAddr) -> PathAddress {
        PathAddress { bind: bind.local_addr().unwrap(), peer }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_packet_goes_over_every_interconnect_and_says_over_which_it_came() {
        let mut peers = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let own = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            addresses.push(address(&own, peer.local_addr().unwrap()));
            peers.push(peer);
        }
        let mut paths = Paths::open(&addresses);
        for (place, peer) in peers.iter().enumerate() {
            let mut buffer = [0; 16];
            // The path may need a moment until its address is free.
            let (bytes, from) = loop {
                paths.send(b"beat");
                let wait = Duration::from_millis(50);
                let got = tokio::time::timeout(wait, peer.recv_from(&mut buffer));
                if let Ok(got) = got.await {
                    break got.unwrap();
                }
            };
            assert_eq!((&buffer[..bytes], from), (&b"beat"[..], addresses[place].bind));
            peer.send_to(b"answer", addresses[place].bind).await.unwrap();
            assert_eq!(paths.receive().await, (place, b"answer".to_vec()));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_address_that_comes_later_is_taken_then() {
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = address(&taken, peer.local_addr().unwrap());
        let mut paths = Paths::open(&[address]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(taken);
        let sender = async {
            loop {
                peer.send_to(b"beat", address.bind).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            got = paths.receive() => assert_eq!(got, (0, b"beat".to_vec())),
            () = sender => {}
        }
    }
}
