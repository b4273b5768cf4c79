//! What `component check` finds by the modules.

use crate::{oauth2::OAuth2, prelude::*};
use serde_json::Value;

struct Poll;

impl Trigger for Poll {
    type Config = Value;
    type Snapshot = u64;
    type Output = u64;

    async fn poll(
        &self,
        _since: Option<u64>,
        _cx: Context<Value, u64>,
    ) -> anyhow::Result<Option<u64>> {
        Ok(None)
    }
}

async fn receive(_request: Message<Value>, _cx: Context) -> anyhow::Result<()> {
    Ok(())
}

#[test]
fn the_type_of_a_trigger_is_compared_with_its_module() {
    let component = |poll: &str, receive_as: &str| {
        let json = format!(
            r#"{{"title": "T", "version": "1.0.0", "language": "nodejs", "sailor_version": "2.7.8", "triggers": {{
            "news": {{"title": "N", "main": "./n.rs"{poll}}},
            "requests": {{"title": "R", "main": "./r.rs"{receive_as}}}}}}}"#
        );
        let component = Component::new(&json).unwrap().trigger("news", Poll);
        component.trigger("requests", receive).check().unwrap()
    };
    let (polling, webhook) = (r#", "type": "polling""#, r#", "type": "webhook""#);
    assert_eq!(component(polling, "").lint(None), []);
    assert_eq!(component(polling, webhook).lint(None), []);
    let polls = "polling-as-webhook";
    for (poll, receive_as, rule, line) in [
        ("", "", polls, 2),
        (webhook, "", polls, 2),
        (polling, polling, "trigger-type", 3),
    ] {
        let issues = component(poll, receive_as).lint(None);
        let found: Vec<_> = issues.iter().map(|i| (i.rule.id(), i.line)).collect();
        assert_eq!(found, [(rule, line)]);
    }
}

#[test]
fn a_misspelt_function_names_the_one_that_is_meant() {
    let json = r#"{"triggers": {"requets": {"main": "./r.rs"}, "orders": {"main": "./o.rs"}}}"#;
    let component = Component::new(json).unwrap().trigger("requests", receive);
    let error = component.check().unwrap_err();
    let mismatch: &crate::Mismatch = error.downcast_ref().unwrap();
    assert_eq!(
        mismatch.differences(),
        [
            r#"trigger "orders" (./o.rs) has no module: register it"#,
            r#"trigger "requets" (./r.rs) has no module: register it (did you mean "requests"?)"#,
            r#"trigger "requests" is registered, but not in component.json (did you mean "requets"?)"#,
        ]
    );
}

#[test]
fn a_misspelt_select_model_names_the_one_that_is_meant() {
    async fn model(_: ServiceContext) -> anyhow::Result<Value> {
        Ok(Value::Null)
    }
    let json = r#"{"triggers": {"requests": {"main": "./r.rs", "fields": {
        "a": {"viewClass": "SelectView", "model": "folder"}, "b": {"viewClass": "SelectView", "model": "users"}}}}}"#;
    let component = Component::new(json).unwrap().trigger("requests", receive);
    let component = component.select_model("folders", model);
    let component = component.select_model("users", model);
    let unknown = |name: &str| component.known_models(name);
    let known = r#"There are: "folders", "users""#;
    assert_eq!(unknown("other"), known);
    assert_eq!(unknown("user"), known);
    assert_eq!(
        unknown("folder"),
        format!(r#"{known} (did you mean "folders"?)"#)
    );
    let error = component.check().unwrap_err();
    let mismatch: &crate::Mismatch = error.downcast_ref().unwrap();
    assert_eq!(
        mismatch.differences(),
        [
            r#"field "a" of "requests" asks for select model "folder", which is not registered (did you mean "folders"?)"#,
            r#"select model "folders" is registered, but no field asks for it (did you mean "folder"?)"#,
        ]
    );
}

#[test]
fn a_misspelt_name_in_a_template_of_the_author_is_a_warning() {
    let json = r#"{"credentials": {"fields": {"baseUrl": {}}}, "envVars": {"API_HOSTS": {}}, "actions": {}}"#;
    let found = |oauth: OAuth2| {
        let issues = Component::new(json).unwrap().oauth2(oauth).lint(None);
        let found = issues.into_iter().filter(|issue| {
            issue.rule.id() == "undeclared-name" && issue.problem.contains("OAuth2::")
        });
        let found = found.map(|issue| format!("{} {}", issue.pointer, issue.remedy));
        found.collect::<Vec<_>>()
    };
    let near = |name: &str| format!("/credentials is `{name}` meant? The case of letters counts");
    let good = OAuth2::new()
        .base_url("{{baseUrl|API_URL}}/v1")
        .allow_origin("{{API_HOSTS}} {{FILES_URL}}");
    assert_eq!(found(good), [""; 0]);
    let misspelt = OAuth2::new()
        .base_url("{{baseURL}}")
        .allow_origin("{{API_HOST}}");
    assert_eq!(found(misspelt), [near("baseUrl"), near("API_HOSTS")]);
    let unknown = found(OAuth2::new().base_url("https://{{tenant}}.example.com"));
    assert!(unknown[0].contains("credentials.fields"), "{unknown:?}");
}

