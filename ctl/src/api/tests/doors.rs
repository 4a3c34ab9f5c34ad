//! The doors: whose they are, what files they need, TLS and client certificates.

use super::lab::{Lab, TOKEN, split, text};
use crate::api::{Api, ListenError, Opening, TcpError};
use crate::config::cluster::{ApiSpec, ApiTls};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

fn open(dir: &Path, tcp: Option<&ApiSpec>) -> Result<Api, ListenError> {
    let socket = dir.join("daemon.sock");
    Api::open(&Opening { run_dir: dir, socket: &socket, tcp, names: Vec::new() })
}

#[test]
fn a_second_daemon_is_refused_and_a_left_over_socket_is_not_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), None).unwrap();
    assert!(matches!(open(dir.path(), None), Err(ListenError::Taken { .. })));
    drop(first);
    assert!(dir.path().join("daemon.sock").exists());
    assert!(open(dir.path(), None).is_ok());
}

#[test]
fn the_socket_is_for_this_user_only() {
    let dir = tempfile::tempdir().unwrap();
    let _api = open(dir.path(), None).unwrap();
    let mode = std::fs::metadata(dir.path().join("daemon.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_door_without_a_lock_is_not_opened_and_the_socket_is() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let outside: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let spec = |listen, token: Option<&PathBuf>| ApiSpec {
        listen,
        peer: listen,
        token_file: token.cloned(),
        tls: None,
    };
    let trouble = |spec: &ApiSpec| {
        let api = open(dir.path(), Some(spec)).unwrap();
        assert!(api.tcp_address().is_none());
        format!("{}", api.trouble().unwrap())
    };
    assert!(trouble(&spec(listen, Some(&token))).contains("No such file"));
    write(&token, TOKEN, 0o640);
    assert!(trouble(&spec(listen, Some(&token))).contains("others may read it (mode 640)"));
    write(&token, "short", 0o600);
    assert!(trouble(&spec(listen, Some(&token))).contains("openssl rand"));
    write(&token, TOKEN, 0o600);
    assert!(trouble(&spec(listen, None)).contains("nobody would have to say who they are"));
    assert!(trouble(&spec(outside, Some(&token))).contains("in the clear"));
    let api = open(dir.path(), Some(&spec(listen, Some(&token)))).unwrap();
    let taken = spec(api.tcp_address().unwrap(), Some(&token));
    let other = tempfile::tempdir().unwrap();
    let second = open(other.path(), Some(&taken)).unwrap();
    assert!(matches!(second.trouble(), Some(TcpError::Bind { .. })));
}

/// An authority with certificates of its own making; gives the directory.
struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    fn found() -> Authority {
        let authority = Authority { dir: tempfile::tempdir().unwrap() };
        let args = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                    -subj /CN=authority -keyout ca.key -out ca.pem";
        authority.openssl(args);
        authority
    }

    fn openssl(&self, args: &str) {
        let made = Command::new("openssl")
            .args(args.split_whitespace())
            .current_dir(self.dir.path())
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn issue(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
             -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
             -CA ca.pem -CAkey ca.key -keyout {name}.key -out {name}.pem"
        ));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn certificates(&self, name: &str) -> Vec<CertificateDer<'static>> {
        let pem = std::fs::read(self.file(name)).unwrap();
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap()
    }

    /// Asks a door with TLS, perhaps as somebody; nothing when it was not let in.
    fn ask(&self, door: SocketAddr, who: Option<&str>, headers: &str) -> Option<(u16, String)> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates("ca.pem") {
            roots.add(certificate).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match who {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = std::fs::read(self.file(&format!("{name}.key"))).unwrap();
                let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
                let own = self.certificates(&format!("{name}.pem"));
                builder.with_client_auth_cert(own, key).unwrap()
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(door).await.unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let mut stream =
                TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
            let request = format!(
                "GET /v1/cluster HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}\r\n"
            );
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.ok()?;
            Some(split(&String::from_utf8_lossy(&bytes)))
        })
    }
}

