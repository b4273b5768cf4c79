//! The one-time calls: select models, dynamic metadata, verifyCredentials.

use crate::rig::Org;
use sailor::{Verified, testing::Harness};
use serde_json::{Map, Value, json};

/// A one-time call.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    Model(&'static str, &'static str),
    Metadata(&'static str),
    Verify,
}

impl Call {
    fn function(self) -> &'static str {
        match self {
            Self::Model(function, _) | Self::Metadata(function) => function,
            Self::Verify => "",
        }
    }

    pub async fn make(
        self,
        org: &Org,
        fields: Value,
        tokens: Map<String, Value>,
    ) -> anyhow::Result<Value> {
        self.ask(org.harness(self.function(), fields, tokens)).await
    }

    pub async fn ask(self, harness: Harness<'_>) -> anyhow::Result<Value> {
        match self {
            Self::Model(_, model) => harness.select_model(model).await,
            Self::Metadata(_) => harness.metadata().await,
            Self::Verify => Ok(json!(harness.verify().await? == Verified::Yes)),
        }
    }
}

/// Every one-time call, with fields that work.
pub fn calls() -> Vec<(Call, Value)> {
    let account = || json!({ "sobject": "Account" });
    let lookup =
        || json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": "Name" });
    vec![
        (Call::Model("create", "objectTypes"), json!({})),
        (Call::Model("lookupObject", "linkedObjectTypes"), account()),
        (
            Call::Model("getUpdatedObjectsPolling", "getObjectFields"),
            account(),
        ),
        (
            Call::Model("delete", "getLookupFields"),
            json!({ "sobject": "Account", "typeOfSearch": "uniqueFields" }),
        ),
        (Call::Metadata("create"), account()),
        (Call::Metadata("upsert"), lookup()),
        (Call::Metadata("delete"), lookup()),
        (Call::Metadata("lookupObject"), lookup()),
        (Call::Metadata("lookupObjects"), account()),
        (Call::Metadata("getUpdatedObjectsPolling"), account()),
        (Call::Verify, json!({})),
    ]
}
