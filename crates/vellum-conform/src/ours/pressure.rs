//! What happens to Vellum's memory between operations: it is taken back, written to swap, moved and put together. No
//! program may see any of it.

use super::{CPUS, Ours};
use crate::arena::{self, PAGE};
use fastrand::Rng;
use vellum::Error;
use vellum::ops::Advice;
use vellum_lab::swap_device::Handle;

impl Ours<'_> {
    /// Does some of it, as `seed` says.
    ///
    /// # Errors
    /// What must not fail and does.
    pub(super) fn press(&mut self, seed: u32) -> Result<(), String> {
        let mut random = Rng::with_seed(seed.into());
        self.cpu = random.usize(..CPUS);
        self.hosted.machine().set_cpu(self.cpu);
        if !std::mem::replace(&mut self.has_been_pressed, true) {
            self.switch_swap()?;
        }
        for _ in 0..random.u32(1..=4) {
            self.press_once(&mut random)?;
        }
        Ok(())
    }

    fn press_once(&mut self, random: &mut Rng) -> Result<(), String> {
        let (hosted, vm, cpu) = (self.hosted, self.hosted.vm(), self.cpu);
        let node = random.u8(..2);
        match random.u32(..100) {
            0..30 => self.pressed += vm.reclaim(node, *random.choice(&[1, 2, 4, 16, 64, 1000]).unwrap_or(&1)),
            30..34 => self.pressed += vm.reclaim_background(),
            34..39 => self.switch_swap()?,
            39..47 => {
                vm.compact(node, random.u8(..6));
            }
            47..67 => {
                let (start, length) = self.some_range(random);
                for space in self.spaces.iter().flatten() {
                    // Where something is not mapped that is an error.
                    self.pressed += space.move_pages(start, length, node).map_or(0, |(moved, _)| moved);
                }
            }
            67..88 => {
                let (start, length) = self.some_range(random);
                for space in self.spaces.iter().flatten() {
                    let _ = space.advise(start, length, Advice::PageOut);
                }
            }
            88..92 => {
                for file in &self.files {
                    file.object.write_back().map_err(|error| format!("writing a file back: {error}"))?;
                }
            }
            92..94 => hosted.enter_lazy(cpu),
            94..96 => hosted.idle(cpu),
            96..98 => {
                hosted.speculate(cpu, arena::page(arena::POOL.start + random.u64(..24)));
            }
            _ => vm.quiesce(),
        }
        Ok(())
    }

    /// A few pages where mappings are.
    fn some_range(&self, random: &mut Rng) -> (u64, u64) {
        if self.is_large && random.bool() {
            let first = arena::LARGE.start + random.u64(..4) * arena::HUGE;
            return (arena::page(first), random.choice(&[1, 5, arena::HUGE]).copied().unwrap_or(1) * PAGE);
        }
        let first = match random.u32(..10) {
            0..7 => arena::POOL.start + random.u64(..24),
            7 => arena::HEAP + random.u64(..8),
            8 => arena::STACK - 4 + random.u64(..8),
            _ => arena::PAGES - 4,
        };
        (arena::page(first), random.u64(1..5) * PAGE)
    }

    /// Switches the swap area on, or off.
    pub(super) fn switch_swap(&mut self) -> Result<(), String> {
        let result = match self.swap {
            Some(area) => self.hosted.vm().swap_off(area).map(|()| None),
            None => self.hosted.vm().swap_on(Handle(self.device.clone()), 0).map(Some),
        };
        match result {
            Ok(area) => self.swap = area,
            // What is in swap does not go into memory.
            Err(Error::OutOfMemory) => {}
            Err(error) => return Err(format!("switching swap: {error}")),
        }
        Ok(())
    }
}
