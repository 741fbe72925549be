//! Phone numbers: the form that is compared and the form that may be shown in a log.

/// E.164 with a plus sign, when the digits alone can tell. The raw text stays with the caller of this function: stripping
/// a plus or a prefix destroys information.
///
/// Understood: `+` and 7–15 digits, `00` or `011` and 7–15 digits; visual separators are skipped. A national number has no
/// country in it and gives `None`; a trunk's own rule must name the country.
#[must_use]
pub fn normalize_number(raw: &str) -> Option<String> {
    let raw = raw.trim().strip_prefix("tel:").unwrap_or(raw.trim());
    let mut digits = String::with_capacity(raw.len());
    let mut plus = false;
    for (at, c) in raw.chars().enumerate() {
        match c {
            '+' if at == 0 => plus = true,
            '0'..='9' => digits.push(c),
            ' ' | '-' | '.' | '(' | ')' => {}
            _ => return None,
        }
    }
    let national = if plus {
        digits.as_str()
    } else if let Some(rest) = digits.strip_prefix("011") {
        rest
    } else {
        digits.strip_prefix("00")?
    };
    let valid = (7..=15).contains(&national.len()) && !national.starts_with('0');
    valid.then(|| format!("+{national}"))
}

/// A number as a log may show it: at most three leading characters and the last two.
#[must_use]
pub fn mask_number(number: &str) -> String {
    let chars: Vec<char> = number.chars().filter(|c| !c.is_control()).collect();
    if chars.len() < 7 {
        return "•".repeat(chars.len());
    }
    let head: String = chars[..3].iter().collect();
    let tail: String = chars[chars.len() - 2..].iter().collect();
    format!("{head}{}{tail}", "•".repeat(chars.len() - 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_carry_their_country_are_normalised() {
        let table = [
            ("+44 20 7946 0018", Some("+442079460018")),
            ("0044-20-7946-0018", Some("+442079460018")),
            ("011442079460018", Some("+442079460018")),
            ("tel:+15551234567", Some("+15551234567")),
            ("02079460018", None),
            ("+0123456789", None),
            ("+44207946001812345", None),
            ("alice", None),
            ("+44;drop table", None),
            ("", None),
        ];
        for (raw, want) in table {
            assert_eq!(normalize_number(raw).as_deref(), want, "{raw}");
        }
    }

    #[test]
    fn a_masked_number_never_shows_more_than_five_characters() {
        assert_eq!(mask_number("+442079460018"), "+44••••••••18");
        assert_eq!(mask_number("911"), "•••");
        assert_eq!(mask_number("12345\r\n67"), "123••67");
    }
}
