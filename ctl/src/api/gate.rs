//! Who may: the unix socket's file says it for itself; over TCP a token or a client certificate.
//! Always: nothing but the bare word of health is told to somebody unknown; a token is compared in
//! constant time; a page of another origin, or a name that leads here by somebody else's DNS, gets
//! nothing done and sees nothing.

use super::control::Refusal;
use super::{VERSION, VERSION_HEADER};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use sha2::Sha256;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shortest token.
pub(super) const TOKEN_BYTES_MIN: usize = 32;

/// A token as this process keeps it: its code under a key that lives as long as the process.
#[derive(Clone)]
pub(super) struct Token {
    key: [u8; 32],
    code: Vec<u8>,
}

impl Token {
    /// Keeps a token.
    pub fn new(token: &[u8], key: [u8; 32]) -> Option<Token> {
        let code = code(&key, token)?.finalize().into_bytes().to_vec();
        Some(Token { key, code })
    }

    /// Whether it is that one: the time tells nothing about it.
    fn is(&self, given: &[u8]) -> bool {
        code(&self.key, given).is_some_and(|code| code.verify_slice(&self.code).is_ok())
    }
}

fn code(key: &[u8], bytes: &[u8]) -> Option<Hmac<Sha256>> {
    let mut code = Hmac::<Sha256>::new_from_slice(key).ok()?;
    code.update(bytes);
    Some(code)
}

/// What a door asks of those who come in.
pub(super) enum Gate {
    /// Whoever may open the file.
    File,
    /// Whoever shows the token, or came with a certificate.
    Known {
        /// The token, if there is one; it may be replaced.
        token: Mutex<Option<Token>>,
        /// Names by which this node may be called, in lower case; addresses always may.
        names: Vec<String>,
    },
}

fn lock(token: &Mutex<Option<Token>>) -> MutexGuard<'_, Option<Token>> {
    // Half a token can't be left behind by a panic.
    token.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// Somebody who may do everything.
    Known,
    /// Somebody.
    Unknown,
}

fn refuse(code: &str, message: impl Into<String>) -> Refusal {
    Refusal { code: code.to_owned(), message: message.into() }
}

impl Gate {
    /// A gate for those who show the token.
    pub fn known(token: Option<Token>, names: Vec<String>) -> Gate {
        Gate::Known { token: Mutex::new(token), names }
    }

    /// Another token counts from now on, on open connections too.
    pub fn renew(&self, renewed: Option<Token>) {
        if let Gate::Known { token, .. } = self {
            *lock(token) = renewed;
        }
    }

    /// Looks at the head of a request; `certified` is a connection with a client certificate.
    pub fn admit(&self, head: &Parts, certified: bool) -> Result<Who, Refusal> {
        version(&head.headers)?;
        if head.uri.scheme().is_some() || head.uri.authority().is_some() {
            return Err(refuse("not-understood", "request: this is no proxy; write a path alone"));
        }
        let changes = head.method != hyper::Method::GET && head.method != hyper::Method::HEAD;
        let host = host(&head.headers);
        if let Gate::Known { names, .. } = self {
            own_name(host.as_ref(), names)?;
        }
        if changes {
            same_origin(&head.headers, host.as_ref())?;
        }
        let known = match self {
            Gate::File => true,
            Gate::Known { token, .. } => {
                let shown = lock(token).as_ref().is_some_and(|token| shows(token, head, changes));
                certified || shown
            }
        };
        Ok(if known { Who::Known } else { Who::Unknown })
    }
}

/// What somebody unknown is told.
pub(super) fn stranger() -> Refusal {
    refuse(
        "not-authenticated",
        "request: it does not show the token of this node; send `Authorization: Bearer TOKEN` \
         (a browser that only looks: any name, and the token as password)",
    )
}

/// A client of another major version does not know what it asks for.
fn version(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(given) = headers.get(VERSION_HEADER) else { return Ok(()) };
    if given.to_str().is_ok_and(|text| text.trim() == VERSION.to_string()) {
        return Ok(());
    }
    let shown: String = String::from_utf8_lossy(given.as_bytes()).chars().take(20).collect();
    Err(other_version(&shown))
}

/// What a client of another major version is told.
pub(super) fn other_version(shown: &str) -> Refusal {
    let message = format!(
        "client: it speaks version {} of the API, the daemon {VERSION}; use the command of the \
         daemon's release ({}), or restart the daemon after an upgrade",
        shown.escape_debug(),
        lockstep_nbd::VERSION
    );
    refuse("version", message)
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    let mut all = headers.get_all(HOST).iter();
    let one = all.next()?.to_str().ok()?.parse().ok()?;
    all.next().is_none().then_some(one)
}

