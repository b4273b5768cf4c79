//! Requests to the API: the token attached, refreshed when it is refused, and nothing sent twice that must not be.

use super::{
    Error, Judgement, Mode, Store,
    resolve::{Origin, Resolved},
    session::{Session, Token},
    template::is_safe,
};
use crate::http;
use reqwest::{
    Method, Request, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use std::{error::Error as _, fmt, sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often a request is sent again because the API is busy or did not answer.
const BUSY_RESENDS: u32 = 3;
/// The pause before the first of these, where the API does not name one; it doubles, with jitter.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// A longer pause than this is not waited for: the message had better come again later.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much of an error's body an error shows.
const SHOWN: usize = 2048;
/// Stands in for the API's address until a request is sent.
const NO_ADDRESS: &str = "http://address.invalid/";

/// Sends requests to the API that the step's credential is for, with its access token: `cx.oauth()`.
///
/// Addresses are paths below the API's base URL (the token record's, such as Salesforce's `instance_url`, the
/// component's, or the provider's), or absolute ones of an allowed origin; the token goes nowhere else.
///
/// When the API says that the token is not valid, it is refreshed, saved with the account, and the request is sent once
/// more; other messages that had the same answer wait for the same refresh. With 429, and 503 with `Retry-After`, a
/// request is sent again after the pause that the API names; other failures only where sending it twice changes
/// nothing. A module that fails with what is left of these errors has its message come again later.
#[derive(Clone)]
pub struct AuthorizedClient(Option<Bound>);

#[derive(Clone)]
struct Bound {
    session: Session,
    store: Arc<dyn Store>,
}

impl fmt::Debug for AuthorizedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizedClient")
    }
}

impl AuthorizedClient {
    pub(crate) fn new(session: Session, store: Arc<dyn Store>) -> Self {
        Self(Some(Bound { session, store }))
    }

    /// The client of a component without OAuth2: every request says so.
    pub(crate) fn unconfigured() -> Self {
        Self(None)
    }

    fn bound(&self) -> Result<&Bound, Error> {
        self.0.as_ref().ok_or_else(|| {
            Error::Config(
                "component.json has no `credentials.oauth2` and no credential field for OAuth2, and the component \
                 does not call `Component::oauth2`"
                    .into(),
            )
        })
    }

    /// A GET request.
    #[must_use]
    pub fn get(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::GET, path)
    }

    /// A POST request.
    #[must_use]
    pub fn post(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::POST, path)
    }

    /// A PUT request.
    #[must_use]
    pub fn put(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::PUT, path)
    }

    /// A PATCH request.
    #[must_use]
    pub fn patch(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::PATCH, path)
    }

    /// A DELETE request.
    #[must_use]
    pub fn delete(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::DELETE, path)
    }

    /// A request to a path below the API's base URL, or to an address of an allowed origin.
    #[must_use]
    pub fn request(&self, method: Method, path: impl Into<String>) -> AuthorizedRequest {
        let http = self.0.as_ref().map_or_else(reqwest::Client::new, |bound| bound.session.tools().direct.clone());
        let request = http.request(method.clone(), NO_ADDRESS);
        let idempotent = method.is_idempotent();
        AuthorizedRequest { client: self.clone(), method, path: path.into(), request, body: None, idempotent }
    }

    async fn refusal(&self, request: String, response: Response, token: &Token, idempotent: bool) -> Error {
        let (status, retry_after) = (response.status(), http::retry_after(response.headers()));
        let repeatable = match status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE => idempotent || retry_after.is_some(),
            status => idempotent && status != StatusCode::NOT_IMPLEMENTED,
        };
        let (_, body) = http::peek(response, SHOWN).await;
        // Some APIs repeat what they were sent.
        let body = self.0.as_ref().map_or_else(String::new, |bound| bound.session.redacted(body, token));
        Error::Status { request, status, body, retry_after, repeatable }
    }

    /// The access token, for what cannot be sent by this client (a library of the API's, a socket). It is current when
    /// this returns; ask again for each use.
    ///
    /// # Errors
    /// When there is none and none can be had.
    pub async fn access_token(&self) -> Result<SecretString, Error> {
        let Bound { session, store } = self.bound()?;
        Ok(session.token(store).await?.record.access_token().unwrap_or_default().into())
    }

    /// A member of the token record that is text, such as `instance_url` or `id_token`.
    ///
    /// # Errors
    /// As for [`access_token`](Self::access_token).
    pub async fn token_member(&self, name: &str) -> Result<Option<SecretString>, Error> {
        let Bound { session, store } = self.bound()?;
        Ok(session.token(store).await?.record.member(name).map(SecretString::from))
    }
}

