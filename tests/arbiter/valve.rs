//! The network between a node and an etcd, in this process: passes requests on, and can lose the
//! answer to the next transaction or keep that transaction on its way.
//! Always: other requests pass; what is held is sent on even when its sender has gone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// What marks a request that writes.
const TRANSACTION: &[u8] = b"POST /v3/kv/txn ";
/// Longest wait for a held request and its answer.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Everything passes.
    Pass,
    /// The next transaction passes; when its answer comes, the connection breaks.
    Break,
    /// The next transaction passes; its answer is swallowed.
    Swallow,
    /// The next transaction is kept.
    Hold,
    /// One is kept.
    Held,
    /// The kept one goes on; it has not been answered yet.
    Released,
}

#[derive(Clone)]
pub struct Valve(Arc<(Mutex<Next>, Condvar)>, Arc<AtomicU32>);

impl Valve {
    /// A relay to `target`; gives the port to dial instead.
    pub fn open(target: SocketAddr) -> (Valve, u16) {
        let valve = Valve(Arc::new((Mutex::new(Next::Pass), Condvar::new())), Arc::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = valve.clone();
        // Ends with the process, like every test.
        thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(target)) else { continue };
                let valve = accepting.clone();
                thread::spawn(move || valve.relay(near, far));
            }
        });
        (valve, port)
    }

    /// Transactions that came so far.
    pub fn transactions(&self) -> u32 {
        self.1.load(Ordering::SeqCst)
    }

    pub fn set(&self, next: Next) {
        *self.0.0.lock().unwrap() = next;
        self.0.1.notify_all();
    }

    pub fn is(&self, next: Next) -> bool {
        *self.0.0.lock().unwrap() == next
    }

    /// Waits until this is so.
    pub fn wait(&self, next: Next) {
        let (lock, changed) = &*self.0;
        let guard = lock.lock().unwrap();
        let (guard, late) =
            changed.wait_timeout_while(guard, PATIENCE, |now| *now != next).unwrap();
        assert!(!late.timed_out(), "the valve stays at {:?}", *guard);
    }

    /// Passes requests on, one at a time, as a client of one request after the other sends them.
    fn relay(&self, mut near: TcpStream, mut far: TcpStream) {
        let fate = Arc::new(Mutex::new(Next::Pass));
        let answers = (self.clone(), Arc::clone(&fate), far.try_clone(), near.try_clone());
        let (valve, told, Ok(from), Ok(to)) = answers else { return };
        thread::spawn(move || valve.answers(from, to, &told));
        let mut buffer = vec![0; 64 << 10];
        loop {
            let bytes = match near.read(&mut buffer) {
                Ok(bytes) if bytes > 0 => &buffer[..bytes],
                _ => break,
            };
            if bytes.windows(TRANSACTION.len()).any(|window| window == TRANSACTION) {
                self.1.fetch_add(1, Ordering::SeqCst);
                *fate.lock().unwrap() = self.take();
            }
            if far.write_all(bytes).is_err() {
                break;
            }
        }
        // A sender that gave up does not take back what it sent: the answer is waited for.
        if *fate.lock().unwrap() == Next::Pass {
            let _ = far.shutdown(Shutdown::Both);
        }
    }

    /// What becomes of this transaction; waits while it is held.
    fn take(&self) -> Next {
        let (lock, changed) = &*self.0;
        let mut next = lock.lock().unwrap();
        match *next {
            fate @ (Next::Break | Next::Swallow) => {
                *next = Next::Pass;
                fate
            }
            Next::Hold => {
                *next = Next::Held;
                changed.notify_all();
                let held = |now: &mut Next| *now == Next::Held;
                drop(changed.wait_timeout_while(next, PATIENCE, held).unwrap());
                Next::Released
            }
            _ => Next::Pass,
        }
    }

    fn answers(&self, mut from: TcpStream, mut to: TcpStream, fate: &Mutex<Next>) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let bytes = match from.read(&mut buffer) {
                Ok(bytes) if bytes > 0 => bytes,
                _ => break,
            };
            let now = std::mem::replace(&mut *fate.lock().unwrap(), Next::Pass);
            match now {
                Next::Swallow => *fate.lock().unwrap() = Next::Swallow,
                Next::Break => break,
                _ => {
                    if now == Next::Released {
                        self.set(Next::Pass);
                    }
                    // A client that has gone misses its answer.
                    let _ = to.write_all(&buffer[..bytes]);
                }
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
