//! The client's half of the protocol: what it sends.
//! Always: nothing is checked here, so that tests can send what a server must refuse.

use super::bytes::put;
use super::constants::{OPTION_MAGIC, REQUEST_BYTES, REQUEST_MAGIC, client_flag, cmd_flag};
use super::request::{Cookie, Request};

/// Client flags: fixed newstyle, no zeroes. Sent after the greeting.
pub fn client_flags() -> [u8; 4] {
    (client_flag::FIXED_NEWSTYLE | client_flag::NO_ZEROES).to_be_bytes()
}

/// Queues one option. Its data must be shorter than 4 GiB.
pub fn put_option(out: &mut Vec<u8>, option: u32, data: &[u8]) {
    out.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&wire_len(data.len()));
    out.extend_from_slice(data);
}

/// Appends the data of `OPT_INFO` and `OPT_GO`.
pub fn put_go_data(out: &mut Vec<u8>, name: &str, infos: &[u16]) {
    put_string(out, name);
    let count = u16::try_from(infos.len()).expect("a client asks for fewer than 65,536 infos");
    out.extend_from_slice(&count.to_be_bytes());
    for info in infos {
        out.extend_from_slice(&info.to_be_bytes());
    }
}

/// Appends the data of `OPT_LIST_META_CONTEXT` and `OPT_SET_META_CONTEXT`.
pub fn put_meta_data(out: &mut Vec<u8>, name: &str, queries: &[&str]) {
    put_string(out, name);
    out.extend_from_slice(&wire_len(queries.len()));
    for query in queries {
        put_string(out, query);
    }
}

/// A request header from its fields.
pub fn encode_raw(
    flags: u16,
    kind: u16,
    cookie: Cookie,
    offset: u64,
    len: u32,
) -> [u8; REQUEST_BYTES] {
    let mut out = [0; REQUEST_BYTES];
    put(&mut out, 0, REQUEST_MAGIC.to_be_bytes());
    put(&mut out, 4, flags.to_be_bytes());
    put(&mut out, 6, kind.to_be_bytes());
    put(&mut out, 8, cookie.0.to_be_bytes());
    put(&mut out, 16, offset.to_be_bytes());
    put(&mut out, 24, len.to_be_bytes());
    out
}

/// The header of a request; a write's payload follows it.
pub fn encode_request(request: &Request) -> [u8; REQUEST_BYTES] {
    let fua = if request.fua { cmd_flag::FUA } else { 0 };
    let flags = request.command.flags() | fua;
    encode_raw(flags, request.command.kind(), request.cookie, request.offset, request.len)
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&wire_len(text.len()));
    out.extend_from_slice(text.as_bytes());
}

fn wire_len(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a client sends strings below 4 GiB").to_be_bytes()
}
