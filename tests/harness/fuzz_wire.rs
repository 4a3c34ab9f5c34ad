//! Oracles for bytes that arrive on the link, and the messages to try them with.
//! Always: the same input gives the same verdict; a panic is the only way to fail.
//!
//! `fuzz_frames` and `fuzz_greeting` take raw bytes, so that a fuzzer and the replay of a corpus
//! can call them alike. Each input is tried as it is and with its checksums made good, because
//! hardly any mutation would get past a CRC otherwise.

use lockstep_engine::limits::{HISTORY_MAX, INTENT_REGIONS_MAX, PIECE_BYTES_MAX, VOLUME_BYTES_MAX};
use lockstep_engine::units::{
    BLOCK_BYTES, BootId, ClusterId, Digest, DiskState, Epoch, Extent, Generation, GroupId,
    InSyncMark, Members, NodeId, Nonce, Role, Session, StartId, Version, VolumeId, VolumeRecord,
};
use lockstep_engine::wire::bounds::{
    ACKS_PER_FRAME_MAX, BITMAP_WORDS_MAX, BLOCKS_MAX, DIGESTS_MAX, FRAME_HEAD_BYTES_MAX,
};
use lockstep_engine::wire::codec::{encode, encode_acks};
use lockstep_engine::wire::greeting::{FlowRole, Greeted, Greeting, GreetingConfig, Key};
use lockstep_engine::wire::header::{
    BODY_CRC, BODY_LEN, HEADER_BYTES, HEADER_CRC, PAYLOAD_CRC, PAYLOAD_LEN,
};
use lockstep_engine::wire::message::{ByeReason, Hello, Message, Status, SyncKind};
use lockstep_engine::wire::{FlowKind, Frame, Framer, Kind, Step, checksum};

/// Session of every frame made here.
pub const SESSION: Session = Session(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);

/// A small generator of repeatable numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Seeded {
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
    /// An index below `end`, which is not zero.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below a usize")
    }
    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.draw() & 1 == 1
    }
    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.draw().to_le_bytes()[0]
    }
    fn wide(&mut self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }
    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}

/// A legal message of that kind.
pub fn message(kind: Kind, seed: &mut Seeded) -> Message {
    let token = seed.draw();
    let round = token;
    let status = seed.pick(&[Status::Ok, Status::IoError]);
    let at = extent(PIECE_BYTES_MAX, seed);
    let (fua, punch) = (seed.coin(), seed.coin());
    match kind {
        Kind::Ping => Message::Ping { stamp: token },
        Kind::Pong => Message::Pong { stamp: token },
        Kind::Hello => Message::Hello(Box::new(hello(seed))),
        Kind::SyncBegin => {
            let kind = seed.pick(&[SyncKind::Incremental, SyncKind::Full, SyncKind::Reconcile]);
            Message::SyncBegin { round, kind, generation: Generation(seed.wide()) }
        }
        Kind::Bits => {
            let words: Box<[u64]> = (0..seed.below(40)).map(|_| seed.draw()).collect();
            let first_word = seed.below(BITMAP_WORDS_MAX - 40);
            Message::Bits { round, first_word, words }
        }
        Kind::SyncReady => Message::SyncReady { round },
        Kind::BitsTaken => Message::BitsTaken { round },
        Kind::Flush => Message::Flush { token },
        Kind::FlushDone => Message::FlushDone { token, status },
        Kind::MakeUpToDate => Message::MakeUpToDate { round, generation: Generation(seed.wide()) },
        Kind::UpToDateDone => Message::UpToDateDone { round },
        Kind::DropBits => Message::DropBits { round },
        Kind::Life => Message::Life { counter: token },
        Kind::Bye => Message::Bye(seed.pick(&BYE_REASONS)),
        Kind::Write => Message::Write { token, at, fua },
        Kind::Zero => {
            let at = extent(lockstep_engine::limits::ZERO_PIECE_BYTES_MAX, seed);
            Message::Zero { token, at, punch, fua }
        }
        Kind::SyncWrite => Message::SyncWrite { token, at },
        Kind::Ack => Message::Ack { token, status },
        Kind::Read => Message::Read { token, at },
        Kind::ReadDone => Message::ReadDone { token, status, at },
        Kind::DigestRequest => Message::DigestRequest { token, at },
        Kind::Digests => {
            let count = match status {
                Status::Ok => 1 + seed.index(DIGESTS_MAX),
                Status::IoError => 0,
            };
            let digests = (0..count).map(|_| Digest(seed.wide().to_le_bytes())).collect();
            Message::Digests { token, status, digests }
        }
    }
}

