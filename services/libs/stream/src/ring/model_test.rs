//! The ring against a model: random pushes, takes, advances and restarts; and a copy of the file's bytes at any moment, which is what a
//! killed process leaves.

use std::{collections::VecDeque, path::Path, time::Duration};

use proptest::prelude::*;
use schemas::Class;

use super::{
    admission::SHED_ORDER,
    buffer::Buffer,
    file,
    frame::{self, Frame, Meta},
    inspect, layout,
};

use super::inspect::inspect as looked_at;

fn on_tmpfs() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a folder on a tmpfs")
}

fn push(ring: &Buffer, line: u16, seq: i64, class: Class, length: usize) -> bool {
    let meta = Meta { line, class, seq: Some(seq), timestamp_us: 1, accepted_us: 2 };
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &meta, b"key", Some(&vec![seq as u8; length]), true, &[]);
    ring.push(&bytes, class, 0)
}

fn seqs(frames: &[Frame]) -> Vec<i64> {
    frames.iter().filter_map(|f| f.meta.seq).collect()
}

fn drain(ring: &Buffer) -> Vec<i64> {
    let mut out = Vec::new();
    loop {
        let taken = ring.take(ring.head(), 1000);
        assert!(!taken.damaged);
        if taken.frames.is_empty() {
            return out;
        }
        out.extend(seqs(&taken.frames));
        ring.advance(taken.end, &taken.frames);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize, usize),
    /// Bytes to take, and whether what was taken is safe then.
    Take(u64, bool),
    Restart,
    /// What a process killed now would leave.
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..5, 0_usize..1500).prop_map(|(class, length)| Step::Push(class, length)),
        3 => (1_u64..4000, any::<bool>()).prop_map(|(bytes, safe)| Step::Take(bytes, safe)),
        1 => Just(Step::Restart),
        1 => Just(Step::Copy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_ring_gives_back_what_was_put_in_in_order_over_restarts_and_copies(
        steps in proptest::collection::vec(step(), 1..250)
    ) {
        let dir = on_tmpfs();
        let mut ring = file::open(dir.path(), "edge/1", 1, 8192).expect("a ring").live;
        let line = ring.add_line("sip.transactions", 3).expect("room");
        let mut waiting: VecDeque<i64> = VecDeque::new();
        let (mut next, mut epoch) = (0, 1);
        for step in steps {
            match step {
                Step::Push(class, length) => {
                    let room = ring.capacity() - ring.used();
                    if push(&ring, line, next, SHED_ORDER[class], length) {
                        waiting.push_back(next);
                        next += 1;
                        ring.set_next(line, next);
                    } else {
                        prop_assert!(SHED_ORDER[class] != Class::Life || room < length as u64 + 80);
                    }
                }
                Step::Take(bytes, safe) => {
                    let taken = ring.take(ring.head(), bytes);
                    prop_assert!(!taken.damaged);
                    prop_assert_eq!(taken.frames.is_empty(), waiting.is_empty());
                    let expected: Vec<i64> = waiting.iter().copied().take(taken.frames.len()).collect();
                    prop_assert_eq!(seqs(&taken.frames), expected);
                    if safe {
                        waiting.drain(..taken.frames.len());
                        ring.advance(taken.end, &taken.frames);
                    }
                }
                Step::Restart => {
                    drop(ring);
                    epoch += 1;
                    let opened = file::open(dir.path(), "edge/1", epoch, 8192).expect("a ring");
                    prop_assert_eq!(opened.dead.len(), 1);
                    let dead = &opened.dead[0];
                    prop_assert_eq!((dead.epoch(), dead.producer()), (epoch - 1, "edge/1".to_owned()));
                    prop_assert_eq!(dead.lines()[0].next_seq, next);
                    prop_assert_eq!(dead.events(), waiting.len() as u64);
                    prop_assert_eq!(drain(dead), waiting.drain(..).collect::<Vec<_>>());
                    dead.remove();
                    ring = opened.live;
                    ring.add_line("sip.transactions", 3).expect("room");
                    next = 0;
                }
                Step::Copy => {
                    let bytes = std::fs::read(dir.path().join("ring")).expect("the file");
                    let copy = inspect::of_bytes(Path::new("copy"), bytes).expect("a ring");
                    prop_assert_eq!(drain(&copy), waiting.iter().copied().collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(ring.events(), waiting.len() as u64);
        }
    }

    /// A frame is words, then the tail. Killed after any of these stores, the frame is not there or whole.
    #[test]
    fn a_frame_that_is_not_below_the_tail_does_not_exist(written in 0_usize..200, before in 0_usize..20) {
        let ring = file::private("edge/1", 1, 8192).expect("a ring");
        let line = ring.add_line("t", 0).expect("room");
        for seq in 0..before as i64 {
            prop_assert!(push(&ring, line, seq, Class::Life, 100));
        }
        let meta = Meta { line, class: Class::Life, seq: Some(99), timestamp_us: 1, accepted_us: 2 };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &meta, b"key", Some(&[7; 1200]), true, &[]);
        let words = written.min(bytes.len() / 8);
        let at = layout::DATA + ring.tail() as usize / 8;
        if at + words <= ring.memory.words().len() {
            super::memory::store(&ring.memory.words()[at..at + words], &bytes[..words * 8]);
        }
        prop_assert_eq!(drain(&ring), (0..before as i64).collect::<Vec<_>>());
    }
}

#[test]
fn many_writers_and_one_reader_lose_and_mix_nothing() {
    let ring = file::private("edge/1", 1, 64 << 10).expect("a ring");
    let lines: Vec<u16> = (0..4).map(|p| ring.add_line("t", p).expect("room")).collect();
    let mut next = [0_i64; 4];
    std::thread::scope(|scope| {
        for line in &lines {
            let ring = &ring;
            scope.spawn(move || {
                for seq in 0..5000 {
                    while !push(ring, *line, seq, Class::Life, (seq as usize * 7) % 900) {
                        std::thread::yield_now();
                    }
                    ring.set_next(*line, seq + 1);
                }
            });
        }
        while next.iter().sum::<i64>() < 20_000 {
            let taken = ring.take(ring.head(), 8 << 10);
            assert!(!taken.damaged);
            for frame in &taken.frames {
                let expected = &mut next[usize::from(frame.meta.line)];
                assert_eq!(frame.meta.seq, Some(*expected));
                *expected += 1;
            }
            ring.advance(taken.end, &taken.frames);
        }
    });
    assert_eq!((ring.used(), ring.events()), (0, 0));
    assert!(ring.lines().iter().all(|l| (l.next_seq, l.safe_seq) == (5000, 5000)));
}

#[test]
fn lines_and_losses_are_in_the_file() {
    use super::losses::{Loss, Reason};
    let dir = on_tmpfs();
    let ring = file::open(dir.path(), "cdr/0123456789ab", 42, 1 << 20).expect("a ring").live;
    let line = ring.add_line("dead.letters", 2).expect("room");
    ring.set_next(line, 17);
    let loss = Loss { line, class: Class::Detail, reason: Reason::Refused, first: 3, last: 9, events: 5 };
    ring.set_loss(0, &loss);
    assert!(looked_at(dir.path()).expect("reports")[0].in_use);
    drop(ring);
    let reports = looked_at(dir.path()).expect("reports");
    let report = &reports[0];
    assert_eq!((report.producer.as_str(), report.epoch, report.events), ("cdr/0123456789ab", 42, 0));
    assert_eq!(report.lines[0], inspect::RingLine { topic: "dead.letters".into(), partition: 2, next_seq: 17 });
    assert_eq!(report.losses, [loss]);
    assert!(!report.in_use);
}

#[test]
fn who_looks_at_a_ring_keeps_nobody_from_opening_it_and_who_has_it_open_does() {
    let dir = on_tmpfs();
    let looker = |held: Duration| {
        let file = std::fs::File::open(dir.path().join(file::LIVE)).expect("the ring");
        file.lock_shared().expect("nobody has it open");
        std::thread::spawn(move || {
            std::thread::sleep(held);
            drop(file);
        })
    };
    drop(file::open(dir.path(), "cdr/0123456789ab", 1, 8192).expect("a ring"));
    let looking = looker(file::A_LOOK / 10);
    let opened = file::open(dir.path(), "cdr/0123456789ab", 2, 8192).expect("the look was short");
    looking.join().expect("it only slept");
    let error = file::open(dir.path(), "cdr/0123456789ab", 3, 8192).err().expect("refused").to_string();
    assert!(error.contains("used by another process"), "{error}");
    drop(opened);
}

#[test]
fn a_folder_on_a_disk_is_refused_with_the_setting_to_change() {
    let error = file::open(Path::new("/proc/self"), "edge/1", 1, 8192).err().expect("refused").to_string();
    assert!(error.contains("run_dir") && error.contains("tmpfs"), "{error}");
}

#[test]
fn a_ring_of_another_version_or_boot_is_refused_and_kept() {
    for (at, word) in [(layout::AT_VERSION, "version 9"), (layout::AT_BOOT + 1, "last boot")] {
        let dir = on_tmpfs();
        let ring = file::open(dir.path(), "edge/1", 1, 8192).expect("a ring").live;
        ring.memory.words()[at].store(9, std::sync::atomic::Ordering::Relaxed);
        drop(ring);
        let error = file::open(dir.path(), "edge/1", 2, 8192).err().expect("refused").to_string();
        assert!(error.contains(word), "{error}");
        assert!(dir.path().join("ring").exists());
    }
}

#[test]
fn a_ring_that_somebody_uses_is_not_taken() {
    let dir = on_tmpfs();
    let first = file::open(dir.path(), "edge/1", 1, 8192).expect("a ring").live;
    assert!(matches!(file::open(dir.path(), "edge/1", 2, 8192), Err(file::RingError::InUse { .. })));
    first.release();
    assert_eq!(file::open(dir.path(), "edge/1", 2, 8192).expect("released").dead.len(), 1);
}

#[test]
fn a_ring_killed_in_its_making_is_nothing() {
    let dir = on_tmpfs();
    std::fs::write(dir.path().join("ring"), vec![0; 100]).expect("a torso");
    assert!(file::open(dir.path(), "edge/1", 2, 8192).expect("opens").dead.is_empty());
}

#[test]
fn damage_ends_the_reading_and_says_so() {
    let ring = file::private("edge/1", 1, 8192).expect("a ring");
    let line = ring.add_line("t", 0).expect("room");
    assert!(push(&ring, line, 0, Class::Life, 100) && push(&ring, line, 1, Class::Life, 100));
    let second = layout::DATA + ring.take(0, 1).end as usize / 8;
    ring.memory.words()[second + 4].store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
    let taken = ring.take(0, 4096);
    assert_eq!((seqs(&taken.frames), taken.damaged), (vec![0], true));
    ring.give_up();
    assert_eq!((ring.used(), ring.events()), (0, 0));
}
