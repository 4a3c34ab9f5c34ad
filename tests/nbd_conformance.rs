//! What the NBD specification asks of a server, sentence by sentence.
//! Always: modules follow the headings of the specification; a test is named after its sentence.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use lockstep_nbd::protocol::constants::{
    BASE_ALLOCATION, BASE_ALLOCATION_ID, Errno, GREETING_BYTES, NAME_BYTES_MAX, OPTION_BYTES_MAX,
    OPTION_MAGIC, OPTION_REPLY_HEAD_BYTES, OPTION_SKIP_BYTES_MAX, OPTIONS_MAX, PAYLOAD_BYTES_MAX,
    PAYLOAD_SKIP_BYTES_MAX, REQUEST_MAGIC, STATE_HOLE, STATE_ZERO, UNFRAGMENTED_BYTES_MAX,
    client_flag, cmd, cmd_flag, handshake_flag, info, opt, rep, transmission_flag,
};
use lockstep_nbd::protocol::{
    AnswerHead, Chunk, Command, Connection, Cookie, Ending, Export, ExportError, Negotiated,
    OptionReply, OptionReplyHead, Reject, Request, StatusExtent, Violation, What, Why,
    block_status_chunk, block_status_single, client_flags, decode_request, encode_raw,
    encode_request, error_chunk, error_offset_chunk, failure, greeting_flags, hole_chunk,
    none_chunk, put_go_data, put_meta_data, put_option, read_chunk_head, read_head, simple_reply,
    success,
};

const SIZE: u64 = 1 << 30;
const MIB: u32 = 1 << 20;

fn export() -> Export {
    Export::new("vol", SIZE).unwrap().with_description("the volume").unwrap()
}

/// A client that types bytes, and the server's connection at the other end.
struct Wire {
    export: Export,
    connection: Connection,
    unread: Vec<u8>,
    heard: Vec<u8>,
}

impl Wire {
    /// Just connected: the greeting is in `heard`.
    fn connect() -> Wire {
        Wire::connect_to(export())
    }

    fn connect_to(export: Export) -> Wire {
        let mut heard = Vec::new();
        let connection = Connection::greet(&mut heard);
        Wire { export, connection, unread: Vec::new(), heard }
    }

    /// Past the greeting, fixed newstyle.
    fn haggle() -> Wire {
        Wire::haggle_with(export())
    }

    fn haggle_with(export: Export) -> Wire {
        let mut wire = Wire::connect_to(export);
        wire.heard.clear();
        assert_eq!(wire.say(&client_flags()), What::More);
        wire
    }

    /// Past structured replies.
    fn structured() -> Wire {
        let mut wire = Wire::haggle();
        assert_eq!(wire.option(opt::STRUCTURED_REPLY, &[]), [(rep::ACK, vec![])]);
        wire
    }

    /// Sends bytes; yields what the server made of the last of them.
    fn say(&mut self, bytes: &[u8]) -> What {
        self.unread.extend_from_slice(bytes);
        let step = self.connection.step(&self.export, &self.unread, &mut self.heard);
        self.unread.drain(..step.consumed);
        step.what
    }

    /// Sends an option; yields what the server made of it.
    fn send(&mut self, option: u32, data: &[u8]) -> What {
        let mut bytes = Vec::new();
        put_option(&mut bytes, option, data);
        self.say(&bytes)
    }

    /// Sends an option and yields the replies to it: kind and data.
    fn option(&mut self, option: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.send(option, data);
        self.replies(option)
    }

    fn replies(&mut self, option: u32) -> Vec<(u32, Vec<u8>)> {
        let heard = std::mem::take(&mut self.heard);
        let (mut rest, mut replies) = (&heard[..], Vec::new());
        while let Some((head, tail)) = rest.split_first_chunk::<OPTION_REPLY_HEAD_BYTES>() {
            let head = OptionReplyHead::decode(head).unwrap();
            assert_eq!(head.option, option, "a reply names its option");
            let (data, tail) = tail.split_at(head.len as usize);
            OptionReply::decode(head.kind, data).unwrap();
            replies.push((head.kind, data.to_vec()));
            rest = tail;
        }
        assert!(rest.is_empty(), "replies are whole");
        replies
    }

    /// The kind of the only reply to an option.
    fn verdict(&mut self, option: u32, data: &[u8]) -> u32 {
        let replies = self.option(option, data);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies[0].0
    }
}

fn go_data(name: &str, infos: &[u16]) -> Vec<u8> {
    let mut data = Vec::new();
    put_go_data(&mut data, name, infos);
    data
}

fn meta_data(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    put_meta_data(&mut data, name, queries);
    data
}

fn kinds(replies: &[(u32, Vec<u8>)]) -> Vec<u32> {
    replies.iter().map(|(kind, _)| *kind).collect()
}

/// The types of the infos among replies.
fn infos(replies: &[(u32, Vec<u8>)]) -> Vec<u16> {
    let infos = replies.iter().filter(|(kind, _)| *kind == rep::INFO);
    infos.map(|(_, data)| u16::from_be_bytes([data[0], data[1]])).collect()
}

const SIMPLE: Negotiated = Negotiated { structured: false, allocation: false };
const CHUNKS: Negotiated = Negotiated { structured: true, allocation: false };
const STATUS: Negotiated = Negotiated { structured: true, allocation: true };

/// What the server makes of a header.
fn ask_of(
    export: &Export,
    negotiated: Negotiated,
    (kind, flags, offset, len): (u16, u16, u64, u32),
) -> Result<Command, Errno> {
    let header = encode_raw(flags, kind, Cookie(7), offset, len);
    match decode_request(export, &negotiated, &header) {
        Ok(request) => Ok(request.command),
        Err(Reject::Answer { cookie, errno, skip }) => {
            assert_eq!(cookie, Cookie(7));
            assert_eq!(skip, if kind == cmd::WRITE { len } else { 0 });
            Err(errno)
        }
        Err(Reject::Close(violation)) => panic!("closed: {violation}"),
    }
}

fn ask(negotiated: Negotiated, fields: (u16, u16, u64, u32)) -> Result<Command, Errno> {
    ask_of(&export(), negotiated, fields)
}

mod conventions {
    use super::*;

    #[test]
    fn a_string_of_more_than_4096_bytes_is_invalid() {
        let name = "n".repeat(4097);
        assert_eq!(Wire::haggle().verdict(opt::GO, &go_data(&name, &[])), rep::ERR_INVALID);
        let data = meta_data("", &[&format!("base:{name}")]);
        assert_eq!(Wire::structured().verdict(opt::SET_META_CONTEXT, &data), rep::ERR_INVALID);
    }

    #[test]
    fn a_string_of_4096_bytes_is_only_unknown() {
        let name = "n".repeat(4096);
        assert_eq!(Wire::haggle().verdict(opt::GO, &go_data(&name, &[])), rep::ERR_UNKNOWN);
    }

