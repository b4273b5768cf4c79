//! The items of a list: when each has changed, and which of them are unusable.

use super::{
    order::{Kind, is_readable, text_of},
    poll_config::Config,
    position::MAX_TIME,
};
use sailor::snapshot::Fingerprint;
use serde_json::Value;

/// The longest part of a value in an error.
const MAX_SHOWN: usize = 100;

/// An item with the time of its change and its id.
pub struct Change {
    pub changed: Value,
    pub id: Value,
    /// Identifies the item in this state.
    pub fingerprint: Fingerprint,
    pub item: Value,
}

/// An item that has no time or no id.
pub struct Unusable {
    /// What identifies it, such as `item 7` or `an item without id`.
    pub shown: String,
    /// Identifies it in this state.
    pub fingerprint: Fingerprint,
    /// What is wrong, and the field of the step that may be.
    pub reason: String,
}

impl Change {
    /// Reads an item's time and id.
    pub fn of(item: Value, config: &Config) -> Result<Self, Unusable> {
        let changed_name = config.changed_field.as_deref().unwrap_or("updated_at");
        let id_name = id_name(config);
        let changed = member(&item, changed_name).cloned();
        let id = id_of(&item, config).cloned();
        let reason = match (&changed, &id) {
            (Some(changed), Some(_)) if changed.to_string().len() > MAX_TIME => Some(format!(
                "the time {:?}… in {changed_name:?} has more than {MAX_TIME} bytes: use a field with a time or a number \
                 (`changedField`)",
                shortened(&text_of(changed))
            )),
            (Some(changed), Some(_)) if is_readable(changed) => None,
            (Some(changed), Some(_)) => Some(format!(
                "the time {:?} in {changed_name:?} cannot be read: use a field with times such as 2026-01-31T12:00:00Z, \
                 or a number that grows (`changedField`)",
                shortened(&text_of(changed))
            )),
            (None, _) => Some(nothing_in(changed_name, "changedField")),
            (_, None) => Some(nothing_in(id_name, "idField")),
        };
        match (changed, id, reason) {
            (Some(changed), Some(id), None) => {
                let fingerprint = Fingerprint::of(&format!("{changed} {id}"));
                Ok(Self {
                    changed,
                    id,
                    fingerprint,
                    item,
                })
            }
            (_, id, reason) => Err(Unusable {
                shown: shown_id(id.as_ref()),
                fingerprint: Fingerprint::of(&item.to_string()),
                reason: reason.unwrap_or_default(),
            }),
        }
    }
}

impl Change {
    /// Returns the change if its time is of this kind, which the first change sets.
    pub fn of_kind(self, kind: &mut Option<Kind>) -> Result<Self, Unusable> {
        if *kind.get_or_insert(Kind::of(&self.changed)) == Kind::of(&self.changed) {
            return Ok(self);
        }
        Err(Unusable {
            shown: shown_id(Some(&self.id)),
            reason: format!(
                "{:?} has no order with the times of the other items, because it is of another kind (`changedField`)",
                shortened(&text_of(&self.changed))
            ),
            fingerprint: Fingerprint::of(&self.item.to_string()),
        })
    }
}

/// An item's id.
pub fn id_of<'a>(item: &'a Value, config: &Config) -> Option<&'a Value> {
    member(item, id_name(config))
}

/// An item by its id, such as `item 7`.
pub fn shown_id(id: Option<&Value>) -> String {
    id.map_or_else(
        || "an item without id".to_owned(),
        |id| format!("item {}", shortened(&text_of(id))),
    )
}

fn id_name(config: &Config) -> &str {
    config.id_field.as_deref().unwrap_or("id")
}

fn nothing_in(name: &str, field: &str) -> String {
    format!("an item has neither text nor number in {name:?}: set `{field}`")
}

/// The text or number in a member of an item. `name` is its name, or a JSON pointer.
fn member<'a>(item: &'a Value, name: &str) -> Option<&'a Value> {
    let value = if name.starts_with('/') {
        item.pointer(name)
    } else {
        item.get(name)
    };
    value.filter(|value| value.is_number() || value.as_str().is_some_and(|text| !text.is_empty()))
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN)]
}