/// Somebody else's name for this address is a way into a browser behind the same wall.
fn own_name(host: Option<&Authority>, names: &[String]) -> Result<(), Refusal> {
    let name = host.map(|host| host.host().to_ascii_lowercase()).unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() || names.contains(&name) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let message = format!(
        "host \"{}\": this node is not called so; use its address, or its name in cluster.toml",
        shown.escape_debug()
    );
    Err(refuse("other-host", message))
}

/// A browser says which page asks; programs say nothing.
fn same_origin(headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Refusal> {
    let origin = headers.get(ORIGIN).map(|origin| {
        let text = origin.to_str().unwrap_or_default();
        text.split_once("://").and_then(|(_, rest)| rest.parse::<Authority>().ok())
    });
    let own = origin.is_none_or(|origin| origin.is_some() && origin.as_ref() == host);
    let site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    if own && site {
        return Ok(());
    }
    Err(refuse("other-origin", "request: it comes from a page of another site; nothing was done"))
}

/// Whether the token is shown. A password that a browser sends by itself is good for looking only.
fn shows(token: &Token, head: &Parts, changes: bool) -> bool {
    let Some(given) = head.headers.get(AUTHORIZATION).and_then(|given| given.to_str().ok()) else {
        return false;
    };
    let Some((scheme, rest)) = given.split_once(' ') else { return false };
    if scheme.eq_ignore_ascii_case("bearer") {
        return token.is(rest.trim().as_bytes());
    }
    let basic = scheme.eq_ignore_ascii_case("basic") && !changes;
    let pair = basic.then(|| STANDARD.decode(rest.trim()).ok()).flatten().unwrap_or_default();
    let password = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[colon + 1..]);
    password.is_some_and(|password| token.is(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn gate() -> Gate {
        let token = Token::new(TOKEN.as_bytes(), [7; 32]);
        Gate::known(token, vec!["node-1".to_owned()])
    }

    fn admit(method: &str, headers: &[(&str, &str)]) -> Result<Who, String> {
        let mut request = hyper::Request::builder().method(method).uri("/v1/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        gate().admit(&head, false).map_err(|refusal| refusal.code)
    }

    #[test]
    fn only_the_token_makes_known() {
        let host = ("host", "10.0.0.1:7791");
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(admit("GET", &[host]), Ok(Who::Unknown));
        assert_eq!(admit("GET", &[host, ("authorization", &bearer)]), Ok(Who::Known));
        assert_eq!(admit("POST", &[host, ("authorization", &bearer)]), Ok(Who::Known));
        for wrong in ["", "Bearer", "Bearer ", &bearer[..30], &format!("{bearer}x"), "Basic !"] {
            assert_eq!(admit("GET", &[host, ("authorization", wrong)]), Ok(Who::Unknown));
        }
    }

    #[test]
    fn a_browsers_password_is_good_for_looking_only() {
        let host = ("host", "[::1]:7791");
        let basic = format!("Basic {}", STANDARD.encode(format!("me:{TOKEN}")));
        assert_eq!(admit("GET", &[host, ("authorization", &basic)]), Ok(Who::Known));
        assert_eq!(admit("POST", &[host, ("authorization", &basic)]), Ok(Who::Unknown));
    }

    #[test]
    fn other_names_origins_and_versions_are_refused() {
        let host = ("host", "Node-1:7791");
        assert_eq!(admit("GET", &[host]), Ok(Who::Unknown));
        for other in ["evil.example", "localhost.evil.example:7791", ""] {
            assert_eq!(admit("GET", &[("host", other)]), Err("other-host".into()));
        }
        assert_eq!(admit("GET", &[]), Err("other-host".into()));
        assert_eq!(admit("GET", &[host, host]), Err("other-host".into()));
        let origin = |text| admit("POST", &[host, ("origin", text)]);
        assert_eq!(origin("http://node-1:7791"), Ok(Who::Unknown));
        for other in ["http://evil.example", "http://node-1:80", "null", ""] {
            assert_eq!(origin(other), Err("other-origin".into()));
        }
        let site = admit("POST", &[host, ("sec-fetch-site", "cross-site")]);
        assert_eq!(site, Err("other-origin".into()));
        assert_eq!(admit("GET", &[host, ("lockstep-api", "2")]), Err("version".into()));
        assert_eq!(admit("GET", &[host, ("lockstep-api", "1")]), Ok(Who::Unknown));
    }
}
