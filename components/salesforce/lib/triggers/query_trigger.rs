//! Trigger "Query": emits the results of a query each time the flow runs.

use crate::{
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

/// What a message holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum OutputMethod {
    /// Each record.
    #[default]
    EmitIndividually,
    /// All records.
    EmitAll,
}

/// Emits each record as the pages arrive, or `{"records": […]}` with all of them. An empty result is an empty object.
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
    let mut pages = Pages::query(&api, query).with_count();
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

/// Makes an error permanent if records were emitted before it: with a transient one, the poll would emit them again.
fn final_if(emitted: bool, error: anyhow::Error) -> anyhow::Error {
    if emitted {
        anyhow::anyhow!("{error:#}; the records of earlier pages were emitted, the others were not")
    } else {
        error
    }
}
