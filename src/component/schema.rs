//! Metadata from types: JSON schemas in the dialect that the platform's mapper reads.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

/// The schema of `T`, complete in itself: draft 7 without references, `required` as a flag on each property instead
/// of a list, no formats that only programmers know.
pub(crate) fn schema_of<T: JsonSchema + ?Sized>() -> Value {
    let settings = SchemaSettings::draft07().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    to_platform_dialect(&mut schema);
    // The schema of anything is no schema for the mapper.
    let mut schema = if let Value::Object(members) = schema {
        members
    } else {
        Map::new()
    };
    if !["type", "anyOf", "oneOf", "allOf", "enum", "const"]
        .iter()
        .any(|kind| schema.contains_key(*kind))
    {
        schema.insert("type".to_owned(), "object".into());
    }
    Value::Object(schema)
}

fn to_platform_dialect(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    if members
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|f| f.starts_with("uint") || f.starts_with("int"))
    {
        members.remove("format");
    }
    // What may be left out may be null to Rust; to the mapper it is of its one type.
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            members.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if members.get("default").is_some_and(Value::is_null) {
        members.remove("default");
    }
    let required = members.remove("required");
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        // Their own lists first: the flag of their parent takes the same place.
        properties.values_mut().for_each(to_platform_dialect);
        for name in required
            .iter()
            .flat_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str)
        {
            if let Some(Value::Object(property)) = properties.get_mut(name) {
                property.insert("required".to_owned(), true.into());
            }
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name) {
            to_platform_dialect(inner);
        }
    }
    for name in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(inner)) = members.get_mut(name) {
            inner.iter_mut().for_each(to_platform_dialect);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is wanted")]
    struct Order {
        /// Number of the order.
        id: u32,
        lines: Vec<Line>,
        note: Option<String>,
        buyer: Buyer,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is wanted")]
    struct Line {
        article: String,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is wanted")]
    struct Buyer {
        name: String,
        kind: Option<Kind>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is wanted")]
    enum Kind {
        Person,
        Company,
    }

    #[test]
    fn required_is_a_flag_on_each_property_at_every_depth() {
        let schema = schema_of::<Order>();
        assert_eq!(schema["properties"]["id"]["required"], json!(true));
        assert_eq!(
            schema["properties"]["id"]["description"],
            json!("Number of the order.")
        );
        assert_eq!(
            schema["properties"]["lines"]["items"]["properties"]["article"]["required"],
            json!(true)
        );
        let buyer = &schema["properties"]["buyer"];
        assert_eq!(
            [&buyer["required"], &buyer["properties"]["name"]["required"]],
            [&json!(true); 2]
        );
        assert_eq!(
            buyer["properties"]["kind"],
            json!({ "type": "string", "enum": ["Person", "Company"] })
        );
        assert_eq!(schema["properties"]["note"], json!({ "type": "string" }));
        assert!(!schema.to_string().contains("uint32"), "{schema}");
        assert!(!schema.to_string().contains("$ref"), "{schema}");
    }

    #[test]
    fn anything_is_an_object_to_the_mapper() {
        assert_eq!(schema_of::<Value>()["type"], json!("object"));
    }
}
