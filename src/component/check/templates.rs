//! Finds names in the templates of `OAuth2` that component.json does not declare. The runtime ignores a template with such a name.

use crate::{
    component::registry::Component,
    oauth2::OAuth2,
    settings::{
        lint::{Finding, UNDECLARED_NAME, meant},
        template::names,
    },
};

/// Returns the templates whose names are misspelt: names of fields that do not exist, and names that are nearly declared ones.
/// Other names may be variables that are not declared, because not every installation sets them.
pub(super) fn misspelt(component: &Component) -> Vec<Finding> {
    let credentials = component.descriptor.credentials.as_ref();
    let fields = credentials.iter().flat_map(|c| c.fields.keys());
    let variables = component.descriptor.env_vars.keys();
    let declared: Vec<&str> = fields.chain(variables).map(String::as_str).collect();
    let pointer = match credentials {
        Some(_) => "/credentials",
        None => "",
    };
    let mut found = Vec::new();
    let addresses = component.oauth2.iter().flat_map(OAuth2::addresses);
    for (function, template) in addresses {
        for name in names(template).filter(|name| !declared.contains(name)) {
            let near = meant(name, &declared);
            let is_field = name.contains(|c: char| c.is_ascii_lowercase());
            if near.is_none() && !is_field {
                continue;
            }
            let remedy = match near {
                Some(near) => format!("is `{near}` meant? The case of letters counts"),
                None => "correct the name, or add the field to `credentials.fields`".to_owned(),
            };
            found.push(Finding {
                rule: UNDECLARED_NAME,
                pointer: pointer.to_owned(),
                problem: format!(
                    "`{name}` in the template of `OAuth2::{function}` is no field of the credentials and no variable of `envVars`, \
                     so nothing fills it in"
                ),
                remedy,
            });
        }
    }
    found
}
