//! One request on its way, as often as it has to be sent: with the address and the token of now, after pauses that the
//! API asks for, wherever redirects lead, and never twice where that could do harm.

use super::{
    CredentialStore, Error, Mode, TokenStatus,
    resolve::Origin,
    session::{Session, Setup, Token},
    template::is_safe,
};
use crate::clients::http;
use reqwest::{
    Method, Request, Response, StatusCode, Url,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
        HeaderValue, LOCATION,
    },
};
use std::{error::Error as _, sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often a request is sent again because the API is busy or did not answer.
const BUSY_RESENDS: u32 = 3;
/// The pause before the first of these, where the API does not name one; it doubles, with jitter.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// A longer pause than this is not waited for: the message had better come again later.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How many redirects a request follows.
const REDIRECTS: u32 = 10;

/// How much of an error's body an error shows.
pub(super) const SHOWN: usize = 2048;
/// Gives a body from its start, each time.
pub(super) type Reopen = Arc<dyn Fn() -> reqwest::Body + Send + Sync>;

/// One request on its way, as often as it has to be sent.
pub(super) struct Sending<'a> {
    pub(super) session: &'a Session,
    pub(super) store: &'a Arc<dyn CredentialStore>,
    pub(super) setup: Arc<Setup>,
    pub(super) what: String,
    pub(super) path: String,
    /// None once a request has gone out that cannot be sent again.
    pub(super) request: Option<Request>,
    pub(super) body: Option<Reopen>,
    pub(super) idempotent: bool,
}

/// Where redirects have led a request.
struct Arrived {
    response: Response,
    /// To an origin that the token does not go to, on the way at least: the answer says nothing of the token.
    is_foreign: bool,
    /// The request was carried out, and this is the answer to the question for its outcome.
    is_done: bool,
}

/// Why a request has no answer.
enum Lost {
    /// None came; with `is_done`, to the question for its outcome.
    NoAnswer {
        error: reqwest::Error,
        is_done: bool,
    },
    /// It was not sent on.
    Unsent(Error),
}

