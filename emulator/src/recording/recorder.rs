//! Records a run: forwards the requests of the component, and writes the file when the run was good.

use super::{
    Recording, VERSION,
    body::Body,
    data_event,
    environment::{self, OF_SAILOR},
    event,
    exchanges::Exchange,
    forwarder::Forwarder,
    names::is_secret_name,
    proxy::Proxy,
    secrets::Secrets,
};
use crate::{
    event::{Event, EventKind},
    local_platform::LocalPlatform,
    run::RunPlan,
};
use anyhow::Context;
use regex_lite::{Captures, Regex};
use sailor::jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where the emulator's services are in a recording: their ports differ from run to run.
pub(super) const PLATFORM: &str = "http://127.0.0.1:1";
const PORTS: [u16; 3] = [1, 2, 3];
const TRUSTED: [&str; 2] = ["ELASTICIO_CA_CERTS", "NODE_EXTRA_CA_CERTS"];

/// Why the recording of a run is not written that was not good.
const FAILED: &str = "the run did not succeed";

/// Records one message.
pub(crate) struct Recorder {
    path: PathBuf,
    certificates: PathBuf,
    proxy: Proxy,
    forwarder: Arc<Forwarder>,
    data_key: String,
    descriptor: Option<String>,
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
            add_reply_to(&mut message);
        }
        Ok(Self {
            path: path.to_owned(),
            certificates: file,
            proxy,
            forwarder,
            data_key: local.emulator.topology().keys.data.clone(),
            descriptor: plan.variables.descriptor(),
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
            let seen = self.forwarder.problem_of_failed();
            let hints = seen.into_iter().chain(self.forwarder.hints());
            let all: Vec<_> = std::iter::once(FAILED.to_owned()).chain(hints).collect();
            return not(&all.join("; "));
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
        let folder = self.path.parent().unwrap_or(Path::new(""));
        match fs::create_dir_all(folder).and_then(|()| fs::write(&self.path, text)) {
            Ok(()) => Ok(format!(
                "{path} has {count} HTTP {exchanges}; look at it before you commit it: it has what the API returned"
            )),
            Err(error) => not(&error.to_string()),
        }
    }

    fn text(&mut self, local: &LocalPlatform) -> Result<(String, usize), String> {
        let exchanges = std::mem::take(&mut *self.forwarder.exchanges());
        let descriptor = self.descriptor.as_deref().unwrap_or_default();
        let descriptor: Value = serde_json::from_str(descriptor).unwrap_or_default();
        let inherited = |name: &str| std::env::var(name).ok();
        let variables = environment::recorded(&descriptor, &self.environment, inherited);
        let mut secrets = self.secrets(local, &descriptor, &variables);
        let each = exchanges.iter();
        each.for_each(|exchange| secrets.collect_exchange(exchange));
        if let Some(why) = secrets.undecided() {
            return Err(why.to_owned());
        }
        let count = exchanges.len();
        let recording = Recording {
            version: VERSION,
            recorded_at: Timestamp::now().strftime("%FT%TZ").to_string(),
            function: self.function.clone(),
            environment: variables,
            configuration: self.configuration.take(),
            snapshot: self.snapshot.take(),
            message: self.message.take(),
            exchanges,
            events: std::mem::take(&mut self.events),
        };
        let recording = without_secrets(recording, &mut secrets, local)?;
        let text = serde_json::to_string_pretty(&recording).map_err(|error| error.to_string())?;
        Ok((text + "\n", count))
    }

    /// The secrets that are known without the exchanges.
    fn secrets(
        &self,
        local: &LocalPlatform,
        descriptor: &Value,
        variables: &BTreeMap<String, String>,
    ) -> Secrets {
        let mut secrets = Secrets::default();
        let of_provider = local.emulator.provider().secrets();
        let each = of_provider.iter();
        each.for_each(|secret| secrets.add("a token of the provider", secret));
        let given = self.environment.iter().map(|(name, value)| (name, value));
        for (name, value) in given.chain(variables) {
            let is_key = name.ends_with("_KEY") && !name.ends_with("_ROUTING_KEY");
            if is_secret_name(name) || is_key {
                secrets.add(name, value);
            }
        }
        for (name, value) in variables {
            if !OF_SAILOR.contains(&name.as_str()) {
                secrets.collect_variable(name, value);
            }
        }
        secrets.collect_fields(descriptor, &self.configuration);
        secrets.collect_configuration(&self.configuration);
        let own = json!([self.configuration, self.snapshot, self.message, self.events]);
        secrets.collect(&own);
        secrets
    }
}

