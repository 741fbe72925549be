use kit::Metrics;
use prometheus_client::metrics::counter::Counter;

fn count(metrics: &Metrics, name: &str) -> Counter {
    let counter: Counter = Counter::default();
    metrics.with(|registry| registry.register(name, "A test", counter.clone()));
    counter
}

#[test]
fn all_services_of_a_process_are_in_one_text_that_ends_once() {
    let metrics = Metrics::new();
    count(&metrics.scope("edge"), "edge_calls").inc_by(3);
    count(&metrics.scope("cdr"), "cdr_rows").inc();
    let text = metrics.encode();
    assert!(text.contains("edge_calls_total 3") && text.contains("cdr_rows_total 1"), "{text}");
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
}

#[test]
fn a_service_that_starts_again_replaces_its_metrics() {
    let metrics = Metrics::new();
    count(&metrics.scope("cdr"), "cdr_rows").inc_by(9);
    count(&metrics.scope("cdr"), "cdr_rows").inc();
    let text = metrics.encode();
    assert_eq!(text.matches("cdr_rows_total").count(), 1, "{text}");
    assert!(text.contains("cdr_rows_total 1"));
}
