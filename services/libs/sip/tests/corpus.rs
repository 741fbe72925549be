//! What the fuzzer found interesting is looked at again in every run: each file of `fuzz/corpus/<target>` goes through its target,
//! and every torture message through all of them.

mod common;

use std::fs;
use std::path::PathBuf;

use common::targets;

fn files(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a corpus file"))).collect()
}

#[test]
fn every_committed_input_keeps_every_promise() {
    for (name, target) in targets::ALL {
        let corpus = files(&format!("fuzz/corpus/{name}"));
        assert!(corpus.len() >= 4, "{name}: only {} files", corpus.len());
        for (path, bytes) in corpus {
            println!("{}", path.display());
            target(&bytes);
        }
    }
}

#[test]
fn every_torture_message_goes_through_every_target_whole_and_cut_anywhere() {
    for folder in ["tests/rfc4475", "tests/rfc5118", "tests/regressions"] {
        for (path, bytes) in files(folder) {
            println!("{}", path.display());
            for (_, target) in targets::ALL {
                target(&bytes);
            }
            for end in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
                targets::message(&bytes[..end]);
                targets::framing(&bytes[bytes.len() - end..]);
            }
        }
    }
}
