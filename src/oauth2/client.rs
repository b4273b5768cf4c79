//! `cx.oauth()`: how a module builds a request to the API.

use super::{
    CredentialStore, Error,
    prepared_request::PreparedRequest,
    session::{Session, Token},
};
use crate::{
    clients::http::{self, BodyFactory, PLACEHOLDER_URL, Repeatable, SizeLimit, request_label},
    formats::json::parse_json,
};
use reqwest::{Method, Response, StatusCode};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

/// The longest response that is read as JSON.
const MAX_JSON: SizeLimit = SizeLimit {
    bytes: 64 << 20,
    variable: None,
};

/// Sends requests to the API of the step's credential, with its access token: `cx.oauth()`.
///
/// A request names a path below the API's base URL (that of the token record, such as Salesforce's `instance_url`, of the
/// component, or of the provider), or an absolute URL of an allowed origin. The token goes nowhere else.
///
/// If the API says that the token is invalid, the token is refreshed and saved in the account, and the request is sent
/// once more. Other messages with the same problem wait for the same refresh. After a 429, and after a 403 or 503 with
/// `Retry-After`, a request is sent again after the delay that the API names; until then, all requests with the credential
/// wait. After other failures it is sent again only if sending it twice is harmless. All requests with the credential share
/// a budget of 30 retries; each success returns one to it, and one comes back every ten seconds: so retries do not keep down
/// an API that fails for everybody. If a module fails with one of the remaining [transient](Error::is_transient) errors, its
/// message is delivered again later.
///
/// ```
/// # use sailor::{oauth2::Error, prelude::*};
/// # use serde_json::{Value, json};
/// async fn create(message: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
///     let created: Value = cx.oauth().post("/items").json(&message.body).send_json().await?;
///     cx.data(&json!({ "id": created["id"] })).await
/// }
/// ```
#[derive(Clone)]
pub struct AuthorizedClient(Option<(Session, Arc<dyn CredentialStore>)>);

impl fmt::Debug for AuthorizedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizedClient")
    }
}

impl AuthorizedClient {
    pub(crate) fn new(session: Session, store: Arc<dyn CredentialStore>) -> Self {
        Self(Some((session, store)))
    }

    /// Creates the client of a component without OAuth2. Every request fails with an error that says so.
    pub(crate) fn unconfigured() -> Self {
        Self(None)
    }

    fn session(&self) -> Result<&(Session, Arc<dyn CredentialStore>), Error> {
        let reason = "component.json has neither `credentials.oauth2` nor a credential field for OAuth2, and the \
                      component does not call `Component::oauth2`";
        self.0.as_ref().ok_or_else(|| Error::Config(reason.into()))
    }

    fn http(&self) -> reqwest::Client {
        let session = self.0.as_ref().map(|(session, _)| session.http().clone());
        session.unwrap_or_else(http::idle_client)
    }

    async fn token(&self) -> Result<Arc<Token>, Error> {
        let (session, store) = self.session()?;
        let access = session.access(store, None, |_| Ok(())).await?;
        Ok(access.token)
    }

