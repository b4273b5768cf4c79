//! The token record as the machine sees it.

use super::{
    super::{TokenRecord, token_response::TokenResponse},
    machine::{self, Record},
};
use sha2::{Digest, Sha256};
use std::time::SystemTime;

impl Record for TokenRecord {
    type Id = [u8; 32];
    type Response = Response;

    fn id(&self) -> Self::Id {
        let mut hash = Sha256::new();
        for token in [self.access_token(), self.refresh_token()] {
            let token = token.unwrap_or_default();
            hash.update((token.len() as u64).to_le_bytes());
            hash.update(token);
        }
        hash.finalize().into()
    }

    fn has_access_token(&self) -> bool {
        self.access_token().is_some()
    }

    fn has_refresh_token(&self) -> bool {
        self.refresh_token().is_some()
    }

    fn same_access_token(&self, other: &Self) -> bool {
        self.access_token() == other.access_token()
    }

    fn same_refresh_token(&self, other: &Self) -> bool {
        self.refresh_token() == other.refresh_token()
    }

    fn refreshed(&self, response: &Self::Response) -> Self {
        self.merged(&response.response, response.asked_at)
    }

    fn with_emitted(&self, emitted: &Self) -> Self {
        TokenRecord::with_emitted(self, emitted)
    }
}

/// A token record with its generation.
pub(in crate::oauth2) type Token = machine::Token<TokenRecord>;

/// The provider's response, and the time of the request.
#[derive(Debug)]
pub(crate) struct Response {
    pub(super) response: TokenResponse,
    pub(super) asked_at: SystemTime,
}
