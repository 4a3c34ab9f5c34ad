//! How AWS is reached, and the table of the record there. Always: a build without AWS knows the
//! same keys, and says which package has them.

use super::Wrong;
use crate::config::cluster::AwsSpec;
use crate::config::cluster::section::Section;

/// Whether this build has AWS.
pub(super) const HERE: bool = cfg!(feature = "aws");

/// The section `[aws]`; nothing of it has to be there.
pub(super) fn read(root: &Section<'_>) -> AwsSpec {
    let table = root.section("aws");
    if table.is_there() && !HERE {
        root.notes.at_key("aws", Wrong::Aws { word: "aws" });
    }
    let text = |key: &'static str, wanted| table.own(key).text(wanted).map(str::to_owned);
    let region = table.same("region").text("a region such as \"eu-central-1\"").map(str::to_owned);
    let profile = text("profile", "the name of a profile");
    let role = text("role", "an ARN such as \"arn:aws:iam::123456789012:role/lockstep\"");
    let url = |key: &'static str| {
        let wanted = "\"https://HOST\", \"https://HOST:PORT\" or the same with http";
        let value = table.own(key);
        let text = value.text(wanted)?;
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
        let host = host.map(|host| host.trim_end_matches('/'));
        if host.is_some_and(|host| !host.is_empty() && host.chars().all(plain)) {
            return Some(text.trim_end_matches('/').to_owned());
        }
        value.fail(Wrong::Expected { wanted, found: format!("\"{text}\"") });
        None
    };
    let spec = AwsSpec {
        region,
        profile,
        role,
        ec2_endpoint: url("ec2_endpoint"),
        dynamodb_endpoint: url("dynamodb_endpoint"),
        sts_endpoint: url("sts_endpoint"),
        metadata_endpoint: url("metadata_endpoint"),
    };
    table.done();
    spec
}

/// The name of the record's table.
pub(super) fn table(table: &Section<'_>) -> String {
    let value = table.same("table").need("table = \"lockstep\"");
    let wanted = "a name of 3 to 255 letters, digits, `_`, `-` and `.`";
    let Some(text) = value.text(wanted) else { return String::new() };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !(3..=255).contains(&text.len()) || !text.chars().all(plain) {
        value.fail(Wrong::Expected { wanted, found: format!("\"{text}\"") });
    }
    text.to_owned()
}
