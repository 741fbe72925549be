//! Paths into a TOML value: find, remove, replace, print; and which known name a wrong one resembles.

use std::fmt::Write;

use toml::Value;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seg {
    Key(String),
    Index(usize),
}

pub(super) fn show(path: &[Seg]) -> String {
    let mut out = String::new();
    for seg in path {
        match seg {
            Seg::Key(key) if out.is_empty() => out.push_str(key),
            Seg::Key(key) => {
                let _ = write!(out, ".{key}");
            }
            Seg::Index(index) => {
                let _ = write!(out, "[{index}]");
            }
        }
    }
    out
}

pub(super) fn get<'a>(root: &'a Value, path: &[Seg]) -> Option<&'a Value> {
    path.iter().try_fold(root, |at, seg| match seg {
        Seg::Key(key) => at.as_table()?.get(key),
        Seg::Index(index) => at.as_array()?.get(*index),
    })
}

pub(super) fn get_mut<'a>(root: &'a mut Value, path: &[Seg]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |at, seg| match seg {
        Seg::Key(key) => at.as_table_mut()?.get_mut(key),
        Seg::Index(index) => at.as_array_mut()?.get_mut(*index),
    })
}

pub(super) fn remove(root: &mut Value, path: &[Seg]) -> bool {
    let Some((last, parent)) = path.split_last() else { return false };
    match (get_mut(root, parent), last) {
        (Some(Value::Table(table)), Seg::Key(key)) => table.remove(key).is_some(),
        (Some(Value::Array(list)), Seg::Index(index)) if *index < list.len() => {
            list.remove(*index);
            true
        }
        _ => false,
    }
}

/// The known name that was probably meant: at most a third of the letters differ.
pub(super) fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let limit = (wrong.len() / 3).clamp(1, 4);
    known.iter().map(|name| (distance(wrong, name), *name)).filter(|(d, _)| *d <= limit).min().map(|(_, name)| name)
}

/// Letters to insert, delete, change or swap with their neighbour. Swaps are the commonest typing error.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_or_missing_letter_finds_the_known_name_and_nonsense_does_not() {
        let known = ["data_dir", "run_dir", "bind", "token_file"];
        assert_eq!(nearest("data_dri", &known), Some("data_dir"));
        assert_eq!(nearest("tokenfile", &known), Some("token_file"));
        assert_eq!(nearest("bnd", &known), Some("bind"));
        assert_eq!(nearest("bidn", &known), Some("bind"));
        assert_eq!(nearest("colour", &known), None);
    }
}
