//! Linked objects: parents by the name of the relationship, and lists of children, whose names begin with `!`.

use crate::{api::Api, describe::Object, soql::Name};
use anyhow::Context as _;

/// A link that a step has chosen.
pub struct Link {
    /// The relationship's name, as records have it.
    pub name: Name,
    pub relationship: Relationship,
}

/// The object or objects that a relationship leads to.
pub enum Relationship {
    Parent(Object),
    /// One of several objects, which have only these fields in common.
    AnyParent([&'static str; 2]),
    Children(Object),
}

/// The chosen links, with their objects.
pub async fn links(api: &Api, object: &Object, linked: &[String]) -> anyhow::Result<Vec<Link>> {
    let mut links = vec![];
    for link in linked {
        let unknown = || {
            format!(
                "{} is not linked with {link}: check the field `linkedObjects`",
                object.name
            )
        };
        let (name, relationship) = match link.strip_prefix('!') {
            Some(name) => (name, children(api, object, name).await?),
            None => (&**link, parent(api, object, link).await?),
        };
        links.push(Link {
            name: Name::new(name).with_context(unknown)?,
            relationship: relationship.with_context(unknown)?,
        });
    }
    Ok(links)
}

/// The objects that name `object` as their parent; none if there is no such relationship.
async fn children(api: &Api, object: &Object, name: &str) -> anyhow::Result<Option<Relationship>> {
    let mut children = object.child_relationships.iter();
    match children.find(|child| child.relationship_name.as_deref() == Some(name)) {
        Some(child) => {
            let child = related(api, &child.object).await?;
            Ok(Some(Relationship::Children(child)))
        }
        None => Ok(None),
    }
}

/// The parent of `object`; none if there is no such relationship.
async fn parent(api: &Api, object: &Object, name: &str) -> anyhow::Result<Option<Relationship>> {
    let mut fields = object.fields.iter();
    let field = fields.find(|field| field.relationship_name.as_deref() == Some(name));
    match field.map(|field| field.reference_to.as_slice()) {
        Some([one]) => Ok(Some(Relationship::Parent(related(api, one).await?))),
        Some(_) => Ok(Some(Relationship::AnyParent(["Id", "Name"]))),
        None => Ok(None),
    }
}

/// The fields that a step has chosen, with those that its function needs. None stands for all fields.
pub fn chosen(fields: &[String], needed: &[&str]) -> anyhow::Result<Vec<Name>> {
    if fields.is_empty() {
        return Ok(vec![]);
    }
    let mut names: Vec<Name> = Vec::new();
    for field in fields
        .iter()
        .map(String::as_str)
        .chain(needed.iter().copied())
    {
        let name = Name::new(field)
            .with_context(|| format!("the field `selectedFields`: {field:?} is not an API name"))?;
        let is_known = |known: &Name| known.as_str().eq_ignore_ascii_case(field);
        if !names.iter().any(is_known) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The list of fields after SELECT: these fields (all, if none are given), and those of the linked objects.
pub async fn select(
    api: &Api,
    object: &Object,
    fields: &[Name],
    linked: &[String],
) -> anyhow::Result<String> {
    let mut items: Vec<String> = match fields {
        [] => object.queried_fields().map(str::to_owned).collect(),
        fields => fields.iter().map(ToString::to_string).collect(),
    };
    for Link { name, relationship } in links(api, object, linked).await? {
        match relationship {
            Relationship::Parent(parent) => {
                items.extend(
                    parent
                        .queried_fields()
                        .map(|field| format!("{name}.{field}")),
                );
            }
            Relationship::AnyParent(fields) => {
                items.extend(fields.map(|field| format!("{name}.{field}")));
            }
            Relationship::Children(child) => {
                let fields = child.queried_fields().collect::<Vec<_>>().join(", ");
                items.push(format!("(SELECT {fields} FROM {name})"));
            }
        }
    }
    Ok(items.join(", "))
}

async fn related(api: &Api, object: &str) -> anyhow::Result<Object> {
    let name = Name::new(object).with_context(|| format!("{object:?} is not an API name"))?;
    Object::describe(api, &name).await
}
