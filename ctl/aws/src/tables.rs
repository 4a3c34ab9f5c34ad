//! The table of items: made once, by an administrator.

use crate::error::{Error, Kind};
use crate::items::KEY;
use crate::open::Aws;
use aws_sdk_dynamodb::types;

/// A table of items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// How it is.
    pub state: TableState,
    /// Its key is the one that items have here.
    pub fits: bool,
    /// Other regions hold copies of it that lag behind: no place for a record that is compared.
    pub lags: bool,
    /// It can't be deleted without lifting that first.
    pub protected: bool,
}

/// How a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableState {
    /// It can be used.
    Active,
    /// It is being made.
    Creating,
    /// In AWS's own word.
    Other(String),
}

impl Aws {
    /// Begins to make a table, paid by request and protected from deletion. Sent once.
    ///
    /// # Errors
    /// It is there already ([`crate::Conflict::Exists`]), or could not be made.
    pub async fn create_table(&self, name: &str) -> Result<(), Error> {
        let doing = "make the table";
        let wrong = |cause| Error::unsent(Kind::Other, doing, name, cause);
        let key = types::KeySchemaElement::builder()
            .attribute_name(KEY)
            .key_type(types::KeyType::Hash)
            .build()
            .map_err(wrong)?;
        let text = types::AttributeDefinition::builder()
            .attribute_name(KEY)
            .attribute_type(types::ScalarAttributeType::S)
            .build()
            .map_err(wrong)?;
        let asked = self
            .items
            .create_table()
            .table_name(name)
            .attribute_definitions(text)
            .key_schema(key)
            .billing_mode(types::BillingMode::PayPerRequest)
            .deletion_protection_enabled(true);
        self.write(doing, name, asked.send()).await.map(drop)
    }

    /// A table.
    ///
    /// # Errors
    /// It is not there ([`Kind::TableNotFound`]), or could not be asked for.
    pub async fn table(&self, name: &str) -> Result<Table, Error> {
        let doing = "look at the table";
        let asked = self.items.describe_table().table_name(name);
        let found = self.read(doing, name, asked.send()).await?;
        let Some(table) = found.table() else {
            return Err(Error::missing(Kind::TableNotFound, doing, name, "it is not there"));
        };
        let state = match table.table_status() {
            Some(types::TableStatus::Active | types::TableStatus::Updating) => TableState::Active,
            Some(types::TableStatus::Creating) => TableState::Creating,
            other => TableState::Other(other.map_or("unknown", |state| state.as_str()).to_owned()),
        };
        let strong =
            table.multi_region_consistency() == Some(&types::MultiRegionConsistency::Strong);
        let keys = table.key_schema();
        Ok(Table {
            name: name.to_owned(),
            arn: table.table_arn().unwrap_or_default().to_owned(),
            state,
            fits: keys.len() == 1 && keys[0].attribute_name() == KEY,
            lags: !table.replicas().is_empty() && !strong,
            protected: table.deletion_protection_enabled().unwrap_or(false),
        })
    }
}
