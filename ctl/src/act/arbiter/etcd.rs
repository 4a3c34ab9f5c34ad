//! The record in etcd, through its v3 JSON gateway: one key per group, installed by a transaction
//! that compares the last change of that key and the pair's id.
//! Always: every read goes through a quorum; the proofs of `view` come from the same range as the
//! record; a write whose outcome is unknown is sent to no other server, only looked for there by
//! its nonce. What was not known by the deadline is `Failed` or `Unknown` (R4).

mod api;
mod http;
mod keys;
mod place;

pub use place::{ENDPOINTS_MAX, Endpoint, Identity, Place, PlaceError, TlsFiles};

use super::blocking::Blocking;
use super::kept::Keeper;
use super::view::{Kept, Proved, View};
use super::watch::Watch;
use super::{Arbiter, Health, PairView, Pending, Trouble};
use crate::decide::event::{ReadResult, SwapResult};
use crate::decide::record::{Record, RecordError};
use api::Compare;
use http::{Connection, Failed};
use keys::Keys;
use lockstep_engine::units::{Nonce, Version};
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::ClientConfig;

/// A record in etcd.
pub struct Etcd {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    keys: Keys,
    /// Own proof of this start of the daemon.
    own: Nonce,
    keeper: Keeper,
    blocking: Blocking,
    watch: Watch,
    /// The server that answered last.
    good: AtomicUsize,
    session: Mutex<Session>,
}

/// What is used again by the next connection.
#[derive(Default)]
struct Session {
    token: Option<Arc<str>>,
    tls: Option<Arc<ClientConfig>>,
}

/// How a transaction ended.
enum Sent {
    /// With an answer.
    Known(SwapResult),
    /// It had no effect: another server may be asked.
    Before(Trouble),
    /// It may have had its effect, or may yet have it.
    After(Trouble),
}

impl Etcd {
    /// A store at `place`. `own` is a fresh nonce of this start of the daemon. Nothing is touched
    /// before the first call, which must be made within a tokio runtime.
    ///
    /// # Errors
    /// The place can't be used as it is configured.
    pub fn new(place: Place, own: Nonce) -> Result<Etcd, PlaceError> {
        place.check()?;
        let names: Vec<String> = place.endpoints.iter().map(Endpoint::to_string).collect();
        let blocking = Blocking::new();
        let kept = place.state_dir.join(format!("etcd-{}", place.group));
        let inner = Inner {
            keys: Keys {
                root: place.prefix.clone(),
                cluster: place.cluster,
                group: place.group,
                node: place.node,
            },
            own,
            keeper: Keeper::new(kept, blocking.clone()),
            blocking,
            watch: Watch::new(format!("etcd {}", names.join(" "))),
            good: AtomicUsize::new(0),
            session: Mutex::new(Session::default()),
            place,
        };
        Ok(Etcd { inner: Arc::new(inner) })
    }

    /// Runs `work` until the deadline; `late` is the answer when it comes first, or the work fails.
    fn call<T, F>(&self, late: T, work: impl FnOnce(Arc<Inner>, Instant) -> F) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        let (inner, deadline) = (Arc::clone(&self.inner), self.inner.place.deadline);
        let begun = Instant::now();
        let until = begun + deadline;
        let work = work(Arc::clone(&self.inner), until);
        Box::pin(async move {
            match timeout_at(until, work).await.unwrap_or_else(|_| Err(inner.slow())) {
                Ok(value) => {
                    inner.watch.ended(Ok(begun.elapsed()));
                    value
                }
                Err(trouble) => {
                    inner.watch.ended(Err(trouble));
                    late
                }
            }
        })
    }
}

impl Inner {
    fn slow(&self) -> Trouble {
        Trouble::Slow { ms: u64::try_from(self.place.deadline.as_millis()).unwrap_or(u64::MAX) }
    }

