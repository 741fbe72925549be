//! Which country an E.164 number belongs to, and what kind of number it is as far as its first digits tell.
//!
//! Only the calling code and well-known ranges are looked at: two jumps per number, no tables to load. A kind that the first
//! digits do not tell is `unknown`, never a guess.

/// ISO 3166 alpha-2; `None` for codes that belong to no country (international networks, satellites) or are not in use.
#[must_use]
pub fn country(e164: &str) -> Option<&'static str> {
    let digits = e164.strip_prefix('+')?.as_bytes();
    match digits.first()? {
        b'1' => Some(north_america(number(digits.get(1..4)?)?)),
        // Kazakhstan has 6 and 7 behind the common code.
        b'7' => Some(if matches!(digits.get(1)?, b'6' | b'7') { "KZ" } else { "RU" }),
        _ => two(number(digits.get(..2)?)?).or_else(|| three(number(digits.get(..3)?)?)),
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u16::from(b - b'0')))
}

/// The area codes of the common code 1 that are not in the United States.
fn north_america(area: u16) -> &'static str {
    match area {
        204 | 226 | 236 | 249 | 250 | 257 | 263 | 289 | 306 | 343 | 354 | 365 | 367 | 368 | 382 | 403 | 416 | 418
        | 428 | 431 | 437 | 438 | 450 | 468 | 474 | 506 | 514 | 519 | 548 | 579 | 581 | 584 | 587 | 604 | 613 | 639
        | 647 | 672 | 683 | 705 | 709 | 742 | 753 | 778 | 780 | 782 | 807 | 819 | 825 | 867 | 873 | 879 | 902 | 905 => {
            "CA"
        }
        242 => "BS",
        246 => "BB",
        264 => "AI",
        268 => "AG",
        284 => "VG",
        340 => "VI",
        345 => "KY",
        441 => "BM",
        473 => "GD",
        649 => "TC",
        658 | 876 => "JM",
        664 => "MS",
        670 => "MP",
        671 => "GU",
        684 => "AS",
        721 => "SX",
        758 => "LC",
        767 => "DM",
        784 => "VC",
        787 | 939 => "PR",
        809 | 829 | 849 => "DO",
        868 => "TT",
        869 => "KN",
        _ => "US",
    }
}

fn two(code: u16) -> Option<&'static str> {
    Some(match code {
        20 => "EG",
        27 => "ZA",
        30 => "GR",
        31 => "NL",
        32 => "BE",
        33 => "FR",
        34 => "ES",
        36 => "HU",
        39 => "IT",
        40 => "RO",
        41 => "CH",
        43 => "AT",
        44 => "GB",
        45 => "DK",
        46 => "SE",
        47 => "NO",
        48 => "PL",
        49 => "DE",
        51 => "PE",
        52 => "MX",
        53 => "CU",
        54 => "AR",
        55 => "BR",
        56 => "CL",
        57 => "CO",
        58 => "VE",
        60 => "MY",
        61 => "AU",
        62 => "ID",
        63 => "PH",
        64 => "NZ",
        65 => "SG",
        66 => "TH",
        81 => "JP",
        82 => "KR",
        84 => "VN",
        86 => "CN",
        90 => "TR",
        91 => "IN",
        92 => "PK",
        93 => "AF",
        94 => "LK",
        95 => "MM",
        98 => "IR",
        _ => return None,
    })
}

