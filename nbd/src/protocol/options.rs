//! One option in, its replies out.
//! Always: each option gets exactly one final reply, except EXPORT_NAME, which has its own form.

use super::bytes::Bytes;
use super::constants::{
    BLOCK_BYTES_MIN, EXPORT_NAME_ZEROES, OPTION_REPLY_MAGIC, PAYLOAD_BYTES_MAX, STRING_BYTES_MAX,
    info, opt, rep,
};
use super::export::Export;
use super::handshake::{Ending, Handshake, State};
use super::meta;

/// Answers an option whose data is whole.
pub(super) fn answer(
    shake: &mut Handshake,
    export: &Export,
    option: u32,
    data: &[u8],
    out: &mut Vec<u8>,
) -> State {
    if shake.refusing && option != opt::ABORT {
        return refuse_shutdown(option, out);
    }
    match option {
        opt::EXPORT_NAME => return export_name(shake, export, data, out),
        // NBD_OPT_ABORT: acknowledge, and ignore data.
        opt::ABORT => {
            put_reply(out, option, rep::ACK, &[]);
            return State::Ended(Ending::Aborted);
        }
        opt::LIST => list(export, data, out),
        opt::INFO | opt::GO => {
            let accepted = describe(shake, export, option, data, out);
            if accepted && option == opt::GO {
                return State::Transmission(shake.agreed);
            }
        }
        opt::STRUCTURED_REPLY => structured_reply(shake, data, out),
        opt::LIST_META_CONTEXT => meta::list(shake, export, data, out),
        opt::SET_META_CONTEXT => meta::set(shake, export, data, out),
        // NOTLS mode: a server without TLS answers STARTTLS like any option it does not have.
        // Baseline: an unknown option is refused, and the next one is parsed.
        _ => put_error(out, option, rep::ERR_UNSUP, "option not supported"),
    }
    State::Haggling
}

/// Answers an option whose data was too long to look at and has been skipped.
pub(super) fn answer_too_big(shake: &mut Handshake, option: u32, out: &mut Vec<u8>) -> State {
    // NBD_OPT_SET_META_CONTEXT: replaces what was selected, also when it fails.
    if option == opt::SET_META_CONTEXT {
        shake.agreed.allocation = false;
    }
    match option {
        opt::ABORT => {
            put_reply(out, option, rep::ACK, &[]);
            return State::Ended(Ending::Aborted);
        }
        _ if shake.refusing => return refuse_shutdown(option, out),
        opt::LIST
        | opt::INFO
        | opt::GO
        | opt::STRUCTURED_REPLY
        | opt::LIST_META_CONTEXT
        | opt::SET_META_CONTEXT => {
            put_error(out, option, rep::ERR_TOO_BIG, "option data too long");
        }
        _ => put_error(out, option, rep::ERR_UNSUP, "option not supported"),
    }
    State::Haggling
}

/// Termination of the session during option haggling: refuse everything but ABORT.
fn refuse_shutdown(option: u32, out: &mut Vec<u8>) -> State {
    if option == opt::EXPORT_NAME {
        return State::Ended(Ending::ShuttingDown);
    }
    put_error(out, option, rep::ERR_SHUTDOWN, "server is shutting down");
    State::Haggling
}

/// NBD_OPT_EXPORT_NAME: size, flags and maybe zeroes; an export that is not there ends the session.
fn export_name(shake: &Handshake, export: &Export, name: &[u8], out: &mut Vec<u8>) -> State {
    if !export.answers_to(name) {
        return State::Ended(Ending::UnknownExport);
    }
    out.extend_from_slice(&export.size().to_be_bytes());
    let flags = export.transmission_flags(shake.agreed.structured);
    out.extend_from_slice(&flags.to_be_bytes());
    if !shake.no_zeroes {
        out.extend_from_slice(&[0; EXPORT_NAME_ZEROES]);
    }
    State::Transmission(shake.agreed)
}

