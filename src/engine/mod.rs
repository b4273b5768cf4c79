//! The engine: starts a step, works on its messages, and stops without losing any.

mod bodies;
mod decode;
mod emit;
mod error_event;
mod execute;
mod hooks;
mod in_flight;
pub(crate) mod metrics;
pub(crate) mod service;
mod step;
mod throttle;

pub(crate) use step::{Account, AccountStore, Step};

use crate::{
    broker::{
        amqp::Amqp,
        transport::{Deliveries, Delivery, Publication, Route, Transport, TransportError},
    },
    clients::{
        http,
        object_storage::ObjectStorage,
        platform::{Platform, PlatformError},
    },
    component::{Component, context::Clients, module::Module},
    engine::metrics::Metrics,
    oauth2::{RefreshLock, Session, SessionConfig},
    protocol::{Cipher, ErrorReport, StepIdentity, error_body, headers::start_up_table},
    settings::{self, Mode, OAuthMode, ObjectStorageSettings, RunSettings, Settings},
};
use anyhow::Context as _;
use bodies::Bodies;
use in_flight::InFlight;
use secrecy::ExposeSecret;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use throttle::Throttle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a process that cannot start tries to tell the platform why.
const START_UP_REPORT: Duration = Duration::from_secs(10);

/// How long tasks may take to notice that they are abandoned: up to their next await.
const ABANDON: Duration = Duration::from_secs(1);

/// The two ways to end a running step, in the order in which an operator uses them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// No new messages; those being worked on are finished within `SHUTDOWN_TIMEOUT`.
    pub graceful: CancellationToken,
    /// At once; what is unsettled goes back to the queue.
    pub immediate: CancellationToken,
}

/// Runs a step until it is told to stop, or runs its shutdown hook when the settings say so.
///
/// # Errors
/// When it cannot start (the platform has been told, where that was possible), or when the broker refuses for good.
/// Nothing is lost then: what was not settled stays in the queue.
///
/// # Cancel safety
/// Dropping the future abandons the messages being worked on: they are delivered again.
pub async fn run(
    settings: Settings,
    component: &Component,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    run_with(settings, Ok(component), shutdown).await
}

/// As [`run`], where making the component may have failed: the platform is told of that too.
pub(crate) async fn run_with(
    settings: Settings,
    component: anyhow::Result<&Component>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    if matches!(settings.mode, Mode::ShutdownHook) {
        // Signals do not count there (wire-contract: Shutdown hook): half a hook must not look like a whole one.
        return run_gracefully(settings, component, shutdown).await;
    }
    let immediate = shutdown.immediate.clone();
    tokio::select! {
        biased;
        () = immediate.cancelled() => {
            tracing::warn!("Told to stop at once");
            Ok(())
        }
        ended = run_gracefully(settings, component, shutdown) => ended,
    }
}

async fn run_gracefully(
    settings: Settings,
    component: anyhow::Result<&Component>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Settings {
        identity,
        api,
        object_storage,
        additional_headers,
        mode,
        oauth_mode,
        webhook_uri,
        ..
    } = settings;
    let http = http::client()?;
    // Redirects would make GETs of what is sent to the platform.
    let direct = http::client_without_redirects()?;
    let platform = Platform::new(
        direct.clone(),
        &api,
        &identity.flow_id,
        &identity.step_id,
        &identity.workspace_id,
    );
    let run = match mode {
        Mode::Run(run) => run,
        Mode::ShutdownHook => {
            let storage = storage(object_storage.as_ref(), None, &identity)?;
            let clients = Clients {
                http,
                platform: Some(platform.clone()),
                object_storage: storage,
                webhook_uri,
            };
            let component = component?;
            let session = component.session(tools(&identity, direct, oauth_mode, None));
            return shutdown_hook(component, &identity, clients, platform, session).await;
        }
    };
    let cipher = Cipher::new(
        run.crypto_password.expose_secret(),
        run.crypto_iv.expose_secret(),
    )?;
    let storage = storage(object_storage.as_ref(), Some(&cipher), &identity)?;
    // Nothing is tried for long once the process is to stop.
    let platform = platform.until(shutdown.graceful.clone());
    let storage = storage.map(|storage| storage.until(shutdown.graceful.clone()));
    let clients = Clients {
        http,
        platform: Some(platform),
        object_storage: storage,
        webhook_uri,
    };
    let transport = tokio::select! {
        connected = Amqp::connect(&run.amqp) => connected.context("connecting to the broker")?,
        () = shutdown.graceful.cancelled() => return Ok(()),
    };
    let lock = run
        .oauth_lock
        .then(|| Arc::new(transport.locks()) as Arc<dyn RefreshLock>);
    let tools = tools(&identity, direct, oauth_mode, lock);
    let start = Start {
        identity,
        additional_headers,
        run: *run,
        cipher,
        clients,
        tools,
    };
    start.run(component, transport, shutdown).await
}

