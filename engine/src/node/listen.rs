//! Bound sockets. A stale unix socket of a dead engine is replaced; a live one is not.

use crate::error::StartError;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// A unix socket that only the owner and its group can reach.
pub fn unix(key: &'static str, path: &Path) -> Result<OwnedFd, StartError> {
    let failed = |error| StartError::Listen { key, address: path.display().to_string(), error };
    let listener = bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(OwnedFd::from(listener))
}

/// Time for a dying listener to go away, or for a live one to speak.
const LAST_BREATH: Duration = Duration::from_secs(2);

fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if is_alive(path) {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whether anybody answers. A socket file outlives a process that was killed, and its listener may
/// do so for a moment, while the kernel tears the ring down: then a connection is reset instead of
/// greeted, which both kinds of our sockets do at once.
fn is_alive(path: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(path) else { return false };
    let timed = stream.set_read_timeout(Some(LAST_BREATH));
    let heard = timed.and_then(|()| stream.read(&mut [0]));
    match heard {
        Ok(bytes) => bytes > 0,
        Err(error) => !matches!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// A TCP socket.
pub fn tcp(key: &'static str, address: SocketAddr) -> Result<OwnedFd, StartError> {
    let failed = |error| StartError::Listen { key, address: address.to_string(), error };
    Ok(OwnedFd::from(TcpListener::bind(address).map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_socket_left_over_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        drop(unix("admin", &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let live = UnixListener::bind(&path).unwrap();
        let greeter = std::thread::spawn(move || {
            let (mut stream, _) = live.accept().unwrap();
            stream.write_all(b"hello").unwrap();
        });
        assert!(matches!(unix("admin", &path), Err(StartError::Listen { key: "admin", .. })));
        greeter.join().unwrap();
    }

    #[test]
    fn a_listener_that_dies_meanwhile_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let dying = UnixListener::bind(&path).unwrap();
        let death = std::thread::spawn(move || drop(dying.accept().unwrap()));
        assert!(unix("admin", &path).is_ok());
        death.join().unwrap();
    }
}
