//! Which numbers arrived, which are accounted for, which are lost: against a model that keeps every number by itself.

use std::collections::HashMap;

use proptest::prelude::*;
use schemas::{
    Event, Identity, ManifestLine, ManifestLoss, NodeHealth, SipTransaction, StreamManifest, stream_manifest,
};
use stream::completeness::{Account, Line, Remains, Verdict};

const EPOCH: i64 = 1_795_226_400_000_000;

fn topic() -> &'static str {
    SipTransaction::TOPIC.name
}

fn loss(first: i64, last: i64, events: i64) -> ManifestLoss {
    ManifestLoss { first, last, events, reason: "shed".into(), class: "detail".into() }
}

fn manifest(kind: &str, next_seq: i64, losses: Vec<ManifestLoss>, made_us: i64) -> StreamManifest {
    StreamManifest {
        event_type: kind.into(),
        producer: "edge/a".into(),
        epoch: EPOCH,
        closed_by: (kind == stream_manifest::CLOSED).then(|| stream_manifest::BY_ITSELF.into()),
        made_us,
        lines: vec![ManifestLine { topic: topic().into(), partition: 3, next_seq, losses }],
        ..Default::default()
    }
}

fn open(next_seq: i64, losses: Vec<ManifestLoss>) -> StreamManifest {
    manifest(stream_manifest::OPEN, next_seq, losses, 10)
}

fn closed(next_seq: i64, losses: Vec<ManifestLoss>) -> StreamManifest {
    manifest(stream_manifest::CLOSED, next_seq, losses, 20)
}

fn see(account: &mut Account, numbers: impl IntoIterator<Item = i64>) {
    for seq in numbers {
        account.see(topic(), &Identity { producer: "edge/a".into(), epoch: EPOCH, partition: 3, seq });
    }
}

fn whole() -> Remains {
    Remains { first_timestamp_us: Some(EPOCH + 5), ..Remains::default() }
}

