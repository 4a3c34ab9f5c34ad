//! Messages of the kernel's family "nbd" as bytes. Numbers are those of `linux/nbd-netlink.h`.
//! Always: what is encoded here parses to the same; attributes that are not known are left alone.

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, Nla, NlaBuffer, NlasIterator, Parseable,
    ParseableParametrized,
};
use netlink_packet_generic::{GenlFamily, GenlHeader};

/// Name of the family.
pub(super) const FAMILY: &str = "nbd";
/// Name of the group that hears of sockets that died.
pub(super) const GROUP: &str = "nbd_mc_group";
const VERSION: u8 = 1;

/// Commands.
pub(super) mod command {
    pub const CONNECT: u8 = 1;
    pub const DISCONNECT: u8 = 2;
    pub const RECONFIGURE: u8 = 3;
    pub const LINK_DEAD: u8 = 4;
    pub const STATUS: u8 = 5;
}

/// Attributes.
mod attribute {
    pub const INDEX: u16 = 1;
    pub const SIZE_BYTES: u16 = 2;
    pub const BLOCK_SIZE_BYTES: u16 = 3;
    pub const TIMEOUT: u16 = 4;
    pub const SERVER_FLAGS: u16 = 5;
    pub const SOCKETS: u16 = 7;
    pub const DEAD_CONN_TIMEOUT: u16 = 8;
    pub const DEVICE_LIST: u16 = 9;
    pub const BACKEND_IDENTIFIER: u16 = 10;
}
/// Inside `SOCKETS`: one item, and its descriptor.
const SOCK_ITEM: u16 = 1;
const SOCK_FD: u16 = 1;
/// Inside `DEVICE_LIST`: one item, its number, and whether it is connected.
const DEVICE_ITEM: u16 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_CONNECTED: u16 = 2;

/// What a device should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The N of `/dev/nbdN`; without it, the first that is free.
    pub index: Option<u32>,
    /// What it is found by again.
    pub backend: String,
    /// Bytes.
    pub size: u64,
    /// Smallest request, in bytes: a power of two from 512 to the size of a page.
    pub block_bytes: u32,
    /// Transmission flags, as for a client without structured replies.
    pub flags: u16,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub command: u8,
    attributes: Vec<DefaultNla>,
}

impl Message {
    /// Make a device of these descriptors.
    pub fn connect(wanted: &Wanted, descriptors: &[u32]) -> Message {
        let mut attributes = shape(wanted, descriptors);
        attributes.extend(wanted.index.map(|index| u32_nla(attribute::INDEX, index)));
        attributes.push(u64_nla(attribute::SERVER_FLAGS, wanted.flags.into()));
        attributes.push(u64_nla(attribute::TIMEOUT, 0));
        Message { command: command::CONNECT, attributes }
    }

    /// Give a device new descriptors in place of dead ones, and its present size. Says nothing of
    /// the timeout: with it, the kernel would set `queue/io_timeout` back to its 30 s.
    pub fn reconfigure(index: u32, wanted: &Wanted, descriptors: &[u32]) -> Message {
        let mut attributes = shape(wanted, descriptors);
        attributes.push(u32_nla(attribute::INDEX, index));
        Message { command: command::RECONFIGURE, attributes }
    }

    /// End a device.
    pub fn disconnect(index: u32) -> Message {
        let attributes = vec![u32_nla(attribute::INDEX, index)];
        Message { command: command::DISCONNECT, attributes }
    }

    /// Which devices there are.
    pub fn status() -> Message {
        Message { command: command::STATUS, attributes: Vec::new() }
    }

    fn value(&self, kind: u16) -> Option<Vec<u8>> {
        value(&self.attributes, kind)
    }

    /// The device that this is about.
    pub fn index(&self) -> Option<u32> {
        as_u32(&self.value(attribute::INDEX)?)
    }

    /// Devices and whether they are connected, as an answer to `status` has them.
    pub fn devices(&self) -> Result<Vec<(u32, bool)>, DecodeError> {
        let Some(list) = self.value(attribute::DEVICE_LIST) else { return Ok(Vec::new()) };
        let mut devices = Vec::new();
        for item in parse(&list)?.iter().filter(|item| item.kind() == DEVICE_ITEM) {
            let parts = parse(&content(item))?;
            let index = value(&parts, DEVICE_INDEX).and_then(|bytes| as_u32(&bytes));
            let connected = value(&parts, DEVICE_CONNECTED);
            devices.extend(index.map(|index| (index, connected.is_some_and(|c| c != [0]))));
        }
        Ok(devices)
    }
}

/// What is said of a device whether it is new or not.
fn shape(wanted: &Wanted, descriptors: &[u32]) -> Vec<DefaultNla> {
    let mut backend = wanted.backend.clone().into_bytes();
    backend.push(0);
    let sockets: Vec<DefaultNla> = descriptors
        .iter()
        .map(|&fd| DefaultNla::new(SOCK_ITEM, bytes(&[u32_nla(SOCK_FD, fd)])))
        .collect();
    vec![
        u64_nla(attribute::SIZE_BYTES, wanted.size),
        u64_nla(attribute::BLOCK_SIZE_BYTES, wanted.block_bytes.into()),
        u64_nla(attribute::DEAD_CONN_TIMEOUT, super::DEAD_SECONDS),
        DefaultNla::new(attribute::BACKEND_IDENTIFIER, backend),
        DefaultNla::new(attribute::SOCKETS, bytes(&sockets)),
    ]
}

