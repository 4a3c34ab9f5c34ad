//! The messages of etcd's v3 JSON gateway that are used: keys and values are base64, 64-bit numbers
//! are text, and what is zero or empty is left out of answers.
//! Always: no request asks for a serializable read, so each answer has been through a quorum.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, json};

/// Where ranges of keys are asked for.
pub(super) const RANGE: &str = "/v3/kv/range";
/// Where one key is written.
pub(super) const PUT: &str = "/v3/kv/put";
/// Where a comparison and a write are one.
pub(super) const TXN: &str = "/v3/kv/txn";
/// Where a user and a password become a token.
pub(super) const LOGIN: &str = "/v3/auth/authenticate";
/// Most keys that an answer may hold; a group has four.
const KEYS_MAX: u32 = 16;

fn coded(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}

/// What a key must be for a transaction to write.
pub(super) enum Compare<'a> {
    /// Its last change is this revision; 0 means that it is not there.
    Revision(&'a str, u64),
    /// It has this value.
    Value(&'a str, &'a [u8]),
}

/// Asks for every key that begins with `prefix`.
pub(super) fn range(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    // Prefixes end in `/`, so the last byte can grow.
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    json!({ "key": coded(prefix), "range_end": coded(end), "limit": KEYS_MAX.to_string() })
}

/// Writes a key whatever it is.
pub(super) fn put(key: &str, value: &[u8]) -> Value {
    json!({ "key": coded(key), "value": coded(value) })
}

/// Writes `value` to `key` if all comparisons hold, otherwise tells every key under `prefix`.
pub(super) fn txn(compare: &[Compare<'_>], key: &str, value: &[u8], prefix: &str) -> Value {
    let compare: Vec<Value> = compare
        .iter()
        .map(|compare| match compare {
            Compare::Revision(key, revision) => json!({
                "target": "MOD", "result": "EQUAL", "key": coded(key),
                "mod_revision": revision.to_string(),
            }),
            Compare::Value(key, value) => json!({
                "target": "VALUE", "result": "EQUAL", "key": coded(key), "value": coded(value),
            }),
        })
        .collect();
    json!({
        "compare": compare,
        "success": [{ "request_put": put(key, value) }],
        "failure": [{ "request_range": range(prefix) }],
    })
}

/// Asks for a token.
pub(super) fn login(user: &str, password: &str) -> Value {
    json!({ "name": user, "password": password })
}

/// Head of every answer.
#[derive(Deserialize)]
pub(super) struct Header {
    /// Id of the etcd cluster.
    #[serde(deserialize_with = "number")]
    pub cluster_id: u64,
}

/// A key and its value.
#[derive(Deserialize)]
pub(super) struct Pair {
    #[serde(deserialize_with = "bytes")]
    pub key: Vec<u8>,
    #[serde(default, deserialize_with = "bytes")]
    pub value: Vec<u8>,
    #[serde(deserialize_with = "number")]
    pub mod_revision: u64,
}

/// Answer to a range.
#[derive(Deserialize)]
pub(super) struct Range {
    pub header: Header,
    #[serde(default)]
    pub kvs: Vec<Pair>,
}

/// The range inside a transaction's answer; its header lacks the cluster's id.
#[derive(Deserialize)]
struct InnerRange {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Response {
    response_range: Option<InnerRange>,
}

/// Answer to a transaction.
#[derive(Deserialize)]
pub(super) struct Txn {
    header: Header,
    /// The comparisons held and the write was made.
    #[serde(default)]
    pub succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

impl Txn {
    /// What a transaction whose comparisons failed found instead.
    pub fn found(self) -> Range {
        let found = self.responses.into_iter().find_map(|response| response.response_range);
        Range { header: self.header, kvs: found.map_or_else(Vec::new, |range| range.kvs) }
    }
}

/// Answer to a put: only that it is one.
#[derive(Deserialize)]
pub(super) struct Put {
    #[serde(rename = "header")]
    _header: Header,
}

/// Answer to a login.
#[derive(Deserialize)]
pub(super) struct Token {
    pub token: String,
}

/// What the gateway says when it refuses.
#[derive(Deserialize, Serialize, Default)]
#[serde(default)]
pub(super) struct Refusal {
    pub code: u32,
    pub message: String,
}

fn number<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Plain(u64),
    }
    match Either::deserialize(input)? {
        Either::Text(text) => text.parse().map_err(de::Error::custom),
        Either::Plain(number) => Ok(number),
    }
}

fn bytes<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(input)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_covers_its_prefix_and_nothing_else() {
        let asked = range("/a/");
        assert_eq!(asked["key"], coded("/a/"));
        assert_eq!(asked["range_end"], coded("/a0"), "the byte after `/` is `0`");
        assert!(asked.get("serializable").is_none());
    }

    #[test]
    fn answers_are_read_as_etcd_writes_them() {
        let text = r#"{"header":{"cluster_id":"324952591200643719","revision":"2"},"kvs":[
            {"key":"L2s=","create_revision":"2","mod_revision":"7","version":"1","value":"dg=="},
            {"key":"L2w=","mod_revision":"8"}],"count":"2"}"#;
        let range: Range = serde_json::from_str(text).unwrap();
        assert_eq!(range.header.cluster_id, 324_952_591_200_643_719);
        assert_eq!((&range.kvs[0].value[..], range.kvs[0].mod_revision), (&b"v"[..], 7));
        assert_eq!(range.kvs[1].value, b"", "an empty value is left out");
    }

    #[test]
    fn a_transaction_that_failed_tells_what_is_there() {
        let text = r#"{"header":{"cluster_id":"5"},"responses":[{"response_range":{
            "header":{"revision":"2"},"kvs":[{"key":"L2s=","mod_revision":"2"}]}}]}"#;
        let txn: Txn = serde_json::from_str(text).unwrap();
        assert!(!txn.succeeded);
        let found = txn.found();
        assert_eq!((found.header.cluster_id, found.kvs[0].mod_revision), (5, 2));
    }
}
