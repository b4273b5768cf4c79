//! Records a run: forwards the requests of the component, and writes the file when the run was good.

use super::{
    Recording, VERSION, data_event, event,
    exchanges::{Exchange, Request, Response, to_send, without_connection},
    names::is_secret_name,
    proxy::{HttpRequest, HttpResponse, Proxy, Respond},
    secrets::Secrets,
};
use crate::{
    event::{Event, EventKind},
    local_platform::LocalPlatform,
    run::RunPlan,
};
use anyhow::Context;
use axum::http::header::CONTENT_ENCODING;
use regex_lite::{Captures, Regex};
use reqwest::{Certificate, Client, Method, redirect::Policy};
use sailor::jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;

/// Where the emulator's services are in a recording: their ports differ from run to run.
pub(super) const PLATFORM: &str = "http://127.0.0.1:1";
const PORTS: [u16; 3] = [1, 2, 3];
const TRUSTED: [&str; 2] = ["ELASTICIO_CA_CERTS", "NODE_EXTRA_CA_CERTS"];
/// What a component calls at the platform's address; the rest are calls of the sailor.
const OF_COMPONENT: [&str; 3] = ["/sample", "/objects", "/signed"];

/// Records one message.
pub(crate) struct Recorder {
    path: PathBuf,
    certificates: PathBuf,
    proxy: Proxy,
    forwarder: Arc<Forwarder>,
    data_key: String,
    names_of_component: Option<String>,
    environment: Vec<(String, String)>,
    configuration: Value,
    snapshot: Value,
    message: Value,
    events: Vec<Value>,
    function: String,
    /// Why nothing can be written.
    problem: Option<String>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.certificates);
    }
}

impl Recorder {
    /// Starts the proxy for the plan's only message.
    pub(crate) async fn start(
        path: &Path,
        plan: &RunPlan,
        local: &LocalPlatform,
        message: &Value,
    ) -> anyhow::Result<Self> {
        let platform = local.emulator.platform();
        let config = &plan.emulator;
        let step = platform
            .step(&config.flow, &config.step.id)
            .context("the step is unknown")?;
        let certificates = plan.variables.trusted_certificates(&TRUSTED)?;
        let forwarder = Arc::new(Forwarder::new(local, &certificates)?);
        let proxy = Proxy::start(forwarder.clone()).await?;
        let file = format!("emulator-ca-{}.pem", uuid::Uuid::new_v4());
        let file = std::env::temp_dir().join(file);
        let all = format!("{}\n{certificates}", proxy.certificate);
        fs::write(&file, all).with_context(|| format!("writing {}", file.display()))?;
        let mut message = message.clone();
        if plan.is_webhook {
            message["headers"]["reply_to"] = "reply".into();
        }
        Ok(Self {
            path: path.to_owned(),
            certificates: file,
            proxy,
            forwarder,
            data_key: local.emulator.topology().keys.data.clone(),
            names_of_component: plan.variables.descriptor(),
            environment: Vec::new(),
            configuration: step.config,
            snapshot: step.snapshot,
            message,
            events: Vec::new(),
            function: step.function,
            problem: None,
        })
    }