/// Object storage, where it is configured. Without a cipher it serves attachments only.
pub(crate) fn storage(
    settings: Option<&ObjectStorageSettings>,
    cipher: Option<&Cipher>,
    identity: &StepIdentity,
) -> anyhow::Result<Option<ObjectStorage>> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let (http, streams) = (
        http::client_without_redirects()?,
        http::client_for_streams()?,
    );
    Ok(Some(ObjectStorage::new(
        http,
        streams,
        settings,
        cipher.cloned(),
        identity,
    )))
}

/// What sessions work with in a process that the platform has started.
pub(crate) fn tools(
    identity: &StepIdentity,
    direct: reqwest::Client,
    mode: Option<OAuthMode>,
    lock: Option<Arc<dyn RefreshLock>>,
) -> SessionConfig {
    let owner = format!("{}/{}", identity.flow_id, identity.step_id);
    SessionConfig {
        direct,
        environment: Arc::new(settings::environment),
        mode,
        lock,
        owner,
    }
}

async fn shutdown_hook(
    component: &Component,
    identity: &StepIdentity,
    clients: Clients,
    platform: Platform,
    session: Option<Session>,
) -> anyhow::Result<()> {
    let step = Arc::new(Step::new(
        platform
            .step()
            .await
            .context("asking the platform for the step")?,
    ));
    let (module, _) = component.module(&identity.function)?;
    let store = AccountStore::new(
        Account {
            platform: platform.clone(),
            step,
        },
        session.clone(),
    );
    let ended = hooks::shutdown(
        &*module,
        store.service_run(&identity.function, &clients),
        &platform,
    )
    .await;
    store.close().await;
    ended
}

/// What is known before the platform has been asked for the step.
struct Start {
    identity: StepIdentity,
    additional_headers: Vec<(String, String)>,
    run: RunSettings,
    cipher: Cipher,
    clients: Clients,
    tools: SessionConfig,
}

/// What is known once the platform has been asked.
struct Prepared {
    module: Arc<dyn Module>,
    resolves_references: bool,
    account: Account,
}

impl Start {
    async fn run<T: Transport>(
        self,
        component: anyhow::Result<&Component>,
        transport: T,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let limit = self.run.shutdown_timeout;
        let transport = Arc::new(transport);
        // A signal during start-up lets the hooks finish, for as long as running messages may take.
        let interrupted = async {
            shutdown.graceful.cancelled().await;
            tokio::time::sleep(limit).await;
        };
        let session = component
            .as_ref()
            .ok()
            .and_then(|component| component.session(self.tools.clone()));
        // What hooks have had refreshed is saved before the process ends.
        let end = async |patience| {
            close_session(session.as_ref(), patience).await;
            transport.close().await;
        };
        let started = tokio::select! {
            started = self.prepare(component, session.as_ref()) => started,
            () = interrupted => {
                tracing::warn!("Asked to stop before the step had started");
                end(ABANDON).await;
                return Ok(());
            }
        };
        let prepared = match started {
            Ok(prepared) => prepared,
            // It was waited for until then.
            Err(error) if shutdown.graceful.is_cancelled() && is_away(&error) => {
                tracing::warn!(
                    "Asked to stop before the step had started: the platform's API is away"
                );
                end(limit).await;
                return Ok(());
            }
            Err(error) => {
                self.report(&*transport, &error).await;
                end(limit).await;
                return Err(error);
            }
        };
        if shutdown.graceful.is_cancelled() {
            end(limit).await;
            return Ok(());
        }
        let deliveries = match transport.consume().await {
            Ok(deliveries) => deliveries,
            Err(error) => {
                let error = anyhow::Error::from(error);
                self.report(&*transport, &error).await;
                end(limit).await;
                return Err(error);
            }
        };
        tracing::info!("Fully initialized and waiting for messages");
        let engine = Arc::new(self.engine(transport, prepared, session));
        engine
            .work_until(deliveries, &shutdown)
            .await
            .map_err(Into::into)
    }

