//! A record as one JSON object, for people and for readers that know no Avro. The api and the command line show the same.

use serde_json::{Value, json};

use crate::Record;

impl Record {
    /// Topic, partition, offset, key, timestamp and the decoded event: `null` for a tombstone; what cannot be decoded has the
    /// reason as `error` beside it, because a reader must not stop at it. Phone numbers are whole only when they are asked for.
    pub fn to_json(&self, numbers: bool) -> Value {
        let key = String::from_utf8_lossy(&self.key);
        let mut object = json!({
            "topic": self.topic.name,
            "partition": self.partition,
            "offset": self.offset,
            "key": if numbers { key.into_owned() } else { schemas::mask_text(&key) },
            "timestamp_us": self.timestamp_us,
            "event": null,
        });
        match self.value.as_deref().map(schemas::to_json) {
            None => {}
            Some(Ok((_, mut event))) => {
                if !numbers {
                    schemas::mask(&mut event);
                }
                object["event"] = event;
            }
            Some(Err(error)) => object["error"] = Value::from(error.to_string()),
        }
        object
    }
}
