//! Sends one request as often as necessary: with the current URL and token, after the delays that the API asks for, and
//! never twice if that could do harm.

use super::{
    Error, Mode, TokenStatus,
    prepared_request::{PreparedRequest, SendError},
    session::{Access, Token},
};
use crate::{
    clients::http::{self, Resends, can_repeat},
    codes,
};
use reqwest::{Request, Response, StatusCode, Url};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How many bytes of a response are kept during a refresh, and how long they may take. It may be the result.
const KEPT_LIMIT: usize = 64 * 1024;
const KEPT_TIME: Duration = Duration::from_secs(5);

/// A request may cause two refreshes: a second one if the first returned a token that another process has saved, because
/// that may have expired too.
const REFRESHES: u32 = 2;

/// What a request may still do.
struct Limits<'a> {
    /// The resends because the API is busy or did not respond.
    resends: Resends<'a>,
    /// The refreshes of rejected tokens that are left.
    refreshes: u32,
    /// The base URL of the first attempt.
    first_base: Option<Url>,
}

/// The next step after an attempt.
enum Next {
    /// The response is final. The API may be busy.
    Return(Response, bool),
    /// Sends the request again after this delay.
    Resend(Duration),
    /// Refreshes the token and sends the request again. If that is not possible, this response, which holds no connection,
    /// is the result.
    Refresh(Response),
}

impl<'a> Limits<'a> {
    fn new(request: &PreparedRequest<'a>, access: &Access) -> Self {
        // If every request has a token of its own, another token does not help.
        let is_hopeless = access.resolved.mode == Mode::EveryAccess;
        Self {
            resends: Resends::new(request.session.retries(), request.idempotent),
            refreshes: if is_hopeless { 0 } else { REFRESHES },
            first_base: access.base_url(),
        }
    }
}

