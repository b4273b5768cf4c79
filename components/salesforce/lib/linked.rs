//! What an object is linked with: parents by the name of the relationship, and lists of children, whose names begin
//! with `!`.

use super::{
    api::Api,
    describe::{Field, Object},
    soql::Name,
};
use anyhow::Context as _;

/// A link that a step has chosen.
pub struct Link {
    /// The relationship's name, as records have it.
    pub name: Name,
    pub kind: Kind,
}

/// What is at its other end.
pub enum Kind {
    Parent(Object),
    /// One of several objects, which have only these fields in common.
    AnyParent([&'static str; 2]),
    Children(Object),
}

/// The links that are chosen, described.
pub async fn links(api: &Api, object: &Object, linked: &[String]) -> anyhow::Result<Vec<Link>> {
    let mut links = vec![];
    for link in linked {
        let unknown = || {
            format!(
                "{} is not linked with {link}: check the field `linkedObjects`",
                object.name
            )
        };
        let relationship = link.strip_prefix('!');
        let name = Name::new(relationship.unwrap_or(link)).with_context(unknown)?;
        let kind = match relationship {
            Some(relationship) => {
                let mut children = object.child_relationships.iter();
                let child =
                    children.find(|child| child.relationship_name.as_deref() == Some(relationship));
                Kind::Children(related(api, &child.with_context(unknown)?.object).await?)
            }
            None => {
                let is_it = |field: &&Field| field.relationship_name.as_deref() == Some(link);
                match object
                    .fields
                    .iter()
                    .find(is_it)
                    .with_context(unknown)?
                    .reference_to
                    .as_slice()
                {
                    [one] => Kind::Parent(related(api, one).await?),
                    _ => Kind::AnyParent(["Id", "Name"]),
                }
            }
        };
        links.push(Link { name, kind });
    }
    Ok(links)
}

/// What stands between SELECT and FROM: these fields (all, where none are named), and those of the linked objects.
pub async fn select(
    api: &Api,
    object: &Object,
    fields: &[Name],
    linked: &[String],
) -> anyhow::Result<String> {
    let mut items: Vec<String> = match fields {
        [] => object.shown().map(str::to_owned).collect(),
        fields => fields.iter().map(ToString::to_string).collect(),
    };
    for Link { name, kind } in links(api, object, linked).await? {
        match kind {
            Kind::Parent(parent) => {
                items.extend(parent.shown().map(|field| format!("{name}.{field}")));
            }
            Kind::AnyParent(fields) => items.extend(fields.map(|field| format!("{name}.{field}"))),
            Kind::Children(child) => {
                let fields = child.shown().collect::<Vec<_>>().join(", ");
                items.push(format!("(SELECT {fields} FROM {name})"));
            }
        }
    }
    Ok(items.join(", "))
}

async fn related(api: &Api, object: &str) -> anyhow::Result<Object> {
    let name = Name::new(object).with_context(|| format!("{object:?} is no API name"))?;
    Object::of(api, &name).await
}
