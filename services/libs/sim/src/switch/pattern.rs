//! The small part of regular expressions that menus use for digits: `[1-3]`, `\d+`, `^1$`, `0|[2-9]\d{3}`, groups.
//!
//! A backtracking matcher over single digits is enough; the subject is what a caller can key, at most a few dozen characters. As in
//! FreeSWITCH a pattern without anchors may match anywhere.

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Any,
    Set { negated: bool, ranges: Vec<(char, char)> },
    Start,
    End,
    Group(Vec<Vec<Node>>),
    Repeat { node: Box<Node>, min: u32, max: u32 },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    alternatives: Vec<Vec<Node>>,
}

impl Pattern {
    /// Nothing when the text is not a pattern that we understand.
    pub fn parse(text: &str) -> Option<Self> {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let alternatives = alternatives(&chars, &mut at)?;
        (at == chars.len()).then_some(Self { alternatives })
    }

    pub fn is_match(&self, text: &str) -> bool {
        let subject: Vec<char> = text.chars().collect();
        (0..=subject.len()).any(|from| {
            self.alternatives.iter().any(|nodes| {
                let refs: Vec<&Node> = nodes.iter().collect();
                step(&refs, &subject, from)
            })
        })
    }
}

fn alternatives(chars: &[char], at: &mut usize) -> Option<Vec<Vec<Node>>> {
    let mut all = vec![Vec::new()];
    while let Some(c) = chars.get(*at) {
        match c {
            ')' => break,
            '|' => {
                *at += 1;
                all.push(Vec::new());
            }
            _ => {
                let node = repeated(chars, at)?;
                all.last_mut()?.push(node);
            }
        }
    }
    Some(all)
}

fn repeated(chars: &[char], at: &mut usize) -> Option<Node> {
    let node = single(chars, at)?;
    let (min, max) = match chars.get(*at) {
        Some('*') => (0, u32::MAX),
        Some('+') => (1, u32::MAX),
        Some('?') => (0, 1),
        Some('{') => {
            let close = chars[*at..].iter().position(|c| *c == '}')? + *at;
            let inner: String = chars[*at + 1..close].iter().collect();
            *at = close;
            match inner.split_once(',') {
                Some((low, "")) => (low.parse().ok()?, u32::MAX),
                Some((low, high)) => (low.parse().ok()?, high.parse().ok()?),
                None => (inner.parse().ok()?, inner.parse().ok()?),
            }
        }
        _ => return Some(node),
    };
    *at += 1;
    Some(Node::Repeat { node: Box::new(node), min, max })
}

fn single(chars: &[char], at: &mut usize) -> Option<Node> {
    let c = *chars.get(*at)?;
    *at += 1;
    Some(match c {
        '.' => Node::Any,
        '^' => Node::Start,
        '$' => Node::End,
        '(' => {
            if chars.get(*at..*at + 2) == Some(&['?', ':']) {
                *at += 2;
            }
            let inner = alternatives(chars, at)?;
            if chars.get(*at) != Some(&')') {
                return None;
            }
            *at += 1;
            Node::Group(inner)
        }
        '[' => set(chars, at)?,
        '\\' => {
            let escaped = *chars.get(*at)?;
            *at += 1;
            match escaped {
                'd' => Node::Set { negated: false, ranges: vec![('0', '9')] },
                'D' => Node::Set { negated: true, ranges: vec![('0', '9')] },
                other => Node::Set { negated: false, ranges: vec![(other, other)] },
            }
        }
        '*' | '+' | '?' | '{' => return None,
        other => Node::Set { negated: false, ranges: vec![(other, other)] },
    })
}

fn set(chars: &[char], at: &mut usize) -> Option<Node> {
    let negated = chars.get(*at) == Some(&'^');
    if negated {
        *at += 1;
    }
    let mut ranges = Vec::new();
    loop {
        let c = *chars.get(*at)?;
        *at += 1;
        match c {
            ']' if !ranges.is_empty() => return Some(Node::Set { negated, ranges }),
            '\\' => {
                let escaped = *chars.get(*at)?;
                *at += 1;
                ranges.push(if escaped == 'd' { ('0', '9') } else { (escaped, escaped) });
            }
            low if chars.get(*at) == Some(&'-') && chars.get(*at + 1).is_some_and(|c| *c != ']') => {
                ranges.push((low, chars[*at + 1]));
                *at += 2;
            }
            one => ranges.push((one, one)),
        }
    }
}

/// Whether `nodes` match `subject` from `at`, whatever follows.
fn step(nodes: &[&Node], subject: &[char], at: usize) -> bool {
    let Some((first, rest)) = nodes.split_first() else { return true };
    match first {
        Node::Any => at < subject.len() && step(rest, subject, at + 1),
        Node::Set { negated, ranges } => {
            let Some(c) = subject.get(at) else { return false };
            let inside = ranges.iter().any(|(low, high)| (low..=high).contains(&c));
            inside != *negated && step(rest, subject, at + 1)
        }
        Node::Start => at == 0 && step(rest, subject, at),
        Node::End => at == subject.len() && step(rest, subject, at),
        Node::Group(all) => all.iter().any(|inner| {
            let joined: Vec<&Node> = inner.iter().chain(rest.iter().copied()).collect();
            step(&joined, subject, at)
        }),
        Node::Repeat { node, min, max } => {
            // A node that can be repeated consumes at least one character or is tried once: bounded by the subject's length.
            let most = (*max as usize).min(subject.len() - at.min(subject.len())).max(*min as usize);
            (*min as usize..=most).rev().any(|times| {
                let joined: Vec<&Node> =
                    std::iter::repeat_n(node.as_ref(), times).chain(rest.iter().copied()).collect();
                step(&joined, subject, at)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn menu_patterns_match_what_they_say() {
        for (pattern, yes, no) in [
            ("[1-3]", "2", "9"),
            (r"\d+", "12345", "*"),
            ("^[01]$", "1", "10"),
            ("^(0|[2-9]\\d{3})$", "2345", "1234"),
            ("^1{2,3}$", "111", "1111"),
            ("^[^*#]+$", "19", "1*"),
            ("^1?2*$", "222", "3"),
            (r"^\*9$", "*9", "9"),
        ] {
            let compiled = Pattern::parse(pattern).unwrap();
            assert!(compiled.is_match(yes), "{pattern} {yes}");
            assert!(!compiled.is_match(no), "{pattern} {no}");
        }
        assert_eq!(Pattern::parse("[1-"), None);
        assert_eq!(Pattern::parse("(1"), None);
        assert_eq!(Pattern::parse("+1"), None);
    }
}
