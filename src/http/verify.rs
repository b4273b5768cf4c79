//! The check of credentials with a request.

use crate::{component::Verified, oauth2};
use reqwest::StatusCode;

/// Converts the result of a request into the result of `verifyCredentials`.
///
/// A successful response verifies the credentials. They are refused if the account must be connected again, if a scope
/// is missing, or if the API responds with 401 or 403.
///
/// ```
/// use sailor::{Verified, http::verify, oauth2::Error};
///
/// assert_eq!(verify(Ok(()))?, Verified::Yes);
/// let refused = Error::ReauthRequired("the refresh token is revoked".to_owned());
/// assert!(matches!(verify::<()>(Err(refused))?, Verified::No(_)));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// Returns every other error unchanged: a busy API or a broken network does not show whether the credentials work.
pub fn verify<T>(result: Result<T, oauth2::Error>) -> Result<Verified, oauth2::Error> {
    match result {
        Ok(_) => Ok(Verified::Yes),
        Err(error) if refuses_credentials(&error) => Ok(Verified::No(error.to_string())),
        Err(error) => Err(error),
    }
}

fn refuses_credentials(error: &oauth2::Error) -> bool {
    match error {
        oauth2::Error::Status { busy: true, .. } => false,
        oauth2::Error::ReauthRequired(_)
        | oauth2::Error::InsufficientScope { .. }
        | oauth2::Error::TokenRejected(_) => true,
        _ => matches!(
            error.status(),
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth2::Error;

    fn status(status: u16) -> Error {
        Error::Status {
            request: "GET /me".into(),
            status: StatusCode::from_u16(status).unwrap(),
            body: String::new(),
            retry_after: None,
            repeatable: true,
            busy: status == 429,
        }
    }

    #[test]
    fn only_a_refusal_says_that_credentials_do_not_work() {
        for refused in [
            Error::ReauthRequired("revoked".into()),
            Error::TokenRejected("each".into()),
            Error::InsufficientScope {
                request: "GET /me".into(),
                scope: None,
            },
            status(401),
            status(403),
        ] {
            let reason = refused.to_string();
            assert_eq!(
                verify::<()>(Err(refused)).unwrap(),
                Verified::No(reason.clone()),
                "{reason}"
            );
        }
        for unknown in [
            Error::Config("no client id".into()),
            Error::NotSent("another host".into()),
            Error::Unavailable {
                reason: "down".into(),
                retry_after: None,
            },
            status(404),
            status(429),
            status(500),
            Error::Status {
                request: "GET /me".into(),
                status: StatusCode::FORBIDDEN,
                body: "rate limit exceeded".into(),
                retry_after: None,
                repeatable: true,
                busy: true,
            },
        ] {
            let told = unknown.to_string();
            assert!(verify::<()>(Err(unknown)).is_err(), "{told}");
        }
        assert_eq!(verify(Ok("me")).unwrap(), Verified::Yes);
    }
}
