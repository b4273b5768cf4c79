//! The rules for the top level of the descriptor (wire-contract: Top-level members).

use super::{
    credentials, function,
    report::Report,
    rule,
    surroundings::Surroundings,
    tree::{Member, Node},
};

const MEMBERS: [&str; 18] = [
    "$schema",
    "title",
    "description",
    "version",
    "buildType",
    "language",
    "sailor_version",
    "triggers",
    "actions",
    "credentials",
    "envVars",
    "authClientTypes",
    "useOAuthClient",
    "consumesRawData",
    "deprecated",
    "service",
    "docsUrl",
    "url",
];

const TEXTS: [&str; 7] = [
    "$schema",
    "description",
    "language",
    "sailor_version",
    "service",
    "docsUrl",
    "url",
];

const FLAGS: [&str; 3] = ["useOAuthClient", "consumesRawData", "deprecated"];

const AUTH_CLIENT_TYPES: [&str; 5] = ["oauth2", "basic", "api_key", "noauth", "oauth2_instagram"];

/// The first versions of the platform's sailors with the features that the platform turns on by `sailor_version`.
const MODERN_SAILORS: [(&str, [u64; 3]); 2] = [("nodejs", [2, 6, 7]), ("java", [3, 1, 0])];

/// This sailor behaves like this version of the Node sailor.
const MODERN_REMEDY: &str = "add the values of the sailor whose features it has; for this sailor \"language\": \"nodejs\" and \"sailor_version\": \"2.7.8\"";

pub(super) fn check(report: &mut Report<'_>, root: &Node, surroundings: &Surroundings<'_>) {
    duplicate_keys(report, root);
    if !report.expect(root.is_object(), root, "an object") {
        return;
    }
    report.spelling(root, &MEMBERS);
    old_env_vars(report, root);
    report.texts(root, &TEXTS);
    report.flags(root, &FLAGS);
    report.title(root);
    version(report, root);
    sailor_version(report, root, surroundings.modules.is_some());
    if let Some(build_type) = report.text(root, "buildType") {
        let known = ["docker", "slug"].contains(&build_type);
        report.valid(root.get("buildType"), known, "`docker` or `slug`");
    }
    auth_client_types(report, root);
    env_vars(report, root);
    function::check(report, root, surroundings);
    credentials::check(report, root);
    for finding in surroundings.modules.iter().flat_map(|m| m.findings) {
        let node = root.at(&finding.pointer).unwrap_or(root);
        report.add(finding.rule, node, &*finding.problem, &*finding.remedy);
    }
}

fn duplicate_keys(report: &mut Report<'_>, node: &Node) {
    let members = node.members();
    for (n, Member { name, start, node }) in members.iter().enumerate() {
        if members[..n].iter().any(|earlier| earlier.name == *name) {
            report.add_at(
                rule::DUPLICATE_KEY,
                *start,
                &node.pointer,
                format!("the object already has a member `{name}`: only the last one counts"),
                "remove one of them, or rename it",
            );
        }
        duplicate_keys(report, node);
    }
    for item in node.items() {
        duplicate_keys(report, item);
    }
}

fn version(report: &mut Report<'_>, root: &Node) {
    let Some(node) = root.get("version") else {
        return report.add(
            rule::MISSING_VERSION,
            root,
            "it has no `version`, which newer installations of the platform require",
            "add `version`, such as \"1.0.0\"",
        );
    };
    if let Some(version) = report.text(root, "version")
        && !is_semver(version)
    {
        report.add(
            rule::INVALID_VERSION,
            node,
            "the version does not have the form of semver.org",
            "write three numbers, such as \"1.0.0\"",
        );
    }
}

/// Returns true for a version of semver.org, such as `1.0.0-rc.1+5`.
fn is_semver(version: &str) -> bool {
    let (version, build) = cut(version, '+');
    let (version, pre) = cut(version, '-');
    let is_label = |text: &str| {
        let mut bytes = text.bytes();
        !text.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    };
    let numbers: Vec<&str> = version.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(is_number)
        && [build, pre].into_iter().flatten().all(is_label)
}

fn is_number(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

/// Cuts a text at a separator, if it has one.
fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    }
}

