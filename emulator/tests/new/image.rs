//! The image of a component, without a container: the commands of its Dockerfile put its files together in a folder, and
//! `scripts/image --check` accepts them. A script takes the place of the container engine: it runs what is in that folder, and tells
//! what the Dockerfile says.

use super::{deploy::template, repository};
use serde_json::Value;
use std::{
    fs,
    os::unix::{self, fs::PermissionsExt},
    path::Path,
    process::Command,
};
use tempfile::TempDir;
use test_support::Outcome;

/// `docker info`, `docker image inspect` and `docker run`. Only what is below $ROOT exists.
const ENGINE: &str = r#"#!/bin/bash
case "$*" in
  info) ;;
  *.Size*) echo 25000000 ;;
  *.Config.User*) echo "$IMAGE_USER" ;;
  *.Config.Labels*) echo "$LABEL" ;;
  *.Config.Healthcheck*) echo "$HEALTH_CHECK" ;;
  run*)
    program=/usr/local/bin/component
    while [[ $1 != IMAGE ]]; do
      if [[ $1 == --entrypoint ]]; then program=$2; shift; fi
      shift
    done
    [[ $program == /* ]] || program=/usr/local/bin/$program
    cd "$ROOT/component" && exec env -i "$ROOT$program" "${@:2}" ;;
  *) echo "unknown: $*" >&2; exit 1 ;;
esac
"#;

/// What the Dockerfile has, and what `scripts/image --check` says without the line.
const NEEDED: [(&str, &str); 5] = [
    ("USER ", "its user has no rights"),
    ("LABEL ", "the label elastic.io.component has a descriptor"),
    ("HEALTHCHECK ", "it has a health check"),
    (
        "ln -s component ",
        "the command line of a Node component is understood",
    ),
    ("xargs ", "component check finds no error"),
];

/// Checks the image that the component's Dockerfile makes of its binary.
pub(crate) fn is_accepted(binary: &Path, component: &Path) {
    if cfg!(not(target_os = "linux")) {
        return eprintln!("not run: the commands of a Dockerfile are those of Linux");
    }
    let dockerfile = fs::read_to_string(component.join("Dockerfile")).unwrap();
    let image = Image::build(&dockerfile, binary, component);
    let Outcome { status, stderr, .. } = image.check();
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(stderr.matches("ok: ").count(), 9, "{stderr}");
    image.is_healthy();

    for (part, failure) in NEEDED {
        let lines = dockerfile.lines().filter(|line| !line.contains(part));
        let without: String = lines.map(|line| format!("{line}\n")).collect();
        assert_eq!(
            dockerfile.lines().count(),
            without.lines().count() + 1,
            "{part}"
        );
        let Outcome { status, stderr, .. } = Image::build(&without, binary, component).check();
        assert_eq!(status, 1, "without {part}: {stderr}");
        assert!(stderr.contains(&format!("failed: {failure}")), "{stderr}");
    }
}

/// The files of an image, and what is said about it.
struct Image {
    root: TempDir,
    user: String,
    label: String,
    health_check: String,
}

impl Image {
    /// Runs the last command of the build stage, with the binary that is built already.
    fn build(dockerfile: &str, binary: &Path, component: &Path) -> Self {
        let instructions = instructions(dockerfile);
        let last_stage = instructions
            .iter()
            .rposition(|text| text.starts_with("FROM "))
            .unwrap();
        let (before, stage) = instructions.split_at(last_stage);
        let of_stage = |start: &str| {
            let mut found = stage.iter().filter_map(|text| text.strip_prefix(start));
            found.next().unwrap_or_default().to_owned()
        };
        for (start, value) in [
            ("COPY ", "--from=build /image/ /"),
            ("WORKDIR ", "/component"),
            ("ENTRYPOINT ", r#"["/usr/local/bin/component"]"#),
        ] {
            assert_eq!(of_stage(start), value, "{start}");
        }

        let root = TempDir::new().unwrap();
        let script = before.last().unwrap().strip_prefix("RUN ").unwrap();
        let folder = root.path().display();
        // `target/image/…`, where cargo builds to, stays as it is.
        let script = script
            .replace(" /image", &format!(" {folder}"))
            .replace("(/image", &format!("({folder}"));
        let sources = sources(binary, component);
        let mut bash = Command::new("bash");
        // The component is built already.
        bash.args([
            "-euo",
            "pipefail",
            "-c",
            &format!("cargo() {{ :; }}; {script}"),
        ]);
        let outcome = test_support::run(bash.current_dir(sources.path()));
        assert_eq!(outcome.status, 0, "{script}: {}", outcome.stderr);

        let is_labelled = of_stage("LABEL ")
            .contains(r#"elastic.io.component="${COMPONENT_JSON}""#)
            && of_stage("ARG ").starts_with("COMPONENT_JSON=");
        let descriptor = fs::read_to_string(component.join("component.json")).unwrap();
        let health_check = of_stage("HEALTHCHECK ");
        Self {
            root,
            user: of_stage("USER "),
            label: if is_labelled {
                descriptor
            } else {
                String::new()
            },
            health_check: health_check
                .split_once("CMD ")
                .map_or_else(|| "null".to_owned(), |(_, command)| command.to_owned()),
        }
    }

    /// `scripts/image --check`, on a machine whose Docker does not run.
    fn check(&self) -> Outcome {
        let folder = TempDir::new().unwrap();
        for (name, script) in [("docker", "#!/bin/bash\nexit 1\n"), ("podman", ENGINE)] {
            let path = folder.path().join(name);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let others = std::env::var("PATH").unwrap();
        let mut command = Command::new(repository().join("scripts/image"));
        command
            .args(["--check", "IMAGE"])
            .env_remove("CONTAINER_ENGINE")
            .env("PATH", format!("{}:{others}", folder.path().display()))
            .env("ROOT", self.root.path())
            .env("IMAGE_USER", &self.user)
            .env("LABEL", &self.label)
            .env("HEALTH_CHECK", &self.health_check);
        test_support::run(&mut command)
    }

    /// The command of the health check runs. Without a health port it has nothing to ask.
    fn is_healthy(&self) {
        let command: Value = serde_json::from_str(&self.health_check).unwrap();
        let words: Vec<&str> = command
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        let program = self.root.path().join(words[0].trim_start_matches('/'));
        let outcome = test_support::run(Command::new(program).args(&words[1..]).env_clear());
        assert_eq!(outcome.status, 0, "{words:?}: {}", outcome.stderr);
    }
}

/// What the build gets: the files that `.dockerignore` names, and the binary where cargo puts it.
fn sources(binary: &Path, component: &Path) -> TempDir {
    let folder = TempDir::new().unwrap();
    let ignored = fs::read_to_string(component.join(".dockerignore")).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r");
    for name in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        copy.arg(component.join(name));
    }
    assert_eq!(test_support::run(copy.arg(folder.path())).status, 0);
    let target = folder.path().join("target/image");
    fs::create_dir_all(&target).unwrap();
    unix::fs::symlink(binary, target.join(binary.file_name().unwrap())).unwrap();
    folder
}

/// The instructions of a Dockerfile, each on one line.
fn instructions(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let whole = text.replace("\\\n", " ");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    whole.lines().map(words).collect()
}

/// BuildKit takes the layers before the first change from its cache: a change of the code comes after those of the dependencies.
#[test]
fn the_dependencies_are_a_layer_of_their_own() {
    let instructions = instructions(&template("Dockerfile"));
    let first = instructions
        .iter()
        .position(|text| text.starts_with("COPY Cargo"))
        .unwrap();
    let [manifests, dependencies, code, component] = &instructions[first..first + 4] else {
        panic!("{instructions:?}");
    };
    assert_eq!(manifests, "COPY Cargo.toml Cargo.lock ./");
    let of_nothing =
        "RUN mkdir src; echo 'fn main() {}' >src/main.rs; cargo build --locked --profile image";
    assert_eq!(dependencies, of_nothing);
    assert_eq!(code, "COPY . .");
    // Cargo goes by the time of a file, and the code may be older than the empty program.
    let again = "RUN touch src/main.rs; cargo build --locked --profile image; ";
    assert!(component.starts_with(again), "{component}");
}