    /// Asks for the step, finds its module, runs its hooks: wire-contract: Start-up order.
    async fn prepare(
        &self,
        component: anyhow::Result<&Component>,
        session: Option<&Session>,
    ) -> anyhow::Result<Prepared> {
        let platform = self
            .clients
            .platform
            .as_ref()
            .context("a step needs the platform's API")?;
        let step = Arc::new(Step::new(
            platform
                .step()
                .await
                .context("asking the platform for the step")?,
        ));
        let component = component?;
        let (module, function) = component.module(&self.identity.function)?;
        let account = Account {
            platform: platform.clone(),
            step,
        };
        let store = AccountStore::new(account.clone(), session.cloned());
        let run = || store.service_run(&self.identity.function, &self.clients);
        if self.run.startup_required {
            hooks::startup(&*module, run(), platform).await?;
        }
        hooks::caught(async { module.init(run()).await }).await?;
        Ok(Prepared {
            module,
            resolves_references: function.resolves_references(),
            account,
        })
    }

    /// Tells the platform why the step cannot start, within bounds (wire-contract: Start-up failures).
    async fn report(&self, transport: &impl Transport, error: &anyhow::Error) {
        let sealed = ErrorReport::of(error).encrypt(&self.cipher);
        let publication = Publication {
            route: Route::Error,
            headers: start_up_table(&self.identity, &self.additional_headers),
            body: error_body(&sealed, None).into(),
        };
        match tokio::time::timeout(START_UP_REPORT, transport.publish(publication)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(
                "The platform could not be told why the step did not start: {error}"
            ),
            Err(_) => {
                tracing::error!(
                    "The platform could not be told in time why the step did not start"
                );
            }
        }
    }

    fn engine<T: Transport>(
        self,
        transport: Arc<T>,
        prepared: Prepared,
        session: Option<Session>,
    ) -> Engine<T> {
        let rates = &self.run.rates;
        let Prepared {
            module,
            resolves_references,
            account,
        } = prepared;
        Engine {
            throttles: Throttles {
                data: Throttle::new(rates.data, rates.interval),
                error: Throttle::new(rates.error, rates.interval),
                snapshot: Throttle::new(rates.snapshot, rates.interval),
            },
            bodies: Bodies(self.clients.object_storage.clone()),
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
            in_flight: InFlight::new(),
            late: TaskTracker::new(),
            stopping: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            metrics: Metrics::default(),
        }
    }
}

struct Throttles {
    data: Throttle,
    error: Throttle,
    snapshot: Throttle,
}

/// A step that is at work.
pub(crate) struct Engine<T: Transport> {
    transport: Arc<T>,
    module: Arc<dyn Module>,
    resolves_references: bool,
    step: Arc<Step>,
    cipher: Cipher,
    identity: StepIdentity,
    additional_headers: Vec<(String, String)>,
    settings: RunSettings,
    clients: Clients,
    account: Account,
    session: Option<Session>,
    bodies: Bodies,
    throttles: Throttles,
    in_flight: InFlight<T::Handle>,
    /// Events emitted after the end of their messages.
    late: TaskTracker,
    /// Fires when the process is asked to stop.
    stopping: CancellationToken,
    /// Fires when nothing is settled any more: unfinished messages go back to the queue.
    abandoned: CancellationToken,
    metrics: Metrics,
}