impl PreparedRequest<'_> {
    /// Sends the request until a response is final. Returns it if its status is accepted.
    pub(super) async fn send(
        mut self,
        is_accepted: impl FnOnce(StatusCode) -> bool,
    ) -> Result<Response, Error> {
        let (response, is_busy, token) = self.final_response().await?;
        // A response that asks for fewer requests is no success, although its status may be.
        let is_refused = is_busy && response.status().is_success();
        if is_accepted(response.status()) && !is_refused {
            return Ok(response);
        }
        Err(self.status_error(response, is_busy, &token).await)
    }

    /// Returns the final response, whether the API is busy, and the token that the response belongs to.
    async fn final_response(&mut self) -> Result<(Response, bool, Arc<Token>), Error> {
        // A wrong URL does not cause a refresh.
        let check = |access: &Access| access.url(&self.path, None).map(drop);
        let mut access = self.session.access(self.store, None, check).await?;
        let mut limits = Limits::new(self, &access);
        loop {
            self.session.retries().paused().await;
            let request = self.next_request(&access, limits.first_base.as_ref())?;
            let rejected = match self.attempt(request, &access, &mut limits).await? {
                Next::Return(response, is_busy) => return Ok((response, is_busy, access.token)),
                Next::Resend(delay) => {
                    sleep(delay).await;
                    continue;
                }
                Next::Refresh(response) => response,
            };
            let (rejected, start) = http::peek_error(rejected).await;
            let sent = Some(&*access.token);
            let newer = match self.session.access(self.store, sent, |_| Ok(())).await {
                Ok(newer) if self.request.is_left() => newer,
                // The same request succeeds with the newer token, once its module opens the body again.
                Ok(_) => {
                    return Err(Error::NotResent {
                        request: self.label.clone(),
                        status: rejected.status(),
                        body: self.session.redacted(start, &access.token),
                    });
                }
                // There is no newer token.
                Err(Error::TokenRejected(_)) => return Ok((rejected, false, access.token)),
                Err(error) => {
                    let start = self.session.redacted(start, &access.token);
                    return Err(error.after(&self.label, rejected.status(), &start));
                }
            };
            let is_first = limits.refreshes == REFRESHES;
            limits.refreshes = u32::from(is_first && newer.token.adopted);
            access = newer;
            tracing::debug!("The request is sent again with the refreshed access token");
        }
    }

    /// Sends the request once, with its redirects.
    async fn attempt(
        &self,
        request: Request,
        access: &Access,
        limits: &mut Limits<'_>,
    ) -> Result<Next, Error> {
        let mut trail = http::Trail::new(&request);
        let response = match self.follow(request, &mut trail, access).await {
            Ok(response) => response,
            Err(SendError::NotSent(error)) => return Err(error),
            Err(SendError::NoResponse(error)) => {
                return self.after_no_response(error, trail.outcome_only, limits);
            }
        };
        if trail.outcome_only || http::is_redirect(response.status()) {
            return Ok(Next::Return(response, false));
        }
        let (response, mut token_status, is_busy) = meaning(response, access).await;
        if trail.is_bare {
            // The response says nothing about the token, because the server did not receive it.
            token_status = TokenStatus::Unrelated;
        }
        let resends = &mut limits.resends;
        // Some APIs respond to an expired token as if they were busy.
        if token_status != TokenStatus::Expired
            && let Some(delay) =
                resends.after(&response, is_busy, self.request.is_left(), trail.is_bare)
        {
            let (status, delay_ms) = (response.status(), delay.as_millis() as u64);
            tracing::warn!(
                code = %codes::API_BUSY,
                request = self.label,
                %status,
                delay_ms,
                "The API is busy; the request is retried"
            );
            return Ok(Next::Resend(delay));
        }
        self.after_response(response, token_status, is_busy, access, limits.refreshes)
            .await
    }

    /// Decides what follows a response of the API, by what it means for the token.
    async fn after_response(
        &self,
        response: Response,
        token_status: TokenStatus,
        is_busy: bool,
        access: &Access,
        refreshes: u32,
    ) -> Result<Next, Error> {
        let token = &access.token;
        match token_status {
            TokenStatus::Accepted => {
                self.session.token_accepted(token, refreshes == 0);
                if !self.request.is_left() {
                    self.session.streams().accepted(&self.label);
                }
                Ok(Next::Return(response, is_busy))
            }
            TokenStatus::Expired if refreshes > 0 && self.is_worth_a_refresh(token) => {
                let kept = http::detached(response, KEPT_LIMIT, KEPT_TIME).await;
                Ok(Next::Refresh(kept))
            }
            TokenStatus::Expired | TokenStatus::Unrelated => Ok(Next::Return(response, is_busy)),
            TokenStatus::InsufficientScope(scope) => Err(Error::InsufficientScope {
                request: self.label.clone(),
                scope: scope.map(|scope| self.session.redacted(scope, token)),
            }),
            TokenStatus::InsufficientClaims(claims) => {
                let claims = self.session.redacted(claims, token);
                Err(Error::ReauthRequired(format!(
                    "the API requires the user to sign in again (insufficient_claims: {claims})"
                )))
            }
        }
    }

    /// Returns false for a request that can be sent only once, if the API has refused it with several tokens.
    fn is_worth_a_refresh(&self, token: &Token) -> bool {
        self.request.is_left()
            || self
                .session
                .streams()
                .may_succeed_later(&self.label, token.generation)
    }

    /// Decides what follows a request without a response: it is sent again if that is harmless.
    fn after_no_response(
        &self,
        error: http::NoResponse,
        outcome_only: bool,
        limits: &mut Limits<'_>,
    ) -> Result<Next, Error> {
        let repeatable = !outcome_only && !error.is_invalid && (error.is_unsent || self.idempotent);
        let reason = error.reason;
        if repeatable
            && self.request.is_left()
            && let Some(delay) = limits.resends.take(None)
        {
            tracing::warn!(
                code = %codes::API_RETRIED,
                request = self.label,
                "A request failed without a response and is retried: {reason}"
            );
            return Ok(Next::Resend(delay));
        }
        Err(Error::NoResponse {
            request: self.label.clone(),
            reason,
            repeatable,
        })
    }

    /// Returns the error of a response with an error status.
    async fn status_error(&self, response: Response, is_busy: bool, token: &Token) -> Error {
        let (status, retry_after) = (response.status(), http::retry_after(response.headers()));
        let body = match http::redirect_target(&response) {
            Some(target) => format!(
                "the API redirects to {}; the request was not repeated there. If that is the API, set this address \
                 (`OAuth2::base_url`)",
                target.origin().ascii_serialization()
            ),
            None => http::peek_error(response).await.1,
        };
        Error::Status {
            request: self.label.clone(),
            status,
            // Some APIs repeat the request in their response.
            body: self.session.redacted(body, token),
            retry_after,
            repeatable: can_repeat(status, is_busy, retry_after, self.idempotent),
            busy: is_busy,
        }
    }
}

/// Returns a response, whose body is still complete, what it means for the token, and whether the API is busy.
async fn meaning(response: Response, access: &Access) -> (Response, TokenStatus, bool) {
    let profile = &access.resolved.profile;
    let status = response.status().as_u16();
    let (response, start) = if profile.reads_body(status) {
        http::peek_error(response).await
    } else {
        (response, String::new())
    };
    let token_status = profile.token_status(status, response.headers(), &start);
    let is_busy = profile.is_busy(status, response.headers(), &start);
    (response, token_status, is_busy)
}
