//! What the simulated switch costs, on threads of its own. Measures for half a minute, so it runs only when asked for:
//! `cargo test --release -p sim --test it -- --ignored --nocapture cost`.

use std::time::{Duration, Instant};

use sim::switch::{Dialplan, Switch, SwitchConfig};

use crate::caller::{Caller, TRUNK};
use crate::client::Client;
use crate::far_end::{FarEnd, Manner};

/// CPU seconds used by this process's threads of that name.
fn cpu_of(name: &str) -> f64 {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((head, fields)) = stat.rsplit_once(") ") else { continue };
        if head.ends_with(name) {
            let fields: Vec<&str> = fields.split_whitespace().collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    ticks as f64 / 100.0
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures for half a minute"]
fn cost_of_a_hundred_bridged_calls_a_second_with_a_listener_to_everything() {
    const SECONDS: usize = 10;
    let own = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("switch")
        .enable_all()
        .build()
        .unwrap();
    let rest = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = SwitchConfig { dialplan: Dialplan::platform("127.0.0.1:9"), ..SwitchConfig::default() };
    let switch = own.block_on(own.spawn(Switch::start(config))).unwrap().unwrap();
    rest.block_on(async {
        let far = FarEnd::start(Manner::RingsAndAnswers);
        switch.set_gateway(far.address).await;
        let mut listener = Client::listening(switch.esl_addr(), "plain all").await;
        let (done, mut stop) = tokio::sync::oneshot::channel::<()>();
        let reader = sim_spawn(async move {
            let (mut events, mut bytes) = (0_u64, 0);
            loop {
                tokio::select! {
                    frame = listener.next() => match frame {
                        Some(frame) => { events += 1; bytes += frame.raw.len(); }
                        None => break,
                    },
                    _ = &mut stop => break,
                }
            }
            (events, bytes)
        });
        let mut caller = Caller::new(switch.sip_addr(), TRUNK);
        let (memory, begun, cpu) = (resident_kib(), Instant::now(), cpu_of("switch"));
        for number in 0..SECONDS * 100 {
            let invite = caller.invite_message("4001", &format!("cost-{number}"));
            caller.send_invite(invite);
            let next = begun + Duration::from_millis(10) * u32::try_from(number + 1).unwrap();
            caller.linger(next.saturating_duration_since(Instant::now())).await;
        }
        let wall = begun.elapsed().as_secs_f64();
        let used = cpu_of("switch") - cpu;
        let stats = switch.stats();
        let grown = resident_kib() - memory;
        // The listener ends before the thousands of hangups: they are not part of the rate.
        drop(done);
        let (events, bytes) = reader.await.unwrap();
        println!(
            "{:.0} calls/s, {events} events ({} per call, {} bytes each), {:.2} cores, {} channels open, {} KiB each (all sides of the test)",
            (SECONDS * 100) as f64 / wall,
            events / (SECONDS as u64 * 100),
            bytes as u64 / events.max(1),
            used / wall,
            stats.channels,
            grown / stats.channels.max(1)
        );
        assert!(used / wall < 0.5, "half a core is the most that it may cost");
        assert_eq!(stats.events_lost, 0);
    });
}

#[expect(clippy::disallowed_methods, reason = "a task of this test alone, awaited at its end")]
fn sim_spawn<F: Future<Output = (u64, usize)> + Send + 'static>(work: F) -> tokio::task::JoinHandle<(u64, usize)> {
    tokio::spawn(work)
}
