//! Why an etcd gives no answer, each told apart; and that it answers with login and TLS.

use crate::etcd::{EtcdLab, place};
use crate::lab::{AMPLE, Lab, proved};
use crate::server::{self, Server, coded};
use crate::valve::{Next, Valve};
use crate::words::{PROOF_A, PROOF_B, alone, heard, record};
use lockstep_ctl::act::arbiter::etcd::{Etcd, Identity, Place, TlsFiles};
use lockstep_ctl::act::arbiter::{Arbiter, Trouble};
use lockstep_ctl::decide::event::{ReadResult, SwapResult};
use lockstep_engine::units::{NodeId, Nonce, Version};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A handle of node a that hears its peer.
fn handle(place: Place) -> Etcd {
    let store = Etcd::new(place, Nonce(PROOF_A)).unwrap();
    store.tell(heard(PROOF_B));
    store
}

/// Proves the store for a node b with the same endpoints, so that node a may believe it.
async fn prove(place: &Place) {
    let peer = Place { node: NodeId::B, state_dir: place.state_dir.join("b"), ..place.clone() };
    let peer = Etcd::new(peer, Nonce(PROOF_B)).unwrap();
    peer.tell(heard(PROOF_A));
    assert_eq!(peer.read().await, ReadResult::Failed, "node a has left no proof yet");
    assert!(
        matches!(peer.health().trouble, Some(Trouble::Different { .. })),
        "{:?}",
        peer.health().trouble
    );
}

async fn trouble(store: &Etcd) -> Trouble {
    let begun = Instant::now();
    assert_eq!(store.read().await, ReadResult::Failed);
    assert_eq!(store.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Unknown);
    assert!(begun.elapsed() < 2 * AMPLE);
    let trouble = store.health().trouble.unwrap();
    assert!(trouble.to_string().contains(';'), "a next move: {trouble}");
    trouble
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = "http://127.0.0.1:1".to_owned();
    let store = handle(place(dir.path(), NodeId::A, std::slice::from_ref(&nowhere), AMPLE));
    let told = trouble(&store).await;
    assert!(matches!(told, Trouble::Unreachable { endpoint, .. } if endpoint == nowhere));
}

#[tokio::test]
async fn the_next_server_is_tried_within_the_deadline() {
    let lab = EtcdLab::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let frozen = format!("http://{}", silent.local_addr().unwrap());
    let endpoints = ["http://127.0.0.1:1".to_owned(), frozen, lab.server.endpoint()];
    let place = place(lab.state(), NodeId::A, &endpoints, Duration::from_secs(2));
    prove(&place).await;
    let store = handle(place);
    assert_eq!(store.read().await, ReadResult::Absent, "{:?}", store.health());
    let begun = Instant::now();
    assert_eq!(store.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    assert!(begun.elapsed() < Duration::from_millis(700), "the good one comes first now");
}

#[tokio::test]
async fn a_write_of_unknown_outcome_is_looked_for_at_another_server_and_never_sent_there() {
    let lab = EtcdLab::new();
    let (_, b) = proved(&lab).await;
    let (first, port) = Valve::open(lab.server.address());
    let (second, other_port) = Valve::open(lab.server.address());
    let endpoints = [port, other_port].map(|port| format!("http://127.0.0.1:{port}"));
    let store = handle(place(lab.state(), NodeId::A, &endpoints, Duration::from_secs(2)));

    assert_eq!(store.read().await, ReadResult::Absent);
    let before = (first.transactions(), second.transactions());
    first.set(Next::Swallow);
    assert_eq!(store.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won, "found there");
    assert_eq!((first.transactions(), second.transactions()), (before.0 + 1, before.1));

    // The server that answered last comes first.
    second.set(Next::Hold);
    let late = record(2, NodeId::A, 2);
    assert_eq!(store.swap(Some(Version(1)), late.clone()).await, SwapResult::Unknown);
    assert_eq!((first.transactions(), second.transactions()), (before.0 + 1, before.1 + 1));
    second.set(Next::Released);
    second.wait(Next::Pass);
    assert_eq!(b.read().await, ReadResult::Found(late), "it landed once");
}

#[tokio::test]
async fn what_is_no_etcd_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let page = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone";
            std::io::Write::write_all(&mut stream, page.as_bytes()).unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        }
    });
    let store = handle(place(dir.path(), NodeId::A, &[endpoint], AMPLE));
    let told = trouble(&store).await;
    // The page may come before the request has left.
    assert!(matches!(told, Trouble::Answer { .. } | Trouble::Unreachable { .. }), "{told:?}");
}

