//! What must hold in an event beyond its schema, in words that name the field.

/// A field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    pub field: &'static str,
    pub why: String,
}

pub(crate) fn that(field: &'static str, holds: bool, why: impl FnOnce() -> String) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid { field, why: why() }) }
}

pub(crate) fn not_empty(field: &'static str, value: &str) -> Result<(), Invalid> {
    that(field, !value.is_empty(), || "is empty".to_owned())
}

pub(crate) fn known(field: &'static str, value: &str, allowed: &[&str]) -> Result<(), Invalid> {
    that(field, allowed.contains(&value), || format!("{value:?} is none of {}", allowed.join(", ")))
}

pub(crate) fn equals(field: &'static str, value: &str, wanted: &str) -> Result<(), Invalid> {
    that(field, value == wanted, || format!("{value:?} is not {wanted:?}"))
}

pub(crate) fn present<T>(field: &'static str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid { field, why: "is missing".to_owned() })
}

pub(crate) fn positive(field: &'static str, value: i64) -> Result<(), Invalid> {
    that(field, value > 0, || format!("{value} is not positive"))
}

pub(crate) fn share(field: &'static str, value: f64) -> Result<(), Invalid> {
    that(field, (0.0..=1.0).contains(&value), || format!("{value} is not between 0 and 1"))
}

pub(crate) fn sip_status(field: &'static str, value: u16) -> Result<(), Invalid> {
    that(field, (100..700).contains(&value), || format!("{value} is no SIP status code"))
}

/// 36 lower-case characters: keys are compared as bytes, so another spelling would be another call.
pub(crate) fn uuid(field: &'static str, value: &str) -> Result<(), Invalid> {
    let lower = !value.bytes().any(|b| b.is_ascii_uppercase());
    that(field, value.len() == 36 && lower && uuid::Uuid::try_parse(value).is_ok(), || {
        format!("{value:?} is no UUID of 36 lower-case characters")
    })
}

/// A JSON object, or nothing when nothing is to be said.
pub(crate) fn settings(field: &'static str, value: &str, removed: bool) -> Result<(), Invalid> {
    let object = || serde_json::from_str::<serde_json::Value>(value).is_ok_and(|value| value.is_object());
    that(field, if removed { value.is_empty() } else { object() }, || {
        "is a JSON object of something that is set, and empty of something that is removed".to_owned()
    })
}

pub(crate) fn author(field: &'static str, value: &str, named: &[&str]) -> Result<(), Invalid> {
    let edge = value.strip_prefix("edge/").is_some_and(|instance| !instance.is_empty());
    that(field, edge || named.contains(&value), || {
        format!("{value:?} is none of {}, edge/<instance>", named.join(", "))
    })
}
