//! Tells the neighbours that an address has moved here: a gratuitous ARP request for IPv4, an
//! unsolicited neighbour advertisement for IPv6. Without it they send to the old host until their
//! own memory of it ends. Nothing is awaited, and a neighbour that does not hear it only learns
//! later.

use super::links::Link;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

const BROADCAST: [u8; 6] = [0xff; 6];
/// Ethernet address of all IPv6 nodes.
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const TYPE_ARP: [u8; 2] = [0x08, 0x06];
const TYPE_V6: [u8; 2] = [0x86, 0xdd];
/// Kind of interface that speaks Ethernet.
const ETHERNET: u16 = 1;
const PROTOCOL_ICMP_V6: u8 = 58;
const ADVERTISEMENT: u8 = 136;
/// Replace what you know.
const OVERRIDE: u8 = 0x20;
/// Bytes of the advertisement with the option that carries the hardware address.
const ADVERTISEMENT_BYTES: u8 = 32;

/// Announces `address` on `link`; nothing happens on an interface that is no Ethernet.
///
/// # Errors
/// The frame can't be sent.
pub fn announce(link: &Link, address: IpAddr) -> io::Result<()> {
    let Some(hardware) = &link.hardware else { return Ok(()) };
    let Some(own) = hardware.addr().filter(|_| hardware.hatype() == ETHERNET) else {
        return Ok(());
    };
    let frame = match address {
        IpAddr::V4(v4) => arp(own, v4),
        IpAddr::V6(v6) => advertisement(own, v6),
    };
    send(hardware, &frame)
}

fn send(hardware: &LinkAddr, frame: &[u8]) -> io::Result<()> {
    // No protocol: this socket receives nothing.
    let out = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    sendto(out.as_raw_fd(), frame, hardware, MsgFlags::MSG_DONTWAIT)?;
    Ok(())
}

fn arp(own: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend(BROADCAST);
    frame.extend(own);
    frame.extend(TYPE_ARP);
    // Ethernet, IPv4, lengths of their addresses, request.
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(own);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame.resize(60, 0);
    frame
}

fn advertisement(own: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let everybody = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut body = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    body.extend(address.octets());
    // The option: own hardware address, in one unit of eight bytes.
    body.extend([2, 1]);
    body.extend(own);
    let sum = checksum(address, everybody, &body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = Vec::with_capacity(86);
    frame.extend(ALL_NODES);
    frame.extend(own);
    frame.extend(TYPE_V6);
    // Version 6, length, protocol, and the hop limit that proves a neighbour.
    frame.extend([0x60, 0, 0, 0, 0, ADVERTISEMENT_BYTES, PROTOCOL_ICMP_V6, 255]);
    frame.extend(address.octets());
    frame.extend(everybody.octets());
    frame.extend(body);
    frame
}

/// Checksum of an ICMPv6 message with its pseudo-header.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, body: &[u8]) -> u16 {
    let mut bytes = Vec::with_capacity(40 + body.len());
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend([0, 0, 0, ADVERTISEMENT_BYTES, 0, 0, 0, PROTOCOL_ICMP_V6]);
    bytes.extend(body);
    internet_checksum(&bytes)
}

/// The checksum of RFC 1071.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn an_arp_request_asks_for_its_own_address() {
        let frame = arp(OWN, Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(frame.len(), 60);
        assert_eq!(frame[22..28], OWN);
        assert_eq!(frame[28..32], frame[38..42]);
    }

    #[test]
    fn an_advertisement_has_a_sound_checksum() {
        let own: Ipv6Addr = "fd00::7".parse().unwrap();
        let frame = advertisement(OWN, own);
        assert_eq!(frame.len(), 86);
        let everybody = "ff02::1".parse().unwrap();
        // Over a message that carries its checksum, the sum is zero.
        assert_eq!(checksum(own, everybody, &frame[54..]), 0);
    }
}
