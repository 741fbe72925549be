//! Writes the number ranges that the edge knows: premium and satellite numbers, and what is dialled for help in each country.
//!
//! The source is the metadata that the crate `phonenumber` carries (Google's libphonenumber). There, a range is a regular
//! expression over national numbers; here it becomes the shortest prefixes that hold nothing else, so that the edge needs no
//! expressions. A range finer than [`DEEPEST`] digits is cut there: then the prefix holds neighbours too, and denies them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

/// Digits of a national number.
const DEEPEST: usize = 7;
/// Codes that belong to satellite operators, ships, aircraft and networks of no country, as a whole.
const SATELLITE: [&str; 4] = ["870", "881", "882", "883"];

fn main() -> Result<(), Box<dyn Error>> {
    let (folder, version) = metadata()?;
    let numbers = std::fs::read_to_string(folder.join("PhoneNumberMetadata.xml"))?;
    let short = std::fs::read_to_string(folder.join("ShortNumberMetadata.xml"))?;

    let mut premium = BTreeSet::new();
    for territory in blocks(&numbers, "territory") {
        let Some(code) = attribute(territory, "countryCode") else { continue };
        let Some(range) = blocks(territory, "premiumRate").next().and_then(Range::of) else { continue };
        premium.extend(range.prefixes()?.into_iter().map(|prefix| format!("{code}{prefix}")));
    }
    let mut emergency: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for territory in blocks(&short, "territory") {
        let Some(id) = attribute(territory, "id") else { continue };
        let Some(range) = blocks(territory, "emergency").next().and_then(Range::of) else { continue };
        emergency.insert(id, range.all()?);
    }

    println!(
        "# Made by services/edge/ranges from the metadata of phonenumber {version}. Do not edit: write a file of your own and"
    );
    println!(
        "# name it in `dial.ranges`. A line is `premium` or `satellite` and the beginning of a number without its plus sign, or"
    );
    println!("# `emergency`, a country (ISO 3166) and the numbers that are dialled for help there.");
    SATELLITE.iter().for_each(|code| println!("satellite {code}"));
    // A prefix whose beginning is in the list says nothing new.
    let begins = |prefix: &str| (1..prefix.len()).any(|n| premium.contains(&prefix[..n]));
    premium.iter().filter(|p| !begins(p)).for_each(|prefix| println!("premium {prefix}"));
    emergency.iter().for_each(|(country, numbers)| println!("emergency {country} {}", numbers.join(" ")));
    Ok(())
}

/// The folder of the crate's metadata, and its version.
fn metadata() -> Result<(PathBuf, String), Box<dyn Error>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let out = Command::new(cargo).args(["metadata", "--format-version", "1", "--manifest-path", manifest]).output()?;
    let text = String::from_utf8(out.stdout)?;
    let path = text
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.contains("/phonenumber-"))
        .ok_or("cargo metadata names no phonenumber")?;
    let folder = PathBuf::from(path).parent().ok_or("a manifest is in a folder")?.to_owned();
    let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
    Ok((folder.join("assets"), name.trim_start_matches("phonenumber-").to_owned()))
}

/// The elements of that name, each with its tag.
fn blocks<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(&open)?;
            let after = rest.as_bytes().get(start + open.len());
            if !matches!(after, Some(b' ' | b'>' | b'\n')) {
                rest = &rest[start + open.len()..];
                continue;
            }
            let end = start + rest[start..].find(&close)?;
            let block = &rest[start..end];
            rest = &rest[end + close.len()..];
            return Some(block);
        }
    })
}

fn attribute<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    let tag = block.split('>').next()?;
    tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()
}

/// A pattern and the lengths that its numbers have.
struct Range {
    pattern: String,
    lengths: Vec<usize>,
}

impl Range {
    fn of(block: &str) -> Option<Range> {
        let text = blocks(block, "nationalNumberPattern").next()?;
        let pattern: String = text.split_once('>')?.1.split_whitespace().collect();
        let lengths = block.split("national=\"").nth(1)?.split('"').next()?;
        (pattern != "NA").then(|| Range { pattern, lengths: lengths.split(',').flat_map(numbers).collect() })
    }

    fn automaton(&self) -> Result<Digits, Box<dyn Error>> {
        let plain = syntax::Config::new().unicode(false).utf8(false);
        let dfa = dense::Builder::new().syntax(plain).build(&format!("^(?:{})$", self.pattern))?;
        Ok(Digits { dfa, seen: HashMap::new() })
    }

    fn prefixes(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let mut digits = self.automaton()?;
        let (start, mut out) = (digits.start()?, Vec::new());
        digits.cut(start, String::new(), &self.lengths, &mut out);
        Ok(out)
    }

    /// Every number; only for short ones.
    fn all(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let mut digits = self.automaton()?;
        let mut open = vec![(digits.start()?, String::new())];
        let (mut out, longest) = (Vec::new(), self.lengths.iter().copied().max().unwrap_or(0));
        while let Some((state, text)) = open.pop() {
            if self.lengths.contains(&text.len()) && digits.rest(state, 0).1 {
                out.push(text.clone());
            }
            if text.len() < longest {
                open.extend((b'0'..=b'9').map(|d| (digits.dfa.next_state(state, d), format!("{text}{}", d as char))));
            }
        }
        out.sort();
        Ok(out)
    }
}

/// `9`, `[7-9]`
fn numbers(text: &str) -> Vec<usize> {
    let text = text.trim().trim_matches(['[', ']']);
    match text.split_once('-') {
        Some((from, to)) => (from.parse().unwrap_or(1)..=to.parse().unwrap_or(0)).collect(),
        None => text.parse().into_iter().collect(),
    }
}

struct Digits {
    dfa: dense::DFA<Vec<u32>>,
    /// By state and digits that are left: does any end fit, do all.
    seen: HashMap<(StateID, usize), (bool, bool)>,
}

impl Digits {
    fn start(&self) -> Result<StateID, Box<dyn Error>> {
        Ok(self.dfa.start_state_forward(&Input::new("").anchored(Anchored::Yes))?)
    }

    fn rest(&mut self, state: StateID, left: usize) -> (bool, bool) {
        if left == 0 {
            let fits = self.dfa.is_match_state(self.dfa.next_eoi_state(state));
            return (fits, fits);
        }
        if self.dfa.is_dead_state(state) {
            return (false, false);
        }
        if let Some(&known) = self.seen.get(&(state, left)) {
            return known;
        }
        let mut found = (false, true);
        for digit in b'0'..=b'9' {
            let (any, all) = self.rest(self.dfa.next_state(state, digit), left - 1);
            found = (found.0 | any, found.1 & all);
        }
        self.seen.insert((state, left), found);
        found
    }

    /// The shortest prefixes behind which every number of a length that occurs at all is in the range.
    fn cut(&mut self, state: StateID, prefix: String, lengths: &[usize], out: &mut Vec<String>) {
        let ends: Vec<(bool, bool)> = lengths
            .iter()
            .filter(|&&length| length >= prefix.len())
            .map(|length| self.rest(state, length - prefix.len()))
            .collect();
        if !ends.iter().any(|(any, _)| *any) {
            return;
        }
        if ends.iter().all(|(any, all)| !any || *all) && !prefix.is_empty() || prefix.len() >= DEEPEST {
            return out.push(prefix);
        }
        for digit in b'0'..=b'9' {
            self.cut(self.dfa.next_state(state, digit), format!("{prefix}{}", digit as char), lengths, out);
        }
    }
}
