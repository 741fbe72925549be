//! How much a test holds, and how often it asked for more: every allocation of the test's own thread is counted, and taken off
//! when it is given back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn note(change: isize) {
    let _ = HELD.try_with(|held| held.set(held.get() + change));
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; every call goes to the system's own")]
// SAFETY: each method hands its arguments to the system's allocator as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread has asked for memory.
pub fn asked() -> usize {
    ASKED.get()
}

/// Bytes that this thread holds now. May be negative: what another thread made was given back here.
pub fn held() -> isize {
    HELD.get()
}
