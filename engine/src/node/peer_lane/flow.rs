//! One attached flow of a session: frames in, frames out.
//! Always: the staging buffer is here or with a receive; a frame whose payload waits for a slot
//! stops its flow, and no other.

use super::super::bufs::{BULKY_BYTES, SMALL_BYTES};
use super::super::hub::Hub;
use super::super::outbox::Outbox;
use super::super::port::lane;
use crate::replica::event::{BufId, Event};
use crate::units::{Epoch, Session};
use crate::uring::buffers::{Fill, Lease};
use crate::uring::{File, Op, Token};
use crate::wire::message::Message;
use crate::wire::{
    FRAME_SEQUENCE_FIRST, FlowKind, FrameError, Framer, PayloadInfo, Step, checksum, codec,
};

/// A frame whose payload is on its way.
#[derive(Debug)]
struct Incoming {
    epoch: Epoch,
    message: Message,
    info: PayloadInfo,
    slot: Option<Fill>,
    have: u32,
}

/// What reading came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Read {
    /// A receive is under way.
    Receiving,
    /// A slot is needed.
    Stalled,
}

/// One TCP connection of a session.
#[derive(Debug)]
pub(super) struct Flow {
    pub file: File,
    pub out: Outbox,
    session: Session,
    serial: u32,
    index: usize,
    framer: Framer,
    stage: Option<Fill>,
    start: usize,
    end: usize,
    receiving: bool,
    incoming: Option<Incoming>,
    sequence: u64,
    idle: bool,
    /// The last payload was larger than a small slot; the next one likely is, too.
    bulky: bool,
}

/// Ops of a flow.
pub(super) const RECEIVE: u8 = 3;
pub(super) const BODY: u8 = 4;
pub(super) const SEND: u8 = 5;

impl Flow {
    /// A flow that was just greeted; `rest` came behind the greeting. Flow 0 is control.
    pub fn new(
        file: File,
        session: Session,
        serial: u32,
        index: usize,
        mut stage: Fill,
        rest: &[u8],
    ) -> Flow {
        stage.bytes_mut()[..rest.len()].copy_from_slice(rest);
        let kind = if index == 0 { FlowKind::Control } else { FlowKind::Data };
        Flow {
            file,
            out: Outbox::default(),
            session,
            serial,
            index,
            framer: Framer::pinned(kind, session),
            stage: Some(stage),
            start: 0,
            end: rest.len(),
            receiving: false,
            incoming: None,
            sequence: FRAME_SEQUENCE_FIRST,
            idle: false,
            bulky: false,
        }
    }

    fn token(&self, kind: u8) -> Token {
        let id = (u64::from(self.serial) << 32) | self.index as u64;
        Token { lane: lane::PEER, kind, id }
    }

    /// Appends a message. `payload` starts `skip` bytes into its slot; its length is `len`.
    pub fn put(&mut self, epoch: Epoch, message: &Message, payload: Option<(Lease, u32, u32)>) {
        let range = |skip: u32, len: u32| skip as usize..(skip + len) as usize;
        let info = payload
            .as_ref()
            .map(|(lease, skip, len)| (*len, checksum(&lease.bytes()[range(*skip, *len)])));
        let (session, sequence) = (self.session, self.next_sequence());
        let gather = self.out.open();
        gather.put_with(|out| codec::encode(session, epoch, sequence, message, info, out));
        if let Some((lease, skip, len)) = payload {
            gather.put_slot(lease, range(skip, len));
        }
    }

    /// Appends one frame of acknowledgements.
    pub fn put_acks(&mut self, epoch: Epoch, acks: &[(u64, crate::wire::message::Status)]) {
        let (session, sequence) = (self.session, self.next_sequence());
        let gather = self.out.open();
        gather.put_with(|out| codec::encode_acks(session, epoch, sequence, acks, out));
    }

    fn next_sequence(&mut self) -> u64 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// Sends what waits.
    pub fn kick(&mut self, hub: &mut Hub) {
        let token = self.token(SEND);
        self.out.kick(&mut hub.port, token, &self.file);
    }

    /// A receive into the staging buffer ended.
    pub fn received(&mut self, into: Fill, bytes: u32, more: bool) {
        self.receiving = false;
        self.idle = !more;
        self.stage = Some(into);
        self.end += bytes as usize;
    }

