//! An NBD server over a piece of memory: the protocol and its clients without an engine.
//! Always: one thread per connection, requests of a connection are served in order; replies to
//! large structured reads come in pieces, last piece first, zeroes as holes.
//! Survives: clients that vanish. Dropping the server closes the listener and every connection.

use lockstep_nbd::protocol::constants::{HANDSHAKE_STAGE_BYTES, STATE_HOLE, STATE_ZERO};
use lockstep_nbd::protocol::{
    Command, Connection, Errno, Export, Negotiated, Request, StatusExtent, What,
    block_status_chunk, block_status_single, failure, hole_chunk, none_chunk, read_chunk_head,
    read_head, success,
};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Bytes per chunk of a large structured read.
const PIECE_BYTES: usize = 64 << 10;
/// Granularity of holes.
const BLOCK_BYTES: usize = 4096;

struct Shared {
    export: Export,
    data: Mutex<Vec<u8>>,
    stopping: AtomicBool,
    connections: Mutex<Vec<(UnixStream, JoinHandle<()>)>>,
}

/// A server that runs until it is dropped.
pub struct MemoryServer {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl MemoryServer {
    /// Serves `export`, all zeroes at first, on a socket of its own.
    ///
    /// # Errors
    /// The socket cannot be made, or the export does not fit memory.
    pub fn start(export: Export) -> io::Result<MemoryServer> {
        let size = usize::try_from(export.size()).map_err(io::Error::other)?;
        let directory = tempfile::tempdir()?;
        let listener = UnixListener::bind(directory.path().join("nbd.sock"))?;
        let shared = Arc::new(Shared {
            export,
            data: Mutex::new(vec![0; size]),
            stopping: AtomicBool::new(false),
            connections: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &accepting));
        Ok(MemoryServer { directory, shared, acceptor: Some(acceptor) })
    }

    /// Path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("nbd.sock")
    }

    /// A directory for files of the test, removed with the server.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for MemoryServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; if that fails, it has already stopped.
        let woken = UnixStream::connect(self.socket());
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            acceptor.join().expect("the acceptor does not panic");
        }
        let connections =
            std::mem::take(&mut *self.shared.connections.lock().expect("no holder panics"));
        for (stream, thread) in connections {
            // Fails when the client has closed it first, which is as good.
            drop(stream.shutdown(Shutdown::Both));
            drop(thread.join());
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let stream = stream.expect("a listening socket accepts");
        let handle = stream.try_clone().expect("a socket can be duplicated");
        let serving = Arc::clone(shared);
        let thread = thread::spawn(move || {
            let peer = Peer { shared: &serving, stream, stage: Vec::new(), out: Vec::new() };
            if let Err(error) = peer.serve() {
                // A client that vanishes is no failure of the server.
                eprintln!("connection ended: {error}");
            }
        });
        shared.connections.lock().expect("no holder panics").push((handle, thread));
    }
}

struct Peer<'a> {
    shared: &'a Shared,
    stream: UnixStream,
    stage: Vec<u8>,
    out: Vec<u8>,
}

impl Peer<'_> {
    fn serve(mut self) -> io::Result<()> {
        let mut connection = Connection::greet(&mut self.out);
        let mut negotiated = Negotiated::default();
        loop {
            let step = connection.step(&self.shared.export, &self.stage, &mut self.out);
            self.stage.drain(..step.consumed);
            match step.what {
                What::More => {
                    self.send()?;
                    if !self.fill()? {
                        return Ok(());
                    }
                }
                What::Entered(agreed) => negotiated = agreed,
                What::Refused(head) => self.out.extend_from_slice(head.as_slice()),
                What::Request(request) if request.command == Command::Disconnect => {
                    return self.finish();
                }
                What::Request(request) => self.carry_out(&negotiated, request)?,
                What::Close(_) => return self.finish(),
            }
        }
    }

    fn finish(mut self) -> io::Result<()> {
        self.send()?;
        self.stream.shutdown(Shutdown::Both)
    }

    fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn fill(&mut self) -> io::Result<bool> {
        let before = self.stage.len();
        self.stage.resize(before + HANDSHAKE_STAGE_BYTES, 0);
        let got = self.stream.read(&mut self.stage[before..])?;
        self.stage.truncate(before + got);
        Ok(got > 0)
    }

    fn payload(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let staged = self.stage.len().min(len);
        let mut payload: Vec<u8> = self.stage.drain(..staged).collect();
        payload.resize(len, 0);
        self.stream.read_exact(&mut payload[staged..])?;
        Ok(payload)
    }

    fn carry_out(&mut self, negotiated: &Negotiated, request: Request) -> io::Result<()> {
        let start = usize::try_from(request.offset).map_err(io::Error::other)?;
        let range = start..start + request.len as usize;
        let payload = self.payload(request.payload() as usize)?;
        let mut data = self.shared.data.lock().map_err(|_| io::Error::other("poisoned"))?;
        let cookie = request.cookie;
        match request.command {
            Command::Read { whole } => {
                let bytes = &data[range];
                if negotiated.structured && !whole && bytes.len() > PIECE_BYTES {
                    put_pieces(&mut self.out, &request, bytes);
                } else {
                    self.out.extend_from_slice(read_head(negotiated, &request).as_slice());
                    self.out.extend_from_slice(bytes);
                }
            }
            Command::BlockStatus { one } => put_status(&mut self.out, &request, one, &data),
            Command::WriteZeroes { fast: true, .. } => {
                let head = failure(negotiated, cookie, Errno::NotSup);
                self.out.extend_from_slice(head.as_slice());
            }
            command => {
                match command {
                    Command::Write => data[range].copy_from_slice(&payload),
                    Command::Trim | Command::WriteZeroes { .. } => data[range].fill(0),
                    _ => {}
                }
                self.out.extend_from_slice(&success(cookie));
            }
        }
        drop(data);
        self.send()
    }
}

fn put_pieces(out: &mut Vec<u8>, request: &Request, bytes: &[u8]) {
    for (index, piece) in bytes.chunks(PIECE_BYTES).enumerate().rev() {
        let offset = request.offset + (index * PIECE_BYTES) as u64;
        let len = u32::try_from(piece.len()).expect("a piece is 64 KiB at most");
        if piece.iter().all(|byte| *byte == 0) {
            out.extend_from_slice(&hole_chunk(request.cookie, offset, len, false));
        } else {
            out.extend_from_slice(&read_chunk_head(request.cookie, offset, len, false));
            out.extend_from_slice(piece);
        }
    }
    out.extend_from_slice(&none_chunk(request.cookie));
}

fn put_status(out: &mut Vec<u8>, request: &Request, one: bool, data: &[u8]) {
    let start = usize::try_from(request.offset).expect("the export fits memory");
    let mut extents: Vec<StatusExtent> = Vec::new();
    for block in data[start..start + request.len as usize].chunks(BLOCK_BYTES) {
        let empty = block.iter().all(|byte| *byte == 0);
        let flags = if empty { STATE_HOLE | STATE_ZERO } else { 0 };
        let len = u32::try_from(block.len()).expect("a block is 4 KiB");
        match extents.last_mut() {
            Some(last) if last.flags == flags => last.len += len,
            _ => extents.push(StatusExtent { len, flags }),
        }
    }
    if one {
        out.extend_from_slice(&block_status_single(request.cookie, extents[0]));
    } else {
        let mut chunk = vec![0; 24 + 8 * extents.len()];
        let len = block_status_chunk(request.cookie, &extents, &mut chunk);
        out.extend_from_slice(&chunk[..len.expect("there is room for every extent")]);
    }
}