type Reopen = Arc<dyn Fn() -> reqwest::Body + Send + Sync>;

/// A request that is being put together; [`send`](Self::send) sends it.
#[must_use = "a request does nothing until it is sent"]
pub struct AuthorizedRequest {
    client: AuthorizedClient,
    method: Method,
    path: String,
    request: reqwest::RequestBuilder,
    body: Option<Reopen>,
    idempotent: bool,
}

impl fmt::Debug for AuthorizedRequest {
    /// Nothing of the contents; a path may hold some too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizedRequest")
    }
}

impl AuthorizedRequest {
    fn map(mut self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        self.request = change(self.request);
        self
    }

    /// Adds query parameters.
    pub fn query<T: Serialize + ?Sized>(self, parameters: &T) -> Self {
        self.map(|request| request.query(parameters))
    }

    /// Adds a header. `Authorization` is the client's own and is replaced.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.map(|request| request.header(name, value))
    }

    /// Sends this as JSON.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        self.map(|request| request.json(body))
    }

    /// Sends this as a form.
    pub fn form<T: Serialize + ?Sized>(self, fields: &T) -> Self {
        self.map(|request| request.form(fields))
    }

    /// Sends this body. Bytes and text can be sent again after a refresh; a stream cannot, and such a request fails with
    /// the API's first answer (see [`reopen`](Self::reopen)).
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// Sends the body that `open` gives, and asks for it anew each time the request is sent: for streams that can be
    /// read from their start again.
    pub fn reopen<B: Into<reqwest::Body>>(mut self, open: impl Fn() -> B + Send + Sync + 'static) -> Self {
        self.body = Some(Arc::new(move || open().into()));
        self
    }

    /// Sends a multipart form. It cannot be sent again; give its bytes with [`body`](Self::body) where that matters.
    pub fn multipart(self, form: reqwest::multipart::Form) -> Self {
        self.map(|request| request.multipart(form))
    }

    /// Limits the time of one try, from connecting to the last byte of the answer.
    pub fn timeout(self, limit: Duration) -> Self {
        self.map(|request| request.timeout(limit))
    }

    /// Says that sending this request twice changes nothing more than sending it once: true of GET, PUT and DELETE
    /// unless said otherwise, and of requests with an idempotency key.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Sends the request; an error status is an error, and so is a redirect that the token must not follow.
    ///
    /// # Errors
    /// [`Error`], with the start of what the API says. Those that [pass](Error::passes) have the message come again
    /// later when the module fails with them.
    ///
    /// # Cancel safety
    /// A request that is out may take effect. A refresh goes on and is saved.
    pub async fn send(self) -> Result<Response, Error> {
        let (what, client, idempotent) = (self.shown(), self.client.clone(), self.idempotent);
        let (response, token) = self.answer().await?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() || is_redirect(status) {
            return Err(client.refusal(what, response, &token, idempotent).await);
        }
        Ok(response)
    }

    /// Sends the request and reads a JSON answer; an empty one is `null`.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and when the answer does not fit `T`.
    pub async fn send_json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let request = self.shown();
        let repeatable = self.idempotent;
        let no_answer = |reason, repeatable| Error::NoAnswer { request, reason, repeatable };
        let response = self.send().await?;
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return Err(no_answer(reason(&error), repeatable)),
        };
        let body = if body.is_empty() { &b"null"[..] } else { &body };
        serde_json::from_slice(body).map_err(|e| {
            let place = format!("line {}, column {}", e.line(), e.column());
            no_answer(format!("it is not the JSON that was expected ({place})"), false)
        })
    }

    /// Sends the request and gives the answer whatever its status is, after refresh and resends.
    ///
    /// # Errors
    /// When there is no answer, or no token, or the API asks for a scope that the token does not have.
    pub async fn send_any_status(self) -> Result<Response, Error> {
        self.answer().await.map(|(response, _)| response)
    }

    /// The answer, and the token that the request was sent with.
    async fn answer(self) -> Result<(Response, Arc<Token>), Error> {
        let what = self.shown();
        let Self { client, path, request, body, idempotent, .. } = self;
        let Bound { session, store } = client.bound()?;
        let request = request.build().map_err(|e| Error::Refused(reason(&e)))?;
        let resolved = session.resolved(&**store)?;
        let sending = Sending { session, store, resolved, what, path, request: Some(request), body, idempotent };
        sending.run().await
    }

    fn shown(&self) -> String {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        // User-info of an absolute address is not shown either.
        let path =
            path.split_once("://").map_or(path, |(_, rest)| rest.rsplit_once('@').map_or(path, |(_, rest)| rest));
        format!("{} {path}", self.method)
    }
}

