//! The variables of a step: their names, and their defaults (wire-contract: Required variables, wire-contract: Optional
//! variables, wire-contract: Variables copied into headers, wire-contract: Variables without the prefix).

use super::{
    AmqpSettings, ApiSettings, MemoryShares, Mode, ObjectStorageSettings, RateSettings,
    RunSettings, STORAGE_RETRIES, Settings, SettingsError,
    env_reader::{
        EnvReader, InvalidVariable, PREFIX, is_http, no_problems, without_trailing_slashes,
    },
    memory_limit::parse_size,
    parse::camel_case,
    tls::proxy_warnings,
    variable::Variable,
    variables as vars,
};
use crate::protocol::StepIdentity;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

impl Settings {
    /// Reads the settings of a step. The function `get` returns the value of a variable; nothing else is read.
    ///
    /// Values that are unusual but usable are reported in [`Settings::warnings`].
    ///
    /// # Errors
    /// Returns all variables that are missing or invalid.
    ///
    /// ```
    /// use sailor::settings::Settings;
    ///
    /// let error = Settings::read(|name| (name == "ELASTICIO_FLOW_ID").then(|| "flow-1".to_owned())).unwrap_err();
    /// assert_eq!(error.0[0].variable, "ELASTICIO_EXEC_ID");
    /// assert!(error.to_string().contains("ELASTICIO_EXEC_ID is required, but it is missing or empty"));
    /// ```
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let (settings, problems) = Self::read_what_is_there(get);
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError(problems))
        }
    }

    /// Like [`read`](Self::read), but returns the settings beside the problems. In the place of a variable that is missing is
    /// the empty text, or its default.
    pub(crate) fn read_what_is_there(
        get: impl Fn(&str) -> Option<String>,
    ) -> (Self, Vec<InvalidVariable>) {
        let mut reader = EnvReader::new(get);
        let identity = reader.required_identity();
        let api = reader.api();
        let object_storage = reader.object_storage();
        let additional_headers = reader.additional_headers();
        let webhook_uri = reader.text(&vars::FLOW_WEBHOOK_URI);
        let oauth_mode = reader.oauth_mode_or_problem();
        reader.warnings.extend(proxy_warnings(&reader.get));
        let mode = if reader.flag(&vars::HOOK_SHUTDOWN) {
            Mode::ShutdownHook
        } else {
            Mode::Run(Box::new(reader.run(object_storage.is_some())))
        };
        let settings = Self {
            identity,
            api,
            object_storage,
            additional_headers,
            webhook_uri,
            oauth_mode,
            mode,
            warnings: reader.warnings,
        };
        (settings, reader.problems)
    }
}

/// Reads `HEALTH_PORT` alone: for a command beside the step.
///
/// # Errors
/// Returns an error if it is no port.
pub(crate) fn health_port(
    get: impl Fn(&str) -> Option<String>,
) -> Result<Option<u16>, SettingsError> {
    let mut reader = EnvReader::new(get);
    let port = reader.health_port();
    no_problems(reader.problems)?;
    Ok(port)
}

impl<G: Fn(&str) -> Option<String>> EnvReader<G> {
    fn required_identity(&mut self) -> StepIdentity {
        StepIdentity {
            flow_id: self.required(&vars::FLOW_ID),
            exec_id: self.required(&vars::EXEC_ID),
            step_id: self.required(&vars::STEP_ID),
            container_id: self.required(&vars::CONTAINER_ID),
            workspace_id: self.required(&vars::WORKSPACE_ID),
            user_id: self.required(&vars::USER_ID),
            comp_id: self.required(&vars::COMP_ID),
            function: self.required(&vars::FUNCTION),
        }
    }

    fn api(&mut self) -> ApiSettings {
        ApiSettings {
            uri: self.required_http_url(&vars::API_URI),
            username: self.required(&vars::API_USERNAME),
            key: self.required_secret(&vars::API_KEY),
            attempts: self.if_set(&vars::API_REQUEST_RETRY_ATTEMPTS, |reader, name| {
                reader.count(name)
            }),
            retry_delay: self.if_set(&vars::API_REQUEST_RETRY_DELAY, |reader, name| {
                reader.millis(name)
            }),
            configuration_limit: self.configuration_limit(),
        }
    }

    /// The largest step, account or secret that is read, in bytes.
    pub(super) fn configuration_limit(&mut self) -> usize {
        self.count(&vars::CONFIGURATION_SIZE_LIMIT) as usize
    }

