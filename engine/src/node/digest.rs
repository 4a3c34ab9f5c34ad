//! Digests of blocks, computed on one helper thread so that no write waits for them.
//! Always: the helper only reads, and the reactor holds a share of the slot until it is done.

use super::hub::Hub;
use super::port::lane;
use crate::replica::event::{BufId, Event, OpId};
use crate::units::{BLOCK_BYTES, Digest, Extent, Session};
use crate::uring::buffers::Lease;
use crate::uring::sys::{self, Piece};
use crate::uring::{Done, File, Op, Token};
use std::io::{self, Write};
use std::sync::{Arc, mpsc};

const WAKE: Token = Token { lane: lane::DIGEST, kind: 0, id: 0 };

/// Stack of the helper: hashing needs little, and all of it is locked.
const STACK_BYTES: usize = 256 << 10;

/// The helper, seen from the reactor.
pub struct Digester {
    jobs: mpsc::Sender<Job>,
    results: mpsc::Receiver<Answer>,
    held: Vec<(OpId, Lease)>,
    wake: File,
}

struct Job {
    op: OpId,
    bytes: Arc<Piece>,
    len: usize,
    key: [u8; 32],
}

struct Answer {
    op: OpId,
    digests: Box<[Digest]>,
}

impl Digester {
    /// Starts the helper. Errors: no thread or no eventfd.
    pub fn start(hub: &mut Hub) -> io::Result<Digester> {
        let fd = sys::eventfd()?;
        let mut bell = std::fs::File::from(fd.try_clone()?);
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (outbox, results) = mpsc::channel::<Answer>();
        let work = move || {
            while let Ok(job) = inbox.recv() {
                let (op, digests) = (job.op, digests(&job));
                // The loan must be back before the reactor hears of it.
                drop(job);
                let told = outbox.send(Answer { op, digests });
                if told.is_err() || bell.write_all(&1_u64.to_ne_bytes()).is_err() {
                    return;
                }
            }
        };
        let helper = std::thread::Builder::new().name("digest".into());
        helper.stack_size(STACK_BYTES).spawn(work)?;
        let wake = hub.port.ring.adopt(fd);
        let digester = Digester { jobs, results, held: Vec::new(), wake };
        digester.listen(hub);
        Ok(digester)
    }

    fn listen(&self, hub: &mut Hub) {
        let (file, into) = (self.wake.clone(), vec![0; 8].into_boxed_slice());
        hub.port.submit(WAKE, Op::ReadPlain { file, into, from: 0, socket: false });
    }

    /// Digests each block of the first `at.len` bytes of a buffer.
    pub fn digest(&mut self, hub: &mut Hub, op: OpId, at: Extent, buf: BufId, session: Session) {
        let Some(lease) = hub.bufs.lease(buf) else {
            tracing::error!(?buf, "digest of a buffer that is not there; this is a bug");
            return;
        };
        let key = blake3::derive_key("lockstep block digest v1", &session.0.to_le_bytes());
        let job = Job { op, bytes: lease.lend(), len: at.len as usize, key };
        self.held.push((op, lease));
        self.jobs.send(job).expect("the helper lives as long as the reactor");
    }

    /// The helper rang.
    pub fn done(&mut self, hub: &mut Hub, _done: Done) {
        while let Ok(Answer { op, digests }) = self.results.try_recv() {
            self.held.retain(|(held, _)| *held != op);
            hub.events.push_back(Event::DigestsDone { op, digests });
        }
        self.listen(hub);
    }
}

fn digests(job: &Job) -> Box<[Digest]> {
    let block = usize::try_from(BLOCK_BYTES).unwrap_or(4096);
    let digest = |block: &[u8]| {
        let mut cut = [0; 16];
        cut.copy_from_slice(&blake3::keyed_hash(&job.key, block).as_bytes()[..16]);
        Digest(cut)
    };
    job.bytes.bytes()[..job.len].chunks(block).map(digest).collect()
}
