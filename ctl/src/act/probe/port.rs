//! TCP connect. The name is resolved within the deadline too; of a resolver that hangs, at most
//! one call per name is out.

use super::spec::Found;
use crate::act::{clock, work};
use lockstep_engine::units::{Span, Tick};
use std::net::{SocketAddr, ToSocketAddrs};
use tokio::net::TcpStream;

pub(super) async fn probe(host: &str, port: u16, deadline: Tick) -> Found {
    let name = (host.to_owned(), port);
    let resolving = move || name.to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>);
    let key = format!("resolve {host}");
    let addresses = match work::run_if_free("resolve", &key, deadline, resolving).await {
        Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
        Ok(Ok(_)) => return Found::Wrong(format!("port: {host} has no address")),
        Ok(Err(cause)) => return Found::Wrong(format!("port: {host} is not resolved: {cause}")),
        Err(work::Unfinished::Late | work::Unfinished::Busy { .. }) => {
            return Found::Wrong(format!("port: {host} is not resolved in time"));
        }
        Err(cause) => return Found::NoAnswer(format!("port: {host} can't be resolved: {cause}")),
    };
    let mut causes = Vec::new();
    for (n, address) in addresses.iter().enumerate() {
        let left = u64::try_from(addresses.len() - n).unwrap_or(1);
        let share = Span(deadline.since(clock::now()).0 / left);
        let until = clock::until(clock::now().after(share));
        match tokio::time::timeout(until, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Found::Fine,
            Ok(Err(cause)) => causes.push(format!("{address}: {cause}")),
            Err(_) => causes.push(format!("{address}: no answer in {} ms", until.as_millis())),
        }
    }
    Found::Wrong(format!("port: {host}: {}", causes.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[tokio::test]
    async fn a_port_that_is_listened_on_is_fine_and_a_closed_one_is_wrong() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let soon = || clock::now().after(Span::millis(5_000));
        assert_eq!(probe("127.0.0.1", port, soon()).await, Found::Fine);
        assert_eq!(probe("localhost", port, soon()).await, Found::Fine);
        drop(listener);
        let found = probe("127.0.0.1", port, soon()).await;
        assert!(matches!(&found, Found::Wrong(cause) if cause.contains("refused")), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_wrong() {
        let until = clock::now().after(Span::millis(5_000));
        let found = probe("no-such-host.invalid", 1, until).await;
        assert!(matches!(&found, Found::Wrong(cause) if cause.contains("resolved")), "{found:?}");
    }
}
