//! The pages of a range: put out, or aged, on a program's advice; and those of a group that has reached its limit.

use super::folio::{give_slots_or_split, make_single};
use super::list::{Isolated, LENGTH, is_page};
use super::shrink::{Choice, put_out, shrink, shrink_singly};
use crate::arch::{Arch, PageBits, Word};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Pfn};
use crate::rmap::take_accessed;
use crate::space::cursor::Slots;
use crate::space::{Inner, Space};
use crate::vm::Vm;
use core::ops::ControlFlow;

/// Turns of the hand by which a page that is said to be cold is aged.
const COLD: u8 = 2;

impl<M: Machine> Space<'_, M> {
    /// Writes out and frees the pages of `start..end` that nobody else maps; how many.
    pub(crate) fn page_out(&self, start: u64, end: u64) -> u64 {
        let (vm, mut freed, mut here) = (self.vm(), 0, start);
        while here < end {
            let mut list = Isolated::new();
            let next = next_list(vm, self.inner(), (here, end), Sharers::One, &mut list);
            let is_folio = |&pfn: &Pfn| vm.physical().frame(pfn).order() > 0;
            if list.pages().iter().any(is_folio) {
                freed += self.page_out_folios((here, next), (start, end), release_all(vm, &list));
            } else if !list.is_empty() {
                freed += shrink(vm, &list, Choice::All);
            }
            here = next;
        }
        freed
    }

    /// [`Space::page_out`] of `here..next` of the range, where there are folios of several pages: those that lie in the
    /// range are put out as wholes, as far as that can be done, the others split. `pages`: how many there were, those
    /// of folios included.
    #[inline(never)]
    fn page_out_folios(&self, (here, next): (u64, u64), (start, end): (u64, u64), pages: u64) -> u64 {
        let (vm, space) = (self.vm(), self.inner());
        let mut put_out = |list: &Isolated<LENGTH>| list.pages().iter().map(|&head| put_out_on_advice(vm, head)).sum();
        let freed = each_list(vm, space, here, next, Sharers::OneOfWhole { start, end }, &mut put_out, &|| false);
        // That is all of them; what has come in their place meanwhile may stay.
        if freed == pages {
            return freed;
        }
        // Those of which a part alone lies in the range have a page at one of its ends, and are split here in its first
        // and last turn. What is left is split in the end, as far as it can be.
        let page = 1 << M::Arch::PAGE_SHIFT;
        if here == start {
            self.split_folios(start, start + page);
        }
        if next == end {
            self.split_folios(end - page, end);
        }
        let mut single = |list: &Isolated<LENGTH>| shrink_singly(vm, list, Choice::All);
        freed + each_list(vm, space, here, next, Sharers::One, &mut single, &|| false)
    }

    /// Makes single pages of the folios of several that `start..end` shows and nobody else.
    fn split_folios(&self, start: u64, end: u64) {
        let mut split = |list: &Isolated<LENGTH>| {
            list.pages().iter().for_each(|&pfn| make_single(self.vm(), pfn, Choice::All));
            release_all(self.vm(), list)
        };
        each_list(self.vm(), self.inner(), start, end, Sharers::OneOfFolio, &mut split, &|| false);
    }

    /// Makes the pages of `start..end` that nobody else maps the next to be reclaimed.
    pub(crate) fn make_cold(&self, start: u64, end: u64) {
        self.each_locked((start, end), Sharers::One, &|cx, pfn| {
            take_accessed(cx, pfn);
            let frame = self.vm().physical().frame(pfn);
            frame.set_generation(self.vm().physical().generation_before(frame.node(), COLD));
        });
    }

    /// Calls `act` with the pages of `start..end` that are meant, as [`each_list`] finds them, each with its folio lock
    /// held: those whose lock somebody has are passed by.
    fn each_locked(&self, (start, end): (u64, u64), sharers: Sharers, act: &dyn Fn(&Cx<'_, M>, Pfn)) {
        let mut each = |list: &Isolated<LENGTH>| {
            let cx = Cx::enter(self.vm());
            for &pfn in list.pages() {
                let lock = self.vm().physical().frame(pfn).folio_lock();
                if lock.try_acquire() {
                    act(&cx, pfn);
                    lock.release(self.vm());
                }
                object::release(&cx, pfn);
            }
            0
        };
        each_list(self.vm(), self.inner(), start, end, sharers, &mut each, &|| false);
    }
}

/// Drops the references of a list; of how many pages they were.
fn release_all<M: Machine>(vm: &Vm<M>, list: &Isolated<LENGTH>) -> u64 {
    let cx = Cx::enter(vm);
    let release = |&pfn: &Pfn| {
        let pages = vm.physical().whole(pfn).pages();
        object::release(&cx, pfn);
        pages
    };
    list.pages().iter().map(release).sum()
}

/// Puts the folio `head` out as a whole, if that can be done; else it may be split, or stay. How many pages were freed.
/// The caller's reference goes.
fn put_out_on_advice<M: Machine>(vm: &Vm<M>, head: Pfn) -> u64 {
    let lock = vm.physical().frame(head).folio_lock();
    let is_locked = lock.try_acquire();
    if is_locked && give_slots_or_split(vm, head) {
        return put_out(vm, head);
    }
    if is_locked {
        lock.release(vm);
    }
    object::release(&Cx::enter(vm), head);
    0
}