    #[test]
    fn strings_of_ours_hold_no_nul_and_should_have_at_most_256_bytes() {
        assert!(matches!(Export::new("a\0b", SIZE), Err(ExportError::Name { .. })));
        let long = "n".repeat(NAME_BYTES_MAX + 1);
        assert!(matches!(Export::new(&long, SIZE), Err(ExportError::Name { .. })));
        assert!(Export::new(&long[1..], SIZE).is_ok());
    }
}

mod newstyle_negotiation {
    use super::*;

    #[test]
    fn the_server_sends_two_magics_and_handshake_flags() {
        let heard = Wire::connect().heard;
        let greeting: [u8; GREETING_BYTES] = heard[..].try_into().unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        let flags = greeting_flags(&greeting).unwrap();
        assert_eq!(flags, handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
    }

    #[test]
    fn the_server_must_close_if_it_does_not_know_the_clients_flags() {
        let mut wire = Wire::connect();
        let closed = wire.say(&0x8000_0003_u32.to_be_bytes());
        let flags = 0x8000_0003;
        assert_eq!(closed, What::Close(Why::Handshake(Ending::ClientFlags { flags })));
    }

    #[test]
    fn an_option_without_its_magic_ends_the_session() {
        let closed = Wire::haggle().say(&[0x49; 16]);
        assert!(matches!(closed, What::Close(Why::Handshake(Ending::OptionMagic { .. }))));
    }

    #[test]
    fn export_name_is_answered_by_size_flags_and_124_zeroes() {
        let mut wire = Wire::connect();
        wire.heard.clear();
        wire.say(&client_flag::FIXED_NEWSTYLE.to_be_bytes());
        assert_eq!(wire.send(opt::EXPORT_NAME, b"vol"), What::Entered(SIMPLE));
        assert_eq!(wire.heard.len(), 8 + 2 + 124);
        assert_eq!(wire.heard[..8], SIZE.to_be_bytes());
        let flags = wire.export.transmission_flags(false);
        assert_eq!(wire.heard[8..10], flags.to_be_bytes());
        assert_eq!(wire.heard[10..], [0; 124]);
    }

    #[test]
    fn export_name_is_answered_without_zeroes_if_the_client_wants_none() {
        let mut wire = Wire::haggle();
        assert_eq!(wire.send(opt::EXPORT_NAME, b"vol"), What::Entered(SIMPLE));
        assert_eq!(wire.heard.len(), 10);
    }

    #[test]
    fn an_unwilling_server_must_terminate_the_session_on_export_name() {
        let mut wire = Wire::haggle();
        let closed = wire.send(opt::EXPORT_NAME, b"other");
        assert_eq!(closed, What::Close(Why::Handshake(Ending::UnknownExport)));
        assert!(wire.heard.is_empty());
    }

    #[test]
    fn without_fixed_newstyle_export_name_is_the_only_option() {
        let mut wire = Wire::connect();
        wire.say(&[0; 4]);
        assert_eq!(wire.send(opt::EXPORT_NAME, b"vol"), What::Entered(SIMPLE));
        let mut wire = Wire::connect();
        wire.say(&[0; 4]);
        let closed = wire.send(opt::LIST, &[]);
        let option = opt::LIST;
        assert_eq!(closed, What::Close(Why::Handshake(Ending::NotFixed { option })));
    }

    #[test]
    fn bytes_may_come_one_at_a_time() {
        let mut bytes = client_flags().to_vec();
        put_option(&mut bytes, opt::STRUCTURED_REPLY, &[]);
        put_option(&mut bytes, opt::GO, &go_data("vol", &[]));
        let mut wire = Wire::connect();
        let (last, first) = bytes.split_last().unwrap();
        for byte in first {
            assert_eq!(wire.say(&[*byte]), What::More);
        }
        assert_eq!(wire.say(&[*last]), What::Entered(CHUNKS));
    }
}

mod fixed_newstyle_negotiation {
    use super::*;

    #[test]
    fn an_option_that_is_not_known_is_refused_and_the_next_one_is_parsed() {
        let mut wire = Wire::haggle();
        for option in [0, 4, opt::EXTENDED_HEADERS, 12, 0x8000_0001, u32::MAX] {
            assert_eq!(wire.verdict(option, b"some data"), rep::ERR_UNSUP);
        }
        assert_eq!(kinds(&wire.option(opt::LIST, &[])), [rep::SERVER, rep::ACK]);
    }

    #[test]
    fn a_repeated_option_that_changes_state_has_no_further_effect() {
        let mut wire = Wire::structured();
        assert_eq!(wire.verdict(opt::STRUCTURED_REPLY, &[]), rep::ACK);
        assert_eq!(wire.send(opt::GO, &go_data("", &[])), What::Entered(CHUNKS));
    }

    #[test]
    fn an_option_that_is_too_long_is_skipped_and_refused_as_too_big() {
        let mut wire = Wire::haggle();
        assert_eq!(wire.verdict(opt::LIST, &vec![0; OPTION_BYTES_MAX + 1]), rep::ERR_TOO_BIG);
        let skip_max = OPTION_SKIP_BYTES_MAX as usize;
        assert_eq!(wire.verdict(opt::GO, &vec![0; skip_max]), rep::ERR_TOO_BIG);
        assert_eq!(wire.verdict(99, &vec![0; skip_max]), rep::ERR_UNSUP);
        assert_eq!(kinds(&wire.option(opt::LIST, &[])), [rep::SERVER, rep::ACK]);
    }

    #[test]
    fn an_option_that_is_too_long_is_refused_after_its_last_byte() {
        let mut wire = Wire::haggle();
        let mut bytes = Vec::new();
        put_option(&mut bytes, opt::INFO, &vec![0; OPTION_BYTES_MAX + 1]);
        let (last, first) = bytes.split_last().unwrap();
        for part in first.chunks(999) {
            assert_eq!(wire.say(part), What::More);
            assert!(wire.unread.is_empty() || wire.unread.len() < 16, "skipped as it comes");
        }
        assert!(wire.heard.is_empty());
        wire.say(&[*last]);
        assert_eq!(kinds(&wire.replies(opt::INFO)), [rep::ERR_TOO_BIG]);
    }

    #[test]
    fn an_option_that_is_an_attack_ends_the_session() {
        let mut header = OPTION_MAGIC.to_be_bytes().to_vec();
        header.extend(opt::LIST.to_be_bytes());
        header.extend((OPTION_SKIP_BYTES_MAX + 1).to_be_bytes());
        let closed = Wire::haggle().say(&header);
        assert!(matches!(closed, What::Close(Why::Handshake(Ending::OptionTooBig { .. }))));
    }

    #[test]
    fn a_client_that_never_stops_haggling_is_cut_off() {
        let mut wire = Wire::haggle();
        for _ in 0..OPTIONS_MAX {
            assert_eq!(kinds(&wire.option(opt::LIST, &[])), [rep::SERVER, rep::ACK]);
        }
        let closed = wire.send(opt::LIST, &[]);
        assert_eq!(closed, What::Close(Why::Handshake(Ending::TooManyOptions)));
    }
}

mod termination_of_the_session_during_option_haggling {
    use super::*;

