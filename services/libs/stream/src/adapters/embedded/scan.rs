//! Reading a segment from front to back: good frames, damage between good frames, and the torn tail.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::frame::{self, HEAD, Parsed};

const WINDOW: usize = 4 << 20;

#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Frame {
        pos: u64,
        body: &'a [u8],
    },
    /// No frame can be read in `from..to`, but a good one stands at `to`.
    Damage {
        from: u64,
        to: u64,
    },
    /// From here to the end nothing can be read: an interrupted write.
    Tail {
        from: u64,
    },
    End,
}

pub struct Scan<'f> {
    file: &'f File,
    segment: u64,
    pos: u64,
    end: u64,
    /// Bytes of the file from `window_pos` on.
    window: Vec<u8>,
    window_pos: u64,
}

impl<'f> Scan<'f> {
    pub fn new(file: &'f File, segment: u64, from: u64, end: u64) -> Self {
        Self { file, segment, pos: from, end, window: Vec::new(), window_pos: from }
    }

    /// The next step; after `Tail` or `End` there is nothing more.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        if self.pos >= self.end {
            return Ok(Step::End);
        }
        let mut need = HEAD;
        loop {
            self.fill(need)?;
            let at = (self.pos - self.window_pos) as usize;
            match frame::parse(&self.window[at..], self.segment, self.pos, true) {
                Parsed::Frame { total, .. } => {
                    let pos = self.pos;
                    self.pos += total as u64;
                    return Ok(Step::Frame { pos, body: &self.window[at + HEAD..at + total] });
                }
                Parsed::Short { total } if self.pos + total as u64 <= self.end && total > need => need = total,
                Parsed::Short { .. } | Parsed::Bad => return self.lost(),
            }
        }
    }

    /// Nothing readable at `pos`: look for the next good frame. Rare, so the rest of the segment is simply read.
    fn lost(&mut self) -> io::Result<Step<'_>> {
        let from = self.pos;
        let mut rest = vec![0; (self.end - from) as usize];
        self.file.read_exact_at(&mut rest, from)?;
        match frame::resync(&rest, self.segment, from, 1) {
            Some(at) => {
                self.pos = from + at as u64;
                Ok(Step::Damage { from, to: self.pos })
            }
            None => {
                self.pos = self.end;
                Ok(Step::Tail { from })
            }
        }
    }

    /// Makes `need` bytes from `pos` available, or as many as there are.
    fn fill(&mut self, need: usize) -> io::Result<()> {
        let have = (self.window_pos + self.window.len() as u64).saturating_sub(self.pos) as usize;
        let left = (self.end - self.pos) as usize;
        if have >= need.min(left) && self.pos >= self.window_pos {
            return Ok(());
        }
        let size = need.max(WINDOW).min(left);
        self.window.resize(size, 0);
        self.window_pos = self.pos;
        self.file.read_exact_at(&mut self.window, self.pos)
    }
}