#[tokio::test]
async fn another_etcd_is_told_apart_while_the_peer_is_away() {
    let (one, two) = (EtcdLab::new(), EtcdLab::new());
    let (a, _b) = proved(&one).await;
    assert_eq!(a.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    let moved = two.handle_with(one.state(), NodeId::A, 104, AMPLE);
    moved.tell(alone(1));
    assert_eq!(moved.read().await, ReadResult::Failed);
    let told = moved.health().trouble;
    assert!(matches!(told, Some(Trouble::OtherStore { .. })), "{told:?}");

    // One wrong server among the right ones is passed over.
    let both = [two.server.endpoint(), one.server.endpoint()];
    let mixed = Etcd::new(place(one.state(), NodeId::A, &both, AMPLE), Nonce(105)).unwrap();
    mixed.tell(alone(1));
    assert_eq!(mixed.read().await, ReadResult::Found(record(1, NodeId::A, 1)));
    let swapped = mixed.swap(Some(Version(1)), record(2, NodeId::A, 2)).await;
    assert_eq!(swapped, SwapResult::Won, "{:?}", mixed.health());
}

/// Turns logins on: `root`, and `node` with the password `secret` for the keys under /lockstep/.
fn with_users(server: &Server) {
    let (from, to) = (coded(b"/lockstep/"), coded(b"/lockstep0"));
    let grant = format!(
        "{{\"name\":\"keys\",\"perm\":{{\"permType\":\"READWRITE\",\"key\":\"{from}\",\
         \"range_end\":\"{to}\"}}}}"
    );
    for (path, body) in [
        ("user/add", "{\"name\":\"root\",\"password\":\"r\"}"),
        ("user/grant", "{\"user\":\"root\",\"role\":\"root\"}"),
        ("user/add", "{\"name\":\"node\",\"password\":\"secret\"}"),
        ("user/add", "{\"name\":\"guest\",\"password\":\"secret\"}"),
        ("role/add", "{\"name\":\"keys\"}"),
        ("role/grant", &grant),
        ("user/grant", "{\"user\":\"node\",\"role\":\"keys\"}"),
        ("auth/enable", "{}"),
    ] {
        let path = if path == "auth/enable" {
            "/v3/auth/enable".to_owned()
        } else {
            format!("/v3/auth/{path}")
        };
        let said = server.post(&path, body);
        // Older servers know the role root only once logins are on.
        assert!(said.contains("200 OK") || body.contains("\"role\":\"root\""), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_user_is_let_in_or_told_why_not() {
    let dir = tempfile::tempdir().unwrap();
    // Tokens that end while the test runs.
    let options = ["--auth-token-ttl".to_owned(), "1".to_owned()];
    let server = server::start(dir.path(), 1, &options).remove(0);
    let plain = place(dir.path(), NodeId::A, &[server.endpoint()], AMPLE);
    with_users(&server);
    let login = |user: &str| {
        let file = dir.path().join(format!("credentials-{user}"));
        fs::write(&file, format!("{user}:secret\n")).unwrap();
        Some(file)
    };

    let told = trouble(&handle(plain.clone())).await;
    assert!(matches!(told, Trouble::Denied { .. }), "no login: {told:?}");
    let told = trouble(&handle(Place { credentials: login("nobody"), ..plain.clone() })).await;
    assert!(matches!(told, Trouble::Denied { .. }), "unknown user: {told:?}");
    let told = trouble(&handle(Place { credentials: login("guest"), ..plain.clone() })).await;
    assert!(matches!(told, Trouble::Denied { .. }), "no right on the keys: {told:?}");

    let node = Place { credentials: login("node"), ..plain };
    prove(&node).await;
    let store = handle(node);
    assert_eq!(store.read().await, ReadResult::Absent, "{:?}", store.health());
    assert_eq!(store.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);
    // The token ends; a new one is fetched without a failure.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let swapped = store.swap(Some(Version(1)), record(2, NodeId::A, 2)).await;
    assert_eq!(swapped, SwapResult::Won, "{:?}", store.health());
}

/// A CA, and certificates that it signed, made by openssl.
fn certificates(dir: &Path) {
    let script = "set -e
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -days 2 -subj /CN=ca -out ca.crt
        printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
        for name in server node; do
            openssl ecparam -name prime256v1 -genkey -noout -out $name.key
            openssl req -new -key $name.key -subj /CN=$name -out $name.csr
            openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                -extfile ext -out $name.crt
        done
        openssl ecparam -name prime256v1 -genkey -noout -out other.key
        openssl req -x509 -new -key other.key -days 2 -subj /CN=other -out other.crt";
    let made = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn tls_is_spoken_with_certificates_on_both_sides_and_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let file = |name: &str| dir.path().join(name);
    let option = |name: &str, path: &str| format!("--{name}={}", file(path).display());
    let options = [
        option("cert-file", "server.crt"),
        option("key-file", "server.key"),
        option("trusted-ca-file", "ca.crt"),
        "--client-cert-auth".to_owned(),
    ];
    let server = server::start(dir.path(), 1, &options).remove(0);
    let identity = Some(Identity { certificate: file("node.crt"), key: file("node.key") });
    let good = TlsFiles { ca: file("ca.crt"), identity };
    let plain = place(dir.path(), NodeId::A, &[server.endpoint()], AMPLE);
    let with = |tls: TlsFiles| Place { tls: Some(tls), ..plain.clone() };

    let place = with(good.clone());
    let store = handle(place.clone());
    let begun = Instant::now();
    while !matches!(store.health().trouble, Some(Trouble::Different { .. })) {
        assert!(begun.elapsed() < 2 * AMPLE, "{:?}", store.health());
        assert_eq!(store.read().await, ReadResult::Failed, "node b has left no proof yet");
    }
    let peer = Place { node: NodeId::B, state_dir: file("b"), ..place };
    let peer = Etcd::new(peer, Nonce(PROOF_B)).unwrap();
    peer.tell(heard(PROOF_A));
    assert_eq!(peer.read().await, ReadResult::Absent);
    assert_eq!(store.swap(None, record(1, NodeId::A, 1)).await, SwapResult::Won);

    let told = trouble(&handle(with(TlsFiles { ca: file("other.crt"), ..good.clone() }))).await;
    assert!(matches!(told, Trouble::Tls { .. }), "a CA that did not sign it: {told:?}");
    let told = trouble(&handle(with(TlsFiles { identity: None, ..good.clone() }))).await;
    assert!(matches!(told, Trouble::Tls { .. }), "no certificate of the own: {told:?}");
    let told = trouble(&handle(with(TlsFiles { ca: file("none.crt"), ..good }))).await;
    assert!(matches!(told, Trouble::Io { .. }), "no such file: {told:?}");
}