#[test]
fn metadata_that_the_platform_never_asks_for_is_a_warning() {
    async fn metadata(_: ServiceContext) -> anyhow::Result<Value> {
        Ok(Value::Null)
    }
    let check = |dynamic: &str| {
        let json = format!(r#"{{"triggers": {{"requests": {{"main": "./r.rs"{dynamic}}}}}}}"#);
        let component = Component::new(&json).unwrap().trigger("requests", receive);
        // A surplus one must not stop the other functions.
        component
            .metadata("requests", metadata)
            .check()
            .unwrap()
            .unused_metadata()
    };
    assert_eq!(check(r#", "dynamicMetadata": true"#), [""; 0]);
    // The platform uses the schemas of component.json then, so they are still compared.
    let schemas = |dynamic: &str| {
        let json = format!(
            r#"{{"triggers": {{"requests": {{"main": "./r.rs", "metadata": {{"out": {{}}}}{dynamic}}}}}}}"#
        );
        let component = Component::new(&json).unwrap().trigger("requests", receive);
        component.metadata("requests", metadata).schemas().count()
    };
    assert_eq!(
        (schemas(""), schemas(r#", "dynamicMetadata": true"#)),
        (1, 0)
    );
    for dynamic in ["", r#", "dynamicMetadata": false"#] {
        let warnings = check(dynamic);
        assert!(
            warnings.len() == 1 && warnings[0].contains("\"dynamicMetadata\": true"),
            "{warnings:?}"
        );
    }
    let json = r#"{"triggers": {"requests": {"main": "./r.rs"}}}"#;
    let component = Component::new(json).unwrap().trigger("requests", receive);
    let component = component.metadata("elsewhere", metadata).check().unwrap();
    assert_eq!(
        component.unused_metadata(),
        [
            "metadata for \"elsewhere\" is registered, but no function of that name is in component.json"
        ]
    );
}

#[test]
fn what_is_registered_twice_is_a_mismatch() {
    async fn model(_: ServiceContext) -> anyhow::Result<Value> {
        Ok(Value::Null)
    }
    async fn verify(_: ServiceContext) -> anyhow::Result<Verified> {
        Ok(Verified::Yes)
    }
    let json = r#"{"triggers": {"requests": {"main": "./r.rs", "dynamicMetadata": true, "fields": {
        "f": {"viewClass": "SelectView", "model": "folders"}}}}}"#;
    let once = || {
        let component = Component::new(json).unwrap().trigger("requests", receive);
        let component = component.select_model("folders", model);
        component
            .metadata("requests", model)
            .verify_credentials(verify)
    };
    once().check().unwrap();
    let twice = once().select_model("folders", model);
    let twice = twice.metadata("requests", model).verify_credentials(verify);
    let twice = twice.oauth2(OAuth2::new()).oauth2(OAuth2::new());
    let error = twice.check().unwrap_err();
    let mismatch: &crate::Mismatch = error.downcast_ref().unwrap();
    assert_eq!(
        mismatch.differences(),
        [
            "select model \"folders\" is registered more than once",
            "metadata for \"requests\" is registered more than once",
            "the check of credentials is registered more than once",
            "the OAuth2 credential is registered more than once",
        ]
    );
}

#[test]
fn an_unknown_function_ends_with_the_known_ones() {
    let json = r#"{"triggers": {"orders": {}}, "actions": {"b": {}, "a": {}}}"#;
    let component = Component::new(json).unwrap();
    for (name, near) in [("c", ""), ("order", " (did you mean \"orders\"?)")] {
        let error = component.module(name).err().unwrap().to_string();
        let expected = format!(
            "Trigger or action \"{name}\" is not found in component.json!\nThere are: \"orders\", \"a\", \"b\"{near}"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn an_own_descriptor_needs_the_version_of_its_sailor() {
    let of = |more: &str| {
        let json = format!(
            r#"{{"title": "T", "version": "1.0.0", "triggers": {{"requests": {{"title": "R", "main": "./r.rs"}}}}{more}}}"#
        );
        let component = Component::new(&json).unwrap().trigger("requests", receive);
        let issues = component.lint(None).into_iter();
        issues.map(|issue| issue.rule.id()).collect::<Vec<_>>()
    };
    assert_eq!(of(""), ["missing-sailor-version"]);
    assert_eq!(of(r#", "language": "nodejs""#), ["sailor-version"]);
    assert_eq!(
        of(r#", "language": "nodejs", "sailor_version": "2.7.8""#),
        [""; 0]
    );
}

#[test]
fn all_missing_variables_are_named_at_once_with_what_they_are() {
    let json = r#"{"envVars": {"A": {"required": true, "description": "The key"}, "B": {"required": true}, "C": {}, "D": {"required": true}}}"#;
    let component = Component::new(json).unwrap();
    let get = |name: &str| match name {
        "B" => Some(String::new()),
        "D" => Some("d".to_owned()),
        _ => None,
    };
    let error = component.check_environment(get).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().skip(1).collect();
    assert_eq!(lines, ["  A: The key", "  B"]);
    component
        .check_environment(|_| Some("x".to_owned()))
        .unwrap();
}

mod fields {
    use crate::{fields, prelude::*};
    use serde::Deserialize;
    use serde_json::{Value, json};

    /// The rules and places of what is found in an action with these fields, beside a credential field `key`, whose module
    /// has the configuration `C`.
    fn found<C: serde::de::DeserializeOwned + Send + Sync + 'static>(
        fields: Value,
    ) -> Vec<(&'static str, String)> {
        async fn act<C: Send + Sync>(_: Message<Value>, _: Context<C>) -> anyhow::Result<()> {
            Ok(())
        }
        let json = json!({
            "title": "T", "version": "1.0.0", "language": "nodejs", "sailor_version": "2.7.8",
            "credentials": { "fields": { "key": { "label": "K", "viewClass": "PasswordFieldView" } } },
            "actions": { "act": { "title": "A", "main": "./a.rs", "fields": fields } },
        });
        let component = Component::new(&json.to_string()).unwrap();
        let component = component.action("act", act::<C>).check().unwrap();
        let issues = component.lint(None).into_iter();
        issues
            .map(|issue| {
                let place = issue.pointer.strip_prefix("/actions/act").unwrap();
                (issue.rule.id(), place.to_owned())
            })
            .collect()
    }

    fn view(class: &str, more: Value) -> Value {
        let mut field = json!({ "label": "L", "viewClass": class });
        let more = more.as_object().unwrap().clone();
        field.as_object_mut().unwrap().extend(more);
        field
    }

    fn text() -> Value {
        view("TextFieldView", json!({ "required": true }))
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its members are wanted")]
    struct Plain {
        folder: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its members are wanted")]
    struct Lenient {
        #[serde(default, deserialize_with = "fields::text")]
        base_url: Option<String>,
        #[serde(default, deserialize_with = "fields::count")]
        page_size: Option<u16>,
        #[serde(default, deserialize_with = "fields::checked")]
        is_new: bool,
        #[serde(default)]
        key: String,
    }

    #[test]
    fn a_member_that_no_field_gives_is_an_error_at_the_function() {
        assert_eq!(
            found::<Plain>(json!({})),
            [("missing-field", String::new())]
        );
        assert_eq!(found::<Plain>(json!({ "folder": text() })), []);
        // The fields of the credentials are in the configuration too.
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its members are wanted")]
        struct Both {
            key: String,
            _account: String,
            size: u64,
            list: Vec<String>,
            inner: Plain,
        }
        let missing = found::<Both>(json!({}));
        assert_eq!(missing.len(), 3, "{missing:?}");
    }

    #[test]
    fn a_field_that_no_type_reads_is_a_warning() {
        let fields = json!({ "folder": text(), "other": text() });
        let unread = [("unread-field", "/fields/other".to_owned())];
        assert_eq!(found::<Plain>(fields.clone()), unread);
        assert_eq!(found::<Value>(fields), []);
    }

    /// A select model whose type does not tell its members hides no field that the module misses.
    #[test]
    fn a_select_model_of_any_type_reads_no_field_for_the_module() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its members are wanted")]
        struct Optional {
            #[serde(default, deserialize_with = "fields::text")]
            parent: Option<String>,
        }
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its members are wanted")]
        struct Reads {
            #[serde(default, deserialize_with = "fields::text")]
            parnet: Option<String>,
        }
        async fn act<C>(_: Message<Value>, _: Context<C>) -> anyhow::Result<()> {
            Ok(())
        }
        async fn model<C>(_: ServiceContext<C>) -> anyhow::Result<Value> {
            Ok(Value::Null)
        }
        let field = view("SelectView", json!({ "model": "list" }));
        let json =
            json!({ "actions": { "act": { "main": "./act.rs", "fields": { "parnet": field } } } });
        let unread = |component: Component| {
            let issues = component.lint(None).into_iter();
            let unread = issues.filter(|issue| issue.rule.id() == "unread-field");
            unread
                .map(|issue| format!("{}; {}", issue.problem, issue.remedy))
                .collect::<Vec<_>>()
        };
        let new = || Component::new(&json.to_string()).unwrap();

        let found = unread(
            new()
                .action("act", act::<Optional>)
                .select_model("list", model::<Value>),
        );
        let [issue] = &found[..] else {
            panic!("{found:?}")
        };
        assert!(
            issue.contains("Only the select model \"list\" may")
                && issue.contains("is it the member `parent`?"),
            "{issue}"
        );
        let found = unread(
            new()
                .action("act", act::<Optional>)
                .select_model("list", model::<Reads>),
        );
        assert_eq!(found, [""; 0]);
        let found = unread(
            new()
                .action("act", act::<Value>)
                .select_model("list", model::<Optional>),
        );
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_misspelt_member_is_told_once_at_its_field() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its members are wanted")]
        struct Snake {
            base_url: String,
            #[serde(default)]
            page_size: String,
        }
        let fields = json!({ "baseUrl": text(), "pageSize": text() });
        assert_eq!(
            found::<Snake>(fields),
            [
                ("missing-field", "/fields/baseUrl".to_owned()),
                ("unread-field", "/fields/pageSize".to_owned()),
            ]
        );
    }

    #[test]
    fn a_type_that_reads_no_text_cannot_read_a_text_field() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its members are wanted")]
        struct Typed<T> {
            x: T,
        }
        let unreadable = [("unreadable-field", "/fields/x".to_owned())];
        let one = |field: &Value| json!({ "x": field });
        assert_eq!(found::<Typed<f64>>(one(&text())), unreadable);
        assert_eq!(found::<Typed<Vec<u8>>>(one(&text())), unreadable);
        assert_eq!(found::<Typed<Plain>>(one(&text())), unreadable);
        assert_eq!(found::<Typed<String>>(one(&text())), []);
        assert_eq!(found::<Typed<Value>>(one(&text())), []);
        assert_eq!(found::<Typed<std::net::IpAddr>>(one(&text())), []);
        assert_eq!(found::<Typed<char>>(one(&text())), []);
        // Whether a text of an unknown form is meant cannot be told.
        #[derive(Deserialize)]
        #[serde(try_from = "String")]
        struct Odd;
        impl TryFrom<String> for Odd {
            type Error = &'static str;
            fn try_from(_: String) -> Result<Self, &'static str> {
                Err("odd")
            }
        }
        assert_eq!(found::<Typed<Odd>>(one(&text())), []);

        let check_box = view("CheckBoxView", json!({ "required": true }));
        assert_eq!(found::<Typed<bool>>(one(&check_box)), unreadable);
        assert_eq!(found::<Typed<String>>(one(&check_box)), []);
    }

    #[test]
    fn each_choice_of_a_field_must_be_read() {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Kind {
            New,
            Old,
        }
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its members are wanted")]
        struct Config {
            kind: Kind,
        }
        let select = |model: Value| json!({ "kind": view("SelectView", json!({ "required": true, "model": model })) });
        let good = [json!({ "new": "N", "old": "O" }), json!(["new"])];
        for model in good {
            assert_eq!(found::<Config>(select(model)), []);
        }
        for model in [json!({ "new": "N", "gone": "G" }), json!(["new", "New"])] {
            let unreadable = [("unreadable-field", "/fields/kind".to_owned())];
            assert_eq!(found::<Config>(select(model)), unreadable);
        }
    }

    #[test]
    fn what_users_may_leave_empty_must_be_read_without() {
        let optional = [("optional-field", "/fields/folder".to_owned())];
        let empty = json!({ "folder": view("TextFieldView", json!({})) });
        assert_eq!(found::<Plain>(empty), optional);
        let fields = json!({
            "baseUrl": view("TextFieldView", json!({})),
            "pageSize": view("TextFieldView", json!({ "required": false })),
            "isNew": view("CheckBoxView", json!({})),
        });
        assert_eq!(found::<Lenient>(fields), []);
    }
}