fn three(code: u16) -> Option<&'static str> {
    Some(match code {
        211 => "SS",
        212 => "MA",
        213 => "DZ",
        216 => "TN",
        218 => "LY",
        220 => "GM",
        221 => "SN",
        222 => "MR",
        223 => "ML",
        224 => "GN",
        225 => "CI",
        226 => "BF",
        227 => "NE",
        228 => "TG",
        229 => "BJ",
        230 => "MU",
        231 => "LR",
        232 => "SL",
        233 => "GH",
        234 => "NG",
        235 => "TD",
        236 => "CF",
        237 => "CM",
        238 => "CV",
        239 => "ST",
        240 => "GQ",
        241 => "GA",
        242 => "CG",
        243 => "CD",
        244 => "AO",
        245 => "GW",
        246 => "IO",
        247 => "AC",
        248 => "SC",
        249 => "SD",
        250 => "RW",
        251 => "ET",
        252 => "SO",
        253 => "DJ",
        254 => "KE",
        255 => "TZ",
        256 => "UG",
        257 => "BI",
        258 => "MZ",
        260 => "ZM",
        261 => "MG",
        262 => "RE",
        263 => "ZW",
        264 => "NA",
        265 => "MW",
        266 => "LS",
        267 => "BW",
        268 => "SZ",
        269 => "KM",
        290 => "SH",
        291 => "ER",
        297 => "AW",
        298 => "FO",
        299 => "GL",
        350 => "GI",
        351 => "PT",
        352 => "LU",
        353 => "IE",
        354 => "IS",
        355 => "AL",
        356 => "MT",
        357 => "CY",
        358 => "FI",
        359 => "BG",
        370 => "LT",
        371 => "LV",
        372 => "EE",
        373 => "MD",
        374 => "AM",
        375 => "BY",
        376 => "AD",
        377 => "MC",
        378 => "SM",
        379 => "VA",
        380 => "UA",
        381 => "RS",
        382 => "ME",
        383 => "XK",
        385 => "HR",
        386 => "SI",
        387 => "BA",
        389 => "MK",
        420 => "CZ",
        421 => "SK",
        423 => "LI",
        500 => "FK",
        501 => "BZ",
        502 => "GT",
        503 => "SV",
        504 => "HN",
        505 => "NI",
        506 => "CR",
        507 => "PA",
        508 => "PM",
        509 => "HT",
        590 => "GP",
        591 => "BO",
        592 => "GY",
        593 => "EC",
        594 => "GF",
        595 => "PY",
        596 => "MQ",
        597 => "SR",
        598 => "UY",
        599 => "CW",
        670 => "TL",
        672 => "NF",
        673 => "BN",
        674 => "NR",
        675 => "PG",
        676 => "TO",
        677 => "SB",
        678 => "VU",
        679 => "FJ",
        680 => "PW",
        681 => "WF",
        682 => "CK",
        683 => "NU",
        685 => "WS",
        686 => "KI",
        687 => "NC",
        688 => "TV",
        689 => "PF",
        690 => "TK",
        691 => "FM",
        692 => "MH",
        850 => "KP",
        852 => "HK",
        853 => "MO",
        855 => "KH",
        856 => "LA",
        880 => "BD",
        886 => "TW",
        960 => "MV",
        961 => "LB",
        962 => "JO",
        963 => "SY",
        964 => "IQ",
        965 => "KW",
        966 => "SA",
        967 => "YE",
        968 => "OM",
        970 => "PS",
        971 => "AE",
        972 => "IL",
        973 => "BH",
        974 => "QA",
        975 => "BT",
        976 => "MN",
        977 => "NP",
        992 => "TJ",
        993 => "TM",
        994 => "AZ",
        995 => "GE",
        996 => "KG",
        998 => "UZ",
        _ => return None,
    })
}

