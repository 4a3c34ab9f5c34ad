//! ICMP echo, over IPv4 and IPv6. An unprivileged socket where the kernel allows it, else a raw
//! one. Always: an answer counts only with the random words of this very probe in it.

use super::spec::{Found, Require};
use crate::act::{clock, host};
use lockstep_engine::units::{Span, Tick};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Requests sent within one probe, spread over its time: one that is lost is not an error yet.
const REQUESTS: u32 = 3;
const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;
const REPLY_V4: u8 = 0;
const REPLY_V6: u8 = 129;
/// Type, code, checksum, identifier, sequence.
const HEADER_BYTES: usize = 8;

/// How one target took it.
enum Answer {
    Came,
    Missing(String),
    /// This host could not ask.
    Unasked(String),
}

pub(super) async fn probe(targets: &[IpAddr], require: Require, deadline: Tick) -> Found {
    if targets.is_empty() {
        return Found::NoAnswer("ping: no targets; write at least one".to_owned());
    }
    let mut asked = JoinSet::new();
    for target in targets.iter().copied() {
        asked.spawn(async move { ask(target, deadline).await });
    }
    let (mut missing, mut unasked) = (Vec::new(), Vec::new());
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Answer::Came) if require == Require::Any => return Found::Fine,
            Ok(Answer::Came) => {}
            Ok(Answer::Missing(cause)) => missing.push(cause),
            Ok(Answer::Unasked(cause)) => unasked.push(cause),
            Err(cause) => unasked.push(cause.to_string()),
        }
    }
    missing.sort();
    match (missing.is_empty(), unasked.is_empty()) {
        (true, true) => Found::Fine,
        // One that could not be asked might have been the one that answers.
        (false, true) => Found::Wrong(format!("ping: {}", missing.join("; "))),
        (false, false) if require == Require::All => {
            Found::Wrong(format!("ping: {}", missing.join("; ")))
        }
        (_, false) => Found::NoAnswer(format!("ping: {}", unasked.join("; "))),
    }
}

async fn ask(target: IpAddr, deadline: Tick) -> Answer {
    let (socket, raw) = match open(target) {
        Ok(opened) => opened,
        Err(cause) => {
            let hint = "the daemon needs CAP_NET_RAW, or its group in ping_group_range";
            return Answer::Unasked(format!("{target} can't be asked: {cause}; {hint}"));
        }
    };
    if let Err(cause) = connect(&socket, &SocketAddr::new(target, 0)) {
        return Answer::Missing(format!("{target}: {}", io::Error::from(cause)));
    }
    let Ok(words) = host::nonce() else {
        return Answer::Unasked(format!("{target} can't be asked: no random numbers"));
    };
    let words = words.0.to_le_bytes();
    let total = deadline.since(clock::now());
    let mut trouble = None;
    for sequence in 0..REQUESTS {
        let request = request(target, sequence, &words);
        if let Err(cause) = socket.send(&request).await {
            trouble = Some(cause.to_string());
        }
        let last = sequence + 1 == REQUESTS;
        let share = clock::now().after(Span(total.0 / u64::from(REQUESTS)));
        let until = if last { deadline } else { share.min(deadline) };
        let heard = hear(&socket, target, raw, &words);
        match tokio::time::timeout(clock::until(until), heard).await {
            Ok(Ok(())) => return Answer::Came,
            Ok(Err(cause)) => {
                trouble = Some(cause.to_string());
                // The network said no; a later request may fare better.
                tokio::time::sleep(clock::until(until)).await;
            }
            Err(_) => {}
        }
    }
    let why = trouble.unwrap_or_else(|| format!("no answer in {} ms", total.as_millis()));
    Answer::Missing(format!("{target}: {why}"))
}

/// A socket, and whether it is raw. To tokio it is one of UDP: it sends and receives datagrams.
fn open(target: IpAddr) -> io::Result<(UdpSocket, bool)> {
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match socket_with(family, SocketType::DGRAM, flags, Some(protocol)) {
        Ok(socket) => Ok((UdpSocket::from_std(socket.into())?, false)),
        Err(Errno::ACCESS | Errno::PERM | Errno::PROTONOSUPPORT) => {
            let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
            Ok((UdpSocket::from_std(socket.into())?, true))
        }
        Err(cause) => Err(cause.into()),
    }
}

fn request(target: IpAddr, sequence: u32, words: &[u8; 16]) -> Vec<u8> {
    let kind = if target.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
    let [.., high, low] = sequence.to_be_bytes();
    // Identifier: the kernel puts in its own on an unprivileged socket.
    let mut bytes = vec![kind, 0, 0, 0, words[0], words[1], high, low];
    bytes.extend(words);
    // Over IPv6 the kernel fills in the checksum, which covers addresses that it chooses.
    if target.is_ipv4() {
        let sum = crate::act::resource::internet_checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

async fn hear(socket: &UdpSocket, target: IpAddr, raw: bool, words: &[u8; 16]) -> io::Result<()> {
    let mut bytes = [0; 1500];
    loop {
        let read = socket.recv(&mut bytes).await?;
        // Else it is somebody else's answer, or our own request on the way to ourselves.
        if is_answer(&bytes[..read], target, raw, words) {
            return Ok(());
        }
    }
}

fn is_answer(bytes: &[u8], target: IpAddr, raw: bool, words: &[u8; 16]) -> bool {
    let (reply, skip) = match target {
        IpAddr::V4(_) if raw => (REPLY_V4, usize::from(bytes.first().unwrap_or(&0) & 0xf) * 4),
        IpAddr::V4(_) => (REPLY_V4, 0),
        IpAddr::V6(_) => (REPLY_V6, 0),
    };
    let Some(message) = bytes.get(skip..) else { return false };
    message.first() == Some(&reply) && message.get(HEADER_BYTES..) == Some(words.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reply_with_our_words_is_an_answer() {
        let target: IpAddr = "10.0.0.1".parse().unwrap();
        let words = [7; 16];
        let mut reply = request(target, 1, &words);
        assert!(!is_answer(&reply, target, false, &words), "our own request");
        reply[0] = REPLY_V4;
        assert!(is_answer(&reply, target, false, &words));
        assert!(!is_answer(&reply, target, false, &[8; 16]));
        let mut raw = vec![0x45; 20];
        raw.extend(&reply);
        assert!(is_answer(&raw, target, true, &words));
        assert!(!is_answer(&[], target, true, &words));
    }

    #[tokio::test]
    async fn no_targets_is_no_answer() {
        let found = probe(&[], Require::All, clock::now()).await;
        assert!(matches!(found, Found::NoAnswer(_)), "{found:?}");
    }
}
