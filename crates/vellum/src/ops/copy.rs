//! Copying to and from a program's memory, as system calls do.

use super::fault::{Access, FaultError};
use crate::arch::Arch;
use crate::machine::Machine;
use crate::space::Space;

/// Bytes that are copied at most while a lock is held.
const PIECE: u64 = 4096;

impl<M: Machine> Space<'_, M> {
    /// Copies `into.len()` bytes from `from` on out of the program's memory, as if the program loaded them: pages are
    /// faulted in as they are come to, and marked as accessed. The space need not be loaded on any CPU. Memory tags are
    /// not compared. An aligned word of 8 bytes is copied at once if both sides are aligned to it; beside stores of the
    /// program nothing else is certain.
    ///
    /// Context: as [`Space::fault`]; pre-emption is off, and the lock of one page table held, for a piece of 4 KiB at a
    /// time.
    ///
    /// # Errors
    /// As [`Space::fault`] (`EFAULT`, for a system call): what lies before the error's address has been copied, and
    /// nothing else. No bytes are copied from anywhere without an error.
    pub fn copy_in(&self, from: u64, into: &mut [u8]) -> Result<(), FaultError> {
        let target = into.as_mut_ptr();
        self.each_piece(from, into.len() as u64, Access::Read, |page, done, length| {
            // SAFETY: the piece lies in a page that stays the program's for now, and within `into`, which is nobody
            // else's and no program's memory.
            unsafe { self.vm().machine().copy_user(page, target.add(done as usize), length) }
        })
    }

    /// Copies `from` to the program's memory from `to` on, as if the program stored it: pages are faulted in, copied
    /// where others share them, and marked as stored to. Otherwise as [`Space::copy_in`].
    ///
    /// Instructions that are stored so become visible to instruction fetches by what the processor wants done for that,
    /// which is the caller's.
    ///
    /// # Errors
    /// As [`Space::copy_in`].
    pub fn copy_out(&self, to: u64, from: &[u8]) -> Result<(), FaultError> {
        let source = from.as_ptr();
        self.each_piece(to, from.len() as u64, Access::Write, |page, done, length| {
            // SAFETY: as in `copy_in`, the other way round.
            unsafe { self.vm().machine().copy_user(source.add(done as usize), page, length) }
        })
    }

    /// Clears `length` bytes of the program's memory from `start` on, as if the program stored zeroes: as
    /// [`Space::copy_out`]. Memory that is to become untouched is given up by [`Space::advise`] instead.
    ///
    /// # Errors
    /// As [`Space::copy_in`]: what lies before the error's address has been cleared.
    pub fn clear(&self, start: u64, length: u64) -> Result<(), FaultError> {
        let machine = self.vm().machine();
        let zeroes = machine.frame(self.vm().zero_page()).cast_const();
        self.each_piece(start, length, Access::Write, |page, _, length| {
            let offset = page.addr() & ((1 << M::Arch::PAGE_SHIFT) - 1);
            // SAFETY: the piece lies in a page that stays the program's for now, and ends with it; the zero page is as
            // long, and nobody stores to it.
            unsafe { machine.copy_user(zeroes.add(offset), page, length) }
        })
    }

    /// Calls `copy` with each piece of the range: where it lies, how many bytes of the range come before it, and its
    /// length.
    fn each_piece(
        &self,
        start: u64,
        length: u64,
        access: Access,
        mut copy: impl FnMut(*mut u8, u64, usize),
    ) -> Result<(), FaultError> {
        let page = 1u64 << M::Arch::PAGE_SHIFT;
        let mut done = 0;
        while done < length {
            let beyond = FaultError::Segv { address: u64::MAX, denied: false };
            let address = start.checked_add(done).ok_or(beyond)?;
            let piece = (length - done).min(page - address % page).min(PIECE);
            self.reach(address, access, |byte| copy(byte, done, piece as usize))?;
            done += piece;
        }
        Ok(())
    }
}
