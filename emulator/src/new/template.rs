//! The files of a new component: those below `templates/component/`, with its name and its dependencies.

use super::{name::ComponentName, source::Source};

/// Files whose names would mean something to cargo or Git where they are, or that tools do not show, have other names there.
macro_rules! files {
    ($($path:literal from $template:literal)*) => {
        &[$(($path, $template, include_str!(concat!("../../templates/component/", $template)))),*]
    };
}

/// Where each file belongs, its name below `templates/component/`, and its text.
const FILES: &[(&str, &str, &str)] = files! {
    ".dockerignore" from "dockerignore.template"
    ".github/workflows/ci.yml" from "github/workflows/ci.yml"
    ".gitignore" from "gitignore.template"
    ".vscode/launch.json" from "vscode/launch.json"
    ".vscode/tasks.json" from "vscode/tasks.json"
    "Cargo.toml" from "Cargo.toml.template"
    "Dockerfile" from "Dockerfile"
    "README.md" from "README.md"
    "component.json" from "component.json"
    "deploy/compose.yaml" from "deploy/compose.yaml"
    "deploy/compose/definitions.json" from "deploy/compose/definitions.json"
    "deploy/compose/platform.conf" from "deploy/compose/platform.conf"
    "deploy/compose/rabbitmq.conf" from "deploy/compose/rabbitmq.conf"
    "deploy/kubernetes/configmap.yaml" from "deploy/kubernetes/configmap.yaml"
    "deploy/kubernetes/deployment.yaml" from "deploy/kubernetes/deployment.yaml"
    "deploy/kubernetes/disruption-budget.yaml" from "deploy/kubernetes/disruption-budget.yaml"
    "deploy/kubernetes/scaledobject.yaml" from "deploy/kubernetes/scaledobject.yaml"
    "deploy/kubernetes/secret.yaml" from "deploy/kubernetes/secret.yaml"
    "samples/config.json" from "samples/config.json"
    "samples/create-item.json" from "samples/create-item.json"
    "schemas/createItem.in.json" from "schemas/createItem.in.json"
    "schemas/createItem.out.json" from "schemas/createItem.out.json"
    "schemas/pollRecords.out.json" from "schemas/pollRecords.out.json"
    "src/api.rs" from "src/api.rs"
    "src/create_item.rs" from "src/create_item.rs"
    "src/main.rs" from "src/main.rs"
    "src/poll_records.rs" from "src/poll_records.rs"
    "src/tests.rs" from "src/tests.rs"
};

/// Returns each file's path in the component and its text.
pub(crate) fn files(
    name: &ComponentName,
    source: &Source,
) -> impl Iterator<Item = (&'static str, String)> {
    let values = values(name, source);
    FILES.iter().map(move |(path, _, text)| {
        let text = (*text).to_owned();
        let replace =
            |text: String, (placeholder, value): &(_, String)| text.replace(placeholder, value);
        (*path, values.iter().fold(text, replace))
    })
}

/// The placeholders, and what replaces them.
fn values(name: &ComponentName, source: &Source) -> [(&'static str, String); 8] {
    let (sailor, emulator) = source.members();
    let folder = source.folder().map(|folder| folder.display().to_string());
    // An image is built from the component's folder alone: a checkout elsewhere is given to the build as a context of its own.
    let of_folder = |text: &dyn Fn(&str) -> String| folder.as_deref().map(text).unwrap_or_default();
    let stage = "# The checkout that Cargo.toml names. The option --build-context puts it in the place of this stage.\n\
                 FROM scratch AS sailor\n\n";
    [
        ("new-component", name.to_string()),
        ("New component", name.title()),
        ("RUST_VERSION", env!("CARGO_PKG_RUST_VERSION").to_owned()),
        ("SAILOR_MEMBERS", sailor),
        ("EMULATOR_MEMBERS", emulator),
        ("SAILOR_STAGE\n", of_folder(&|_| stage.to_owned())),
        (
            "SAILOR_COPY\n",
            of_folder(&|folder| format!("COPY --from=sailor [\".\", \"{folder}\"]\n")),
        ),
        (
            "BUILD_CONTEXT",
            of_folder(&|folder| format!("--build-context sailor='{folder}' ")),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    fn all_files(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all_files(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn every_file_of_the_template_is_written() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/component");
        let mut found = BTreeSet::new();
        all_files(&root, &root, &mut found);
        let known = FILES.iter().map(|(_, template, _)| (*template).to_owned());
        assert_eq!(found, known.collect());
    }

    #[test]
    fn no_placeholder_is_left() {
        let name = ComponentName::parse("acme-orders").unwrap();
        let source = Source::Registry("0.1.0".to_owned());
        let values = values(&name, &source);
        for (path, text) in files(&name, &source) {
            for (placeholder, _) in &values {
                let placeholder = placeholder.trim_end();
                assert!(!text.contains(placeholder), "{path} has {placeholder}");
            }
        }
        let all: String = FILES.iter().map(|(_, _, text)| *text).collect();
        for (placeholder, _) in values {
            assert!(all.contains(placeholder), "{placeholder} is nowhere");
        }
    }
}
