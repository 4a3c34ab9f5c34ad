//! The host's interfaces and their addresses: what is there (`getifaddrs`), and the two messages
//! of netlink that add and remove an address. Numbers of messages are those of `linux/rtnetlink.h`.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    socket,
};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
/// Attributes: the peer's or own address, and the own one.
const ATTRIBUTE_ADDRESS: u16 = 1;
const ATTRIBUTE_LOCAL: u16 = 2;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
/// Use an IPv6 address at once: who has it was decided elsewhere.
const FLAG_NO_DUPLICATES_CHECK: u8 = 0x02;
const HEADER_BYTES: usize = 16;

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Number, hardware address.
    pub hardware: Option<LinkAddr>,
    /// Switched on.
    pub up: bool,
    /// Has a carrier.
    pub running: bool,
    /// Never leaves the host.
    pub loopback: bool,
    /// Its addresses, with lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Interfaces by name.
///
/// # Errors
/// The kernel does not tell.
pub fn read() -> io::Result<BTreeMap<String, Link>> {
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    for entry in getifaddrs()? {
        // An address may carry a label, such as eth0:1.
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        let link = links.entry(name.to_owned()).or_default();
        link.up |= entry.flags.contains(InterfaceFlags::IFF_UP);
        link.running |= entry.flags.contains(InterfaceFlags::IFF_RUNNING);
        link.loopback |= entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let Some(address) = entry.address else { continue };
        let mask = entry.netmask;
        if let Some(hardware) = address.as_link_addr() {
            link.hardware = Some(*hardware);
        } else if let Some(v4) = address.as_sockaddr_in() {
            let mask = mask.and_then(|mask| mask.as_sockaddr_in().map(|mask| mask.ip().to_bits()));
            link.addresses.push((IpAddr::V4(v4.ip()), ones(mask.unwrap_or(u32::MAX).count_ones())));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            let mask = mask.and_then(|mask| mask.as_sockaddr_in6().map(|mask| mask.ip().to_bits()));
            let mask = mask.unwrap_or(u128::MAX);
            link.addresses.push((IpAddr::V6(v6.ip()), ones(mask.count_ones())));
        }
    }
    Ok(links)
}

fn ones(count: u32) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Number of the interface.
pub fn index(hardware: &LinkAddr) -> u32 {
    u32::try_from(hardware.ifindex()).unwrap_or(0)
}

/// Adds an address to the interface `index`. `false`: it was there.
///
/// # Errors
/// The kernel refuses.
pub fn add(index: u32, address: IpAddr, prefix: u8) -> io::Result<bool> {
    let flags = REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE;
    match ask(&message(NEW_ADDRESS, flags, index, address, prefix))? {
        0 => Ok(true),
        code if code == nix::errno::Errno::EEXIST as i32 => Ok(false),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Removes an address. `false`: it was not there.
///
/// # Errors
/// The kernel refuses.
pub fn remove(index: u32, address: IpAddr, prefix: u8) -> io::Result<bool> {
    let flags = REQUEST | ACKNOWLEDGE;
    match ask(&message(DELETE_ADDRESS, flags, index, address, prefix))? {
        0 => Ok(true),
        code if code == nix::errno::Errno::EADDRNOTAVAIL as i32 => Ok(false),
        code if code == nix::errno::Errno::ENODEV as i32 => Ok(false),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

fn message(kind: u16, flags: u16, index: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    let (family, bytes, extra) = match address {
        IpAddr::V4(v4) => (FAMILY_V4, v4.octets().to_vec(), 0),
        IpAddr::V6(v6) => (FAMILY_V6, v6.octets().to_vec(), FLAG_NO_DUPLICATES_CHECK),
    };
    let mut body = vec![family, prefix, extra, 0];
    body.extend(index.to_ne_bytes());
    for attribute in [ATTRIBUTE_LOCAL, ATTRIBUTE_ADDRESS] {
        let length = if bytes.len() == 4 { 8_u16 } else { 20 };
        body.extend(length.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(&bytes);
    }
    let length = if bytes.len() == 4 { 40_u32 } else { 64 };
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and sender: one question per socket, so the answer is ours.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Sends one message; returns the error number of the acknowledgement, 0 when it was done.
fn ask(message: &[u8]) -> io::Result<i32> {
    let route = SockProtocol::NetlinkRoute;
    let flags = SockFlag::SOCK_CLOEXEC;
    let asked = socket(AddressFamily::Netlink, SockType::Raw, flags, route)?;
    sendto(asked.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 4096];
    // The kernel answers within the call that sent the message.
    let read = recv(asked.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    acknowledged(&answer[..read])
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "netlink: no acknowledgement"))
}

fn acknowledged(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(HEADER_BYTES..HEADER_BYTES + 4)?.try_into().ok()?);
    (kind == ERROR).then(|| code.saturating_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_length_that_they_claim() {
        for address in ["10.0.0.1", "fd00::1"] {
            let bytes = message(NEW_ADDRESS, REQUEST, 7, address.parse().unwrap(), 32);
            let claimed = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(usize::try_from(claimed).unwrap(), bytes.len());
        }
    }

    #[test]
    fn an_answer_that_is_no_acknowledgement_is_seen() {
        assert_eq!(acknowledged(&[0; 8]), None);
        assert_eq!(acknowledged(&[0; 36]), None);
    }

    #[test]
    fn the_loopback_interface_is_there() {
        let links = read().unwrap();
        assert!(links["lo"].loopback);
    }
}
