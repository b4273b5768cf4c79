//! Turns arguments into the plan of a run.

use super::arguments::{
    ApiArgs, ConfigArgs, DemoArgs, OutputArgs, PlatformArgs, ProviderArgs, RunArgs, ServiceArgs,
    StepArgs, UpArgs, preset,
};
use crate::{
    broker::BrokerConfig,
    config::EmulatorConfig,
    demo::DemoPlan,
    input::{InputError, read_as, read_json, read_message, read_object},
    platform::{PlatformConfig, Step},
    provider::{Knobs, ProviderConfig},
    run::RunPlan,
    save_keys::KeyFile,
    service::ServicePlan,
    timeline::Timeline,
};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::time::Duration;

impl OutputArgs {
    pub(super) fn timeline(self) -> Timeline {
        Timeline::new(self.json, self.quiet)
    }
}

impl ApiArgs {
    pub(super) fn config(&self) -> Result<ProviderConfig, InputError> {
        let mut provider = self.provider.clone();
        if let Some(standin) = self.standin
            && provider.preset.is_none()
            && provider.knobs.is_none()
        {
            provider.preset = preset(standin.preset()).ok();
        }
        provider.config()
    }
}

impl ProviderArgs {
    pub(super) fn config(&self) -> Result<ProviderConfig, InputError> {
        let mut knobs = match (&self.preset, &self.knobs) {
            (Some(preset), _) => preset.knobs.clone(),
            (None, Some(path)) => read_as("knobs", path)?,
            (None, None) => Knobs::default(),
        };
        if self.rotating {
            (knobs.rotate, knobs.kill_family_on_reuse) = (true, true);
        }
        if let Some(seconds) = self.grace {
            knobs.grace = Duration::from_secs(seconds);
        }
        if let Some(seconds) = self.access_lifetime {
            knobs.access_lifetime = Duration::from_secs(seconds);
        }
        let trouble = self.trouble.as_deref();
        Ok(ProviderConfig {
            knobs,
            trouble: trouble.map_or(Ok(Default::default()), |path| read_as("trouble", path))?,
            ..ProviderConfig::default()
        })
    }
}

impl PlatformArgs {
    pub(super) fn config(&self, function: &str) -> Result<EmulatorConfig, InputError> {
        Ok(EmulatorConfig {
            provider: self.api.config()?,
            ..self.step.config(function)?
        })
    }
}

impl ConfigArgs {
    pub(super) fn key_file(&self) -> KeyFile {
        KeyFile(self.config.clone().filter(|_| self.save_keys))
    }

    /// The file's content. It always names an account, as on the platform, for changed keys.
    fn content(&self) -> Result<Value, InputError> {
        let mut config = self
            .config
            .as_ref()
            .map_or(Ok(Default::default()), |path| {
                read_object("configuration", path)
            })?;
        config
            .entry("_account")
            .or_insert_with(|| "emulated-account".into());
        Ok(config.into())
    }
}

impl StepArgs {
    fn config(&self, function: &str) -> Result<EmulatorConfig, InputError> {
        let step = Step {
            function: function.to_owned(),
            config: self.config.content()?,
            snapshot: self
                .snapshot
                .as_ref()
                .map_or(Ok(json!({})), |path| read_json("snapshot", path))?,
            is_passthrough: self.passthrough,
            consumes_raw_data: self.raw_webhooks,
            ..Step::default()
        };
        Ok(EmulatorConfig {
            step,
            prefetch: self.prefetch,
            protocol_version: self.protocol,
            startup: self.startup,
            lightweight: self.lightweight,
            rebound_speed_up: self.rebound_speed_up,
            next_step: self.next_step,
            collector: !self.without_collector,
            routing_keys: self.routing_keys.clone(),
            ..EmulatorConfig::default()
        })
    }
}

impl DemoArgs {
    pub(super) fn plan(self) -> Result<DemoPlan, InputError> {
        Ok(DemoPlan {
            provider: self.provider.config()?,
            profile: self.provider.preset.map(|preset| preset.name),
            concurrent: self.concurrent,
            replicas: self.component.replicas,
            command: self.component.command,
        })
    }
}

impl UpArgs {
    pub(super) fn config(&self) -> Result<EmulatorConfig, InputError> {
        Ok(EmulatorConfig {
            broker: BrokerConfig {
                port: self.broker_port,
                ..BrokerConfig::default()
            },
            platform: PlatformConfig {
                port: self.platform_port,
                ..PlatformConfig::default()
            },
            ..self.platform.config(&self.function)?
        })
    }
}

impl RunArgs {
    pub(super) fn plan(self) -> Result<RunPlan, InputError> {
        let mut messages: Vec<Value> = self
            .messages
            .iter()
            .map(|path| read_message(path))
            .collect::<Result<_, InputError>>()?;
        if messages.is_empty() {
            messages.push(json!({"body": {}}));
        }
        Ok(RunPlan {
            key_file: self.platform.step.config.key_file(),
            emulator: self.platform.config(&self.function)?,
            standin: self.platform.api.standin,
            messages,
            headers: self
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect::<Headers>(),
            command: self.component.command,
            replicas: self.component.replicas.into(),
            notes: None,
            env: self.env,
            start_timeout: Duration::from_secs(self.start_timeout),
            timeout: Duration::from_secs(self.timeout),
        })
    }
}

impl ServiceArgs {
    pub(super) fn plan(self) -> Result<ServicePlan, InputError> {
        Ok(ServicePlan {
            config: self.config.content()?,
            key_file: self.config.key_file(),
            provider: self.api.config()?,
            standin: self.api.standin,
            method: self.method,
            function: self.function,
            model: self.model,
            command: self.command,
            env: self.env,
            timeout: Duration::from_secs(self.timeout),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{local_platform::start_standin, provider::Provider, standins::StandinName};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        api: ApiArgs,
    }

    #[tokio::test]
    async fn the_trouble_of_a_file_is_that_of_both_apis() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trouble.json");
        let trouble = json!({ "failing_calls": "GET .*/me", "failing_status": 418 });
        std::fs::write(&file, trouble.to_string()).unwrap();
        for (name, standin) in [
            ("graph", StandinName::Graph),
            ("salesforce", StandinName::Salesforce),
        ] {
            let words = ["x", "--standin", name, "--trouble", file.to_str().unwrap()];
            let config = Line::parse_from(words).api.config().unwrap();
            let trouble = config.trouble.clone();
            let provider = Provider::start(config).await.unwrap();
            let standin = start_standin(Some(standin), &provider, trouble)
                .await
                .unwrap();
            for url in [provider.api_url(), standin.unwrap().url()] {
                let response = reqwest::get(url + "/me").await.unwrap();
                assert_eq!(response.status().as_u16(), 418);
            }
        }
    }
}