fn judge(account: &Account, remains: Remains) -> Line {
    let mut lines = account.judge(&HashMap::from([((topic(), 3), remains)]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[test]
fn a_closed_manifest_and_every_number_is_a_proof() {
    let mut account = Account::default();
    account.hear(closed(100, Vec::new()));
    see(&mut account, 0..100);
    let line = judge(&account, whole());
    assert_eq!((line.findings.verdict, line.findings.numbers, line.findings.seen), (Verdict::Proven, 100, 100));
    assert_eq!(line.account.unwrap().closed_by.as_deref(), Some(stream_manifest::BY_ITSELF));
}

#[test]
fn a_missing_number_is_lost_wherever_it_stands() {
    for missing in [0, 57, 99] {
        let mut account = Account::default();
        account.hear(closed(100, Vec::new()));
        see(&mut account, (0..100).filter(|seq| *seq != missing));
        let findings = judge(&account, whole()).findings;
        assert_eq!((findings.verdict, findings.lost), (Verdict::Lost, 1));
        assert_eq!(findings.lost_ranges, [(missing, missing)]);
    }
}

#[test]
fn a_closed_manifest_of_events_that_never_came_is_a_loss_of_all() {
    let mut account = Account::default();
    account.hear(closed(7, Vec::new()));
    let findings = judge(&account, Remains::default()).findings;
    assert_eq!((findings.verdict, findings.lost), (Verdict::Lost, 7));
}

#[test]
fn declared_losses_are_proven_and_told_apart_by_reason_and_class() {
    let mut account = Account::default();
    let unfit = ManifestLoss { reason: "unfit".into(), class: "life".into(), ..loss(20, 20, 1) };
    account.hear(closed(100, vec![loss(10, 12, 3), unfit, loss(90, 99, 10)]));
    see(&mut account, (0..90).filter(|seq| !(10..=12).contains(seq) && *seq != 20));
    let findings = judge(&account, whole()).findings;
    assert_eq!((findings.verdict, findings.lost), (Verdict::Proven, 0));
    let told: Vec<_> = findings.declared.iter().map(|d| (&*d.reason, &*d.class, d.events)).collect();
    assert_eq!(told, [("shed", "detail", 13), ("unfit", "life", 1)]);
}

#[test]
fn what_was_declared_lost_and_came_all_the_same_is_no_loss() {
    let mut account = Account::default();
    account.hear(closed(10, vec![loss(3, 5, 3)]));
    see(&mut account, 0..10);
    let findings = judge(&account, whole()).findings;
    assert_eq!((findings.verdict, findings.declared.len(), findings.seen), (Verdict::Proven, 0, 10));
}

#[test]
fn joined_ranges_excuse_as_many_as_they_say() {
    let mut account = Account::default();
    account.hear(closed(100, vec![loss(10, 89, 4)]));
    see(&mut account, (0..100).filter(|seq| ![10, 30, 50, 70, 89].contains(seq)));
    let findings = judge(&account, whole()).findings;
    assert_eq!((findings.verdict, findings.declared[0].events, findings.lost), (Verdict::Lost, 4, 1));
}

#[test]
fn an_open_manifest_proves_nothing_and_accuses_of_nothing_that_may_be_on_its_way() {
    let mut account = Account::default();
    account.hear(open(100, vec![loss(95, 96, 2)]));
    see(&mut account, 0..90);
    let findings = judge(&account, whole()).findings;
    assert_eq!((findings.verdict, findings.numbers, findings.pending), (Verdict::Unproven, 100, 8));
    assert_eq!(findings.declared[0].events, 2);
    // A gap is another matter: what comes later cannot fill it.
    see(&mut account, 92..95);
    let findings = judge(&account, whole()).findings;
    assert_eq!((findings.verdict, findings.lost_ranges), (Verdict::Lost, vec![(90, 91)]));
}

#[test]
fn without_a_manifest_nothing_is_proven_but_a_gap_is_seen() {
    let mut account = Account::default();
    see(&mut account, 0..5);
    let line = judge(&account, whole());
    assert_eq!((line.findings.verdict, line.account), (Verdict::Unproven, None));
    see(&mut account, [6]);
    assert_eq!(judge(&account, whole()).findings.verdict, Verdict::Lost);
}

#[test]
fn the_newest_manifest_counts_and_a_closed_one_is_final() {
    let mut account = Account::default();
    account.hear(closed(5, Vec::new()));
    account.hear(manifest(stream_manifest::OPEN, 9, Vec::new(), 99));
    see(&mut account, 0..5);
    assert_eq!(judge(&account, whole()).findings.verdict, Verdict::Proven);
    // More numbers than the end allows: two processes under one name, or a wrong account.
    see(&mut account, 5..7);
    assert_eq!(judge(&account, whole()).findings.verdict, Verdict::Unproven);
}

#[test]
fn a_loss_that_was_declared_while_the_topics_were_read_is_no_accusation() {
    let mut account = Account::default();
    account.hear(open(10, Vec::new()));
    see(&mut account, (0..30).filter(|seq| !(12..=14).contains(seq)));
    assert_eq!(judge(&account, whole()).findings.verdict, Verdict::Lost);
    account.learn_losses(&manifest(stream_manifest::CLOSED, 400, vec![loss(12, 14, 3)], 50));
    let findings = judge(&account, whole()).findings;
    assert_eq!((findings.verdict, findings.numbers, findings.declared[0].events), (Verdict::Unproven, 30, 3));
}

#[test]
fn what_retention_took_is_expired_only_when_the_epoch_is_old_enough() {
    let cut = Remains { cut: true, ..whole() };
    let mut account = Account::default();
    account.hear(closed(100, Vec::new()));
    see(&mut account, 40..100);
    let findings = judge(&account, cut).findings;
    assert_eq!((findings.verdict, findings.expired, findings.lost), (Verdict::Expired, 40, 0));
    let younger_than_the_rest = Remains { first_timestamp_us: Some(EPOCH - 1), ..cut };
    assert_eq!(judge(&account, younger_than_the_rest).findings.verdict, Verdict::Lost);
    // Behind what is left nothing can have expired.
    account.hear(closed(101, Vec::new()));
    assert_eq!(judge(&account, cut).findings.verdict, Verdict::Lost);
    let mut all_gone = Account::default();
    all_gone.hear(closed(100, Vec::new()));
    let nothing_left = Remains { first_timestamp_us: None, ..cut };
    assert_eq!(judge(&all_gone, nothing_left).findings.expired, 100);
}

#[test]
fn in_a_compacted_topic_a_missing_number_is_no_loss() {
    let mut account = Account::default();
    account.hear(closed(10, vec![loss(2, 2, 1)]));
    see(&mut account, [4, 9]);
    let findings = judge(&account, Remains { compacted: true, ..whole() }).findings;
    assert_eq!((findings.verdict, findings.compacted, findings.declared[0].events), (Verdict::Compacted, 7, 1));
    see(&mut account, (0..10).filter(|seq| *seq != 2));
    assert_eq!(judge(&account, Remains { compacted: true, ..whole() }).findings.verdict, Verdict::Proven);
}

#[test]
fn lines_are_kept_apart_and_only_what_was_read_is_judged() {
    let mut account = Account::default();
    account.hear(closed(3, Vec::new()));
    see(&mut account, 0..3);
    for (producer, epoch, partition) in [("edge/b", EPOCH, 3), ("edge/a", EPOCH + 1, 3), ("edge/a", EPOCH, 4)] {
        account.see(topic(), &Identity { producer: producer.into(), epoch, partition, seq: 0 });
    }
    account.see(NodeHealth::TOPIC.name, &Identity { producer: "edge/a".into(), epoch: EPOCH, partition: 3, seq: 0 });
    let read = HashMap::from([((topic(), 3), whole()), ((topic(), 4), whole())]);
    let lines = account.judge(&read);
    let told: Vec<_> = lines.iter().map(|l| (&*l.producer, l.epoch, l.partition, l.findings.verdict)).collect();
    assert_eq!(
        told,
        [
            ("edge/a", EPOCH, 3, Verdict::Proven),
            ("edge/a", EPOCH, 4, Verdict::Unproven),
            ("edge/a", EPOCH + 1, 3, Verdict::Unproven),
            ("edge/b", EPOCH, 3, Verdict::Unproven),
        ]
    );
}

#[test]
fn numbers_that_nobody_gives_count_for_nothing() {
    let mut account = Account::default();
    see(&mut account, [-1, i64::MAX, i64::MIN]);
    account.hear(closed(i64::MAX, Vec::new()));
    account.hear(closed(5, vec![loss(3, 9, 7)]));
    assert_eq!(account.strange(), 5);
    assert!(account.judge(&HashMap::from([((topic(), 3), whole())])).is_empty());
}

/// What becomes of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Arrives(u8),
    Declared,
    Vanishes,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Arrives(1)),
        1 => (2_u8..4).prop_map(Fate::Arrives),
        1 => Just(Fate::Declared),
        1 => Just(Fate::Vanishes),
    ]
}

