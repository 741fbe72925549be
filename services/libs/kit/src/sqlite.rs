//! What the codes of SQLite say, for every store that is a file. Kit opens none itself.

/// Whether a result code, as text, says that the file is damaged or none of SQLite's. It stays so, and whoever has it open sees no
/// other.
#[must_use]
pub fn is_damaged(code: &str) -> bool {
    const CORRUPT: u32 = 11;
    const NOT_A_DATABASE: u32 = 26;
    // The low byte is the kind, the rest tells which of its cases.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, CORRUPT | NOT_A_DATABASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_from_what_passes() {
        // Malformed, a malformed index, not a database; busy, full, an I/O error, and no code at all.
        assert!(["11", "779", "26"].into_iter().all(is_damaged));
        assert!(!["5", "13", "266", ""].into_iter().any(is_damaged));
    }
}
