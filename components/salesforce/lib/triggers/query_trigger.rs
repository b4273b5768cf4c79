//! Trigger "Query": what a query finds, each time the flow runs.

use super::{
    api::{Api, Record},
    fields,
    pages::Pages,
};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    query: String,
    #[serde(default, deserialize_with = "fields::choice")]
    output_method: OutputMethod,
    #[serde(default, deserialize_with = "fields::checked")]
    dont_emit_on_empty_results: bool,
}

/// What becomes a message.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum OutputMethod {
    /// Each record.
    #[default]
    EmitIndividually,
    /// All records.
    EmitAll,
}

/// Emits each record as pages come, or `{"records": […]}` with all of them; where nothing is found, an empty object.
pub async fn query(_: Message<NoBody>, cx: Context<Config, Record>) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    let Config {
        query,
        output_method,
        dont_emit_on_empty_results,
    } = &cx.config;
    anyhow::ensure!(
        !query.trim().is_empty(),
        "the field `query` is empty: it must be SOQL"
    );
    let mut pages = Pages::of(&api, query);
    if *output_method == OutputMethod::EmitAll {
        let records = pages.first(usize::MAX).await?;
        return if records.is_empty() && *dont_emit_on_empty_results {
            Ok(())
        } else {
            cx.data(&Record::from_iter([(
                "records".to_owned(),
                records.into_iter().map(Value::Object).collect(),
            )]))
            .await
        };
    }
    let mut found = false;
    while let Some(page) = pages.next().await.map_err(|error| final_if(found, error))? {
        found |= !page.records.is_empty();
        cx.data_all(page.records).await?;
    }
    if !found && !dont_emit_on_empty_results {
        cx.data(&Record::new()).await?;
    }
    Ok(())
}

/// Trouble that passes would have the poll come again, and what was emitted before it with it.
fn final_if(emitted: bool, error: anyhow::Error) -> anyhow::Error {
    if emitted {
        anyhow::anyhow!(
            "{error:#}; the records of the pages before were emitted, the others were not"
        )
    } else {
        error
    }
}
