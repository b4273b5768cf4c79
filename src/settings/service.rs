//! Settings of service mode: one call of a component's code, its result posted to an address (wire-contract: Variables of one-time calls, wire-contract: One-time calls).
//!
//! Unlike a step, a service call has somewhere to report to: only a missing result address ends the process, anything
//! else that is wrong is posted as the result, in the words that the platform knows.

use super::{
    ApiSettings, OAuthMode, ObjectStorageSettings, oauth,
    reader::{Reader, full, without_slashes},
};
use crate::protocol::{Json, StepIdentity};
use secrecy::SecretString;
use serde_json::Value;
use std::time::Duration;

/// What a service call is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Check the credentials in the configuration.
    VerifyCredentials,
    /// Ask an action or trigger for its dynamic metadata.
    GetMetaModel {
        /// `ACTION_OR_TRIGGER`.
        function: String,
    },
    /// Ask an action or trigger for the choices of a field.
    SelectModel {
        /// `ACTION_OR_TRIGGER`.
        function: String,
        /// `GET_MODEL_METHOD`: the name the model is registered under.
        model: String,
    },
}

/// Where the result of a service call is posted.
#[derive(Clone, Debug)]
pub struct ResultTarget {
    /// `POST_RESULT_URL`; it may hold a user name and a password.
    pub url: SecretString,
    /// `API_REQUEST_RETRY_ATTEMPTS`: tries in all.
    pub attempts: u32,
    /// `API_REQUEST_RETRY_DELAY`: the pause between tries.
    pub retry_delay: Duration,
}

/// Settings of one service call.
pub struct ServiceSettings {
    /// What to do.
    pub method: Method,
    /// `CFG`: the step's configuration, credentials included.
    pub config: Value,
    /// The platform's REST API.
    pub api: ApiSettings,
    /// Where large bodies are kept, if anywhere.
    pub object_storage: Option<ObjectStorageSettings>,
    /// `OAUTH_MODE` (our own): when access tokens are refreshed, whatever the component says.
    pub oauth_mode: Option<OAuthMode>,
    /// Who is asking, as far as the platform says; the rest is empty.
    pub identity: StepIdentity,
    /// What is odd about the variables.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for ServiceSettings {
    /// The configuration holds credentials and is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSettings")
            .field("method", &self.method)
            .field("api", &self.api)
            .field("object_storage", &self.object_storage)
            .field("oauth_mode", &self.oauth_mode)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// How a service call begins.
#[derive(Debug)]
pub enum ServiceStart {
    /// Everything needed is there: do the call and post its result.
    Ready(ResultTarget, Box<ServiceSettings>),
    /// Something is wrong: post this text as `{"status": "error", "data": {"message": …}}`.
    Invalid(ResultTarget, String),
    /// There is nowhere to post to: log this text and end with status 1.
    NoResultTarget(String),
}

impl ServiceSettings {
    /// Reads the settings of the service call `method` (the first argument of the command line, in any letter case)
    /// from variables as `get` gives them.
    pub fn read(method: Option<&str>, get: impl Fn(&str) -> Option<String>) -> ServiceStart {
        let mut reader = Reader::new(get);
        let Some(url) = reader.text("POST_RESULT_URL") else {
            return ServiceStart::NoResultTarget(missing("POST_RESULT_URL"));
        };
        let target = ResultTarget {
            url: url.into(),
            attempts: reader.count("API_REQUEST_RETRY_ATTEMPTS", 3),
            retry_delay: reader.millis("API_REQUEST_RETRY_DELAY", 100),
        };
        match reader.service(method, &target) {
            Ok(settings) => ServiceStart::Ready(target, Box::new(settings)),
            Err(message) => ServiceStart::Invalid(target, message),
        }
    }
}

impl<G: Fn(&str) -> Option<String>> Reader<G> {
    fn service(
        mut self,
        method: Option<&str>,
        target: &ResultTarget,
    ) -> Result<ServiceSettings, String> {
        let kind = Kind::named(method)?;
        let config = Json::checked(self.provided("CFG")?.into())
            .ok()
            .and_then(|json| json.parse().ok());
        let config = config.ok_or("Unable to parse CFG")?;
        let api = ApiSettings {
            uri: without_slashes(&self.provided("API_URI")?),
            username: self.provided("API_USERNAME")?,
            key: self.provided("API_KEY")?.into(),
            // Somebody waits for the result: what is away is not waited for, here and at the object storage.
            attempts: Some(target.attempts),
            retry_delay: Some(target.retry_delay),
            configuration_limit: self.configuration_limit(),
        };
        let method = match kind {
            Kind::VerifyCredentials => Method::VerifyCredentials,
            Kind::GetMetaModel => Method::GetMetaModel {
                function: self.provided("ACTION_OR_TRIGGER")?,
            },
            Kind::SelectModel => Method::SelectModel {
                function: self.provided("ACTION_OR_TRIGGER")?,
                model: self.provided("GET_MODEL_METHOD")?,
            },
        };
        let oauth_mode = self
            .oauth_mode()
            .map_err(|unknown| format!("{} {unknown}", full(oauth::MODE)))?;
        let object_storage = self.object_storage();
        let object_storage = object_storage.map(|storage| ObjectStorageSettings {
            retries: storage.retries.or(Some(2)),
            ..storage
        });
        let identity = self.known_identity();
        Ok(ServiceSettings {
            method,
            config,
            api,
            object_storage,
            oauth_mode,
            identity,
            warnings: self.warnings,
        })
    }

    fn provided(&self, name: &str) -> Result<String, String> {
        self.text(name).ok_or_else(|| missing(name))
    }

    fn known_identity(&self) -> StepIdentity {
        let known = |name| self.text(name).unwrap_or_default();
        StepIdentity {
            flow_id: known("FLOW_ID"),
            exec_id: known("EXEC_ID"),
            step_id: known("STEP_ID"),
            container_id: known("CONTAINER_ID"),
            workspace_id: known("WORKSPACE_ID"),
            user_id: known("USER_ID"),
            comp_id: known("COMP_ID"),
            function: known("FUNCTION"),
        }
    }
}

/// A method before its parameters are known.
enum Kind {
    VerifyCredentials,
    GetMetaModel,
    SelectModel,
}

impl Kind {
    fn named(name: Option<&str>) -> Result<Self, String> {
        let Some(name) = name else {
            return Err(
                "No service method given: expected verifyCredentials, getMetaModel or selectModel"
                    .into(),
            );
        };
        match &*name.to_ascii_lowercase() {
            "verifycredentials" => Ok(Self::VerifyCredentials),
            "getmetamodel" => Ok(Self::GetMetaModel),
            "selectmodel" => Ok(Self::SelectModel),
            _ => Err(format!("Unknown service method \"{name}\"")),
        }
    }
}

fn missing(name: &str) -> String {
    format!("{} is not provided", full(name))
}