/// Adds the header of a webhook's message. Headers that are no object are left to the sailor, which refuses them.
fn add_reply_to(message: &mut Value) {
    let headers = &mut message["headers"];
    if headers.is_null() || headers.is_object() {
        headers["reply_to"] = "reply".into();
    }
}

/// Replaces secrets and ports. Returns an error if a secret is where it cannot be replaced.
fn without_secrets(
    mut recording: Recording,
    secrets: &mut Secrets,
    local: &LocalPlatform,
) -> Result<Recording, String> {
    let whole = serde_json::to_value(&recording).map_err(|error| error.to_string())?;
    secrets.look_at(&whole);
    let exchanges = &mut recording.exchanges;
    exchanges
        .iter_mut()
        .for_each(|exchange| secrets.replace_parts(exchange));
    for Exchange { request, response } in exchanges.iter() {
        let bodies = [&request.body, &response.body].into_iter();
        let mut binary = bodies.filter(|body| matches!(body, Body::Base64(_)));
        if let Some(name) = binary.find_map(|body| secrets.name_in(&body.bytes()?)) {
            let url = request.url.split('?').next().unwrap_or_default();
            return Err(format!(
                "the value of `{name}` is in a body that is no text, where it cannot be replaced: {} {url}",
                request.method
            ));
        }
    }
    let fixed = with_fixed_ports(local);
    // Bytes have no secrets any more.
    let mut binary: Vec<[Option<Body>; 2]> = exchanges.iter_mut().map(take_binary).collect();
    let bodies = binary.iter_mut().flatten().flatten();
    bodies.for_each(|body| body.change_bytes(&fixed));
    let mut value = serde_json::to_value(recording).map_err(|error| error.to_string())?;
    each_text(&mut value, &fixed);
    secrets.replace(&mut value);
    if let Some(place) = secrets.left_in(&value) {
        return Err(format!("a secret cannot be replaced: {place}"));
    }
    let mut recording: Recording = serde_json::from_value(value).map_err(|e| e.to_string())?;
    for (exchange, [request, response]) in recording.exchanges.iter_mut().zip(binary) {
        request
            .into_iter()
            .for_each(|body| exchange.request.body = body);
        response
            .into_iter()
            .for_each(|body| exchange.response.body = body);
    }
    Ok(recording)
}

/// Takes the bodies that are no text.
fn take_binary(exchange: &mut Exchange) -> [Option<Body>; 2] {
    let bodies = [&mut exchange.request.body, &mut exchange.response.body];
    bodies.map(|body| matches!(body, Body::Base64(_)).then(|| std::mem::take(body)))
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
    let address = Regex::new(r"127\.0\.0\.1(:|%3A)(\d+)").expect("a regular expression");
    move |text: &str| {
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
            members
                .values_mut()
                .for_each(|value| each_text(value, change));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_webhook_can_have_any_headers() {
        for (headers, expected) in [
            (json!(null), json!({"reply_to": "reply"})),
            (json!({"x": 1}), json!({"reply_to": "reply", "x": 1})),
            (json!([1]), json!([1])),
            (json!("x"), json!("x")),
        ] {
            let mut message = json!({"body": {}, "headers": headers});
            add_reply_to(&mut message);
            assert_eq!(message["headers"], expected);
        }
    }
}
