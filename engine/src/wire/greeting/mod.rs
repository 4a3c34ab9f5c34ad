//! Both ends prove to each other that they know the key of the pair, before anything else is said.
//! Always: an end that has not proved itself learns nothing but random bytes and, if it dialed, why
//! it is refused; it makes this side hold less than `GREETING_BYTES_MAX` bytes, and never more than
//! one answer. Proofs hold for one greeting, one direction and one flow.
//!
//! ```text
//! dialer                                             acceptor
//!   open: ids, boot, start, flow, nonce, half   ──►
//!                                               ◄──  challenge: nonce, half
//!   proof over open, challenge                  ──►
//!                                               ◄──  welcome: boot, start, proof over all
//! ```
//!
//! The control flow is greeted first and fixes the session: the dialer's half above, the acceptor's
//! half below. A data flow names that session, and its proofs are made with a key that is derived
//! from the key of the pair and the session.
//!
//! An acceptor that refuses should shut down its sending side and drain what it was sent before it
//! closes, since a reset may overtake the refusal.

mod error;
mod frames;
mod key;
#[cfg(test)]
mod tests;

pub use error::{GreetingError, Refused};
pub use frames::{GREETING_BYTES_MAX, REFUSAL_BYTES, refusal};
pub use key::{Key, KeyError};

use crate::limits::FLOWS_MAX;
use crate::units::{BootId, ClusterId, GroupId, NodeId, Session, StartId, VolumeId};
use crate::wire::bytes::{array_at, u64_at};
use frames::{CHALLENGE_BYTES, Kind, NONCE_BYTES, OPEN_BYTES, Open, PROOF_FRAME_BYTES};
use frames::{W_PROOF, Welcome};
use key::{Claim, Side};

/// Who this end is. The same for every greeting of an engine.
#[derive(Clone, Debug)]
pub struct GreetingConfig {
    /// Must be equal on both ends.
    pub cluster: ClusterId,
    /// Must be equal on both ends.
    pub group: GroupId,
    /// Must be equal on both ends.
    pub volume: VolumeId,
    /// Must differ.
    pub node: NodeId,
    /// This boot of the host.
    pub boot: BootId,
    /// This start of the engine.
    pub start: StartId,
    /// Must be equal on both ends.
    pub key: Key,
    /// Data flows, 1 to `FLOWS_MAX`; the smaller number of both ends counts.
    pub flows: u8,
}

/// What a dialed connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowRole {
    /// The control flow: makes a new session.
    Control,
    /// A data flow of a session that a control flow has made.
    Data {
        /// That session.
        session: Session,
        /// Which data flow, from 1 on.
        index: u8,
    },
}

/// An end that has proved itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Greeted {
    /// New on the control flow, the named one on a data flow.
    pub session: Session,
    /// Who is there: always the other node of the pair.
    pub peer: NodeId,
    /// Boot of the peer's host.
    pub peer_boot: BootId,
    /// Start of the peer's engine.
    pub peer_start: StartId,
    /// What the connection is for.
    pub flow: FlowRole,
    /// Data flows of the link: the smaller number of both configurations.
    pub flows: u8,
}

/// How far a greeting has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of the input that were used. The rest must be fed again, with more behind it; once
    /// `done`, the rest belongs to the framer.
    pub consumed: usize,
    /// The peer has proved itself; told once.
    pub done: Option<Greeted>,
}

/// One end of one greeting.
#[derive(Debug)]
pub struct Greeting {
    local: GreetingConfig,
    half: u64,
    nonce: [u8; NONCE_BYTES],
    state: State,
    open: [u8; OPEN_BYTES],
    challenge: [u8; CHALLENGE_BYTES],
    proof: [u8; PROOF_FRAME_BYTES],
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Acceptor: waits for an open. Data flows may attach to `live`. Leaves with a challenge.
    AwaitOpen { live: Option<Session> },
    /// Dialer: has sent its open. Leaves with its proof.
    AwaitChallenge { flow: FlowRole },
    /// Acceptor: waits for the dialer's proof. Leaves with a welcome: done.
    AwaitProof { flow: FlowRole, session: Session },
    /// Dialer: waits for the acceptor's proof: done.
    AwaitWelcome { flow: FlowRole, session: Session },
    /// Both are known.
    Done,
    /// Nothing more is read or said.
    Failed(GreetingError),
}

/// Which session a flow belongs to, and the key of its proofs.
struct Terms {
    session: Session,
    key: Key,
}