    #[test]
    fn a_server_that_shuts_down_should_error_further_options() {
        let mut wire = Wire::haggle();
        wire.connection.refuse_from_now();
        assert_eq!(wire.verdict(opt::GO, &go_data("vol", &[])), rep::ERR_SHUTDOWN);
        assert_eq!(wire.verdict(opt::LIST, &[]), rep::ERR_SHUTDOWN);
        assert_eq!(wire.verdict(opt::LIST, &[0; OPTION_BYTES_MAX + 1]), rep::ERR_SHUTDOWN);
    }

    #[test]
    fn a_server_that_shuts_down_still_acknowledges_abort() {
        let mut wire = Wire::haggle();
        wire.connection.refuse_from_now();
        assert_eq!(wire.verdict(opt::ABORT, &[]), rep::ACK);
    }

    #[test]
    fn a_server_that_shuts_down_ends_the_session_on_export_name() {
        let mut wire = Wire::haggle();
        wire.connection.refuse_from_now();
        let closed = wire.send(opt::EXPORT_NAME, b"vol");
        assert_eq!(closed, What::Close(Why::Handshake(Ending::ShuttingDown)));
    }

    #[test]
    fn nothing_is_served_after_the_end() {
        let mut wire = Wire::haggle();
        let closed = wire.send(opt::ABORT, &[]);
        wire.heard.clear();
        assert_eq!(wire.send(opt::LIST, &[]), closed);
        assert!(wire.heard.is_empty());
    }
}

mod notls_mode {
    use super::*;

    #[test]
    fn starttls_is_refused_as_not_supported() {
        let mut wire = Wire::haggle();
        assert_eq!(wire.verdict(opt::STARTTLS, &[]), rep::ERR_UNSUP);
        assert_eq!(wire.send(opt::GO, &go_data("", &[])), What::Entered(SIMPLE));
    }
}

mod handshake_phase {
    use super::*;

    mod transmission_flags {
        use super::*;
        use transmission_flag::*;

        #[test]
        fn has_flags_and_what_we_serve_are_set_and_nothing_else() {
            let expected =
                HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES | CAN_MULTI_CONN;
            assert_eq!(export().transmission_flags(false), expected);
        }

        #[test]
        fn df_is_clear_unless_structured_replies_were_negotiated() {
            assert_eq!(export().transmission_flags(false) & SEND_DF, 0);
            assert_ne!(export().transmission_flags(true) & SEND_DF, 0);
        }

        #[test]
        fn cache_is_not_advertised() {
            assert_eq!(export().transmission_flags(true) & SEND_CACHE, 0);
        }

        #[test]
        fn fast_zero_is_set_only_if_the_export_says_so_and_only_with_write_zeroes() {
            let fast = export().with_fast_zero(true);
            assert_eq!(export().transmission_flags(true) & SEND_FAST_ZERO, 0);
            assert_ne!(fast.transmission_flags(true) & SEND_FAST_ZERO, 0);
            let flags = fast.with_read_only(true).transmission_flags(true);
            assert_eq!(flags & (SEND_FAST_ZERO | SEND_WRITE_ZEROES), 0);
        }

        #[test]
        fn read_only_and_rotational_exports_say_so() {
            let flags = export().with_read_only(true).with_rotational(true);
            let flags = flags.transmission_flags(false);
            assert_eq!(flags & (READ_ONLY | ROTATIONAL), READ_ONLY | ROTATIONAL);
        }
    }

    mod nbd_opt_export_name {
        use super::*;

        #[test]
        fn the_empty_name_is_the_default_export() {
            assert_eq!(Wire::haggle().send(opt::EXPORT_NAME, b""), What::Entered(SIMPLE));
        }

        #[test]
        fn structured_replies_hold_for_export_name_too() {
            let mut wire = Wire::structured();
            assert_eq!(wire.send(opt::EXPORT_NAME, b"vol"), What::Entered(CHUNKS));
            assert_eq!(wire.heard[8..10], wire.export.transmission_flags(true).to_be_bytes());
        }

        #[test]
        fn a_name_that_is_too_long_ends_the_session() {
            let closed = Wire::haggle().send(opt::EXPORT_NAME, &[b'n'; OPTION_BYTES_MAX + 1]);
            assert!(matches!(closed, What::Close(Why::Handshake(Ending::OptionTooBig { .. }))));
        }
    }

    mod nbd_opt_abort {
        use super::*;

        #[test]
        fn the_server_must_acknowledge_and_should_ignore_data() {
            for len in [0, 5, OPTION_BYTES_MAX + 1] {
                let mut wire = Wire::haggle();
                let closed = wire.send(opt::ABORT, &vec![1; len]);
                assert_eq!(closed, What::Close(Why::Handshake(Ending::Aborted)));
                assert_eq!(kinds(&wire.replies(opt::ABORT)), [rep::ACK]);
            }
        }
    }

    mod nbd_opt_list {
        use super::*;

        #[test]
        fn one_server_reply_per_export_then_acknowledged() {
            let replies = Wire::haggle().option(opt::LIST, &[]);
            assert_eq!(kinds(&replies), [rep::SERVER, rep::ACK]);
            let server = OptionReply::decode(rep::SERVER, &replies[0].1).unwrap();
            let expected = OptionReply::Server { name: b"vol", description: b"the volume" };
            assert_eq!(server, expected);
        }

        #[test]
        fn data_should_be_rejected_as_invalid() {
            assert_eq!(Wire::haggle().verdict(opt::LIST, &[0]), rep::ERR_INVALID);
        }
    }

    mod nbd_opt_info_and_go {
        use super::*;

        #[test]
        fn success_must_tell_at_least_info_export() {
            let replies = Wire::haggle().option(opt::GO, &go_data("vol", &[]));
            assert!(infos(&replies).contains(&info::EXPORT));
            assert_eq!(replies.last().unwrap().0, rep::ACK);
            let told = OptionReply::decode(rep::INFO, &replies[0].1).unwrap();
            let flags = export().transmission_flags(false);
            assert_eq!(told, OptionReply::Export { size: SIZE, flags });
        }

        #[test]
        fn info_does_not_enter_transmission_and_go_does() {
            let mut wire = Wire::haggle();
            assert_eq!(wire.send(opt::INFO, &go_data("vol", &[])), What::More);
            assert_eq!(wire.send(opt::GO, &go_data("vol", &[])), What::Entered(SIMPLE));
        }

        #[test]
        fn no_zeroes_follow_the_acknowledgement() {
            let mut wire = Wire::connect();
            wire.heard.clear();
            wire.say(&client_flag::FIXED_NEWSTYLE.to_be_bytes());
            let replies = wire.option(opt::GO, &go_data("", &[]));
            assert_eq!(replies.last().unwrap(), &(rep::ACK, vec![]));
        }

