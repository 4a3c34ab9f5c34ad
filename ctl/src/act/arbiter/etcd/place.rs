//! Which etcd, and how it is reached: what the configuration says, checked as a whole.

use lockstep_engine::units::{ClusterId, GroupId, NodeId};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Most servers of one store.
pub const ENDPOINTS_MAX: usize = 9;

/// Which record is kept where.
#[derive(Clone, Debug)]
pub struct Place {
    /// Servers of one etcd, in the order in which they are tried.
    pub endpoints: Vec<Endpoint>,
    /// In front of every key, such as `/lockstep`.
    pub prefix: String,
    /// A file with `user:password` in one line, when etcd wants them; read at each login. The user
    /// needs to read and write the keys under the prefix.
    pub credentials: Option<PathBuf>,
    /// Certificates, for `https`.
    pub tls: Option<TlsFiles>,
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// Where this node keeps what it has proved, on a disk of its own.
    pub state_dir: PathBuf,
    /// Deadline of each call, over all servers.
    pub deadline: Duration,
}

/// A server: `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Encrypted.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port of its clients.
    pub port: u16,
}

/// Certificates in PEM. They are read again after a connection that was refused for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Who may have signed the server's.
    pub ca: PathBuf,
    /// This node's own, when etcd wants one.
    pub identity: Option<Identity>,
}

/// A certificate of this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The certificate and those between it and the CA.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a text is no endpoint, or a place can't be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlaceError {
    /// Neither `http://` nor `https://`.
    NoScheme { text: String },
    /// No host, no port, or something behind it.
    NoHostAndPort { text: String },
    /// No server at all.
    NoEndpoint,
    /// More servers than an etcd has.
    TooManyEndpoints { count: usize },
    /// `https` without a CA.
    NoCa { endpoint: Endpoint },
    /// A password would travel in clear to another host.
    PasswordInClear { endpoint: Endpoint },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceError::NoScheme { text } => {
                write!(f, "\"{text}\" must begin with http:// or https://")
            }
            PlaceError::NoHostAndPort { text } => {
                write!(f, "\"{text}\" must be like https://etcd1.example:2379")
            }
            PlaceError::NoEndpoint => f.write_str("no endpoint; name at least one server of etcd"),
            PlaceError::TooManyEndpoints { count } => {
                write!(f, "{count} endpoints; name at most {ENDPOINTS_MAX} servers of one etcd")
            }
            PlaceError::NoCa { endpoint } => {
                write!(f, "{endpoint} needs a CA file that has signed its certificate; name it")
            }
            PlaceError::PasswordInClear { endpoint } => {
                write!(f, "{endpoint} would see the password in clear; use https://")
            }
        }
    }
}

impl std::error::Error for PlaceError {}

impl Place {
    /// Checks what the parts mean together.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), PlaceError> {
        let count = self.endpoints.len();
        if count == 0 {
            return Err(PlaceError::NoEndpoint);
        }
        if count > ENDPOINTS_MAX {
            return Err(PlaceError::TooManyEndpoints { count });
        }
        for endpoint in &self.endpoints {
            if endpoint.tls && self.tls.is_none() {
                return Err(PlaceError::NoCa { endpoint: endpoint.clone() });
            }
            if !endpoint.tls && self.credentials.is_some() && !endpoint.is_this_host() {
                return Err(PlaceError::PasswordInClear { endpoint: endpoint.clone() });
            }
        }
        Ok(())
    }
}

impl Endpoint {
    /// Host and port as HTTP writes them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn is_this_host(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl FromStr for Endpoint {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Endpoint, PlaceError> {
        let wrong = || PlaceError::NoHostAndPort { text: text.to_owned() };
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(PlaceError::NoScheme { text: text.to_owned() }),
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let fine = match bracketed {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
                !host.is_empty() && host.chars().all(allowed)
            }
        };
        match port.parse() {
            Ok(port) if fine && port > 0 => Ok(Endpoint { tls, host: host.to_owned(), port }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_shown() {
        for text in ["http://127.0.0.1:2379", "https://etcd-1.example:2379", "https://[::1]:2379"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in [
            "127.0.0.1:2379",
            "http://host",
            "http://:1",
            "http://host:0",
            "http://host:99999",
            "http://host:2379/path",
            "http://user@host:2379",
            "http://::1:2379",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_goes_to_another_host_only_encrypted() {
        let place = |endpoint: &str, ca: bool| Place {
            endpoints: vec![endpoint.parse().unwrap()],
            prefix: "/lockstep".to_owned(),
            credentials: Some(PathBuf::from("p")),
            tls: ca.then(|| TlsFiles { ca: PathBuf::from("ca"), identity: None }),
            cluster: ClusterId(1),
            group: GroupId(1),
            node: NodeId::A,
            state_dir: PathBuf::from("s"),
            deadline: Duration::from_secs(1),
        };
        assert_eq!(place("http://127.0.0.1:1", false).check(), Ok(()));
        assert_eq!(place("https://h:1", true).check(), Ok(()));
        let refused = place("http://h:1", false).check();
        assert!(matches!(refused, Err(PlaceError::PasswordInClear { .. })));
        assert!(matches!(place("https://h:1", false).check(), Err(PlaceError::NoCa { .. })));
    }
}