impl Greeting {
    /// Greets over a connection that this end opened, and writes the first message to `out`.
    /// `random` must be fresh for every greeting.
    ///
    /// # Panics
    /// When a data flow has an index outside 1 to `FLOWS_MAX`.
    pub fn dial(
        local: &GreetingConfig,
        random: [u8; 32],
        flow: FlowRole,
        out: &mut Vec<u8>,
    ) -> Greeting {
        let mut greeting = Greeting::new(local, random, State::AwaitChallenge { flow });
        let (index, session, half) = match flow {
            FlowRole::Control => (0, Session::NONE, greeting.half),
            FlowRole::Data { session, index } => {
                assert!((1..=FLOWS_MAX).contains(&index), "data flow {index}");
                (index, session, 0)
            }
        };
        let open = Open {
            flow: index,
            node: local.node,
            flows: local.flows,
            cluster: local.cluster,
            group: local.group,
            volume: local.volume,
            boot: local.boot,
            start: local.start,
            session,
            half,
            nonce: greeting.nonce,
        };
        greeting.open = open.encode();
        out.extend_from_slice(&greeting.open);
        greeting
    }

    /// Greets over a connection that the other end opened. Data flows may attach to `live`.
    /// `random` must be fresh for every greeting. The live session may change while a greeting is
    /// under way, and two connections may ask for one data flow: look again when it is done.
    pub fn accept(local: &GreetingConfig, random: [u8; 32], live: Option<Session>) -> Greeting {
        Greeting::new(local, random, State::AwaitOpen { live })
    }

