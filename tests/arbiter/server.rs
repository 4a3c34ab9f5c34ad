//! Real etcd processes on loopback, each with its own data directory and ports; ended by their ids.

use harness::pair::Process;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// One server.
pub struct Server {
    dir: PathBuf,
    name: String,
    client: u16,
    peer: u16,
    cluster: String,
    options: Vec<String>,
    scheme: &'static str,
    process: Option<Process>,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Servers of one etcd, started. `options` go to each.
pub fn start(dir: &Path, count: usize, options: &[String]) -> Vec<Server> {
    let ports: Vec<_> = (0..count).map(|_| (free_port(), free_port())).collect();
    let name = |at: usize| format!("m{at}");
    let members = ports.iter().enumerate();
    let cluster: Vec<_> =
        members.map(|(at, (_, peer))| format!("{}=http://127.0.0.1:{peer}", name(at))).collect();
    let cluster = cluster.join(",");
    let tls = options.iter().any(|option| option.starts_with("--cert-file"));
    let mut servers: Vec<_> = ports
        .iter()
        .enumerate()
        .map(|(at, (client, peer))| Server {
            dir: dir.to_owned(),
            name: name(at),
            client: *client,
            peer: *peer,
            cluster: cluster.clone(),
            options: options.to_vec(),
            scheme: if tls { "https" } else { "http" },
            process: None,
        })
        .collect();
    servers.iter_mut().for_each(Server::spawn);
    if !tls {
        servers.iter().for_each(Server::ready);
    }
    servers
}

impl Server {
    /// Starts the process.
    pub fn spawn(&mut self) {
        let client = format!("{}://127.0.0.1:{}", self.scheme, self.client);
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let mut command = Command::new("etcd");
        // Nothing of the caller's surroundings configures it.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .args(["--name", &self.name, "--initial-cluster", &self.cluster])
            .arg("--data-dir")
            .arg(self.dir.join(&self.name))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(&self.options);
        self.process = Some(Process::start(command, &self.dir.join(format!("{}.log", self.name))));
    }

    /// Waits until it serves, which needs most servers of its cluster.
    pub fn ready(&self) {
        let begun = Instant::now();
        while !self.post("/v3/kv/range", "{\"key\":\"AA==\"}").contains("cluster_id") {
            assert!(begun.elapsed() < PATIENCE, "{}: {}", self.name, self.log());
            thread::sleep(LOOK);
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stands it still, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let pid = self.process.as_ref().unwrap().pid();
        let name = if frozen { "STOP" } else { "CONT" };
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(sent.unwrap().success(), "no signal {name} to {pid}");
    }

    /// Where its clients dial.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.client).into()
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client)
    }

    /// Whether it says that it leads.
    pub fn leads(&self) -> bool {
        let said = self.post("/v3/maintenance/status", "{}");
        let field = |name: &str| {
            let rest = said.split_once(&format!("\"{name}\":\""))?.1;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        field("leader").is_some_and(|leader| Some(leader) == field("member_id"))
    }

    /// Asks it in the plainest way; an empty text when that fails.
    pub fn post(&self, path: &str, body: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address())?;
            stream.set_read_timeout(Some(Duration::from_secs(8)))?;
            let length = body.len();
            write!(
                stream,
                "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: \
                 {length}\r\n\r\n{body}"
            )?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        };
        ask().unwrap_or_default()
    }

    fn log(&self) -> String {
        let path = self.dir.join(format!("{}.log", self.name));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Keys and values as etcd's JSON wants them.
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