    /// Adds the variables that send the component's requests through the proxy.
    pub(crate) fn complete(&mut self, env: &mut Vec<(String, String)>) {
        self.environment.clone_from(env);
        let proxy = self.proxy.url();
        let certificates = self.certificates.display().to_string();
        let names = ["HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name, &*proxy));
        let none = ["ALL_PROXY", "NO_PROXY"].map(|name| (name, ""));
        for (name, value) in names.into_iter().chain(none) {
            for name in [name.to_owned(), name.to_ascii_lowercase()] {
                env.retain(|(known, _)| *known != name);
                env.push((name, value.to_owned()));
            }
        }
        for name in TRUSTED {
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), certificates.clone()));
        }
    }

    /// Records an event of the run.
    pub(crate) fn note(&mut self, happened: &Event) {
        let body = &happened.body;
        let key = (happened.routing_key != self.data_key).then_some(&*happened.routing_key);
        self.events.push(match happened.kind {
            EventKind::Data => data_event(body, key),
            EventKind::Snapshot => event("snapshot", body.clone()),
            EventKind::SnapshotUpdate => event("updateSnapshot", body.clone()),
            EventKind::UpdateKeys => event("updateKeys", body["keys"].clone()),
            EventKind::HttpReply => event("httpReply", body.clone()),
            EventKind::Rebound => {
                self.problem = Some("the message was sent back to come again".to_owned());
                return;
            }
            EventKind::Requeued => {
                self.problem = Some("the message was delivered twice".to_owned());
                return;
            }
            _ => return,
        });
    }

    /// Writes the file if the run was good. Returns what to tell.
    pub(crate) fn finish(mut self, ok: bool, local: &LocalPlatform) -> Result<String, String> {
        let path = self.path.display().to_string();
        let not = |why: &str| Err(format!("{path} is not written: {why}"));
        if !ok {
            return not("the message was not acknowledged without an error");
        }
        let problem = self.problem.take().or_else(|| self.forwarder.problem());
        if let Some(problem) = problem {
            return not(&problem);
        }
        let (text, count) = match self.text(local) {
            Ok(written) => written,
            Err(why) => return not(&why),
        };
        let exchanges = if count == 1 { "exchange" } else { "exchanges" };
        match fs::write(&self.path, text) {
            Ok(()) => Ok(format!(
                "{path} has {count} HTTP {exchanges}; look at it before you commit it: it has what the API returned"
            )),
            Err(error) => not(&error.to_string()),
        }
    }

    fn text(&mut self, local: &LocalPlatform) -> Result<(String, usize), String> {
        let exchanges = std::mem::take(&mut *self.forwarder.exchanges());
        let mut secrets = Secrets::default();
        let of_provider = local.emulator.provider().secrets();
        of_provider.iter().for_each(|secret| secrets.add(secret));
        for (name, value) in &self.environment {
            let is_key = name.ends_with("_KEY") && !name.ends_with("_ROUTING_KEY");
            if is_secret_name(name) || is_key {
                secrets.add(value);
            }
        }
        let of_component = self.own_environment();
        let values = of_component.values();
        values.for_each(|value| secrets.collect_variable(value));
        let descriptor = self.names_of_component.as_deref().unwrap_or_default();
        let descriptor: Value = serde_json::from_str(descriptor).unwrap_or_default();
        secrets.collect_fields(&descriptor, &self.configuration);
        secrets.collect_configuration(&self.configuration);
        let own = json!([self.configuration, self.snapshot, self.message, self.events]);
        secrets.collect(&own);
        exchanges
            .iter()
            .for_each(|exchange| secrets.collect_exchange(exchange));
        let is_hidden = |exchange: &&Exchange| {
            let bodies = [&exchange.request.body, &exchange.response.body];
            let mut bytes = bodies.iter().filter_map(|body| body.bytes());
            bytes.any(|b| std::str::from_utf8(&b).is_err() && secrets.is_in_bytes(&b))
        };
        if let Some(exchange) = exchanges.iter().find(is_hidden) {
            return Err(format!(
                "a secret is in a body that is no text: {} {}",
                exchange.request.method,
                exchange.request.url.split('?').next().unwrap_or_default()
            ));
        }
        let count = exchanges.len();
        let recording = Recording {
            version: VERSION,
            recorded_at: Timestamp::now().strftime("%FT%TZ").to_string(),
            function: self.function.clone(),
            environment: of_component,
            configuration: self.configuration.take(),
            snapshot: self.snapshot.take(),
            message: self.message.take(),
            exchanges,
            events: std::mem::take(&mut self.events),
        };
        let mut value = serde_json::to_value(recording).map_err(|error| error.to_string())?;
        each_text(&mut value, &with_fixed_ports(local));
        secrets.replace(&mut value);
        if secrets.is_in(&value) {
            return Err("a secret is in a place where it cannot be replaced".to_owned());
        }
        let recording: Recording = serde_json::from_value(value).map_err(|e| e.to_string())?;
        let text = serde_json::to_string_pretty(&recording).map_err(|error| error.to_string())?;
        Ok((text + "\n", count))
    }

    /// The variables that the component reads, by its component.json.
    fn own_environment(&self) -> std::collections::BTreeMap<String, String> {
        let json = self.names_of_component.as_deref().unwrap_or_default();
        let named = self
            .environment
            .iter()
            .filter(|(name, _)| !name.starts_with("ELASTICIO_") && json.contains(name.as_str()));
        named.cloned().collect()
    }
}

