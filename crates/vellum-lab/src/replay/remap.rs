//! `mremap` to the result that the log says it had.

use super::calls::pages;
use super::engine::Engine;
use super::layout::{Area, Kind, Part};
use super::process::{PAGE_SHIFT, Process};
use super::shadow::Shadow;
use crate::outcome::RunError;
use vellum::Error;
use vellum::arch::{Arch, Prot};
use vellum::ops::{RemapPlace, RemapRequest};

const MREMAP_DONTUNMAP: u64 = 4;

/// An `mremap` of a log.
pub(super) struct Remap {
    pub(super) old: u64,
    pub(super) old_length: u64,
    pub(super) new: u64,
    pub(super) new_length: u64,
    pub(super) flags: u64,
}

impl<'vm, A: Arch> Engine<'vm, A> {
    pub(super) fn mremap(&mut self, process: &mut Process<'vm, A>, call: &Remap) -> Result<(), RunError> {
        let Remap { old, old_length, new, new_length, flags } = *call;
        let (Some((start, end)), Some((target, target_end))) = (pages(old, old_length.max(1)), pages(new, new_length))
        else {
            return self.refused("mremap", Error::OutOfRange { start: old, length: old_length });
        };
        let stays = old == new && old_length > 0;
        let place = if stays { RemapPlace::InPlace } else { RemapPlace::Fixed(new) };
        if stays && target_end > end {
            self.clear_implicit(process, end, target_end)?;
        }
        // What was mapped before the log began is moved by its implicit pages.
        if process.layout.at(start).is_none() {
            self.make_implicit(process, start, end)?;
        }
        let keep_old = flags & MREMAP_DONTUNMAP != 0;
        let request = RemapRequest { old, old_length, new_length, place, keep_old };
        if let Err(error) = process.space.remap(&request) {
            return self.refused("mremap", error);
        }
        let Some(area) = process.layout.at(start).copied() else { return Ok(()) };
        let gone = Area::new(Kind::Unmapped, Prot::NONE);
        if stays {
            if target_end > end {
                process.set_area(end, target_end, area.unguarded(), &mut self.shadow);
            } else {
                process.set_area(target_end, end, gone, &mut self.shadow);
            }
            return Ok(());
        }
        if old_length == 0 {
            let whole = Part { start, end, area: Some(area.unguarded()) };
            moved(process, &mut self.shadow, &whole, (target, target_end), (keep_old, false));
            return Ok(());
        }
        // Several mappings move as they are, and what lies behind holes between them stays.
        let moved_end = start + (end - start).min(target_end - target);
        for part in process.layout.parts(start, moved_end) {
            if part.area.is_some_and(|area| area.kind != Kind::Unmapped) {
                let to = (target + (part.start - start), target + (part.end - start));
                moved(process, &mut self.shadow, &part, to, (keep_old, true));
            }
        }
        let moved_to = target + (moved_end - start);
        if moved_to < target_end {
            let rest = Part { start: moved_end, end: moved_end, area: Some(area.unguarded()) };
            moved(process, &mut self.shadow, &rest, (moved_to, target_end), (false, false));
        }
        if moved_end < end {
            process.set_area(moved_end, end, gone, &mut self.shadow);
        }
        Ok(())
    }

    /// Unmaps implicit pages from page `start` to `end`.
    pub(super) fn clear_implicit(
        &mut self,
        process: &mut Process<'vm, A>,
        start: u64,
        end: u64,
    ) -> Result<(), RunError> {
        for part in process.layout.parts(start, end) {
            if part.area.is_some_and(|area| area.kind == Kind::Implicit) {
                self.munmap(process, part.start << PAGE_SHIFT, (part.end - part.start) << PAGE_SHIFT)?;
            }
        }
        Ok(())
    }
}

/// Notes that a part has moved to `target..target_end`: with its pages, and unless it is kept the old place is gone, if
/// there is one.
fn moved<A: Arch>(
    process: &mut Process<'_, A>,
    shadow: &mut Shadow,
    part: &Part,
    (target, target_end): (u64, u64),
    (keep_old, has_old): (bool, bool),
) {
    let Part { start, end, area: Some(area) } = *part else { return };
    let kind = match area.kind {
        Kind::Object { key, delta, is_shared } => {
            Kind::Object { key, delta: delta.wrapping_add(target.wrapping_sub(start)), is_shared }
        }
        kind => kind,
    };
    process.set_area(target, target_end, Area { kind, ..area }, shadow);
    if has_old {
        process.move_slots(start, target, (end - start).min(target_end - target));
        let left = if keep_old { area.unguarded() } else { Area::new(Kind::Unmapped, Prot::NONE) };
        process.set_area(start, end, left, shadow);
    }
}