impl Sending<'_> {
    pub(super) async fn run(mut self) -> Result<(Response, Arc<Token>), Error> {
        let (session, store) = (self.session, self.store);
        let setup = self.setup.clone();
        let profile = &setup.resolved.profile;
        if let Some(token) = session.known(store)? {
            // A wrong address must not cost a token.
            self.address(&token, None)?;
        }
        let mut token = session.token(store).await?;
        self.setup = session.setup(&**store)?;
        let first_base = self.base(&token);
        // Where each access has a token of its own, another one would not mend a refusal.
        let mut renewed = self.setup.resolved.mode == Mode::EveryAccess;
        let mut adopted = false;
        let (mut busy, mut pause) = (0, BUSY_PAUSE);
        while let Some(request) = self.next(&token, first_base.as_ref())? {
            let Arrived {
                response,
                is_foreign,
                is_done,
            } = match self.follow(request, &token).await {
                Ok(arrived) => arrived,
                Err(Lost::Unsent(error)) => return Err(error),
                Err(Lost::NoAnswer { error, is_done }) => {
                    let harmless =
                        !is_done && !error.is_builder() && (error.is_connect() || self.idempotent);
                    let reason = reason(&error);
                    if harmless && self.is_repeatable() && busy < BUSY_RESENDS {
                        busy += 1;
                        tracing::warn!("A request has no answer and will be sent again: {reason}");
                        sleep(jittered(&mut pause)).await;
                        continue;
                    }
                    return Err(Error::NoResponse {
                        request: self.what,
                        reason,
                        repeatable: harmless,
                    });
                }
            };
            let status = response.status();
            if is_done || is_redirect(status) {
                return Ok((response, token));
            }
            if let Some(wait) = self.busy_pause(&response, busy, &mut pause) {
                busy += 1;
                let wait_ms = wait.as_millis() as u64;
                tracing::warn!(%status, wait_ms, "The API is busy; the request will be sent again");
                sleep(wait).await;
                continue;
            }
            if is_foreign {
                return Ok((response, token));
            }
            let (response, start) = if profile.reads_body(status.as_u16()) {
                http::peek(response, SHOWN).await
            } else {
                (response, String::new())
            };
            match profile.means_expired(status.as_u16(), response.headers(), &start) {
                TokenStatus::Accepted => {
                    session.accepted(&token, renewed);
                    return Ok((response, token));
                }
                TokenStatus::Unrelated => return Ok((response, token)),
                TokenStatus::InsufficientScope(scope) => {
                    let scope = scope.map(|scope| session.redacted(scope, &token));
                    return Err(Error::InsufficientScope {
                        request: self.what,
                        scope,
                    });
                }
                TokenStatus::InsufficientClaims(claims) => {
                    let claims = session.redacted(claims, &token);
                    let asked = format!(
                        "the API asks for another sign-in of the user (insufficient_claims: {claims})"
                    );
                    return Err(Error::ReauthRequired(asked));
                }
                TokenStatus::Expired if renewed => return Ok((response, token)),
                TokenStatus::Expired => renewed = true,
            }
            let newer = match session.renew(store, &token).await {
                Ok(newer) => newer,
                Err(Error::TokenRejected(_)) => return Ok((response, token)),
                Err(error) => return Err(error),
            };
            if !self.is_repeatable() {
                // The new token is there for the next request; this one ends as the API has answered it.
                return Ok((response, token));
            }
            token = newer;
            // A credential that was connected again may be for another address.
            self.setup = session.setup(&**store)?;
            if token.adopted && !adopted {
                // It may have run out as ours has, while this process had no use for it: that was no refresh yet.
                (adopted, renewed) = (true, false);
            }
            tracing::debug!("The request is sent again with the refreshed access token");
        }
        Err(Error::NotSent(
            "its body cannot be sent a second time".into(),
        ))
    }

    fn is_repeatable(&self) -> bool {
        self.request.is_some()
    }

    /// Sends a request and goes where redirects lead. A redirect that cannot be followed is the answer.
    ///
    /// The token, the module's headers and a body go to the origins of the token only, and once a redirect has led
    /// elsewhere nowhere at all. No hop says where it comes from: an address can hold secrets.
    async fn follow(&self, request: Request, token: &Token) -> Result<Arrived, Lost> {
        let mut method = request.method().clone();
        let (has_body, timeout) = (request.body().is_some(), request.timeout().copied());
        let (mut is_foreign, mut is_done) = (false, false);
        let mut next = request;
        let mut redirects = 0;
        loop {
            let sent = self.session.tools().direct.execute(next).await;
            let response = sent.map_err(|error| Lost::NoAnswer { error, is_done })?;
            let status = response.status();
            let to = target(&response).filter(|_| redirects < REDIRECTS);
            let Some(to) = to else {
                return Ok(Arrived {
                    response,
                    is_foreign,
                    is_done,
                });
            };
            redirects += 1;
            let only_reads = matches!(method, Method::GET | Method::HEAD);
            if status == StatusCode::SEE_OTHER && !only_reads {
                (is_done, method) = (true, Method::GET);
            } else if matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND)
                && !only_reads
                && !self.idempotent
            {
                // Some servers have carried it out by then, others have not looked at it.
                return Ok(Arrived {
                    response,
                    is_foreign,
                    is_done,
                });
            }
            is_foreign |= !self.is_allowed(&to, self.base(token).as_ref());
            next = if !is_foreign {
                match self.sent_on(to, is_done, token).map_err(Lost::Unsent)? {
                    Some(next) => next,
                    None => {
                        return Ok(Arrived {
                            response,
                            is_foreign,
                            is_done,
                        });
                    }
                }
            } else if !matches!(method, Method::GET | Method::HEAD) || (has_body && !is_done) {
                return Err(Lost::Unsent(Error::NotSent(format!(
                    "it is redirected to {}, which is no origin that the credential's token may go to; allow it with \
                     `OAuth2::allow_origin`",
                    to.origin().ascii_serialization()
                ))));
            } else if !self.is_bearer() {
                return Ok(Arrived {
                    response,
                    is_foreign,
                    is_done,
                });
            } else {
                let mut bare = Request::new(method.clone(), to);
                *bare.timeout_mut() = timeout;
                bare
            };
        }
    }

    /// What follows a redirect to an origin of the token: the request as it was, or the question for its outcome. None
    /// where it cannot be sent a second time.
    fn sent_on(&self, to: Url, is_done: bool, token: &Token) -> Result<Option<Request>, Error> {
        let mut request = Request::new(Method::GET, to.clone());
        if !is_done {
            let Some(again) = self.request.as_ref().and_then(Request::try_clone) else {
                return Ok(None);
            };
            request = again;
            *request.url_mut() = to;
            if let Some(open) = &self.body {
                *request.body_mut() = Some(open());
            }
        } else if let Some(sent) = &self.request {
            *request.timeout_mut() = sent.timeout().copied();
            *request.headers_mut() = sent.headers().clone();
            for about_body in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                request.headers_mut().remove(about_body);
            }
        }
        self.authorize(request.headers_mut(), token)?;
        Ok(Some(request))
    }

    /// Whether the token may go there: to the API, and to the origins that the author allows. None of these is http, but
    /// for this machine, so that no redirect gives up encryption.
    fn is_allowed(&self, url: &Url, base: Option<&Url>) -> bool {
        self.setup.resolved.origins.contains(&Origin::of(url))
            || base.is_some_and(|base| base.origin() == url.origin())
    }

    /// Whether the token goes in the header that is made for it.
    fn is_bearer(&self) -> bool {
        self.setup
            .resolved
            .profile
            .token_header
            .name
            .eq_ignore_ascii_case("authorization")
    }

    /// The request with the address and the token of now.
    fn next(&mut self, token: &Token, first_base: Option<&Url>) -> Result<Option<Request>, Error> {
        let Some(mut request) = self.request.take() else {
            return Ok(None);
        };
        self.request = request.try_clone();
        if let Some(open) = &self.body {
            *request.body_mut() = Some(open());
        }
        let mut url = self.address(token, first_base)?;
        if request.url().query().is_some() {
            url.query_pairs_mut()
                .extend_pairs(request.url().query_pairs());
        }
        *request.url_mut() = url;
        self.authorize(request.headers_mut(), token)?;
        Ok(Some(request))
    }

    /// The API's base URL: the record's own, or else the component's or the provider's.
    fn base(&self, token: &Token) -> Option<Url> {
        let field = self.setup.resolved.profile.base_url_field.as_deref();
        let own = field
            .and_then(|field| Url::parse(token.record.member(field)?).ok())
            .filter(is_safe);
        own.or_else(|| self.setup.resolved.base_url.clone())
    }

    /// The address to send to. What led to the base of before leads to the base of now: it can move with a refresh
    /// (token-failures: T47).
    fn address(&self, token: &Token, first_base: Option<&Url>) -> Result<Url, Error> {
        let base = self.base(token);
        let Ok(mut url) = Url::parse(&self.path) else {
            let base = base.ok_or_else(|| match self.setup.resolved.profile.base_url_field.as_deref() {
                Some(field) => Error::Config(format!(
                    "the tokens do not say where the API is: their `{field}` must be an https address; connect the \
                     account again"
                )),
                None => {
                    let remedy = "give it with `OAuth2::base_url`, or request an address with a host";
                    Error::Config(format!("a path needs the API's base URL: {remedy}"))
                }
            })?;
            let url = format!(
                "{}/{}",
                base.as_str().trim_end_matches('/'),
                self.path.trim_start_matches('/')
            );
            return Url::parse(&url)
                .map_err(|e| Error::NotSent(format!("its path does not make an address: {e}")));
        };
        if let (Some(first), Some(base)) = (first_base, &base)
            && url.origin() == first.origin()
            && first.origin() != base.origin()
        {
            let moved = url.set_scheme(base.scheme()).is_ok()
                && url.set_host(base.host_str()).is_ok()
                && url.set_port(base.port()).is_ok();
            debug_assert!(moved, "one base URL can stand in for another");
        }
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            return Err(Error::NotSent(format!(
                "\"{scheme}:\" at its beginning makes it an address that is none of HTTP; a path is told by a slash before it"
            )));
        }
        if !self.is_allowed(&url, base.as_ref()) {
            return Err(Error::NotSent(format!(
                "{} is no origin that the credential's token may go to; allow it with `OAuth2::allow_origin`",
                url.origin().ascii_serialization()
            )));
        }
        Ok(url)
    }

    fn authorize(&self, headers: &mut HeaderMap, token: &Token) -> Result<(), Error> {
        let header = &self.setup.resolved.profile.token_header;
        let access = token.record.access_token().unwrap_or_default();
        let value = if header.scheme.is_empty() {
            access.to_owned()
        } else {
            format!("{} {access}", header.scheme)
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| {
            Error::ReauthRequired("the access token holds what no header can carry".into())
        })?;
        value.set_sensitive(true);
        let name = HeaderName::try_from(header.name.as_str()).map_err(|_| {
            Error::Config(format!(
                "`{}` is no name of a header for the token",
                header.name
            ))
        })?;
        headers.remove(AUTHORIZATION);
        headers.insert(name, value);
        Ok(())
    }

    /// How long to wait before sending again, when the API is busy and that may help.
    fn busy_pause(&self, response: &Response, busy: u32, pause: &mut Duration) -> Option<Duration> {
        let asked = http::retry_after(response.headers());
        let status = response.status();
        let may_help = match status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE => asked.is_some() || self.idempotent,
            _ => {
                status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED && self.idempotent
            }
        };
        if !may_help
            || busy == BUSY_RESENDS
            || !self.is_repeatable()
            || asked.is_some_and(|asked| asked > LONGEST_PAUSE)
        {
            return None;
        }
        Some(asked.map_or_else(
            || jittered(pause),
            |asked| asked + Duration::from_millis(fastrand::u64(0..250)),
        ))
    }
}

/// Where a redirect leads.
pub(super) fn target(response: &Response) -> Option<Url> {
    if !is_redirect(response.status()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let mut to = response
        .url()
        .join(location)
        .ok()
        .filter(|to| matches!(to.scheme(), "http" | "https"))?;
    // Whoever redirects does not say who is asking.
    to.set_username("")
        .and_then(|()| to.set_password(None))
        .ok()?;
    Some(to)
}

/// A redirect that names another address, rather than an answer.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn jittered(pause: &mut Duration) -> Duration {
    let wait = pause.mul_f64(0.75 + 0.5 * fastrand::f64());
    *pause *= 2;
    wait
}

/// An error and its causes, without the address.
pub(super) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "out of time".into();
    }
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes
        .map(ToString::to_string)
        .last()
        .unwrap_or_else(|| "the connection failed".into())
}
