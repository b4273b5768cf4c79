//! One attempt to read the step, for a diagnosis.

use super::{Platform, PlatformError, StepData, error::platform_error, joined};
use crate::clients::http;
use reqwest::Method;
use serde_json::{Map, Value};
use std::time::SystemTime;

/// A step, and the platform's time when it was read.
pub(crate) struct DatedStep {
    pub(crate) step: Result<StepData, PlatformError>,
    /// The `Date` of the response, in whole seconds.
    pub(crate) date: Option<SystemTime>,
}

impl Platform {
    /// Reads this step with one attempt.
    pub(crate) async fn dated_step(&self) -> DatedStep {
        let (flow_id, step_id) = (&self.credentials.flow_id, &self.credentials.step_id);
        let path = joined(&["v1", "tasks", flow_id, "steps", step_id]);
        let request = self.request(Method::GET, &path);
        let (date, response) = http::send_dated(request).await;
        let step = async {
            let body = http::read(response?, self.limit).await?;
            let members: Map<String, Value> = body.json()?;
            Ok(StepData::from_members(&members))
        };
        let operation = || format!("reading step {step_id} of flow {flow_id}");
        DatedStep {
            step: step.await.map_err(platform_error(operation)),
            date,
        }
    }
}