/// Ranges whose kind is fixed by their first digits, longest first within a country. The common ones of large countries; the
/// whole world's would be a database.
const RANGES: &[(&str, &str)] = &[
    // International networks, shared services and satellites.
    ("800", "toll_free"),
    ("808", "shared_cost"),
    ("870", "satellite"),
    ("881", "satellite"),
    ("882", "network"),
    ("883", "network"),
    ("979", "premium"),
    // North America.
    ("1800", "toll_free"),
    ("1833", "toll_free"),
    ("1844", "toll_free"),
    ("1855", "toll_free"),
    ("1866", "toll_free"),
    ("1877", "toll_free"),
    ("1888", "toll_free"),
    ("1900", "premium"),
    // France.
    ("336", "mobile"),
    ("337", "mobile"),
    ("3380", "toll_free"),
    ("3389", "premium"),
    // Spain.
    ("346", "mobile"),
    ("347", "mobile"),
    ("34800", "toll_free"),
    ("34803", "premium"),
    ("34806", "premium"),
    ("34807", "premium"),
    // Italy.
    ("393", "mobile"),
    ("39800", "toll_free"),
    ("39899", "premium"),
    // Switzerland.
    ("4174", "mobile"),
    ("4175", "mobile"),
    ("4176", "mobile"),
    ("4177", "mobile"),
    ("4178", "mobile"),
    ("4179", "mobile"),
    ("41800", "toll_free"),
    ("41900", "premium"),
    ("41901", "premium"),
    ("41906", "premium"),
    // Austria.
    ("43650", "mobile"),
    ("4366", "mobile"),
    ("4367", "mobile"),
    ("4368", "mobile"),
    ("4369", "mobile"),
    ("43800", "toll_free"),
    ("43900", "premium"),
    ("43930", "premium"),
    // United Kingdom.
    ("4474", "mobile"),
    ("4475", "mobile"),
    ("4477", "mobile"),
    ("4478", "mobile"),
    ("4479", "mobile"),
    ("4470", "personal"),
    ("44800", "toll_free"),
    ("44808", "toll_free"),
    ("4484", "shared_cost"),
    ("4487", "shared_cost"),
    ("449", "premium"),
    ("441", "fixed"),
    ("442", "fixed"),
    // Germany.
    ("4915", "mobile"),
    ("4916", "mobile"),
    ("4917", "mobile"),
    ("49800", "toll_free"),
    ("49180", "shared_cost"),
    ("49137", "premium"),
    ("49900", "premium"),
    ("49700", "personal"),
    ("492", "fixed"),
    ("493", "fixed"),
    ("494", "fixed"),
    ("495", "fixed"),
    ("496", "fixed"),
    ("498", "fixed"),
];

/// `fixed`, `mobile`, `toll_free`, `premium` and so on; `unknown` when the first digits do not tell.
#[must_use]
pub fn kind(e164: &str) -> &'static str {
    let digits = e164.strip_prefix('+').unwrap_or(e164);
    let Some(start) = digits.as_bytes().first_chunk::<3>() else { return "unknown" };
    // Every range has three digits at least, and comparing three bytes settles almost all of them.
    let near = RANGES.iter().filter(|(range, _)| range.as_bytes().first_chunk() == Some(start));
    let fits = near.filter(|(range, _)| digits.starts_with(range));
    fits.max_by_key(|(range, _)| range.len()).map_or("unknown", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calling_code_names_the_country() {
        for (number, want) in [
            ("+4930123456", Some("DE")),
            ("+14155550123", Some("US")),
            ("+14165550123", Some("CA")),
            ("+18765550123", Some("JM")),
            ("+77012345678", Some("KZ")),
            ("+79161234567", Some("RU")),
            ("+3531234567", Some("IE")),
            ("+9981234567", Some("UZ")),
            ("+88312345678", None),
            ("+2101234567", None),
            ("4930123456", None),
            ("+4", None),
            ("", None),
        ] {
            assert_eq!(country(number), want, "{number}");
        }
    }

    #[test]
    fn the_longest_range_says_what_kind_it_is() {
        for (number, want) in [
            ("+491701234567", "mobile"),
            ("+4930123456", "fixed"),
            ("+498001234567", "toll_free"),
            ("+4989123456", "fixed"),
            ("+19005550123", "premium"),
            ("+14155550123", "unknown"),
            ("+447712345678", "mobile"),
            ("+88161234567", "satellite"),
        ] {
            assert_eq!(kind(number), want, "{number}");
        }
    }
}
