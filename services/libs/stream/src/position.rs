//! Where somebody who reads one topic by hand begins: a word, or offsets that an earlier answer gave.
//!
//! Text form: `beginning`, `end`, or `partition:offset` pairs with commas between (`0:12,2:7`). A partition that is not
//! named begins at its beginning, so that a reader never misses one that it did not know.

use std::{fmt::Write as _, str::FromStr};

use crate::Bounds;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Position {
    #[default]
    Beginning,
    End,
    /// (partition, next offset).
    At(Vec<(i32, i64)>),
}

/// What cannot be read, or cannot be begun at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    #[error("beginning, end, or partition:offset pairs as in 0:12,2:7")]
    Form,
    #[error("the topic has no partition {partition}; it has 0 to {last}")]
    NoPartition { partition: i32, last: usize },
    /// The log is another one, or was made anew: going on silently would miss what stands in it.
    #[error("partition {partition} ends at {end}, so offset {offset} was never given: begin again at beginning or end")]
    Beyond { partition: i32, offset: i64, end: i64 },
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            pairs => pairs.split(',').map(pair).collect::<Result<_, _>>().map(Self::At),
        }
    }
}

fn pair(text: &str) -> Result<(i32, i64), PositionError> {
    let (partition, offset) = text.trim().split_once(':').ok_or(PositionError::Form)?;
    let partition = partition.parse().ok().filter(|p: &i32| *p >= 0).ok_or(PositionError::Form)?;
    let offset = offset.parse().ok().filter(|o: &i64| *o >= 0).ok_or(PositionError::Form)?;
    Ok((partition, offset))
}

impl Position {
    /// The next offset of every partition.
    pub fn offsets(&self, bounds: &[Bounds]) -> Result<Vec<i64>, PositionError> {
        let mut offsets: Vec<i64> = match self {
            Self::Beginning | Self::At(_) => bounds.iter().map(|b| b.begin).collect(),
            Self::End => bounds.iter().map(|b| b.end).collect(),
        };
        let Self::At(pairs) = self else { return Ok(offsets) };
        for &(partition, offset) in pairs {
            let index = usize::try_from(partition).ok().filter(|index| *index < bounds.len());
            let last = bounds.len().saturating_sub(1);
            let index = index.ok_or(PositionError::NoPartition { partition, last })?;
            let end = bounds[index].end;
            if offset > end {
                return Err(PositionError::Beyond { partition, offset, end });
            }
            offsets[index] = offset;
        }
        Ok(offsets)
    }

    /// The text that goes on at these offsets.
    pub fn text(offsets: &[i64]) -> String {
        let mut text = String::new();
        for (partition, offset) in offsets.iter().enumerate() {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{partition}:{offset}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Bounds; 3] =
        [Bounds { begin: 0, end: 10 }, Bounds { begin: 5, end: 7 }, Bounds { begin: 0, end: 0 }];

    #[test]
    fn what_was_printed_is_read_back() {
        let read: Position = Position::text(&[3, 6, 0]).parse().expect("our own text");
        assert_eq!(read.offsets(&BOUNDS), Ok(vec![3, 6, 0]));
    }

    #[test]
    fn a_partition_that_is_not_named_is_read_from_its_beginning() {
        assert_eq!("0:4".parse::<Position>().expect("a pair").offsets(&BOUNDS), Ok(vec![4, 5, 0]));
        assert_eq!(Position::End.offsets(&BOUNDS), Ok(vec![10, 7, 0]));
    }

    #[test]
    fn an_offset_that_was_never_given_is_refused_instead_of_missing_records() {
        let beyond = PositionError::Beyond { partition: 1, offset: 8, end: 7 };
        assert_eq!(Position::At(vec![(1, 8)]).offsets(&BOUNDS), Err(beyond));
        let unknown = PositionError::NoPartition { partition: 3, last: 2 };
        assert_eq!(Position::At(vec![(3, 0)]).offsets(&BOUNDS), Err(unknown));
        for wrong in ["", "7", "start", "0:-1", "-1:0", "0:1,", "0:x"] {
            assert_eq!(wrong.parse::<Position>(), Err(PositionError::Form), "{wrong:?}");
        }
    }
}
