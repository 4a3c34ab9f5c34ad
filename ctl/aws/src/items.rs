//! Items that are compared and replaced: one for each record, with its version, its nonce and
//! notes beside it. Always: reads are strongly consistent; a write is one conditional request,
//! which either takes effect whole or leaves the item as it was and shows it.

use crate::error::Error;
use crate::open::Aws;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure,
};
use std::collections::{BTreeMap, HashMap};
use tokio::time::timeout;

/// The attribute that names an item.
pub(crate) const KEY: &str = "id";
const VERSION: &str = "version";
const NONCE: &str = "nonce";
const RECORD: &str = "record";

/// An item as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Version of the record; `None` where there is none, or no number.
    pub version: Option<u64>,
    /// Nonce of the record.
    pub nonce: Option<String>,
    /// The record.
    pub record: Option<Vec<u8>>,
    /// Texts beside it, by name.
    pub notes: BTreeMap<String, String>,
}

/// What a record was like when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Its version.
    pub version: u64,
    /// Its nonce.
    pub nonce: &'a str,
}

/// A record in place of another.
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The record that is there; `None`: there is none.
    pub seen: Option<Seen<'a>>,
    /// A note that has to be there, by name, with this text.
    pub guard: (&'a str, &'a str),
    /// The new record.
    pub next: Seen<'a>,
    /// Its bytes.
    pub record: &'a [u8],
}

/// How a swap ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// It took effect.
    Won,
    /// The item was not as expected; as it is now.
    Lost(Item),
}

impl Aws {
    /// An item; `None` when there is none. Asked once.
    ///
    /// # Errors
    /// The table is not there ([`crate::Kind::TableNotFound`]), or could not be asked.
    pub async fn item(&self, table: &str, id: &str) -> Result<Option<Item>, Error> {
        let asked = self
            .items
            .get_item()
            .table_name(table)
            .key(KEY, AttributeValue::S(id.to_owned()))
            .consistent_read(true);
        let found = self.write("read the item", &object(table, id), asked.send()).await?;
        Ok(found.item().map(item))
    }

    /// Leaves a note in an item, makes the item where it is missing, and gives it as it is then.
    /// With `once` an earlier note of this name stays. Sent once.
    ///
    /// # Errors
    /// The table is not there ([`crate::Kind::TableNotFound`]), or could not be asked.
    pub async fn note(
        &self,
        table: &str,
        id: &str,
        (name, text): (&str, &str),
        once: bool,
    ) -> Result<Item, Error> {
        let mut asked = self
            .update(table, id)
            .update_expression("SET #note = :note")
            .expression_attribute_names("#note", name)
            .expression_attribute_values(":note", AttributeValue::S(text.to_owned()))
            .return_values(ReturnValue::AllNew);
        if once {
            asked = asked.condition_expression("attribute_not_exists(#note)");
        }
        self.send("leave a note in", &object(table, id), asked).await.map(|(_, now)| now)
    }

    /// Puts a record in place of another, if the item is as it was seen. Sent once.
    ///
    /// # Errors
    /// The table is not there; or what became of it is not known ([`Error::outcome_is_unknown`]).
    pub async fn swap(&self, table: &str, id: &str, swap: Swap<'_>) -> Result<Swapped, Error> {
        let number = |version: u64| AttributeValue::N(version.to_string());
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let mut asked = self
            .update(table, id)
            .update_expression("SET #version = :next, #nonce = :nonce, #record = :record")
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_names("#nonce", NONCE)
            .expression_attribute_names("#record", RECORD)
            .expression_attribute_names("#guard", swap.guard.0)
            .expression_attribute_values(":guard", text(swap.guard.1))
            .expression_attribute_values(":next", number(swap.next.version))
            .expression_attribute_values(":nonce", text(swap.next.nonce))
            .expression_attribute_values(":record", AttributeValue::B(Blob::new(swap.record)));
        asked = match swap.seen {
            Some(seen) => asked
                .condition_expression("#guard = :guard AND #version = :seen AND #nonce = :by")
                .expression_attribute_values(":seen", number(seen.version))
                .expression_attribute_values(":by", text(seen.nonce)),
            None => asked.condition_expression(
                "#guard = :guard AND attribute_not_exists(#version) AND \
                 attribute_not_exists(#record)",
            ),
        };
        let (took, now) = self.send("replace the record in", &object(table, id), asked).await?;
        Ok(if took { Swapped::Won } else { Swapped::Lost(now) })
    }

    fn update(&self, table: &str, id: &str) -> UpdateItemFluentBuilder {
        self.items
            .update_item()
            .table_name(table)
            .key(KEY, AttributeValue::S(id.to_owned()))
            .return_values_on_condition_check_failure(OnFailure::AllOld)
    }

    /// Whether the update took effect, and the item: as it is now where that was asked for, or as
    /// it was where the condition did not hold.
    async fn send(
        &self,
        doing: &'static str,
        object: &str,
        asked: UpdateItemFluentBuilder,
    ) -> Result<(bool, Item), Error> {
        let limit = self.deadlines.write;
        match timeout(limit, asked.send()).await {
            Err(_) => Err(Error::late(doing, object, limit)),
            Ok(Ok(done)) => Ok((true, done.attributes().map(item).unwrap_or_default())),
            Ok(Err(error)) => match refused(&error) {
                Some(now) => Ok((false, now)),
                None => Err(Error::of(doing, object, &error)),
            },
        }
    }
}

/// The item that did not fulfil the condition. Without the item in the answer there was none.
fn refused(error: &SdkError<UpdateItemError>) -> Option<Item> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
            Some(failed.item().map(item).unwrap_or_default())
        }
        _ => None,
    }
}

fn object(table: &str, id: &str) -> String {
    format!("{table}/{id}")
}

fn item(attributes: &HashMap<String, AttributeValue>) -> Item {
    let mut item = Item::default();
    for (name, value) in attributes {
        match (name.as_str(), value) {
            (KEY, _) => {}
            (VERSION, AttributeValue::N(text)) => item.version = text.parse().ok(),
            (NONCE, AttributeValue::S(text)) => item.nonce = Some(text.clone()),
            (RECORD, AttributeValue::B(bytes)) => item.record = Some(bytes.as_ref().to_vec()),
            // Of another type it is no record, and all the less a missing one.
            (RECORD, _) => item.record = Some(Vec::new()),
            (VERSION | NONCE, _) => {}
            (name, AttributeValue::S(text)) => {
                item.notes.insert(name.to_owned(), text.clone());
            }
            _ => {}
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_of_another_shape_is_not_a_missing_one() {
        let strange = HashMap::from([
            (KEY.to_owned(), AttributeValue::S("c/g".to_owned())),
            (VERSION.to_owned(), AttributeValue::S("seven".to_owned())),
            (RECORD.to_owned(), AttributeValue::S("text".to_owned())),
            ("pair".to_owned(), AttributeValue::S("1f".to_owned())),
            ("odd".to_owned(), AttributeValue::Bool(true)),
        ]);
        let read = item(&strange);
        assert_eq!(read.record, Some(Vec::new()));
        assert_eq!(read.version, None);
        assert_eq!(read.notes.get("pair").map(String::as_str), Some("1f"));
        assert_eq!(read.notes.len(), 1);
    }
}