        #[test]
        fn go_gives_the_same_information_as_info_just_before() {
            let mut wire = Wire::structured();
            let data = go_data("vol", &[info::NAME, info::BLOCK_SIZE]);
            let told = wire.option(opt::INFO, &data);
            assert_eq!(wire.option(opt::GO, &data), told);
        }

        #[test]
        fn an_export_that_does_not_exist_is_unknown_without_info() {
            let mut wire = Wire::haggle();
            for name in ["VOL", "vol ", "v", "other"] {
                assert_eq!(wire.verdict(opt::GO, &go_data(name, &[])), rep::ERR_UNKNOWN);
                assert_eq!(wire.verdict(opt::INFO, &go_data(name, &[])), rep::ERR_UNKNOWN);
            }
        }

        #[test]
        fn after_an_error_the_client_may_go_on() {
            let mut wire = Wire::haggle();
            assert_eq!(wire.verdict(opt::GO, &go_data("other", &[])), rep::ERR_UNKNOWN);
            assert_eq!(wire.send(opt::GO, &go_data("vol", &[])), What::Entered(SIMPLE));
        }

        #[test]
        fn the_empty_name_is_the_default_export() {
            assert_eq!(Wire::haggle().send(opt::GO, &go_data("", &[])), What::Entered(SIMPLE));
        }

        #[test]
        fn name_and_description_are_told_when_asked_for() {
            let mut wire = Wire::haggle();
            let asked = [info::NAME, info::DESCRIPTION];
            let replies = wire.option(opt::INFO, &go_data("", &asked));
            let told = |kind, text: &[u8]| {
                let data = [&u16::to_be_bytes(kind)[..], text].concat();
                replies.contains(&(rep::INFO, data))
            };
            assert!(told(info::NAME, b"vol"), "{replies:?}");
            assert!(told(info::DESCRIPTION, b"the volume"), "{replies:?}");
            let replies = wire.option(opt::INFO, &go_data("", &[]));
            assert_eq!(infos(&replies), [info::EXPORT, info::BLOCK_SIZE]);
        }

        #[test]
        fn block_sizes_are_told_even_when_not_asked_for() {
            for asked in [&[][..], &[info::BLOCK_SIZE]] {
                let replies = Wire::haggle().option(opt::GO, &go_data("vol", asked));
                let told = OptionReply::decode(rep::INFO, &replies[1].1).unwrap();
                let payload_max = PAYLOAD_BYTES_MAX;
                let expected = OptionReply::BlockSize { min: 4096, preferred: 4096, payload_max };
                assert_eq!(told, expected);
            }
        }

        #[test]
        fn requests_for_information_that_are_not_understood_are_ignored() {
            let replies = Wire::haggle().option(opt::INFO, &go_data("vol", &[4, 99, 0xffff]));
            assert_eq!(infos(&replies), [info::EXPORT, info::BLOCK_SIZE]);
        }

        #[test]
        fn an_information_appears_only_once_however_often_it_is_asked_for() {
            let asked = vec![info::NAME; 1000];
            let replies = Wire::haggle().option(opt::INFO, &go_data("vol", &asked));
            assert_eq!(infos(&replies), [info::EXPORT, info::NAME, info::BLOCK_SIZE]);
        }

        #[test]
        fn lengths_that_do_not_add_up_are_invalid() {
            let good = go_data("vol", &[info::NAME]);
            let mut wire = Wire::haggle();
            for len in 0..good.len() {
                assert_eq!(wire.verdict(opt::GO, &good[..len]), rep::ERR_INVALID, "{len} bytes");
            }
            let longer = [&good[..], &[0]].concat();
            assert_eq!(wire.verdict(opt::INFO, &longer), rep::ERR_INVALID);
            let mut name_too_long = good.clone();
            name_too_long[..4].copy_from_slice(&u32::MAX.to_be_bytes());
            assert_eq!(wire.verdict(opt::GO, &name_too_long), rep::ERR_INVALID);
        }

        #[test]
        fn what_follows_go_belongs_to_transmission() {
            let mut wire = Wire::haggle();
            let mut bytes = Vec::new();
            put_option(&mut bytes, opt::GO, &go_data("", &[]));
            bytes.extend(encode_raw(0, cmd::FLUSH, Cookie(1), 0, 0));
            assert_eq!(wire.say(&bytes), What::Entered(SIMPLE));
            assert_eq!(wire.unread.len(), 28);
            assert!(matches!(wire.say(&[]), What::Request(Request { cookie: Cookie(1), .. })));
        }
    }

    mod nbd_opt_structured_reply {
        use super::*;

        #[test]
        fn acknowledged_without_data_and_invalid_with_data() {
            let mut wire = Wire::haggle();
            assert_eq!(wire.verdict(opt::STRUCTURED_REPLY, &[1]), rep::ERR_INVALID);
            assert_eq!(wire.send(opt::INFO, &go_data("", &[])), What::More);
            wire.heard.clear();
            assert_eq!(wire.verdict(opt::STRUCTURED_REPLY, &[]), rep::ACK);
            assert_eq!(wire.send(opt::GO, &go_data("", &[])), What::Entered(CHUNKS));
        }
    }
}

mod metadata_querying {
    use super::*;

    fn context(id: u32) -> (u32, Vec<u8>) {
        let data = [&id.to_be_bytes()[..], BASE_ALLOCATION.as_bytes()].concat();
        (rep::META_CONTEXT, data)
    }

    const ACK: (u32, Vec<u8>) = (rep::ACK, Vec::new());

    #[test]
    fn both_options_need_structured_replies_first() {
        let data = meta_data("vol", &[BASE_ALLOCATION]);
        let mut wire = Wire::haggle();
        assert_eq!(wire.verdict(opt::SET_META_CONTEXT, &data), rep::ERR_INVALID);
        assert_eq!(wire.verdict(opt::LIST_META_CONTEXT, &data), rep::ERR_INVALID);
    }

    #[test]
    fn a_list_without_queries_returns_every_context_with_id_zero() {
        let replies = Wire::structured().option(opt::LIST_META_CONTEXT, &meta_data("vol", &[]));
        assert_eq!(replies, [context(0), ACK]);
    }

    #[test]
    fn the_wildcard_of_base_is_for_lists_only() {
        let data = meta_data("", &["base:"]);
        let mut wire = Wire::structured();
        assert_eq!(wire.option(opt::LIST_META_CONTEXT, &data), [context(0), ACK]);
        assert_eq!(wire.option(opt::SET_META_CONTEXT, &data), [ACK]);
    }

    #[test]
    fn set_selects_base_allocation_with_an_id() {
        let mut wire = Wire::structured();
        let data = meta_data("vol", &[BASE_ALLOCATION]);
        let replies = wire.option(opt::SET_META_CONTEXT, &data);
        assert_eq!(replies, [context(BASE_ALLOCATION_ID), ACK]);
        assert_eq!(wire.send(opt::GO, &go_data("vol", &[])), What::Entered(STATUS));
    }

