use std::io::Write;
use std::sync::Arc;

use kit::LogConfig;
use kit::telemetry::{LogFormat, Number, subscriber};
use parking_lot::Mutex;

const CALLER: &str = "+442079460018";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, filter: &str, act: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let config = LogConfig { format, filter: filter.into() };
    tracing::dispatcher::with_default(&subscriber(&config, move || writer.clone()).unwrap(), act);
    let bytes = lines.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_number_is_masked_in_every_format() {
    for format in [LogFormat::Human, LogFormat::Json] {
        let text = logged(format, "info", || {
            tracing::info!(who = %Number(CALLER), again = ?Number(CALLER), call.id = "c-1", "call from {}", Number(CALLER));
        });
        assert!(!text.contains(&CALLER[3..11]), "{text}");
        assert_eq!(text.matches("+44••••••••18").count(), 3, "{text}");
        assert!(text.contains("c-1"), "{text}");
    }
}

#[test]
fn a_field_named_like_a_number_or_a_secret_is_masked_whoever_forgot() {
    for format in [LogFormat::Human, LogFormat::Json] {
        let text = logged(format, "info", || {
            let span = tracing::info_span!("call", call.caller = CALLER, sip.authorization = "Digest response=abc");
            let _in = span.enter();
            tracing::info!(callee = 442_079_460_018_u64, esl.password = "ClueCon", "ringing");
        });
        for leak in [CALLER, "442079460018", "Digest", "ClueCon"] {
            assert!(!text.contains(leak), "{leak} in {text}");
        }
        assert!(text.contains("ringing") && text.contains("***"), "{text}");
    }
}

#[test]
fn json_lines_are_json_and_carry_the_fields_of_the_spans_around() {
    let text = logged(LogFormat::Json, "info", || {
        let _in = tracing::info_span!("batch", kafka.topic = "sip.transactions").entered();
        tracing::warn!(batch.rows = 3, ok = true, error = "two\nlines", "written late");
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "warn");
    assert_eq!(line["message"], "written late");
    assert_eq!(line["kafka.topic"], "sip.transactions");
    assert_eq!(line["batch.rows"], 3);
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn text_from_the_wire_cannot_forge_a_human_line() {
    let text = logged(LogFormat::Human, "info", || {
        tracing::info!(agent = "x\n2026-01-01 ERROR edge: stolen", "user agent {}", "a\r\nb");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("agent=\"x\\n2026"), "{text}");
}

#[test]
fn the_filter_decides_by_target_and_level() {
    let text = logged(LogFormat::Human, "warn,kit_filter=debug", || {
        tracing::info!("hidden");
        tracing::debug!(target: "kit_filter", "shown");
    });
    assert!(!text.contains("hidden") && text.contains("shown"), "{text}");
}
