//! A TCP proxy that hands every byte on a fixed time after it came: the round trip of a network
//! that the machine of a benchmark does not have.
//! Always: bytes keep their order and their spacing; a chunk is never handed on early; how much is
//! under way is bounded, so that a stalled reader stalls the sender as a network would. The time
//! counts from the arrival that the kernel noted: waking up for it is not part of the network.
//!
//! `delay_proxy LISTEN TARGET MICROSECONDS` runs until it is killed. Without arguments (that is how
//! `cargo bench` starts it) it measures itself against an echo and prints the round trip it adds.

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use std::env;
use std::fs;
use std::io::{self, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes taken from a socket at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks under way in one direction: at 1 ms and full chunks this is more than 100 GB/s.
const CHUNKS_MAX: usize = 512;
/// Waits shorter than this are spun, because waking up takes as long.
const SPIN: Duration = Duration::from_micros(20);

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

fn main() -> io::Result<()> {
    // Threads inherit the slack of the one that starts them; 50 µs would be part of every delay.
    if let Err(cause) = fs::write("/proc/self/timerslack_ns", "1") {
        eprintln!("delay_proxy: timers stay coarse ({cause}); delays come out some 50 µs longer");
    }
    let arguments: Vec<String> = env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    match arguments.as_slice() {
        [listen, target, micros] => {
            let micros = micros.parse().map_err(io::Error::other)?;
            serve(TcpListener::bind(listen)?, target.clone(), Duration::from_micros(micros))
        }
        [] => measure(),
        _ => Err(io::Error::other("usage: delay_proxy LISTEN TARGET MICROSECONDS")),
    }
}

fn serve(listener: TcpListener, target: String, delay: Duration) -> io::Result<()> {
    for client in listener.incoming() {
        let client = client?;
        let Ok(server) = TcpStream::connect(&target) else {
            // As a refused connection: whoever dials will dial again.
            drop(client);
            continue;
        };
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        direction(client.try_clone()?, server.try_clone()?, delay);
        direction(server, client, delay);
    }
    Ok(())
}

/// Starts the two threads that carry bytes one way.
fn direction(from: TcpStream, to: TcpStream, delay: Duration) {
    let (queue, queued) = sync_channel(CHUNKS_MAX);
    if let Err(cause) = setsockopt(&from, sockopt::ReceiveTimestampns, &true) {
        eprintln!("delay_proxy: no arrival times ({cause}); delays come out some 30 µs longer");
    }
    thread::spawn(move || take(&from, &queue, delay));
    thread::spawn(move || give(to, &queued));
}

/// Stamps what comes in. Ends with the connection; dropping the queue tells the other thread.
fn take(from: &TcpStream, queue: &SyncSender<Chunk>, delay: Duration) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok((length, age)) = receive(from, &mut buffer) {
        let due = Instant::now() + delay.saturating_sub(age);
        let chunk = Chunk { due, bytes: buffer[..length].to_vec() };
        if length == 0 || queue.send(chunk).is_err() {
            break;
        }
    }
}

/// Bytes that came, and how long ago the last of them did.
fn receive(from: &TcpStream, buffer: &mut [u8]) -> nix::Result<(usize, Duration)> {
    let mut notes = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut into = [IoSliceMut::new(buffer)];
    let got = recvmsg::<()>(from.as_raw_fd(), &mut into, Some(&mut notes), MsgFlags::empty())?;
    let came = got.cmsgs()?.find_map(|note| match note {
        ControlMessageOwned::ScmTimestampns(at) => Some(at),
        _ => None,
    });
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let age = came.map_or(Duration::ZERO, |at| Duration::from(now.max(at) - at));
    Ok((got.bytes, age))
}

/// Hands on what is due.
fn give(mut to: TcpStream, queued: &Receiver<Chunk>) {
    while let Ok(chunk) = queued.recv() {
        wait_until(chunk.due);
        if to.write_all(&chunk.bytes).is_err() {
            break;
        }
    }
    // The other end may be gone already, which is what this says too.
    let _ = to.shutdown(Shutdown::Both);
}

fn wait_until(due: Instant) {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if left > SPIN {
            thread::sleep(left - SPIN);
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Round trips of one byte to an echo, straight and through the proxy.
fn measure() -> io::Result<()> {
    let delay = Duration::from_micros(500);
    let echo = TcpListener::bind("127.0.0.1:0")?;
    let target = echo.local_addr()?.to_string();
    thread::spawn(move || {
        for stream in echo.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    let proxy = TcpListener::bind("127.0.0.1:0")?;
    let through = proxy.local_addr()?.to_string();
    let straight = round_trip(&target)?;
    thread::spawn(move || serve(proxy, target, delay));
    let delayed = round_trip(&through)?;
    println!("round trip: {straight:?} straight, {delayed:?} with {delay:?} each way");
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

/// The median of many.
fn round_trip(target: &str) -> io::Result<Duration> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    for _ in 0..500 {
        let begin = Instant::now();
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
