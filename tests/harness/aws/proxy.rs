//! A proxy in front of a server of AWS that fails as told, for single actions or all of them.
//! Always: what has no rule passes; what was held or lost on the way back did reach the server; how
//! often an action came is counted, so that a test sees what was repeated; changes of items pass
//! one at a time, because the imitation checks and writes in two steps, which AWS does not.

use super::http::{self, Request};
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait of what is held, paused or silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of the requests of an action.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `ReplaceRoute`, `UpdateItem`; `*` is every action.
    pub action: String,
    /// Only if the body has this text.
    pub having: Option<String>,
    /// For how many requests; `None` is for ever.
    pub times: Option<u32>,
    /// What becomes of them.
    pub fault: Fault,
}

#[derive(Clone, Debug)]
pub enum Fault {
    /// The service refuses; the server is not asked.
    Refuse { status: u16, code: String, message: String },
    /// Something that is no service answers; the server is not asked.
    Page { status: u16, body: String },
    /// It comes later.
    Delay(Duration),
    /// No answer; with `applied`, the server has done it.
    Lose { applied: bool, how: End },
    /// It waits on its way until `release`.
    Hold,
    /// The answer has another text in place of this one.
    Rewrite { from: String, to: String },
}

/// How a connection without an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It is reset.
    Reset,
    /// It is closed.
    Close,
    /// Not at all.
    Silence,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: BTreeMap<String, u32>,
    /// When each answer was on its way back, with its action; milliseconds since 1970.
    answers: Vec<(u64, String)>,
    held: u32,
    answered: u32,
    released: bool,
    paused: bool,
}

/// A proxy; it lasts as long as the process.
#[derive(Clone)]
pub struct Proxy {
    target: SocketAddr,
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
    /// Held while the server changes an item.
    changing: Arc<Mutex<()>>,
}

impl Rule {
    /// A fault of an action, for ever.
    pub fn always(action: &str, fault: Fault) -> Rule {
        Rule { action: action.to_owned(), having: None, times: None, fault }
    }

    /// A fault of the next requests of an action.
    pub fn first(times: u32, action: &str, fault: Fault) -> Rule {
        Rule { times: Some(times), ..Rule::always(action, fault) }
    }
}

impl Fault {
    /// A refusal with this code.
    pub fn refuse(status: u16, code: &str, message: &str) -> Fault {
        Fault::Refuse { status, code: code.to_owned(), message: message.to_owned() }
    }
}

impl Proxy {
    /// A proxy in front of a server.
    pub fn open(target: SocketAddr) -> Proxy {
        Proxy::open_in(None, 0, target)
    }

