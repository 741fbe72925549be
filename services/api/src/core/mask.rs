//! Phone numbers are masked unless the request asks for them.

use schemas::BlockScope;
use serde_json::{Map, Value};

/// How numbers are shown in one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    Masked,
    Full,
}

/// Columns of the call log that hold the number of a person, or what was dialled.
const NUMBER_COLUMNS: [&str; 10] = [
    "caller_raw",
    "caller_e164",
    "caller_display",
    "caller_asserted",
    "callee_raw",
    "callee_e164",
    "did",
    "contact",
    "dialled",
    "callee_final",
];

impl Numbers {
    #[must_use]
    pub fn text(self, number: &str) -> String {
        match self {
            Numbers::Masked => domain::mask_number(number),
            Numbers::Full => number.to_owned(),
        }
    }

    pub fn row(self, row: &mut Map<String, Value>) {
        if self == Numbers::Full {
            return;
        }
        for column in NUMBER_COLUMNS {
            if let Some(Value::String(number)) = row.get_mut(column) {
                *number = domain::mask_number(number);
            }
        }
    }

    #[must_use]
    pub fn scope(self, scope: &BlockScope) -> BlockScope {
        let mut scope = scope.clone();
        let numbers = [&mut scope.caller, &mut scope.caller_prefix, &mut scope.callee, &mut scope.callee_prefix];
        for number in numbers.into_iter().flatten() {
            *number = self.text(number);
        }
        scope
    }

    /// The subject of an alert: `trunk/<id>`, or `trunk/<id>/<kind>/<value>` where the value may be a number.
    #[must_use]
    pub fn subject(self, subject: &str) -> String {
        let Some((before, value)) = subject.rsplit_once('/') else { return subject.to_owned() };
        let digits = value.bytes().filter(u8::is_ascii_digit).count();
        let is_number = before.matches('/').count() >= 2 && digits >= 5;
        if is_number { format!("{before}/{}", self.text(value)) } else { subject.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_number_in_a_subject_is_masked() {
        assert_eq!(Numbers::Masked.subject("trunk/carrier-77001"), "trunk/carrier-77001");
        assert_eq!(Numbers::Masked.subject("trunk/a/callee/+442079460018"), "trunk/a/callee/+44••••••••18");
        assert_eq!(Numbers::Full.subject("trunk/a/callee/+442079460018"), "trunk/a/callee/+442079460018");
    }
}
