//! The platform's REST API: the step, accounts, secrets, startup data, and the result of a service call.
//!
//! Every call has a time limit and is tried `API_REQUEST_RETRY_ATTEMPTS` times in all, or for half a minute, where trying
//! again can help (wire-contract: Calls of a sailor, wire-contract: Retries of REST calls). Futures may be dropped at any time; a request that is out may still take effect.

use crate::{
    clients::http::{self, HttpError, ResponseBody, RetryPolicy, SizeLimit},
    settings::{ApiSettings, ResultTarget},
};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// For one try of a request, as the existing sailors have it.
const TRY_TIMEOUT: Duration = Duration::from_secs(15);
/// Between tries that are counted, where nothing else is said, as the Node sailor has it: of calls of the API, of the
/// startup data of hooks, and of whoever tries again by itself.
const PAUSE: Duration = Duration::from_secs(1);
const SHORT_PAUSE: Duration = Duration::from_millis(100);
/// Tries for whoever tries again by itself.
const QUICK_TRIES: u32 = 3;

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
    policy: RetryPolicy,
    /// For startup data.
    hook_policy: RetryPolicy,
    /// What is read of a step, an account, a secret or startup data; other answers only tell a state.
    limit: SizeLimit,
    access: Arc<Access>,
}

#[derive(Debug)]
struct Access {
    uri: String,
    username: String,
    key: SecretString,
    flow_id: String,
    step_id: String,
    workspace_id: String,
}

/// What the platform keeps of a step.
#[derive(Clone, Default)]
pub struct StepData {
    /// The step's fields and credentials, always an object.
    pub config: Value,
    /// What the step remembered last; an empty object when there is nothing.
    pub snapshot: Value,
    /// The step takes part in passthrough.
    pub is_passthrough: bool,
    /// The flow's variables.
    pub variables: Map<String, Value>,
}

impl fmt::Debug for StepData {
    /// Configuration, snapshot and variables are the user's and are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepData")
            .field("is_passthrough", &self.is_passthrough)
            .finish_non_exhaustive()
    }
}

/// Addresses for one file: whoever has them may use them, so they are not printed.
#[derive(Clone, Deserialize)]
pub struct SignedUrl {
    /// Where to put the file.
    pub put_url: String,
    /// Where it can be read afterwards.
    pub get_url: String,
    /// When the addresses cease to work, as the platform says it.
    #[serde(default)]
    pub expires: Value,
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedUrl")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A call of the platform's API that failed, after all tries.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{cause}", doing.as_ref().map(|doing| format!("{doing} failed: ")).unwrap_or_default())]
pub struct PlatformError {
    doing: Option<String>,
    cause: HttpError,
}

impl PlatformError {
    /// The status that the platform answered with, when it answered.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.cause.status()
    }
}

impl PlatformError {
    /// Worth another try.
    pub(crate) fn is_transient(&self) -> bool {
        self.cause.is_transient()
    }

    /// For the log, where nothing of what a server says may stand: it may repeat what it was sent.
    pub(crate) fn without_contents(&self) -> String {
        let doing = self.doing.as_deref().unwrap_or("a call of the platform");
        format!("{doing} failed: {}", self.cause.without_contents())
    }
}

impl Platform {
    pub(crate) fn new(
        http: Client,
        api: &ApiSettings,
        flow_id: &str,
        step_id: &str,
        workspace_id: &str,
    ) -> Self {
        Self {
            http,
            policy: policy(api.attempts, api.retry_delay, PAUSE),
            hook_policy: policy(api.attempts, api.retry_delay, SHORT_PAUSE),
            limit: SizeLimit {
                bytes: api.configuration_limit,
                variable: Some("ELASTICIO_CONFIGURATION_SIZE_LIMIT"),
            },
            access: Arc::new(Access {
                uri: api.uri.clone(),
                username: api.username.clone(),
                key: api.key.clone(),
                flow_id: flow_id.to_owned(),
                step_id: step_id.to_owned(),
                workspace_id: workspace_id.to_owned(),
            }),
        }
    }

    /// The same, with few tries once `stopping` has fired.
    pub(crate) fn until(mut self, stopping: CancellationToken) -> Self {
        self.hook_policy.stopping = stopping.clone();
        self.policy.stopping = stopping;
        self
    }

