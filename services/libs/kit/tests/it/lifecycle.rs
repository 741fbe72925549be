use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use kit::{Lifecycle, Metrics, TaskOptions};

use crate::wait::{LONG, until, until_async};

const PATIENT: TaskOptions = TaskOptions { stall_after: None, critical: false };

#[tokio::test]
async fn readiness_goes_before_the_shutdown_token() {
    let life = Lifecycle::new(LONG);
    life.set_ready("store", true);
    assert!(life.health().ready);
    let seen = life.clone();
    life.spawn("observer", PATIENT, |task| async move {
        task.shutdown().cancelled().await;
        assert!(!seen.health().ready, "the token was visible while the process still called itself ready");
        Ok(())
    });
    let outcome = life.stop().await;
    assert!(outcome.is_clean(), "{outcome}");
    assert!(life.health().live, "shutting down is not being dead");
}

#[tokio::test]
async fn every_component_must_be_ready() {
    let life = Lifecycle::new(LONG);
    life.set_ready("log", true);
    life.set_ready("store", false);
    assert!(!life.health().ready);
    life.set_ready("store", true);
    assert!(life.health().ready);
}

#[tokio::test]
async fn draining_lets_a_task_finish_its_work() {
    let life = Lifecycle::new(LONG);
    let finished = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&finished);
    life.spawn("writer", TaskOptions::critical(), |task| async move {
        task.shutdown().cancelled().await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        flag.store(true, Ordering::SeqCst);
        Ok(())
    });
    assert!(life.stop().await.is_clean());
    assert!(finished.load(Ordering::SeqCst));
}

#[tokio::test]
async fn past_the_deadline_the_outcome_names_what_was_abandoned() {
    let life = Lifecycle::new(Duration::from_millis(30));
    life.spawn("stubborn", PATIENT, |_| std::future::pending());
    life.spawn("obedient", PATIENT, |task| async move {
        task.shutdown().cancelled().await;
        Ok(())
    });
    let outcome = life.stop().await;
    assert_eq!(outcome.abandoned, ["stubborn"]);
    assert!(!outcome.is_clean());
    assert_eq!(format!("{:?}", outcome.exit_code()), format!("{:?}", std::process::ExitCode::FAILURE));
    until_async("the abandoned task is gone", || life.health().tasks.is_empty()).await;
}

#[tokio::test]
async fn the_death_of_a_critical_task_ends_the_process_and_is_a_failure() {
    type Act = fn() -> anyhow::Result<()>;
    let cases: [(&str, Act); 3] = [
        ("no space left", || Err(anyhow::anyhow!("no space left"))),
        ("index out of range", || panic!("index out of range")),
        ("ended before shutdown", || Ok(())),
    ];
    for (why, act) in cases {
        let life = Lifecycle::new(LONG);
        life.spawn("pump", TaskOptions::critical(), move |_| async move { act() });
        let outcome = tokio::time::timeout(LONG, life.run_until_signal()).await.expect("it ends by itself");
        assert!(outcome.reason.contains("critical task pump"), "{outcome}");
        assert_eq!(outcome.failed.len(), 1);
        assert!(outcome.failed[0].contains(why), "{outcome}");
    }
}

#[tokio::test]
async fn the_error_of_another_task_is_counted_but_ends_nothing_while_a_panic_fails_the_process() {
    let life = Lifecycle::new(LONG);
    life.spawn("connection", PATIENT, |_| async { anyhow::bail!("peer went away") });
    until_async("the error is counted", || life.health().errors == 1).await;
    assert!(life.health().ready);
    assert!(life.health().failed.is_empty());
    life.spawn("broken", PATIENT, |_| async { panic!("a bug") });
    until_async("the panic is noted", || life.health().errors == 2).await;
    assert!(life.health().ready, "one connection's bug does not stop the rest");
    let outcome = life.stop().await;
    assert_eq!(outcome.failed, ["broken: panicked: a bug"]);
}

#[tokio::test]
async fn a_child_is_stopped_and_started_again_alone() {
    let life = Lifecycle::new(LONG);
    let rounds = Arc::new(AtomicU32::new(0));
    let start = |life: &Lifecycle| {
        let child = life.child("cdr");
        let rounds = Arc::clone(&rounds);
        child.set_ready("pump", true);
        child.spawn("pump", TaskOptions::critical(), |task| async move {
            rounds.fetch_add(1, Ordering::SeqCst);
            task.shutdown().cancelled().await;
            Ok(())
        });
        child
    };
    life.spawn("edge", TaskOptions::critical(), |task| async move {
        task.shutdown().cancelled().await;
        Ok(())
    });
    let first = start(&life);
    assert!(life.health().tasks.iter().any(|task| task.name == "cdr/pump"));
    assert!(first.stop().await.is_clean());
    assert!(life.health().ready, "a stopped part is no longer the parent's concern");
    assert!(!life.shutdown_token().is_cancelled());
    let second = start(&life);
    until_async("it runs again", || rounds.load(Ordering::SeqCst) == 2).await;
    let outcome = life.stop().await;
    assert!(outcome.is_clean(), "{outcome}");
    assert!(second.shutdown_token().is_cancelled(), "a child ends with its parent");
}

