//! `scripts/image --check` accepts the image of a component. A script takes the place of the container engine: it runs the binary in
//! the component's folder, and tells what the Dockerfile says.

use super::repository;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};
use tempfile::TempDir;
use test_support::Outcome;

/// `docker info`, `docker image inspect` and `docker run`. Only the entrypoint `node` exists beside the component.
const ENGINE: &str = r#"#!/bin/bash
case "$*" in
  info) ;;
  *.Size*) echo 25000000 ;;
  *.Config.User*) echo 65532:65532 ;;
  *.Config.Labels*) cat component.json ;;
  *.Config.Healthcheck*) echo '["CMD", "component", "health"]' ;;
  *--entrypoint\ /*) exit 127 ;;
  run*) while [[ $1 != IMAGE ]]; do shift; done; exec env -i "$BINARY" "${@:2}" ;;
  *) echo "unknown: $*" >&2; exit 1 ;;
esac
"#;

/// Checks the image that has this binary.
pub(crate) fn is_accepted(binary: &Path, component: &Path) {
    let Outcome { status, stderr, .. } = check(binary, component);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(stderr.matches("ok: ").count(), 9, "{stderr}");

    let Outcome { status, stderr, .. } = check(Path::new("/bin/true"), component);
    assert_eq!(status, 1, "{stderr}");
    let failure = "failed: the command line of a Node component is understood";
    assert!(stderr.contains(failure), "{stderr}");
}

fn check(binary: &Path, component: &Path) -> Outcome {
    let folder = TempDir::new().unwrap();
    let engine = folder.path().join("engine");
    let script = ENGINE.replacen("case", &format!("cd '{}'\ncase", component.display()), 1);
    fs::write(&engine, script).unwrap();
    fs::set_permissions(&engine, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(repository().join("scripts/image"));
    command.args(["--check", "IMAGE"]);
    command
        .env("CONTAINER_ENGINE", &engine)
        .env("BINARY", binary);
    test_support::run(&mut command)
}
