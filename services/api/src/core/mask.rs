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

/// Characters of a prefix, the plus included, that still cover thousands of numbers.
const PUBLIC_PREFIX: usize = 8;

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
        for number in [&mut scope.caller, &mut scope.callee].into_iter().flatten() {
            *number = self.text(number);
        }
        // A short prefix is a country or an operator, not a person.
        for prefix in [&mut scope.caller_prefix, &mut scope.callee_prefix].into_iter().flatten() {
            if prefix.chars().count() > PUBLIC_PREFIX {
                *prefix = self.text(prefix);
            }
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
    fn a_prefix_is_masked_once_it_comes_close_to_a_number() {
        let scope = BlockScope {
            callee_prefix: Some("+8823200".into()),
            caller_prefix: Some("+44207946001".into()),
            ..BlockScope::default()
        };
        let shown = Numbers::Masked.scope(&scope);
        assert_eq!(shown.callee_prefix.as_deref(), Some("+8823200"));
        assert_eq!(shown.caller_prefix.as_deref(), Some("+44•••••••01"));
    }

    #[test]
    fn only_the_number_in_a_subject_is_masked() {
        assert_eq!(Numbers::Masked.subject("trunk/carrier-77001"), "trunk/carrier-77001");
        assert_eq!(Numbers::Masked.subject("trunk/a/callee/+442079460018"), "trunk/a/callee/+44••••••••18");
        assert_eq!(Numbers::Full.subject("trunk/a/callee/+442079460018"), "trunk/a/callee/+442079460018");
    }
}
