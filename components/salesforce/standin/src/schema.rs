//! The organisation's objects: their descriptions, and the rules for queries and writes.

use super::error::ErrorResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const OBJECTS: &str = include_str!("schema.json");

pub(super) struct Schema(BTreeMap<String, Object>);

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Object {
    #[serde(skip)]
    pub(super) name: String,
    label: String,
    pub(super) key_prefix: String,
    #[serde(default = "yes")]
    pub(super) createable: bool,
    #[serde(default = "yes")]
    pub(super) updateable: bool,
    #[serde(default = "yes")]
    pub(super) deletable: bool,
    /// Whether it has a time of the last change.
    #[serde(default = "yes")]
    modified: bool,
    pub(super) fields: Vec<Field>,
    #[serde(default)]
    pub(super) children: Vec<Child>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Field {
    pub(super) name: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default = "yes")]
    pub(super) nillable: bool,
    #[serde(default = "yes")]
    pub(super) createable: bool,
    #[serde(default = "yes")]
    pub(super) filterable: bool,
    #[serde(default)]
    pub(super) defaulted_on_create: bool,
    #[serde(default)]
    pub(super) unique: bool,
    #[serde(default)]
    pub(super) external_id: bool,
    #[serde(default)]
    id_lookup: bool,
    #[serde(default)]
    pub(super) reference_to: Vec<String>,
    #[serde(default)]
    pub(super) relationship_name: Option<String>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    inactive: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Child {
    #[serde(rename = "childSObject")]
    pub(super) object: String,
    pub(super) field: String,
    pub(super) relationship_name: String,
}

/// The fields that were added to an object.
pub(super) struct NewFields {
    pub(super) object: String,
    pub(super) fields: Vec<String>,
}

fn yes() -> bool {
    true
}

impl Schema {
    pub(super) fn new() -> Self {
        let mut objects: BTreeMap<String, Object> =
            serde_json::from_str(OBJECTS).unwrap_or_else(|error| panic!("schema.json: {error}"));
        for (name, object) in &mut objects {
            object.name.clone_from(name);
            object.add_system_fields();
        }
        Self(objects)
    }

    /// The object with this name; the case does not matter.
    pub(super) fn object(&self, name: &str) -> Result<&Object, ErrorResponse> {
        self.0
            .values()
            .find(|object| object.name.eq_ignore_ascii_case(name))
            .ok_or_else(ErrorResponse::no_resource)
    }

    /// Adds text fields to an object, and returns what was added.
    pub(super) fn widen(&mut self, name: &str, count: usize) -> NewFields {
        let mut objects = self.0.values_mut();
        let object = objects
            .find(|object| object.name.eq_ignore_ascii_case(name))
            .unwrap_or_else(|| panic!("the stand-in has no object {name}"));
        let wide = |at: usize| Field {
            nillable: true,
            createable: true,
            ..Field::new(&format!("Wide{at}__c"), "string")
        };
        let known = object.fields.iter();
        let first = known.filter(|field| field.name.starts_with("Wide")).count() + 1;
        let fields: Vec<Field> = (first..first + count).map(wide).collect();
        let names = fields.iter().map(|field| field.name.clone()).collect();
        object.fields.extend(fields);
        NewFields {
            object: object.name.clone(),
            fields: names,
        }
    }

    pub(super) fn list(&self) -> Value {
        let objects: Vec<Value> = self.0.values().map(Object::summary).collect();
        json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects })
    }
}

impl Object {
    fn add_system_fields(&mut self) {
        self.fields.insert(0, Field::new("Id", "id"));
        self.fields.push(Field::new("IsDeleted", "boolean"));
        self.fields.push(Field::new("CreatedDate", "datetime"));
        if self.modified {
            self.fields.push(Field::new("LastModifiedDate", "datetime"));
            self.fields.push(Field::new("SystemModstamp", "datetime"));
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
    }

    fn summary(&self) -> Value {
        let name = &self.name;
        json!({
            "name": name, "label": self.label, "labelPlural": format!("{}s", self.label), "keyPrefix": self.key_prefix,
            "createable": self.createable, "updateable": self.updateable, "deletable": self.deletable,
            "queryable": true, "retrieveable": true, "custom": name.ends_with("__c"),
            "urls": { "sobject": format!("/services/data/v60.0/sobjects/{name}") },
        })
    }

    pub(super) fn describe(&self) -> Value {
        let mut description = self.summary();
        description["fields"] = self
            .fields
            .iter()
            .map(|field| field.describe(self))
            .collect();
        let children = self.children.iter().map(|child| {
            json!({
                "childSObject": child.object, "field": child.field, "relationshipName": child.relationship_name,
                "cascadeDelete": false, "deprecatedAndHidden": false,
            })
        });
        description["childRelationships"] = children.collect();
        description
    }
}

impl Field {
    /// A field that the system sets.
    fn new(name: &str, kind: &str) -> Self {
        Self {
            name: name.into(),
            label: None,
            kind: kind.into(),
            nillable: false,
            createable: false,
            filterable: true,
            defaulted_on_create: true,
            unique: false,
            external_id: false,
            id_lookup: kind == "id",
            reference_to: vec![],
            relationship_name: None,
            values: vec![],
            inactive: vec![],
        }
    }

    fn describe(&self, object: &Object) -> Value {
        let value = |value: &String, active: bool| json!({ "value": value, "label": value, "active": active, "defaultValue": false });
        let values = self
            .values
            .iter()
            .map(|v| value(v, true))
            .chain(self.inactive.iter().map(|v| value(v, false)));
        json!({
            "name": self.name, "label": self.label.as_ref().unwrap_or(&self.name), "type": self.kind,
            "length": if self.kind == "id" || self.kind == "reference" { 18 } else { 255 },
            "nillable": self.nillable, "defaultedOnCreate": self.defaulted_on_create,
            "createable": self.createable && object.createable, "updateable": self.createable && object.updateable,
            "filterable": self.filterable, "sortable": self.filterable, "unique": self.unique,
            "externalId": self.external_id, "idLookup": self.id_lookup, "calculated": false,
            "deprecatedAndHidden": false, "referenceTo": self.reference_to, "relationshipName": self.relationship_name,
            "picklistValues": values.collect::<Vec<_>>(), "restrictedPicklist": false,
            "custom": self.name.ends_with("__c"), "soapType": "xsd:string",
        })
    }
}
