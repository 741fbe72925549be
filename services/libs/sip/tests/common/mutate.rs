//! The mutators of the torture tests: each gives every variant of a message that it can make, in a fixed order.

type Mutants = Vec<Vec<u8>>;

const PAIRS: [(&str, &str); 12] = [
    ("via", "v"),
    ("from", "f"),
    ("to", "t"),
    ("call-id", "i"),
    ("content-length", "l"),
    ("content-type", "c"),
    ("contact", "m"),
    ("supported", "k"),
    ("subject", "s"),
    ("refer-to", "r"),
    ("event", "o"),
    ("session-expires", "x"),
];

/// Every variant that one mutator makes of a message.
pub type Mutator = fn(&[u8]) -> Mutants;

/// Every mutator by name.
pub const ALL: [(&str, Mutator); 9] = [
    ("white space inserted", |m| insert_at(m, b" ", |_| true)),
    ("NUL inserted", |m| insert_at(m, b"\0", |_| true)),
    ("backslash inserted", |m| insert_at(m, b"\\", |_| true)),
    ("case permuted", permuted_case),
    ("short and long names swapped", swapped_names),
    ("numbers as words", |m| replaced_runs(m, u8::is_ascii_digit, b"five")),
    ("headers doubled", doubled_headers),
    ("parameters replaced", replaced_parameters),
    ("letters URL-encoded", url_encoded),
];

/// Where the head ends; the body stays as it is.
fn head_end(m: &[u8]) -> usize {
    m.windows(4).position(|w| w == b"\r\n\r\n").map_or(m.len(), |at| at + 2)
}

fn spliced(m: &[u8], from: usize, to: usize, with: &[u8]) -> Vec<u8> {
    [&m[..from], with, &m[to..]].concat()
}

/// Long messages are sampled, so that a case costs hundreds of variants and not thousands.
fn step(length: usize) -> usize {
    length / 700 + 1
}

fn insert_at(m: &[u8], what: &[u8], is_place: fn(u8) -> bool) -> Mutants {
    let end = head_end(m);
    (0..end).step_by(step(end)).filter(|&at| is_place(m[at])).map(|at| spliced(m, at, at, what)).collect()
}

fn lines(m: &[u8]) -> Vec<(usize, usize)> {
    let (mut found, mut from, end) = (Vec::new(), 0, head_end(m));
    while let Some(at) = m[from..end].windows(2).position(|w| w == b"\r\n") {
        found.push((from, from + at + 2));
        from += at + 2;
    }
    found
}

fn permuted_case(m: &[u8]) -> Mutants {
    let swap = |b: &u8| if b.is_ascii_lowercase() { b.to_ascii_uppercase() } else { b.to_ascii_lowercase() };
    lines(m)
        .into_iter()
        .flat_map(|(from, to)| {
            let colon = m[from..to].iter().position(|&b| b == b':').map_or(to, |at| from + at);
            let whole: Vec<u8> = m[from..to].iter().map(swap).collect();
            let name: Vec<u8> = m[from..colon].iter().map(swap).collect();
            [spliced(m, from, to, &whole), spliced(m, from, colon, &name)]
        })
        .collect()
}

fn swapped_names(m: &[u8]) -> Mutants {
    let swap = |(from, to): (usize, usize)| {
        let colon = from + m[from..to].iter().position(|&b| b == b':')?;
        let label = String::from_utf8_lossy(&m[from..colon]).trim().to_ascii_lowercase();
        let (long, short) = PAIRS.iter().find(|(long, short)| label == *long || label == *short)?;
        let other = if label == *long { short } else { long };
        Some(spliced(m, from, colon, other.as_bytes()))
    };
    lines(m).into_iter().filter_map(swap).collect()
}

fn replaced_runs(m: &[u8], is_part: fn(&u8) -> bool, with: &[u8]) -> Mutants {
    let (mut found, mut at, end) = (Vec::new(), 0, head_end(m));
    while at < end {
        let run = m[at..end].iter().take_while(|b| is_part(b)).count();
        if run > 0 {
            found.push(spliced(m, at, at + run, with));
        }
        at += run + 1;
    }
    found
}

fn doubled_headers(m: &[u8]) -> Mutants {
    lines(m).into_iter().skip(1).map(|(from, to)| spliced(m, to, to, &m[from..to])).collect()
}

fn replaced_parameters(m: &[u8]) -> Mutants {
    let end = head_end(m);
    let is_end = |b: &u8| matches!(b, b';' | b',' | b'\r' | b' ' | b'>');
    let places = (0..end).filter(|&at| m[at] == b'=' || m[at] == b';');
    places
        .flat_map(|at| {
            let to = at + 1 + m[at + 1..end].iter().position(is_end).unwrap_or_default();
            [&b"x"[..], b"", b"\"q;tag=1\"", b"1;tag=other", b"branch=z9hG4bK"].map(|with| spliced(m, at + 1, to, with))
        })
        .collect()
}

fn url_encoded(m: &[u8]) -> Mutants {
    let end = head_end(m);
    let places = (0..end).step_by(step(end)).filter(|&at| m[at].is_ascii_alphanumeric());
    places.map(|at| spliced(m, at, at + 1, format!("%{:02X}", m[at]).as_bytes())).collect()
}