    #[test]
    fn other_namespaces_and_unknown_leaves_are_ignored() {
        let mut wire = Wire::structured();
        let data = meta_data("vol", &["qemu:dirty-bitmap:b", "base:other", "x-y:"]);
        assert_eq!(wire.option(opt::SET_META_CONTEXT, &data), [ACK]);
        assert_eq!(wire.option(opt::LIST_META_CONTEXT, &data), [ACK]);
    }

    #[test]
    fn a_context_that_is_asked_for_twice_is_returned_once() {
        let data = meta_data("vol", &[BASE_ALLOCATION, "qemu:x", BASE_ALLOCATION]);
        let replies = Wire::structured().option(opt::SET_META_CONTEXT, &data);
        assert_eq!(replies, [context(BASE_ALLOCATION_ID), ACK]);
    }

    #[test]
    fn set_without_queries_selects_nothing() {
        let mut wire = Wire::structured();
        wire.option(opt::SET_META_CONTEXT, &meta_data("vol", &[BASE_ALLOCATION]));
        assert_eq!(wire.option(opt::SET_META_CONTEXT, &meta_data("vol", &[])), [ACK]);
        assert_eq!(wire.send(opt::GO, &go_data("vol", &[])), What::Entered(CHUNKS));
    }

    #[test]
    fn set_replaces_what_was_selected_also_when_it_fails() {
        let too_big = vec![0; OPTION_BYTES_MAX + 1];
        for bad in [meta_data("other", &[BASE_ALLOCATION]), vec![1, 2, 3], too_big] {
            let mut wire = Wire::structured();
            wire.option(opt::SET_META_CONTEXT, &meta_data("vol", &[BASE_ALLOCATION]));
            let verdict = wire.verdict(opt::SET_META_CONTEXT, &bad);
            assert_ne!(verdict & rep::ERR_BIT, 0);
            assert_eq!(wire.send(opt::GO, &go_data("vol", &[])), What::Entered(CHUNKS));
        }
    }

    #[test]
    fn a_list_leaves_what_was_selected() {
        let mut wire = Wire::structured();
        wire.option(opt::SET_META_CONTEXT, &meta_data("vol", &[BASE_ALLOCATION]));
        wire.option(opt::LIST_META_CONTEXT, &meta_data("vol", &["x:"]));
        assert_eq!(wire.send(opt::GO, &go_data("vol", &[])), What::Entered(STATUS));
    }

    #[test]
    fn an_export_that_does_not_exist_is_unknown() {
        let data = meta_data("other", &[BASE_ALLOCATION]);
        let mut wire = Wire::structured();
        assert_eq!(wire.verdict(opt::LIST_META_CONTEXT, &data), rep::ERR_UNKNOWN);
        assert_eq!(wire.verdict(opt::SET_META_CONTEXT, &data), rep::ERR_UNKNOWN);
    }

    #[test]
    fn a_query_that_would_read_beyond_the_option_must_be_invalid() {
        let good = meta_data("vol", &[BASE_ALLOCATION]);
        let mut wire = Wire::structured();
        for len in 0..good.len() {
            let verdict = wire.verdict(opt::SET_META_CONTEXT, &good[..len]);
            assert_eq!(verdict, rep::ERR_INVALID, "{len} bytes");
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(wire.verdict(opt::SET_META_CONTEXT, &longer), rep::ERR_INVALID);
    }

    #[test]
    fn a_count_of_queries_beyond_the_data_is_invalid() {
        let mut data = meta_data("vol", &[]);
        let count = data.len() - 4;
        data[count..].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(Wire::structured().verdict(opt::LIST_META_CONTEXT, &data), rep::ERR_INVALID);
    }

    #[test]
    fn a_query_without_a_namespace_is_invalid() {
        for query in ["", "base", ":allocation"] {
            let data = meta_data("vol", &[query]);
            let verdict = Wire::structured().verdict(opt::LIST_META_CONTEXT, &data);
            assert_eq!(verdict, rep::ERR_INVALID, "{query}");
        }
    }
}

mod size_constraints {
    use super::*;

    #[test]
    fn the_export_is_a_multiple_of_the_smallest_block() {
        assert_eq!(Export::new("v", 4095), Err(ExportError::Size { size: 4095 }));
        assert!(Export::new("v", 0).is_ok());
    }

    #[test]
    fn the_preferred_block_is_a_power_of_two_and_no_smaller_than_the_smallest() {
        for bytes in [0, 512, 2048, 12_288, PAYLOAD_BYTES_MAX * 2] {
            assert_eq!(export().with_preferred(bytes), Err(ExportError::Preferred { bytes }));
        }
        let mut wire = Wire::haggle_with(export().with_preferred(65_536).unwrap());
        let replies = wire.option(opt::INFO, &go_data("", &[]));
        let told = OptionReply::decode(rep::INFO, &replies[1].1).unwrap();
        assert!(matches!(told, OptionReply::BlockSize { min: 4096, preferred: 65_536, .. }));
    }

    #[test]
    fn a_request_that_is_not_aligned_is_einval() {
        for kind in [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES, cmd::BLOCK_STATUS] {
            for (offset, len) in [(512, 4096), (0, 512), (4096, 4097), (1, 4095)] {
                let answer = ask(STATUS, (kind, 0, offset, len));
                assert_eq!(answer, Err(Errno::Inval), "{kind} {offset} {len}");
            }
        }
    }

    #[test]
    fn an_export_name_client_is_served_under_the_same_rule() {
        let mut wire = Wire::haggle();
        wire.send(opt::EXPORT_NAME, b"");
        wire.heard.clear();
        let refused = wire.say(&encode_raw(0, cmd::READ, Cookie(1), 512, 512));
        assert_eq!(refused, What::Refused(failure(&SIMPLE, Cookie(1), Errno::Inval)));
        let taken = wire.say(&encode_raw(0, cmd::READ, Cookie(2), 4096, 4096));
        assert!(matches!(taken, What::Request(Request { offset: 4096, len: 4096, .. })));
    }

    #[test]
    fn payloads_up_to_the_maximum_are_served() {
        let len = PAYLOAD_BYTES_MAX;
        assert_eq!(ask(SIMPLE, (cmd::WRITE, 0, 0, len)), Ok(Command::Write));
        let read = Ok(Command::Read { whole: false });
        assert_eq!(ask(SIMPLE, (cmd::READ, 0, 0, len)), read);
        assert_eq!(ask(CHUNKS, (cmd::READ, 0, 0, len)), read);
    }

    #[test]
    fn a_write_above_the_maximum_is_consumed_and_einval() {
        let mut wire = Wire::haggle();
        wire.send(opt::GO, &go_data("", &[]));
        let len = PAYLOAD_BYTES_MAX + 4096;
        let refused = wire.say(&encode_raw(0, cmd::WRITE, Cookie(1), 0, len));
        assert_eq!(refused, What::Refused(failure(&SIMPLE, Cookie(1), Errno::Inval)));
        let megabyte = vec![0x25; MIB as usize];
        let mut left = len as usize;
        while left > 0 {
            let part = left.min(megabyte.len());
            assert_eq!(wire.say(&megabyte[..part]), What::More);
            assert!(wire.unread.is_empty());
            left -= part;
        }
        let taken = wire.say(&encode_raw(0, cmd::FLUSH, Cookie(2), 0, 0));
        assert!(matches!(taken, What::Request(Request { cookie: Cookie(2), .. })));
    }

