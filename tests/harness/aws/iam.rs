//! Users with one policy, and a server that obeys it.

use super::moto::{Moto, element};

const VERSION: &str = "2010-05-08";

/// A user who may do what `policy` (JSON) allows; gives access key id and secret.
pub fn user(moto: &Moto, name: &str, policy: &str) -> (String, String) {
    let ask = |fields: &[(&str, &str)]| moto.query("iam", "us-east-1", VERSION, fields);
    ask(&[("Action", "CreateUser"), ("UserName", name)]);
    ask(&[
        ("Action", "PutUserPolicy"),
        ("UserName", name),
        ("PolicyName", "own"),
        ("PolicyDocument", policy),
    ]);
    let made = ask(&[("Action", "CreateAccessKey"), ("UserName", name)]);
    (element(&made, "AccessKeyId"), element(&made, "SecretAccessKey"))
}

/// A policy that allows these actions on everything.
pub fn allowing(actions: &[&str]) -> String {
    let listed: Vec<String> = actions.iter().map(|action| format!("\"{action}\"")).collect();
    format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Action\":[{}],\
         \"Resource\":\"*\"}}]}}",
        listed.join(",")
    )
}

/// From now on every call needs the permission of its user.
pub fn enforce(moto: &Moto) {
    moto.control("/moto-api/reset-auth", "0");
}