/// The platform compares `sailor_version` with the first versions of its own sailors that have a feature. `is_own` is true for
/// a component of this sailor.
fn sailor_version(report: &mut Report<'_>, root: &Node, is_own: bool) {
    let (language, version) = (root.get("language"), root.get("sailor_version"));
    let (node, problem, remedy) = match (language, version) {
        (Some(node), None) => (
            node,
            "the platform decides by `language` and `sailor_version` together which features a step has".to_owned(),
            "give both, or leave both to the platform's build",
        ),
        (None, Some(node)) => (
            node,
            "`sailor_version` means nothing without `language`: the sailors of each language have their own versions".to_owned(),
            "give both, or leave both to the platform's build",
        ),
        (Some(language), Some(version)) => {
            let Some(first) = modern_version(language, version) else {
                return;
            };
            (
                version,
                format!("before {first} the platform turns off dynamic flow control, and may not let flows turn off passthrough"),
                "build with a newer sailor, and give its version",
            )
        }
        // The build of a slug writes both, that of an image neither.
        (None, None) if is_own || root.text("buildType") == Some("docker") => {
            return report.add(
                rule::MISSING_SAILOR_VERSION,
                root,
                "it has neither `language` nor `sailor_version`: without them the platform may turn off dynamic flow control, and not let flows turn off passthrough",
                MODERN_REMEDY,
            );
        }
        (None, None) => return,
    };
    report.add(rule::SAILOR_VERSION, node, problem, remedy);
}

/// Returns the first version of that language's sailor with all features, if `version` is older.
fn modern_version(language: &Node, version: &Node) -> Option<String> {
    let language = language.as_text()?;
    let (_, first) = MODERN_SAILORS.iter().find(|(l, _)| *l == language)?;
    let numbers = version.as_text()?.trim_start_matches('v').split(['.', '-']);
    let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    let is_older = !numbers.is_empty() && numbers.as_slice() < first.as_slice();
    is_older.then(|| first.map(|number| number.to_string()).join("."))
}

fn auth_client_types(report: &mut Report<'_>, root: &Node) {
    let Some(list) = report.list(root, "authClientTypes") else {
        return;
    };
    for (n, node) in list.items().iter().enumerate() {
        if !report.expect(node.as_text().is_some(), node, "a text") {
            continue;
        }
        let text = node.as_text().unwrap_or_default();
        let is_new = !list.items()[..n].iter().any(|i| i.as_text() == Some(text));
        let is_valid = is_new && AUTH_CLIENT_TYPES.contains(&text);
        let expected =
            "each of `oauth2`, `basic`, `api_key`, `noauth` and `oauth2_instagram` at most once";
        report.valid(Some(node), is_valid, expected);
    }
}

fn env_vars(report: &mut Report<'_>, root: &Node) {
    let Some(variables) = report.object(root, "envVars") else {
        return;
    };
    for Member { name, start, node } in variables.members() {
        if !is_variable(name) {
            report.add_at(
                rule::INVALID_ENV_VAR,
                *start,
                &node.pointer,
                "this is not the name of an environment variable",
                "use letters, digits and underscores, and begin with no digit",
            );
        }
        if report.expect(node.is_object(), node, "an object") {
            report.spelling(node, &["required", "description"]);
            report.flags(node, &["required"]);
            report.texts(node, &["description"]);
        }
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    let is_letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    bytes.next().is_some_and(is_letter) && bytes.all(|b| is_letter(b) || b.is_ascii_digit())
}

/// Old descriptors have `env` or `vars` in the place of `envVars`.
fn old_env_vars(report: &mut Report<'_>, root: &Node) {
    let old = |m: &&Member| ["env", "vars"].contains(&m.name.as_str());
    if root.has("envVars") {
        return;
    }
    if let Some(Member { name, start, node }) = root.members().iter().find(old) {
        report.add_at(
            rule::MISSPELT_MEMBER,
            *start,
            &node.pointer,
            format!("`{name}` is no member that is read"),
            "declare environment variables in `envVars`: {\"NAME\": {\"required\": true, \"description\": \"…\"}}",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_form_of_semver() {
        let good = ["0.0.0", "1.2.3", "10.20.30-rc.1", "1.0.0-a-b+5", "1.0.0+x"];
        let bad = [
            "", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "1.2.3-", "1.2.3+", "v1.2.3",
        ];
        assert!(good.into_iter().all(is_semver));
        for version in bad {
            assert!(!is_semver(version), "{version}");
        }
    }
}
