//! `emulator up`: a platform that keeps running, for a component that is started by hand or in a debugger.

use crate::{
    config::EmulatorConfig,
    local_platform::LocalPlatform,
    platform::{PendingSend, Sending},
    save_keys::KeyFile,
    send::AddressFile,
    standins::StandinName,
    timeline::Timeline,
    variables::Variables,
};
use anyhow::Context;
use http_double::percent_encoded;
use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{SignalKind, signal};

/// What to start.
pub(crate) struct UpPlan {
    pub(crate) emulator: EmulatorConfig,
    pub(crate) standin: Option<StandinName>,
    pub(crate) variables: Variables,
    /// Whether `{{…}}` in files is left as it is.
    pub(crate) no_placeholders: bool,
    /// Whether messages are requests to the flow's webhook address, which expect a reply.
    pub(crate) is_webhook: bool,
    /// The file for the component's environment, instead of the output.
    pub(crate) write_env: Option<PathBuf>,
    /// The file for changed keys.
    pub(crate) key_file: KeyFile,
}

/// Starts everything, prints how to use it, and shows what happens until SIGINT or SIGTERM.
pub(crate) async fn up(plan: UpPlan, timeline: &Timeline) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let config = plan.emulator.clone();
    let local = LocalPlatform::start(config, plan.standin, plan.no_placeholders).await?;
    let mut sends = local.emulator.platform().sends();
    let address_file = AddressFile::write(&local.emulator.platform().url());
    timeline.plain(&local.banner());
    print_environment(&plan, &local, timeline)?;
    print_usage(&plan, &local, address_file.is_ok(), timeline);
    let mut events = local.emulator.events();
    loop {
        tokio::select! {
            Some(event) = events.next() => {
                timeline.event(&event);
                if let Err(error) = plan.key_file.record(&event) {
                    timeline.note(&error);
                }
            }
            Some(pending) = sends.recv() => take(pending, &plan, &local),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    local.shutdown().await;
    Ok(())
}

/// Prints or writes the environment of a component that is started by hand.
fn print_environment(
    plan: &UpPlan,
    local: &LocalPlatform,
    timeline: &Timeline,
) -> anyhow::Result<()> {
    let env = plan
        .variables
        .complete(local.component_env(), &local.placeholders())?;
    let export = |(name, value): &(String, String)| {
        format!("export {name}='{}'\n", value.replace('\'', r"'\''"))
    };
    let Some(path) = &plan.write_env else {
        // The user's own may be secret, and the output may be somebody else's to read.
        let shown = env.iter().map(|variable| {
            let name = &variable.0;
            if plan.variables.has(name) {
                format!("# {name} has your value: --write-env FILE writes it too\n")
            } else {
                export(variable)
            }
        });
        timeline.plain(shown.collect::<String>().trim_end());
        return Ok(());
    };
    let exports: String = env.iter().map(export).collect();
    let shown = path.display();
    write(path, &exports)
        .with_context(|| format!("the environment file {shown} cannot be written"))?;
    timeline.plain(&format!("a component's environment: source {shown}"));
    Ok(())
}

/// Says how to send a message.
fn print_usage(plan: &UpPlan, local: &LocalPlatform, has_address_file: bool, timeline: &Timeline) {
    let url = local.emulator.platform().url();
    timeline.plain(&if has_address_file {
        format!("send a message: emulator send --message FILE (in another folder: --to {url})")
    } else {
        format!("send a message: emulator send --message FILE --to {url}")
    });
    let flow = percent_encoded(&plan.emulator.flow);
    timeline.plain(&format!(
        "send a request: curl -H 'Content-Type: application/json' -d '{{\"name\": \"Ada\"}}' {url}/hook/{flow}"
    ));
    timeline.plain("Ctrl-C ends it.");
}

/// Sends a message of `emulator send`.
fn take(pending: PendingSend, plan: &UpPlan, local: &LocalPlatform) {
    let PendingSend { sending, done } = pending;
    let Sending {
        mut message,
        mut headers,
    } = sending;
    let filled_in = local.fill_in("the message", &mut message);
    let sent = filled_in.map_err(|error| error.to_string()).map(|()| {
        if plan.is_webhook {
            let reply_key = local.emulator.topology().reply_key.as_str();
            headers
                .entry("reply_to")
                .or_insert_with(|| reply_key.into());
        }
        local.emulator.send(&message, &headers)
    });
    // The command may have been interrupted.
    let _ = done.send(sent);
}

/// Writes a file that only its owner can read: it contains passwords, if only the emulator's.
pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
