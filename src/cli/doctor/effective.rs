//! The settings as the runtime understands them, by variable, without secrets. Each one is written down here: a setting that is
//! new does not compile until somebody has decided how it is shown.

use crate::{
    broker::amqp::BrokerAddress,
    clients::http,
    protocol::StepIdentity,
    settings::{
        AmqpSettings, ApiSettings, LogFormat, LogSettings, MemoryShares, Mode, OAuthMode,
        ObjectStorageSettings, RateSettings, RunSettings, Sampling, Settings, TraceSettings,
    },
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use std::{fmt::Display, time::Duration};

/// Names of variables and their values.
pub(super) type Shown = Vec<(String, String)>;

/// Returns the settings. `broker` is the address in `AMQP_URI`, if it has one; `traces` are the settings of traces, if they are
/// sent.
pub(super) fn shown(
    settings: &Settings,
    log: &LogSettings,
    broker: Option<&BrokerAddress>,
    traces: Option<&TraceSettings>,
) -> Shown {
    let Settings {
        identity,
        api,
        object_storage,
        additional_headers,
        webhook_uri,
        oauth_mode,
        mode,
        warnings: _,
    } = settings;
    let mut list = List::default();
    list.identity(identity);
    list.api(api);
    match mode {
        Mode::ShutdownHook => list.add("HOOK_SHUTDOWN", true),
        Mode::Run(run) => {
            list.broker(&run.amqp.uri, broker);
            list.amqp(&run.amqp);
            list.run(run);
        }
    }
    match object_storage {
        Some(storage) => list.object_storage(storage),
        None => list.add("OBJECT_STORAGE_URI", "not used"),
    }
    let names: Vec<_> = additional_headers.iter().map(|(name, _)| &**name).collect();
    list.add("ADDITIONAL_VARS_FOR_HEADERS", or_none(names.join(", ")));
    // Whoever knows this URL can start the flow.
    let webhook = if webhook_uri.is_some() {
        "set"
    } else {
        "not set"
    };
    list.add("FLOW_WEBHOOK_URI", webhook);
    list.add(
        "OAUTH_MODE",
        oauth_mode.map_or("the component's choice", OAuthMode::name),
    );
    list.log(log);
    match traces {
        Some(traces) => list.traces(traces),
        None => list.standard("TRACES_EXPORTER", "off"),
    }
    list.0
}

#[derive(Default)]
struct List(Shown);

impl List {
    fn add(&mut self, name: &str, value: impl Display) {
        self.0
            .push((format!("ELASTICIO_{name}"), value.to_string()));
    }

    /// A variable of OpenTelemetry.
    fn standard(&mut self, name: &str, value: impl Display) {
        self.0.push((format!("OTEL_{name}"), value.to_string()));
    }

    fn texts<const N: usize>(&mut self, texts: [(&str, &String); N]) {
        for (name, value) in texts {
            self.add(name, value);
        }
    }

    fn secret(&mut self, name: &str, secret: &SecretString) {
        let is_set = !secret.expose_secret().is_empty();
        self.add(name, if is_set { "set" } else { "not set" });
    }

    fn seconds(&mut self, name: &str, time: Duration) {
        self.add(name, time.as_secs());
    }

    fn millis(&mut self, name: &str, time: Duration) {
        self.add(name, time.as_millis());
    }

    fn identity(&mut self, identity: &StepIdentity) {
        let StepIdentity {
            flow_id,
            exec_id,
            step_id,
            container_id,
            workspace_id,
            user_id,
            comp_id,
            function,
        } = identity;
        self.texts([
            ("FLOW_ID", flow_id),
            ("EXEC_ID", exec_id),
            ("STEP_ID", step_id),
            ("CONTAINER_ID", container_id),
            ("WORKSPACE_ID", workspace_id),
            ("USER_ID", user_id),
            ("COMP_ID", comp_id),
            ("FUNCTION", function),
        ]);
    }

    fn api(&mut self, api: &ApiSettings) {
        let ApiSettings {
            uri,
            username,
            key,
            attempts,
            retry_delay,
            configuration_limit,
        } = api;
        self.add("API_URI", address(uri));
        self.add("API_USERNAME", username);
        self.secret("API_KEY", key);
        self.add("API_REQUEST_RETRY_ATTEMPTS", or_default(*attempts));
        let delay = retry_delay.map(|delay| delay.as_millis());
        self.add("API_REQUEST_RETRY_DELAY", or_default(delay));
        self.add("CONFIGURATION_SIZE_LIMIT", configuration_limit);
    }

    fn broker(&mut self, uri: &SecretString, address: Option<&BrokerAddress>) {
        match address {
            Some(address) => self.add("AMQP_URI", address),
            None => self.secret("AMQP_URI", uri),
        }
    }

    fn amqp(&mut self, amqp: &AmqpSettings) {
        let AmqpSettings {
            uri: _,
            queue,
            exchange,
            data_key,
            error_key,
            rebound_key,
            snapshot_key,
            update_keys_key,
            prefetch,
            memory,
            persistent,
            rebound_initial_expiration,
            rebound_limit,
            publish_retry_delay,
            publish_max_retry_delay,
            publish_attempts,
            unbound_is_error,
            binding_timeout,
            refusal_timeout,
            connect_retries,
            connect_retry_delay,
        } = amqp;
        self.texts([
            ("LISTEN_MESSAGES_ON", queue),
            ("PUBLISH_MESSAGES_TO", exchange),
            ("DATA_ROUTING_KEY", data_key),
            ("ERROR_ROUTING_KEY", error_key),
            ("REBOUND_ROUTING_KEY", rebound_key),
            ("SNAPSHOT_ROUTING_KEY", snapshot_key),
        ]);
        let update_keys = update_keys_key.clone().unwrap_or_default();
        self.add("UPDATE_KEYS_ROUTING_KEY", or_none(update_keys));
        self.add("RABBITMQ_PREFETCH_SAILOR", prefetch);
        self.memory(memory);
        self.add("AMQP_PERSISTENT_MESSAGES", persistent);
        self.millis("REBOUND_INITIAL_EXPIRATION", *rebound_initial_expiration);
        self.add("REBOUND_LIMIT", rebound_limit);
        self.millis("AMQP_PUBLISH_RETRY_DELAY", *publish_retry_delay);
        self.millis("AMQP_PUBLISH_MAX_RETRY_DELAY", *publish_max_retry_delay);
        let attempts = or_no_limit(*publish_attempts);
        self.add("AMQP_PUBLISH_RETRY_ATTEMPTS", attempts);
        self.unbound(*unbound_is_error);
        self.seconds("BINDING_TIMEOUT", *binding_timeout);
        self.seconds("REFUSAL_TIMEOUT", *refusal_timeout);
        self.add("AMQP_RECONNECT_ATTEMPTS", connect_retries);
        self.millis("AMQP_RECONNECT_TIMEOUT", *connect_retry_delay);
    }

    fn unbound(&mut self, is_error: bool) {
        let meaning = if is_error { "error" } else { "end-of-flow" };
        self.add("UNBOUND_ROUTING_KEYS", meaning);
    }

    fn memory(&mut self, memory: &MemoryShares) {
        self.add("MEMORY_LIMIT", format!("{} MiB", memory.limit >> 20));
    }

    fn run(&mut self, run: &RunSettings) {
        let RunSettings {
            amqp: _,
            crypto_password,
            crypto_iv,
            protocol_version,
            input_is_error,
            startup_required,
            no_self_passthrough,
            error_replies,
            emit_lightweight,
            lightweight_threshold,
            outgoing_size_limit,
            rates,
            oauth_lock,
            process_timeout,
            deduplicate,
            shutdown_timeout,
            health_port,
        } = run;
        self.secret("MESSAGE_CRYPTO_PASSWORD", crypto_password);
        self.secret("MESSAGE_CRYPTO_IV", crypto_iv);
        self.add("PROTOCOL_VERSION", protocol_version);
        self.add(
            "INPUT_FORMAT",
            if *input_is_error { "error" } else { "default" },
        );
        self.add("STARTUP_REQUIRED", startup_required);
        self.add("NO_SELF_PASSTRHOUGH", no_self_passthrough);
        self.add("NO_ERROR_REPLIES", !error_replies);
        self.add("EMIT_LIGHTWEIGHT_MESSAGE", emit_lightweight);
        self.add("OBJECT_STORAGE_SIZE_THRESHOLD", lightweight_threshold);
        self.add("OUTGOING_MESSAGE_SIZE_LIMIT", outgoing_size_limit);
        let RateSettings {
            data,
            error,
            snapshot,
            interval,
        } = rates;
        self.add("DATA_RATE_LIMIT", data);
        self.add("ERROR_RATE_LIMIT", error);
        self.add("SNAPSHOT_RATE_LIMIT", snapshot);
        self.millis("RATE_INTERVAL", *interval);
        self.add("OAUTH_LOCK", if *oauth_lock { "broker" } else { "off" });
        let process = process_timeout.map(|timeout| timeout.as_millis());
        self.add("PROCESS_TIMEOUT", or_no_limit(process));
        self.add("DEDUPLICATE", deduplicate);
        self.seconds("SHUTDOWN_TIMEOUT", *shutdown_timeout);
        let port = health_port.map(|port| port.to_string());
        self.add("HEALTH_PORT", port.as_deref().unwrap_or("off"));
    }

    fn log(&mut self, log: &LogSettings) {
        let LogSettings {
            level,
            targets,
            format,
            colours,
            // The platform's variables, which are shown above.
            context: _,
            tag: _,
            warnings: _,
        } = log;
        let targets = targets.iter();
        let targets = targets.map(|(target, level)| format!(",{target}={level}"));
        let levels = format!("{level}{}", targets.collect::<String>());
        self.0.push(("LOG_LEVEL".to_owned(), levels));
        let format = match format {
            Some(LogFormat::Bunyan) => "bunyan",
            Some(LogFormat::Pretty) => "pretty",
            None => "pretty in a terminal, bunyan otherwise",
        };
        self.add("LOG_FORMAT", format);
        let colours = if *colours { "in a terminal" } else { "none" };
        self.0
            .push(("NO_COLOR, TERM".to_owned(), format!("colours: {colours}")));
    }

    fn object_storage(&mut self, storage: &ObjectStorageSettings) {
        let ObjectStorageSettings {
            uri,
            token,
            retries: _,
            timeout: _,
            size_limit,
        } = storage;
        self.add("OBJECT_STORAGE_URI", address(uri));
        self.secret("OBJECT_STORAGE_TOKEN", token);
        self.add("OBJECT_STORAGE_SIZE_LIMIT", or_default(*size_limit));
    }

    fn traces(&mut self, traces: &TraceSettings) {
        let TraceSettings {
            endpoint,
            headers,
            gzip,
            timeout,
            sampling: Sampling { ratio, by_parent },
            resource,
            delay,
            queue,
            batch,
        } = traces;
        self.standard("TRACES_EXPORTER", "otlp");
        let endpoint = http::redacted_url(endpoint);
        self.standard("EXPORTER_OTLP_TRACES_ENDPOINT", endpoint);
        let headers: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let headers = or_none(headers.join(", "));
        self.standard("EXPORTER_OTLP_TRACES_HEADERS", headers);
        let compression = if *gzip { "gzip" } else { "none" };
        self.standard("EXPORTER_OTLP_TRACES_COMPRESSION", compression);
        self.standard("EXPORTER_OTLP_TRACES_TIMEOUT", timeout.as_millis());
        let parent = if *by_parent { "parentbased_" } else { "" };
        self.standard("TRACES_SAMPLER", format!("{parent}traceidratio"));
        self.standard("TRACES_SAMPLER_ARG", ratio);
        let resource: Vec<_> = resource
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.standard("RESOURCE_ATTRIBUTES", resource.join(","));
        self.standard("BSP_SCHEDULE_DELAY", delay.as_millis());
        self.standard("BSP_MAX_QUEUE_SIZE", queue);
        self.standard("BSP_MAX_EXPORT_BATCH_SIZE", batch);
    }
}

/// A URL without user info and query, which may contain secrets.
fn address(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => http::redacted_url(&url),
        Err(_) if url.is_empty() => "not set".to_owned(),
        Err(_) => "set, but not a URL".to_owned(),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "not set".to_owned()
    } else {
        text
    }
}

fn or_default(value: Option<impl Display>) -> String {
    value.map_or_else(|| "the default".to_owned(), |value| value.to_string())
}

fn or_no_limit(value: Option<impl Display>) -> String {
    value.map_or_else(|| "no limit".to_owned(), |value| value.to_string())
}
