//! `emulator service`: a one-time call, as the platform starts them to verify credentials and to get metadata and select
//! models (wire-contract: Variables of one-time calls, wire-contract: One-time calls).

use crate::{
    child::{Output, Process, exit_description},
    local_platform::{provider_env, start_standin},
    placeholders::Placeholders,
    platform::{Platform, PlatformConfig, ServiceResult, Step},
    provider::{Provider, ProviderConfig},
    save_keys::KeyFile,
    standins::StandinName,
    timeline::Timeline,
    variables::Variables,
};
use anyhow::{Context, bail};
use serde_json::Value;
use std::{ffi::OsStr, path::Path, process::ExitStatus, time::Duration};
use tokio::time::{Instant, sleep_until};

const EXEC: &str = "emulated-exec";
/// The placeholder for the method in a command. Without it, the method is appended: after a script of the Node sailor alone, and
/// otherwise after `service`.
const METHOD_PLACEHOLDER: &str = "{METHOD}";

/// The call to make.
pub(crate) struct ServicePlan {
    pub(crate) method: String,
    pub(crate) function: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) config: Value,
    /// The file for changed keys.
    pub(crate) key_file: KeyFile,
    pub(crate) command: Vec<String>,
    pub(crate) variables: Variables,
    /// Whether `{{…}}` in files is left as it is.
    pub(crate) no_placeholders: bool,
    pub(crate) provider: ProviderConfig,
    pub(crate) standin: Option<StandinName>,
    pub(crate) timeout: Duration,
}

/// Runs the command to its end. Returns true when it posted success, unless the credentials were not verified.
pub(crate) async fn service(plan: ServicePlan, timeline: &Timeline) -> anyhow::Result<bool> {
    let config = PlatformConfig::default();
    let platform = Platform::start(config.clone())
        .await
        .context("the platform cannot listen on 127.0.0.1")?;
    let provider = Provider::start(plan.provider.clone())
        .await
        .context("the OAuth2 provider cannot listen on 127.0.0.1")?;
    let standin = start_standin(plan.standin, &provider, plan.provider.trouble.clone()).await?;
    let mut step = Step {
        config: plan.config.clone(),
        function: plan.function.clone().unwrap_or_default(),
        ..Step::default()
    };
    let placeholders = Placeholders {
        platform: &platform,
        provider: &provider,
        standin: standin.as_ref(),
        off: plan.no_placeholders,
    };
    placeholders.fill_in("the configuration file", &mut step.config)?;
    let account = step.config["_account"].as_str().map(str::to_owned);
    let mut env = environment(&platform, &config, &step.config, &plan);
    env.extend(provider_env(&provider, standin.as_ref()));
    let env = plan.variables.complete(env, &placeholders)?;
    platform.set_step("emulated-flow", step);

    let (status, output) = run_to_end(&plan, &env, timeline).await?;
    let keys = account.and_then(|account| platform.account(&account));
    if let Err(error) = plan.key_file.save(&keys.unwrap_or_default()) {
        timeline.note(&error);
    }
    platform.shutdown().await;
    provider.shutdown().await;
    if let Some(standin) = standin {
        standin.shutdown().await;
    }
    if let Some(result) = platform.results().last() {
        timeline.call_result(result);
        return Ok(succeeded(result));
    }
    explain(&platform, &output, timeline);
    bail!(
        "the component ended with {} without posting a result that was accepted",
        exit_description(status)
    )
}

async fn run_to_end(
    plan: &ServicePlan,
    env: &[(String, String)],
    timeline: &Timeline,
) -> anyhow::Result<(ExitStatus, Output)> {
    let command = complete(plan.command.clone(), &plan.method);
    let (mut process, mut output) = Process::start(&command, env)?;
    let deadline = Instant::now() + plan.timeout;
    let status = loop {
        tokio::select! {
            Some(line) = output.line() => timeline.component(&line),
            status = process.ended() => break status?,
            () = sleep_until(deadline) => {
                process.terminate();
                bail!("{} did not end within {} s", plan.method, plan.timeout.as_secs());
            }
        }
    };
    output.remaining(|line| timeline.component(line)).await;
    Ok((status, output))
}

