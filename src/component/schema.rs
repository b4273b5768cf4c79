//! Metadata from types: JSON schemas in the dialect that the platform's mapper reads.

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::{Map, Value};

/// The members that describe a value. The mapper ignores a schema without any of them.
const TYPE_MEMBERS: [&str; 6] = ["type", "anyOf", "oneOf", "allOf", "enum", "const"];

/// Returns the schema of `T`: draft 7 without references. `required` is a flag on each property instead of a list, and
/// formats that only programmers know are removed.
pub(crate) fn schema_of<T: JsonSchema + ?Sized>() -> Value {
    let mut settings = SchemaSettings::draft07().with_transform(to_platform_dialect);
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // `true`, the schema of any value, becomes an object too.
    let members = schema.ensure_object();
    if !TYPE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
        members.insert("type".to_owned(), "object".into());
    }
    schema.to_value()
}

fn to_platform_dialect(schema: &mut Schema) {
    // Subschemas come first, because a property's new flag and its old list have the same name.
    transform_subschemas(&mut to_platform_dialect, schema);
    if let Some(members) = schema.as_object_mut() {
        remove_integer_format(members);
        remove_null(members);
        flag_required_properties(members);
    }
}

fn remove_integer_format(members: &mut Map<String, Value>) {
    let format = members.get("format").and_then(Value::as_str);
    if format.is_some_and(|format| format.starts_with("uint") || format.starts_with("int")) {
        members.remove("format");
    }
}

/// An `Option` may be null in Rust, but the mapper expects a single type.
fn remove_null(members: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if members.get("default").is_some_and(Value::is_null) {
        members.remove("default");
    }
}

fn flag_required_properties(members: &mut Map<String, Value>) {
    let Some(Value::Array(required)) = members.remove("required") else {
        return;
    };
    let Some(Value::Object(properties)) = members.get_mut("properties") else {
        return;
    };
    for name in required.iter().filter_map(Value::as_str) {
        if let Some(Value::Object(property)) = properties.get_mut(name) {
            property.insert("required".to_owned(), true.into());
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
        legal_form: Option<LegalForm>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is wanted")]
    enum LegalForm {
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
            buyer["properties"]["legal_form"],
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
