//! What a request needs from the credential: the token, and the configuration that it belongs to.

use super::{Error, session::Access};
use crate::clients::http::{follow_base, join_path, sensitive};
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap},
};

impl Access {
    /// The API's base URL: that of the token record, or else the component's or the provider's.
    pub(super) fn base_url(&self) -> Option<Url> {
        let resolved = &self.resolved;
        let field = resolved.profile.base_url_field.as_deref();
        let url = field.and_then(|field| self.token.record.member(field));
        let url = url.and_then(|url| Url::parse(url).ok());
        let url = url.filter(|url| resolved.plain_hosts.is_safe(url));
        url.or_else(|| resolved.base_url.clone())
    }

    /// Returns the URL of a request. An absolute URL below `first_base`, the base URL of the first attempt, moves to
    /// the current base URL, which can change with a refresh (token-failures: T47).
    pub(super) fn url(&self, path: &str, first_base: Option<&Url>) -> Result<Url, Error> {
        let base = self.base_url();
        let Ok(mut url) = Url::parse(path) else {
            let base = base.ok_or_else(|| self.no_base_url())?;
            return join_path(&base, path)
                .map_err(|e| Error::NotSent(format!("its path is not valid in a URL: {e}")));
        };
        if let (Some(first), Some(base)) = (first_base, &base) {
            follow_base(&mut url, first, base);
        }
        let reason = if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            format!("\"{scheme}:\" is not an HTTP scheme; put a slash in front to send a path")
        } else if !self.allows(&url) {
            let origin = url.origin().ascii_serialization();
            format!("{origin} may not receive the token; allow it with `OAuth2::allow_origin`")
        } else {
            return Ok(url);
        };
        Err(Error::NotSent(reason))
    }

    /// Returns whether the token may be sent to this origin: the API's, or one that the author allows. All of them use
    /// https, except on this machine, so that no redirect loses encryption.
    pub(super) fn allows(&self, url: &Url) -> bool {
        let allowed = &self.resolved.origins;
        self.base_url()
            .iter()
            .chain(allowed)
            .any(|allowed| allowed.origin() == url.origin())
    }

    /// Adds the token to the headers of a request, and the headers that the API wants.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        for (name, value) in &self.resolved.profile.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        let header = &self.resolved.profile.token_header;
        let access_token = self.token.record.access_token().unwrap_or_default();
        let value = format!("{} {access_token}", header.scheme);
        let value = sensitive(value.trim_start()).ok_or_else(|| {
            let reason = "the access token contains characters that are not allowed in a header";
            Error::ReauthRequired(reason.into())
        })?;
        headers.remove(AUTHORIZATION);
        headers.insert(&header.name, value);
        Ok(())
    }

    fn no_base_url(&self) -> Error {
        Error::Config(match &self.resolved.profile.base_url_field {
            Some(field) => format!(
                "the token record has no https URL in `{field}`, which is the API's base URL; connect the account again"
            ),
            None => "a path needs the API's base URL: set it with `OAuth2::base_url`, or use an absolute URL"
                .to_owned(),
        })
    }
}
