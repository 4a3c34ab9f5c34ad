//! Authenticated heartbeats between the daemons, over UDP: signs of life, and answers that extend
//! leases (SAFETY R13). `packet` has the bytes, `exchange` the pure state, this file the socket.

pub mod exchange;
pub mod packet;

pub use exchange::{Dropped, Exchange, Heard, Telling};
pub use packet::Pair;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// Bytes taken from the socket at once; longer datagrams are foreign anyway.
const DATAGRAM_BYTES_MAX: usize = 512;

/// Why heartbeats can't be exchanged at all.
#[derive(Debug)]
pub struct BindError {
    /// Address of this node.
    pub bind: SocketAddr,
    /// The kernel's reason.
    pub cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "heartbeat address {}: {}; check `heartbeat.bind` and that no other daemon runs here",
            self.bind, self.cause
        )
    }
}

impl std::error::Error for BindError {}

/// The socket of the heartbeats.
pub struct Socket {
    socket: UdpSocket,
    peer: SocketAddr,
    failing: bool,
}

impl Socket {
    /// Listens at `bind`, speaks to `peer`.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn open(bind: SocketAddr, peer: SocketAddr) -> Result<Socket, BindError> {
        let socket = UdpSocket::bind(bind).await.map_err(|cause| BindError { bind, cause })?;
        Ok(Socket { socket, peer, failing: false })
    }

    /// Sends one packet. A packet that can't be sent is a packet lost: the next one follows
    /// within an interval, so only the first failure in a row is worth a line.
    pub fn send(&mut self, packet: &[u8]) {
        match self.socket.try_send_to(packet, self.peer) {
            Ok(_) => self.failing = false,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            Err(cause) if !self.failing => {
                self.failing = true;
                tracing::warn!(peer = %self.peer, %cause, "heartbeats can't be sent");
            }
            Err(_) => {}
        }
    }

    /// Waits for one datagram.
    pub async fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            // Errors here are reports about packets sent earlier (refused port); the silence that
            // follows is what counts.
            match self.socket.recv_from(&mut buffer).await {
                Ok((bytes, _)) => return buffer[..bytes].to_vec(),
                Err(cause) => tracing::debug!(%cause, "heartbeat socket"),
            }
            tokio::task::yield_now().await;
        }
    }
}
