//! The settings of traces: the standard variables of OpenTelemetry, without a prefix
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). A value that is wrong is a warning,
//! as that specification wants it: a step does not stop for its traces.

use super::{
    env_reader::{EnvReader, is_http},
    variable::Variable,
    variables as vars,
};
use percent_encoding::percent_decode_str;
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use std::{collections::BTreeMap, fmt, time::Duration};

const ENDPOINT: [&Variable; 2] = [
    &vars::EXPORTER_OTLP_TRACES_ENDPOINT,
    &vars::EXPORTER_OTLP_ENDPOINT,
];
const HEADERS: [&Variable; 2] = [
    &vars::EXPORTER_OTLP_TRACES_HEADERS,
    &vars::EXPORTER_OTLP_HEADERS,
];
const PROTOCOL: [&Variable; 2] = [
    &vars::EXPORTER_OTLP_TRACES_PROTOCOL,
    &vars::EXPORTER_OTLP_PROTOCOL,
];
const COMPRESSION: [&Variable; 2] = [
    &vars::EXPORTER_OTLP_TRACES_COMPRESSION,
    &vars::EXPORTER_OTLP_COMPRESSION,
];
const TIMEOUT: [&Variable; 2] = [
    &vars::EXPORTER_OTLP_TRACES_TIMEOUT,
    &vars::EXPORTER_OTLP_TIMEOUT,
];

/// The attribute with the name of the service.
const SERVICE_NAME: &str = "service.name";
/// The attributes that tell the step, and the platform's variables that they are from.
const STEP: [(&str, &Variable); 7] = [
    ("service.instance.id", &vars::CONTAINER_ID),
    ("elasticio.workspace.id", &vars::WORKSPACE_ID),
    ("elasticio.flow.id", &vars::FLOW_ID),
    ("elasticio.execution.id", &vars::EXEC_ID),
    ("elasticio.step.id", &vars::STEP_ID),
    ("elasticio.component.id", &vars::COMP_ID),
    ("elasticio.function", &vars::FUNCTION),
];

