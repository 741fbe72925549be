use std::collections::BTreeSet;
use std::path::Path;

use api::ROUTES;
use serde_json::Value;

use crate::harness::start;
use crate::http::get;

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[tokio::test]
async fn the_openapi_names_every_route_and_no_other() {
    let api = start().await;
    let served: Value = get(api.addr, "/openapi.json").await.json();
    let mut described = BTreeSet::new();
    for (path, methods) in served["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string() && operation["responses"].is_object(), "{method} {path}");
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let routes: BTreeSet<_> = ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, routes);
}

#[tokio::test]
async fn every_reference_in_the_openapi_leads_somewhere() {
    fn references(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                out.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, out));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, out)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(&file("openapi.json")).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_page_and_everything_that_it_names_is_served_from_here() {
    let api = start().await;
    let page = get(api.addr, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("text/html"));
    for name in ["app.css", "app.js", "dom.js", "chart.js", "ladder.js"] {
        let asset = get(api.addr, &format!("/{name}")).await;
        assert_eq!(asset.status, 200, "{name}");
        let text = asset.body.replace("http://www.w3.org/2000/svg", "");
        for foreign in
            ["http://", "https://", "//cdn", "@import", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("]
        {
            assert!(!text.contains(foreign), "{foreign} in {name}");
        }
    }
    for line in page.body.lines() {
        assert!(!line.contains("<script>") && !line.contains(" onclick") && !line.contains("style="), "inline: {line}");
    }
}

#[tokio::test]
async fn the_readme_lists_every_setting_and_every_metric() {
    let api = start().await;
    get(api.addr, "/v1/nodes").await;
    let readme = file("README.md");
    let metrics = api.metrics.encode();
    for name in
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next())
    {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
    let settings: toml::Table = toml::Table::try_from(api::Config {
        token_file: Some("a".into()),
        calls_db: Some("b".into()),
        metrics_db: Some("c".into()),
        ..api::Config::default()
    })
    .unwrap();
    for name in settings.keys() {
        assert!(readme.contains(&format!("`api.{name}`")), "{name}");
    }
}
