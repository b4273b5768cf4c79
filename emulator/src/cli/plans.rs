//! Turns arguments into the plan of a run.

use super::arguments::{
    ApiArgs, ConfigArgs, DemoArgs, EnvironmentArgs, MessageArgs, OutputArgs, PlatformArgs,
    ProviderArgs, RunArgs, ServiceArgs, StepArgs, UpArgs, preset,
};
use crate::{
    cargo,
    component_file::ComponentFile,
    config::EmulatorConfig,
    demo::DemoPlan,
    input::{InputError, read_as, read_json, read_message, read_object},
    local_platform::given_variables,
    platform::Step,
    provider::{Knobs, ProviderConfig},
    run::RunPlan,
    save_keys::KeyFile,
    service::ServicePlan,
    standins::StandinName,
    timeline::Timeline,
    up::UpPlan,
    variables::Variables,
};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
            next_step: !self.without_next_step,
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

/// What is known of the component before it starts.
struct Known {
    component: Option<ComponentFile>,
    variables: Variables,
}

impl EnvironmentArgs {
    /// Reads component.json and the variables for the component that `command` starts. Returns an error if it has no such
    /// function, or if a required variable is not set.
    fn read(
        &self,
        command: &[String],
        function: Option<&str>,
        standin: Option<StandinName>,
    ) -> Result<Known, InputError> {
        let folders = match self.descriptor {
            Some(_) => Vec::new(),
            None => cargo::component_folders(command),
        };
        let component = ComponentFile::find(self.descriptor.as_deref(), &folders)?;
        let variables = Variables::read(component.clone(), &self.env_files, self.env.clone())?;
        if let (Some(component), Some(name)) = (&component, function) {
            component.function(Some(name))?;
        }
        variables.check(&given_variables(standin))?;
        Ok(Known {
            component,
            variables,
        })
    }
}

impl Known {
    /// The function that is named, or the only one.
    fn function(&self, name: Option<String>) -> Result<String, InputError> {
        match (name, &self.component) {
            (Some(name), _) => Ok(name),
            (None, Some(component)) => component.function(None),
            (None, None) => Err(InputError::new(
                "name a trigger or action with --function: there is no component.json here that tells them",
            )),
        }
    }

    fn is_webhook(&self, function: &str) -> bool {
        let component = self.component.as_ref();
        component.is_some_and(|component| component.is_webhook(function))
    }

    fn consumes_raw_data(&self) -> bool {
        let component = self.component.as_ref();
        component.is_some_and(ComponentFile::consumes_raw_data)
    }
}

impl MessageArgs {
    /// The messages; an empty one if none is named.
    pub(super) fn read(&self) -> Result<Vec<Value>, InputError> {
        if self.messages.is_empty() {
            return Ok(vec![json!({"body": {}})]);
        }
        self.messages
            .iter()
            .map(|path| read_message(path))
            .collect()
    }

    pub(super) fn headers(&self) -> Headers {
        let headers = self.headers.iter().cloned();
        headers.map(|(name, value)| (name, value.into())).collect()
    }
}

impl UpArgs {
    pub(super) fn plan(self) -> Result<UpPlan, InputError> {
        let standin = self.platform.api.standin;
        let environment = &self.environment;
        let known = environment.read(&[], self.function.as_deref(), standin)?;
        // A component that is started by hand can be any, and can set the variable of its function itself.
        let function = known.function(self.function).unwrap_or_default();
        let mut emulator = self.platform.config(&function)?;
        emulator.broker.port = self.broker_port;
        emulator.platform.port = self.platform_port;
        emulator.step.consumes_raw_data |= known.consumes_raw_data();
        Ok(UpPlan {
            emulator,
            standin,
            is_webhook: known.is_webhook(&function),
            variables: known.variables,
            no_placeholders: environment.no_placeholders,
            write_env: self.write_env,
            key_file: self.platform.step.config.key_file(),
        })
    }
}

impl RunArgs {
    pub(super) fn plan(self) -> Result<RunPlan, InputError> {
        let standin = self.platform.api.standin;
        let (environment, command) = (&self.environment, self.component.command);
        let known = environment.read(&command, self.function.as_deref(), standin)?;
        let function = known.function(self.function)?;
        let mut emulator = self.platform.config(&function)?;
        emulator.step.consumes_raw_data |= known.consumes_raw_data();
        Ok(RunPlan {
            key_file: self.platform.step.config.key_file(),
            emulator,
            standin,
            messages: self.messages.read()?,
            headers: self.messages.headers(),
            command,
            replicas: self.component.replicas.into(),
            record: self.record,
            shutdown: self.shutdown,
            notes: None,
            is_webhook: known.is_webhook(&function),
            variables: known.variables,
            no_placeholders: environment.no_placeholders,
            start_timeout: Duration::from_secs(self.start_timeout),
            timeout: Duration::from_secs(self.timeout),
        })
    }

    /// The file that the emulator writes changed keys into.
    pub(super) fn written(&self) -> Option<&Path> {
        let config = &self.platform.step.config;
        config.config.as_deref().filter(|_| config.save_keys)
    }

    /// The files of this command. A change of one is a reason to run again; changed keys that the emulator writes are none.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let step = &self.platform.step;
        let provider = &self.platform.api.provider;
        let config = step.config.config.iter().filter(|_| !step.config.save_keys);
        let others = [
            &step.snapshot,
            &provider.knobs,
            &provider.trouble,
            &self.environment.descriptor,
        ];
        let files = config.chain(others.into_iter().flatten());
        files
            .chain(&self.messages.messages)
            .chain(&self.environment.env_files)
            .cloned()
            .collect()
    }
}

impl ServiceArgs {
    pub(super) fn plan(self) -> Result<ServicePlan, InputError> {
        let environment = &self.environment;
        let function = self.function.as_deref();
        let known = environment.read(&self.command, function, self.api.standin)?;
        Ok(ServicePlan {
            config: self.config.content()?,
            key_file: self.config.key_file(),
            provider: self.api.config()?,
            standin: self.api.standin,
            method: self.method,
            function: self.function,
            model: self.model,
            command: self.command,
            variables: known.variables,
            no_placeholders: environment.no_placeholders,
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
