//! What makes a repeated insert recognisable: the batch's identity comes from the positions of its records and nothing else.
//!
//! ClickHouse drops an insert whose `insert_deduplication_token` it has seen. A batch is cut at multiples of [`CUT`], so a consumer
//! that restarts and reads the same offsets forms the same batches. A batch that was closed early by age may be cut elsewhere the
//! next time: then the rows meet again in the table's `ReplacingMergeTree`, whose key is the event id.

/// Offsets per batch of one partition.
pub const CUT: i64 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub topic: &'static str,
    pub partition: i32,
    pub first: i64,
    pub last: i64,
    pub schema_id: u32,
}

impl Span {
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}:{}:{}-{}:{:08x}", self.topic, self.partition, self.first, self.last, self.schema_id)
    }
}

/// Splits consecutive offsets of one partition into runs that no multiple of [`CUT`] divides. Returns index ranges.
#[must_use]
pub fn runs(offsets: &[i64]) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut from = 0;
    for at in 1..=offsets.len() {
        let cut = at == offsets.len() || offsets[at].div_euclid(CUT) != offsets[at - 1].div_euclid(CUT);
        if cut {
            runs.push(from..at);
            from = at;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_exactly_one_batch() {
        let span = Span { topic: "sip.transactions", partition: 3, first: 0, last: 9_999, schema_id: 0x5452_0001 };
        assert_eq!(span.token(), "sip.transactions:3:0-9999:54520001");
        for other in [
            Span { partition: 4, ..span.clone() },
            Span { last: 9_998, ..span.clone() },
            Span { schema_id: 0x5452_0002, ..span.clone() },
        ] {
            assert_ne!(other.token(), span.token());
        }
    }

    #[test]
    fn batches_are_cut_at_the_same_places_wherever_reading_begins() {
        let all: Vec<i64> = (9_990..20_010).collect();
        assert_eq!(runs(&all), [0..10, 10..10_010, 10_010..10_020]);
        let later: Vec<i64> = (10_000..20_010).collect();
        assert_eq!(runs(&later), [0..10_000, 10_000..10_010]);
        assert!(runs(&[]).is_empty());
    }
}
