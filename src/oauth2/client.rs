//! `cx.oauth()`: how a module puts a request to the API together.

use super::{
    CredentialStore, Error,
    sending::{Reopen, SHOWN, Sending, is_redirect, reason, target},
    session::{Session, Token},
};
use crate::clients::http;
use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc, time::Duration};

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
    store: Arc<dyn CredentialStore>,
}

impl fmt::Debug for AuthorizedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizedClient")
    }
}

impl AuthorizedClient {
    pub(crate) fn new(session: Session, store: Arc<dyn CredentialStore>) -> Self {
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
    pub fn get(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::GET, path)
    }

    /// A POST request.
    pub fn post(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::POST, path)
    }

    /// A PUT request.
    pub fn put(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::PUT, path)
    }

    /// A PATCH request.
    pub fn patch(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::PATCH, path)
    }

    /// A DELETE request.
    pub fn delete(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::DELETE, path)
    }

    /// A request to a path below the API's base URL, or to an address of an allowed origin.
    pub fn request(&self, method: Method, path: impl Into<String>) -> AuthorizedRequest {
        let http = self.0.as_ref().map_or_else(http::idle_client, |bound| {
            bound.session.tools().direct.clone()
        });
        let request = http.request(method.clone(), NO_ADDRESS);
        let idempotent = method.is_idempotent();
        AuthorizedRequest {
            client: self.clone(),
            method,
            path: path.into(),
            request,
            body: None,
            idempotent,
            accepted: None,
        }
    }

    async fn refusal(
        &self,
        request: String,
        response: Response,
        token: &Token,
        idempotent: bool,
    ) -> Error {
        let (status, retry_after) = (response.status(), http::retry_after(response.headers()));
        let repeatable = match status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE => idempotent || retry_after.is_some(),
            status => idempotent && status != StatusCode::NOT_IMPLEMENTED,
        };
        let body = match target(&response) {
            Some(to) => format!(
                "it leads to {}, where the request was not sent again; if the API is there, give that address \
                 (`OAuth2::base_url`)",
                to.origin().ascii_serialization()
            ),
            None => http::peek(response, SHOWN).await.1,
        };
        // Some APIs repeat what they were sent.
        let body = self
            .0
            .as_ref()
            .map_or_else(String::new, |bound| bound.session.redacted(body, token));
        Error::Status {
            request,
            status,
            body,
            retry_after,
            repeatable,
        }
    }

    /// The access token, for what cannot be sent by this client (a library of the API's, a socket). It is current when
    /// this returns; ask again for each use.
    ///
    /// # Errors
    /// When there is none and none can be had.
    pub async fn access_token(&self) -> Result<SecretString, Error> {
        let Bound { session, store } = self.bound()?;
        Ok(session
            .token(store)
            .await?
            .record
            .access_token()
            .unwrap_or_default()
            .into())
    }

    /// A member of the token record that is text, such as `instance_url` or `id_token`.
    ///
    /// # Errors
    /// As for [`access_token`](Self::access_token).
    pub async fn token_member(&self, name: &str) -> Result<Option<SecretString>, Error> {
        let Bound { session, store } = self.bound()?;
        Ok(session
            .token(store)
            .await?
            .record
            .member(name)
            .map(SecretString::from))
    }
}

/// Which statuses are no errors.
type Accepted = Box<dyn Fn(StatusCode) -> bool + Send + Sync>;

/// A request that is being put together; [`send`](Self::send) sends it.
#[must_use = "a request does nothing until it is sent"]
pub struct AuthorizedRequest {
    client: AuthorizedClient,
    method: Method,
    path: String,
    request: reqwest::RequestBuilder,
    body: Option<Reopen>,
    idempotent: bool,
    accepted: Option<Accepted>,
}

impl fmt::Debug for AuthorizedRequest {
    /// Nothing of the contents; a path may hold some too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizedRequest")
    }
}

impl AuthorizedRequest {
    fn map(
        mut self,
        change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Self {
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
    pub fn reopen<B: Into<reqwest::Body>>(
        mut self,
        open: impl Fn() -> B + Send + Sync + 'static,
    ) -> Self {
        self.body = Some(Arc::new(move || open().into()));
        self
    }

    /// Sends a multipart form. It cannot be sent again; give its bytes with [`body`](Self::body) where that matters.
    pub fn multipart(self, form: reqwest::multipart::Form) -> Self {
        self.map(|request| request.multipart(form))
    }

    /// Limits the time of one try, from connecting to the last byte of the answer; after a redirect it begins again.
    pub fn timeout(self, limit: Duration) -> Self {
        self.map(|request| request.timeout(limit))
    }

    /// Says that sending this request twice changes nothing more than sending it once: true of GET, PUT and DELETE
    /// unless said otherwise, and of requests with an idempotency key.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Says which statuses are no errors to [`send`](Self::send): the successful ones, and 304, unless said otherwise.
    pub fn accept(mut self, accepted: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.accepted = Some(Box::new(accepted));
        self
    }

    /// Sends the request and follows redirects; an error status is an error, and so is a redirect that cannot be
    /// followed.
    ///
    /// # Errors
    /// [`Error`], with the start of what the API says. Those that [pass](Error::is_transient) have the message come again
    /// later when the module fails with them.
    ///
    /// # Cancel safety
    /// A request that is out may take effect. A refresh goes on and is saved.
    pub async fn send(mut self) -> Result<Response, Error> {
        let (what, client, idempotent) = (self.shown(), self.client.clone(), self.idempotent);
        let accepted = self.accepted.take();
        let (response, token) = self.answer().await?;
        let status = response.status();
        let is_accepted = accepted.map_or_else(
            || status.as_u16() < 400 && !is_redirect(status),
            |accepted| accepted(status),
        );
        if !is_accepted {
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
        let no_answer = |reason, repeatable| Error::NoResponse {
            request,
            reason,
            repeatable,
        };
        let response = self.send().await?;
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return Err(no_answer(reason(&error), repeatable)),
        };
        let body = if body.is_empty() {
            Bytes::from_static(b"null")
        } else {
            body
        };
        http::json(body).map_err(|place| {
            no_answer(
                format!("it is not the JSON that was expected ({place})"),
                false,
            )
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
        let Self {
            client,
            path,
            request,
            body,
            idempotent,
            ..
        } = self;
        let Bound { session, store } = client.bound()?;
        let request = request.build().map_err(|e| Error::NotSent(reason(&e)))?;
        let setup = session.setup(&**store)?;
        let sending = Sending {
            session,
            store,
            setup,
            what,
            path,
            request: Some(request),
            body,
            idempotent,
        };
        // Boxed: modules hold this future in theirs.
        Box::pin(sending.run()).await
    }

    fn shown(&self) -> String {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        // User-info of an absolute address is not shown either.
        let path = path.split_once("://").map_or(path, |(_, rest)| {
            rest.rsplit_once('@').map_or(path, |(_, rest)| rest)
        });
        format!("{} {path}", self.method)
    }
}
