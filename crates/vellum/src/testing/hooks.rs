//! What a test does when something happens on its test machine, at the exact place: just before an access to shared
//! state, say.
//!
//! This is for every test that acts within the core, so that none needs a machine of its own: the whole core is
//! compiled for each machine there is.

use crate::machine::Touch;
use core::cell::RefCell;
use std::boxed::Box;
use std::vec::Vec;

/// What happens on the current CPU, told just before it does.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Event {
    LoadRoot,
    /// Translations of one page are invalidated.
    InvalidatePage,
    /// All translations of a space are invalidated.
    InvalidateAsid,
    /// An interrupt was posted and is now sent.
    Interrupt,
    /// An access to shared state at an address.
    Access(usize, Touch),
    /// The word at an address is waited for, by who may sleep.
    Sleep(usize),
    /// Some word is waited for.
    Wait,
    /// Pre-emption is on again: a section has ended.
    Leave,
}

/// What to do, once, and when.
struct Hook {
    is_due: Box<dyn FnMut(Event) -> bool>,
    act: Box<dyn FnOnce()>,
}

std::thread_local! {
    /// Those of this thread, in the order in which they are asked.
    static HOOKS: RefCell<Vec<Hook>> = const { RefCell::new(Vec::new()) };
}

/// Does what is to be done before an event.
pub(super) fn fire(event: Event) {
    let due = HOOKS.with(|hooks| {
        // Borrowed if this happens within `is_due`: of its own events there is nobody to tell.
        let mut hooks = hooks.try_borrow_mut().ok()?;
        let place = hooks.iter_mut().position(|hook| (hook.is_due)(event))?;
        Some(hooks.remove(place))
    });
    if let Some(hook) = due {
        (hook.act)();
    }
}

/// [`fire`] for an access: a call that takes little room wherever the core accesses something.
#[inline(never)]
pub(super) fn accessed(address: usize, touch: Touch) {
    fire(Event::Access(address, touch));
}

/// Calls `act` on this thread just before the first event that is due, which may be asked of all events until then.
/// What `act` does is events, too.
pub(crate) fn before(is_due: impl FnMut(Event) -> bool + 'static, act: impl FnOnce() + 'static) {
    let hook = Hook { is_due: Box::new(is_due), act: Box::new(act) };
    HOOKS.with_borrow_mut(|hooks| hooks.push(hook));
}

/// Calls `act` just before this thread next modifies the word at `address`.
pub(crate) fn before_modification(address: usize, act: impl FnOnce() + 'static) {
    before(move |event| event == Event::Access(address, Touch::Modify), act);
}

/// Calls `act` when this thread has next stored to the word at `address`, before it accesses anything else.
pub(crate) fn after_store(address: usize, act: impl FnOnce() + 'static) {
    let mut is_stored = false;
    let is_due = move |event| {
        let is_next = is_stored && matches!(event, Event::Access(..));
        is_stored |= event == Event::Access(address, Touch::Store);
        is_next
    };
    before(is_due, act);
}

/// Does `work`, and calls `see` just before each event of this thread in it. What `see` does is no event.
pub(crate) fn watched<R>(mut see: impl FnMut(Event) + 'static, work: impl FnOnce() -> R) -> R {
    /// However the work ends.
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            clear();
        }
    }

    let _end = End;
    let never = move |event| {
        see(event);
        false
    };
    before(never, || ());
    work()
}

/// From now on this thread does nothing before any event.
pub(crate) fn clear() {
    HOOKS.with_borrow_mut(Vec::clear);
}
