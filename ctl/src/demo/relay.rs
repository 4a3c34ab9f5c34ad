//! The network between the two nodes, in this process, so that it can be cut.
//! Always: while it is cut nothing passes in either direction and nobody is told, as with a pulled
//! cable; a TCP connection that lost bytes in a cut is closed when it heals.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A relay looks this often whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes copied at once.
const COPY_BYTES: usize = 256 << 10;

/// The switch of all relays of a demo.
#[derive(Clone, Default)]
pub struct Cable {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    cut: AtomicBool,
    over: AtomicBool,
    /// Connections that have to be closed when the cable heals.
    broken: Mutex<Vec<TcpStream>>,
}

impl Cable {
    /// Nothing passes from now on.
    pub fn cut(&self) {
        self.inner.cut.store(true, Ordering::SeqCst);
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.inner.cut.store(false, Ordering::SeqCst);
        self.close_broken();
    }

    fn close_broken(&self) {
        let mut broken = self.inner.broken.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in broken.drain(..) {
            close(&stream);
        }
    }

    fn is_cut(&self) -> bool {
        self.inner.cut.load(Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.inner.over.load(Ordering::SeqCst)
    }

    fn broke(&self, stream: &TcpStream) {
        match stream.try_clone() {
            Ok(stream) => {
                let mut broken = self.inner.broken.lock().unwrap_or_else(PoisonError::into_inner);
                broken.push(stream);
            }
            Err(_) => close(stream),
        }
    }

    /// A TCP relay from `at` to `target`; gives the address to dial instead.
    ///
    /// # Errors
    /// The address is taken.
    pub fn tcp(&self, at: SocketAddr, target: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(at)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let cable = self.clone();
        thread::Builder::new().name("relay".to_owned()).spawn(move || {
            while !cable.is_over() {
                match listener.accept() {
                    Ok((near, _)) => cable.join(near, target),
                    Err(_) => thread::park_timeout(LOOK),
                }
            }
        })?;
        Ok(address)
    }

    /// Joins an accepted connection with its target.
    fn join(&self, near: TcpStream, target: SocketAddr) {
        if self.is_cut() {
            return self.broke(&near);
        }
        let joined = TcpStream::connect(target).and_then(|far| {
            near.set_nonblocking(false)?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            self.copy(near.try_clone()?, far.try_clone()?)?;
            self.copy(far, near.try_clone()?)
        });
        if joined.is_err() {
            close(&near);
        }
    }

    /// Copies one direction until it ends.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
        let cable = self.clone();
        thread::Builder::new().name("relay".to_owned()).spawn(move || {
            let mut buffer = vec![0; COPY_BYTES];
            loop {
                let read = from.read(&mut buffer);
                if cable.is_cut() {
                    // The bytes, or the news of the end, are lost.
                    cable.broke(&from);
                    cable.broke(&to);
                    if !matches!(read, Ok(bytes) if bytes > 0) {
                        return;
                    }
                    continue;
                }
                let sent = match read {
                    Ok(bytes) if bytes > 0 => to.write_all(&buffer[..bytes]),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
                if sent.is_err() {
                    close(&from);
                    return close(&to);
                }
            }
        })?;
        Ok(())
    }

    /// A UDP relay from `at` to `target`; gives the address to send to instead.
    ///
    /// # Errors
    /// The address is taken.
    pub fn udp(&self, at: SocketAddr, target: SocketAddr) -> io::Result<SocketAddr> {
        let socket = UdpSocket::bind(at)?;
        let address = socket.local_addr()?;
        socket.set_read_timeout(Some(LOOK))?;
        let cable = self.clone();
        thread::Builder::new().name("relay".to_owned()).spawn(move || {
            let mut buffer = [0; 2048];
            while !cable.is_over() {
                let Ok((bytes, _)) = socket.recv_from(&mut buffer) else { continue };
                if !cable.is_cut() {
                    // A datagram that can't be delivered is a datagram lost.
                    let _ = socket.send_to(&buffer[..bytes], target);
                }
            }
        })?;
        Ok(address)
    }

    /// Ends all relays.
    pub fn end(&self) {
        self.inner.over.store(true, Ordering::SeqCst);
        self.heal();
    }
}

/// Closes both directions; an error means that they are closed.
fn close(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    /// Any free port.
    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn pair(cable: &Cable) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = cable.tcp(ANY, listener.local_addr().unwrap()).unwrap();
        let near = TcpStream::connect(relay).unwrap();
        let (far, _) = listener.accept().unwrap();
        far.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        (near, far)
    }

    #[test]
    fn bytes_pass_and_a_cut_is_silent_until_it_heals() {
        let cable = Cable::default();
        let (mut near, mut far) = pair(&cable);
        let mut buffer = [0; 5];
        near.write_all(b"first").unwrap();
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"first");
        cable.cut();
        near.write_all(b"lost!").unwrap();
        let silent = far.read(&mut buffer).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::WouldBlock, "no byte and no end");
        cable.heal();
        assert_eq!(far.read(&mut buffer).unwrap(), 0, "the damaged connection is closed");
        cable.end();
    }

    #[test]
    fn datagrams_pass_and_a_cut_swallows_them() {
        let cable = Cable::default();
        let target = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        target.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let relay = cable.udp(ANY, target.local_addr().unwrap()).unwrap();
        let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut buffer = [0; 16];
        source.send_to(b"one", relay).unwrap();
        assert_eq!(target.recv(&mut buffer).unwrap(), 3);
        cable.cut();
        source.send_to(b"two", relay).unwrap();
        assert!(target.recv(&mut buffer).is_err());
        cable.end();
    }
}