    /// The settings of object storage, if both its URI and its token are set. The names of `REQUEST_*` come from the
    /// platform's storage client and have no prefix.
    pub(super) fn object_storage(&mut self) -> Option<ObjectStorageSettings> {
        let retries = self.if_set(&vars::REQUEST_MAX_RETRY, |reader, retries| {
            reader.number_within(retries, STORAGE_RETRIES)
        });
        let timeout = &vars::REQUEST_TIMEOUT;
        let timeout = self.number_within(timeout, timeout.number());
        let size_limit = self.number(&vars::OBJECT_STORAGE_SIZE_LIMIT);
        let size_limit = size_limit.map_or_else(
            || self.memory().largest_body(),
            |limit| usize::try_from(limit).unwrap_or(usize::MAX),
        );
        let (uri, token) = self.object_storage_access()?;
        Some(ObjectStorageSettings {
            uri: without_trailing_slashes(&uri),
            token: token.into(),
            retries: retries.map(|retries| u32::try_from(retries).unwrap_or(STORAGE_RETRIES)),
            timeout: Duration::from_millis(timeout),
            size_limit: Some(size_limit),
        })
    }

    /// Reads the URI and the token of object storage. If only one of them is usable, a warning gives the reason.
    fn object_storage_access(&mut self) -> Option<(String, String)> {
        const URI: &Variable = &vars::OBJECT_STORAGE_URI;
        const TOKEN: &Variable = &vars::OBJECT_STORAGE_TOKEN;
        let (variable, warning) = match (self.text(URI), self.text(TOKEN)) {
            (Some(uri), Some(token)) if is_http(&uri) => return Some((uri, token)),
            (None, None) => return None,
            (Some(_), Some(_)) => (
                URI,
                "is not an http or https URL; object storage is not used",
            ),
            (Some(_), None) => (
                TOKEN,
                "is not set although ELASTICIO_OBJECT_STORAGE_URI is; object storage is not used",
            ),
            (None, Some(_)) => (
                URI,
                "is not set although ELASTICIO_OBJECT_STORAGE_TOKEN is; object storage is not used",
            ),
        };
        self.warning(variable, warning);
        None
    }

    /// The header names and values of the variables that `ADDITIONAL_VARS_FOR_HEADERS` lists, without those that are not
    /// set.
    fn additional_headers(&self) -> Vec<(String, String)> {
        let list = self
            .text(&vars::ADDITIONAL_VARS_FOR_HEADERS)
            .unwrap_or_default();
        let names = list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names
            .filter_map(|name| {
                let value = (self.get)(name)?;
                Some((camel_case(name.strip_prefix(PREFIX).unwrap_or(name)), value))
            })
            .collect()
    }

    fn run(&mut self, has_object_storage: bool) -> RunSettings {
        let amqp = self.amqp();
        let (crypto_password, crypto_iv) = self.crypto();
        let input_is_error = self.input_is_error();
        let emit_lightweight = self.flag(&vars::EMIT_LIGHTWEIGHT_MESSAGE);
        if emit_lightweight && !has_object_storage {
            self.warning(
                &vars::EMIT_LIGHTWEIGHT_MESSAGE,
                "is set but object storage is not; large messages will fail",
            );
        }
        RunSettings {
            amqp,
            crypto_password,
            crypto_iv,
            protocol_version: self.count(&vars::PROTOCOL_VERSION).into(),
            input_is_error,
            startup_required: self.flag(&vars::STARTUP_REQUIRED),
            no_self_passthrough: self.flag(&vars::NO_SELF_PASSTRHOUGH),
            error_replies: !self.flag(&vars::NO_ERROR_REPLIES),
            emit_lightweight,
            lightweight_threshold: self.count(&vars::OBJECT_STORAGE_SIZE_THRESHOLD) as usize,
            outgoing_size_limit: self.count(&vars::OUTGOING_MESSAGE_SIZE_LIMIT) as usize,
            rates: RateSettings {
                data: self.count(&vars::DATA_RATE_LIMIT),
                error: self.count(&vars::ERROR_RATE_LIMIT),
                snapshot: self.count(&vars::SNAPSHOT_RATE_LIMIT),
                interval: self.millis(&vars::RATE_INTERVAL),
            },
            oauth_lock: self.oauth_lock(),
            process_timeout: self
                .number(&vars::PROCESS_TIMEOUT)
                .map(Duration::from_millis),
            deduplicate: self.flag(&vars::DEDUPLICATE),
            health_port: self.health_port(),
            shutdown_timeout: self.seconds(&vars::SHUTDOWN_TIMEOUT),
        }
    }

    /// A value that is no port is a problem, and not a warning: without the server an orchestrator would stop the process.
    fn health_port(&mut self) -> Option<u16> {
        const PORT: &Variable = &vars::HEALTH_PORT;
        let text = self.text(PORT)?;
        let port = text.parse().ok().filter(|port| *port > 0);
        if port.is_none() {
            self.problem(PORT, "must be a port: a number from 1 to 65535");
        }
        port
    }

