//! Start-up: connects to the broker, asks the platform for the step, runs the hooks, and begins to consume
//! (wire-contract: Start-up order).

use super::{
    AccountClient, AccountCredentials, Engine, Shutdown,
    bodies::BodyStorage,
    deduplication::Deduplication,
    event_room::EventRoom,
    hooks,
    in_flight::InFlight,
    metrics,
    rate_limit::RateLimiters,
    stop::{ABANDON_TIMEOUT, close_session},
    value_room::ValueRoom,
};
use crate::{
    broker::{
        amqp::Amqp,
        finished_log::FinishedLog,
        transport::{Deliveries, Publication, Route, Transport, TransportError},
    },
    clients::{
        http,
        object_storage::ObjectStorage,
        platform::{Platform, PlatformError},
    },
    codes,
    component::{Component, context::Clients, error::code_of, module::Module},
    monitoring::{HealthServer, Metrics, WaitReason},
    oauth2::{RefreshLock, Session, SessionConfig},
    protocol::{Cipher, ErrorReport, StepIdentity, error_body, headers::startup_headers},
    settings::{
        self, AmqpSettings, ApiSettings, OAuthMode, ObjectStorageSettings, RunSettings, Settings,
    },
};
use anyhow::Context as _;
use secrecy::ExposeSecret;
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a process that cannot start may take to publish the reason.
const START_ERROR_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the module's shutdown hook. A process with `HOOK_SHUTDOWN` does nothing else.
pub(super) async fn run_shutdown_hook(
    settings: Settings,
    component: &Component,
) -> anyhow::Result<()> {
    let Settings {
        identity,
        api,
        object_storage,
        oauth_mode,
        webhook_uri,
        ..
    } = settings;
    // Following a redirect would turn a PUT or POST to the platform into a GET.
    let direct = http::client_without_redirects()?;
    let platform = platform_client(direct.clone(), &api, &identity);
    let clients = Clients {
        http: http::client()?,
        platform: Some(platform.clone()),
        object_storage: storage(object_storage.as_ref(), None, &identity)?,
        webhook_uri,
    };
    let session = component.session(session_config(&identity, oauth_mode, None)?);
    let account = AccountClient::of_step(platform.clone()).await?;
    let (module, _) = component.module(&identity.function)?;
    let credentials = AccountCredentials::new(account, session);
    let context = credentials.service_context(&identity.function, &clients);
    let result = hooks::shutdown(&*module, context, &platform).await;
    credentials.close().await;
    result
}

/// Connects to the broker, then starts the step and runs it until it is asked to stop.
pub(super) async fn run_step(
    settings: Settings,
    run: RunSettings,
    component: anyhow::Result<&Component>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Settings {
        identity,
        api,
        object_storage,
        additional_headers,
        oauth_mode,
        webhook_uri,
        ..
    } = settings;
    // Following a redirect would turn a PUT or POST to the platform into a GET.
    let direct = http::client_without_redirects()?;
    log_memory(&run.amqp);
    let (metrics, _health) = monitored(&identity, run.health_port)?;
    let cipher = Cipher::new(
        run.crypto_password.expose_secret(),
        run.crypto_iv.expose_secret(),
    )?;
    // Once the process is asked to stop, requests are retried only a few times.
    let stopping = &shutdown.graceful;
    let platform =
        platform_client(direct.clone(), &api, &identity).with_cancellation(stopping.clone());
    let object_storage = storage(object_storage.as_ref(), Some(&cipher), &identity)?
        .map(|storage| storage.with_cancellation(stopping.clone()));
    let clients = Clients {
        http: http::client()?,
        platform: Some(platform.clone()),
        object_storage,
        webhook_uri,
    };
    let transport = tokio::select! {
        connected = Amqp::connect(&run.amqp, metrics.clone()) => connected.context("connecting to the broker")?,
        () = stopping.cancelled() => return Ok(()),
    };
    let lock = run
        .oauth_lock
        .then(|| Arc::new(transport.locks()) as Arc<dyn RefreshLock>);
    let session_config = session_config(&identity, oauth_mode, lock)?;
    let deduplication = deduplication(&run, &identity, &transport);
    let start = StepStart {
        identity,
        additional_headers,
        run,
        cipher,
        platform,
        clients,
        session_config,
        deduplication,
        metrics,
    };
    start.run(component, Arc::new(transport), shutdown).await
}

/// Returns the metrics of the process, and the server that shows them if it has a port.
fn monitored(
    identity: &StepIdentity,
    port: Option<u16>,
) -> anyhow::Result<(Arc<Metrics>, Option<HealthServer>)> {
    let Some(port) = port else {
        return Ok((Arc::default(), None));
    };
    let metrics = Arc::new(Metrics::of_step(identity));
    let server = HealthServer::start(port, metrics.clone())?;
    Ok((metrics, Some(server)))
}

