//! The component's environment: what the emulator gives, what `.env` and files of variables say, and options.

use crate::{
    component_file::ComponentFile, env_file, input::InputError, placeholders::Placeholders,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

type Pairs = Vec<(String, String)>;

/// This file is read if it is in the current folder.
const DEFAULT_FILE: &str = ".env";
/// The component has no variables of this process whose names begin so ([`child`](crate::child)).
const PLATFORM: &str = "ELASTICIO_";

/// What the user gives to the component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    component: Option<ComponentFile>,
    files: Pairs,
    options: Pairs,
    note: Option<String>,
}

impl Variables {
    /// Variables without files.
    pub(crate) fn of(options: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            options: options.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Reads `.env` of the current folder, if it is there, and then `files`; `options` count most. Variables of this process
    /// count more than `.env`, and less than the rest.
    pub(crate) fn read(
        component: Option<ComponentFile>,
        files: &[PathBuf],
        options: Pairs,
    ) -> Result<Self, InputError> {
        let mut this = Self {
            component,
            options,
            ..Self::default()
        };
        let default = Path::new(DEFAULT_FILE);
        if default.is_file() {
            let mut pairs = env_file::read(default, &of_shell)?;
            pairs.retain(|(name, _)| of_shell(name).is_none());
            this.note = note(&pairs);
            this.files = pairs;
        }
        for file in files {
            this.files.extend(env_file::read(file, &of_shell)?);
        }
        Ok(this)
    }

    /// Returns whether a file or an option gives this variable.
    pub(crate) fn has(&self, name: &str) -> bool {
        let mut own = self.files.iter().chain(&self.options);
        own.any(|(known, _)| known == name)
    }

    /// The text of component.json, if there is one.
    pub(crate) fn descriptor(&self) -> Option<String> {
        self.component.as_ref().map(ComponentFile::text)
    }

    /// The certificates in the files that these variables name, as PEM.
    pub(crate) fn trusted_certificates(&self, names: &[&str]) -> Result<String, InputError> {
        let mut all = String::new();
        for name in names {
            let given = self.files.iter().chain(&self.options).rev();
            let mut given = given.filter(|(known, _)| known == name);
            let own = || std::env::var(name).ok();
            let path = given.next().map(|(_, value)| value.clone()).or_else(own);
            let Some(path) = path.filter(|path| !path.is_empty()) else {
                continue;
            };
            let text = std::fs::read_to_string(&path);
            let text = text.map_err(|error| {
                InputError::new(format!(
                    "{path}, the file of {name}, cannot be read: {error}"
                ))
            })?;
            all += &text;
            all.push('\n');
        }
        Ok(all)
    }

    /// What to tell about the files.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Checks that each variable that component.json requires is set, by the user or by the emulator, which sets `given`.
    pub(crate) fn check(&self, given: &[&str]) -> Result<(), InputError> {
        let Some(component) = &self.component else {
            return Ok(());
        };
        let client = self.client_variables();
        let is_given = |name: &str| {
            given.contains(&name) || client.iter().any(|(n, _)| *n == name) || self.is_set(name)
        };
        let missing = component
            .required()
            .into_iter()
            .filter(|(name, _)| !is_given(name));
        let lines: Vec<String> = missing.map(|(name, what)| line(name, what)).collect();
        if lines.is_empty() {
            return Ok(());
        }
        Err(InputError::new(format!(
            "{} requires variables that are not set. Set them in {DEFAULT_FILE}, or with --env-file or --env:\n{}",
            component.path().display(),
            lines.join("\n")
        )))
    }

    /// Returns the whole environment: `base`, the emulator's, completed with what the component needs and what the user gives.
    ///
    /// The platform's variables stay as they are, unless an option names them: files are often made for another platform.
    pub(crate) fn complete(
        &self,
        base: Pairs,
        places: &Placeholders<'_>,
    ) -> Result<Pairs, InputError> {
        let is_of_platform =
            |name: &str| name.starts_with(PLATFORM) && base.iter().any(|(known, _)| known == name);
        let mut env = base.clone();
        for (name, member) in self.client_variables() {
            set(&mut env, name, member.of(places.provider));
        }
        let files = self.files.iter().filter(|(name, _)| !is_of_platform(name));
        for (name, value) in files.chain(&self.options) {
            let mut value = Value::from(value.as_str());
            places.fill_in(&format!("the variable {name}"), &mut value)?;
            let text = value.as_str().map(str::to_owned);
            set(&mut env, name, text.unwrap_or_else(|| value.to_string()));
        }
        Ok(env)
    }

    /// The variables for the OAuth2 client, which the emulator sets; none if the user has set one of them, since that is
    /// a client of another provider.
    fn client_variables(&self) -> Vec<(&str, crate::component_file::ClientMember)> {
        let variables = self
            .component
            .iter()
            .flat_map(ComponentFile::client_variables);
        let variables: Vec<_> = variables.collect();
        if variables.iter().any(|(name, _)| self.is_set(name)) {
            return Vec::new();
        }
        variables
    }

    /// Whether the user has set a variable.
    fn is_set(&self, name: &str) -> bool {
        let mut given = self.files.iter().chain(&self.options);
        given.any(|(known, value)| known == name && !value.is_empty())
            || of_shell(name).is_some_and(|value| !value.is_empty())
    }
}

/// What the component has of this process: everything but the platform's variables.
fn of_shell(name: &str) -> Option<String> {
    let value = (!name.starts_with(PLATFORM)).then(|| std::env::var_os(name))?;
    value.map(|value| value.to_string_lossy().into_owned())
}

/// Names what `.env` sets, without the values.
fn note(pairs: &Pairs) -> Option<String> {
    let names = pairs.iter().map(|(name, _)| name.as_str());
    let (of_platform, own): (Vec<&str>, Vec<&str>) = names.partition(|n| n.starts_with(PLATFORM));
    let ignored = match of_platform.len() {
        0 => "",
        _ => "; what the emulator sets itself stays",
    };
    let names = [own, of_platform].concat();
    (!names.is_empty()).then(|| format!("{DEFAULT_FILE} sets {}{ignored}", names.join(", ")))
}

fn line(name: &str, what: &str) -> String {
    match what {
        "" => format!("  {name}"),
        _ => format!("  {name}: {what}"),
    }
}

fn set(env: &mut Pairs, name: &str, value: String) {
    env.retain(|(known, _)| known != name);
    env.push((name.to_owned(), value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        platform::{Platform, PlatformConfig},
        provider::{Provider, ProviderConfig},
    };
    use serde_json::json;
    use std::fs;

    fn pairs(list: &[(&str, &str)]) -> Pairs {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    /// Variables for a component with this descriptor, from these lines of a file and these options.
    fn variables(descriptor: Value, file: &str, options: &[(&str, &str)]) -> Variables {
        let folder = tempfile::tempdir().unwrap();
        let (json, env) = (folder.path().join("c.json"), folder.path().join("e.env"));
        fs::write(&json, descriptor.to_string()).unwrap();
        fs::write(&env, file).unwrap();
        let component = ComponentFile::find(Some(&json), &[]).unwrap();
        Variables::read(component, &[env], pairs(options)).unwrap()
    }

    async fn completed(variables: &Variables, base: &[(&str, &str)]) -> Pairs {
        let platform = Platform::start(PlatformConfig::default()).await.unwrap();
        let provider = Provider::start(ProviderConfig::default()).await.unwrap();
        let places = Placeholders {
            platform: &platform,
            provider: &provider,
            standin: None,
            off: false,
        };
        variables.complete(pairs(base), &places).unwrap()
    }

    #[tokio::test]
    async fn options_count_more_than_files_and_the_platform_more_than_files() {
        let file = "A=1\nexport B='two words' # c\nELASTICIO_FLOW_ID=mine\nELASTICIO_OAUTH_MODE=eager\nC=3\n";
        let variables = variables(json!({}), file, &[("C", "4"), ("ELASTICIO_STEP_ID", "s")]);
        let base = [("ELASTICIO_FLOW_ID", "f"), ("ELASTICIO_STEP_ID", "step_1")];
        let mut env = completed(&variables, &base).await;
        env.sort();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "4"),
            ("ELASTICIO_FLOW_ID", "f"),
            ("ELASTICIO_OAUTH_MODE", "eager"),
            ("ELASTICIO_STEP_ID", "s"),
        ];
        assert_eq!(env, pairs(&expected));
    }

    #[test]
    fn every_required_variable_that_is_missing_is_named_at_once() {
        let descriptor = json!({ "envVars": {
            "X_KEY": { "required": true, "description": "The key" }, "X_SET": { "required": true },
            "X_GIVEN": { "required": true }, "X_EMPTY": { "required": true }, "X_OTHER": { "required": false },
        } });
        let variables = variables(descriptor, "X_SET=1\nX_EMPTY=\n", &[]);
        let error = variables.check(&["X_GIVEN"]).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().skip(1).collect();
        assert_eq!(lines, ["  X_EMPTY", "  X_KEY: The key"]);
        assert!(variables.check(&["X_GIVEN", "X_EMPTY", "X_KEY"]).is_ok());
    }

    #[tokio::test]
    async fn the_provider_is_that_of_the_emulator_unless_the_user_has_one() {
        let descriptor = json!({
            "credentials": { "oauth2": {
                "client_id": "{{X_ID}}", "client_secret": "{{X_SECRET}}", "auth_uri": "{{X_AUTH}}", "token_uri": "{{X_TOKEN}}"
            } },
            "envVars": { "X_ID": { "required": true }, "X_SECRET": { "required": true } },
        });
        let emulated = variables(descriptor.clone(), "", &[]);
        emulated.check(&[]).unwrap();
        let env = completed(&emulated, &[]).await;
        assert_eq!(env[0], ("X_ID".to_owned(), "emulator-client".to_owned()));
        assert!(
            env[3].0 == "X_TOKEN" && env[3].1.ends_with("/token"),
            "{env:?}"
        );

        let own = variables(descriptor, "X_ID=mine\n", &[]);
        assert!(
            own.check(&[])
                .unwrap_err()
                .to_string()
                .ends_with("\n  X_SECRET")
        );
        assert_eq!(completed(&own, &[]).await, pairs(&[("X_ID", "mine")]));
    }
}