const BYE_REASONS: [ByeReason; 9] = [
    ByeReason::Stopping,
    ByeReason::OldEpoch,
    ByeReason::Unrelated,
    ByeReason::TwoRecords,
    ByeReason::Protocol,
    ByeReason::Replaced,
    ByeReason::NoProgress,
    ByeReason::WrongSize,
    ByeReason::Failed,
];

fn extent(len_max: u32, seed: &mut Seeded) -> Extent {
    let block = u32::try_from(BLOCK_BYTES).expect("small");
    let blocks = 1 + seed.below(u64::from(len_max / block));
    let len = u32::try_from(blocks).expect("small") * block;
    Extent::new(seed.below(BLOCKS_MAX - blocks + 1) * BLOCK_BYTES, len)
}

fn hello(seed: &mut Seeded) -> Hello {
    let mut history = [Generation::NONE; HISTORY_MAX];
    let known = seed.index(HISTORY_MAX + 1);
    history[..known].iter_mut().for_each(|slot| *slot = Generation(seed.wide()));
    let record = seed.coin().then(|| record(seed));
    let mark = seed
        .coin()
        .then(|| InSyncMark { generation: Generation(seed.wide()), boot: BootId(seed.wide()) });
    Hello {
        node: seed.pick(&[NodeId::A, NodeId::B]),
        serial: seed.draw(),
        role: seed.pick(&[Role::Secondary, Role::Promoting, Role::Primary, Role::Demoting]),
        disk: seed.pick(&[
            DiskState::UpToDate,
            DiskState::Consistent,
            DiskState::Outdated,
            DiskState::Inconsistent,
            DiskState::Failed,
        ]),
        record,
        generation: Generation(seed.wide()),
        base: Generation(seed.wide()),
        history,
        needs_full: seed.coin(),
        mark,
        boot: BootId(seed.wide() | 1),
        start: StartId(seed.wide() | 1),
        dirty_blocks: seed.below(BLOCKS_MAX + 1),
        hot_regions: u32::try_from(seed.below(u64::from(INTENT_REGIONS_MAX) + 1)).expect("small"),
        size: (1 + seed.below(VOLUME_BYTES_MAX / BLOCK_BYTES)) * BLOCK_BYTES,
        life: seed.draw(),
        life_heard: seed.draw(),
    }
}

fn record(seed: &mut Seeded) -> VolumeRecord {
    VolumeRecord {
        version: Version(seed.draw()),
        epoch: Epoch(seed.draw()),
        members: seed.pick(&[
            Members::NONE,
            Members::only(NodeId::A),
            Members::only(NodeId::B),
            Members::BOTH,
        ]),
        primary: seed.pick(&[None, Some(NodeId::A), Some(NodeId::B)]),
        generation: Generation(seed.wide()),
        parent: Generation(seed.wide()),
        nonce: Nonce(seed.wide()),
        writer: seed.pick(&[NodeId::A, NodeId::B]),
        since: seed.draw(),
        forced: seed.coin(),
    }
}