/// One request on its way, as often as it has to be sent.
struct Sending<'a> {
    session: &'a Session,
    store: &'a Arc<dyn Store>,
    resolved: &'a Resolved,
    what: String,
    path: String,
    /// None once a request has gone out that cannot be sent again.
    request: Option<Request>,
    body: Option<Reopen>,
    idempotent: bool,
}

impl Sending<'_> {
    async fn run(mut self) -> Result<(Response, Arc<Token>), Error> {
        let (session, store, profile) = (self.session, self.store, &self.resolved.profile);
        // A token in a header of its own is not taken off when a redirect leads elsewhere.
        let http = match profile.token_header.name.eq_ignore_ascii_case("authorization") {
            true => &session.tools().http,
            false => &session.tools().direct,
        };
        if let Some(token) = session.known(store)? {
            // A wrong address must not cost a token.
            self.address(&token, None)?;
        }
        let mut token = session.token(store).await?;
        let first_base = self.base(&token);
        // Where each access has a token of its own, another one would not mend a refusal.
        let mut renewed = self.resolved.mode == Mode::EveryAccess;
        let (mut busy, mut pause) = (0, BUSY_PAUSE);
        while let Some(request) = self.next(&token, first_base.as_ref())? {
            let asked = request.url().origin();
            let response = match http.execute(request).await {
                Ok(response) => response,
                Err(error) => {
                    let harmless =
                        !error.is_builder() && (error.is_connect() || (self.idempotent && !error.is_redirect()));
                    let reason = reason(&error);
                    if harmless && self.is_repeatable() && busy < BUSY_RESENDS {
                        busy += 1;
                        tracing::warn!("A request has no answer and will be sent again: {reason}");
                        sleep(jittered(&mut pause)).await;
                        continue;
                    }
                    return Err(Error::NoAnswer { request: self.what, reason, repeatable: harmless });
                }
            };
            let status = response.status();
            if let Some(wait) = self.busy_pause(&response, busy, &mut pause) {
                busy += 1;
                let wait_ms = wait.as_millis() as u64;
                tracing::warn!(%status, wait_ms, "The API is busy; the request will be sent again");
                sleep(wait).await;
                continue;
            }
            if response.url().origin() != asked {
                // A redirect has led elsewhere, where the token was not sent: the answer says nothing of it.
                return Ok((response, token));
            }
            let (response, start) = match profile.reads_body(status.as_u16()) {
                true => http::peek(response, SHOWN).await,
                false => (response, String::new()),
            };
            match profile.means_expired(status.as_u16(), response.headers(), &start) {
                Judgement::Fine => {
                    session.accepted(&token);
                    return Ok((response, token));
                }
                Judgement::NotAboutToken => return Ok((response, token)),
                Judgement::Scope(scope) => {
                    let scope = scope.map(|scope| session.redacted(scope, &token));
                    return Err(Error::InsufficientScope { request: self.what, scope });
                }
                Judgement::Claims(claims) => {
                    let claims = session.redacted(claims, &token);
                    let asked = format!("the API asks for another sign-in of the user (insufficient_claims: {claims})");
                    return Err(Error::ReauthRequired(asked));
                }
                Judgement::Expired if renewed => return Ok((response, token)),
                Judgement::Expired => renewed = true,
            }
            token = match session.renew(store, &token).await {
                Ok(token) => token,
                Err(Error::Rejected(_)) => return Ok((response, token)),
                Err(error) => return Err(error),
            };
            if !self.is_repeatable() {
                // The token is saved for the next request; this one ends as the API has answered it.
                return Ok((response, token));
            }
            tracing::debug!("The request is sent again with the refreshed access token");
        }
        Err(Error::Refused("its body cannot be sent a second time".into()))
    }

    fn is_repeatable(&self) -> bool {
        self.request.is_some()
    }

    /// The request with the address and the token of now.
    fn next(&mut self, token: &Token, first_base: Option<&Url>) -> Result<Option<Request>, Error> {
        let Some(mut request) = self.request.take() else { return Ok(None) };
        self.request = request.try_clone();
        if let Some(open) = &self.body {
            *request.body_mut() = Some(open());
        }
        let mut url = self.address(token, first_base)?;
        if request.url().query().is_some() {
            url.query_pairs_mut().extend_pairs(request.url().query_pairs());
        }
        *request.url_mut() = url;
        self.authorize(request.headers_mut(), token)?;
        Ok(Some(request))
    }

    /// The API's base URL: the record's own, or else the component's or the provider's.
    fn base(&self, token: &Token) -> Option<Url> {
        let field = self.resolved.profile.base_url_field.as_deref();
        let own = field.and_then(|field| Url::parse(token.record.member(field)?).ok()).filter(is_safe);
        own.or_else(|| self.resolved.base_url.clone())
    }

    /// The address to send to. What led to the base of before leads to the base of now: it can move with a refresh
    /// (O§3 F47).
    fn address(&self, token: &Token, first_base: Option<&Url>) -> Result<Url, Error> {
        let base = self.base(token);
        let Ok(mut url) = Url::parse(&self.path) else {
            let base = base.ok_or_else(|| {
                let remedy = "give it with `OAuth2::base_url`, or request an address with a host";
                Error::Config(format!("a path needs the API's base URL: {remedy}"))
            })?;
            let url = format!("{}/{}", base.as_str().trim_end_matches('/'), self.path.trim_start_matches('/'));
            return Url::parse(&url).map_err(|e| Error::Refused(format!("its path does not make an address: {e}")));
        };
        let is_allowed = |url: &Url| {
            self.resolved.origins.contains(&Origin::of(url))
                || base.as_ref().is_some_and(|b| b.origin() == url.origin())
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
        if !is_allowed(&url) {
            return Err(Error::Refused(format!(
                "{} is no origin that the credential's token may go to; allow it with `OAuth2::allow_origin`",
                url.origin().ascii_serialization()
            )));
        }
        Ok(url)
    }

    fn authorize(&self, headers: &mut HeaderMap, token: &Token) -> Result<(), Error> {
        let header = &self.resolved.profile.token_header;
        let access = token.record.access_token().unwrap_or_default();
        let value = if header.scheme.is_empty() { access.to_owned() } else { format!("{} {access}", header.scheme) };
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| Error::ReauthRequired("the access token holds what no header can carry".into()))?;
        value.set_sensitive(true);
        let name = HeaderName::try_from(header.name.as_str())
            .map_err(|_| Error::Config(format!("`{}` is no name of a header for the token", header.name)))?;
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
            _ => status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED && self.idempotent,
        };
        if !may_help
            || busy == BUSY_RESENDS
            || !self.is_repeatable()
            || asked.is_some_and(|asked| asked > LONGEST_PAUSE)
        {
            return None;
        }
        Some(asked.map_or_else(|| jittered(pause), |asked| asked + Duration::from_millis(fastrand::u64(0..250))))
    }
}

/// A redirect that names another address, rather than an answer.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn jittered(pause: &mut Duration) -> Duration {
    let wait = pause.mul_f64(0.75 + 0.5 * fastrand::f64());
    *pause *= 2;
    wait
}

/// An error and its causes, without the address.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "out of time".into();
    }
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.map(ToString::to_string).last().unwrap_or_else(|| "the connection failed".into())
}
