//! Action "Create account": creates an Account with its name and billing address.

use crate::api::Api;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The account to create.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Account {
    /// Account Name
    name: String,
    /// Billing Street
    #[serde(default, skip_serializing_if = "Option::is_none")]
    billing_street: Option<String>,
    /// Billing City
    #[serde(default, skip_serializing_if = "Option::is_none")]
    billing_city: Option<String>,
    /// Billing Zip/Postal Code
    #[serde(default, skip_serializing_if = "Option::is_none")]
    billing_postal_code: Option<String>,
    /// Billing State/Province
    #[serde(default, skip_serializing_if = "Option::is_none")]
    billing_state: Option<String>,
    /// Billing Country
    #[serde(default, skip_serializing_if = "Option::is_none")]
    billing_country: Option<String>,
}

/// The account of the message, and its id.
#[derive(Serialize, JsonSchema)]
pub struct Created {
    /// The new record's id.
    id: String,
    #[serde(flatten)]
    account: Account,
}

/// Emits the account and its id.
pub async fn create_account(
    message: Message<Account>,
    cx: Context<Value, Created>,
) -> anyhow::Result<()> {
    let account = message.body;
    anyhow::ensure!(
        !account.name.trim().is_empty(),
        "`Name` is empty: an account needs a name"
    );
    let request = Api::new(cx.oauth()).post("sobjects/Account").json(&account);
    let created: Value = request.read_json().await?;
    let id = created["id"].as_str().unwrap_or_default().to_owned();
    cx.data(&Created { id, account }).await
}