    #[test]
    fn a_payload_that_counts_as_an_attack_is_a_hard_disconnect() {
        let header = encode_raw(0, cmd::WRITE, Cookie(1), 0, PAYLOAD_SKIP_BYTES_MAX + 1);
        let len = PAYLOAD_SKIP_BYTES_MAX + 1;
        let expected = Err(Reject::Close(Violation::PayloadTooBig { len }));
        assert_eq!(decode_request(&export(), &SIMPLE, &header), expected);
    }

    #[test]
    fn trim_and_write_zeroes_may_exceed_the_maximum_payload() {
        let len = 1 << 30;
        assert_eq!(ask(SIMPLE, (cmd::TRIM, 0, 0, len)), Ok(Command::Trim));
        assert!(ask(SIMPLE, (cmd::WRITE_ZEROES, 0, 0, len)).is_ok());
        assert!(ask(STATUS, (cmd::BLOCK_STATUS, 0, 0, len)).is_ok());
    }

    #[test]
    fn an_offset_near_the_end_of_64_bits_does_not_wrap() {
        let fields = (cmd::READ, 0, u64::MAX - 4095, 4096);
        assert_eq!(ask(SIMPLE, fields), Err(Errno::Inval));
        let fields = (cmd::WRITE, 0, u64::MAX - 4095, 8192);
        assert_eq!(ask(SIMPLE, fields), Err(Errno::NoSpc));
    }
}

mod transmission {
    use super::*;

    mod request_message {
        use super::*;

        #[test]
        fn wrong_magic_is_a_hard_disconnect() {
            let mut wire = Wire::haggle();
            wire.send(opt::GO, &go_data("", &[]));
            let mut header = encode_raw(0, cmd::READ, Cookie(1), 0, 4096);
            header[..4].copy_from_slice(&0x21e4_1c71_u32.to_be_bytes());
            let violation = Violation::RequestMagic { found: 0x21e4_1c71 };
            let closed = What::Close(Why::Violation(violation));
            assert_eq!(wire.say(&header), closed);
            assert_eq!(wire.say(&encode_raw(0, cmd::READ, Cookie(1), 0, 4096)), closed);
        }

        #[test]
        fn wrong_magic_on_one_connection_leaves_another_alone() {
            let (mut one, mut other) = (Wire::haggle(), Wire::haggle());
            one.send(opt::GO, &go_data("", &[]));
            other.send(opt::GO, &go_data("", &[]));
            assert!(matches!(one.say(&[0; 28]), What::Close(_)));
            let taken = other.say(&encode_raw(0, cmd::FLUSH, Cookie(9), 0, 0));
            assert!(matches!(taken, What::Request(_)));
        }

        #[test]
        fn fields_are_where_the_specification_puts_them() {
            let mut header = [0; 28];
            header[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
            header[4..6].copy_from_slice(&[0, 1]);
            header[6..8].copy_from_slice(&[0, 1]);
            header[8..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
            header[16..24].copy_from_slice(&[0, 0, 0, 0, 0x01, 0, 0x10, 0]);
            header[24..].copy_from_slice(&[0, 0, 0x20, 0]);
            let request = decode_request(&export(), &SIMPLE, &header).unwrap();
            let cookie = Cookie(0x0102_0304_0506_0708);
            let (offset, len) = (0x0100_1000, 0x2000);
            let command = Command::Write;
            assert_eq!(request, Request { cookie, command, fua: true, offset, len });
            assert_eq!(encode_request(&request), header);
        }

        #[test]
        fn the_payload_of_a_write_is_left_to_the_caller() {
            let mut wire = Wire::haggle();
            wire.send(opt::GO, &go_data("", &[]));
            let mut bytes = encode_raw(0, cmd::WRITE, Cookie(1), 0, 4096).to_vec();
            bytes.extend([7; 4096]);
            let What::Request(request) = wire.say(&bytes) else { panic!("refused") };
            assert_eq!(request.payload(), 4096);
            assert_eq!(wire.unread, [7; 4096]);
        }

        #[test]
        fn a_header_may_come_in_pieces() {
            let mut wire = Wire::haggle();
            wire.send(opt::GO, &go_data("", &[]));
            let header = encode_raw(0, cmd::READ, Cookie(1), 0, 4096);
            assert_eq!(wire.say(&header[..27]), What::More);
            assert!(matches!(wire.say(&header[27..]), What::Request(_)));
        }
    }

    mod simple_reply_message {
        use super::*;

        #[test]
        fn magic_error_cookie() {
            let bytes = simple_reply(Cookie(0x1122), Err(Errno::NoSpc));
            assert_eq!(bytes[..8], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28]);
            assert_eq!(bytes[8..], 0x1122_u64.to_be_bytes());
            assert_eq!(success(Cookie(3))[4..8], [0; 4]);
        }

        #[test]
        fn every_reply_is_simple_if_structured_replies_were_not_negotiated() {
            let head = failure(&SIMPLE, Cookie(1), Errno::Io);
            assert_eq!(head.as_slice(), simple_reply(Cookie(1), Err(Errno::Io)));
            let request = Request {
                cookie: Cookie(1),
                command: Command::Read { whole: false },
                fua: false,
                offset: 0,
                len: 4096,
            };
            assert_eq!(read_head(&SIMPLE, &request).as_slice(), success(Cookie(1)));
        }
    }

    mod structured_reply_chunk_message {
        use super::*;

        /// Takes a chunk apart: done, type, payload.
        fn open(bytes: &[u8]) -> (bool, u16, &[u8]) {
            let head = bytes.first_chunk::<16>().unwrap();
            let AnswerHead::Chunk { done, kind, cookie } = AnswerHead::decode(head).unwrap() else {
                panic!("no chunk")
            };
            assert_eq!(cookie, Cookie(5));
            (done, kind, &bytes[20..])
        }

        fn length(bytes: &[u8]) -> u32 {
            u32::from_be_bytes(*bytes[16..].first_chunk().unwrap())
        }

        #[test]
        fn a_read_must_not_be_answered_by_a_simple_reply_even_early() {
            let head = failure(&CHUNKS, Cookie(5), Errno::Inval);
            let (done, kind, payload) = open(head.as_slice());
            assert!(done);
            let error = Chunk::Error { code: 22, offset: None, text: b"" };
            assert_eq!(Chunk::decode(kind, payload).unwrap(), error);
        }

        #[test]
        fn a_read_in_one_chunk_is_done_and_carries_its_offset() {
            let request = Request {
                cookie: Cookie(5),
                command: Command::Read { whole: true },
                fua: false,
                offset: 1 << 20,
                len: 8192,
            };
            let head = read_head(&CHUNKS, &request);
            let (done, kind, offset) = open(head.as_slice());
            assert_eq!((done, kind), (true, 1));
            assert_eq!(offset, (1_u64 << 20).to_be_bytes());
            assert_eq!(length(head.as_slice()), 8192 + 8);
        }

