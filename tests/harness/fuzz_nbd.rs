//! Fuzz targets of the NBD server side, their seeds, and a small mutator.
//! Always: a target returns or panics; the same bytes take the same path every time.

use lockstep_nbd::protocol::constants::{
    BLOCK_BYTES_MIN, HANDSHAKE_ANSWER_BYTES_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_SKIP_BYTES_MAX, cmd,
    cmd_flag, info, opt,
};
use lockstep_nbd::protocol::{
    AnswerHead, Command, Connection, Cookie, Export, Handshake, Negotiated, State, What,
    client_flags, encode_raw, encode_request, put_go_data, put_meta_data, put_option,
};

/// Bytes of the export that targets see.
const SIZE: u64 = 1 << 20;

/// Options: any bytes, in pieces or whole, end in the same state with the same bounded answers.
pub fn fuzz_options(data: &[u8]) {
    let Some((piece, input)) = data.split_first() else { return };
    let export = Export::new("vol", SIZE)
        .and_then(|export| export.with_description("a volume"))
        .expect("this export is sound");
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    let mut shake = Handshake::start(&mut whole);
    let at_once = shake.feed(&export, input, &mut whole);
    assert!(at_once.consumed <= input.len());
    assert!(whole.len() <= HANDSHAKE_ANSWER_BYTES_MAX);
    let again = shake.feed(&export, &input[at_once.consumed..], &mut whole);
    assert_eq!((again.consumed, again.state), (0, at_once.state), "all was taken the first time");

    let mut shake = Handshake::start(&mut pieces);
    let (mut taken, mut state) = (0, State::Haggling);
    for end in (0..=input.len()).step_by(usize::from(*piece).max(1)).chain([input.len()]) {
        let progress = shake.feed(&export, &input[taken..end.max(taken)], &mut pieces);
        assert!(progress.consumed <= end.max(taken) - taken);
        taken += progress.consumed;
        state = progress.state;
    }
    assert_eq!((taken, state, &pieces), (at_once.consumed, at_once.state, &whole));
}

/// Requests: what is accepted keeps every limit, what is refused is answered by its own cookie.
pub fn fuzz_requests(data: &[u8]) {
    let Some((mode, mut input)) = data.split_first() else { return };
    let export = Export::new("vol", SIZE).expect("this export is sound");
    let export = export.with_read_only(mode & 4 != 0).with_fast_zero(mode & 8 != 0);
    let negotiated = Negotiated { structured: mode & 1 != 0, allocation: mode & 2 != 0 };
    let (mut connection, mut out) = (Connection::adopt(negotiated), Vec::new());
    loop {
        let step = connection.step(&export, input, &mut out);
        let header = step.consumed.checked_sub(28).map(|at| &input[at..step.consumed]);
        input = &input[step.consumed..];
        match (step.what, header) {
            (What::Request(request), Some(header)) => {
                let len = u64::from(request.len);
                assert!(request.offset.checked_add(len).is_some_and(|end| end <= SIZE));
                assert!((request.offset | len) % u64::from(BLOCK_BYTES_MIN) == 0);
                assert!(request.payload() <= PAYLOAD_BYTES_MAX);
                assert!(!(request.command.modifies() && export.is_read_only()));
                if request.command == Command::Disconnect {
                    return;
                }
                assert_eq!(encode_request(&request), header, "nothing was lost or made up");
                input = &input[input.len().min(request.payload() as usize)..];
            }
            (What::Refused(head), Some(header)) => {
                let answer = head.as_slice().first_chunk().expect("an answer has 16 bytes");
                let cookie = match AnswerHead::decode(answer).expect("an answer decodes") {
                    AnswerHead::Simple { cookie, code } if code != 0 => cookie,
                    AnswerHead::Chunk { cookie, done: true, .. } if negotiated.structured => cookie,
                    other => panic!("refused by {other:?}"),
                };
                assert_eq!(cookie.0.to_be_bytes(), header[8..16]);
            }
            (What::More | What::Close(_), _) => break,
            other => panic!("no header behind {other:?}"),
        }
    }
    assert!(out.is_empty(), "only options are answered there");
}

