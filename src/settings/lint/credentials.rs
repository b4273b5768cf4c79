//! The rules for the credentials (wire-contract: Credentials).

use super::{
    field,
    report::Report,
    rule,
    tree::{Member, Node},
};

const MEMBERS: [&str; 5] = ["fields", "verifier", "useOAuthClient", "oauth2", "oauth1"];

const OAUTH1: [&str; 5] = [
    "consumer_key",
    "consumer_secret",
    "request_token_uri",
    "auth_uri",
    "access_token_uri",
];

const OAUTH2: [&str; 4] = ["client_id", "client_secret", "auth_uri", "token_uri"];

const OAUTH2_OPTIONAL: [&str; 4] = ["scopes", "client_auth", "refresh_token_uri", "revoke_uri"];

pub(super) fn check(report: &mut Report<'_>, root: &Node) {
    let Some(credentials) = report.object(root, "credentials") else {
        return;
    };
    report.spelling(credentials, &MEMBERS);
    report.texts(credentials, &["verifier"]);
    report.flags(credentials, &["useOAuthClient"]);
    if let Some(fields) = report.object(credentials, "fields") {
        field::check(report, fields);
    }
    oauth1(report, credentials);
    oauth2(report, credentials);
    oauth_fields(report, root, credentials);
    for oauth in ["oauth1", "oauth2"]
        .iter()
        .filter_map(|o| credentials.get(o))
    {
        literal_secret(report, oauth);
        undeclared_names(report, oauth, root, credentials);
    }
}

fn oauth1(report: &mut Report<'_>, credentials: &Node) {
    let Some(oauth1) = report.object(credentials, "oauth1") else {
        return;
    };
    report.spelling(oauth1, &OAUTH1);
    missing_members(report, oauth1, &OAUTH1);
    for Member { name, .. } in oauth1.members() {
        report.text(oauth1, name);
    }
}

fn oauth2(report: &mut Report<'_>, credentials: &Node) {
    let Some(oauth2) = report.object(credentials, "oauth2") else {
        return;
    };
    report.spelling(oauth2, &[&OAUTH2[..], &OAUTH2_OPTIONAL].concat());
    missing_members(report, oauth2, &OAUTH2);
    for node in OAUTH2.iter().filter_map(|name| oauth2.get(name)) {
        report.filled(node);
    }
    report.texts(oauth2, &["refresh_token_uri", "revoke_uri"]);
    if let Some(scopes) = report.list(oauth2, "scopes") {
        for scope in scopes.items() {
            report.filled(scope);
        }
    }
    if let Some(client_auth) = report.text(oauth2, "client_auth") {
        let is_template =
            client_auth.starts_with("{{") && client_auth.ends_with("}}") && client_auth.len() > 4;
        let is_known = ["basic", "basic_raw", "post", "none"].contains(&client_auth);
        let node = oauth2.get("client_auth");
        let expected = "`basic`, `basic_raw`, `post`, `none` or a template such as `{{NAME}}`";
        report.valid(node, is_template || is_known, expected);
    }
}

fn missing_members(report: &mut Report<'_>, oauth: &Node, required: &[&str]) {
    for name in required.iter().filter(|name| !oauth.has(name)) {
        report.add(
            rule::MISSING_OAUTH_MEMBER,
            oauth,
            format!("it has no `{name}`"),
            format!("add `{name}`; it can name a variable of `envVars` or a field, such as `{{{{NAME}}}}`"),
        );
    }
}

/// Checks that an OAuth definition and the field that holds its tokens are both there.
fn oauth_fields(report: &mut Report<'_>, root: &Node, credentials: &Node) {
    let fields = credentials.get("fields").map_or(&[][..], Node::members);
    let view = |view: &str| {
        fields
            .iter()
            .find(|f| f.node.text("viewClass") == Some(view))
    };
    let is_defined = credentials.has("oauth1") || credentials.has("oauth2");
    let by_platform = root.has("authClientTypes");
    if let Some(field) = view("OAuthFieldView").filter(|_| !is_defined && !by_platform) {
        report.add_at(
            rule::OAUTH_WITHOUT_DEFINITION,
            field.start,
            &field.node.pointer,
            "users cannot connect: nothing says where the tokens come from",
            "add `credentials.oauth2`, or `authClientTypes`",
        );
    }
    let oauth = credentials
        .get("oauth2")
        .or_else(|| credentials.get("oauth1"));
    let holds_tokens = view("OAuthFieldView").or_else(|| view("HTTPAuthView"));
    if let (Some(oauth), None) = (oauth, holds_tokens) {
        report.add(
            rule::OAUTH_WITHOUT_FIELD,
            oauth,
            "users cannot connect: no field of the credentials holds the tokens",
            "add a field with \"viewClass\": \"OAuthFieldView\" to `credentials.fields`",
        );
    }
}

/// Reports a secret that everybody who reads the file knows. The issue does not repeat it.
fn literal_secret(report: &mut Report<'_>, oauth: &Node) {
    let secrets = ["client_secret", "consumer_secret"].map(|name| oauth.get(name));
    for secret in secrets.into_iter().flatten() {
        let text = secret.as_text().unwrap_or_default();
        if !text.is_empty() && !text.contains("{{") {
            report.add(
                rule::LITERAL_SECRET,
                secret,
                "the secret is in the file, where everybody who reads the file sees it",
                "write `{{NAME}}`, and declare NAME in `envVars`",
            );
        }
    }
}

/// Reports templates whose names nobody is asked for.
fn undeclared_names(report: &mut Report<'_>, oauth: &Node, root: &Node, credentials: &Node) {
    let declared = |name: &str| {
        let places = [root.get("envVars"), credentials.get("fields")];
        places.into_iter().flatten().any(|place| place.has(name))
    };
    let fields = credentials.get("fields").map_or(&[][..], Node::members);
    // Users enter the client and the endpoints in this view.
    if fields
        .iter()
        .any(|f| f.node.text("viewClass") == Some("HTTPAuthView"))
    {
        return;
    }
    let members = oauth.members().iter().map(|member| &member.node);
    for node in members.flat_map(|node| std::iter::once(node).chain(node.items())) {
        for template in templates(node.as_text().unwrap_or_default()) {
            if !template.split('|').any(|name| declared(name.trim())) {
                report.add(
                    rule::UNDECLARED_NAME,
                    node,
                    format!("`{{{{{template}}}}}` names no variable of `envVars` and no field of the credentials"),
                    "declare the variable in `envVars`, so that whoever deploys the component sets it",
                );
            }
        }
    }
}

/// Returns the names between `{{` and `}}`.
fn templates(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("{{").skip(1);
    parts.filter_map(|part| part.split_once("}}").map(|(name, _)| name.trim()))
}