/// NBD_OPT_LIST: one reply per export; data is an error.
fn list(export: &Export, data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        return put_error(out, opt::LIST, rep::ERR_INVALID, "option takes no data");
    }
    let name = export.name().as_bytes();
    // `Export` bounds the name to 256 bytes.
    let len = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
    put_parts(out, opt::LIST, rep::SERVER, &[&len, name, export.description().as_bytes()]);
    put_reply(out, opt::LIST, rep::ACK, &[]);
}

/// NBD_OPT_STRUCTURED_REPLY: data is an error; a second one changes nothing.
fn structured_reply(shake: &mut Handshake, data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        let text = "option takes no data";
        return put_error(out, opt::STRUCTURED_REPLY, rep::ERR_INVALID, text);
    }
    shake.agreed.structured = true;
    put_reply(out, opt::STRUCTURED_REPLY, rep::ACK, &[]);
}

/// Information that a client asks for beyond what it always gets.
#[derive(Clone, Copy, Default)]
struct Wanted {
    name: bool,
    description: bool,
}

/// NBD_OPT_INFO and NBD_OPT_GO: true when the export was described and acknowledged.
fn describe(
    shake: &Handshake,
    export: &Export,
    option: u32,
    data: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let Some((name, wanted)) = parse_describe(data) else {
        put_error(out, option, rep::ERR_INVALID, "malformed option data");
        return false;
    };
    if !export.answers_to(name) {
        put_error(out, option, rep::ERR_UNKNOWN, "no such export");
        return false;
    }
    let flags = export.transmission_flags(shake.agreed.structured).to_be_bytes();
    let size = export.size().to_be_bytes();
    put_parts(out, option, rep::INFO, &[&info::EXPORT.to_be_bytes(), &size, &flags]);
    if wanted.name {
        let name = export.name().as_bytes();
        put_parts(out, option, rep::INFO, &[&info::NAME.to_be_bytes(), name]);
    }
    if wanted.description && !export.description().is_empty() {
        let text = export.description().as_bytes();
        put_parts(out, option, rep::INFO, &[&info::DESCRIPTION.to_be_bytes(), text]);
    }
    // Size constraints: ours are not the defaults, so they are told whether asked for or not.
    put_parts(
        out,
        option,
        rep::INFO,
        &[
            &info::BLOCK_SIZE.to_be_bytes(),
            &BLOCK_BYTES_MIN.to_be_bytes(),
            &export.block_preferred().to_be_bytes(),
            &PAYLOAD_BYTES_MAX.to_be_bytes(),
        ],
    );
    put_reply(out, option, rep::ACK, &[]);
    true
}

/// Name and wishes of INFO and GO; `None` when lengths do not add up.
/// Unknown requests are ignored, and one that is repeated counts once.
fn parse_describe(data: &[u8]) -> Option<(&[u8], Wanted)> {
    let mut rest = Bytes(data);
    let name = rest.string()?;
    let count = rest.u16()?;
    let mut wanted = Wanted::default();
    for _ in 0..count {
        match rest.u16()? {
            info::NAME => wanted.name = true,
            info::DESCRIPTION => wanted.description = true,
            _ => {}
        }
    }
    (rest.is_empty() && name.len() <= STRING_BYTES_MAX).then_some((name, wanted))
}

/// Queues one reply (Fixed newstyle negotiation).
pub(super) fn put_reply(out: &mut Vec<u8>, option: u32, kind: u32, data: &[u8]) {
    put_parts(out, option, kind, &[data]);
}

/// Queues one error with a text for people (Option reply types).
pub(super) fn put_error(out: &mut Vec<u8>, option: u32, kind: u32, text: &str) {
    put_parts(out, option, kind, &[text.as_bytes()]);
}

/// Queues one reply whose data comes in parts.
pub(super) fn put_parts(out: &mut Vec<u8>, option: u32, kind: u32, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let len = u32::try_from(len).expect("a reply of ours is below OPTION_ANSWER_BYTES_MAX");
    out.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}