        #[test]
        fn only_the_last_chunk_is_done() {
            assert!(!open(&read_chunk_head(Cookie(5), 0, 4096, false)).0);
            assert!(!open(&hole_chunk(Cookie(5), 4096, 4096, false)).0);
            assert!(!open(&error_offset_chunk(Cookie(5), Errno::Io, 0, false)).0);
            assert!(open(&none_chunk(Cookie(5))).0);
            assert!(open(&error_chunk(Cookie(5), Errno::Io)).0);
        }

        #[test]
        fn chunk_lengths_are_those_of_their_types() {
            assert_eq!(length(&none_chunk(Cookie(5))), 0);
            assert_eq!(length(&hole_chunk(Cookie(5), 0, 4096, true)), 12);
            assert_eq!(length(&error_chunk(Cookie(5), Errno::Io)), 6);
            assert_eq!(length(&error_offset_chunk(Cookie(5), Errno::Io, 0, true)), 14);
        }

        #[test]
        fn an_error_at_an_offset_has_its_text_before_the_offset() {
            let bytes = error_offset_chunk(Cookie(5), Errno::Io, 8192, true);
            let (_, kind, payload) = open(&bytes);
            let error = Chunk::Error { code: 5, offset: Some(8192), text: b"" };
            assert_eq!(Chunk::decode(kind, payload).unwrap(), error);
        }

        #[test]
        fn a_block_status_names_its_context_and_at_least_one_extent() {
            let extents = [
                StatusExtent { len: 4096, flags: 0 },
                StatusExtent { len: 8192, flags: STATE_HOLE | STATE_ZERO },
            ];
            let mut out = [0; 24 + 16];
            assert_eq!(block_status_chunk(Cookie(5), &extents, &mut out), Some(40));
            let (done, kind, payload) = open(&out);
            assert!(done);
            let context = BASE_ALLOCATION_ID;
            let expected = Chunk::Status { context, extents: extents.to_vec() };
            assert_eq!(Chunk::decode(kind, payload).unwrap(), expected);
            assert_eq!(length(&out), 4 + 16);
            assert_eq!(block_status_single(Cookie(5), extents[0]).len(), 32);
            assert_eq!(block_status_chunk(Cookie(5), &[], &mut out), None);
            assert_eq!(block_status_chunk(Cookie(5), &extents, &mut out[..31]), None);
            assert_eq!(block_status_chunk(Cookie(5), &extents, &mut out[..39]), Some(32));
        }

        #[test]
        fn a_client_must_not_accept_a_chunk_that_contradicts_itself() {
            for (kind, payload) in [
                (0, &[0][..]),
                (1, &[0; 8]),
                (2, &[0; 12]),
                (5, &[0; 4]),
                (5, &[0; 12]),
                (0x8001, &[0; 6]),
                (0x8001, &[0, 0, 0, 5, 0, 1]),
                (0x8002, &[0, 0, 0, 5, 0, 0]),
                (3, &[]),
            ] {
                assert!(Chunk::decode(kind, payload).is_err(), "{kind:#x} {payload:?}");
            }
        }
    }

    mod terminating_the_transmission_phase {
        use super::*;

        #[test]
        fn a_disconnect_request_is_handed_on_whatever_else_it_says() {
            for (flags, offset, len) in [(0, 0, 0), (0xffff, 1, 1)] {
                let fields = (cmd::DISC, flags, offset, len);
                assert_eq!(ask(SIMPLE, fields), Ok(Command::Disconnect));
                let read_only = export().with_read_only(true);
                assert_eq!(ask_of(&read_only, SIMPLE, fields), Ok(Command::Disconnect));
            }
        }
    }
}

mod command_flags {
    use super::*;

    #[test]
    fn fua_must_be_accepted_on_every_command() {
        for (kind, len) in [
            (cmd::READ, 4096),
            (cmd::WRITE, 4096),
            (cmd::FLUSH, 0),
            (cmd::TRIM, 4096),
            (cmd::WRITE_ZEROES, 4096),
            (cmd::BLOCK_STATUS, 4096),
        ] {
            let header = encode_raw(cmd_flag::FUA, kind, Cookie(1), 0, len);
            let request = decode_request(&export(), &STATUS, &header).unwrap();
            assert!(request.fua, "{kind}");
        }
    }

    #[test]
    fn an_unknown_flag_is_einval() {
        for bit in 5..16 {
            for kind in [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES] {
                let answer = ask(STATUS, (kind, 1 << bit, 0, 4096));
                assert_eq!(answer, Err(Errno::Inval), "bit {bit} on {kind}");
            }
        }
    }

    #[test]
    fn a_flag_that_is_not_documented_for_the_request_is_einval() {
        use cmd_flag::{DF, FAST_ZERO, NO_HOLE, REQ_ONE};
        let own = |kind| match kind {
            cmd::READ => DF,
            cmd::WRITE_ZEROES => NO_HOLE | FAST_ZERO,
            cmd::BLOCK_STATUS => REQ_ONE,
            _ => 0,
        };
        let fast = export().with_fast_zero(true);
        let ranged = [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES, cmd::BLOCK_STATUS];
        for (kind, len) in ranged.map(|kind| (kind, 4096)).into_iter().chain([(cmd::FLUSH, 0)]) {
            for flag in [NO_HOLE, DF, REQ_ONE, FAST_ZERO] {
                let answer = ask_of(&fast, STATUS, (kind, flag, 0, len));
                assert_eq!(answer.is_ok(), own(kind) & flag != 0, "{flag} on {kind}");
                assert!(answer.is_ok() || answer == Err(Errno::Inval));
            }
        }
    }

    #[test]
    fn df_is_einval_without_structured_replies() {
        assert_eq!(ask(SIMPLE, (cmd::READ, cmd_flag::DF, 0, 4096)), Err(Errno::Inval));
        let whole = Ok(Command::Read { whole: true });
        assert_eq!(ask(CHUNKS, (cmd::READ, cmd_flag::DF, 0, 4096)), whole);
    }
}

mod request_types {
    use super::*;

    #[test]
    fn unfragmented_reads_of_65536_bytes_must_be_supported() {
        assert!(ask(CHUNKS, (cmd::READ, cmd_flag::DF, 0, 65_536)).is_ok());
    }

    #[test]
    fn longer_unfragmented_reads_may_be_eoverflow() {
        let fields = (cmd::READ, cmd_flag::DF, 0, UNFRAGMENTED_BYTES_MAX + 4096);
        assert_eq!(ask(CHUNKS, fields), Err(Errno::Overflow));
    }

