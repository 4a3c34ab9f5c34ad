//! One connection to one server of etcd, for one call.
//! Always: a failure says whether the request may have taken effect, and only a request that was
//! never sent, or that the server refused before it did anything, is said to have had none.
//! Answers are bounded; a dropped connection ends its task.

use super::api::Refusal;
use super::place::{Endpoint, TlsFiles};
use crate::act::arbiter::Trouble;
use crate::act::arbiter::blocking::Blocking;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Most bytes of an answer: four keys, of which one holds a record.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a server's words that are shown to people.
const WORDS_BYTES_MAX: usize = 200;
/// Makes a server without a leader say so at once instead of waiting for one.
const NEEDS_LEADER: (&str, &str) = ("Grpc-Metadata-hasleader", "true");

/// Codes of the gateway, as gRPC numbers them.
const PERMISSION_DENIED: u32 = 7;
const UNAUTHENTICATED: u32 = 16;

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// It had no effect; the token is no longer good.
    Token(Trouble),
    /// It had no effect.
    Before(Trouble),
    /// It may have had its effect, or may yet have it.
    After(Trouble),
}

impl Failed {
    /// For requests whose effect does not matter.
    pub fn trouble(self) -> Trouble {
        match self {
            Failed::Token(trouble) | Failed::Before(trouble) | Failed::After(trouble) => trouble,
        }
    }
}

/// A connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    endpoint: Endpoint,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Dials a server.
    pub async fn open(
        endpoint: &Endpoint,
        tls: Option<Arc<ClientConfig>>,
        blocking: &Blocking,
    ) -> Result<Connection, Trouble> {
        let away = |cause: io::Error| Trouble::Unreachable {
            endpoint: endpoint.to_string(),
            cause: cause.to_string(),
        };
        let addresses = addresses(endpoint, blocking).await?;
        let stream = TcpStream::connect(&addresses[..]).await.map_err(away)?;
        stream.set_nodelay(true).map_err(away)?;
        match tls {
            None => Connection::greet(endpoint, TokioIo::new(stream)).await,
            Some(config) => {
                let refused =
                    |cause: String| Trouble::Tls { endpoint: endpoint.to_string(), cause };
                let name = ServerName::try_from(endpoint.host.clone())
                    .map_err(|cause| refused(cause.to_string()))?;
                let stream = TlsConnector::from(config)
                    .connect(name, stream)
                    .await
                    .map_err(|cause| refused(cause.to_string()))?;
                Connection::greet(endpoint, TokioIo::new(stream)).await
            }
        }
    }

    async fn greet<T>(endpoint: &Endpoint, io: T) -> Result<Connection, Trouble>
    where
        T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let (sender, connection) =
            http1::handshake(io).await.map_err(|cause| broken(endpoint, &cause))?;
        let task = tokio::spawn(async move {
            // Its error is the one that the request gets.
            if let Err(cause) = connection.await {
                tracing::trace!(%cause, "etcd connection ended");
            }
        });
        Ok(Connection { sender, task, endpoint: endpoint.clone() })
    }

    /// Sends one request and waits for the whole answer.
    pub async fn post(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: &serde_json::Value,
    ) -> Result<Bytes, Failed> {
        let mut request = Request::post(path)
            .header(HOST, self.endpoint.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(NEEDS_LEADER.0, NEEDS_LEADER.1);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|cause| Failed::Before(self.answer(&cause.to_string())))?;
        self.sender
            .ready()
            .await
            .map_err(|cause| Failed::Before(broken(&self.endpoint, &cause)))?;
        let response = self.sender.send_request(request).await.map_err(|cause| {
            let trouble = broken(&self.endpoint, &cause);
            // Canceled: not a byte of it left this host.
            if cause.is_canceled() { Failed::Before(trouble) } else { Failed::After(trouble) }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|cause| Failed::After(self.answer(&cause.to_string())))?
            .to_bytes();
        if status == StatusCode::OK { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    /// The answer as what it should be.
    pub fn parse<T: serde::de::DeserializeOwned>(&self, body: &[u8]) -> Result<T, Trouble> {
        serde_json::from_slice(body).map_err(|cause| self.answer(&cause.to_string()))
    }

    fn answer(&self, cause: &str) -> Trouble {
        Trouble::Answer { endpoint: self.endpoint.to_string(), cause: short(cause) }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failed {
        let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let endpoint = self.endpoint.to_string();
        let said = if refusal.message.is_empty() {
            format!("HTTP {status}")
        } else {
            short(&refusal.message)
        };
        let has = |words: &str| refusal.message.contains(words);
        match refusal.code {
            // Said before anything is proposed to the other members.
            _ if has("etcdserver: no leader") => Failed::Before(Trouble::NoLeader { endpoint }),
            UNAUTHENTICATED => Failed::Token(Trouble::Denied { endpoint, cause: said }),
            _ if has("auth store is old") || has("user name is empty") => {
                Failed::Token(Trouble::Denied { endpoint, cause: said })
            }
            PERMISSION_DENIED => Failed::Before(Trouble::Denied { endpoint, cause: said }),
            _ if has("authentication ") => {
                Failed::Before(Trouble::Denied { endpoint, cause: said })
            }
            // A proposal that found no quorum in time may still find one.
            _ if has("request timed out") || has("leader changed") => {
                Failed::After(Trouble::NoLeader { endpoint })
            }
            _ => Failed::After(Trouble::Answer { endpoint, cause: said }),
        }
    }
}

/// Where a server is. Names are looked up by the system, which may take longer than any deadline.
async fn addresses(endpoint: &Endpoint, blocking: &Blocking) -> Result<Vec<SocketAddr>, Trouble> {
    if let Ok(address) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, endpoint.port)]);
    }
    let endpoint = endpoint.clone();
    let look = move || match (endpoint.host.as_str(), endpoint.port).to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(cause) => Err(Trouble::Unreachable {
            endpoint: endpoint.to_string(),
            cause: format!("name not found: {cause}"),
        }),
    };
    blocking.run(look).await
}