/// Where traces go, and which.
#[derive(Clone)]
pub(crate) struct TraceSettings {
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces`.
    pub(crate) endpoint: Url,
    /// `OTEL_EXPORTER_OTLP_HEADERS`: what each request to the collector carries, such as a key. The values are sensitive.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// `OTEL_EXPORTER_OTLP_COMPRESSION` is `gzip`.
    pub(crate) gzip: bool,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`: the time limit of one export, with its retries.
    pub(crate) timeout: Duration,
    pub(crate) sampling: Sampling,
    /// What all spans have in common: the service and the step. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over
    /// the platform's variables.
    pub(crate) resource: BTreeMap<String, String>,
    /// `OTEL_BSP_SCHEDULE_DELAY`: how long spans are collected before they are sent.
    pub(crate) delay: Duration,
    /// `OTEL_BSP_MAX_QUEUE_SIZE`: how many spans wait at most; further ones are dropped.
    pub(crate) queue: usize,
    /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`: how many spans are sent together at most.
    pub(crate) batch: usize,
}

impl fmt::Debug for TraceSettings {
    /// Without the headers, and without what else may be a secret in the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.origin().ascii_serialization();
        f.debug_struct("TraceSettings")
            .field("endpoint", &endpoint)
            .finish_non_exhaustive()
    }
}

/// `OTEL_TRACES_SAMPLER` and its argument: which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// The share of the traces, between 0 and 1.
    pub(crate) ratio: f64,
    /// A trace that another process has begun is recorded if that process records it. The share is only for new ones.
    pub(crate) by_parent: bool,
}

impl Sampling {
    const DEFAULT: Self = Self {
        ratio: 1.0,
        by_parent: true,
    };
}

impl TraceSettings {
    /// Reads the variables with the function `get`. Returns `None` if no traces are wanted, and warnings about the values.
    pub(crate) fn read(get: impl Fn(&str) -> Option<String>) -> (Option<Self>, Vec<String>) {
        let mut reader = EnvReader::new(get);
        let settings = reader.traces();
        (settings, reader.warnings)
    }
}

impl<G: Fn(&str) -> Option<String>> EnvReader<G> {
    fn traces(&mut self) -> Option<TraceSettings> {
        self.first(ENDPOINT)?;
        if self.is_without_traces() {
            return None;
        }
        let endpoint = self.trace_endpoint()?;
        self.check_protocol();
        Some(TraceSettings {
            endpoint,
            headers: self.trace_headers(),
            gzip: self.trace_compression(),
            timeout: self.trace_timeout(),
            sampling: self.sampling(),
            resource: self.resource(),
            delay: self.millis(&vars::BSP_SCHEDULE_DELAY),
            queue: self.size(&vars::BSP_MAX_QUEUE_SIZE),
            batch: self.size(&vars::BSP_MAX_EXPORT_BATCH_SIZE),
        })
    }

    /// The value of a standard variable. White space counts as not set.
    fn standard(&self, variable: &Variable) -> Option<String> {
        self.text(variable).filter(|text| !text.trim().is_empty())
    }

    /// The first of these variables that is set, and its value. The variable for traces wins over the one for all signals.
    fn first(&self, variables: [&'static Variable; 2]) -> Option<(&'static Variable, String)> {
        let mut set = variables
            .into_iter()
            .filter_map(|name| Some((name, self.standard(name)?)));
        set.next()
    }

    fn trace_timeout(&mut self) -> Duration {
        let set = self.first(TIMEOUT).map(|(variable, _)| variable);
        self.millis(set.unwrap_or(TIMEOUT[1]))
    }

    fn size(&mut self, variable: &Variable) -> usize {
        usize::try_from(self.number_within(variable, variable.number())).unwrap_or(usize::MAX)
    }

    fn is_without_traces(&mut self) -> bool {
        let disabled = self.standard(&vars::SDK_DISABLED).unwrap_or_default();
        if disabled.trim().eq_ignore_ascii_case("true") {
            return true;
        }
        let exporter = self.standard(&vars::TRACES_EXPORTER).unwrap_or_default();
        match exporter.trim() {
            "" | "otlp" => false,
            "none" => true,
            _ => {
                let warning = "can be otlp or none here; no traces are sent";
                self.warning(&vars::TRACES_EXPORTER, warning);
                true
            }
        }
    }

    fn trace_endpoint(&mut self) -> Option<Url> {
        let (variable, text) = self.first(ENDPOINT)?;
        let text = text.trim();
        let url = if variable.name == ENDPOINT[0].name {
            text.to_owned()
        } else {
            format!("{}/v1/traces", text.trim_end_matches('/'))
        };
        let url = Some(url).filter(|url| is_http(url));
        let url = url.and_then(|url| Url::parse(&url).ok());
        if url.is_none() {
            self.warning(
                variable,
                "must be a URL such as http://collector:4318; no traces are sent",
            );
        }
        url
    }

    fn check_protocol(&mut self) {
        if let Some((variable, text)) = self.first(PROTOCOL)
            && text.trim() != "http/protobuf"
        {
            self.warning(variable, "names a protocol that is not supported; http/protobuf is used, for which a collector usually \
                 listens on port 4318");
        }
    }

    fn trace_compression(&mut self) -> bool {
        let Some((variable, text)) = self.first(COMPRESSION) else {
            return false;
        };
        let is_known = matches!(text.trim(), "gzip" | "none");
        if !is_known {
            self.warning(variable, "can be gzip or none here; nothing is compressed");
        }
        text.trim() == "gzip"
    }

    fn trace_headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        let Some((variable, text)) = self.first(HEADERS) else {
            return Vec::new();
        };
        let read = |(name, value): (String, String)| {
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        };
        let headers: Option<Vec<_>> = pairs(&text).map(|pair| pair.and_then(read)).collect();
        headers.unwrap_or_else(|| {
            self.warning(variable, "must be a list such as name=value,name2=value2 with escapes like %20; no header is sent to the \
                 collector");
            Vec::new()
        })
    }

    fn sampling(&mut self) -> Sampling {
        let name = self.standard(&vars::TRACES_SAMPLER).unwrap_or_default();
        let (by_parent, root) = match name.trim().strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name.trim()),
        };
        let ratio = match root {
            "" => return Sampling::DEFAULT,
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.ratio(),
            _ => {
                self.warning(&vars::TRACES_SAMPLER, "must be always_on, always_off or traceidratio, or one of these after parentbased_; using \
                     parentbased_always_on");
                return Sampling::DEFAULT;
            }
        };
        Sampling { ratio, by_parent }
    }

    fn ratio(&mut self) -> f64 {
        let Some(text) = self.standard(&vars::TRACES_SAMPLER_ARG) else {
            return 1.0;
        };
        let ratio = text.trim().parse().ok();
        ratio
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .unwrap_or_else(|| {
                self.warning(
                    &vars::TRACES_SAMPLER_ARG,
                    "must be a number between 0 and 1; using 1",
                );
                1.0
            })
    }

    fn resource(&mut self) -> BTreeMap<String, String> {
        let step = STEP
            .iter()
            .filter_map(|(attribute, name)| Some(((*attribute).to_owned(), self.text(name)?)));
        let mut resource: BTreeMap<_, _> = step.collect();
        let service = self
            .text(&vars::COMP_NAME)
            .or_else(|| self.text(&vars::COMP_ID));
        let service = service.unwrap_or_else(|| "elasticio-sailor".to_owned());
        resource.insert(SERVICE_NAME.to_owned(), service);
        if let Some(text) = self.standard(&vars::RESOURCE_ATTRIBUTES) {
            match pairs(&text).collect::<Option<Vec<_>>>() {
                Some(more) => resource.extend(more),
                None => self.warning(&vars::RESOURCE_ATTRIBUTES, "must be a list such as name=value,name2=value2 with escapes like %20; it is ignored"),
            }
        }
        if let Some(service) = self.standard(&vars::SERVICE_NAME) {
            resource.insert(SERVICE_NAME.to_owned(), service);
        }
        resource
    }
}

/// The pairs of a list `name=value,name2=value2`, whose values are percent-encoded. `None` stands for one that is none.
fn pairs(list: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let pairs = list.split(',').filter(|pair| !pair.trim().is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let name = Some(name.trim()).filter(|name| !name.is_empty())?;
        Some((name.to_owned(), value.into_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Option<TraceSettings>, Vec<String>) {
        TraceSettings::read(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// The settings with an endpoint and these variables. None of them may cause a warning.
    #[track_caller]
    fn good(variables: &[(&str, &str)]) -> TraceSettings {
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
        let (settings, warnings) = read(&[variables, &endpoint].concat());
        assert_eq!(warnings, [""; 0]);
        settings.unwrap()
    }

    #[test]
    fn an_endpoint_turns_traces_on() {
        for (variables, url) in [
            (vec![], None),
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], None),
            (vec![("OTEL_TRACES_EXPORTER", "console")], None),
            (
                vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")],
                Some("http://collector:4318/v1/traces"),
            ),
            (
                vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example/otlp/")],
                Some("https://c.example/otlp/v1/traces"),
            ),
            (
                vec![
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:4318"),
                    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/here"),
                ],
                Some("http://c:4318/here"),
            ),
        ] {
            let (settings, warnings) = read(&variables);
            let found = settings.map(|settings| settings.endpoint.to_string());
            assert_eq!(found.as_deref(), url, "{variables:?}");
            assert_eq!(warnings, [""; 0]);
        }
        for (variable, value) in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
            assert!(read(&[endpoint, (variable, value)]).0.is_none());
        }
        assert_eq!(
            good(&[("OTEL_SDK_DISABLED", "false")]).timeout.as_secs(),
            10
        );
    }

    #[test]
    fn a_wrong_value_is_a_warning_without_the_value() {
        for (variable, value, is_on) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "secret:4317", false),
            ("OTEL_TRACES_EXPORTER", "secret", false),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "secret", true),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "secret", true),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "secret", true),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", true),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret", true),
            ("OTEL_EXPORTER_OTLP_HEADERS", "key=secret%0a", true),
            ("OTEL_RESOURCE_ATTRIBUTES", "secret", true),
            ("OTEL_TRACES_SAMPLER", "secret", true),
            ("OTEL_BSP_SCHEDULE_DELAY", "secret", true),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "secret", true),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1000000", true),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "secret", true),
        ] {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
            let (settings, warnings) = read(&[endpoint, (variable, value)]);
            assert_eq!(settings.is_some(), is_on, "{variable}");
            assert_eq!(warnings.len(), 1, "{variable}: {warnings:?}");
            assert!(warnings[0].starts_with(variable), "{warnings:?}");
            assert!(!warnings[0].contains("secret"), "{warnings:?}");
        }
    }

    #[test]
    fn samplers_are_those_of_the_specification() {
        for (name, argument, ratio, by_parent) in [
            ("", "0.5", 1.0, true),
            ("always_on", "", 1.0, false),
            ("always_off", "", 0.0, false),
            ("traceidratio", "0.25", 0.25, false),
            ("parentbased_always_on", "", 1.0, true),
            ("parentbased_always_off", "", 0.0, true),
            ("parentbased_traceidratio", "", 1.0, true),
            ("parentbased_traceidratio", "0.1", 0.1, true),
        ] {
            let settings = good(&[
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", argument),
            ]);
            let expected = Sampling { ratio, by_parent };
            assert_eq!(settings.sampling, expected, "{name} {argument}");
        }
        for argument in ["2", "-1", "NaN", "x"] {
            let endpoint = (ENDPOINT[0].name, "http://c:1");
            let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
            let (settings, warnings) =
                read(&[endpoint, sampler, ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            assert_eq!(settings.unwrap().sampling.ratio, 1.0);
            assert!(
                warnings[0].starts_with("OTEL_TRACES_SAMPLER_ARG"),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn the_resource_is_the_step() {
        let step = ("ELASTICIO_STEP_ID", "step_1");
        let name = ("ELASTICIO_COMP_NAME", "Mail");
        let more = (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=a%20b, service.name=x",
        );
        let own = ("OTEL_SERVICE_NAME", "y");
        let service = |variables: &[_]| good(variables).resource[SERVICE_NAME].clone();
        assert_eq!(service(&[]), "elasticio-sailor");
        assert_eq!(service(&[name]), "Mail");
        assert_eq!(service(&[name, more]), "x");
        assert_eq!(service(&[name, more, own]), "y");
        let resource = good(&[step, more]).resource;
        assert_eq!(resource["elasticio.step.id"], "step_1");
        assert_eq!(resource["deployment.environment.name"], "a b");
    }

    #[test]
    fn headers_are_read_and_not_shown() {
        let list = "authorization=Bearer%20secret, x-key = secret=";
        let settings = good(&[("OTEL_EXPORTER_OTLP_HEADERS", list)]);
        let values: Vec<_> = settings.headers.iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["Bearer secret", "secret="]);
        let printed = format!("{settings:?}{:?}", settings.headers);
        assert!(!printed.contains("secret"), "{printed}");
    }
}
