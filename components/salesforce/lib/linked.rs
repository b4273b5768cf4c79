//! Fields of an object and of what it is linked with: parents, and lists of children, whose names begin with `!`.

use super::{api::Api, describe::Object, soql::Name};
use anyhow::Context as _;

/// What stands between SELECT and FROM: these fields (all, where none are named), and those of the linked objects.
pub async fn select(api: &Api, object: &Object, fields: &[Name], linked: &[String]) -> anyhow::Result<String> {
    let mut items: Vec<String> = match fields {
        [] => object.shown().map(str::to_owned).collect(),
        fields => fields.iter().map(ToString::to_string).collect(),
    };
    for link in linked {
        match link.strip_prefix('!') {
            Some(relationship) => {
                let child =
                    object.child_relationships.iter().find(|c| c.relationship_name.as_deref() == Some(relationship));
                let child = child.with_context(|| unknown(object, link))?;
                let described = related(api, &child.object).await?;
                let fields = described.shown().collect::<Vec<_>>().join(", ");
                items.push(format!("(SELECT {fields} FROM {})", relation(relationship)?));
            }
            None => {
                let field = object.fields.iter().find(|f| f.relationship_name.as_deref() == Some(link));
                let field = field.with_context(|| unknown(object, link))?;
                // What may be one of several objects has only their common fields.
                let fields = match field.reference_to.as_slice() {
                    [one] => related(api, one).await?.shown().map(str::to_owned).collect(),
                    _ => vec!["Id".to_owned(), "Name".to_owned()],
                };
                let link = relation(link)?;
                items.extend(fields.iter().map(|name| format!("{link}.{name}")));
            }
        }
    }
    Ok(items.join(", "))
}

async fn related(api: &Api, object: &str) -> anyhow::Result<Object> {
    Object::of(api, &relation(object)?).await
}

fn relation(name: &str) -> anyhow::Result<Name> {
    Name::new(name).with_context(|| format!("{name:?} is no API name"))
}

fn unknown(object: &Object, link: &str) -> String {
    format!("{} is not linked with {link}: check the field `linkedObjects`", object.name)
}