    /// The same with few tries in quick succession, for whoever tries again by itself: patience within patience
    /// keeps everyone waiting.
    pub(crate) fn quickly(mut self) -> Self {
        let attempts = self
            .policy
            .attempts
            .map_or(QUICK_TRIES, |attempts| attempts.min(QUICK_TRIES));
        let delay = self.policy.delay.min(SHORT_PAUSE);
        self.policy = RetryPolicy {
            attempts: Some(attempts),
            delay,
            max_delay: delay,
            ..self.policy
        };
        self
    }

    /// Reads this step. What is missing in the answer is empty.
    ///
    /// # Errors
    /// When the platform cannot be reached, refuses, or answers with something other than an object.
    pub async fn step(&self) -> Result<StepData, PlatformError> {
        let Access {
            flow_id, step_id, ..
        } = &*self.access;
        let doing = || format!("reading step {step_id} of flow {flow_id}");
        let answer = self.get(&["v1", "tasks", flow_id, "steps", step_id]).await;
        let step: Map<String, Value> = answer
            .and_then(|answer| answer.json())
            .map_err(in_the_midst_of(doing))?;
        let object = |name| {
            step.get(name)
                .filter(|value| value.is_object())
                .cloned()
                .unwrap_or_else(|| json!({}))
        };
        Ok(StepData {
            config: object("config"),
            // A snapshot is whatever the component stored, so only its absence is mended.
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
        })
    }

    /// Reads the account (the stored credentials) `id`.
    ///
    /// # Errors
    /// When the platform cannot be reached or refuses.
    pub async fn account(&self, id: &str) -> Result<Value, PlatformError> {
        let answer = self.get(&["v1", "accounts", id]).await;
        answer
            .and_then(|answer| answer.json())
            .map_err(in_the_midst_of(|| format!("reading account {id}")))
    }

    /// Replaces the keys (the credentials' fields and tokens) of the account `id`.
    ///
    /// # Errors
    /// When the platform cannot be reached, or refuses: then what it says is the whole message, because the
    /// platform shows it to the user, who knows it in these words (wire-contract: Retries of REST calls).
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
            doing: cause
                .status()
                .is_none()
                .then(|| format!("saving the keys of account {id}")),
            cause,
        })
    }

    /// Reads the secret `id` of this step's workspace: its `id`, `attributes` with `credentials`, `relationships`
    /// (wire-contract: Secrets).
    ///
    /// # Errors
    /// When the platform cannot be reached or refuses, or its answer holds no secret.
    pub async fn secret(&self, id: &str) -> Result<Value, PlatformError> {
        let path = ["v2", "workspaces", &self.access.workspace_id, "secrets", id];
        let answer = self.get(&path).await;
        answer
            .and_then(|answer| data(&answer))
            .map_err(in_the_midst_of(|| format!("reading secret {id}")))
    }

    /// Has the platform refresh the secret `id` now, and gives it as [`Self::secret`] does.
    ///
    /// # Errors
    /// As for [`Self::secret`].
    pub async fn refresh_secret(&self, id: &str) -> Result<Value, PlatformError> {
        let path = [
            "v2",
            "workspaces",
            &self.access.workspace_id,
            "secrets",
            id,
            "refresh",
        ];
        let answer = self
            .call(&self.policy, Method::POST, &path, self.limit)
            .await;
        answer
            .and_then(|answer| data(&answer))
            .map_err(in_the_midst_of(|| format!("refreshing secret {id}")))
    }

    /// Asks for a place to keep one file in the platform's storage (wire-contract: Other endpoints).
    ///
    /// # Errors
    /// When the platform cannot be reached or refuses.
    pub async fn signed_url(&self) -> Result<SignedUrl, PlatformError> {
        let answer = self
            .call(
                &self.policy,
                Method::POST,
                &["v2", "resources", "storage", "signed-url"],
                SizeLimit::STATUS,
            )
            .await;
        let doing = || "asking for a place to store a file".to_owned();
        answer
            .and_then(|answer| answer.json())
            .map_err(in_the_midst_of(doing))
    }

    /// A request to any other part of the API, with credentials and a time limit of 15 s for one try; `path` is below
    /// the API's address, such as `/v2/flows`. It is sent once.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = format!("{}/{}", self.access.uri, path.trim_start_matches('/'));
        let Access { username, key, .. } = &*self.access;
        self.http
            .request(method, address)
            .basic_auth(username, Some(key.expose_secret()))
            .timeout(TRY_TIMEOUT)
    }

    /// The state that the startup hook left; an empty object when there is none.
    pub(crate) async fn startup_data(&self) -> Result<Value, PlatformError> {
        let answer = self
            .call(
                &self.hook_policy,
                Method::GET,
                &self.startup_path(),
                self.limit,
            )
            .await;
        let value = answer.and_then(|answer| {
            if answer.body.is_empty() {
                Ok(json!({}))
            } else {
                answer.json()
            }
        });
        value.map_err(in_the_midst_of(|| "reading the startup data".to_owned()))
    }

    /// Keeps the startup hook's state; state of an earlier start is replaced.
    pub(crate) async fn store_startup_data(&self, state: &Value) -> Result<(), PlatformError> {
        let path = self.startup_path();
        let store = || self.deliver(&self.hook_policy, Method::POST, &path, Some(state));
        let mut stored = store().await;
        if stored
            .as_ref()
            .is_err_and(|e| e.status() == Some(StatusCode::CONFLICT))
        {
            tracing::warn!(
                "There is startup data already, from a start that was not shut down: it is replaced"
            );
            self.delete_startup_data().await?;
            stored = store().await;
        }
        stored.map_err(in_the_midst_of(|| "storing the startup data".to_owned()))
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
        deleted.map_err(in_the_midst_of(|| "deleting the startup data".to_owned()))
    }

    fn startup_path(&self) -> [&str; 6] {
        [
            "sailor-support",
            "hooks",
            "task",
            &self.access.flow_id,
            "startup",
            "data",
        ]
    }

    async fn get(&self, path: &[&str]) -> Result<ResponseBody, HttpError> {
        self.call(&self.policy, Method::GET, path, self.limit).await
    }

    async fn call(
        &self,
        policy: &RetryPolicy,
        method: Method,
        path: &[&str],
        limit: SizeLimit,
    ) -> Result<ResponseBody, HttpError> {
        let path = joined(path);
        http::send_with_retry(policy, limit, || self.request(method.clone(), &path)).await
    }

    /// Sends something of whose answer only the status counts.
    async fn deliver(
        &self,
        policy: &RetryPolicy,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<(), HttpError> {
        let path = joined(path);
        http::deliver_with_retry(policy, || {
            let request = self.request(method.clone(), &path);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        })
        .await
    }
}

