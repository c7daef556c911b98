//! Zeroed memory of the host. A search makes the same small machine a hundred thousand times: so each host thread keeps
//! the block it used last, and clears what is not zero in it, which is little.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;

thread_local! {
    static KEPT: Cell<Option<Allocation>> = const { Cell::new(None) };
}

/// Bytes of a block that is worth keeping: one that is larger, the host zeroes lazily.
const KEPT_MAX: usize = 4 << 20;

/// Words that are looked at, and cleared, together.
const STRETCH: usize = 512;

struct Allocation {
    start: *mut u8,
    layout: Layout,
}

impl Allocation {
    /// `None` if the host has no room. The layout has a size, and is aligned for words.
    fn zeroed(layout: Layout) -> Option<Allocation> {
        debug_assert!(layout.size() > 0 && layout.align() >= align_of::<u64>());
        // SAFETY: the layout's size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        (!start.is_null()).then_some(Allocation { start, layout })
    }

    /// Makes all of it zero again.
    fn clear(&mut self) {
        // SAFETY: the block was zeroed when it was allocated, is aligned for words, and nobody else uses it.
        let words = unsafe { std::slice::from_raw_parts_mut(self.start.cast::<u64>(), self.layout.size() / 8) };
        for stretch in words.chunks_mut(STRETCH) {
            if stretch.iter().fold(0, |bits, word| bits | word) != 0 {
                stretch.fill(0);
            }
        }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and nothing refers to it any more.
        unsafe { dealloc(self.start, self.layout) }
    }
}

/// A block of zeroed memory; whole words.
pub(super) struct Block(Option<Allocation>);

impl Block {
    /// A block of that layout; `None` if the host has no room.
    pub(super) fn zeroed(layout: Layout) -> Option<Block> {
        let kept = KEPT.take().filter(|kept| kept.layout == layout);
        let allocation = match kept {
            Some(mut kept) => {
                kept.clear();
                kept
            }
            None => Allocation::zeroed(layout)?,
        };
        Some(Block(Some(allocation)))
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.0.as_ref().map_or(std::ptr::null_mut(), |allocation| allocation.start)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(allocation) = self.0.take().filter(|allocation| allocation.layout.size() <= KEPT_MAX) {
            // At the end of a thread, it is freed here.
            let _ = KEPT.try_with(move |kept| kept.set(Some(allocation)));
        }
    }
}