    /// Starts a GET request.
    pub fn get(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::GET, path)
    }

    /// Starts a POST request.
    pub fn post(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::POST, path)
    }

    /// Starts a PUT request.
    pub fn put(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::PUT, path)
    }

    /// Starts a PATCH request.
    pub fn patch(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::PATCH, path)
    }

    /// Starts a DELETE request.
    pub fn delete(&self, path: impl Into<String>) -> AuthorizedRequest {
        self.request(Method::DELETE, path)
    }

    /// Starts a request to a path below the API's base URL, or to a URL of an allowed origin.
    pub fn request(&self, method: Method, path: impl Into<String>) -> AuthorizedRequest {
        let request = self.http().request(method.clone(), PLACEHOLDER_URL);
        let idempotent = method.is_idempotent();
        AuthorizedRequest {
            client: self.clone(),
            method,
            path: path.into(),
            request,
            body: None,
            idempotent,
            accepted: Box::new(is_success),
        }
    }

    /// Returns the access token, for another kind of client (a library of the API, a socket). It is valid when this
    /// returns; call it again before each use.
    ///
    /// # Errors
    /// Returns an error if no access token is available.
    ///
    /// # Cancel safety
    /// Cancel safe: a refresh continues and is saved.
    pub async fn access_token(&self) -> Result<SecretString, Error> {
        let token = self.token().await?;
        Ok(token.record.access_token().unwrap_or_default().into())
    }

    /// Returns a text member of the token record, such as `instance_url` or `id_token`.
    ///
    /// # Errors
    /// As for [`access_token`](Self::access_token).
    ///
    /// # Cancel safety
    /// As for [`access_token`](Self::access_token).
    pub async fn token_member(&self, name: &str) -> Result<Option<SecretString>, Error> {
        let token = self.token().await?;
        Ok(token.record.member(name).map(SecretString::from))
    }
}

/// Which statuses are not errors.
type StatusFilter = Box<dyn Fn(StatusCode) -> bool + Send + Sync>;

/// A request to the API; [`send`](Self::send) sends it.
///
/// ```
/// # use sailor::oauth2::{AuthorizedClient, Error};
/// # use serde_json::{Value, json};
/// # async fn order(client: &AuthorizedClient, key: &str) -> Result<(), Error> {
/// let order: Value = client
///     .post("/orders")
///     .query(&[("dryRun", "false")])
///     .header("Idempotency-Key", key)
///     .idempotent(true)
///     .json(&json!({ "amount": 4 }))
///     .send_json()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a request does nothing until it is sent"]
pub struct AuthorizedRequest {
    client: AuthorizedClient,
    method: Method,
    path: String,
    request: reqwest::RequestBuilder,
    body: Option<BodyFactory>,
    idempotent: bool,
    accepted: StatusFilter,
}

impl fmt::Debug for AuthorizedRequest {
    /// Not derived: it omits all contents, and even a path can contain secrets.
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

    /// Sets the body; the last call counts.
    fn with_body(
        mut self,
        set: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Self {
        self.body = None;
        self.map(set)
    }

    /// Adds query parameters.
    pub fn query<T: Serialize + ?Sized>(self, parameters: &T) -> Self {
        self.map(|request| request.query(parameters))
    }

    /// Adds a header. `Authorization` is replaced by the client's own.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.map(|request| request.header(name, value))
    }