    fn session<T>(&self, change: impl FnOnce(&mut Session) -> T) -> T {
        // A panic while the lock is held leaves plain values behind: they are still good.
        change(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Indexes of the servers, the last good one first.
    fn order(&self) -> Vec<usize> {
        let (good, count) = (self.good.load(Ordering::Relaxed), self.place.endpoints.len());
        (0..count).map(|step| (good + step) % count).collect()
    }

    /// Looks into the store through one server after the other until one is believed.
    async fn read(&self, until: Instant) -> Result<ReadResult, Trouble> {
        let mut worst = None;
        for (at, share) in shares(self.order(), until) {
            match self.look(at, share()).await {
                Ok((_, view)) => {
                    let record = view.record.map_err(|trouble| worse(worst.take(), trouble))?;
                    return Ok(record.map_or(ReadResult::Absent, ReadResult::Found));
                }
                Err(trouble) => worst = Some(worse(worst, trouble)),
            }
        }
        Err(worst.unwrap_or_else(|| self.slow()))
    }

    /// Connects to one server and looks, within `share`; gives what may be believed.
    async fn look(&self, at: usize, share: Duration) -> Result<(Connection, View), Trouble> {
        let looked = timeout(share, async {
            let mut connection = self.connect(&self.place.endpoints[at]).await?;
            let view = self.believed(&mut connection).await?;
            Ok((connection, view))
        });
        let looked = looked.await.unwrap_or_else(|_| Err(self.slow()));
        match &looked {
            Ok(_) => self.good.store(at, Ordering::Relaxed),
            // Renewed certificates are read again.
            Err(Trouble::Tls { .. }) => self.session(|session| session.tls = None),
            Err(_) => {}
        }
        looked
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, Trouble> {
        let tls = match (&self.place.tls, endpoint.tls) {
            (Some(files), true) => match self.session(|session| session.tls.clone()) {
                Some(config) => Some(config),
                None => {
                    let files = files.clone();
                    let read = self.blocking.run(move || http::tls_config(&files)).await?;
                    let config = Arc::new(read);
                    self.session(|session| session.tls = Some(Arc::clone(&config)));
                    Some(config)
                }
            },
            _ => None,
        };
        Connection::open(endpoint, tls, &self.blocking).await
    }

    /// One consistent look, with the own proof left and the pair's id kept.
    async fn believed(&self, connection: &mut Connection) -> Result<View, Trouble> {
        let mut view = self.range(connection).await?;
        if view.own != Some(self.own) {
            let own = api::put(&self.keys.proof(self.keys.node), self.own.to_string().as_bytes());
            self.ask::<api::Put>(connection, api::PUT, &own).await.map_err(Failed::trouble)?;
        }
        let pair = self.watch.with(|shared| {
            shared.health.own_nonce = Some(self.own);
            shared.pair
        });
        let kept = self.keeper.get().await?;
        let mut proved = view.judge(pair, kept)?;
        if proved == Proved::Unnamed {
            view = self.name_pair(connection).await?;
            proved = view.judge(pair, kept)?;
        }
        match proved {
            Proved::Pair(pair) => {
                self.keeper.put(Kept { pair, store: view.store }).await?;
                Ok(view)
            }
            Proved::Unnamed => Err(Trouble::OtherPair),
        }
    }

    async fn range(&self, connection: &mut Connection) -> Result<View, Trouble> {
        let asked = api::range(&self.keys.prefix());
        let range = self.ask(connection, api::RANGE, &asked).await.map_err(Failed::trouble)?;
        Ok(self.keys.view(range))
    }

    /// Gives the pair its id; the node that comes second takes the one of the first.
    async fn name_pair(&self, connection: &mut Connection) -> Result<View, Trouble> {
        let (key, prefix) = (self.keys.pair(), self.keys.prefix());
        let absent = [Compare::Revision(&key, 0)];
        let asked = api::txn(&absent, &key, self.own.to_string().as_bytes(), &prefix);
        self.ask::<api::Txn>(connection, api::TXN, &asked).await.map_err(Failed::trouble)?;
        self.range(connection).await
    }

    async fn swap(
        &self,
        expected: Option<Version>,
        next: Record,
        until: Instant,
    ) -> Result<SwapResult, Trouble> {
        if next.cluster != self.keys.cluster || next.group != self.keys.group {
            return Err(Trouble::ForeignRecord);
        }
        let bytes = next.encode().map_err(|error| match error {
            RecordError::TooLong { bytes } => {
                Trouble::TooLong { bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
            }
            _ => Trouble::Damaged { version: next.version },
        })?;
        let order = self.order();
        let mut worst = None;
        for (at, share) in shares(order.clone(), until) {
            let (mut connection, view) = match self.look(at, share()).await {
                Ok(looked) => looked,
                Err(trouble) => {
                    worst = Some(worse(worst, trouble));
                    continue;
                }
            };
            // Whether an earlier copy of this request took effect, or another's did, shows here.
            if let Some(known) = view.outcome(&next)? {
                return Ok(known);
            }
            let found = view.version();
            if found != expected || next.version.0 != expected.map_or(1, |e| e.0 + 1) {
                let persisted = expected.unwrap_or(next.version);
                return Err(Trouble::RolledBack { found, persisted });
            }
            match self.send(&mut connection, &view, &next, &bytes, until).await {
                Sent::Known(known) => return Ok(known),
                Sent::Before(trouble) => worst = Some(worse(worst, trouble)),
                Sent::After(trouble) => {
                    drop(connection);
                    let mut others = order;
                    others.retain(|other| *other != at);
                    others.push(at);
                    return self.look_back(others, &next, until).await.ok_or(trouble);
                }
            }
        }
        Err(worst.unwrap_or_else(|| self.slow()))
    }

    /// Sends the transaction once.
    async fn send(
        &self,
        connection: &mut Connection,
        view: &View,
        next: &Record,
        bytes: &[u8],
        until: Instant,
    ) -> Sent {
        let Some(pair) = view.pair else { return Sent::Before(Trouble::OtherPair) };
        let (record, name, pair) = (self.keys.record(), self.keys.pair(), pair.to_string());
        let unchanged =
            [Compare::Revision(&record, view.revision), Compare::Value(&name, pair.as_bytes())];
        let asked = api::txn(&unchanged, &record, bytes, &self.keys.prefix());
        // With other servers to look at afterwards, a third of the time is left for that.
        let left = until.saturating_duration_since(Instant::now());
        let share = if self.place.endpoints.len() > 1 { left * 2 / 3 } else { left };
        let sent = timeout(share, self.ask::<api::Txn>(connection, api::TXN, &asked)).await;
        let answer = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(Failed::Token(trouble) | Failed::Before(trouble))) => {
                return Sent::Before(trouble);
            }
            Ok(Err(Failed::After(trouble))) => return Sent::After(trouble),
            Err(_) => return Sent::After(self.slow()),
        };
        if answer.succeeded {
            return Sent::Known(SwapResult::Won);
        }
        let now = self.keys.view(answer.found());
        match now.outcome(next) {
            Ok(Some(known)) if now.pair == view.pair => Sent::Known(known),
            Ok(_) => {
                let persisted = view.version().unwrap_or(next.version);
                Sent::After(Trouble::RolledBack { found: now.version(), persisted })
            }
            Err(trouble) => Sent::After(trouble),
        }
    }

    /// Looks whether a write of unknown outcome, or a later one, is there. A look that shows
    /// neither says nothing: the request may land later (R4).
    async fn look_back(
        &self,
        order: Vec<usize>,
        next: &Record,
        until: Instant,
    ) -> Option<SwapResult> {
        for (at, share) in shares(order, until) {
            if let Ok((_, view)) = self.look(at, share()).await {
                return view.outcome(next).ok().flatten();
            }
        }
        None
    }

    /// Sends one request with the token that etcd wants, once more after a token that has ended.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        connection: &mut Connection,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, Failed> {
        let token = self.token(connection).await.map_err(Failed::Before)?;
        let mut answered = connection.post(path, token.as_deref(), body).await;
        if let (Some(_), Err(Failed::Token(_))) = (&token, &answered) {
            self.session(|session| session.token = None);
            let token = self.token(connection).await.map_err(Failed::Before)?;
            answered = connection.post(path, token.as_deref(), body).await;
        }
        connection.parse(&answered?).map_err(Failed::After)
    }

    /// The token of the last login, or of a new one.
    async fn token(&self, connection: &mut Connection) -> Result<Option<Arc<str>>, Trouble> {
        let Some(file) = self.place.credentials.clone() else { return Ok(None) };
        if let Some(token) = self.session(|session| session.token.clone()) {
            return Ok(Some(token));
        }
        let (user, password) = self.blocking.run(move || read_credentials(&file)).await?;
        let asked = api::login(&user, &password);
        let answered = connection.post(api::LOGIN, None, &asked).await.map_err(Failed::trouble)?;
        let token: Arc<str> = connection.parse::<api::Token>(&answered)?.token.into();
        self.session(|session| session.token = Some(Arc::clone(&token)));
        Ok(Some(token))
    }
}

fn read_credentials(file: &Path) -> Result<(String, String), Trouble> {
    let text = std::fs::read_to_string(file)
        .map_err(|cause| super::proof::trouble("read", file, &cause))?;
    let shape = || {
        let cause = io::Error::new(io::ErrorKind::InvalidData, "it must be like user:password");
        super::proof::trouble("read", file, &cause)
    };
    let (user, password) = text.trim_end().split_once(':').ok_or_else(shape)?;
    Ok((user.to_owned(), password.to_owned()))
}

/// Servers to try, each with its part of the time that is left when its turn comes.
fn shares(
    order: Vec<usize>,
    until: Instant,
) -> impl Iterator<Item = (usize, impl Fn() -> Duration)> {
    let count = order.len();
    order.into_iter().enumerate().map(move |(turn, at)| {
        let turns = u32::try_from(count - turn).unwrap_or(u32::MAX);
        (at, move || until.saturating_duration_since(Instant::now()) / turns)
    })
}

/// Of two troubles the one that says more: what a server answered, rather than that one is away.
fn worse(first: Option<Trouble>, second: Trouble) -> Trouble {
    match first {
        Some(Trouble::Unreachable { .. } | Trouble::Slow { .. }) | None => second,
        Some(first) => first,
    }
}

impl Arbiter for Etcd {
    fn read(&self) -> Pending<ReadResult> {
        self.call(ReadResult::Failed, |inner, until| async move { inner.read(until).await })
    }

    fn swap(&self, expected: Option<Version>, next: Record) -> Pending<SwapResult> {
        self.call(SwapResult::Unknown, move |inner, until| async move {
            inner.swap(expected, next, until).await
        })
    }

    fn tell(&self, pair: PairView) {
        self.inner.watch.with(|shared| shared.pair = pair);
    }

    fn health(&self) -> Health {
        self.inner.watch.with(|shared| shared.health.clone())
    }
}
