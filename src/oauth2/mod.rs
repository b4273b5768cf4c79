//! OAuth2 credentials that stay alive: what a provider wants, what component.json says about it, what is stored, and
//! how it is renewed.
//!
//! The rules come from RFC 6749, 6750 and 7009 and from what providers do beside them, which stands in [`Profile`]s.
//! No type in here prints a token, a code, a verifier or a client secret.

mod answer;
mod challenge;
mod definition;
mod endpoint;
mod iso_time;
mod profile;
mod refusal;
mod resolve;
mod template;
mod token;

pub use answer::{AnswerError, TokenAnswer};
pub use definition::{ConfigError, Mode, OAuth2};
pub use profile::{
    AnswerRule, BodyFormat, ClientAuth, ErrorRule, ExpiresUnit, HeaderRule, Judgement, Profile, ProfileError,
    ScopePolicy, TokenHeader,
};
pub use refusal::{ErrorClass, ExchangeError};
pub use token::{Record, keys_for, normalised};

#[expect(unused_imports, reason = "the session builds on them")]
pub(crate) use {
    endpoint::Endpoint,
    resolve::{Client, Origin, Resolved},
};

#[cfg(test)]
mod tests;
