//! A stream socket to a server, unix or TCP.
//! Always: small messages leave at once (no Nagle).

use super::error::ClientError;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// Path of a unix socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }
}

impl FromStr for Address {
    type Err = std::convert::Infallible;

    /// `unix:PATH` or anything with a slash is a unix socket, everything else `host:port`.
    fn from_str(text: &str) -> Result<Address, Self::Err> {
        Ok(match text.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None if text.contains('/') => Address::Unix(text.into()),
            None => Address::Tcp(text.to_owned()),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(host) => f.write_str(host),
        }
    }
}

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Unix socket.
    Unix(UnixStream),
    /// TCP.
    Tcp(TcpStream),
}

impl Stream {
    /// Connects; a TCP name is tried at each of its addresses, each for at most `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(address: &Address, timeout: Duration) -> Result<Stream, ClientError> {
        let connected = match address {
            Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Address::Tcp(host) => connect_tcp(host, timeout).map(Stream::Tcp),
        };
        connected.map_err(|source| ClientError::Connect { address: address.clone(), source })
    }

    pub(super) fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Unix(socket) => socket.try_clone().map(Stream::Unix),
            Stream::Tcp(socket) => socket.try_clone().map(Stream::Tcp),
        }
    }

    pub(super) fn set_timeouts(
        &self,
        read: Option<Duration>,
        write: Option<Duration>,
    ) -> io::Result<()> {
        self.set_read_timeout(read)?;
        self.set_write_timeout(write)
    }

    pub(super) fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Unix(socket) => socket.set_read_timeout(time),
            Stream::Tcp(socket) => socket.set_read_timeout(time),
        }
    }

    pub(super) fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Unix(socket) => socket.set_write_timeout(time),
            Stream::Tcp(socket) => socket.set_write_timeout(time),
        }
    }
}

fn connect_tcp(host: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(socket) => socket.read(buf),
            Stream::Tcp(socket) => socket.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(socket) => socket.write(buf),
            Stream::Tcp(socket) => socket.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(socket) => socket.flush(),
            Stream::Tcp(socket) => socket.flush(),
        }
    }
}