/// Replaces the ports of the emulator's services in a text.
fn with_fixed_ports(local: &LocalPlatform) -> impl Fn(&str) -> String {
    let services = local.urls().map(|url| {
        let port = url.as_deref().and_then(|url| url.rsplit(':').next());
        port.map(|port| {
            port.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        })
    });
    let address = Regex::new(r"127\.0\.0\.1(:|%3A)(\d+)").ok();
    move |text: &str| {
        let Some(address) = &address else {
            return text.to_owned();
        };
        let fixed = |found: &Captures<'_>| {
            let known = services.iter().zip(PORTS);
            let mut known = known.filter(|(port, _)| port.as_deref() == Some(&found[2]));
            known.next().map_or_else(
                || found[0].to_owned(),
                |(_, port)| format!("127.0.0.1{}{port}", &found[1]),
            )
        };
        address.replace_all(text, fixed).into_owned()
    }
}

fn each_text(value: &mut Value, change: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(members) => {
            let changed = std::mem::take(members).into_iter();
            *members = changed
                .map(|(name, mut value)| {
                    each_text(&mut value, change);
                    (name, value)
                })
                .collect::<Map<_, _>>();
        }
        _ => {}
    }
}

/// Sends each request on to its server, and keeps both.
struct Forwarder {
    platform: String,
    provider: String,
    /// The time line.
    events: mpsc::UnboundedSender<Event>,
    http: Client,
    exchanges: Mutex<Vec<Exchange>>,
    problem: Mutex<Option<String>>,
}

impl Forwarder {
    fn new(local: &LocalPlatform, certificates: &str) -> anyhow::Result<Self> {
        http_double::choose_cryptography();
        let trusted = Certificate::from_pem_bundle(certificates.as_bytes())?;
        let http = Client::builder()
            .redirect(Policy::none())
            .tls_certs_merge(trusted)
            .build()?;
        Ok(Self {
            platform: local.emulator.platform().url(),
            provider: local.emulator.provider().url(),
            events: local.emulator.others(),
            http,
            exchanges: Mutex::default(),
            problem: Mutex::default(),
        })
    }

    fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn problem(&self) -> Option<String> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        problem.clone()
    }

    /// Whether it is a request of the module, and not of the sailor.
    fn is_of_component(&self, url: &str) -> bool {
        url.strip_prefix(&self.platform)
            .is_none_or(|path| OF_COMPONENT.iter().any(|begin| path.starts_with(begin)))
    }

    /// Shows a request on the time line, unless it went to a service of the emulator that tells it anyway.
    fn show(&self, request: &HttpRequest, status: Option<u16>) {
        let known = [&self.platform, &self.provider];
        if !known.iter().any(|url| request.url.starts_with(*url)) {
            let event = Event::from_proxy(&request.method, &request.url, status);
            // The run may have ended.
            let _ = self.events.send(event);
        }
    }

    async fn send(&self, request: &HttpRequest) -> Result<HttpResponse, reqwest::Error> {
        let method = Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::GET);
        let sent = self
            .http
            .request(method, &request.url)
            .headers(to_send(&request.headers))
            .body(request.body.clone())
            .send()
            .await?;
        let (status, headers) = (sent.status().as_u16(), without_connection(sent.headers()));
        Ok(HttpResponse {
            status,
            headers,
            body: sent.bytes().await?,
        })
    }
}

impl Respond for Forwarder {
    async fn respond(&self, request: HttpRequest) -> HttpResponse {
        if self.is_of_component(&request.url) && request.headers.contains_key(CONTENT_ENCODING) {
            let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
            let text = "a request has a compressed body, where secrets cannot be found: send it without Content-Encoding";
            problem.get_or_insert_with(|| text.to_owned());
        }
        let response = match self.send(&request).await {
            Ok(response) => {
                self.show(&request, Some(response.status));
                response
            }
            Err(error) => {
                self.show(&request, None);
                let address = request.url.split('?').next().unwrap_or_default();
                let text = format!(
                    "no response to {} {address}: {}",
                    request.method,
                    reason(&error)
                );
                let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
                problem.get_or_insert_with(|| text.clone());
                return HttpResponse::of_proxy(format!("emulator: {text}"));
            }
        };
        if self.is_of_component(&request.url) {
            self.exchanges().push(Exchange {
                request: Request::of(&request),
                response: Response::of(&response),
            });
        }
        response
    }
}

/// The last cause, which has no address.
fn reason(error: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(first.source(), |cause| cause.source());
    causes
        .map(ToString::to_string)
        .last()
        .unwrap_or_else(|| "it failed".to_owned())
}