/// Neighbours are declared as one range, or up to `join` numbers that arrived are taken into it.
fn ranges(fates: &[Fate], join: usize) -> Vec<ManifestLoss> {
    let mut out: Vec<ManifestLoss> = Vec::new();
    for (seq, _) in (0_i64..).zip(fates).filter(|(_, fate)| **fate == Fate::Declared) {
        let between = |from: i64| &fates[from as usize + 1..seq as usize];
        match out.last_mut() {
            Some(last)
                if between(last.last).len() <= join
                    && between(last.last).iter().all(|fate| matches!(fate, Fate::Arrives(_))) =>
            {
                last.last = seq;
                last.events += 1;
            }
            _ => out.push(loss(seq, seq, 1)),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_number_is_counted_once_and_for_what_became_of_it(
        fates in proptest::collection::vec(fate(), 1..80),
        join in 0_usize..3,
        cut in 0_usize..40,
        is_closed in any::<bool>(),
        compacted in any::<bool>(),
        shuffle in any::<u64>(),
    ) {
        let count = |wanted: fn(&Fate) -> bool, of: &[Fate]| of.iter().filter(|f| wanted(f)).count() as i64;
        let arrived = |f: &Fate| matches!(f, Fate::Arrives(_));
        let cut = cut.min(fates.len());
        // Retention takes records; the first that is left says where.
        let first_left = fates.iter().enumerate().skip(cut).find(|(_, f)| arrived(f)).map_or(fates.len(), |(i, _)| i);
        let last_left = fates.iter().rposition(arrived).filter(|last| *last >= cut);
        let mut account = Account::default();
        let losses = ranges(&fates, join);
        let next_seq = fates.len() as i64;
        account.hear(if is_closed { closed(next_seq, losses) } else { open(next_seq, losses) });
        let mut records: Vec<i64> = (0_i64..).zip(&fates).skip(cut).flat_map(|(seq, f)| match f {
            Fate::Arrives(times) => vec![seq; usize::from(*times)],
            _ => Vec::new(),
        }).collect();
        let copies = records.len() as i64;
        let mut dice = shuffle;
        for i in (1..records.len()).rev() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            records.swap(i, (dice >> 33) as usize % (i + 1));
        }
        see(&mut account, records);
        let remains = Remains { cut: cut > 0, compacted, ..whole() };
        let line = judge(&account, remains);
        let f = &line.findings;

        let declared: i64 = f.declared.iter().map(|d| d.events).sum();
        prop_assert_eq!(f.seen + declared + f.lost + f.expired + f.compacted + f.pending, f.numbers, "{:?}", f);
        prop_assert_eq!(f.numbers, next_seq);
        prop_assert_eq!(f.seen, count(|f| matches!(f, Fate::Arrives(_)), &fates[cut..]));
        prop_assert_eq!(line.doubled as i64, copies - f.seen);

        // The naive model looks at each number by itself. Joined ranges can only be judged as a whole, so there only sums hold.
        if join == 0 {
            prop_assert_eq!(declared, count(|f| *f == Fate::Declared, &fates));
            let (mut lost, mut expired, mut gone, mut pending) = (0, 0, 0, 0);
            for (seq, fate) in fates.iter().enumerate() {
                let missing = *fate == Fate::Vanishes || (arrived(fate) && seq < cut);
                if !missing {
                    continue;
                }
                let behind_all = last_left.is_none_or(|last| seq > last);
                if cut > 0 && (seq < first_left) { expired += 1 }
                else if compacted { gone += 1 }
                else if !is_closed && behind_all { pending += 1 }
                else { lost += 1 }
            }
            // An open line is only known up to the last number that arrived or was declared lost; what is behind is pending.
            let known = if is_closed { fates.len() } else {
                let last_said = fates.iter().rposition(|f| *f == Fate::Declared);
                last_left.max(last_said).map_or(0, |last| last + 1)
            };
            let unknown = count(|f| *f != Fate::Declared, &fates[known..]);
            if is_closed || unknown == 0 {
                prop_assert_eq!((f.lost, f.expired, f.compacted, f.pending), (lost, expired, gone, pending), "{:?}", f);
            } else {
                prop_assert!(f.pending >= unknown && f.lost == lost, "{:?}", f);
            }
            let places: i64 = f.lost_ranges.iter().map(|(first, last)| last - first + 1).sum();
            prop_assert_eq!(places, f.lost);
        }
        let wanted = if f.lost > 0 { Verdict::Lost } else if !is_closed { Verdict::Unproven }
            else if f.expired > 0 { Verdict::Expired } else if f.compacted > 0 { Verdict::Compacted } else { Verdict::Proven };
        prop_assert_eq!(f.verdict, wanted);
    }
}