    /// The same on a port of the loopback of a network namespace.
    pub fn open_in(space: Option<&str>, port: u16, target: SocketAddr) -> Proxy {
        let listener = http::listen(space, port);
        let port = listener.local_addr().unwrap().port();
        let proxy = Proxy { target, port, state: Arc::default(), changing: Arc::default() };
        let accepting = proxy.clone();
        // Ends with the process, like every test.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let proxy = accepting.clone();
                thread::spawn(move || proxy.serve(near));
            }
        });
        proxy
    }

    /// Where a client of AWS finds it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a rule; the first one that fits a request counts.
    pub fn add(&self, rule: Rule) {
        self.change(|state| state.rules.push(rule));
    }

    /// No more rules; what is held goes on.
    pub fn clear(&self) {
        self.change(|state| {
            state.rules.clear();
            state.released = true;
        });
    }

    /// Every request waits, or goes on.
    pub fn pause(&self, paused: bool) {
        self.change(|state| state.paused = paused);
    }

    /// How often an action came.
    pub fn seen(&self, action: &str) -> u32 {
        self.change(|state| state.seen.get(action).copied().unwrap_or(0))
    }

    /// When an action was answered after that moment, in milliseconds since 1970.
    pub fn answers(&self, action: &str, after_ms: u64) -> Vec<u64> {
        let fits = |(at, name): &&(u64, String)| *at >= after_ms && name == action;
        self.change(|state| state.answers.iter().filter(fits).map(|(at, _)| *at).collect())
    }

    /// Whether a request is held.
    pub fn is_held(&self) -> bool {
        self.change(|state| state.held > 0)
    }

    /// Lets what is held arrive, and waits until the server has answered it.
    pub fn release(&self) {
        let before = self.change(|state| {
            state.released = true;
            state.answered
        });
        self.wait("a held request is answered", |state| state.answered > before);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
        done
    }

    fn wait(&self, what: &str, until: impl Fn(&State) -> bool) {
        let (lock, changed) = &*self.state;
        let state = lock.lock().unwrap();
        let (_state, late) =
            changed.wait_timeout_while(state, PATIENCE, |state| !until(state)).unwrap();
        assert!(!late.timed_out(), "in vain: {what}");
    }

    /// One request of a connection; the next one comes over another.
    fn serve(&self, mut near: TcpStream) {
        let Ok(Some(request)) = http::request(&mut near) else { return };
        let fault = self.take(&request);
        let passed = match fault {
            None => self.pass(&request),
            Some(Fault::Refuse { status, code, message }) => {
                refusal(&request, status, &code, &message)
            }
            Some(Fault::Page { status, body }) => http::answer(status, "text/html", &[], &body),
            Some(Fault::Delay(time)) => {
                thread::sleep(time);
                self.pass(&request)
            }
            Some(Fault::Lose { applied, how }) => {
                if applied {
                    self.pass(&request);
                }
                return self.end(&near, how);
            }
            Some(Fault::Hold) => {
                self.wait("a release", |state| state.released);
                let answer = self.pass(&request);
                self.change(|state| {
                    state.held -= 1;
                    state.released = state.held > 0;
                    state.answered += 1;
                });
                answer
            }
            Some(Fault::Rewrite { from, to }) => rewritten(&self.pass(&request), &from, &to),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.change(|state| state.answers.push((now, action(&request))));
        // A client that has gone misses its answer.
        let _ = near.write_all(&passed);
    }

    /// Counts a request, waits while everything does, and gives what becomes of it.
    fn take(&self, request: &Request) -> Option<Fault> {
        let action = action(request);
        let body = request.text();
        let fault = self.change(|state| {
            *state.seen.entry(action.clone()).or_default() += 1;
            let fits = |rule: &&mut Rule| {
                let named = rule.action == "*" || rule.action == action;
                let having = rule.having.as_ref().is_none_or(|text| body.contains(text));
                named && having && rule.times != Some(0)
            };
            let rule = state.rules.iter_mut().find(fits)?;
            rule.times = rule.times.map(|times| times - 1);
            if matches!(rule.fault, Fault::Hold) {
                state.held += 1;
                state.released = false;
            }
            Some(rule.fault.clone())
        });
        self.wait("going on", |state| !state.paused);
        fault
    }

    /// What the server says; nothing when it is away.
    fn pass(&self, request: &Request) -> Vec<u8> {
        let changes = action(request) == "UpdateItem";
        let _alone = changes.then(|| self.changing.lock().unwrap());
        http::forward(self.target, request).unwrap_or_default()
    }

    fn end(&self, near: &TcpStream, how: End) {
        match how {
            End::Close => {}
            End::Reset => {
                let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                setsockopt(near, sockopt::Linger, &linger).unwrap();
            }
            End::Silence => thread::sleep(PATIENCE),
        }
    }
}

/// What a request asks for.
fn action(request: &Request) -> String {
    if let Some(target) = request.header("x-amz-target") {
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    let body = request.text();
    let action = body.split('&').find_map(|field| field.strip_prefix("Action="));
    action.unwrap_or_default().to_owned()
}

/// A refusal as the service of the request words it.
fn refusal(request: &Request, status: u16, code: &str, message: &str) -> Vec<u8> {
    if request.header("x-amz-target").is_some() {
        let body = format!("{{\"__type\":\"test#{code}\",\"message\":\"{message}\"}}");
        let id = [("x-amzn-RequestId", "test-request")];
        return http::answer(status, "application/x-amz-json-1.0", &id, &body);
    }
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error></Errors><RequestID>test-request</RequestID>\
         </Response>"
    );
    http::answer(status, "text/xml", &[], &body)
}

/// The answer with another text, and its new length.
fn rewritten(answer: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return answer.to_vec() };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(200);
    let kind = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
    });
    http::answer(status, kind.as_deref().unwrap_or("text/xml"), &[], &body.replace(from, to))
}
