//! Where the component takes the runtime from.

use super::{checkout, files, new, program, repository};
use std::{fs, path::Path};
use tempfile::TempDir;

fn written(folder: &Path) -> String {
    fs::read_to_string(folder.join("Cargo.toml")).unwrap()
}

#[test]
fn a_path_becomes_absolute_and_gives_its_versions() {
    let (folder, checkout) = (TempDir::new().unwrap(), checkout());
    fs::copy(
        repository().join("Cargo.lock"),
        checkout.path().join("Cargo.lock"),
    )
    .unwrap();
    let outcome = new(
        checkout.path(),
        [
            "acme".as_ref(),
            "--path".as_ref(),
            ".".as_ref(),
            "--folder".as_ref(),
            folder.path().as_os_str(),
        ],
    );
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let root = checkout.path().canonicalize().unwrap();
    let manifest = written(folder.path());
    let path = format!(
        "package = \"elasticio-sailor\", path = \"{}\"",
        root.display()
    );
    assert!(manifest.contains(&path), "{manifest}");
    assert!(outcome.stdout.contains("before you share the component"));

    let versions = |file: &Path| {
        let lock = fs::read_to_string(file).unwrap();
        let packages = lock.split("[[package]]").skip(1);
        let serde = packages.filter(|package| package.contains("name = \"serde\"\n"));
        serde.map(str::to_owned).collect::<Vec<_>>()
    };
    let lock = folder.path().join("Cargo.lock");
    assert_eq!(versions(&lock), versions(&repository().join("Cargo.lock")));

    // The image's build gets the checkout as a context of its own.
    let dockerfile = fs::read_to_string(folder.path().join("Dockerfile")).unwrap();
    assert!(
        dockerfile.contains("FROM scratch AS sailor"),
        "{dockerfile}"
    );
    let copy = format!("COPY --from=sailor [\".\", \"{}\"]", root.display());
    assert!(dockerfile.contains(&copy), "{dockerfile}");
    let context = format!("--build-context sailor='{}' ", root.display());
    let mut count = 0;
    for file in ["Dockerfile", "README.md", "deploy/compose.yaml"] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        for line in text.lines().filter(|line| line.contains("docker build ")) {
            assert!(line.contains(&context), "{file}: {line}");
            count += 1;
        }
    }
    assert_eq!(count, 3);
}

#[test]
fn a_checkout_with_a_space_and_an_umlaut_is_written_everywhere() {
    let (folder, checkout) = (TempDir::new().unwrap(), checkout());
    let moved = checkout.path().join("my größe");
    fs::create_dir(&moved).unwrap();
    for name in ["src", "emulator", "Cargo.toml"] {
        fs::rename(checkout.path().join(name), moved.join(name)).unwrap();
    }
    let path = moved.to_str().unwrap();
    let outcome = new(folder.path(), ["acme", "--path", path]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let lock = fs::read_to_string(folder.path().join("acme/Cargo.lock")).unwrap();
    assert!(lock.contains("elasticio-sailor"), "{lock}");
}

#[test]
fn a_git_repository_is_taken_at_a_commit_tag_or_branch() {
    let repository = checkout();
    let git = |arguments: &[&str]| {
        let mut command = program("git", repository.path());
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
        let outcome = test_support::run(command.args(identity).args(arguments));
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        outcome.stdout.trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--no-gpg-sign", "--message", "First"]);
    git(&["tag", "v1"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let url = format!("file://{}", repository.path().display());
    for (option, value, member) in [
        ("", "", ""),
        ("--rev", &*commit, &*format!(", rev = \"{commit}\"")),
        ("--tag", "v1", ", tag = \"v1\""),
        ("--branch", "main", ", branch = \"main\""),
    ] {
        let folder = TempDir::new().unwrap();
        let mut arguments = vec!["acme", "--git", &url];
        arguments.extend([option, value].iter().filter(|text| !text.is_empty()));
        // Cargo reads a repository on this machine only if it may use the network.
        let mut command = program(env!("CARGO_BIN_EXE_emulator"), folder.path());
        command
            .arg("new")
            .args(&arguments)
            .env("CARGO_NET_OFFLINE", "false");
        let outcome = test_support::run(&mut command);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let folder = folder.path().join("acme");
        let dependency = format!("package = \"elasticio-emulator\", git = \"{url}\"{member} }}");
        assert!(
            written(&folder).contains(&dependency),
            "{}",
            written(&folder)
        );
        let lock = fs::read_to_string(folder.join("Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("#{commit}\"")), "{lock}");
        let dockerfile = fs::read_to_string(folder.join("Dockerfile")).unwrap();
        assert!(!dockerfile.contains("sailor"), "{dockerfile}");
    }
}

#[test]
fn an_empty_folder_gets_the_component() {
    let (folder, checkout) = (TempDir::new().unwrap(), checkout());
    let path = checkout.path().to_str().unwrap();
    let outcome = new(folder.path(), ["acme", "--folder", ".", "--path", path]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let files = files(folder.path());
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        ".gitignore",
        ".github/workflows/ci.yml",
        "src/main.rs",
    ] {
        assert!(files.contains(&file.into()), "{file} is missing: {files:?}");
    }
    let hidden = files.iter().find(|file| file.starts_with(".emulator-new"));
    assert_eq!(hidden, None);
}

#[test]
fn the_programs_own_checkout_is_the_default() {
    let folder = TempDir::new().unwrap();
    let outcome = new(folder.path(), ["acme"]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let path = format!("path = \"{}\"", repository().display());
    let manifest = written(&folder.path().join("acme"));
    assert!(manifest.contains(&path), "{manifest}");
    let told = format!("come from the folder {}", repository().display());
    assert!(outcome.stdout.contains(&told), "{}", outcome.stdout);
}

/// A program below a folder with cargo's list of what is installed there.
#[test]
fn an_installed_program_takes_what_cargo_has_noted() {
    let (root, folder, checkout) = (TempDir::new().unwrap(), TempDir::new().unwrap(), checkout());
    fs::create_dir(root.path().join("bin")).unwrap();
    let installed = root.path().join("bin/emulator");
    fs::hard_link(env!("CARGO_BIN_EXE_emulator"), &installed)
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_emulator"), &installed).map(drop))
        .unwrap();
    let emulator = checkout.path().join("emulator");
    let id = format!(
        "elasticio-emulator 0.1.0 (path+file://{})",
        emulator.display()
    );
    let record = serde_json::json!({ "installs": { id: { "bins": ["emulator"] } } });
    fs::write(root.path().join(".crates2.json"), record.to_string()).unwrap();

    let mut command = program(installed.to_str().unwrap(), folder.path());
    let outcome = test_support::run(command.args(["new", "acme"]));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let path = format!("path = \"{}\"", emulator.canonicalize().unwrap().display());
    let manifest = written(&folder.path().join("acme"));
    assert!(manifest.contains(&path), "{manifest}");
}

#[test]
fn every_file_of_the_template_is_in_the_package() {
    let mut command = program("cargo", &repository().join("emulator"));
    let outcome = test_support::run(command.args(["package", "--list", "--allow-dirty"]));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let template = repository().join("emulator/templates/component");
    let packed: Vec<&str> = outcome.stdout.lines().collect();
    for file in files(&template) {
        let path = format!("templates/component/{}", file.display());
        assert!(packed.contains(&&*path), "{path}");
    }
}
