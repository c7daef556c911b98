//! Reaching into a program's page, on its behalf.
//!
//! What a processor does for a program's own access is done with the lock of the page's leaf held: the entry must allow
//! the access, it notes it, and only then is the page touched. Nobody takes the entry away or replaces it meanwhile, so
//! that the page is the one which the program sees, and whoever takes the entry later finds what was noted. Where the
//! entry does not allow the access, it is resolved as a fault of the program, without a lock, and tried again.

use super::fault::{Access, FaultError};
use crate::arch::{Arch, PageBits, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::space::{Inner, Space};

impl<M: Machine> Space<'_, M> {
    /// Calls `touch` once with where the byte at `address` lies, as an `access` by the program may reach it;
    /// pre-emption is off then, and the leaf's lock held. Up to the end of the page the bytes that follow may be
    /// touched, too.
    ///
    /// # Errors
    /// As [`Space::fault`]; `touch` was not called.
    #[inline]
    pub(super) fn reach<R>(
        &self,
        address: u64,
        access: Access,
        mut touch: impl FnMut(*mut u8) -> R,
    ) -> Result<R, FaultError> {
        loop {
            let reached = try_reach(&Cx::enter(self.vm()), self.inner(), address, access, &mut touch);
            match reached {
                Some(result) => return Ok(result),
                None => self.fault(address, access)?,
            };
        }
    }
}

/// One try; `None` if the access faults.
#[inline]
fn try_reach<M: Machine, R>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    address: u64,
    access: Access,
    touch: &mut impl FnMut(*mut u8) -> R,
) -> Option<R> {
    if !(M::Arch::USER_START..M::Arch::USER_END).contains(&address) {
        return None;
    }
    let table = space.lowest(cx, address);
    let index = table.index(address);
    if table.level > 0 && table.page(index).is_empty() {
        return None;
    }
    let locked = table.lock(cx, space, address)?;
    if !table.is_childless(index) {
        return None;
    }
    let (_, word) = locked.update(index, |word| noted::<M>(word, access));
    if !is_allowed::<M>(word, access) {
        return None;
    }
    let _held = M::guard(Guard::ReachedUnderLock).then_some(locked);
    let within = address & (table.span() - 1);
    let page = cx.vm().machine().frame(word.pfn().offset(within >> M::Arch::PAGE_SHIFT));
    Some(touch(page.wrapping_add((within & ((1 << M::Arch::PAGE_SHIFT) - 1)) as usize)))
}

fn is_allowed<M: Machine>(word: Word<M::Arch>, access: Access) -> bool {
    word.is_page() && access.is_allowed(word.bits())
}

/// The entry `word` with what a processor notes there for `access`, if it allows it.
fn noted<M: Machine>(word: Word<M::Arch>, access: Access) -> Word<M::Arch> {
    if !is_allowed::<M>(word, access) || !M::guard(Guard::ReachNoted) {
        return word;
    }
    let dirty = if access == Access::Write { PageBits::DIRTY } else { PageBits::NONE };
    let bits = word.bits();
    let noted = bits | PageBits::ACCESSED | dirty;
    if noted == bits { word } else { word.with_bits(noted) }
}
