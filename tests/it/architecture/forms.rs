//! Tests the architecture check itself: it finds a forbidden use in every form of path that Rust has.

use super::edges::Crate;

/// Files of `protocol`, the lowest folder, that use the engine.
const UPWARD: &[(&str, &str)] = &[
    ("a use", "use crate::engine::Shutdown;"),
    ("a use of the folder", "use crate::engine;"),
    ("a use under another name", "use crate::engine as machine;"),
    ("a use of everything", "use crate::engine::*;"),
    ("a group", "use crate::{settings, engine::Shutdown};"),
    (
        "a group in a group",
        "use {crate::{settings::{self}, engine::{self, run}}};",
    ),
    ("a public use", "pub(crate) use crate::engine::Shutdown;"),
    ("a use in a function", "fn f() { use crate::engine::run; }"),
    ("a use from above", "use super::engine::run;"),
    (
        "an expression from above, by self",
        "fn f() { self::super::engine::run(); }",
    ),
    (
        "a type from above, by self",
        "fn f(_: self::super::engine::Shutdown) {}",
    ),
    (
        "a macro from above, by self",
        "fn f() { println!(\"{}\", self::super::engine::LIMIT); }",
    ),
    (
        "a type in a text",
        "struct S { #[schemars(with = \"Vec<crate::engine::Thing>\")] at: u8 }",
    ),
    (
        "a bound in a text",
        "#[serde(bound = \"T: crate::engine::Thing\")] struct S<T>(T);",
    ),
    (
        "a use from above, deeper",
        "mod inner { use super::super::engine::run; }",
    ),
    ("an expression", "fn f() { crate::engine::run(); }"),
    (
        "an expression from above",
        "fn f() { super::engine::run(); }",
    ),
    ("a type", "fn f(_: &crate::engine::Shutdown) {}"),
    (
        "a type in a type",
        "struct S(Vec<crate::engine::Shutdown>);",
    ),
    ("a bound", "fn f<T: crate::engine::Run>() {}"),
    ("a trait", "impl crate::engine::Run for u8 {}"),
    (
        "a pattern",
        "fn f(x: u8) { match x { crate::engine::LIMIT => {} _ => {} } }",
    ),
    (
        "a literal of a structure",
        "fn f() { let _ = crate::engine::Shutdown { now: true }; }",
    ),
    ("a visibility", "pub(in crate::engine) struct S;"),
    (
        "an argument of a macro",
        "fn f() { println!(\"{}\", crate::engine::LIMIT); }",
    ),
    (
        "a value after a colon in a macro",
        "fn f() { json!({ \"limit\": crate::engine::LIMIT }); }",
    ),
    (
        "a group in a macro",
        "thing! { use crate::{settings, engine::run}; }",
    ),
    (
        "a macro, called by its path",
        "fn f() { crate::engine::thing!(); }",
    ),
    (
        "a macro's definition",
        "macro_rules! m { () => { $crate::engine::run() }; }",
    ),
    ("an attribute", "#[derive(crate::engine::Thing)] struct S;"),
    (
        "text in an attribute",
        "struct S { #[serde(with = \"crate::engine::time\")] at: u8 }",
    ),
    ("a re-export of the root", "use crate::Shutdown;"),
    (
        "a re-export of the root, in a type",
        "fn f(_: crate::Context) {}",
    ),
];

/// Files of `protocol` without an upward edge.
const LEVEL: &[(&str, &str)] = &[
    ("its own folder", "use crate::protocol::Headers;"),
    (
        "another crate with a folder's name",
        "use other::engine::run; fn f() { tokio::engine::run(); }",
    ),
    ("a local of that name", "fn f(engine: u8) -> u8 { engine }"),
    (
        "a comment",
        "/// Used by [`crate::engine::run`].\nstruct S;",
    ),
    (
        "a test",
        "#[cfg(test)] mod tests { use crate::engine::run; }",
    ),
];

fn upward_edges(code: &str) -> usize {
    let library = Crate::read();
    let edges = library.edges(&["protocol".to_owned()], code);
    edges.iter().filter(|edge| library.is_upward(edge)).count()
}

#[test]
fn an_upward_edge_is_found_in_every_form() {
    for (form, code) in UPWARD {
        assert!(upward_edges(code) > 0, "{form} was not found: {code}");
    }
}

#[test]
fn other_code_is_not_reported_as_an_edge() {
    for (form, code) in LEVEL {
        assert_eq!(upward_edges(code), 0, "{form}: {code}");
    }
}

#[test]
#[should_panic(expected = "names the root of the crate as a whole")]
fn the_root_as_a_whole_is_not_used() {
    upward_edges("use crate as root; fn f() { root::engine::run(); }");
}
