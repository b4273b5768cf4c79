//! How far polling has come, in the order of time and id.

use crate::soql;
use sailor::snapshot::{self, Fingerprint, Fingerprints};
use serde::{Deserialize, Deserializer, Serialize};

/// What records are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The time of the last change, then the id.
    Change,
    Id,
}

impl Order {
    /// The fields, as ORDER BY and SELECT name them.
    pub fn fields(self) -> &'static str {
        match self {
            Self::Change => "LastModifiedDate, Id",
            Self::Id => "Id",
        }
    }
}

/// The step's snapshot: the last change that was emitted. Snapshots of earlier components are understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredSnapshot")]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The time of the change.
    pub last_modification_time: String,
    /// The record. If there is none, `inclusive` says whether records of that time are still to be emitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_id: Option<String>,
    /// The records behind it that were emitted or reported already.
    #[serde(skip_serializing_if = "Fingerprints::is_empty")]
    pub done: Fingerprints,
    #[serde(skip)]
    inclusive: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredSnapshot {
    #[serde(rename_all = "camelCase")]
    Current {
        last_modification_time: String,
        #[serde(default)]
        last_seen_id: Option<String>,
        #[serde(default, deserialize_with = "of_keys")]
        done: Fingerprints,
    },
    #[serde(rename_all = "camelCase")]
    NextStart {
        next_start_time: String,
    },
    #[serde(rename_all = "camelCase")]
    Previous {
        previous_last_modified: String,
    },
    Time(String),
}

impl snapshot::Position for Position {
    fn fingerprints(&mut self) -> Vec<&mut Fingerprints> {
        vec![&mut self.done]
    }
}

/// Reads the fingerprints of records' keys. Snapshots of earlier versions have the keys themselves.
pub fn of_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprints, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Keys(Vec<String>),
        Fingerprints(Fingerprints),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Keys(keys) => keys.iter().map(|key| Fingerprint::of(key)).collect(),
        Stored::Fingerprints(fingerprints) => fingerprints,
    })
}

impl From<StoredSnapshot> for Position {
    fn from(stored: StoredSnapshot) -> Self {
        match stored {
            StoredSnapshot::Current {
                last_modification_time,
                last_seen_id,
                done,
            } => Self {
                last_modification_time,
                last_seen_id,
                done,
                inclusive: true,
            },
            StoredSnapshot::NextStart { next_start_time } => Self::from_start(next_start_time),
            StoredSnapshot::Previous {
                previous_last_modified: time,
            }
            | StoredSnapshot::Time(time) => Self {
                inclusive: false,
                ..Self::from_start(time)
            },
        }
    }
}

impl Position {
    /// Before everything that changed at this time or later.
    pub fn from_start(time: impl Into<String>) -> Self {
        Self {
            last_modification_time: time.into(),
            last_seen_id: None,
            done: Fingerprints::default(),
            inclusive: true,
        }
    }

    /// After this record.
    pub fn after(time: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            last_modification_time: time.into(),
            last_seen_id: Some(id.into()),
            done: Fingerprints::default(),
            inclusive: false,
        }
    }

    /// The SOQL condition for the records behind this position; none for all records.
    ///
    /// # Errors
    /// Returns an error if the time of the change is none.
    pub fn condition(&self, order: Order) -> anyhow::Result<Option<String>> {
        let id = self.last_seen_id.as_deref().map(soql::text);
        let time = match order {
            Order::Id => return Ok(id.map(|id| format!("Id > {id}"))),
            Order::Change => soql::instant(&self.last_modification_time)?,
        };
        Ok(Some(match id {
            Some(id) => {
                format!("((LastModifiedDate = {time} AND Id > {id}) OR LastModifiedDate > {time})")
            }
            None => format!(
                "LastModifiedDate {} {time}",
                if self.inclusive { ">=" } else { ">" }
            ),
        }))
    }

    /// The SOQL condition for the records before the one at this position.
    ///
    /// # Errors
    /// Returns the error of [`condition`](Self::condition).
    pub fn before(&self, order: Order) -> anyhow::Result<String> {
        let id = soql::text(self.last_seen_id.as_deref().unwrap_or_default());
        if order == Order::Id {
            return Ok(format!("Id < {id}"));
        }
        let time = soql::instant(&self.last_modification_time)?;
        Ok(format!(
            "((LastModifiedDate = {time} AND Id < {id}) OR LastModifiedDate < {time})"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn snapshots_of_earlier_versions_are_understood() {
        for (snapshot, condition) in [
            (
                json!({ "lastModificationTime": "2024-06-01T00:00:01.000+0000", "lastSeenId": "0015" }),
                "((LastModifiedDate = 2024-06-01T00:00:01.000Z AND Id > '0015') OR LastModifiedDate > 2024-06-01T00:00:01.000Z)",
            ),
            (
                json!({ "nextStartTime": "2024-06-01T00:00:01Z" }),
                "LastModifiedDate >= 2024-06-01T00:00:01.000Z",
            ),
            (
                json!({ "previousLastModified": "2024-06-01T00:00:01Z" }),
                "LastModifiedDate > 2024-06-01T00:00:01.000Z",
            ),
            (
                json!("2024-06-01T00:00:01.000+0000"),
                "LastModifiedDate > 2024-06-01T00:00:01.000Z",
            ),
        ] {
            let position: Position = serde_json::from_value(snapshot).unwrap();
            assert_eq!(
                position.condition(Order::Change).unwrap().unwrap(),
                condition
            );
        }
    }

    #[test]
    fn a_tampered_snapshot_cannot_change_the_query() {
        let position = Position::after("2024-06-01T00:00:01Z", "x') OR (Name != '");
        assert!(
            position
                .condition(Order::Change)
                .unwrap()
                .unwrap()
                .contains(r"'x\') OR (Name != \''")
        );
        assert!(
            Position::from_start("1 OR Name != null")
                .condition(Order::Change)
                .is_err()
        );
    }
}
