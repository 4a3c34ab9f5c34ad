//! What the TCP door needs from files: token, certificate, key, the authority of clients.
//! Always: a file with a secret that others may read is refused.

use super::gate::{TOKEN_BYTES_MIN, Token};
use super::listen::TcpError;
use crate::config::cluster::{ApiSpec, ApiTls};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// Largest of these files.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn read(path: &Path, secret: bool) -> Result<Vec<u8>, TcpError> {
    let failed = |cause| TcpError::File { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    if secret && mode & 0o077 != 0 {
        return Err(TcpError::Readable { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The token, if one is named.
pub(super) fn token(spec: &ApiSpec) -> Result<Option<Token>, TcpError> {
    let Some(path) = &spec.token_file else { return Ok(None) };
    let bytes = read(path, true)?;
    let token = bytes.trim_ascii();
    let plain = token.iter().all(u8::is_ascii_graphic);
    if token.len() < TOKEN_BYTES_MIN || !plain {
        return Err(TcpError::Token { path: path.clone() });
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|cause| TcpError::Random { cause })?;
    Ok(Token::new(token, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TcpError> {
    let bad = |cause: String| TcpError::Pem { path: path.to_owned(), cause };
    let pem = read(path, false)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|cause| bad(cause.to_string()))?;
    if all.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(all) }
}

/// TLS of the door. A client certificate is asked for when its authority is named, and must be
/// there when there is no token.
pub(super) fn acceptor(tls: &ApiTls, token: bool) -> Result<TlsAcceptor, TcpError> {
    let bad = |path: &Path, cause: String| TcpError::Pem { path: path.to_owned(), cause };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| bad(&tls.cert_file, cause.to_string()))?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|cause| bad(path, cause.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if token { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|cause| bad(path, cause.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key_file, true)?)
        .map_err(|cause| bad(&tls.key_file, cause.to_string()))?;
    let mut config = builder
        .with_single_cert(certificates(&tls.cert_file)?, key)
        .map_err(|cause| bad(&tls.cert_file, cause.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
