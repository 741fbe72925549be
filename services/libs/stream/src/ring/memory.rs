//! The memory of a ring: words that two threads, and the next process, see the same way.
//!
//! Everything in a ring is an atomic 64-bit word, so no discipline of its users can make a data race; order between words is made by
//! `Release` and `Acquire` where it matters. This file has the only `unsafe` of the crate: the mapping as a slice, and a hint to the
//! processor.

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use memmap2::{MmapOptions, MmapRaw};

pub const WORD: usize = 8;

pub struct Memory {
    map: MmapRaw,
}

impl Memory {
    /// Memory of this process only; it is gone with it.
    pub fn private(bytes: usize) -> io::Result<Self> {
        Ok(Self { map: MmapOptions::new().len(bytes).map_anon()?.into() })
    }

    /// A file's pages. They are all there before this returns, so that no later write waits for one.
    pub fn shared(file: &File, bytes: usize) -> io::Result<Self> {
        Ok(Self { map: MmapOptions::new().len(bytes).populate().map_raw(file)? })
    }

    pub fn words(&self) -> &[AtomicU64] {
        let (start, bytes) = (self.map.as_mut_ptr(), self.map.len());
        #[expect(unsafe_code, reason = "a mapping is only a pointer; here it becomes a slice of atomics")]
        // SAFETY: the mapping begins at a page, so it is aligned for `AtomicU64`; it has `bytes` readable and writable bytes and lives
        // as long as `self`, to which the slice is bound. Any bit pattern is a valid `AtomicU64`, and nobody has a `&mut` to these
        // bytes: this is the only place that looks at the pointer. The file keeps its length while it is mapped: only the holder of
        // the instance's lock touches it, and it never truncates.
        unsafe {
            std::slice::from_raw_parts(start.cast::<AtomicU64>(), bytes / WORD)
        }
    }
}

/// Copies whole words. The caller publishes them with a `Release` store afterwards.
pub fn store(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<WORD>();
    debug_assert!(rest.is_empty() && whole.len() == words.len(), "a frame is made of whole words");
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Relaxed);
    }
}

/// Asks the processor for words that are written next, so that the next writer does not wait for memory.
pub fn soon(words: &[AtomicU64]) {
    #[cfg(target_arch = "x86_64")]
    for line in words.chunks(64 / WORD) {
        #[expect(unsafe_code, reason = "a hint to the processor has no safe form")]
        // SAFETY: a prefetch reads nothing and cannot fault, and the address is that of a live slice.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = words;
}

/// The opposite of [`store`], after an `Acquire` load that saw the words published.
pub fn load(words: &[AtomicU64], into: &mut [u8]) {
    let (whole, _rest) = into.as_chunks_mut::<WORD>();
    for (word, bytes) in words.iter().zip(whole) {
        *bytes = word.load(Relaxed).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_a_file_keeps_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("m");
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
        file.set_len(4096).expect("a length");
        let bytes: Vec<u8> = (0..64).collect();
        let memory = Memory::shared(&file, 4096).expect("a mapping");
        store(&memory.words()[10..18], &bytes);
        drop(memory);
        assert_eq!(&std::fs::read(&path).expect("the file")[80..144], bytes);
        let again = Memory::shared(&file, 4096).expect("a mapping");
        let mut back = vec![0; 64];
        load(&again.words()[10..18], &mut back);
        assert_eq!(back, bytes);
    }
}