#[test]
fn a_certificate_opens_what_a_token_opens() {
    let (own, foreign) = (Authority::found(), Authority::found());
    own.issue("node");
    own.issue("operator");
    foreign.issue("stranger");
    for name in ["stranger.key", "stranger.pem"] {
        std::fs::copy(foreign.file(name), own.file(name)).unwrap();
    }
    let files = |ca: bool| {
        Some(ApiTls {
            cert_file: own.file("node.pem"),
            key_file: own.file("node.key"),
            client_ca_file: ca.then(|| own.file("ca.pem")),
        })
    };
    let with_certificates = Lab::open_with(files(true));
    let door = with_certificates.tcp.unwrap();
    assert_eq!(own.ask(door, Some("operator"), "").unwrap().0, 200);
    assert_eq!(own.ask(door, None, ""), None);
    assert_eq!(own.ask(door, Some("stranger"), ""), None);
    // In the clear, the answer is one of TLS.
    let clear = with_certificates.raw(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    assert!(!clear.contains("HTTP"), "{clear}");
    let with_token = Lab::open_with(files(false));
    let door = with_token.tcp.unwrap();
    assert_eq!(own.ask(door, None, "").unwrap().0, 401);
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(own.ask(door, None, &bearer).unwrap().0, 200);
}

#[test]
fn a_key_that_others_may_read_opens_no_door() {
    let own = Authority::found();
    own.issue("node");
    std::fs::set_permissions(own.file("node.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let tls = ApiTls {
        cert_file: own.file("node.pem"),
        key_file: own.file("node.key"),
        client_ca_file: None,
    };
    let lab = Lab::open_with(Some(tls));
    assert_eq!(lab.tcp, None);
    assert_eq!(lab.ask_unix("GET /v1/cluster").0, 200);
}

/// Waits until the loop was told of so many changes; gives the last one.
fn told(lab: &Lab, changes: usize) -> String {
    let began = Instant::now();
    loop {
        let all = lab.renewals.lock().unwrap().clone();
        if all.len() >= changes {
            assert_eq!(all.len(), changes, "{all:?}");
            return all[changes - 1].clone();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{all:?}");
        std::thread::yield_now();
    }
}

#[test]
fn another_token_counts_from_the_next_connection_and_a_bad_one_never() {
    let lab = Lab::open();
    let file = lab.dir.path().join("token");
    let new = "fedcba9876543210fedcba9876543210";
    let status = |token: &str| {
        let head = format!(
            "GET /v1/cluster HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\n\r\n"
        );
        split(&lab.raw(head.as_bytes())).0
    };
    assert_eq!((status(TOKEN), status(new)), (200, 401));
    // Open before the change: what it shows is judged when it asks.
    let mut open = lab.dial();
    write(&file, new, 0o600);
    assert_eq!((status(new), status(TOKEN)), (200, 401));
    assert_eq!(told(&lab, 1), "Taken");
    let old = format!(
        "GET /v1/cluster HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
         authorization: Bearer {TOKEN}\r\n\r\n"
    );
    open.write_all(old.as_bytes()).unwrap();
    assert_eq!(split(&text(&mut open)).0, 401);
    for (changes, spoil) in [(2, "short"), (3, "gone"), (4, "rights")] {
        match spoil {
            "short" => write(&file, "short", 0o600),
            "gone" => std::fs::remove_file(&file).unwrap(),
            _ => write(&file, TOKEN, 0o644),
        }
        assert_eq!((status(new), status(TOKEN)), (200, 401), "{spoil}");
        assert!(told(&lab, changes).starts_with("Kept"), "{spoil}");
    }
    write(&file, TOKEN, 0o600);
    assert_eq!((status(TOKEN), status(new)), (200, 401));
    assert_eq!(told(&lab, 5), "Taken");
}

#[test]
fn another_certificate_is_shown_once_its_key_is_there_too() {
    let own = Authority::found();
    own.issue("node");
    let tls = ApiTls {
        cert_file: own.file("node.pem"),
        key_file: own.file("node.key"),
        client_ca_file: None,
    };
    let lab = Lab::open_with(Some(tls));
    let door = lab.tcp.unwrap();
    // Trusts the new one alone, so that it tells which one is shown.
    let other = Authority::found();
    other.issue("node");
    let ask = |authority: &Authority| authority.ask(door, None, "").map(|answer| answer.0);
    assert_eq!((ask(&own), ask(&other)), (Some(401), None));
    std::fs::copy(other.file("node.pem"), own.file("node.pem")).unwrap();
    assert_eq!((ask(&own), ask(&other)), (Some(401), None), "a certificate without its key");
    assert!(told(&lab, 1).starts_with("Kept"));
    std::fs::copy(other.file("node.key"), own.file("node.key")).unwrap();
    assert_eq!((ask(&own), ask(&other)), (None, Some(401)));
    assert_eq!(told(&lab, 2), "Taken");
}
