//! An allocator that counts what each thread holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// How many bytes this thread holds, and the most that it held since that was set.
    pub static TAKEN: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: everything is handed to the system's allocator; only numbers are kept, in a constant-initialised cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = TAKEN.try_with(|taken| {
            let (now, peak) = taken.get();
            taken.set((now + layout.size(), peak.max(now + layout.size())));
        });
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = TAKEN.try_with(|taken| {
            let (now, peak) = taken.get();
            taken.set((now.saturating_sub(layout.size()), peak));
        });
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
