//! All variables that the runtime reads, with their defaults and what docs/settings.md says about them. Nothing else is read:
//! the reader takes a [`Variable`].

use super::variable::{
    Section, Variable, flag, json, list, number, one_of, path, port, secret, size, text, url,
};

/// Declares the variables of a section, and lists the sections. Each name is the constant's, after the section's prefix; the
/// documentation of the constant is that of the page.
macro_rules! variables {
    ($($title:literal, $about:literal, $prefix:literal: {
        $($(#[doc = $text:literal])+ $name:ident = $value:expr;)+
    })+) => {
        $($(
            $(#[doc = $text])+
            pub(super) const $name: Variable =
                $value.named(concat!($prefix, stringify!($name)), concat!($($text),+));
        )+)+

        /// All variables that the runtime reads, in the order of `docs/settings.md`.
        pub const VARIABLES: &[Section] = &[$(Section {
            title: $title,
            about: $about,
            variables: &[$($name),+],
        }),+];
    };
}

variables! {
    "The step", "The platform sets these. A step that processes messages and the shutdown hook need them.", "ELASTICIO_": {
        /// The flow.
        FLOW_ID = text().required().in_both();
        /// The execution.
        EXEC_ID = text().required().in_both();
        /// The step in the flow.
        STEP_ID = text().required().in_both();
        /// The container.
        CONTAINER_ID = text().required().in_both();
        /// The workspace.
        WORKSPACE_ID = text().required().in_both();
        /// The user.
        USER_ID = text().required().in_both();
        /// The component.
        COMP_ID = text().required().in_both();
        /// The trigger or action of component.json that runs.
        FUNCTION = text().required().in_both();
        /// The folder of component.json below the working directory.
        COMPONENT_PATH = path().default_is("the working directory").in_both();
        /// The module's startup hook runs first.
        STARTUP_REQUIRED = flag().in_both();
        /// The process runs the module's shutdown hook and ends.
        HOOK_SHUTDOWN = flag().in_both();
        /// The URL at which the flow receives requests, for hooks that subscribe.
        FLOW_WEBHOOK_URI = url("http, https");
    }
    "The platform's API", "", "ELASTICIO_": {
        /// The API's base URL. Slashes at its end are removed.
        API_URI = url("http, https").required().in_both();
        /// The user of each request.
        API_USERNAME = text().required().in_both();
        /// That user's password.
        API_KEY = secret().required().in_both();
        /// How often a request is attempted. If neither this nor the delay is set, a step retries for 30 s, and a one-time call
        /// makes this many attempts.
        API_REQUEST_RETRY_ATTEMPTS = number("attempts").default(3).in_both();
        /// The delay between these attempts.
        API_REQUEST_RETRY_DELAY = number("ms").default(100).in_node();
        /// The largest step, account, secret or startup data that is read.
        CONFIGURATION_SIZE_LIMIT = number("bytes").default(32 << 20);
    }
    "The broker", "A step that processes messages needs the required ones.", "ELASTICIO_": {
        /// The broker's address, with user and password.
        AMQP_URI = url("amqp, amqps").required().in_both();
        /// The queue that is consumed.
        LISTEN_MESSAGES_ON = text().required().in_both();
        /// The exchange that everything is published to.
        PUBLISH_MESSAGES_TO = text().required().in_both();
        /// The routing key of data.
        DATA_ROUTING_KEY = text().required().in_both();
        /// The routing key of error events.
        ERROR_ROUTING_KEY = text().required().in_both();
        /// The routing key of rebounds.
        REBOUND_ROUTING_KEY = text().required().in_both();
        /// The routing key of snapshots.
        SNAPSHOT_ROUTING_KEY = text().required().in_both();
        /// The routing key of changed credentials: they also go to the platform's queue, as an encrypted `{accountId, keys}`.
        UPDATE_KEYS_ROUTING_KEY = text();
        /// The password that encrypts all messages.
        MESSAGE_CRYPTO_PASSWORD = secret().required().in_both();
        /// The initialisation vector, 16 bytes of text.
        MESSAGE_CRYPTO_IV = secret().required().in_both();
        /// At the start: further attempts to connect. Later reconnects have no limit.
        AMQP_RECONNECT_ATTEMPTS = number("attempts").default(3).in_node();
        /// The time between these attempts.
        AMQP_RECONNECT_TIMEOUT = number("ms").default(100).in_node();
        /// How long the broker may [refuse](operations.md#when-the-queue-goes-away) while the process runs.
        REFUSAL_TIMEOUT = number("s").default(60);
        /// The certificate that the broker is shown, with its chain: a PEM file.
        AMQP_CLIENT_CERT = path();
        /// The private key of that certificate: a PEM file.
        AMQP_CLIENT_KEY = path();
    }
    "Messages and events", "", "ELASTICIO_": {
        /// Messages that are processed at once; fewer if they do not fit in [memory](memory.md).
        RABBITMQ_PREFETCH_SAILOR = number("messages").default(1).within(1, 65_535).in_both();
        /// Events survive a restart of the broker.
        AMQP_PERSISTENT_MESSAGES = flag().in_both();
        /// Attempts to publish an event that the broker refuses or whose binding is lost; then its message fails. Error events
        /// are retried until they are published.
        AMQP_PUBLISH_RETRY_ATTEMPTS = number("attempts").default_is("no limit").in_both();
        /// The delay before an event is published again. It doubles each time.
        AMQP_PUBLISH_RETRY_DELAY = number("ms").default(100).in_both();
        /// The longest of these delays.
        AMQP_PUBLISH_MAX_RETRY_DELAY = number("ms").default(300_000).in_both();
        /// What it means if no queue is bound for data or a snapshot ([more](operations.md#unbound-routing-keys)).
        UNBOUND_ROUTING_KEYS = one_of(&["end-of-flow", "error"]).default_is("`end-of-flow`");
        /// How long to wait for a queue for rebounds and error events, if none has been bound yet.
        BINDING_TIMEOUT = number("s").default(30);
        /// Rebounds of one message. After the last one an error event is published and the message is acknowledged.
        REBOUND_LIMIT = number("rebounds").default(20).in_both();
        /// The time until the first rebound returns. It doubles each time.
        REBOUND_INITIAL_EXPIRATION = number("ms").default(15_000).in_both();
        /// The largest event, after encryption.
        OUTGOING_MESSAGE_SIZE_LIMIT = number("bytes").default(super::OUTGOING_MESSAGE_SIZE_LIMIT).in_node();
        /// Data events in each interval.
        DATA_RATE_LIMIT = number("events").default(10).in_node();
        /// Error events in each interval.
        ERROR_RATE_LIMIT = number("events").default(2).in_node();
        /// Snapshots in each interval.
        SNAPSHOT_RATE_LIMIT = number("events").default(2).in_node();
        /// The length of an interval.
        RATE_INTERVAL = number("ms").default(100).in_node();
        /// The encoding of emitted data: 1 is base64, 2 is raw bytes.
        PROTOCOL_VERSION = number("").default(1).in_both();
        /// `error`: incoming messages are error events.
        INPUT_FORMAT = one_of(&["default", "error"]).default_is("`default`").in_both();
        /// What this step emits is not passed through to later steps. The name is the platform's.
        NO_SELF_PASSTRHOUGH = flag().in_both();
        /// An error is not sent as a reply to the request that started the flow.
        NO_ERROR_REPLIES = flag().in_both();
        /// Names of variables whose values become headers of each event.
        ADDITIONAL_VARS_FOR_HEADERS = list().in_node();
        /// Messages that the step has finished before are dropped, and events that are emitted again have the same ids
        /// ([more](operations.md#deduplication)).
        DEDUPLICATE = flag();
        /// The longest that a module may take for one message ([more](operations.md#a-module-that-takes-too-long)).
        PROCESS_TIMEOUT = number("ms").default_is("no limit");
        /// The time to finish running messages after SIGTERM ([more](operations.md#stopping)).
        SHUTDOWN_TIMEOUT = number("s").default(25);
    }
    "Memory and health", "", "ELASTICIO_": {
        /// What the process may use, in megabytes or with a unit (`256M`, `1Gi`). [memory.md](memory.md) says which messages fit.
        MEMORY_LIMIT = size().default_is("the container's or the process's limit; 4096 without one");
        /// A port for [health and metrics](metrics.md) over HTTP.
        HEALTH_PORT = port();
    }
    "Object storage", "It is used if its URI and its token are set. Variables of its client have no prefix ([below](#the-client-of-object-storage)).", "ELASTICIO_": {
        /// The base URL.
        OBJECT_STORAGE_URI = url("http, https").in_both();
        /// The bearer token.
        OBJECT_STORAGE_TOKEN = secret().in_both();
        /// Large bodies are stored there.
        EMIT_LIGHTWEIGHT_MESSAGE = flag().in_both();
        /// Larger bodies than this are stored there.
        OBJECT_STORAGE_SIZE_THRESHOLD = number("bytes").default(1 << 20).in_both();
        /// The largest message body that is read from it.
        OBJECT_STORAGE_SIZE_LIMIT = number("bytes").default_is("the largest body that fits in [memory](memory.md)");
    }
    "The client of object storage", "", "": {
        /// How often a request is retried, first after 100 ms, then after twice as long each time.
        REQUEST_MAX_RETRY = number("retries").default_is("2 in a one-time call; a step retries for 30 s").within(1, 4).in_node();
        /// The time limit of one attempt.
        REQUEST_TIMEOUT = number("ms").default(10_000).within(500, 20_000).in_node();
    }
    "OAuth2", "", "ELASTICIO_": {
        /// When access tokens are refreshed ([more](oauth2.md)).
        OAUTH_MODE = one_of(&["every-access", "on-401", "expiry", "platform-secret"]).default_is("the component's choice");
        /// `broker`: replicas refresh one after the other, with a lock on the broker
        /// ([more](operations.md#the-lock-between-replicas)). `off`: they do not wait for each other.
        OAUTH_LOCK = one_of(&["broker", "off"]).default_is("`broker`");
        /// Hosts that may get tokens and client secrets over `http://`: `idp.internal,api.internal:8080`. Without a port, all ports
        /// of the host may. Everybody on the way can read them. Without it, `https` is required, except on this machine.
        OAUTH_HTTP_HOSTS = list();
    }
    "One-time calls", "`component service METHOD` needs the first, and each method those that it is about.", "ELASTICIO_": {
        /// Where the result is posted. It may contain a user and a password.
        POST_RESULT_URL = url("http, https").required().in_both();
        /// The step's configuration, credentials included.
        CFG = json().required().in_both();
        /// The trigger or action, for `getMetaModel` and `selectModel`.
        ACTION_OR_TRIGGER = text().required().in_both();
        /// The name of the select model, for `selectModel`.
        GET_MODEL_METHOD = text().required().in_both();
    }
    "Certificates", "[More](operations.md#certificates-and-proxies).", "": {
        /// Certificates to trust in addition to the system's: a PEM file.
        ELASTICIO_CA_CERTS = path();
        /// The same, under the name that Node reads.
        NODE_EXTRA_CA_CERTS = path().in_node();
        /// A file that replaces the system's trusted certificates.
        SSL_CERT_FILE = path();
        /// A folder that does.
        SSL_CERT_DIR = path();
    }
    "Proxies", "In upper or lower case. Requests to the broker never use one.", "": {
        /// The proxy for `https`.
        HTTPS_PROXY = url("http, https");
        /// The proxy for `http`.
        HTTP_PROXY = url("http, https");
        /// The proxy for both.
        ALL_PROXY = url("http, https");
        /// Hosts without a proxy: `internal.example,10.0.0.0/8`. `*` turns proxies off.
        NO_PROXY = list();
    }
    "The log", "[logs.md](logs.md) describes the lines.", "": {
        /// The lowest level that is logged, and levels of single targets ([more](logs.md#levels)).
        LOG_LEVEL = list().default_is("`info`").in_both();
        /// The form of the lines.
        ELASTICIO_LOG_FORMAT = one_of(&["bunyan", "pretty"]).default_is("pretty in a terminal, otherwise bunyan");
        /// With any value, pretty lines have no colours.
        NO_COLOR = text();
        /// The terminal. Without it, and for `dumb`, pretty lines have no colours.
        TERM = text();
    }
    "On each log line", "Only copied, if they are set; beside them, the ids of the step.", "ELASTICIO_": {
        /// The component's name. It is also the name of the service in traces.
        COMP_NAME = text().in_node();
        /// The contract.
        CONTRACT_ID = text().in_node();
        /// The kind of execution.
        EXEC_TYPE = text().in_node();
        /// The result of the execution.
        EXECUTION_RESULT_ID = text().in_node();
        /// The version of the flow.
        FLOW_VERSION = text().in_node();
        /// The user's address.
        TASK_USER_EMAIL = text().in_node();
        /// The tenant.
        TENANT_ID = text().in_node();
    }
    "Traces", "The standard variables of OpenTelemetry, for a component that is [built for traces](tracing.md). Where two names differ only by `TRACES_`, the longer one wins.", "OTEL_": {
        /// The collector. `/v1/traces` is added. It turns traces on.
        EXPORTER_OTLP_ENDPOINT = url("http, https");
        /// The collector's address for traces, as it is.
        EXPORTER_OTLP_TRACES_ENDPOINT = url("http, https");
        /// What each request to the collector carries: `name=value,name2=value2`.
        EXPORTER_OTLP_HEADERS = secret();
        /// The same.
        EXPORTER_OTLP_TRACES_HEADERS = secret();
        /// The protocol. There is one.
        EXPORTER_OTLP_PROTOCOL = one_of(&["http/protobuf"]).default_is("`http/protobuf`");
        /// The same.
        EXPORTER_OTLP_TRACES_PROTOCOL = one_of(&["http/protobuf"]).default_is("`http/protobuf`");
        /// Whether requests are compressed.
        EXPORTER_OTLP_COMPRESSION = one_of(&["gzip", "none"]).default_is("`none`");
        /// The same.
        EXPORTER_OTLP_TRACES_COMPRESSION = one_of(&["gzip", "none"]).default_is("`none`");
        /// The time limit of one export, with its retries.
        EXPORTER_OTLP_TIMEOUT = number("ms").default(10_000);
        /// The same.
        EXPORTER_OTLP_TRACES_TIMEOUT = number("ms").default(10_000);
        /// `none` turns traces off.
        TRACES_EXPORTER = one_of(&["otlp", "none"]).default_is("`otlp`");
        /// `true` turns traces off.
        SDK_DISABLED = one_of(&["true", "false"]).default_is("`false`");
        /// Which traces are recorded.
        TRACES_SAMPLER = one_of(&[
            "always_on", "always_off", "traceidratio",
            "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
        ]).default_is("`parentbased_always_on`");
        /// The share of traces for `traceidratio`, between 0 and 1.
        TRACES_SAMPLER_ARG = text().default_is("1");
        /// The name of the service.
        SERVICE_NAME = text().default_is("`ELASTICIO_COMP_NAME`, or `ELASTICIO_COMP_ID`");
        /// Attributes of all spans: `name=value,name2=value2`.
        RESOURCE_ATTRIBUTES = list();
        /// How long spans are collected before they are sent.
        BSP_SCHEDULE_DELAY = number("ms").default(5_000);
        // The memory of the queue is taken at the start.
        /// How many spans wait; further ones are dropped.
        BSP_MAX_QUEUE_SIZE = number("spans").default(2_048).within(1, 16_384);
        /// How many spans are sent together.
        BSP_MAX_EXPORT_BATCH_SIZE = number("spans").default(512).within(1, 16_384);
    }
}
