//! The program that the group of the demo runs beside its mirror: it answers on a socket of its
//! node while it is up. Started and stopped by the daemons, like any `exec` resource; the demo only
//! asks who answers. Always: it ends when the demo is gone, however that ended.

use crate::act::host::process_started;
use crate::exit::Exit;
use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Name of the hidden verb that is this program.
pub const SERVICE_VERB: &str = "demo-service";

/// Longest wait for a word of somebody who is there.
const WORD: Duration = Duration::from_millis(500);
/// Longest wait for a service that was started.
const UP: Duration = Duration::from_secs(10);
/// Time between two questions of the watch.
const LOOK: Duration = Duration::from_millis(20);
/// Asks whether it is up.
const THERE: u8 = b'?';
/// Asks it to end.
const END: u8 = b'.';

/// Arguments of the program.
#[derive(Args, Debug)]
pub struct ServiceArgs {
    /// What to do
    verb: ServiceVerb,
    /// Where it answers
    socket: PathBuf,
    /// Process of the demo
    demo: u32,
    /// When that started, in ticks of the kernel
    started: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum ServiceVerb {
    /// Have one run
    Start,
    /// Have none run
    Stop,
    /// Whether one runs: exit status 0 or 3
    Status,
    /// Be one
    Run,
}

/// Carries a verb out, as a group's program does.
///
/// # Errors
/// It could not be done.
pub fn run(args: &ServiceArgs) -> io::Result<Exit> {
    match args.verb {
        ServiceVerb::Start => start(args).map(|()| Exit::Ok),
        ServiceVerb::Stop => {
            // Nobody there is what is wanted.
            let _ = ask(&args.socket, END);
            Ok(Exit::Ok)
        }
        // The same number that means "off" to a status program.
        ServiceVerb::Status if ask(&args.socket, THERE).is_err() => Ok(Exit::NotPrimary),
        ServiceVerb::Status => Ok(Exit::Ok),
        ServiceVerb::Run => serve(args).map(|()| Exit::Ok),
    }
}

/// Says a word to the service; returns when it has answered or ended.
fn ask(socket: &Path, word: u8) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WORD))?;
    stream.write_all(&[word])?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

fn start(args: &ServiceArgs) -> io::Result<()> {
    if ask(&args.socket, THERE).is_ok() {
        return Ok(());
    }
    let mut child = Command::new(std::env::current_exe()?)
        .args([SERVICE_VERB, "run"])
        .arg(&args.socket)
        .args([args.demo.to_string(), args.started.to_string()])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    let deadline = Instant::now() + UP;
    while ask(&args.socket, THERE).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it ended with {status}")));
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// Answers until it is told to end or the demo is gone.
fn serve(args: &ServiceArgs) -> io::Result<()> {
    let pid = i32::try_from(args.demo).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let demo = pidfd_open(pid, PidfdFlags::empty())?;
    if process_started(args.demo) != Some(args.started) {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the demo has ended already"));
    }
    // What a killed one has left.
    match fs::remove_file(&args.socket) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let listener = UnixListener::bind(&args.socket)?;
    loop {
        let mut both = [PollFd::new(&listener, PollFlags::IN), PollFd::new(&demo, PollFlags::IN)];
        match poll(&mut both, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if !both[1].revents().is_empty() {
            return Ok(());
        }
        let (mut stream, _) = listener.accept()?;
        let mut word = [0];
        let heard = stream.set_read_timeout(Some(WORD)).and_then(|()| stream.read_exact(&mut word));
        // Whoever says nothing is told nothing.
        if heard.is_ok() && word[0] == END {
            return fs::remove_file(&args.socket);
        }
    }
}

/// What the watch has seen.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Longest time without an answer of either node since `Watch::mark`.
    pub longest: Duration,
    /// Looks at which both nodes answered: one program ran twice.
    pub both: u64,
    last: Instant,
}

/// Asks both nodes all the time.
pub struct Watch {
    seen: Arc<Mutex<Answered>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn lock(seen: &Mutex<Answered>) -> MutexGuard<'_, Answered> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Begins to ask.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(sockets: [PathBuf; 2]) -> io::Result<Watch> {
        let begun = Answered { longest: Duration::ZERO, both: 0, last: Instant::now() };
        let (seen, over) = (Arc::new(Mutex::new(begun)), Arc::new(AtomicBool::new(false)));
        let (told, end) = (Arc::clone(&seen), Arc::clone(&over));
        let look = move || {
            while !end.load(Ordering::SeqCst) {
                let up = sockets.iter().filter(|socket| ask(socket, THERE).is_ok()).count();
                if up > 0 {
                    let (now, mut seen) = (Instant::now(), lock(&told));
                    seen.longest = seen.longest.max(now.duration_since(seen.last));
                    seen.last = now;
                    seen.both += u64::from(up > 1);
                }
                thread::park_timeout(LOOK);
            }
        };
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(look)?;
        Ok(Watch { seen, over, thread: Some(thread) })
    }

    /// Measures the longest time anew from here.
    pub fn mark(&self) {
        let mut seen = lock(&self.seen);
        (seen.longest, seen.last) = (Duration::ZERO, Instant::now());
    }

    /// What was seen so far.
    pub fn seen(&self) -> Answered {
        let mut seen = *lock(&self.seen);
        seen.longest = seen.longest.max(seen.last.elapsed());
        seen
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to tell any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(verb: ServiceVerb, socket: &Path) -> ServiceArgs {
        let demo = std::process::id();
        let started = process_started(demo).unwrap();
        ServiceArgs { verb, socket: socket.to_owned(), demo, started }
    }

    #[test]
    fn it_answers_until_it_is_told_to_end_and_its_absence_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let up = |name: &str| run(&own(ServiceVerb::Status, &at(name))).unwrap();
        assert_eq!(up("a").code(), 3, "what a status program says when it is off");
        let watch = Watch::start([at("a"), at("b")]).unwrap();
        let begin = |name: &str| {
            let args = own(ServiceVerb::Run, &at(name));
            let service = thread::spawn(move || run(&args));
            while up(name) != Exit::Ok {
                thread::yield_now();
            }
            service
        };
        let a = begin("a");
        watch.mark();
        assert_eq!(watch.seen().both, 0);
        let b = begin("b");
        while watch.seen().both == 0 {
            thread::yield_now();
        }
        for (name, service) in [("a", a), ("b", b)] {
            run(&own(ServiceVerb::Stop, &at(name))).unwrap();
            assert!(service.join().unwrap().is_ok());
            assert_eq!(up(name), Exit::NotPrimary);
        }
        let gone = watch.seen().longest;
        while watch.seen().longest < gone + Duration::from_millis(50) {
            thread::yield_now();
        }
    }

    #[test]
    fn it_does_not_begin_for_a_demo_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let args = own(ServiceVerb::Run, &dir.path().join("a"));
        assert!(run(&ServiceArgs { started: args.started + 1, ..args }).is_err());
    }
}