/// Bytes of payload that go with `message`, made of the seed; at most `PIECE_BYTES_MAX`.
pub fn payload_of(message: &Message, seed: &mut Seeded) -> Vec<u8> {
    let len = match message {
        Message::Write { at, .. }
        | Message::SyncWrite { at, .. }
        | Message::ReadDone { at, status: Status::Ok, .. } => at.len,
        _ => 0,
    };
    let word = seed.draw().to_le_bytes();
    word.into_iter().cycle().take(len as usize).collect()
}

/// Appends the frame of `message` and returns where its payload begins.
pub fn append(sequence: u64, message: &Message, payload: &[u8], out: &mut Vec<u8>) -> usize {
    let len = u32::try_from(payload.len()).expect("a payload");
    let info = (len > 0).then(|| (len, checksum(payload)));
    encode(SESSION, Epoch(sequence ^ 7), sequence, message, info, out);
    out.extend_from_slice(payload);
    out.len() - payload.len()
}

/// Makes a flow's worth of legal frames.
pub fn stream(flow: FlowKind, frames: u64, seed: &mut Seeded) -> Vec<u8> {
    let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| kind.flow() == flow).collect();
    let mut out = Vec::new();
    for sequence in 1..=frames {
        let mut next = message(seed.pick(&kinds), seed);
        // Small payloads keep the corpus small.
        if let Message::Write { at, .. }
        | Message::SyncWrite { at, .. }
        | Message::ReadDone { at, .. } = &mut next
        {
            at.len = 4096;
        }
        let payload = payload_of(&next, seed);
        append(sequence, &next, &payload, &mut out);
    }
    out
}

/// Feeds `input` to a framer: the first byte chooses flow (bit 0), pinning (bit 1) and how much is
/// staged at once (the rest); what follows are the received bytes. Returns the frames taken.
///
/// # Panics
/// When the framer breaks its promises: a frame that does not encode to its own bytes, a bound that
/// is exceeded, an error that heals.
pub fn fuzz_frames(input: &[u8]) -> usize {
    let Some((choice, bytes)) = input.split_first() else { return 0 };
    let raw = take_frames(*choice, bytes);
    let mut good = bytes.to_vec();
    repair_frames(&mut good);
    raw.max(take_frames(*choice, &good))
}

fn take_frames(choice: u8, bytes: &[u8]) -> usize {
    let flow = if choice & 1 == 0 { FlowKind::Control } else { FlowKind::Data };
    let mut framer = match choice & 2 {
        0 => Framer::new(flow),
        _ => Framer::pinned(flow, SESSION),
    };
    let chunk = 1 + 64 * usize::from(choice >> 2);
    let (mut begin, mut staged, mut frames) = (0, 0, 0);
    loop {
        match framer.next(&bytes[begin..staged]) {
            Err(error) => {
                assert!(error.to_string().contains("; "));
                assert_eq!(framer.next(&[]).map(|_| ()), Err(error), "a broken flow stays broken");
                return frames;
            }
            Ok(Step::NeedMore { at_least }) => {
                assert!(at_least > staged - begin && at_least <= FRAME_HEAD_BYTES_MAX);
                if staged == bytes.len() {
                    return frames;
                }
                staged = (staged + chunk).max(begin + at_least).min(bytes.len());
            }
            Ok(Step::Frame(frame)) => {
                assert!(frame.session == SESSION || choice & 2 == 0);
                frames += 1;
                let head = &bytes[begin..begin + frame.consumed];
                let payload = frame.payload;
                check_frame(frame, u64::try_from(frames).expect("few"), head);
                begin += head.len();
                if let Some(info) = payload {
                    let end = begin + info.len as usize;
                    let Some(data) = bytes.get(begin..end) else { return frames };
                    if framer.check_payload(checksum(data)).is_err() {
                        return frames;
                    }
                    begin = end;
                }
                staged = staged.max(begin);
            }
        }
    }
}

