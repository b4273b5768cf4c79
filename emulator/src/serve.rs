//! `emulator provider`: the OAuth2 provider alone, for anything that wants tokens.

use crate::{
    event::Event,
    provider::{Provider, ProviderConfig},
    timeline::Timeline,
    up::write,
};
use anyhow::Context;
use serde_json::Value;
use std::{path::Path, time::Instant};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::broadcast::error::RecvError,
};

/// Starts the provider, tells how to reach it, and shows what becomes of its tokens until SIGINT or SIGTERM.
pub(crate) async fn provider(
    config: ProviderConfig,
    issue: Option<&Path>,
    timeline: &Timeline,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let (start, port) = (Instant::now(), config.port);
    let provider = Provider::start(config).await.with_context(|| {
        format!(
            "the OAuth2 provider cannot listen on port {port} of 127.0.0.1; port 0 takes a free one"
        )
    })?;
    timeline.plain(&format!(
        "OAuth2 provider at {}, state in memory only",
        provider.url()
    ));
    for (what, value) in [
        ("authorization endpoint", provider.authorize_url()),
        ("token endpoint", provider.token_url()),
        ("revocation endpoint", provider.revoke_url()),
        ("API", provider.api_url() + "/me, /items, /echo/…"),
        ("client id", provider.client_id().to_owned()),
        ("client secret", provider.client_secret().to_owned()),
    ] {
        timeline.plain(&format!("  {what:<22} {value}"));
    }
    let mut entries = provider.watch();
    if let Some(path) = issue {
        write(path, &Value::from(provider.issue()).to_string())
            .with_context(|| format!("the tokens cannot be written to {}", path.display()))?;
        timeline.plain(&format!(
            "  {:<22} {}",
            "tokens to begin with",
            path.display()
        ));
    }
    timeline.plain("Ctrl-C ends it.");
    loop {
        let mut event = tokio::select! {
            entry = entries.recv() => match entry {
                Ok(entry) => Event::of_provider(&entry),
                Err(RecvError::Lagged(count)) => Event::lost(count),
                Err(RecvError::Closed) => break,
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        event.at = start.elapsed();
        timeline.event(&event);
    }
    provider.shutdown().await;
    Ok(())
}