/// Posts the result of a service call: `status` is `success` or `error`.
///
/// What a failed try has posted may have arrived all the same, so after an error nothing else may be posted.
pub(crate) async fn post_result(
    http: &Client,
    target: &ResultTarget,
    status: &str,
    data: &Value,
) -> Result<(), PlatformError> {
    let body = json!({ "status": status, "data": data });
    let mut address = target.url.expose_secret().to_owned();
    // The client sends user-info as Basic credentials. Half of them are none (wire-contract: Calls of a sailor).
    if let Ok(mut url) = Url::parse(&address)
        && (url.username().is_empty() || url.password().is_none_or(str::is_empty))
        && url
            .set_username("")
            .and_then(|()| url.set_password(None))
            .is_ok()
    {
        address = url.into();
    }
    let policy = policy(Some(target.attempts), Some(target.retry_delay), SHORT_PAUSE);
    let delivered = http::deliver_with_retry(&policy, || http.post(&address).json(&body)).await;
    delivered.map_err(in_the_midst_of(|| "posting the result".to_owned()))
}

/// What a variable says counts as it is, with `pause` between tries that only their number is said of; what none says is
/// patient.
fn policy(attempts: Option<u32>, delay: Option<Duration>, pause: Duration) -> RetryPolicy {
    let patient = RetryPolicy::patient(TRY_TIMEOUT);
    match delay.or(attempts.map(|_| pause)) {
        Some(delay) => RetryPolicy {
            attempts,
            delay,
            max_delay: delay,
            ..patient
        },
        None => patient,
    }
}

fn joined(path: &[&str]) -> String {
    path.iter()
        .map(|text| http::segment(text))
        .collect::<Vec<_>>()
        .join("/")
}

fn in_the_midst_of(doing: impl FnOnce() -> String) -> impl FnOnce(HttpError) -> PlatformError {
    |cause| PlatformError {
        doing: Some(doing()),
        cause,
    }
}

/// The `data` of a JSON:API answer. Some answers wrap the one object there is in a list.
fn data(answer: &ResponseBody) -> Result<Value, HttpError> {
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
    let (OneOrMany::One(one) | OneOrMany::Many([one])) = answer.json::<Document>()?.data;
    Ok(one.into())
}

#[cfg(test)]
mod tests;
