//! Where the definition of a credential comes from: the author, component.json, and the values of their templates.

use super::{
    definition::{ConfigError, OAuth2},
    template::Variables,
};
use crate::settings::descriptor::OAuth2Credentials;
use reqwest::Url;

/// The sources that define the credential.
pub(super) struct Sources<'a> {
    pub(super) author: &'a OAuth2,
    pub(super) declared: &'a OAuth2Credentials,
    pub(super) variables: Variables<'a>,
}

impl Sources<'_> {
    /// Returns the author's template, unless a name in it is undefined and there is another template.
    pub(super) fn first_defined<'t>(
        &self,
        author: Option<&'t str>,
        other: Option<&str>,
    ) -> Option<&'t str> {
        author.filter(|template| other.is_none() || self.variables.are_defined(template))
    }

    pub(super) fn url(
        &self,
        member: &str,
        template: Option<&str>,
    ) -> Result<Option<Url>, ConfigError> {
        template
            .map(|template| self.variables.url(&json_path(member), template))
            .transpose()
    }

    pub(super) fn text(&self, member: &str, template: &str) -> Result<String, ConfigError> {
        self.variables
            .expand(&json_path(member), template)
            .map(|text| text.trim().to_owned())
    }
}

pub(super) fn json_path(member: &str) -> String {
    format!("\"{member}\" in credentials.oauth2 of component.json")
}

pub(super) fn missing(member: &str, what: &str) -> ConfigError {
    ConfigError(format!("{} is missing: {what}", json_path(member)))
}