#[tokio::test]
async fn a_critical_death_in_a_child_ends_the_process_unless_services_are_isolated() {
    let die = |life: &Lifecycle| {
        life.child("cdr").spawn("pump", TaskOptions::critical(), |_| async { anyhow::bail!("disk full") });
    };
    let alone = Lifecycle::new(LONG);
    die(&alone);
    tokio::time::timeout(LONG, alone.shutdown_token().cancelled()).await.expect("the process ends");

    let shared = Lifecycle::isolating(LONG);
    die(&shared);
    until_async("the service has stopped", || !shared.health().ready).await;
    assert!(!shared.shutdown_token().is_cancelled(), "the other services go on");
    assert!(shared.health().live);
    assert!(shared.health().stopping.unwrap().starts_with("cdr: critical task cdr/pump disk full"));
    assert_eq!(shared.stop().await.failed, ["cdr/pump: disk full"], "and the exit code will tell");
}

#[tokio::test]
async fn a_service_that_died_can_be_replaced_and_its_death_is_not_forgotten() {
    let (process, metrics) = (Lifecycle::isolating(LONG), Metrics::new());
    process.register(&metrics);
    let service = process.child("cdr");
    service.spawn("pump", TaskOptions::critical(), |_| async { anyhow::bail!("disk full") });
    tokio::time::timeout(LONG, service.shutdown_token().cancelled()).await.expect("it dies");
    assert!(!process.health().ready);
    assert_eq!(service.stop().await.failed, ["cdr/pump: disk full"]);

    process.child("cdr").spawn("pump", PATIENT, |task| async move {
        task.shutdown().cancelled().await;
        Ok(())
    });
    let health = process.health();
    assert!(health.ready, "{health:?}");
    assert_eq!((health.failed, health.errors), (vec!["cdr/pump: disk full".to_owned()], 1));
    assert!(metrics.encode().contains("process_task_failures_total 1"));
    assert_eq!(process.stop().await.failed, ["cdr/pump: disk full"], "the exit code tells that something went wrong");
}

#[test]
fn a_wedged_runtime_cannot_hide_itself() {
    let life = Lifecycle::new(LONG);
    let (release, blocked) = std::sync::mpsc::sync_channel::<()>(1);
    let wedged = life.clone();
    // One worker thread; the task blocks it, so that nothing asynchronous runs any more.
    let runtime = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = TaskOptions::critical().stall_after(Duration::from_millis(20));
            wedged.spawn("receiver", options, |task| async move {
                blocked.recv().unwrap();
                let shutdown = task.shutdown();
                while !shutdown.is_cancelled() {
                    task.beat();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            });
            wedged.shutdown_token().cancelled().await;
            wedged.stop().await
        })
    });
    until("the watchdog sees it from outside", || {
        life.health().tasks.iter().any(|t| t.name == "receiver" && t.stalled)
    });
    assert!(!life.health().live && !life.health().ready);
    release.send(()).unwrap();
    until("it is alive again", || life.health().live);
    life.trigger("test over");
    assert!(runtime.join().unwrap().is_clean());
}

#[test]
fn a_task_that_is_dropped_with_its_runtime_is_noticed() {
    let life = Lifecycle::new(LONG);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { life.spawn("receiver", TaskOptions::critical(), |_| std::future::pending()) });
    drop(runtime);
    until("the loss is seen", || life.shutdown_token().is_cancelled());
    assert!(life.health().failed[0].contains("dropped with its runtime"));
}

#[tokio::test]
async fn threads_are_named_watched_and_waited_for_like_tasks() {
    let life = Lifecycle::new(LONG);
    life.spawn_thread("socket-0", TaskOptions::critical(), |task| {
        assert_eq!(std::thread::current().name(), Some("socket-0"));
        let shutdown = task.shutdown();
        while !shutdown.is_cancelled() {
            task.beat();
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(life.health().tasks[0].name, "socket-0");
    assert!(life.stop().await.is_clean());
    assert!(life.health().tasks.is_empty());
}

#[tokio::test]
async fn the_metrics_tell_of_tasks_and_readiness() {
    let (life, metrics) = (Lifecycle::new(LONG), Metrics::new());
    life.register(&metrics);
    life.spawn("waiter", PATIENT, |_| std::future::pending());
    let text = metrics.encode();
    for line in ["process_ready 1", "process_tasks 1", "process_tasks_stalled 0", "process_task_failures_total 0"] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    life.set_ready("store", false);
    let text = metrics.encode();
    for line in ["process_ready 0", "process_component_ready{component=\"store\"} 0"] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}
