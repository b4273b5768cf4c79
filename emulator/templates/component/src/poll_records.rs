//! The trigger `pollRecords`.

use crate::api;
use sailor::{
    prelude::*,
    snapshot::{self, Fingerprint, Fingerprints, Memory, Snapshot},
};
use serde::{Deserialize, Serialize};

/// The fields of the step.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default, deserialize_with = "sailor::fields::text")]
    start_time: Option<String>,
}

/// A record of the API, and the body of a message that is emitted.
#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Record {
    id: u64,
    name: String,
    updated_at: String,
}

#[derive(Deserialize)]
struct Records {
    records: Vec<Record>,
}

/// How far polling has come: the time of the last change, and the records that changed at that time, as they were then. Records
/// that change at the same instant are neither missed nor emitted twice, also if one changes again within it.
///
/// Times are compared as text: the API writes all of them in UTC with whole seconds, such as `2026-01-31T12:00:00Z`.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Position {
    time: String,
    seen: Fingerprints,
}

impl snapshot::Position for Position {
    fn fingerprints(&mut self) -> Vec<&mut Fingerprints> {
        vec![&mut self.seen]
    }
}

#[derive(Default)]
pub struct PollRecords {
    memory: Memory<Position>,
}

impl Trigger for PollRecords {
    type Config = Config;
    type Output = Record;
    type Snapshot = Snapshot<Position>;

    async fn poll(
        &self,
        since: Option<Snapshot<Position>>,
        cx: Context<Config, Record>,
    ) -> anyhow::Result<Option<Snapshot<Position>>> {
        let mut position = match since {
            Some(snapshot) => self.memory.recall(snapshot),
            None => Position {
                time: cx.config.start_time.clone().unwrap_or_default(),
                ..Position::default()
            },
        };
        let request = cx.oauth().get("/records");
        let list: Records = api::read(request.query(&[("updated_from", &position.time)])).await?;
        // The API lists the earliest change first.
        for record in list.records {
            if record.updated_at > position.time {
                position = Position {
                    time: record.updated_at.clone(),
                    seen: Fingerprints::default(),
                };
            }
            let content = Fingerprint::of(&serde_json::to_string(&record)?);
            if position.seen.insert(content) {
                cx.data(&record).await?;
            }
        }
        Ok(Some(self.memory.save(position)?))
    }
}
