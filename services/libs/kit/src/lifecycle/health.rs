//! The state of the tree as one report, for `/healthz`, `/readyz`, the demo's line and the metrics.
//!
//! Ready: not shutting down, every component ready, no critical task stalled. Live: no critical task stalled, except in a
//! service that shares the process with others (restarting all of them for one would spread the fault).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

use super::node::Node;
use crate::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    pub live: bool,
    pub ready: bool,
    /// Why the process, or this part of it, is shutting down.
    pub stopping: Option<String>,
    pub components: Vec<ComponentHealth>,
    pub tasks: Vec<TaskHealth>,
    /// Tasks that failed, with their errors; kept until the end.
    pub failed: Vec<String>,
    /// Failures of every kind, those of tasks that are not critical included.
    pub errors: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentHealth {
    pub name: String,
    pub ready: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskHealth {
    pub name: String,
    pub critical: bool,
    pub stalled: bool,
    pub running_ms: u64,
    /// Since its last sign of life; `None` for a task that is not watched.
    pub silent_ms: Option<u64>,
}

pub(super) fn of(node: &Arc<Node>) -> Health {
    let mut health = Health {
        live: true,
        ready: true,
        stopping: None,
        components: Vec::new(),
        tasks: Vec::new(),
        failed: Vec::new(),
        errors: 0,
    };
    node.visit(&mut |at, state| {
        let shares_process = at.parent().is_some_and(|parent| parent.isolating);
        if let Some(reason) = &state.stopping {
            health.ready = false;
            health.stopping.get_or_insert_with(|| format!("{}: {reason}", at.scope()));
        }
        for (name, ready) in &state.components {
            health.ready &= ready;
            health.components.push(ComponentHealth { name: format!("{}{name}", at.prefix), ready: *ready });
        }
        for task in state.tasks.values() {
            let stalled = task.stalled.load(Ordering::Relaxed);
            if stalled && task.options.critical {
                health.ready = false;
                health.live &= shares_process;
            }
            health.tasks.push(TaskHealth {
                name: task.name.clone(),
                critical: task.options.critical,
                stalled,
                running_ms: at.shared.ms().saturating_sub(task.started_ms),
                silent_ms: task.options.stall_after.map(|_| task.silent_ms()),
            });
        }
        health.failed.extend(state.failed.iter().cloned());
        health.errors += state.errors;
    });
    health
}

pub(super) fn register(node: &Arc<Node>, metrics: &Metrics) {
    let collector = HealthCollector(Arc::downgrade(node));
    metrics.with(|registry| registry.register_collector(Box::new(collector)));
}

struct HealthCollector(Weak<Node>);

impl std::fmt::Debug for HealthCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HealthCollector")
    }
}

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(node) = self.0.upgrade() else { return Ok(()) };
        let health = of(&node);
        let stalled = health.tasks.iter().filter(|task| task.stalled).count();
        let gauges = [
            ("process_ready", "1 when the process takes work", i64::from(health.ready)),
            ("process_tasks", "Named tasks that run", i64::try_from(health.tasks.len()).unwrap_or(i64::MAX)),
            ("process_tasks_stalled", "Tasks without a sign of life", i64::try_from(stalled).unwrap_or(i64::MAX)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let help = "1 for a part of the process that is as it should be";
        let mut parts = encoder.encode_descriptor("process_component_ready", help, None, MetricType::Gauge)?;
        for component in &health.components {
            let gauge = ConstGauge::new(i64::from(component.ready));
            gauge.encode(parts.encode_family(&[("component", component.name.as_str())])?)?;
        }
        let errors = ConstCounter::new(health.errors);
        errors.encode(encoder.encode_descriptor(
            "process_task_failures",
            "Tasks that ended with an error or a panic",
            None,
            errors.metric_type(),
        )?)
    }
}
