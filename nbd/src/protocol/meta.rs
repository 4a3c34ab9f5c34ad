//! Metadata contexts: which ones there are, which ones a client selects.
//! Always: `base:allocation` is the only context; the last SET decides, also when it failed.

use super::bytes::Bytes;
use super::constants::{BASE_ALLOCATION, BASE_ALLOCATION_ID, STRING_BYTES_MAX, opt, rep};
use super::export::Export;
use super::handshake::Handshake;
use super::options::{put_error, put_parts, put_reply};

/// Answers NBD_OPT_LIST_META_CONTEXT.
pub(super) fn list(shake: &Handshake, export: &Export, data: &[u8], out: &mut Vec<u8>) {
    // No queries at all mean everything; ids in this reply are reserved, so zero.
    if let Some(asked) = ask(shake, export, opt::LIST_META_CONTEXT, data, out) {
        let found = asked.queries == 0 || asked.wildcard || asked.allocation;
        finish(found, opt::LIST_META_CONTEXT, 0, out);
    }
}

/// Answers NBD_OPT_SET_META_CONTEXT.
pub(super) fn set(shake: &mut Handshake, export: &Export, data: &[u8], out: &mut Vec<u8>) {
    shake.agreed.allocation = false;
    // Here the wildcard selects nothing, as do no queries at all.
    if let Some(asked) = ask(shake, export, opt::SET_META_CONTEXT, data, out) {
        shake.agreed.allocation = asked.allocation;
        finish(asked.allocation, opt::SET_META_CONTEXT, BASE_ALLOCATION_ID, out);
    }
}

/// What the queries of one option come to.
#[derive(Clone, Copy, Default)]
struct Asked {
    queries: u32,
    /// `base:` was among them.
    wildcard: bool,
    /// `base:allocation` was among them.
    allocation: bool,
}

/// The checks that both options share; refuses and yields nothing when one fails.
fn ask(
    shake: &Handshake,
    export: &Export,
    option: u32,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Option<Asked> {
    // Both options belong after NBD_OPT_STRUCTURED_REPLY.
    if !shake.agreed.structured {
        put_error(out, option, rep::ERR_INVALID, "negotiate structured replies first");
        return None;
    }
    let Some((name, asked)) = parse(data) else {
        put_error(out, option, rep::ERR_INVALID, "malformed option data");
        return None;
    };
    if !export.answers_to(name) {
        put_error(out, option, rep::ERR_UNKNOWN, "no such export");
        return None;
    }
    Some(asked)
}

/// Export name and queries; `None` when lengths do not add up or a query has no namespace.
fn parse(data: &[u8]) -> Option<(&[u8], Asked)> {
    let mut rest = Bytes(data);
    let name = rest.string().filter(|name| name.len() <= STRING_BYTES_MAX)?;
    let queries = rest.u32()?;
    let mut asked = Asked { queries, ..Asked::default() };
    // Each turn takes at least four bytes of data that is bounded, whatever the count says.
    for _ in 0..queries {
        let query = rest.string().filter(|query| query.len() <= STRING_BYTES_MAX)?;
        let colon = query.iter().position(|byte| *byte == b':')?;
        if colon == 0 {
            return None;
        }
        // Metadata querying: other namespaces and other leaves of `base:` are ignored.
        asked.wildcard |= query == b"base:";
        asked.allocation |= query == BASE_ALLOCATION.as_bytes();
    }
    rest.is_empty().then_some((name, asked))
}

fn finish(found: bool, option: u32, id: u32, out: &mut Vec<u8>) {
    if found {
        let parts: [&[u8]; 2] = [&id.to_be_bytes(), BASE_ALLOCATION.as_bytes()];
        put_parts(out, option, rep::META_CONTEXT, &parts);
    }
    put_reply(out, option, rep::ACK, &[]);
}
