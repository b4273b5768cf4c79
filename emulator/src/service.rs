//! `emulator service`: a one-time execution, as the platform starts them to verify credentials and to get metadata and
//! select models (wire-contract: Variables of one-time calls, wire-contract: One-time calls).

use crate::{
    child::{Process, exit_description},
    input::{Placeholders, fill_in},
    local_platform::{provider_env, start_standin},
    platform::{Platform, PlatformConfig, ServiceResult, Step},
    provider::{Provider, ProviderConfig},
    save_keys::KeyFile,
    standins::StandinName,
    timeline::Timeline,
};
use anyhow::{Context, bail};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const EXEC: &str = "emulated-exec";
/// Where the method goes in a command that does not want `service METHOD` at its end.
const METHOD_PLACEHOLDER: &str = "{METHOD}";

/// What to execute.
pub(crate) struct ServicePlan {
    pub(crate) method: String,
    pub(crate) function: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) config: Value,
    /// Where changed keys go.
    pub(crate) key_file: KeyFile,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) provider: ProviderConfig,
    pub(crate) standin: Option<StandinName>,
    pub(crate) timeout: Duration,
}

/// Runs the command until it ends; true when it posted success, and credentials were not found wrong.
pub(crate) async fn service(mut plan: ServicePlan, timeline: &Timeline) -> anyhow::Result<bool> {
    let config = PlatformConfig::default();
    let platform = Platform::start(config.clone())
        .await
        .context("the platform cannot listen on 127.0.0.1")?;
    let provider = Provider::start(plan.provider)
        .await
        .context("the OAuth2 provider cannot listen on 127.0.0.1")?;
    let standin = start_standin(plan.standin, &provider).await?;
    fill_in(
        &mut plan.config,
        &Placeholders {
            platform: &platform,
            provider: &provider,
            standin: standin.as_ref(),
        },
    );
    let step = Step {
        config: plan.config.clone(),
        ..Step::default()
    };
    let step = Step {
        function: plan.function.clone().unwrap_or_default(),
        ..step
    };
    platform.set_step("emulated-flow", step);
    let command = complete(plan.command, &plan.method);
    let mut env = environment(&platform, &config, &plan.config, plan.function, plan.model);
    env.extend(provider_env(&provider, standin.as_ref()));
    env.extend(plan.env);

    let (mut process, mut output) = Process::start(&command, &env)?;
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
    let account = plan.config["_account"]
        .as_str()
        .and_then(|account| platform.account(account));
    if let Err(error) = plan.key_file.save(&account.unwrap_or_default()) {
        timeline.note(&error);
    }
    let results = platform.results();
    platform.shutdown().await;
    provider.shutdown().await;
    if let Some(standin) = standin {
        standin.shutdown().await;
    }
    let Some(result) = results.last() else {
        timeline.note("the component printed at last:");
        timeline.last_lines(output.last_lines());
        timeline.note("it called:");
        timeline.last_lines(
            platform
                .calls()
                .iter()
                .map(|call| format!("{call:?}"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str),
        );
        bail!(
            "the component ended with {} without posting a result that was accepted",
            exit_description(status)
        );
    };
    timeline.answer(result);
    Ok(succeeded(result))
}

fn succeeded(result: &ServiceResult) -> bool {
    result.success && result.data.get("verified") != Some(&Value::Bool(false))
}

fn complete(mut command: Vec<String>, method: &str) -> Vec<String> {
    if command
        .iter()
        .any(|argument| argument.contains(METHOD_PLACEHOLDER))
    {
        command
            .iter_mut()
            .for_each(|argument| *argument = argument.replace(METHOD_PLACEHOLDER, method));
    } else {
        command.extend(["service".to_owned(), method.to_owned()]);
    }
    command
}

fn environment(
    platform: &Platform,
    config: &PlatformConfig,
    cfg: &Value,
    function: Option<String>,
    model: Option<String>,
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
    env.extend(function.map(|function| ("ELASTICIO_ACTION_OR_TRIGGER".to_owned(), function)));
    env.extend(model.map(|model| ("ELASTICIO_GET_MODEL_METHOD".to_owned(), model)));
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
        assert_eq!(
            complete(words("node runService.js {METHOD}"), "m"),
            words("node runService.js m")
        );
    }
}
