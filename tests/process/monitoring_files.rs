//! docs/metrics.md has every metric, and the dashboard and the alert rules of docs/monitoring use no others.

use super::{
    monitoring::{Monitored, promtool},
    *,
};
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../docs/metrics.md");
const ALERTS: &str = include_str!("../../docs/monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../docs/monitoring/dashboard.json");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring");

/// The names of metrics in a text, without what Prometheus adds to those of histograms.
fn names(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("elasticio_sailor_").map(|(at, _)| at);
    let words = starts.map(|at| {
        let end = text[at..].find(|c: char| !c.is_ascii_lowercase() && c != '_');
        &text[at..end.map_or(text.len(), |length| at + length)]
    });
    let base = |name| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let histogram = suffixes.iter().find_map(|end| str::strip_suffix(name, end));
        histogram.unwrap_or(name)
    };
    words
        .map(base)
        .filter(|name| *name != "elasticio_sailor_")
        .collect()
}

/// The names that rows of tables begin with.
fn documented() -> BTreeSet<&'static str> {
    let rows = PAGE
        .lines()
        .filter(|line| line.starts_with("| `elasticio_"));
    rows.map(|row| row.split('`').nth(1).unwrap()).collect()
}

/// The queries of the dashboard, with numbers in place of its variables.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap())
        .map(|query| query.replace("$__rate_interval", "5m"))
        .collect()
}

#[tokio::test]
async fn the_page_has_every_metric() {
    let mut monitored = Monitored::start(1).await;
    let series = monitored.health.scrape().await;
    let mut scraped: BTreeSet<&str> = series.keys().flat_map(|series| names(series)).collect();
    assert!(scraped.len() > 15, "{scraped:?}");
    // Those of tokens are there with a credential only; the tests of the reference component move them.
    let documented = documented();
    scraped.extend(documented.iter().filter(|name| name.contains("_token")));
    assert_eq!(documented, scraped);
    assert_eq!(monitored.component.stop().await.0, 0);
}

#[test]
fn dashboard_and_alert_rules_name_metrics_of_the_page() {
    let documented = documented();
    for (file, text) in [("alerts.yml", ALERTS), ("dashboard.json", DASHBOARD)] {
        let names = names(text);
        let unknown: Vec<_> = names.difference(&documented).collect();
        assert!(names.len() > 5 && unknown.is_empty(), "{file}: {unknown:?}");
    }
    let shown: BTreeSet<&str> = names(DASHBOARD);
    let missing: Vec<_> = documented.difference(&shown).collect();
    assert!(missing.is_empty(), "not in the dashboard: {missing:?}");
}

#[tokio::test]
async fn promtool_accepts_alert_rules_and_dashboard() {
    let rules: Vec<_> = queries()
        .into_iter()
        .enumerate()
        .map(|(number, expr)| json!({ "record": format!("query:{number}"), "expr": expr }))
        .collect();
    assert!(rules.len() > 20, "the queries were not found");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yml");
    let group = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    // JSON is YAML.
    std::fs::write(&file, group.to_string()).unwrap();
    let alerts = format!("{FOLDER}/alerts.yml");
    promtool(&["check", "rules", &alerts, file.to_str().unwrap()], "").await;
    promtool(&["test", "rules", &format!("{FOLDER}/alerts.test.yml")], "").await;
}