/// Returns what remembers finished messages, in a log on the broker.
fn deduplication(
    run: &RunSettings,
    identity: &StepIdentity,
    transport: &Amqp,
) -> Option<Deduplication> {
    let open_log = |reader| Some(Arc::new(transport.finished_log(reader)) as Arc<dyn FinishedLog>);
    run.deduplicate
        .then(|| Deduplication::new(identity, &run.crypto_password, open_log))
}

/// Tells how much memory there is, and what that means for messages.
fn log_memory(settings: &AmqpSettings) {
    const MIB: usize = 1 << 20;
    let memory = &settings.memory;
    tracing::info!(
        limit_mb = memory.limit / MIB,
        messages_mb = memory.messages / MIB,
        values_mb = memory.values / MIB,
        events_mb = memory.events / MIB,
        largest_body_mb = memory.largest_body() / MIB,
        "Memory: how the limit is shared, and the largest message body that fits"
    );
}

/// Returns the client of the platform's API, with the credentials of the step.
pub(crate) fn platform_client(
    http: reqwest::Client,
    api: &ApiSettings,
    identity: &StepIdentity,
) -> Platform {
    let StepIdentity {
        flow_id,
        step_id,
        workspace_id,
        ..
    } = identity;
    Platform::new(http, api, flow_id, step_id, workspace_id)
}

/// Returns the object storage if it is configured. Without a cipher it serves attachments only.
pub(crate) fn storage(
    settings: Option<&ObjectStorageSettings>,
    cipher: Option<&Cipher>,
    identity: &StepIdentity,
) -> anyhow::Result<Option<ObjectStorage>> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let (http, streams) = (http::client_without_redirects()?, http::streaming_client()?);
    Ok(Some(ObjectStorage::new(
        http,
        streams,
        settings,
        cipher.cloned(),
        identity,
    )))
}

/// Returns the configuration of sessions in a process that the platform has started.
pub(crate) fn session_config(
    identity: &StepIdentity,
    mode: Option<OAuthMode>,
    lock: Option<Arc<dyn RefreshLock>>,
) -> anyhow::Result<SessionConfig> {
    let lock_scope = format!("{}/{}", identity.flow_id, identity.step_id);
    Ok(SessionConfig {
        http: http::streaming_client()?,
        environment: Arc::new(settings::environment),
        mode,
        lock,
        lock_scope,
    })
}

/// The parts of a step that exist before the platform is asked for it.
pub(super) struct StepStart {
    pub(super) identity: StepIdentity,
    pub(super) additional_headers: Vec<(String, String)>,
    pub(super) run: RunSettings,
    pub(super) cipher: Cipher,
    pub(super) platform: Platform,
    pub(super) clients: Clients,
    pub(super) session_config: SessionConfig,
    pub(super) deduplication: Option<Deduplication>,
    pub(super) metrics: Arc<Metrics>,
}

/// The parts of a step that exist after the platform has returned it.
pub(super) struct PreparedStep {
    pub(super) module: Arc<dyn Module>,
    pub(super) resolves_references: bool,
    pub(super) account: AccountClient,
}

impl StepStart {
    async fn run<T: Transport>(
        self,
        component: anyhow::Result<&Component>,
        transport: Arc<T>,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let session = component
            .as_ref()
            .ok()
            .and_then(|component| component.session(self.session_config.clone()));
        let timeout = self.run.shutdown_timeout;
        let prepared = tokio::select! {
            prepared = self.prepare(component, session.as_ref()) => prepared,
            // After a signal during start-up, the hooks may take as long as running messages may.
            () = cancelled_for(&shutdown.graceful, timeout) => {
                tracing::warn!(code = %codes::STOPPED_BEFORE_START, "Stopped before the step started");
                close(session.as_ref(), ABANDON_TIMEOUT, &*transport).await;
                return Ok(());
            }
        };
        let started = consume(prepared, &*transport, &shutdown.graceful).await;
        match started {
            Ok(Some((prepared, deliveries))) => {
                tracing::info!("Fully initialized and waiting for messages");
                let engine = Arc::new(self.into_engine(transport, prepared, session));
                Ok(engine.run(deliveries, &shutdown).await?)
            }
            Ok(None) => {
                close(session.as_ref(), timeout, &*transport).await;
                Ok(())
            }
            Err(error) => {
                self.publish_start_error(&*transport, &error).await;
                close(session.as_ref(), timeout, &*transport).await;
                Err(error)
            }
        }
    }