    /// The password and the initialisation vector of all payloads.
    pub(super) fn crypto(&mut self) -> (SecretString, SecretString) {
        let password = self.required_secret(&vars::MESSAGE_CRYPTO_PASSWORD);
        let iv = self.required_secret(&vars::MESSAGE_CRYPTO_IV);
        if !matches!(iv.expose_secret().len(), 0 | 16) {
            self.problem(&vars::MESSAGE_CRYPTO_IV, "must be 16 bytes long");
        }
        (password, iv)
    }

    fn input_is_error(&mut self) -> bool {
        let format = self.lowercase(&vars::INPUT_FORMAT);
        if !matches!(&*format, "" | "default" | "error") {
            self.warning(
                &vars::INPUT_FORMAT,
                "must be `default` or `error`; using `default`",
            );
        }
        format == "error"
    }

    pub(super) fn amqp_uri(&mut self) -> SecretString {
        let uri = self.required_secret(&vars::AMQP_URI);
        let text = uri.expose_secret();
        if !text.is_empty() && !text.starts_with("amqp://") && !text.starts_with("amqps://") {
            self.problem(
                &vars::AMQP_URI,
                "must be a broker URL: amqp://… or amqps://…",
            );
        }
        uri
    }

    fn amqp(&mut self) -> AmqpSettings {
        AmqpSettings {
            uri: self.amqp_uri(),
            queue: self.required(&vars::LISTEN_MESSAGES_ON),
            exchange: self.required(&vars::PUBLISH_MESSAGES_TO),
            data_key: self.required(&vars::DATA_ROUTING_KEY),
            error_key: self.required(&vars::ERROR_ROUTING_KEY),
            rebound_key: self.required(&vars::REBOUND_ROUTING_KEY),
            snapshot_key: self.required(&vars::SNAPSHOT_ROUTING_KEY),
            update_keys_key: self.text(&vars::UPDATE_KEYS_ROUTING_KEY),
            prefetch: self.prefetch(),
            memory: self.checked_memory(),
            persistent: self.flag(&vars::AMQP_PERSISTENT_MESSAGES),
            rebound_initial_expiration: self.millis(&vars::REBOUND_INITIAL_EXPIRATION),
            rebound_limit: self.count(&vars::REBOUND_LIMIT),
            publish_retry_delay: self.millis(&vars::AMQP_PUBLISH_RETRY_DELAY),
            publish_max_retry_delay: self.millis(&vars::AMQP_PUBLISH_MAX_RETRY_DELAY),
            publish_attempts: self
                .number(&vars::AMQP_PUBLISH_RETRY_ATTEMPTS)
                .map(|attempts| u32::try_from(attempts).unwrap_or(u32::MAX)),
            unbound_is_error: self.unbound_is_error(),
            binding_timeout: self.seconds(&vars::BINDING_TIMEOUT),
            refusal_timeout: self.seconds(&vars::REFUSAL_TIMEOUT),
            connect_retries: self.count(&vars::AMQP_RECONNECT_ATTEMPTS),
            connect_retry_delay: self.millis(&vars::AMQP_RECONNECT_TIMEOUT),
        }
    }

    /// The memory that the process may use, and how it is shared.
    fn memory(&self) -> MemoryShares {
        let limit = self.text(&vars::MEMORY_LIMIT);
        MemoryShares::new(limit.as_deref().and_then(parse_size))
    }

    fn checked_memory(&mut self) -> MemoryShares {
        let limit = self.text(&vars::MEMORY_LIMIT);
        if limit.is_some_and(|limit| parse_size(&limit).is_none()) {
            self.warning(
                &vars::MEMORY_LIMIT,
                "must be a number of megabytes, or have the unit M or G; using the system's limit",
            );
        }
        self.memory()
    }

    fn unbound_is_error(&mut self) -> bool {
        let meaning = self.lowercase(&vars::UNBOUND_ROUTING_KEYS);
        if !matches!(&*meaning, "" | "end-of-flow" | "error") {
            self.warning(
                &vars::UNBOUND_ROUTING_KEYS,
                "must be `end-of-flow` or `error`; using `end-of-flow`",
            );
        }
        meaning == "error"
    }

    fn prefetch(&mut self) -> u16 {
        let prefetch = self.count(&vars::RABBITMQ_PREFETCH_SAILOR);
        u16::try_from(prefetch).unwrap_or_else(|_| {
            self.warning(
                &vars::RABBITMQ_PREFETCH_SAILOR,
                "is above 65535, the protocol's maximum; using 65535",
            );
            u16::MAX
        })
    }

    /// Reads a text in lower case; the empty text if it is not set.
    fn lowercase(&self, variable: &Variable) -> String {
        self.text(variable).unwrap_or_default().to_ascii_lowercase()
    }
}