fn check_frame(frame: Frame<'_>, sequence: u64, head: &[u8]) {
    let Frame { session, epoch, messages, payload, .. } = frame;
    assert!(messages.len() >= 1 && messages.len() <= ACKS_PER_FRAME_MAX);
    assert!(payload.is_none() || messages.len() == 1);
    let messages: Vec<Message> = messages.collect();
    let mut again = Vec::new();
    if let Message::Ack { .. } = messages[0] {
        let acks: Vec<(u64, Status)> = messages
            .iter()
            .map(|message| match message {
                Message::Ack { token, status } => (*token, *status),
                other => panic!("{other:?} among acks"),
            })
            .collect();
        encode_acks(session, epoch, sequence, &acks, &mut again);
    } else {
        let payload = payload.map(|info| (info.len, info.crc));
        encode(session, epoch, sequence, &messages[0], payload, &mut again);
    }
    assert!(again == head, "a frame has one encoding: {:?}", messages[0]);
}

/// Makes the checksums of every whole frame good.
fn repair_frames(bytes: &mut [u8]) {
    let mut begin = 0;
    while let Some(frame) = bytes.get_mut(begin..).filter(|rest| rest.len() >= HEADER_BYTES) {
        let word = |at: usize, frame: &[u8]| {
            let raw: [u8; 4] = frame[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(raw) as usize
        };
        let (body, payload) = (word(BODY_LEN, frame), word(PAYLOAD_LEN, frame));
        let body_end = HEADER_BYTES + body;
        if let Some(body) = frame.get(HEADER_BYTES..body_end) {
            let crc = checksum(body).to_le_bytes();
            frame[BODY_CRC..BODY_CRC + 4].copy_from_slice(&crc);
        }
        if let Some(payload) = frame.get(body_end..body_end + payload).filter(|p| !p.is_empty()) {
            let crc = checksum(payload).to_le_bytes();
            frame[PAYLOAD_CRC..PAYLOAD_CRC + 4].copy_from_slice(&crc);
        }
        let crc = checksum(&frame[..HEADER_CRC]).to_le_bytes();
        frame[HEADER_CRC..HEADER_BYTES].copy_from_slice(&crc);
        begin += body_end + payload;
    }
}

/// The configuration of either end of a fuzzed greeting.
pub fn greeting_config(node: NodeId) -> GreetingConfig {
    let own = u128::from(node.to_byte());
    GreetingConfig {
        cluster: ClusterId(0xc1),
        group: GroupId(0x61),
        volume: VolumeId(0x51),
        node,
        boot: BootId(0xb000 + own),
        start: StartId(0x5000 + own),
        key: Key::new([0x42; 32]),
        flows: 2,
    }
}

const DIALER_RANDOM: [u8; 32] = [0xd1; 32];
const ACCEPTOR_RANDOM: [u8; 32] = [0xac; 32];

fn role(data: bool) -> FlowRole {
    if data { FlowRole::Data { session: SESSION, index: 1 } } else { FlowRole::Control }
}

/// Everything that the dialer and the acceptor of a good greeting send.
pub fn greeting_transcript(data: bool) -> (Vec<u8>, Vec<u8>) {
    let (mut dialer_says, mut acceptor_says) = (Vec::new(), Vec::new());
    let config = greeting_config(NodeId::A);
    let mut dialer = Greeting::dial(&config, DIALER_RANDOM, role(data), &mut dialer_says);
    let mut acceptor =
        Greeting::accept(&greeting_config(NodeId::B), ACCEPTOR_RANDOM, Some(SESSION));
    let used = acceptor.feed(&dialer_says, &mut acceptor_says).expect("a good open").consumed;
    let heard = dialer.feed(&acceptor_says, &mut dialer_says).expect("a good challenge").consumed;
    acceptor.feed(&dialer_says[used..], &mut acceptor_says).expect("a good proof");
    dialer.feed(&acceptor_says[heard..], &mut Vec::new()).expect("a good welcome");
    (dialer_says, acceptor_says)
}

/// Feeds `input` to one end of a greeting: the first byte chooses the end (bit 0: dialer), the flow
/// (bit 1: data) and how much comes at once (the rest). Returns whether the greeting was done.
///
/// # Panics
/// When an end believes any other bytes than those of the peer that knows the key, answers without
/// bound, or recovers from a failure.
pub fn fuzz_greeting(input: &[u8]) -> bool {
    let Some((choice, bytes)) = input.split_first() else { return false };
    let mut good = bytes.to_vec();
    repair_greeting(choice & 1 == 1, &mut good);
    let raw = greet(*choice, bytes);
    greet(*choice, &good) || raw
}

fn greet(choice: u8, bytes: &[u8]) -> bool {
    let (dials, data) = (choice & 1 == 1, choice & 2 == 2);
    let (dialer_says, acceptor_says) = greeting_transcript(data);
    let (heard, due) =
        if dials { (acceptor_says, dialer_says) } else { (dialer_says, acceptor_says) };
    let mut out = Vec::new();
    let mut end = if dials {
        Greeting::dial(&greeting_config(NodeId::A), DIALER_RANDOM, role(data), &mut out)
    } else {
        Greeting::accept(&greeting_config(NodeId::B), ACCEPTOR_RANDOM, Some(SESSION))
    };
    let chunk = 1 + 4 * usize::from(choice >> 2);
    let (mut begin, mut fed) = (0, 0);
    let mut done: Option<Greeted> = None;
    while done.is_none() && fed < bytes.len() {
        fed = (fed + chunk).min(bytes.len());
        match end.feed(&bytes[begin..fed], &mut out) {
            Ok(progress) => {
                begin += progress.consumed;
                done = progress.done;
            }
            Err(error) => {
                let said = out.len();
                assert!(error.to_string().contains(';'));
                assert_eq!(end.feed(&heard, &mut out), Err(error), "a failed end stays failed");
                assert_eq!(out.len(), said, "a failed end is silent");
                break;
            }
        }
    }
    assert!(out.len() <= due.len() + 32, "answers are bounded");
    if let Some(greeted) = done {
        // Control bytes at a data end, and the reverse, are another transcript.
        let other = greeting_transcript(!data);
        let other = if dials { other.1 } else { other.0 };
        assert!(bytes[..begin] == heard || (!dials && bytes[..begin] == other));
        assert_eq!(greeted.peer, if dials { NodeId::B } else { NodeId::A });
    }
    done.is_some()
}

fn repair_greeting(dials: bool, bytes: &mut [u8]) {
    let sizes: [usize; 2] = if dials { [64, 96] } else { [160, 64] };
    let mut begin = 0;
    for size in sizes {
        let Some(raw) = bytes.get_mut(begin..begin + size) else { return };
        let crc = checksum(&raw[..size - 4]).to_le_bytes();
        raw[size - 4..].copy_from_slice(&crc);
        begin += size;
    }
}

/// Changes `bytes` a little: flips, cuts, doubles, splices numbers that parsers trip over.
pub fn mutate(bytes: &mut Vec<u8>, seed: &mut Seeded) {
    for _ in 0..=seed.below(4) {
        if bytes.is_empty() {
            bytes.push(seed.byte());
            continue;
        }
        let at = seed.index(bytes.len());
        match seed.below(6) {
            0 => bytes[at] ^= 1 << seed.below(8),
            1 => bytes[at] = seed.byte(),
            2 => bytes.truncate(at),
            3 => {
                let end = (at + 1 + seed.index(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let end = (at + 1 + seed.index(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let number =
                    seed.pick(&[0, 1, 0xff, 0xffff, 1 << 16, u32::MAX, 1 << 31, 4095, 4097]);
                let end = (at + 4).min(bytes.len());
                let raw = number.to_le_bytes();
                bytes[at..end].copy_from_slice(&raw[..end - at]);
            }
        }
    }
}