fn u32_nla(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

fn u64_nla(kind: u16, value: u64) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

fn as_u32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn bytes(nlas: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; nlas.buffer_len()];
    nlas.emit(&mut bytes);
    bytes
}

fn content(nla: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; nla.value_len()];
    nla.emit_value(&mut bytes);
    bytes
}

fn value(nlas: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    nlas.iter().find(|nla| nla.kind() == kind).map(content)
}

fn parse(bytes: &[u8]) -> Result<Vec<DefaultNla>, DecodeError> {
    NlasIterator::new(bytes)
        .map(|nla| {
            let nla: NlaBuffer<&[u8]> = nla?;
            let parsed = DefaultNla::parse(&nla)?;
            // Old kernels do not mark what is nested, new ones do.
            Ok(DefaultNla::new(nla.kind(), content(&parsed)))
        })
        .collect()
}

impl GenlFamily for Message {
    fn family_name() -> &'static str {
        FAMILY
    }
    fn command(&self) -> u8 {
        self.command
    }
    fn version(&self) -> u8 {
        VERSION
    }
}

impl Emitable for Message {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }
    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Message {
    fn parse_with_param(bytes: &[u8], header: GenlHeader) -> Result<Message, DecodeError> {
        Ok(Message { command: header.cmd, attributes: parse(bytes)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        let backend = "lockstep/orders".to_owned();
        Wanted { index: Some(3), backend, size: 1 << 20, block_bytes: 4096, flags: 0x16d }
    }

    fn emitted(message: &Message) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    /// Attributes as (length, kind, bytes), taken apart by hand.
    fn apart(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
            let kind = u16::from_ne_bytes([bytes[2], bytes[3]]);
            found.push((kind, bytes[4..length].to_vec()));
            bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        }
        found
    }

    fn take(found: &[(u16, Vec<u8>)], kind: u16) -> Vec<u8> {
        found.iter().find(|(k, _)| *k == kind).expect("the attribute is there").1.clone()
    }

    #[test]
    fn a_connect_says_everything_that_the_kernel_needs() {
        let found = apart(&emitted(&Message::connect(&wanted(), &[7, 9])));
        assert_eq!(take(&found, 1), 3_u32.to_ne_bytes());
        assert_eq!(take(&found, 2), (1_u64 << 20).to_ne_bytes());
        assert_eq!(take(&found, 3), 4096_u64.to_ne_bytes());
        assert_eq!(take(&found, 4), 0_u64.to_ne_bytes());
        assert_eq!(take(&found, 5), 0x16d_u64.to_ne_bytes());
        assert_eq!(take(&found, 8), (30 * 86_400_u64).to_ne_bytes());
        assert_eq!(take(&found, 10), b"lockstep/orders\0");
        let sockets = apart(&take(&found, 7));
        assert_eq!(sockets.len(), 2);
        for ((kind, item), fd) in sockets.iter().zip([7_u32, 9]) {
            assert_eq!((*kind, apart(item)), (1, vec![(1, fd.to_ne_bytes().to_vec())]));
        }
    }

    #[test]
    fn a_device_without_a_number_is_the_first_that_is_free() {
        let found = apart(&emitted(&Message::connect(&Wanted { index: None, ..wanted() }, &[7])));
        assert!(found.iter().all(|(kind, _)| *kind != 1));
    }

    #[test]
    fn a_reconfigure_names_its_device_and_neither_flags_nor_timeout() {
        let found = apart(&emitted(&Message::reconfigure(5, &wanted(), &[7])));
        assert_eq!(take(&found, 1), 5_u32.to_ne_bytes());
        assert!(found.iter().all(|(kind, _)| ![4, 5].contains(kind)));
    }

    #[test]
    fn what_is_encoded_parses_to_the_same() {
        for message in
            [Message::connect(&wanted(), &[7]), Message::disconnect(2), Message::status()]
        {
            let header = GenlHeader { cmd: message.command, version: VERSION };
            let parsed = Message::parse_with_param(&emitted(&message), header);
            assert_eq!(parsed.expect("it parses"), message);
        }
    }

    #[test]
    fn a_list_of_devices_is_read_with_and_without_the_mark_of_nesting() {
        let item = |index: u32, on: u8| {
            let on = DefaultNla::new(DEVICE_CONNECTED, vec![on]);
            DefaultNla::new(DEVICE_ITEM, bytes(&[u32_nla(DEVICE_INDEX, index), on]))
        };
        let list = bytes(&[item(0, 0), item(4, 1)]);
        for mark in [0, 0x8000] {
            let raw = bytes(&[DefaultNla::new(attribute::DEVICE_LIST | mark, list.clone())]);
            let header = GenlHeader { cmd: command::STATUS, version: VERSION };
            let message = Message::parse_with_param(&raw, header).expect("it parses");
            assert_eq!(message.devices().expect("it is a list"), [(0, false), (4, true)]);
        }
    }

    #[test]
    fn a_message_that_ends_early_is_refused() {
        let raw = emitted(&Message::connect(&wanted(), &[7]));
        let header = GenlHeader { cmd: command::CONNECT, version: VERSION };
        assert!(Message::parse_with_param(&raw[..raw.len() - 6], header).is_err());
    }
}