impl<T: Transport> Engine<T> {
    /// Works on deliveries until there are no more or the process is to stop, each in a task of its own.
    async fn work_until(
        self: Arc<Self>,
        mut deliveries: Deliveries<T::Handle>,
        shutdown: &Shutdown,
    ) -> Result<(), TransportError> {
        let tasks = TaskTracker::new();
        let abandoned = self.abandoned.clone();
        let _abandon = abandoned.clone().drop_guard();
        let accept = |delivery: Delivery<T::Handle>| {
            let Delivery {
                headers,
                body,
                redelivered,
                generation,
                handle,
            } = delivery;
            let delivery = Delivery {
                headers,
                body,
                redelivered,
                generation,
                handle: Arc::new(handle),
            };
            let (engine, abandoned) = (self.clone(), abandoned.clone());
            // Here and not in the task: tasks do not begin in their order, and a redelivery must not overtake the
            // delivery that it repeats.
            let arrival = engine.in_flight.arrive(&delivery);
            tasks.spawn(async move {
                // Biased: once abandoned, no verdict is reached any more.
                tokio::select! {
                    biased;
                    () = abandoned.cancelled() => {}
                    () = engine.execute(delivery, arrival) => {}
                }
            });
        };
        let refused = loop {
            tokio::select! {
                biased;
                () = shutdown.graceful.cancelled() => break None,
                delivery = deliveries.recv() => match delivery {
                    Some(Ok(delivery)) => accept(delivery),
                    Some(Err(error)) => break Some(error),
                    None => break None,
                },
            }
        };
        self.stopping.cancel();
        if refused.is_none() {
            let limit = self.settings.shutdown_timeout;
            tracing::info!(
                messages = tasks.len(),
                seconds = limit.as_secs(),
                "Stopping: running messages are finished"
            );
            let finish = async {
                self.transport.stop_consuming().await;
                while let Some(Ok(delivery)) = deliveries.recv().await {
                    accept(delivery);
                }
                tasks.close();
                tasks.wait().await;
                self.late.close();
                self.late.wait().await;
                close_session(self.session.as_ref(), limit).await;
            };
            tokio::select! {
                () = finish => {}
                () = tokio::time::sleep(limit) => {
                    tracing::warn!("The time to finish running messages is over");
                }
            }
        }
        // From here on nothing is settled: what is unfinished goes back to the queue when the channel closes.
        abandoned.cancel();
        if !tasks.is_empty() || !self.late.is_empty() {
            tracing::warn!(
                messages = tasks.len(),
                events = self.late.len(),
                "Unfinished messages go back to the queue; events emitted after their message's end are dropped"
            );
        }
        tasks.close();
        if tokio::time::timeout(ABANDON, tasks.wait()).await.is_err() {
            tracing::warn!("A module computes without a pause; the process ends all the same");
        }
        // Nobody has asked for an end when the broker has refused: then there is time to save what is refreshed.
        let patience = if refused.is_some() {
            self.settings.shutdown_timeout
        } else {
            ABANDON
        };
        close_session(self.session.as_ref(), patience).await;
        self.transport.close().await;
        self.metrics.log(self.session.as_ref().map(Session::counts));
        refused.map_or(Ok(()), Err)
    }
}

/// True when the platform's API may work again later.
fn is_away(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<PlatformError>()
        .is_some_and(PlatformError::is_transient)
}

/// A token that has been refreshed must be saved before the process ends.
async fn close_session(session: Option<&Session>, patience: Duration) {
    if let Some(session) = session
        && tokio::time::timeout(patience, session.close())
            .await
            .is_err()
    {
        tracing::error!(
            "A token was being refreshed when the time to stop was over; it may be lost"
        );
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