/// Names and bytes of the committed corpus of `fuzz_options`.
pub fn option_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let start = |piece: u8| [&[piece][..], &client_flags()].concat();
    let mut seeds = Vec::new();
    let mut seed = |name, piece, options: &[(u32, Vec<u8>)]| {
        let mut bytes = start(piece);
        for (option, data) in options {
            put_option(&mut bytes, *option, data);
        }
        seeds.push((name, bytes));
    };
    let go = |name: &str, infos: &[u16]| {
        let mut data = Vec::new();
        put_go_data(&mut data, name, infos);
        data
    };
    let meta = |name: &str, queries: &[&str]| {
        let mut data = Vec::new();
        put_meta_data(&mut data, name, queries);
        data
    };
    let infos = [info::NAME, info::DESCRIPTION, info::BLOCK_SIZE, 77];
    let allocation = ["base:allocation", "qemu:dirty-bitmap:x"];
    seed("export_name", 1, &[(opt::EXPORT_NAME, b"vol".to_vec())]);
    seed("export_name_unknown", 7, &[(opt::EXPORT_NAME, b"other".to_vec())]);
    seed("go", 255, &[(opt::GO, go("vol", &infos))]);
    seed(
        "as_qemu_does",
        3,
        &[
            (opt::STARTTLS, vec![]),
            (opt::STRUCTURED_REPLY, vec![]),
            (opt::SET_META_CONTEXT, meta("", &allocation)),
            (opt::GO, go("", &[info::BLOCK_SIZE])),
        ],
    );
    seed(
        "list_and_leave",
        16,
        &[
            (opt::LIST, vec![]),
            (opt::INFO, go("vol", &infos)),
            (opt::STRUCTURED_REPLY, vec![]),
            (opt::LIST_META_CONTEXT, meta("vol", &["base:"])),
            (opt::LIST_META_CONTEXT, meta("vol", &[])),
            (opt::ABORT, b"bye".to_vec()),
        ],
    );
    seed("unknown_options", 5, &[(4, vec![]), (11, vec![1; 9]), (u32::MAX, vec![0; 40])]);
    seed("too_big", 200, &[(opt::LIST, vec![0; 16_385]), (opt::GO, go("nope", &[]))]);
    seed("malformed_go", 2, &[(opt::GO, vec![0, 0, 0, 9, b'v']), (opt::INFO, vec![])]);
    seeds.push(("bad_client_flags", vec![4, 0, 0, 0, 0x80]));
    seeds.push(("bad_magic", [start(9), vec![0x49; 40]].concat()));
    seeds
}

/// Names and bytes of the committed corpus of `fuzz_requests`.
pub fn request_seeds() -> Vec<(&'static str, Vec<u8>)> {
    type Fields = (u16, u16, u64, u32);
    let stream = |mode: u8, requests: &[Fields]| {
        let mut bytes = vec![mode];
        for (cookie, (kind, flags, offset, len)) in (1..).zip(requests) {
            bytes.extend(encode_raw(*flags, *kind, Cookie(cookie), *offset, *len));
            if *kind == cmd::WRITE && *len <= 8192 {
                bytes.resize(bytes.len() + *len as usize, 0xa5);
            }
        }
        bytes
    };
    let fua = cmd_flag::FUA;
    let ordinary = [
        (cmd::READ, 0, 0, 4096),
        (cmd::WRITE, fua, 4096, 4096),
        (cmd::FLUSH, 0, 0, 0),
        (cmd::TRIM, 0, 8192, 65_536),
        (cmd::WRITE_ZEROES, cmd_flag::NO_HOLE | fua, 0, 1 << 20),
        (cmd::DISC, 0, 0, 0),
    ];
    let refused = [
        (cmd::WRITE, 0, 1 << 20, 4096),
        (cmd::WRITE, 0, 1, 100),
        (cmd::READ, 0, u64::MAX - 4095, 4096),
        (cmd::READ, 0, 0, 0),
        (cmd::CACHE, 0, 0, 4096),
        (99, 0xffff, 7, 7),
        (cmd::FLUSH, 0, 4096, 0),
        (cmd::READ, 0, 0, 4096),
    ];
    let structured = [
        (cmd::READ, cmd_flag::DF, 0, 65_536),
        (cmd::READ, cmd_flag::DF, 0, 1 << 20),
        (cmd::READ, 0, 0, PAYLOAD_BYTES_MAX + 4096),
        (cmd::BLOCK_STATUS, cmd_flag::REQ_ONE, 0, 1 << 20),
        (cmd::BLOCK_STATUS, 0, 1 << 20, 4096),
        (cmd::WRITE_ZEROES, cmd_flag::FAST_ZERO, 0, 4096),
    ];
    let mut wrong_magic = stream(0, &ordinary[..1]);
    wrong_magic[1] ^= 1;
    vec![
        ("ordinary", stream(0, &ordinary)),
        ("read_only", stream(4, &ordinary)),
        ("refused", stream(0, &refused)),
        ("refused_structured", stream(3, &refused)),
        ("structured", stream(3, &structured)),
        ("structured_fast_zero", stream(11, &structured)),
        ("not_structured", stream(0, &structured)),
        ("too_big_to_skip", stream(1, &[(cmd::WRITE, 0, 0, PAYLOAD_SKIP_BYTES_MAX + 1)])),
        ("wrong_magic", wrong_magic),
    ]
}

/// A small generator of reproducible numbers (xorshift, 64 bits).
pub struct XorShift(u64);

impl XorShift {
    /// A generator; zero is replaced, since it would stay zero.
    pub fn new(seed: u64) -> XorShift {
        XorShift(if seed == 0 { 0x9e37_79b9_7f4a_7c15 } else { seed })
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("usize is 64 bits");
        usize::try_from(self.next_u64() % end).expect("below a usize")
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.next_u64().to_be_bytes()[0]
    }

    /// Changes `bytes` in one to four small ways: flips, edges, cuts, repeats.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const EDGES: [u8; 6] = [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff];
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                bytes.push(self.byte());
            }
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = EDGES[self.below(EDGES.len())],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.byte()),
                4 => drop(bytes.remove(at)),
                _ => {
                    let end = (at + 1 + self.below(64)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
    }
}
