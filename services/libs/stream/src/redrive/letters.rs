//! Reading `dead.letters` as it stands now: letters, and which of them were put back. The marks are read first, all of them, because a
//! mark stands behind its letter.

use std::{collections::HashSet, sync::Arc};

use schemas::{DeadLetter, Event};

use super::{Choice, REDRIVEN, REDRIVEN_FROM, RedriveError};
use crate::{EventLog, LogError, Position, Record, Walk};

/// One letter and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    pub partition: i32,
    pub offset: i64,
    /// An earlier redrive put it back.
    pub redriven: bool,
    pub letter: DeadLetter,
}

impl Letter {
    pub fn name(&self) -> String {
        format!("{}/{}/{}", DeadLetter::TOPIC.name, self.partition, self.offset)
    }
}

/// A reader of the letters that are there now.
pub struct Letters {
    walk: Walk,
    /// By partition: where to begin.
    from: Vec<i64>,
    marks: HashSet<String>,
}

pub async fn letters(log: &Arc<dyn EventLog>, choice: &Choice) -> Result<Letters, RedriveError> {
    let topic = DeadLetter::TOPIC;
    let from = choice.from.as_deref().map_or(Ok(Position::Beginning), str::parse)?;
    let from = match log.bounds(topic).await {
        // No topic: nobody ever gave up on anything.
        Err(LogError::NoTopic { .. }) => Vec::new(),
        bounds => from.offsets(&bounds?)?,
    };
    let mut marks = HashSet::new();
    let mut walk = Walk::through(log, &[topic]).await?;
    while let Some(records) = walk.next().await? {
        marks.extend(records.iter().filter_map(mark_of));
    }
    Ok(Letters { walk: Walk::through(log, &[topic]).await?, from, marks })
}

impl Letters {
    /// The next few, in the order of each partition; `None`: that was all.
    pub async fn next(&mut self) -> Result<Option<Vec<Letter>>, LogError> {
        let Some(records) = self.walk.next().await? else { return Ok(None) };
        let begun = |record: &&Record| {
            let from = usize::try_from(record.partition).ok().and_then(|p| self.from.get(p));
            from.is_none_or(|from| record.offset >= *from)
        };
        Ok(Some(records.iter().filter(begun).filter_map(|record| letter(record, &self.marks)).collect()))
    }
}

fn decoded(record: &Record) -> Option<DeadLetter> {
    schemas::decode(record.value.as_deref()?).ok()
}

fn mark_of(record: &Record) -> Option<String> {
    let mark = decoded(record).filter(|letter| letter.error_class == REDRIVEN)?;
    let name = mark.headers.iter().find(|header| header.name == REDRIVEN_FROM)?;
    String::from_utf8(name.value.as_ref().to_vec()).ok()
}

fn letter(record: &Record, marks: &HashSet<String>) -> Option<Letter> {
    let letter = decoded(record).filter(|letter| letter.error_class != REDRIVEN)?;
    let mut letter = Letter { partition: record.partition, offset: record.offset, redriven: false, letter };
    letter.redriven = marks.contains(&letter.name());
    Some(letter)
}
