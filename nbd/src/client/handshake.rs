//! The client's side of the handshake: structured replies, metadata, GO.
//! Always: an option is sent only after the last one got its final reply.

use super::error::{Broken, ClientError, Doing};
use super::stream::Stream;
use super::{ExportInfo, Options};
use crate::protocol::constants::{
    BASE_ALLOCATION, GREETING_BYTES, OPTION_REPLY_HEAD_BYTES, PAYLOAD_BYTES_MAX, handshake_flag,
    info, opt, rep,
};
use crate::protocol::{
    OptionReply, OptionReplyHead, client_flags, greeting_flags, put_go_data, put_meta_data,
    put_option,
};
use std::io::{Read, Write};

/// Longest option reply that is read, in bytes: two strings and some numbers.
const REPLY_BYTES_MAX: u32 = 16 << 10;

/// Negotiates until transmission begins.
pub(super) fn negotiate(stream: &mut Stream, options: &Options) -> Result<ExportInfo, ClientError> {
    greet(stream)?;
    // Size constraints: the defaults of a server that tells none.
    let mut export = ExportInfo {
        block_min: 1,
        block_preferred: 4096,
        payload_max: PAYLOAD_BYTES_MAX,
        ..ExportInfo::default()
    };
    if options.structured {
        export.negotiated.structured = offer(stream, opt::STRUCTURED_REPLY, &[], |_| {})?;
    }
    if options.allocation && export.negotiated.structured {
        let mut data = Vec::new();
        put_meta_data(&mut data, &options.export, &[BASE_ALLOCATION]);
        let mut selected = false;
        let accepted = offer(stream, opt::SET_META_CONTEXT, &data, |reply| {
            selected |= matches!(reply, OptionReply::MetaContext { name, .. }
                if *name == BASE_ALLOCATION.as_bytes());
        })?;
        export.negotiated.allocation = accepted && selected;
    }
    go(stream, options, &mut export)?;
    Ok(export)
}

fn greet(stream: &mut Stream) -> Result<(), ClientError> {
    let mut greeting = [0; GREETING_BYTES];
    read(stream, &mut greeting)?;
    let flags = greeting_flags(&greeting)?;
    let needed = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
    if flags & needed != needed {
        return Err(Broken::NotFixed { flags }.into());
    }
    write(stream, &client_flags())
}

fn go(stream: &mut Stream, options: &Options, export: &mut ExportInfo) -> Result<(), ClientError> {
    let mut data = Vec::new();
    put_go_data(&mut data, &options.export, &[info::NAME, info::DESCRIPTION, info::BLOCK_SIZE]);
    let mut told = false;
    haggle(stream, opt::GO, &data, |reply| match *reply {
        OptionReply::Export { size, flags } => {
            told = true;
            (export.size, export.flags) = (size, flags);
        }
        OptionReply::Name(name) => export.name = String::from_utf8_lossy(name).into_owned(),
        OptionReply::Description(text) => {
            export.description = String::from_utf8_lossy(text).into_owned();
        }
        OptionReply::BlockSize { min, preferred, payload_max } => {
            export.block_min = min;
            export.block_preferred = preferred;
            export.payload_max = payload_max;
        }
        _ => {}
    })?;
    if told { Ok(()) } else { Err(Broken::NoExportInfo.into()) }
}

/// An option that a server may do without: false when it is unknown there.
fn offer(
    stream: &mut Stream,
    option: u32,
    data: &[u8],
    each: impl FnMut(&OptionReply<'_>),
) -> Result<bool, ClientError> {
    match haggle(stream, option, data, each) {
        Ok(()) => Ok(true),
        Err(ClientError::Refused { kind: rep::ERR_UNSUP | rep::ERR_POLICY, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sends an option and shows every reply to `each`, up to the final one.
fn haggle(
    stream: &mut Stream,
    option: u32,
    data: &[u8],
    mut each: impl FnMut(&OptionReply<'_>),
) -> Result<(), ClientError> {
    let mut message = Vec::new();
    put_option(&mut message, option, data);
    write(stream, &message)?;
    loop {
        let mut head = [0; OPTION_REPLY_HEAD_BYTES];
        read(stream, &mut head)?;
        let head = OptionReplyHead::decode(&head)?;
        if head.option != option {
            return Err(Broken::Option { sent: option, answered: head.option }.into());
        }
        if head.len > REPLY_BYTES_MAX {
            return Err(Broken::OptionReplyTooLong { len: head.len }.into());
        }
        message.resize(head.len as usize, 0);
        read(stream, &mut message)?;
        match OptionReply::decode(head.kind, &message)? {
            OptionReply::Ack => return Ok(()),
            OptionReply::Error { kind, text } => {
                let text = String::from_utf8_lossy(text).into();
                return Err(ClientError::Refused { option, kind, text });
            }
            reply => each(&reply),
        }
    }
}

fn read(stream: &mut Stream, buf: &mut [u8]) -> Result<(), ClientError> {
    stream.read_exact(buf).map_err(|source| ClientError::io(Doing::Handshake, source))
}

fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), ClientError> {
    stream.write_all(bytes).map_err(|source| ClientError::io(Doing::Handshake, source))
}