/// Which pages are meant, by who maps them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharers {
    /// Those with one mapping, or of which each page has one.
    One,
    /// Those of them that are folios of several pages.
    OneOfFolio,
    /// Those of these whose place, by the page that is shown, lies within these addresses.
    OneOfWhole { start: u64, end: u64 },
    /// All.
    Any,
}

/// Calls `each` with lists of the pages that `start..end` of `space` shows, of a folio of several its head, each with a
/// reference which `each` drops; the sum of what it returns. Ends early when that `is_enough`. Without a context.
pub(crate) fn each_list<M: Machine, const N: usize>(
    vm: &Vm<M>,
    space: &Inner<M>,
    start: u64,
    end: u64,
    sharers: Sharers,
    each: &mut dyn FnMut(&Isolated<N>) -> u64,
    is_enough: &dyn Fn() -> bool,
) -> u64 {
    let mut done = 0;
    let mut here = start;
    while here < end && !is_enough() {
        let mut list = Isolated::<N>::new();
        here = next_list(vm, space, (here, end), sharers, &mut list);
        if !list.is_empty() {
            done += each(&list);
        }
    }
    done
}

/// Fills a list that is empty from the pages that `here..end` shows, as for [`each_list`]; the address to go on from.
fn next_list<M: Machine, const N: usize>(
    vm: &Vm<M>,
    space: &Inner<M>,
    (here, end): (u64, u64),
    sharers: Sharers,
    list: &mut Isolated<N>,
) -> u64 {
    let full = space.each_leaf(vm, (here, end), &mut |cx, slots| collect(cx, slots, sharers, list));
    full.break_value().unwrap_or(end)
}

/// Adds pages of slots to the list, until it is full; then where to go on.
fn collect<M: Machine, const N: usize>(
    cx: &Cx<'_, M>,
    slots: &Slots<'_, M>,
    sharers: Sharers,
    list: &mut Isolated<N>,
) -> ControlFlow<u64> {
    let physical = cx.vm().physical();
    // Of a folio its first page tells: it stays what it is, having a reference.
    let mut last = list.pages().last().map(|&head| physical.whole(head));
    for index in slots.low..=slots.high {
        if list.is_full() {
            return ControlFlow::Break(slots.address(index));
        }
        let word = slots.leaf.page(index);
        if !word.is_page() || word.bits().has(PageBits::SPECIAL) || last.is_some_and(|last| last.has(word.pfn())) {
            continue;
        }
        let address = slots.address(index) & !(slots.leaf.span() - 1);
        let Some(head) = head_of(cx, word, address, sharers) else { continue };
        // The frame may have become another page before it was counted; if the entry names it still, whatever has
        // become of its bits, it is the page. What has references is a head; of another page of a folio it may not be
        // that any more.
        let (shown, now) = (word.pfn(), slots.leaf.page(index));
        let is_shown = now == word || now.is_page() && now.pfn() == shown;
        let is_head = shown == head || physical.head(shown) == head;
        let folio = physical.whole(head);
        let is_new = folio.order == 0 || !list.pages().contains(&head);
        if is_shown && is_head && is_new {
            list.push(head);
            last = Some(folio);
        } else {
            object::release(cx, head);
        }
    }
    ControlFlow::Continue(())
}

/// The page that the entry `word`, at `address`, shows, or the head of its folio, if it is meant, with a reference.
#[inline(always)]
fn head_of<M: Machine>(cx: &Cx<'_, M>, word: Word<M::Arch>, address: u64, sharers: Sharers) -> Option<Pfn> {
    let physical = cx.vm().physical();
    // Most pages are their own folio.
    let are_folios = matches!(sharers, Sharers::OneOfFolio | Sharers::OneOfWhole { .. });
    if are_folios && physical.frame(word.pfn()).order() == 0 {
        return None;
    }
    let head = physical.head(word.pfn());
    let frame = physical.frame(head);
    (is_meant(frame, word, (head, address), sharers) && is_page(frame) && frame.try_get()).then_some(head)
}

/// Whether the folio of `frame`, which is `head`, is meant, a page of which the entry `word` shows, at `address`.
#[inline(always)]
fn is_meant<M: Machine>(frame: &Frame<M>, word: Word<M::Arch>, (head, address): (Pfn, u64), sharers: Sharers) -> bool {
    // Of a folio that is mapped page by page, nobody else can have a page that is the entry's own.
    let is_alone = || frame.mappings() == 1 || word.bits().has(PageBits::EXCLUSIVE);
    match sharers {
        Sharers::Any => true,
        Sharers::One => is_alone(),
        Sharers::OneOfFolio => frame.order() > 0 && is_alone(),
        Sharers::OneOfWhole { start, end } => {
            let first = || address.wrapping_sub((word.pfn().0 - head.0) << M::Arch::PAGE_SHIFT);
            let has_room = |first| first < end && end - first >= 1u64 << frame.order() << M::Arch::PAGE_SHIFT;
            // What is mapped page by page is alone if there is an entry for each page, and this one is the only one of
            // its.
            let is_once = frame.mappings() == 1 || u64::from(frame.mappings()) == 1 << frame.order();
            frame.order() > 0 && is_alone() && is_once && first() >= start && has_room(first())
        }
    }
}