    /// Asks for the step, finds its module and runs its hooks.
    async fn prepare(
        &self,
        component: anyhow::Result<&Component>,
        session: Option<&Session>,
    ) -> anyhow::Result<PreparedStep> {
        self.platform.load_certificates().await?;
        let account = AccountClient::of_step(self.platform.clone()).await?;
        let component = component?;
        component.check_environment(settings::environment)?;
        let (module, function) = component.module(&self.identity.function)?;
        let credentials = AccountCredentials::new(account.clone(), session.cloned());
        let context = || credentials.service_context(&self.identity.function, &self.clients);
        if self.run.startup_required {
            hooks::startup(&*module, context(), &self.platform).await?;
        }
        hooks::init(&*module, context()).await?;
        if let Some(deduplication) = &self.deduplication {
            deduplication.read_log().await;
        }
        Ok(PreparedStep {
            module,
            resolves_references: function.resolves_references(),
            account,
        })
    }

    /// Publishes why the step cannot start, in limited time (wire-contract: Start-up failures).
    async fn publish_start_error(&self, transport: &impl Transport, error: &anyhow::Error) {
        let code = code_of(error).unwrap_or(codes::START_FAILED);
        let report = ErrorReport::from_error(error).with_code(code);
        let report = report.encrypt(&self.cipher);
        let publication = Publication {
            route: Route::Error,
            headers: startup_headers(&self.identity, &self.additional_headers),
            body: error_body(&report, None).into(),
        };
        match tokio::time::timeout(START_ERROR_TIMEOUT, transport.publish(publication)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(code = %codes::START_ERROR_NOT_PUBLISHED, "The start error could not be reported to the platform: {error}");
            }
            Err(_) => tracing::error!(
                code = %codes::START_ERROR_NOT_PUBLISHED,
                seconds = START_ERROR_TIMEOUT.as_secs(),
                "Timed out reporting the start error to the platform; this log has it"
            ),
        }
    }

    pub(super) fn into_engine<T: Transport>(
        self,
        transport: Arc<T>,
        prepared: PreparedStep,
        session: Option<Session>,
    ) -> Engine<T> {
        let PreparedStep {
            module,
            resolves_references,
            account,
        } = prepared;
        let in_flight = Arc::new(InFlight::new(self.metrics.clock));
        metrics::add(&self.metrics, &in_flight, session.as_ref());
        Engine {
            rate_limiters: RateLimiters::new(&self.run.rates, &self.metrics.waits),
            event_room: EventRoom::new(
                self.run.amqp.memory.events,
                self.metrics.waits.of(WaitReason::EventMemory).clone(),
            ),
            values: ValueRoom::new(&self.run.amqp.memory),
            bodies: BodyStorage(self.clients.object_storage.clone()),
            transport,
            module,
            resolves_references,
            step: account.step.clone(),
            account,
            session,
            cipher: self.cipher,
            identity: self.identity,
            additional_headers: self.additional_headers,
            settings: self.run,
            clients: self.clients,
            in_flight,
            deduplication: self.deduplication,
            late_events: TaskTracker::new(),
            stopping: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            runtime: Handle::current(),
            metrics: self.metrics,
        }
    }
}

/// Begins to consume for a prepared step. Returns `None` if the process is asked to stop first.
async fn consume<T: Transport>(
    prepared: anyhow::Result<PreparedStep>,
    transport: &T,
    stopping: &CancellationToken,
) -> anyhow::Result<Option<(PreparedStep, Deliveries<T::Handle>)>> {
    match prepared {
        // The process was asked to stop while it waited for the platform.
        Err(error) if stopping.is_cancelled() && is_unavailable(&error) => {
            tracing::warn!(code = %codes::STOPPED_BEFORE_START, "Stopped before the step started: the platform's API is unavailable");
            Ok(None)
        }
        Err(error) => Err(error),
        Ok(prepared) => {
            let deliveries = consume_unless(stopping, transport).await?;
            if deliveries.is_none() {
                tracing::warn!(code = %codes::STOPPED_BEFORE_START, "Stopped before the step started");
            }
            Ok(deliveries.map(|deliveries| (prepared, deliveries)))
        }
    }
}

/// Begins to consume. Returns `None` if the process is asked to stop before the broker has responded.
pub(super) async fn consume_unless<T: Transport>(
    stopping: &CancellationToken,
    transport: &T,
) -> Result<Option<Deliveries<T::Handle>>, TransportError> {
    tokio::select! {
        biased;
        () = stopping.cancelled() => Ok(None),
        deliveries = transport.consume() => deliveries.map(Some),
    }
}

/// Resolves when this much time has passed since `token` was cancelled.
async fn cancelled_for(token: &CancellationToken, time: Duration) {
    token.cancelled().await;
    tokio::time::sleep(time).await;
}

/// Saves the tokens that were refreshed for hooks, and closes the transport.
async fn close(session: Option<&Session>, timeout: Duration, transport: &impl Transport) {
    close_session(session, timeout).await;
    transport.close().await;
}

/// Returns whether a retry of the platform's API may succeed.
fn is_unavailable(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<PlatformError>()
        .is_some_and(PlatformError::is_transient)
}
