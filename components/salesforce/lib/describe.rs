//! What Salesforce tells of an object and its fields, for this user. Asked anew each time: users differ, objects change.

use super::{
    api::{self, Api, Refusal},
    soql::Name,
};
use anyhow::Context as _;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    pub name: String,
    pub fields: Vec<Field>,
    #[serde(default)]
    pub child_relationships: Vec<Child>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Field {
    pub name: String,
    pub label: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub nillable: bool,
    pub createable: bool,
    pub updateable: bool,
    pub filterable: bool,
    pub defaulted_on_create: bool,
    pub unique: bool,
    pub external_id: bool,
    pub id_lookup: bool,
    pub reference_to: Vec<String>,
    pub relationship_name: Option<String>,
    pub picklist_values: Vec<Choice>,
}

#[derive(Debug, Deserialize)]
pub struct Choice {
    pub value: String,
    pub active: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    #[serde(rename = "childSObject")]
    pub object: String,
    pub relationship_name: Option<String>,
}

impl Object {
    pub async fn of(api: &Api, name: &Name) -> anyhow::Result<Self> {
        Ok(Self::with_date(api, name).await?.0)
    }

    /// The object, and Salesforce's own time when it answered, as a literal of SOQL.
    pub async fn with_date(api: &Api, name: &Name) -> anyhow::Result<(Self, Option<String>)> {
        let request = api.get(&format!(
            "sobjects/{}/describe",
            api::segment(name.as_str())?
        ));
        let response = api::send(request).await.map_err(|error| match Refusal::of(&error) {
            Some(refusal) if refusal.has_code("NOT_FOUND") => {
                anyhow::anyhow!("Salesforce has no object {name} that this user may see: check the field `sobject`")
            }
            _ => error,
        })?;
        let date = response
            .headers()
            .get("date")
            .and_then(|date| instant(date.to_str().ok()?));
        let object = response.json().await.map_err(reqwest::Error::without_url);
        Ok((
            object.with_context(|| format!("reading the description of {name}"))?,
            date,
        ))
    }

    pub fn field(&self, name: &str) -> anyhow::Result<&Field> {
        let found = self
            .fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        found.with_context(|| format!("{} has no field {name} that this user may see", self.name))
    }

    /// The field with a file's bytes.
    pub fn blob(&self) -> Option<&Field> {
        self.fields.iter().find(|field| field.kind == "base64")
    }

    /// All fields that a query can show well: all but files.
    pub fn shown(&self) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(|field| field.kind != "base64")
            .map(|field| field.name.as_str())
    }
}

/// `Tue, 15 Nov 1994 08:12:31 GMT` → `1994-11-15T08:12:31.000Z`
fn instant(http_date: &str) -> Option<String> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let parts: Vec<&str> = http_date.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else {
        return None;
    };
    let month = MONTHS.find(month).filter(|_| month.len() == 3)? / 3 + 1;
    super::soql::instant(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn a_date_header_becomes_a_soql_literal() {
        assert_eq!(
            instant("Tue, 15 Nov 1994 08:12:31 GMT").as_deref(),
            Some("1994-11-15T08:12:31.000Z")
        );
        for odd in [
            "",
            "Tuesday, 15-Nov-94 08:12:31 GMT",
            "Tue, 15 Nvo 1994 08:12:31 GMT",
        ] {
            assert_eq!(instant(odd), None, "{odd}");
        }
    }
}