/// Shows the events of a component that posted no result.
fn explain(platform: &Platform, output: &Output, timeline: &Timeline) {
    timeline.last_lines(output.last_lines());
    let calls: Vec<String> = platform
        .calls()
        .iter()
        .map(|call| format!("{call:?}"))
        .collect();
    timeline.details("its calls:", calls.iter().map(String::as_str));
}

fn succeeded(result: &ServiceResult) -> bool {
    result.success && result.data.get("verified") != Some(&Value::Bool(false))
}

fn complete(mut command: Vec<String>, method: &str) -> Vec<String> {
    if command.iter().any(|word| word.contains(METHOD_PLACEHOLDER)) {
        for word in &mut command {
            *word = word.replace(METHOD_PLACEHOLDER, method);
        }
    } else if let Some(script) = command.iter_mut().find_map(node_script) {
        *script = service_script(script);
        command.push(method.to_owned());
    } else {
        command.extend(["service".to_owned(), method.to_owned()]);
    }
    command
}

/// A word of the command that is a script of the Node sailor.
fn node_script(word: &mut String) -> Option<&mut String> {
    let name = Path::new(word).file_name().and_then(OsStr::to_str);
    let is_script = matches!(name, Some("run.js" | "runService.js"));
    is_script.then_some(word)
}

/// The script for one-time calls, which is beside the one for messages.
fn service_script(script: &str) -> String {
    let path = Path::new(script).with_file_name("runService.js");
    path.to_string_lossy().into_owned()
}

fn environment(
    platform: &Platform,
    config: &PlatformConfig,
    cfg: &Value,
    plan: &ServicePlan,
) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = [
        ("ELASTICIO_POST_RESULT_URL", platform.result_url(EXEC)),
        ("ELASTICIO_CFG", cfg.to_string()),
        ("ELASTICIO_API_URI", platform.url()),
        ("ELASTICIO_API_USERNAME", config.username.clone()),
        ("ELASTICIO_API_KEY", config.key.clone()),
        ("ELASTICIO_OBJECT_STORAGE_URI", platform.url()),
        (
            "ELASTICIO_OBJECT_STORAGE_TOKEN",
            config.storage_token.clone(),
        ),
        ("ELASTICIO_EXEC_ID", EXEC.into()),
        ("ELASTICIO_COMP_ID", "emulated-component".into()),
        ("ELASTICIO_CONTAINER_ID", "emulated-container".into()),
        ("ELASTICIO_WORKSPACE_ID", "emulated-workspace".into()),
        ("ELASTICIO_USER_ID", "emulated-user".into()),
        ("EMULATOR_URL", platform.url()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    env.extend(
        plan.function
            .clone()
            .map(|function| ("ELASTICIO_ACTION_OR_TRIGGER".to_owned(), function)),
    );
    env.extend(
        plan.model
            .clone()
            .map(|model| ("ELASTICIO_GET_MODEL_METHOD".to_owned(), model)),
    );
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_success_without_verified_false_counts_as_success() {
        for (success, data, good) in [
            (true, json!({"verified": true}), true),
            (true, json!({"verified": false, "reason": "no"}), false),
            (true, json!({"in": {}}), true),
            (true, Value::Null, true),
            (false, json!({"message": "no"}), false),
        ] {
            assert_eq!(
                succeeded(&ServiceResult {
                    exec: String::new(),
                    success,
                    data
                }),
                good
            );
        }
    }

    #[test]
    fn the_method_is_inserted_into_the_command() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            complete(words("cargo run --"), "m"),
            words("cargo run -- service m")
        );
        for (node, expected) in [
            ("node runService.js {METHOD}", "node runService.js m"),
            ("node a/runService.js", "node a/runService.js m"),
            (
                "node --inspect a/run.js",
                "node --inspect a/runService.js m",
            ),
            ("node my-run.js", "node my-run.js service m"),
        ] {
            assert_eq!(complete(words(node), "m"), words(expected));
        }
    }
}
