//! Events with their phone numbers masked, whatever the topic.
//!
//! A field that holds a number by its name is masked whole, however it is written. In every other text each word that looks
//! like a number is masked, because numbers travel in URIs, headers, reasons and keys too. Only ids and addresses are left
//! as they are, and raw bytes are left out: nobody can tell what is in them.

use serde_json::Value;

/// Fields that hold the number or the name of a person, or what was dialled.
const NUMBERS: &[&str] = &[
    "ani",
    "callee",
    "callee_dialled",
    "callee_e164",
    "callee_id_name",
    "callee_id_number",
    "callee_raw",
    "callee_sent",
    "callee_translated",
    "caller",
    "caller_asserted",
    "caller_display",
    "caller_e164",
    "caller_id_name",
    "caller_id_number",
    "caller_raw",
    "caller_sent",
    "destination_number",
    "did",
    "from_display",
    "from_user",
    "rdnis",
    "request_user",
    "to_user",
    "username",
];

/// Raw bytes of another record.
const BYTES: &[&str] = &["key", "value"];

/// Digits that make a word a number: shorter ones are extensions and codes, longer ones are times.
const DIGITS: std::ops::RangeInclusive<usize> = 6..=15;

/// Masks every number in an event as [`crate::to_json`] gives it.
pub fn mask(event: &mut Value) {
    field("", event, is_dead_letter(event));
}

fn is_dead_letter(event: &Value) -> bool {
    event.get("source_topic").is_some()
}

fn field(name: &str, value: &mut Value, raw: bool) {
    match value {
        Value::String(text) if raw && BYTES.contains(&name) => *text = String::new(),
        Value::String(text) if NUMBERS.contains(&name) => *text = domain::mask_number(text),
        Value::String(text) if !is_id(name) => *text = mask_text(text),
        Value::Array(items) => items.iter_mut().for_each(|item| field(name, item, raw)),
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| field(name, value, raw)),
        _ => {}
    }
}

/// Names of ids, tags and addresses, and of the text of a schema. `presence_id` is `number@domain`, in spite of its name.
fn is_id(name: &str) -> bool {
    const ENDS: [&str; 8] = ["_id", "_uuid", "_tag", "_ip", "_hash", "_digest", "branch", "version"];
    const WHOLE: [&str; 7] = ["schema", "leg", "legs", "ipv4", "hostname", "address", "digest"];
    name != "presence_id" && (WHOLE.contains(&name) || ENDS.iter().any(|end| name.ends_with(end)))
}

/// A text with every word masked that looks like a phone number.
#[must_use]
pub fn mask_text(text: &str) -> String {
    if is_uuid(text) || text.bytes().filter(u8::is_ascii_digit).count() < *DIGITS.start() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        out.push_str(&rest[..begin]);
        let word = &rest[begin..];
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(word.len());
        let (word, behind) = word.split_at(end);
        // A plus sign in a URI may be written %2B.
        let escaped = out.ends_with('%') && word.get(..2).is_some_and(|hex| hex.eq_ignore_ascii_case("2b"));
        let (before, number) = word.split_at(if escaped { 2 } else { 0 });
        out.push_str(before);
        if is_number(number) {
            out.push_str(&domain::mask_number(number))
        } else {
            out.push_str(number)
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn is_number(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    DIGITS.contains(&digits) && word.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

fn is_uuid(text: &str) -> bool {
    text.rsplit('/').next().is_some_and(|last| uuid::Uuid::try_parse(last).is_ok()) && !text.contains(['+', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_masked_wherever_they_stand_in_a_text() {
        for (text, shown) in [
            ("sip:+14155550123@198.51.100.7:5060", "sip:+141••••••23@198.51.100.7:5060"),
            ("<tel:442079460018>;tag=7", "<tel:442•••••••18>;tag=7"),
            ("sip:%2B442079460018@edge", "sip:%2B442•••••••18@edge"),
            ("trunk/carrier-77001/callee/+442079460018", "trunk/carrier-77001/callee/+442•••••••18"),
            ("called 020-7946-0018 twice", "called 020••••••••18 twice"),
            ("operator/01a1fbd8-8099-7af2-b92a-948f950e3f93", "operator/01a1fbd8-8099-7af2-b92a-948f950e3f93"),
            ("01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000001"),
            (
                "edge/fra1-a/1795226400000000/sip.transactions/7/1000",
                "edge/fra1-a/1795226400000000/sip.transactions/7/1000",
            ),
        ] {
            assert_eq!(mask_text(text), shown);
        }
    }

    #[test]
    fn the_bytes_of_a_dead_letter_are_left_out() {
        let mut event =
            serde_json::json!({ "source_topic": "cdr.calls", "value": "AAAA", "headers": [{ "value": "AA" }] });
        mask(&mut event);
        assert_eq!(
            event,
            serde_json::json!({ "source_topic": "cdr.calls", "value": "", "headers": [{ "value": "" }] })
        );
    }
}
