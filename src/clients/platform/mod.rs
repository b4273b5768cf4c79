//! The platform's REST API: the step, accounts, secrets, startup data, and the result of a one-time call. It defines
//! the paths and the shape of the responses, and does not interpret them.
//!
//! Every call has a time limit. After a transient error it is retried up to `API_REQUEST_RETRY_ATTEMPTS` attempts, or for
//! 30 seconds (wire-contract: Calls of a sailor, wire-contract: Retries of REST calls). A future may be dropped at any time,
//! but a request that has been sent may still take effect.

mod error;
mod probe;
mod result;
#[cfg(test)]
mod tests;

pub use error::PlatformError;
pub(crate) use probe::DatedStep;
pub(crate) use result::post_result;

use crate::{
    clients::{
        http::{self, HttpError, RequestPolicy, ResponseBody, SizeLimit},
        retry::RetryPolicy,
    },
    codes,
    settings::ApiSettings,
};
use error::platform_error;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// The time limit of one attempt, as in the Node sailor.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// The delay between attempts if only their number is configured, as in the Node sailor.
const DELAY: Duration = Duration::from_secs(1);
/// The delay for startup data and for callers that retry themselves.
const SHORT_DELAY: Duration = Duration::from_millis(100);
/// The number of attempts for callers that retry themselves.
const FEW_ATTEMPTS: u32 = 3;

/// The platform's REST API with this step's credentials. Clones are cheap and share connections.
///
/// ```
/// use reqwest::Method;
/// use sailor::prelude::*;
/// use serde_json::Value;
///
/// async fn flows(_: Message<NoBody>, cx: Context<Value, Value>) -> anyhow::Result<()> {
///     let request = cx.platform()?.request(Method::GET, "/v2/flows");
///     let flows: Value = request.send().await?.error_for_status()?.json().await?;
///     cx.data(&flows["data"]).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Platform {
    http: Client,
    policy: RequestPolicy,
    /// The policy of calls for startup data.
    hook_policy: RequestPolicy,
    /// The largest step, account, secret or startup data that is read.
    limit: SizeLimit,
    credentials: Arc<ApiCredentials>,
}

#[derive(Debug)]
struct ApiCredentials {
    uri: String,
    username: String,
    key: SecretString,
    flow_id: String,
    step_id: String,
    workspace_id: String,
}

/// A step as the platform stores it.
#[derive(Clone, Default)]
pub struct StepData {
    /// The step's fields and credentials, always an object.
    pub config: Value,
    /// The last snapshot of the step; an empty object if there is none.
    pub snapshot: Value,
    /// Whether the step takes part in passthrough.
    pub is_passthrough: bool,
    /// The flow's variables.
    pub variables: Map<String, Value>,
}

impl StepData {
    /// Reads the platform's response. Members that are missing in it are empty.
    fn from_members(step: &Map<String, Value>) -> Self {
        let object = |name| {
            step.get(name)
                .filter(|value| value.is_object())
                .cloned()
                .unwrap_or_else(|| json!({}))
        };
        Self {
            config: object("config"),
            // A snapshot can be any value, so only a missing one becomes an object.
            snapshot: step
                .get("snapshot")
                .filter(|value| !value.is_null())
                .cloned()
                .unwrap_or_else(|| json!({})),
            is_passthrough: step.get("is_passthrough") == Some(&Value::Bool(true)),
            variables: step
                .get("variables")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        }
    }
}

impl fmt::Debug for StepData {
    /// Omits the configuration, the snapshot and the variables: they belong to the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepData")
            .field("is_passthrough", &self.is_passthrough)
            .finish_non_exhaustive()
    }
}

/// The URLs for one file. Anyone who knows them can use them.
#[derive(Clone, Deserialize)]
pub struct SignedUrl {
    /// The URL to upload the file to, with `PUT`.
    pub put_url: String,
    /// The URL to download the file from.
    pub get_url: String,
    /// When the URLs expire, in the platform's format.
    #[serde(default)]
    pub expires: Value,
}

impl fmt::Debug for SignedUrl {
    /// Omits the URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedUrl")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Platform {
    /// Reads the certificates that requests need, so that a missing one is an error that no attempt repeats.
    pub(crate) async fn load_certificates(&self) -> Result<(), HttpError> {
        http::load_certificates_for(&self.credentials.uri).await
    }

    pub(crate) fn new(
        http: Client,
        api: &ApiSettings,
        flow_id: &str,
        step_id: &str,
        workspace_id: &str,
    ) -> Self {
        Self {
            http,
            policy: policy(api.attempts, api.retry_delay, DELAY),
            hook_policy: policy(api.attempts, api.retry_delay, SHORT_DELAY),
            limit: SizeLimit {
                bytes: api.configuration_limit,
                variable: Some("ELASTICIO_CONFIGURATION_SIZE_LIMIT"),
            },
            credentials: Arc::new(ApiCredentials {
                uri: api.uri.clone(),
                username: api.username.clone(),
                key: api.key.clone(),
                flow_id: flow_id.to_owned(),
                step_id: step_id.to_owned(),
                workspace_id: workspace_id.to_owned(),
            }),
        }
    }