    /// Sets a JSON body.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        self.with_body(|request| request.json(body))
    }

    /// Sets a form as the body.
    pub fn form<T: Serialize + ?Sized>(self, fields: &T) -> Self {
        self.with_body(|request| request.form(fields))
    }

    /// Sets the body. Bytes and text can be sent again after a refresh. A stream cannot: if its token is refused, the request
    /// fails with [`Error::NotResent`], and the message comes back. [`reopen`](Self::reopen) avoids that.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.with_body(|request| request.body(body))
    }

    /// Sets a body that `open` creates again for each attempt, for streams that can be read again from the start.
    pub fn reopen<B: Into<reqwest::Body>>(
        mut self,
        open: impl Fn() -> B + Send + Sync + 'static,
    ) -> Self {
        self.body = Some(Arc::new(move |request| {
            *request.body_mut() = Some(open().into());
        }));
        self
    }

    /// Sets a multipart form as the body. `open` creates it again for each attempt, so that it can be sent again after a
    /// refresh. A content type that was set as a header is replaced, because only the form knows its boundary.
    ///
    /// ```
    /// # use sailor::{oauth2::Error, prelude::*};
    /// use sailor::reqwest::multipart::{Form, Part};
    ///
    /// async fn upload(cx: &Context, report: Vec<u8>) -> Result<(), Error> {
    ///     let form = move || {
    ///         let file = Part::bytes(report.clone()).file_name("report.pdf");
    ///         Form::new().text("title", "Report").part("file", file)
    ///     };
    ///     cx.oauth().post("/uploads").multipart(form).send().await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn multipart(
        mut self,
        open: impl Fn() -> reqwest::multipart::Form + Send + Sync + 'static,
    ) -> Self {
        self.body = Some(http::form_factory(self.client.http(), open));
        self
    }

    /// Limits the time of one attempt, from connecting to the last byte of the response. After a redirect it starts again.
    ///
    /// By default, a request may stand still for a minute: no part of its body is sent, and its response does not begin or go
    /// on. A response may take 15 minutes, and a second for every 64 KiB, also if the module reads it as a stream. So a file
    /// of any size arrives, in both directions. A stream of events that takes longer needs a limit of its own.
    pub fn timeout(self, limit: Duration) -> Self {
        self.map(|request| request.timeout(limit))
    }

    /// Sets whether this request can be sent twice without harm. The default is true for GET, PUT and DELETE; set it
    /// for a request with an idempotency key.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Sets which statuses are not errors for [`send`](Self::send). By default these are the successful ones and 304.
    pub fn accept(mut self, accepted: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.accepted = Box::new(accepted);
        self
    }

    /// Sends the request and follows redirects. An error status is an error, as is a redirect that cannot be followed.
    ///
    /// # Errors
    /// Returns an [`Error`] with the start of the API's response. If the module fails with a
    /// [transient](Error::is_transient) error, the message is delivered again later.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo a request that was sent: the API may process it. A refresh continues and is
    /// saved.
    pub async fn send(self) -> Result<Response, Error> {
        let (session, store) = self.client.session()?;
        let not_sent = |error: reqwest::Error| Error::NotSent(http::reason(&error));
        let prepared = PreparedRequest {
            session,
            store,
            label: request_label(&self.method, &self.path),
            request: Repeatable::new(self.request.build().map_err(not_sent)?, self.body),
            path: self.path,
            idempotent: self.idempotent,
            sent: AtomicU32::new(0),
        };
        // Boxed, because modules store this future in their own futures.
        Box::pin(prepared.send(self.accepted)).await
    }

    /// Sends the request and reads a JSON response of at most 64 MiB, as [`read_json`](crate::http::read_json) does: whatever
    /// its media type is called, in any character set, and an empty one as `null`.
    ///
    /// # Errors
    /// Returns the same errors as [`send`](Self::send), and an error if the response is longer or does not deserialize to
    /// `T`.
    ///
    /// # Cancel safety
    /// As for [`send`](Self::send).
    pub async fn send_json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (request, idempotent) = (request_label(&self.method, &self.path), self.idempotent);
        let failed = |reason, repeatable| Error::NoResponse {
            request: request.clone(),
            reason,
            repeatable,
        };
        let response = self.send().await?;
        let content_type = http::content_type(&response);
        let read = http::read(response, MAX_JSON).await;
        let read = read.map_err(|error| {
            let repeatable = idempotent && error.is_transient();
            failed(error.to_string(), repeatable)
        })?;
        parse_json(&read.body, content_type.as_deref()).map_err(|error| {
            let reason = format!("the response is not the expected JSON ({error})");
            failed(reason, false)
        })
    }

    /// Sends the request and returns the response with any status, after refreshes and resends.
    ///
    /// # Errors
    /// Returns an error if there is no response or no token, if the API asks for a scope that the token lacks, or if the token
    /// was refreshed but the body cannot be sent again ([`Error::NotResent`]).
    ///
    /// # Cancel safety
    /// As for [`send`](Self::send).
    pub async fn send_any_status(self) -> Result<Response, Error> {
        self.accept(|_| true).send().await
    }
}

fn is_success(status: StatusCode) -> bool {
    status.as_u16() < 400 && !http::is_redirect(status)
}
