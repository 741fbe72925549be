//! One log line per event, with the fields of the spans around it, masked by field name.

use std::fmt::{self, Write as _};
use std::io::Write;

use domain::Utc;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use crate::clock::SystemClock;
use crate::secret::MASK;

/// The last part of a field's name (`call.caller` → `caller`) that makes its value a number …
const NUMBERS: [&str; 10] =
    ["caller", "callee", "number", "from_number", "to_number", "from_user", "to_user", "dialled", "digits", "pin"];

/// … or a secret.
const SECRETS: [&str; 8] = ["password", "passwd", "secret", "token", "authorization", "cookie", "key", "nonce"];

pub(super) struct LineLayer<F> {
    format: LogFormat,
    writer: F,
}

impl<F> LineLayer<F> {
    pub fn new(format: LogFormat, writer: F) -> LineLayer<F> {
        LineLayer { format, writer }
    }
}

/// Fields in the order in which they were given.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let last = name.rsplit('.').next().unwrap_or(name);
        let value = if SECRETS.contains(&last) {
            Value::from(MASK)
        } else if NUMBERS.contains(&last) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Value::from(domain::mask_number(&text))
        } else {
            value
        };
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, Value::from(value.to_string()));
    }
}

impl<S, W, F> Layer<S> for LineLayer<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write,
    F: Fn() -> W + Send + Sync + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(scope) = context.event_scope(event) {
            for span in scope {
                if let Some(outer) = span.extensions().get::<Fields>() {
                    for (name, value) in &outer.0 {
                        if !fields.0.iter().any(|(known, _)| known == name) {
                            fields.0.push((name, value.clone()));
                        }
                    }
                }
            }
        }
        let line = match self.format {
            LogFormat::Human => human(event, &fields),
            LogFormat::Json => json(event, fields),
        };
        // There is nowhere to report that the log cannot be written.
        let _ = (self.writer)().write_all(line.as_bytes());
    }
}

fn human(event: &Event<'_>, fields: &Fields) -> String {
    let meta = event.metadata();
    let mut line = String::with_capacity(160);
    let _ = write!(line, "{} {:>5} {}:", now_text(), meta.level().as_str(), meta.target());
    if let Some((_, message)) = fields.0.iter().find(|(name, _)| *name == "message") {
        line.push(' ');
        push_plain(&mut line, message.as_str().unwrap_or_default());
    }
    for (name, value) in fields.0.iter().filter(|(name, _)| *name != "message") {
        let _ = write!(line, " {name}=");
        match value.as_str() {
            // Quoted unless it is one plain word, so that text from the wire cannot imitate a field or a line.
            Some(text)
                if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') =>
            {
                let _ = write!(line, "{text:?}");
            }
            Some(text) => line.push_str(text),
            None => {
                let _ = write!(line, "{value}");
            }
        }
    }
    line.push('\n');
    line
}

fn push_plain(line: &mut String, text: &str) {
    line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
}

fn json(event: &Event<'_>, fields: Fields) -> String {
    let meta = event.metadata();
    let mut object = Map::new();
    object.insert("time".to_owned(), Value::from(now_text()));
    object.insert("level".to_owned(), Value::from(meta.level().as_str().to_lowercase()));
    object.insert("target".to_owned(), Value::from(meta.target()));
    for (name, value) in fields.0 {
        object.insert(name.to_owned(), value);
    }
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

fn now_text() -> String {
    use domain::Clock;
    utc_text(SystemClock.now().wall_us)
}

/// RFC 3339 with microseconds.
fn utc_text(wall_us: i64) -> String {
    let Utc { year, month, day, hour, minute, second, micros } = Utc::of(wall_us);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::utc_text;

    #[test]
    fn microseconds_become_a_date() {
        assert_eq!(utc_text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(utc_text(951_827_696_000_001), "2000-02-29T12:34:56.000001Z");
        assert_eq!(utc_text(1_795_247_999_999_999), "2026-11-21T07:59:59.999999Z");
        assert_eq!(utc_text(-1), "1969-12-31T23:59:59.999999Z");
    }
}