    /// Takes received bytes and appends what must be sent to `out`, also when it fails: then `out`
    /// may hold a refusal, to be sent before the connection is closed.
    ///
    /// # Errors
    /// The greeting is over; every later call says so again.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, GreetingError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        let mut consumed = 0;
        loop {
            match self.step(&input[consumed..], out) {
                Ok(None) => return Ok(Progress { consumed, done: None }),
                Ok(Some((used, done))) => {
                    consumed += used;
                    if done.is_some() {
                        return Ok(Progress { consumed, done });
                    }
                }
                Err(error) => {
                    // A dialer's last refusal would reach a peer that is past its greeting.
                    let listens = !matches!(self.state, State::AwaitWelcome { .. });
                    if let Some(reason) = error.answer().filter(|_| listens) {
                        out.extend_from_slice(&refusal(reason));
                    }
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
        }
    }

    fn new(local: &GreetingConfig, random: [u8; 32], state: State) -> Greeting {
        Greeting {
            local: local.clone(),
            half: u64_at(&random, 0),
            nonce: array_at(&random, 8),
            state,
            open: [0; OPEN_BYTES],
            challenge: [0; CHALLENGE_BYTES],
            proof: [0; PROOF_FRAME_BYTES],
        }
    }

    /// Uses one message, if it is there.
    fn step(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(usize, Option<Greeted>)>, GreetingError> {
        let awaited = match self.state {
            State::AwaitOpen { .. } => Kind::Open,
            State::AwaitChallenge { .. } => Kind::Challenge,
            State::AwaitProof { .. } => Kind::Proof,
            State::AwaitWelcome { .. } => Kind::Welcome,
            State::Done | State::Failed(_) => return Ok(None),
        };
        let Some(raw) = frames::find(awaited, input)? else { return Ok(None) };
        let done = match self.state {
            State::AwaitOpen { live } => self.on_open(raw, live, out).map(|()| None),
            State::AwaitChallenge { flow } => self.on_challenge(raw, flow, out).map(|()| None),
            State::AwaitProof { flow, session } => self.on_proof(raw, flow, session, out).map(Some),
            State::AwaitWelcome { flow, session } => self.on_welcome(raw, flow, session).map(Some),
            State::Done | State::Failed(_) => Ok(None),
        }?;
        Ok(Some((raw.len(), done)))
    }

    fn on_open(
        &mut self,
        raw: &[u8],
        live: Option<Session>,
        out: &mut Vec<u8>,
    ) -> Result<(), GreetingError> {
        let open = Open::decode(raw)?;
        self.check_ids(&open)?;
        let flow = self.check_flow(&open, live)?;
        let half = match flow {
            FlowRole::Control => self.half,
            FlowRole::Data { .. } => 0,
        };
        let session = session_of(flow, open.half, half)?;
        self.open = array_at(raw, 0);
        self.challenge = frames::encode_challenge(half, &self.nonce);
        out.extend_from_slice(&self.challenge);
        self.state = State::AwaitProof { flow, session };
        Ok(())
    }

    fn check_ids(&self, open: &Open) -> Result<(), GreetingError> {
        let local = &self.local;
        if open.cluster != local.cluster {
            return Err(GreetingError::Cluster { ours: local.cluster, theirs: open.cluster });
        }
        if open.group != local.group {
            return Err(GreetingError::Group { ours: local.group, theirs: open.group });
        }
        if open.volume != local.volume {
            return Err(GreetingError::Volume { ours: local.volume, theirs: open.volume });
        }
        if open.node == local.node {
            return Err(GreetingError::SameNode { node: open.node });
        }
        check_life(open.boot, open.start, open.flows)
    }

    fn check_flow(&self, open: &Open, live: Option<Session>) -> Result<FlowRole, GreetingError> {
        let index = open.flow;
        if index == 0 {
            let clean = !open.session.is_some();
            return if clean { Ok(FlowRole::Control) } else { Err(GreetingError::Malformed) };
        }
        if open.half != 0 {
            return Err(GreetingError::Malformed);
        }
        let flows = self.local.flows;
        if index > flows.min(open.flows) {
            return Err(GreetingError::FlowIndex { index, flows });
        }
        if live != Some(open.session) || !open.session.is_some() {
            return Err(GreetingError::NoSuchSession { asked: open.session });
        }
        Ok(FlowRole::Data { session: open.session, index })
    }

    fn on_challenge(
        &mut self,
        raw: &[u8],
        flow: FlowRole,
        out: &mut Vec<u8>,
    ) -> Result<(), GreetingError> {
        let half = frames::decode_challenge(raw)?;
        if matches!(flow, FlowRole::Data { .. }) && half != 0 {
            return Err(GreetingError::Malformed);
        }
        let session = session_of(flow, self.half, half)?;
        self.challenge = array_at(raw, 0);
        let terms = self.terms(flow, session);
        let proof = self.dial_claim(&terms, self.local.node).prove(Side::Dial);
        self.proof = frames::encode_proof(&proof);
        out.extend_from_slice(&self.proof);
        self.state = State::AwaitWelcome { flow, session };
        Ok(())
    }

    fn on_proof(
        &mut self,
        raw: &[u8],
        flow: FlowRole,
        session: Session,
        out: &mut Vec<u8>,
    ) -> Result<Greeted, GreetingError> {
        let proof = frames::decode_proof(raw)?;
        let terms = self.terms(flow, session);
        let peer = self.local.node.peer();
        if !self.dial_claim(&terms, peer).holds(Side::Dial, &proof) {
            return Err(GreetingError::Proof);
        }
        self.proof = array_at(raw, 0);
        let Greeting { local, .. } = &*self;
        let welcome =
            Welcome { node: local.node, flows: local.flows, boot: local.boot, start: local.start };
        let raw = welcome.encode(|head| self.welcome_claim(&terms, peer, head).prove(Side::Accept));
        out.extend_from_slice(&raw);
        let open = Open::decode(&self.open)?;
        self.state = State::Done;
        Ok(Greeted {
            session: terms.session,
            peer,
            peer_boot: open.boot,
            peer_start: open.start,
            flow,
            flows: self.local.flows.min(open.flows),
        })
    }

    fn on_welcome(
        &mut self,
        raw: &[u8],
        flow: FlowRole,
        session: Session,
    ) -> Result<Greeted, GreetingError> {
        let (welcome, proof) = Welcome::decode(raw)?;
        let terms = self.terms(flow, session);
        let claim = self.welcome_claim(&terms, self.local.node, &raw[..W_PROOF]);
        if !claim.holds(Side::Accept, &proof) {
            return Err(GreetingError::Proof);
        }
        if welcome.node == self.local.node {
            return Err(GreetingError::SameNode { node: welcome.node });
        }
        check_life(welcome.boot, welcome.start, welcome.flows)?;
        self.state = State::Done;
        Ok(Greeted {
            session: terms.session,
            peer: welcome.node,
            peer_boot: welcome.boot,
            peer_start: welcome.start,
            flow,
            flows: self.local.flows.min(welcome.flows),
        })
    }

    fn terms(&self, flow: FlowRole, session: Session) -> Terms {
        let key = match flow {
            FlowRole::Control => self.local.key.clone(),
            FlowRole::Data { .. } => self.local.key.of_session(session),
        };
        Terms { session, key }
    }

    fn dial_claim<'a>(&'a self, terms: &'a Terms, dialer: NodeId) -> Claim<'a> {
        let transcript = [&self.open[..], &self.challenge[..], &[], &[]];
        Claim { dialer, key: &terms.key, transcript }
    }

    fn welcome_claim<'a>(&'a self, terms: &'a Terms, dialer: NodeId, head: &'a [u8]) -> Claim<'a> {
        let transcript = [&self.open[..], &self.challenge[..], &self.proof[..], head];
        Claim { dialer, key: &terms.key, transcript }
    }
}

/// The session of a flow: both halves on the control flow, the named one on a data flow.
fn session_of(flow: FlowRole, dialer: u64, acceptor: u64) -> Result<Session, GreetingError> {
    let session = match flow {
        FlowRole::Control => Session(u128::from(dialer) << 64 | u128::from(acceptor)),
        FlowRole::Data { session, .. } => session,
    };
    if session.is_some() { Ok(session) } else { Err(GreetingError::NoSession) }
}

fn check_life(boot: BootId, start: StartId, flows: u8) -> Result<(), GreetingError> {
    let sound = boot.is_some() && start.is_some() && (1..=FLOWS_MAX).contains(&flows);
    if sound { Ok(()) } else { Err(GreetingError::Malformed) }
}
