//! The variables of a one-time call (wire-contract: Variables of one-time calls, wire-contract: One-time calls).
//!
//! Unlike a step, a one-time call can report invalid variables to the platform: it posts them as its result, in the
//! platform's own words. Only a missing result URL ends the process.

use super::{
    ApiSettings, OAuthMode, ObjectStorageSettings, STORAGE_RETRIES,
    env_reader::{EnvReader, without_trailing_slashes},
    lint::did_you_mean,
    variable::Variable,
    variables as vars,
};
use crate::protocol::{Json, StepIdentity};
use secrecy::SecretString;
use serde_json::Value;
use std::time::Duration;

/// The method of a one-time call, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Check the credentials in the configuration.
    VerifyCredentials,
    /// Get the dynamic metadata of an action or trigger.
    GetMetaModel {
        /// `ACTION_OR_TRIGGER`.
        function: String,
    },
    /// Get the choices of a field of an action or trigger.
    SelectModel {
        /// `ACTION_OR_TRIGGER`.
        function: String,
        /// `GET_MODEL_METHOD`: the name of the select model.
        model: String,
    },
}

/// Where the result of a one-time call is posted.
#[derive(Clone, Debug)]
pub struct ResultTarget {
    /// `POST_RESULT_URL`, which may contain a user name and a password.
    pub url: SecretString,
    /// `API_REQUEST_RETRY_ATTEMPTS`: the number of attempts.
    pub attempts: u32,
    /// `API_REQUEST_RETRY_DELAY`: the delay between attempts.
    pub retry_delay: Duration,
}

/// The settings of a one-time call.
pub struct ServiceSettings {
    /// The method, with its parameters.
    pub method: Method,
    /// `CFG`: the step's configuration, credentials included.
    pub config: Value,
    /// The platform's REST API.
    pub api: ApiSettings,
    /// Object storage, if it is configured.
    pub object_storage: Option<ObjectStorageSettings>,
    /// `OAUTH_MODE` (our own): when access tokens are refreshed. It overrides the component's choice.
    pub oauth_mode: Option<OAuthMode>,
    /// The identity of the step. A variable that the platform does not set is an empty text.
    pub identity: StepIdentity,
    /// Values that are unusual but usable, to be logged at the start.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for ServiceSettings {
    /// Omits the configuration, which holds credentials.
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

/// The result of reading the variables of a one-time call.
#[derive(Debug)]
pub enum ServiceStart {
    /// Do the call and post its result.
    Ready(ResultTarget, Box<ServiceSettings>),
    /// A variable is invalid: post this text as `{"status": "error", "data": {"message": …}}`.
    Invalid(ResultTarget, String),
    /// The URL for the result is missing: log this text and exit with status 1.
    NoResultTarget(String),
}

impl ServiceSettings {
    /// Reads the settings of a one-time call with the function `get`. `method` is the first argument of the command
    /// line, in any letter case.
    ///
    /// ```
    /// use sailor::settings::{ServiceSettings, ServiceStart};
    ///
    /// let url = |name: &str| (name == "ELASTICIO_POST_RESULT_URL").then(|| "https://api.example.com/7".to_owned());
    /// let ServiceStart::Invalid(_, reason) = ServiceSettings::read(Some("unknown"), url) else { panic!() };
    /// assert!(reason.starts_with("Unknown service method \"unknown\"\nThere are: verifyCredentials"));
    /// ```
    pub fn read(method: Option<&str>, get: impl Fn(&str) -> Option<String>) -> ServiceStart {
        let mut reader = EnvReader::new(get);
        let Some(url) = reader.text(&vars::POST_RESULT_URL) else {
            return ServiceStart::NoResultTarget(missing(&vars::POST_RESULT_URL));
        };
        let target = ResultTarget {
            url: url.into(),
            attempts: reader.count(&vars::API_REQUEST_RETRY_ATTEMPTS),
            retry_delay: reader.millis(&vars::API_REQUEST_RETRY_DELAY),
        };
        match reader.service(method, &target) {
            Ok(settings) => ServiceStart::Ready(target, Box::new(settings)),
            Err(message) => ServiceStart::Invalid(target, message),
        }
    }
}

impl<G: Fn(&str) -> Option<String>> EnvReader<G> {
    fn service(
        mut self,
        method: Option<&str>,
        target: &ResultTarget,
    ) -> Result<ServiceSettings, String> {
        let name = MethodName::parse(method)?;
        let config = Json::from_text(self.provided(&vars::CFG)?.into())
            .ok()
            .and_then(|json| json.parse().ok());
        let config = config.ok_or("Unable to parse CFG")?;
        let api = ApiSettings {
            uri: without_trailing_slashes(&self.provided(&vars::API_URI)?),
            username: self.provided(&vars::API_USERNAME)?,
            key: self.provided(&vars::API_KEY)?.into(),
            // A user waits for the result, so requests to the API and to object storage are retried only a few times.
            attempts: Some(target.attempts),
            retry_delay: Some(target.retry_delay),
            configuration_limit: self.configuration_limit(),
        };
        let method = self.method(name)?;
        let oauth_mode = self
            .oauth_mode()
            .map_err(|unknown| format!("{} {unknown}", vars::OAUTH_MODE.name))?;
        let object_storage = self.object_storage();
        let object_storage = object_storage.map(|storage| ObjectStorageSettings {
            retries: storage.retries.or(Some(STORAGE_RETRIES)),
            ..storage
        });
        let identity = self.partial_identity();
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

    fn method(&self, name: MethodName) -> Result<Method, String> {
        Ok(match name {
            MethodName::VerifyCredentials => Method::VerifyCredentials,
            MethodName::GetMetaModel => Method::GetMetaModel {
                function: self.provided(&vars::ACTION_OR_TRIGGER)?,
            },
            MethodName::SelectModel => Method::SelectModel {
                function: self.provided(&vars::ACTION_OR_TRIGGER)?,
                model: self.provided(&vars::GET_MODEL_METHOD)?,
            },
        })
    }

    fn provided(&self, variable: &Variable) -> Result<String, String> {
        self.text(variable).ok_or_else(|| missing(variable))
    }

    fn partial_identity(&self) -> StepIdentity {
        let known = |variable| self.text(variable).unwrap_or_default();
        StepIdentity {
            flow_id: known(&vars::FLOW_ID),
            exec_id: known(&vars::EXEC_ID),
            step_id: known(&vars::STEP_ID),
            container_id: known(&vars::CONTAINER_ID),
            workspace_id: known(&vars::WORKSPACE_ID),
            user_id: known(&vars::USER_ID),
            comp_id: known(&vars::COMP_ID),
            function: known(&vars::FUNCTION),
        }
    }
}

/// A method without its parameters.
enum MethodName {
    VerifyCredentials,
    GetMetaModel,
    SelectModel,
}

impl MethodName {
    const NAMES: [&str; 3] = ["verifyCredentials", "getMetaModel", "selectModel"];

    fn parse(name: Option<&str>) -> Result<Self, String> {
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
            _ => Err(format!(
                "Unknown service method \"{name}\"\nThere are: {}{}",
                Self::NAMES.join(", "),
                did_you_mean(name, &Self::NAMES)
            )),
        }
    }
}

fn missing(variable: &Variable) -> String {
    format!("{} is not provided", variable.name)
}