    /// The rest of a payload came in.
    pub fn body_received(&mut self, into: Fill, more: bool) {
        self.receiving = false;
        self.idle = !more;
        if let Some(incoming) = self.incoming.as_mut() {
            incoming.have = incoming.info.len;
            incoming.slot = Some(into);
        }
    }

    /// Turns staged bytes into events, then receives more. Errors: the session is broken.
    pub fn advance(&mut self, hub: &mut Hub) -> Result<Read, FrameError> {
        loop {
            if self.receiving {
                return Ok(Read::Receiving);
            }
            if let Some(incoming) = self.incoming.take() {
                if let Some(read) = self.take_payload(hub, incoming)? {
                    return Ok(read);
                }
                continue;
            }
            let Some(stage) = self.stage.as_ref() else { return Ok(Read::Receiving) };
            let session = self.session;
            match self.framer.next(&stage.bytes()[self.start..self.end])? {
                Step::NeedMore { .. } => {
                    self.receive(hub);
                    return Ok(Read::Receiving);
                }
                Step::Frame(frame) => {
                    hub.metrics.link_frames += 1;
                    self.start += frame.consumed;
                    let epoch = frame.epoch;
                    match frame.payload {
                        None => hub.events.extend(frame.messages.map(|message| Event::Frame {
                            session,
                            epoch,
                            message,
                            buf: None,
                        })),
                        Some(info) => {
                            self.bulky = info.len as usize > SMALL_BYTES;
                            let (slot, have) = (None, 0);
                            self.incoming = frame.messages.last().map(|message| Incoming {
                                epoch,
                                message,
                                info,
                                slot,
                                have,
                            });
                        }
                    }
                }
            }
        }
    }

    /// Takes the payload off the staging buffer, or has it received. `None` when it is whole.
    fn take_payload(
        &mut self,
        hub: &mut Hub,
        mut incoming: Incoming,
    ) -> Result<Option<Read>, FrameError> {
        let len = incoming.info.len;
        let small = len as usize <= SMALL_BYTES;
        let staged = self.end - self.start;
        if small && incoming.slot.is_none() && staged < len as usize {
            self.incoming = Some(incoming);
            self.receive(hub);
            return Ok(Some(Read::Receiving));
        }
        let pools = &hub.bufs.pools;
        let pool = if small { &pools.peer_small } else { &pools.peer_large };
        let Some(mut slot) = incoming.slot.take().or_else(|| pool.take()) else {
            self.incoming = Some(incoming);
            return Ok(Some(Read::Stalled));
        };
        let part = staged.min((len - incoming.have) as usize);
        if part > 0
            && let Some(stage) = self.stage.as_ref()
        {
            let at = incoming.have as usize;
            let bytes = &stage.bytes()[self.start..self.start + part];
            slot.bytes_mut()[at..at + part].copy_from_slice(bytes);
            self.start += part;
            incoming.have += u32::try_from(part).expect("a payload is small");
        }
        if incoming.have < len {
            let (from, len) = (incoming.have, len - incoming.have);
            self.incoming = Some(incoming);
            self.receiving = true;
            let (file, idle) = (self.file.clone(), self.idle);
            let op = Op::Recv { file, into: slot, from, len, all: true, idle };
            hub.port.submit(self.token(BODY), op);
            return Ok(Some(Read::Receiving));
        }
        self.framer.check_payload(checksum(&slot.bytes()[..len as usize]))?;
        let buf: Option<BufId> = Some(hub.bufs.put_lease(slot.freeze()));
        let Incoming { epoch, message, .. } = incoming;
        hub.events.push_back(Event::Frame { session: self.session, epoch, message, buf });
        Ok(None)
    }

    fn receive(&mut self, hub: &mut Hub) {
        let Some(mut into) = self.stage.take() else { return };
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if into.len() - self.end < into.len() / 2 {
            into.bytes_mut().copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let from = u32::try_from(self.end).expect("a staging buffer is small");
        let most = if self.bulky && self.start == self.end { BULKY_BYTES } else { into.len() };
        let len = most.min(into.len() - self.end);
        let len = u32::try_from(len).expect("a staging buffer is small");
        assert!(len > 0, "a frame head fits the staging buffer");
        self.receiving = true;
        let (file, idle) = (self.file.clone(), self.idle);
        let op = Op::Recv { file, into, from, len, all: false, idle };
        hub.port.submit(self.token(RECEIVE), op);
    }
}