fn short(words: &str) -> String {
    let end = words.char_indices().map(|(at, _)| at).find(|at| *at >= WORDS_BYTES_MAX);
    words[..end.unwrap_or(words.len())].to_owned()
}

/// A connection that broke; one that TLS refused is told apart, however late the refusal came.
fn broken(endpoint: &Endpoint, error: &hyper::Error) -> Trouble {
    let (endpoint, mut cause) = (endpoint.to_string(), error.to_string());
    let mut source = error.source();
    while let Some(inner) = source {
        cause = inner.to_string();
        let tls = inner
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .is_some_and(|inner| inner.is::<rustls::Error>());
        if tls {
            return Trouble::Tls { endpoint, cause };
        }
        source = inner.source();
    }
    Trouble::Unreachable { endpoint, cause }
}

/// Reads the certificates. Blocks.
pub(super) fn tls_config(files: &TlsFiles) -> Result<ClientConfig, Trouble> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|cause| crate::act::arbiter::proof::trouble("read", path, &cause))
    };
    let bad = |path: &Path, cause: &dyn std::fmt::Display| Trouble::Io {
        doing: format!("use {}", path.display()),
        cause: cause.to_string(),
    };
    let certificates = |path: &Path| {
        let pem = read(path)?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let all = all.map_err(|cause| bad(path, &cause))?;
        if all.is_empty() { Err(bad(path, &"no certificate in it")) } else { Ok(all) }
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|cause| bad(&files.ca, &cause))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| bad(&files.ca, &cause))?
        .with_root_certificates(roots);
    let Some(identity) = &files.identity else { return Ok(builder.with_no_client_auth()) };
    let key = PrivateKeyDer::from_pem_slice(&read(&identity.key)?)
        .map_err(|cause| bad(&identity.key, &cause))?;
    builder
        .with_client_auth_cert(certificates(&identity.certificate)?, key)
        .map_err(|cause| bad(&identity.certificate, &cause))
}
