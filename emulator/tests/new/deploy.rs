//! What is deployed is held against the settings that the runtime reads: names, ports, time limits, queues.

use super::repository;
use sailor::{
    protocol::{Cipher, Encoding},
    settings::{Mode, RunSettings, Settings},
};
use serde_json::Value as Json;
use serde_yaml_ng::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

pub(crate) type Environment = BTreeMap<String, String>;

pub(crate) fn template(path: &str) -> String {
    let folder: PathBuf = repository().join("emulator/templates/component");
    fs::read_to_string(folder.join(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    let mut value: Value = serde_yaml_ng::from_str(&template(path)).unwrap();
    value.apply_merge().unwrap();
    value
}

fn texts(value: &Value) -> Environment {
    let members = value.as_mapping().unwrap().iter();
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{value:?} is no text"))
            .to_owned()
    };
    members
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

pub(crate) fn definitions() -> Json {
    serde_json::from_str(&template("deploy/compose/definitions.json")).unwrap()
}

/// The environment of each step of the compose file.
pub(crate) fn compose_steps() -> Vec<Environment> {
    let compose = yaml("deploy/compose.yaml");
    let steps = ["step_1", "step_2"];
    steps
        .map(|step| texts(&compose["services"][step]["environment"]))
        .into()
}

/// The responses of platform.conf by their paths.
pub(crate) fn platform_conf() -> BTreeMap<String, String> {
    let text = template("deploy/compose/platform.conf");
    let locations = text.split("location = ").skip(1);
    let response = |location: &str| {
        let (path, rest) = location.split_once(" {")?;
        let body = rest.split_once("return 200 '")?.1.split_once("';")?.0;
        Some((path.to_owned(), body.to_owned()))
    };
    locations
        .map(|location| response(location).expect(location))
        .collect()
}

fn kubernetes(name: &str) -> Value {
    yaml(&format!("deploy/kubernetes/{name}.yaml"))
}

fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

fn kubernetes_step() -> Environment {
    let mut environment = texts(&kubernetes("configmap")["data"]);
    environment.extend(texts(&kubernetes("secret")["stringData"]));
    let deployment = kubernetes("deployment");
    for variable in container(&deployment)["env"].as_sequence().unwrap() {
        let name = variable["name"].as_str().unwrap();
        environment.insert(name.to_owned(), "from the pod".to_owned());
    }
    environment
}

/// Read from the environment when a request with a token is sent, and not with the settings.
const HTTP_HOSTS: &str = "ELASTICIO_OAUTH_HTTP_HOSTS";

/// The settings that the runtime reads from an environment. Nothing may be missing, doubtful, or unknown to it.
fn settings(environment: &Environment) -> Settings {
    let asked = std::cell::RefCell::new(Vec::new());
    let settings = Settings::read(|name| {
        asked.borrow_mut().push(name.to_owned());
        environment.get(name).cloned()
    });
    let settings = settings.unwrap_or_else(|error| panic!("{error}"));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    let asked = asked.into_inner();
    for name in environment
        .keys()
        .filter(|name| name.starts_with("ELASTICIO_"))
    {
        let is_read = asked.contains(name) || name == HTTP_HOSTS;
        assert!(is_read, "nothing reads {name}");
    }
    let descriptor: Json = serde_json::from_str(&template("component.json")).unwrap();
    for name in descriptor["envVars"].as_object().unwrap().keys() {
        assert!(environment.contains_key(name), "{name} is not set");
    }
    let function = &environment["ELASTICIO_FUNCTION"];
    let kinds = ["triggers", "actions"];
    assert!(
        kinds
            .iter()
            .any(|kind| descriptor[kind].get(function).is_some()),
        "{function}"
    );
    settings
}

fn of_step(settings: &Settings) -> &RunSettings {
    let Mode::Run(run) = &settings.mode else {
        panic!("the settings are not those of a step");
    };
    run
}

/// How many seconds a step may take to stop.
fn shutdown_seconds(settings: &Settings) -> u64 {
    of_step(settings).shutdown_timeout.as_secs()
}

/// Whether a step that starts without a broker tries to connect for ten minutes.
fn waits_for_its_broker(settings: &Settings) -> bool {
    let amqp = &of_step(settings).amqp;
    amqp.connect_retry_delay * amqp.connect_retries >= Duration::from_secs(600)
}

#[test]
fn the_steps_of_compose_have_valid_settings() {
    let compose = yaml("deploy/compose.yaml");
    for (step, environment) in ["step_1", "step_2"].iter().zip(compose_steps()) {
        let settings = settings(&environment);
        assert!(waits_for_its_broker(&settings), "{step}");
        let grace = compose["services"][step]["stop_grace_period"]
            .as_str()
            .unwrap();
        let grace: u64 = grace.strip_suffix('s').unwrap().parse().unwrap();
        assert!(grace >= shutdown_seconds(&settings) + 5, "{grace}");
    }
}

#[test]
fn the_steps_of_compose_are_connected_by_the_queues() {
    let definitions = definitions();
    let is_bound = |queue: &str, key: &str| {
        let bindings = definitions["bindings"].as_array().unwrap();
        bindings
            .iter()
            .any(|binding| binding["destination"] == queue && binding["routing_key"] == key)
    };
    let [first, second] = &compose_steps()[..] else {
        panic!("there are not two steps");
    };
    for step in [first, second] {
        let queues = definitions["queues"].as_array().unwrap();
        let queue = &step["ELASTICIO_LISTEN_MESSAGES_ON"];
        let queue = queues
            .iter()
            .find(|declared| declared["name"] == **queue)
            .expect(queue);
        let exchange = &queue["arguments"]["x-dead-letter-exchange"];
        assert_eq!(exchange, &step["ELASTICIO_PUBLISH_MESSAGES_TO"]);
        let rebounds = step["ELASTICIO_LISTEN_MESSAGES_ON"].replace("messages", "rebounds");
        assert!(
            is_bound(&rebounds, &step["ELASTICIO_REBOUND_ROUTING_KEY"]),
            "{rebounds}"
        );
    }
    let (data, next) = (
        &first["ELASTICIO_DATA_ROUTING_KEY"],
        &second["ELASTICIO_LISTEN_MESSAGES_ON"],
    );
    assert!(is_bound(next, data), "{data}");
}

#[test]
fn the_user_of_compose_is_the_one_that_rabbitmq_knows() {
    let definitions = definitions();
    let user = &definitions["users"][0];
    let hash = user["password_hash"].as_str().unwrap().as_bytes();
    let hash = base64_simd::STANDARD.decode_to_vec(hash).unwrap();
    let (salt, expected) = hash.split_at(4);
    let uri = &compose_steps()[0]["ELASTICIO_AMQP_URI"];
    let login = uri
        .strip_prefix("amqp://")
        .unwrap()
        .split_once('@')
        .unwrap()
        .0;
    let (name, password) = login.split_once(':').unwrap();
    assert_eq!(user["name"], name);
    let found = Sha256::digest([salt, password.as_bytes()].concat());
    assert_eq!(found.as_slice(), expected);
}

#[test]
fn the_responses_of_compose_are_the_configuration_of_the_steps() {
    let responses = platform_conf();
    for step in compose_steps() {
        let path = format!(
            "/v1/tasks/{}/steps/{}",
            step["ELASTICIO_FLOW_ID"], step["ELASTICIO_STEP_ID"]
        );
        let response: Json = serde_json::from_str(&responses[&path]).unwrap();
        assert_eq!(response["function"], step["ELASTICIO_FUNCTION"]);
    }
    for (path, body) in &responses {
        assert!(serde_json::from_str::<Json>(body).is_ok(), "{path}");
    }
}

/// The test of the flow replaces the hosts by this machine, which needs no permission.
#[test]
fn the_steps_of_compose_may_send_tokens_to_their_hosts() {
    let responses: Vec<String> = platform_conf().into_values().collect();
    for step in compose_steps() {
        let allowed: Vec<&str> = step[HTTP_HOSTS].split(',').collect();
        let addresses = step.iter().filter(|(name, _)| name.starts_with("API_"));
        let addresses = addresses.map(|(_, address)| address.clone());
        let mut count = 0;
        for text in addresses.chain(responses.iter().cloned()) {
            for rest in text.split("http://").skip(1) {
                let host = rest.split(['/', ':', '"']).next().unwrap();
                assert!(allowed.contains(&host), "{host} is not in {HTTP_HOSTS}");
                count += 1;
            }
        }
        assert_eq!(count, 4);
    }
}

/// A shell that is process 1 has no default action for SIGTERM.
#[test]
fn the_schedule_of_compose_ends_at_once() {
    assert_eq!(
        yaml("deploy/compose.yaml")["services"]["schedule"]["init"],
        true
    );
}

#[test]
fn files_with_tokens_are_ignored() {
    let readme = template("README.md");
    let config = readme.split("login --config ").nth(1).unwrap();
    let config = config.split('`').next().unwrap();
    assert!(config.ends_with(".secret.json"), "{config}");
    assert!(template("gitignore.template").contains("*.secret.json\n"));

    // The image gets what is listed, and nothing else.
    let ignored = template("dockerignore.template");
    let mut patterns = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(patterns.next(), Some("*"));
    let named: Vec<&str> = patterns.filter(|line| line.starts_with('!')).collect();
    assert_eq!(
        named,
        [
            "!Cargo.lock",
            "!Cargo.toml",
            "!component.json",
            "!schemas",
            "!src"
        ]
    );
    assert!(ignored.ends_with("\n**/*.secret.json\n"), "{ignored}");
}

/// The message that the service `schedule` sends, and its routing key.
pub(crate) fn scheduled() -> (String, String) {
    let compose = yaml("deploy/compose.yaml");
    let script = compose["services"]["schedule"]["command"][0]
        .as_str()
        .unwrap();
    let message = script.lines().find(|line| line.starts_with('{')).unwrap();
    let message: Json = serde_json::from_str(message).unwrap();
    let text = |name: &str| message[name].as_str().unwrap().to_owned();
    (text("routing_key"), text("payload"))
}

#[test]
fn the_message_of_the_schedule_is_one_that_the_steps_decrypt() {
    let steps = compose_steps();
    let (key, payload) = scheduled();
    let cipher = Cipher::new(
        &steps[0]["ELASTICIO_MESSAGE_CRYPTO_PASSWORD"],
        &steps[0]["ELASTICIO_MESSAGE_CRYPTO_IV"],
    );
    let plain = cipher
        .unwrap()
        .decrypt(payload.as_bytes(), Encoding::Base64);
    assert_eq!(plain.unwrap(), b"{}");
    let bindings = definitions()["bindings"].to_string();
    assert!(bindings.contains(&format!("\"{key}\"")), "{key}");
}

#[test]
fn the_step_of_kubernetes_has_valid_settings() {
    let settings = settings(&kubernetes_step());
    assert!(waits_for_its_broker(&settings));
    let pod = &kubernetes("deployment")["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= shutdown_seconds(&settings) + 5, "{grace}");
}

#[test]
fn the_probes_of_kubernetes_ask_the_health_port() {
    let (environment, deployment) = (kubernetes_step(), kubernetes("deployment"));
    let container = container(&deployment);
    let port = &container["ports"][0];
    assert_eq!(
        port["containerPort"].as_u64().unwrap().to_string(),
        environment["ELASTICIO_HEALTH_PORT"]
    );
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        let request = &container[probe]["httpGet"];
        assert_eq!(
            (&request["path"], &request["port"]),
            (&path.into(), &port["name"]),
            "{probe}"
        );
    }
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(
        annotations["prometheus.io/port"].as_str(),
        Some(&*environment["ELASTICIO_HEALTH_PORT"])
    );
}

#[test]
fn the_objects_of_kubernetes_name_each_other() {
    let (deployment, scaled, budget) = (
        kubernetes("deployment"),
        kubernetes("scaledobject"),
        kubernetes("disruption-budget"),
    );
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    let name = &deployment["metadata"]["name"];
    assert_eq!(&scaled["spec"]["scaleTargetRef"]["name"], name);
    let sources = container(&deployment)["envFrom"].as_sequence().unwrap();
    for (source, kind, object) in [
        (&sources[0], "configMapRef", kubernetes("configmap")),
        (&sources[1], "secretRef", kubernetes("secret")),
    ] {
        assert_eq!(source[kind]["name"], object["metadata"]["name"]);
    }

    let (environment, trigger) = (
        kubernetes_step(),
        &scaled["spec"]["triggers"][0]["metadata"],
    );
    assert_eq!(
        trigger["queueName"].as_str(),
        Some(&*environment["ELASTICIO_LISTEN_MESSAGES_ON"])
    );
    let address = &environment[trigger["hostFromEnv"].as_str().unwrap()];
    assert!(address.starts_with("amqp://"), "{address}");
    // KEDA resolves the name in its own namespace.
    assert!(address.contains(".svc.cluster.local:"), "{address}");
    // It would count only for the way to 0 replicas.
    assert_eq!(scaled["spec"]["minReplicaCount"], 1);
    assert!(scaled["spec"]["cooldownPeriod"].is_null());
}

/// The container's security context: what a restricted namespace asks for, and nothing that the component needs.
#[test]
fn the_step_of_kubernetes_has_no_rights() {
    let deployment = kubernetes("deployment");
    let (pod, container) = (
        &deployment["spec"]["template"]["spec"],
        container(&deployment),
    );
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    // For that, the image's user has to be a number. OpenShift chooses the user, so the manifest names none.
    let dockerfile = template("Dockerfile");
    let user = dockerfile.lines().rfind(|line| line.starts_with("USER "));
    let user = user.unwrap().strip_prefix("USER ").unwrap();
    let mut ids = user.split(':').map(|id| id.parse::<u32>().unwrap());
    assert!(ids.all(|id| id != 0), "{user}");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let context = &container["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"]["drop"][0], "ALL");
    assert!(!container["resources"]["limits"]["memory"].is_null());
}

#[test]
fn the_editor_starts_tasks_that_exist() {
    let read = |path: &str| serde_json::from_str::<Json>(&template(path)).unwrap();
    let (launch, tasks) = (read("vscode/launch.json"), read("vscode/tasks.json"));
    let labels: Vec<&Json> = tasks["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| &task["label"])
        .collect();
    let configurations = launch["configurations"].as_array().unwrap();
    let started: Vec<&Json> = configurations
        .iter()
        .filter_map(|launch| launch.get("preLaunchTask"))
        .collect();
    assert_eq!(started.len(), 2);
    for task in started {
        assert!(labels.contains(&task), "{task}");
    }
}

#[test]
fn the_workflow_checks_what_a_change_must_pass() {
    let workflow = yaml("github/workflows/ci.yml");
    let steps = workflow["jobs"]["check"]["steps"].as_sequence().unwrap();
    let run: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["run"].as_str())
        .collect();
    for command in ["cargo fmt --check", "cargo clippy", "cargo test", "check"] {
        assert!(run.iter().any(|line| line.contains(command)), "{command}");
    }
    assert!(workflow["jobs"]["image"]["steps"].is_sequence());
}
