//! Bound sockets. A stale unix socket of a dead engine is replaced; a live one is not.

use crate::error::StartError;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// A unix socket that only the owner and its group can reach.
pub fn unix(key: &'static str, path: &Path) -> Result<OwnedFd, StartError> {
    let failed = |error| StartError::Listen { key, address: path.display().to_string(), error };
    let listener = bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(OwnedFd::from(listener))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            // Nobody answers there: left over by a process that was killed. The partitions are
            // locked by now, so no other engine of this volume lives.
            match UnixStream::connect(path) {
                Err(dead) if dead.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path)
                }
                _ => Err(error),
            }
        }
        bound => bound,
    }
}

/// A TCP socket.
pub fn tcp(key: &'static str, address: SocketAddr) -> Result<OwnedFd, StartError> {
    let failed = |error| StartError::Listen { key, address: address.to_string(), error };
    Ok(OwnedFd::from(TcpListener::bind(address).map_err(failed)?))
}