    /// Makes only a few more attempts once `stopping` is cancelled.
    pub(crate) fn with_cancellation(mut self, stopping: CancellationToken) -> Self {
        self.hook_policy.stopping = stopping.clone();
        self.policy.stopping = stopping;
        self
    }

    /// Limits calls to a few attempts in quick succession, for callers that retry themselves: nested retries would take
    /// minutes.
    pub(crate) fn with_few_retries(mut self) -> Self {
        let attempts = self
            .policy
            .retry
            .attempts
            .map_or(FEW_ATTEMPTS, |attempts| attempts.min(FEW_ATTEMPTS));
        let delay = self.policy.retry.delay.min(SHORT_DELAY);
        self.policy.retry = RetryPolicy::constant(delay).with_attempts(attempts);
        self
    }

    /// Reads this step. Members that are missing in the response are empty.
    ///
    /// # Errors
    /// Returns an error if the platform cannot be reached, responds with an error status, or returns something other
    /// than an object.
    ///
    /// ```
    /// use sailor::prelude::*;
    /// use serde_json::Value;
    ///
    /// /// Reads the configuration as it is now. `cx.config` is from the start of the message.
    /// async fn reload(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    ///     let step = cx.platform()?.step().await?;
    ///     cx.data(&step.config["filter"]).await
    /// }
    /// ```
    pub async fn step(&self) -> Result<StepData, PlatformError> {
        let ApiCredentials {
            flow_id, step_id, ..
        } = &*self.credentials;
        let operation = || format!("reading step {step_id} of flow {flow_id}");
        let response = self.get(&["v1", "tasks", flow_id, "steps", step_id]).await;
        let step: Map<String, Value> = response
            .and_then(|response| response.json())
            .map_err(platform_error(operation))?;
        Ok(StepData::from_members(&step))
    }

    /// Reads the account `id`.
    ///
    /// # Errors
    /// Returns an error if the platform cannot be reached or responds with an error status.
    pub async fn account(&self, id: &str) -> Result<Value, PlatformError> {
        let response = self.get(&["v1", "accounts", id]).await;
        response
            .and_then(|response| response.json())
            .map_err(platform_error(|| format!("reading account {id}")))
    }

    /// Replaces the keys of the account `id`, that is, the fields and tokens of its credential.
    ///
    /// # Errors
    /// Returns an error if the platform cannot be reached or responds with an error status. The message for an error
    /// status is the body of the response and nothing else, because the platform shows it to the user (wire-contract:
    /// Retries of REST calls).
    pub async fn update_account(&self, id: &str, keys: &Value) -> Result<(), PlatformError> {
        let body = json!({ "keys": keys });
        let saved = self
            .deliver(
                &self.policy,
                Method::PUT,
                &["v1", "accounts", id],
                Some(&body),
            )
            .await;
        saved.map_err(|cause| PlatformError {
            operation: cause
                .status()
                .is_none()
                .then(|| format!("saving the keys of account {id}")),
            cause,
        })
    }

    /// Reads the secret `id` of this step's workspace: its `id`, `attributes` with `credentials`, and `relationships`
    /// (wire-contract: Secrets).
    ///
    /// # Errors
    /// Returns an error if the platform cannot be reached, responds with an error status, or returns no secret.
    pub async fn secret(&self, id: &str) -> Result<Value, PlatformError> {
        let path = [
            "v2",
            "workspaces",
            &self.credentials.workspace_id,
            "secrets",
            id,
        ];
        let response = self.get(&path).await;
        response
            .and_then(|response| json_api_data(&response))
            .map_err(platform_error(|| format!("reading secret {id}")))
    }

    /// Asks the platform to refresh the secret `id`, and returns it like [`Self::secret`].
    ///
    /// # Errors
    /// Returns the errors of [`Self::secret`].
    pub async fn refresh_secret(&self, id: &str) -> Result<Value, PlatformError> {
        let path = [
            "v2",
            "workspaces",
            &self.credentials.workspace_id,
            "secrets",
            id,
            "refresh",
        ];
        let response = self
            .call(&self.policy, Method::POST, &path, self.limit)
            .await;
        response
            .and_then(|response| json_api_data(&response))
            .map_err(platform_error(|| format!("refreshing secret {id}")))
    }