    #[test]
    fn a_read_above_the_maximum_payload_is_eoverflow_only_with_structured_replies() {
        let fields = (cmd::READ, 0, 0, PAYLOAD_BYTES_MAX + 4096);
        assert_eq!(ask(CHUNKS, fields), Err(Errno::Overflow));
        assert_eq!(ask(SIMPLE, fields), Err(Errno::Inval));
    }

    #[test]
    fn a_length_of_zero_does_not_disconnect() {
        for kind in [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES, cmd::BLOCK_STATUS] {
            assert_eq!(ask(STATUS, (kind, 0, 0, 0)), Err(Errno::Inval));
        }
    }

    #[test]
    fn flush_has_neither_offset_nor_length() {
        assert_eq!(ask(SIMPLE, (cmd::FLUSH, 0, 0, 0)), Ok(Command::Flush));
        assert_eq!(ask(SIMPLE, (cmd::FLUSH, 0, 4096, 0)), Err(Errno::Inval));
        assert_eq!(ask(SIMPLE, (cmd::FLUSH, 0, 0, 4096)), Err(Errno::Inval));
    }

    #[test]
    fn cache_is_einval_since_it_is_not_advertised() {
        assert_eq!(ask(SIMPLE, (cmd::CACHE, 0, 0, 4096)), Err(Errno::Inval));
    }

    #[test]
    fn write_zeroes_must_support_no_hole() {
        let command = Command::WriteZeroes { no_hole: true, fast: false };
        let fields = (cmd::WRITE_ZEROES, cmd_flag::NO_HOLE, 0, 4096);
        assert_eq!(ask(SIMPLE, fields), Ok(command));
    }

    #[test]
    fn fast_zero_is_einval_if_not_advertised() {
        let fields = (cmd::WRITE_ZEROES, cmd_flag::FAST_ZERO, 0, 4096);
        assert_eq!(ask(SIMPLE, fields), Err(Errno::Inval));
        let command = Command::WriteZeroes { no_hole: false, fast: true };
        assert_eq!(ask_of(&export().with_fast_zero(true), SIMPLE, fields), Ok(command));
    }

    #[test]
    fn block_status_is_einval_without_a_selected_context() {
        let fields = (cmd::BLOCK_STATUS, 0, 0, 4096);
        assert_eq!(ask(SIMPLE, fields), Err(Errno::Inval));
        assert_eq!(ask(CHUNKS, fields), Err(Errno::Inval));
        assert_eq!(ask(STATUS, fields), Ok(Command::BlockStatus { one: false }));
        let one = (cmd::BLOCK_STATUS, cmd_flag::REQ_ONE, 0, 4096);
        assert_eq!(ask(STATUS, one), Ok(Command::BlockStatus { one: true }));
    }

    #[test]
    fn the_last_block_of_the_export_is_served() {
        for kind in [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES, cmd::BLOCK_STATUS] {
            assert!(ask(STATUS, (kind, 0, SIZE - 4096, 4096)).is_ok());
        }
    }
}

mod error_values {
    use super::*;

    #[test]
    fn writes_past_the_end_are_enospc() {
        for kind in [cmd::WRITE, cmd::WRITE_ZEROES] {
            for offset in [SIZE, SIZE - 4096] {
                assert_eq!(ask(SIMPLE, (kind, 0, offset, 8192)), Err(Errno::NoSpc));
            }
        }
    }

    #[test]
    fn reads_trims_and_block_status_past_the_end_are_einval() {
        for kind in [cmd::READ, cmd::TRIM, cmd::BLOCK_STATUS] {
            for offset in [SIZE, SIZE - 4096] {
                assert_eq!(ask(STATUS, (kind, 0, offset, 8192)), Err(Errno::Inval));
            }
        }
    }

    #[test]
    fn writing_to_a_read_only_export_is_eperm() {
        let export = export().with_read_only(true);
        for kind in [cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES] {
            assert_eq!(ask_of(&export, SIMPLE, (kind, 0, 0, 4096)), Err(Errno::Perm));
        }
        assert!(ask_of(&export, SIMPLE, (cmd::READ, 0, 0, 4096)).is_ok());
        assert!(ask_of(&export, SIMPLE, (cmd::FLUSH, 0, 0, 0)).is_ok());
    }

    #[test]
    fn an_unknown_command_is_einval() {
        for kind in (8..64).chain([0x7fff, u16::MAX]) {
            assert_eq!(ask(STATUS, (kind, 0, 0, 4096)), Err(Errno::Inval));
        }
    }

    #[test]
    fn a_refused_write_is_followed_by_the_next_request() {
        let mut wire = Wire::haggle();
        wire.send(opt::GO, &go_data("", &[]));
        let mut bytes = encode_raw(0, cmd::WRITE, Cookie(1), SIZE, 4096).to_vec();
        bytes.extend([0x25; 4096]);
        bytes.extend(encode_raw(0, cmd::READ, Cookie(2), 0, 4096));
        let refused = What::Refused(failure(&SIMPLE, Cookie(1), Errno::NoSpc));
        assert_eq!(wire.say(&bytes), refused);
        assert!(matches!(wire.say(&[]), What::Request(Request { cookie: Cookie(2), .. })));
    }

    #[test]
    fn only_the_listed_values_are_sent() {
        for errno in -1..200 {
            let code = Errno::from_os(errno).code();
            assert!([1, 5, 12, 22, 28, 75, 95, 108].contains(&code));
        }
    }

    #[test]
    fn edquot_and_efbig_are_enospc_and_enotsup_is_kept_for_fast_zeroes() {
        assert_eq!(Errno::from_os(libc::EDQUOT), Errno::NoSpc);
        assert_eq!(Errno::from_os(libc::EFBIG), Errno::NoSpc);
        assert_eq!(Errno::from_os(libc::EROFS), Errno::Perm);
        assert_eq!(Errno::from_os(libc::EOPNOTSUPP), Errno::Io);
        assert_eq!(Errno::from_os(libc::EOVERFLOW), Errno::Io);
    }

    #[test]
    fn a_client_treats_an_unexpected_value_as_einval() {
        assert_eq!(Errno::from_code(61), Errno::Inval);
        for errno in [Errno::Perm, Errno::NoSpc, Errno::Overflow, Errno::NotSup, Errno::Shutdown] {
            assert_eq!(Errno::from_code(errno.code()), errno);
        }
    }
}

/// Clients of others against the protocol over a piece of memory. The same checks run against an
/// engine wherever a test starts one: `nbd_clients::check_all`.
mod real_clients {
    use super::*;
    use harness::nbd_clients::{Outcome, Target, check_all};
    use harness::nbd_memory::MemoryServer;

    #[test]
    fn clients_of_others_are_content() {
        let size = u64::from(32 * MIB);
        let export = Export::new("vol", size).unwrap().with_fast_zero(true);
        let server = MemoryServer::start(export).unwrap();
        let target = Target::new(&server.socket(), size, server.directory());
        for (name, outcome) in check_all(&target) {
            match outcome {
                Outcome::Passed => println!("{name}: passed"),
                Outcome::Missing(tool) => println!("{name}: not run, {tool} is not installed"),
            }
        }
    }
}
