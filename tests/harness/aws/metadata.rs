//! The metadata of an instance, as IMDSv2 gives them: nothing without a token.

use super::http::{self, Request};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread;

const TOKEN: &str = "test-token";

/// A network interface of the instance.
#[derive(Clone, Debug)]
pub struct Card {
    pub mac: String,
    pub eni: String,
    pub vpc: String,
    pub addresses: Vec<String>,
}

/// What the instance is told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub instance: String,
    pub region: String,
    pub zone: String,
    pub cards: Vec<Card>,
    /// Access key id and secret of its role.
    pub role: Option<(String, String)>,
}

/// The server; it lasts as long as the process.
#[derive(Clone)]
pub struct Metadata {
    port: u16,
    told: Arc<Mutex<Told>>,
    tokens: Arc<Mutex<u32>>,
}

impl Metadata {
    /// A server that tells this.
    pub fn open(told: Told) -> Metadata {
        Metadata::open_in(None, 0, told)
    }

    /// The same on a port of the loopback of a network namespace.
    pub fn open_in(space: Option<&str>, port: u16, told: Told) -> Metadata {
        let listener = http::listen(space, port);
        let port = listener.local_addr().unwrap().port();
        let metadata = Metadata { port, told: Arc::new(Mutex::new(told)), tokens: Arc::default() };
        let serving = metadata.clone();
        // Ends with the process, like every test.
        thread::spawn(move || {
            for mut near in listener.incoming().flatten() {
                let metadata = serving.clone();
                thread::spawn(move || {
                    if let Ok(Some(request)) = http::request(&mut near) {
                        let _ = near.write_all(&metadata.answer(&request));
                    }
                });
            }
        });
        metadata
    }

    /// Where a client of AWS finds it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many tokens were asked for.
    pub fn tokens(&self) -> u32 {
        *self.tokens.lock().unwrap()
    }

    fn answer(&self, request: &Request) -> Vec<u8> {
        let ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds");
        if request.method == "PUT" && request.path == "/latest/api/token" {
            let Some(ttl) = ttl else { return http::answer(400, "text/plain", &[], "no ttl") };
            *self.tokens.lock().unwrap() += 1;
            let told = [("x-aws-ec2-metadata-token-ttl-seconds", ttl)];
            return http::answer(200, "text/plain", &told, TOKEN);
        }
        if request.header("x-aws-ec2-metadata-token") != Some(TOKEN) {
            return http::answer(401, "text/html", &[], "no token");
        }
        let found = request.path.strip_prefix("/latest/meta-data/").and_then(|at| self.find(at));
        match found {
            Some(text) => http::answer(200, "text/plain", &[], &text),
            None => http::answer(404, "text/html", &[], "not here"),
        }
    }

    fn find(&self, at: &str) -> Option<String> {
        let told = self.told.lock().unwrap();
        match at.trim_end_matches('/') {
            "instance-id" => Some(told.instance.clone()),
            "placement/region" => Some(told.region.clone()),
            "placement/availability-zone" => Some(told.zone.clone()),
            "network/interfaces/macs" => {
                let macs = told.cards.iter().map(|card| format!("{}/", card.mac));
                Some(macs.collect::<Vec<_>>().join("\n"))
            }
            "iam/security-credentials" => told.role.as_ref().map(|_| "test-role".to_owned()),
            "iam/security-credentials/test-role" => {
                let (id, secret) = told.role.as_ref()?;
                Some(format!(
                    "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"{id}\",\
                     \"SecretAccessKey\":\"{secret}\",\"Token\":\"test\",\"LastUpdated\":\
                     \"2026-01-01T00:00:00Z\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}"
                ))
            }
            path => {
                let (mac, what) = path.strip_prefix("network/interfaces/macs/")?.split_once('/')?;
                let card = told.cards.iter().find(|card| card.mac == mac)?;
                match what {
                    "interface-id" => Some(card.eni.clone()),
                    "vpc-id" => Some(card.vpc.clone()),
                    "local-ipv4s" => Some(card.addresses.join("\n")),
                    _ => None,
                }
            }
        }
    }
}