    /// Requests the URLs for one file in the platform's storage (wire-contract: Other endpoints).
    ///
    /// # Errors
    /// Returns an error if the platform cannot be reached or responds with an error status.
    ///
    /// ```
    /// use sailor::prelude::*;
    ///
    /// async fn store(message: Message<String>, cx: Context<serde_json::Value, String>) -> anyhow::Result<()> {
    ///     let file = cx.platform()?.signed_url().await?;
    ///     cx.http().put(&file.put_url).body(message.body).send().await?.error_for_status()?;
    ///     cx.data(&file.get_url).await
    /// }
    /// ```
    pub async fn signed_url(&self) -> Result<SignedUrl, PlatformError> {
        let response = self
            .call(
                &self.policy,
                Method::POST,
                &["v2", "resources", "storage", "signed-url"],
                SizeLimit::STATUS,
            )
            .await;
        let operation = || "requesting URLs for a file".to_owned();
        response
            .and_then(|response| response.json())
            .map_err(platform_error(operation))
    }

    /// Starts a request to any other endpoint of the API, with credentials and a time limit of 15 s. `path` is relative to
    /// the API's URL, such as `/v2/flows`. The request is not retried.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/{}", self.credentials.uri, path.trim_start_matches('/'));
        let ApiCredentials { username, key, .. } = &*self.credentials;
        self.http
            .request(method, url)
            .basic_auth(username, Some(key.expose_secret()))
            .timeout(ATTEMPT_TIMEOUT)
    }

    /// Reads the state that the startup hook has returned; an empty object if there is none.
    pub(crate) async fn startup_data(&self) -> Result<Value, PlatformError> {
        let response = self
            .call(
                &self.hook_policy,
                Method::GET,
                &self.startup_path(),
                self.limit,
            )
            .await;
        let value = response.and_then(|response| {
            if response.body.is_empty() {
                Ok(json!({}))
            } else {
                response.json()
            }
        });
        value.map_err(platform_error(|| "reading the startup data".to_owned()))
    }

    /// Stores the state of the startup hook. State of an earlier start is replaced.
    pub(crate) async fn store_startup_data(&self, state: &Value) -> Result<(), PlatformError> {
        let path = self.startup_path();
        let store = || self.deliver(&self.hook_policy, Method::POST, &path, Some(state));
        let mut stored = store().await;
        if stored
            .as_ref()
            .is_err_and(|e| e.status() == Some(StatusCode::CONFLICT))
        {
            tracing::warn!(code = %codes::STARTUP_DATA_REPLACED, "Startup data of an earlier start exists; it is replaced");
            self.delete_startup_data().await?;
            stored = store().await;
        }
        stored.map_err(platform_error(|| "storing the startup data".to_owned()))
    }

    pub(crate) async fn delete_startup_data(&self) -> Result<(), PlatformError> {
        let deleted = self
            .deliver(
                &self.hook_policy,
                Method::DELETE,
                &self.startup_path(),
                None,
            )
            .await;
        deleted.map_err(platform_error(|| "deleting the startup data".to_owned()))
    }

    fn startup_path(&self) -> [&str; 6] {
        [
            "sailor-support",
            "hooks",
            "task",
            &self.credentials.flow_id,
            "startup",
            "data",
        ]
    }

    async fn get(&self, path: &[&str]) -> Result<ResponseBody, HttpError> {
        self.call(&self.policy, Method::GET, path, self.limit).await
    }

    async fn call(
        &self,
        policy: &RequestPolicy,
        method: Method,
        path: &[&str],
        limit: SizeLimit,
    ) -> Result<ResponseBody, HttpError> {
        let path = joined(path);
        http::send_with_retry(policy, limit, || self.request(method.clone(), &path)).await
    }

    /// Sends a request. Only the status of the response matters.
    async fn deliver(
        &self,
        policy: &RequestPolicy,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<(), HttpError> {
        let path = joined(path);
        http::send_ignoring_body(policy, || {
            let request = self.request(method.clone(), &path);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        })
        .await
    }
}

/// Returns the retry policy that the variables configure, with `default_delay` if only the number of attempts is
/// configured. Without both variables, a call outlasts an outage of 30 seconds.
fn policy(
    attempts: Option<u32>,
    delay: Option<Duration>,
    default_delay: Duration,
) -> RequestPolicy {
    let mut policy = RequestPolicy::for_outages(ATTEMPT_TIMEOUT);
    if let Some(delay) = delay.or(attempts.map(|_| default_delay)) {
        policy.retry = RetryPolicy {
            attempts,
            ..RetryPolicy::constant(delay)
        };
    }
    policy
}

/// Escapes and joins the segments of a path.
fn joined(path: &[&str]) -> String {
    path.iter()
        .map(|text| http::segment(text))
        .collect::<Vec<_>>()
        .join("/")
}

/// Returns the `data` of a JSON:API response. Some responses wrap the one object in a list.
fn json_api_data(response: &ResponseBody) -> Result<Value, HttpError> {
    #[derive(Deserialize)]
    struct Document {
        data: OneOrMany,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many([Map<String, Value>; 1]),
        One(Map<String, Value>),
    }
    let (OneOrMany::One(one) | OneOrMany::Many([one])) = response.json::<Document>()?.data;
    Ok(one.into())
}
