//! The imitation of AWS: one process, started once for a file of tests.
//! Always: it ends when its owner drops it, and by itself when the process of the test is gone.

use super::http;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Region of the tests.
pub const REGION: &str = "eu-central-1";
/// Longest wait for a server that begins.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);
/// Calls that are never checked for permission, so that a world can be built.
const UNCHECKED: &str = "1000000";

/// A running server.
pub struct Moto {
    process: Child,
    port: u16,
    log: File,
}

/// Python of the environment that `scripts/test --aws` makes.
fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("LOCKSTEP_MOTO_PYTHON") {
        return path.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/aws/moto/bin/python")
}

impl Moto {
    /// The server that all tests of this process share; each makes a world of its own in it.
    pub fn shared() -> &'static Moto {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Moto::start)
    }

    /// A server of its own, for tests that change what holds for everybody.
    pub fn start() -> Moto {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let log = tempfile::tempfile().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/aws/serve.py");
        let python = python();
        let process = Command::new(&python)
            .arg(script)
            .arg(port.to_string())
            .env("INITIAL_NO_AUTH_ACTION_COUNT", UNCHECKED)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log.try_clone().unwrap())
            .spawn();
        let process = process.unwrap_or_else(|cause| {
            panic!("{}: {cause}; run scripts/test --aws once", python.display())
        });
        let mut moto = Moto { process, port, log };
        moto.ready();
        moto
    }

    fn ready(&mut self) {
        let begun = Instant::now();
        loop {
            // The first question of a region makes it, which takes seconds.
            let asked = self.try_query("ec2", REGION, "2016-11-15", &[("Action", "DescribeVpcs")]);
            if asked.is_ok_and(|(status, _)| status == 200) {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            let late = begun.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "moto: {ended:?}\n{}", self.log());
            thread::sleep(LOOK);
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The same for a client of AWS.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Asks a service that takes forms; everything but success is a failed test.
    pub fn query(
        &self,
        service: &str,
        region: &str,
        version: &str,
        fields: &[(&str, &str)],
    ) -> String {
        let (status, body) = self.try_query(service, region, version, fields).unwrap();
        assert_eq!(status, 200, "{fields:?}: {body}");
        body
    }

    fn try_query(
        &self,
        service: &str,
        region: &str,
        version: &str,
        fields: &[(&str, &str)],
    ) -> std::io::Result<(u16, String)> {
        let mut body = format!("Version={version}");
        for (name, value) in fields {
            body.push_str(&format!("&{name}={}", escaped(value)));
        }
        let headers = [
            ("Authorization", credential(service, region)),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        http::ask(self.address(), "POST", "/", &headers, &body)
    }

    /// Asks EC2 in the region of the tests.
    pub fn ec2(&self, fields: &[(&str, &str)]) -> String {
        self.query("ec2", REGION, "2016-11-15", fields)
    }

    /// Asks DynamoDB in the region of the tests; the body is JSON.
    pub fn dynamodb(&self, action: &str, body: &str) -> String {
        let target = format!("DynamoDB_20120810.{action}");
        let credential = credential("dynamodb", REGION);
        let headers = [
            ("Authorization", credential.as_str()),
            ("X-Amz-Target", target.as_str()),
            ("Content-Type", "application/x-amz-json-1.0"),
        ];
        let (status, said) = http::ask(self.address(), "POST", "/", &headers, body).unwrap();
        assert_eq!(status, 200, "{action} {body}: {said}");
        said
    }

    /// Speaks to the server itself.
    pub fn control(&self, path: &str, body: &str) {
        let (status, said) = http::ask(self.address(), "POST", path, &[], body).unwrap();
        assert_eq!(status, 200, "{path}: {said}");
    }

    fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(mut log) = self.log.try_clone() {
            let _ = log.seek(SeekFrom::Start(0));
            let _ = log.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Either it has ended already, or it ends now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The part of a signature by which the server tells services and regions apart.
fn credential(service: &str, region: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}

fn escaped(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// What stands in the first element of this name.
pub fn element(xml: &str, name: &str) -> String {
    elements(xml, name).into_iter().next().unwrap_or_else(|| panic!("no {name} in {xml}"))
}

/// What stands in the elements of this name, in order.
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&open).skip(1);
    parts.filter_map(|part| part.split_once(&close).map(|(text, _)| text.to_owned())).collect()
}

/// Bytes as the JSON of DynamoDB has them.
pub fn coded(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap();
            text.push(if digit <= three.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}
