//! `mmap` to the result that the log says it had.

use super::calls::{pages, rights};
use super::engine::Engine;
use super::layout::{Area, Kind, Part};
use super::process::{PAGE_SHIFT, Process};
use crate::host::Host;
use crate::outcome::RunError;
use crate::trace::file_identity;
use vellum::arch::Arch;
use vellum::ops::{MapFlags, MapRequest, Place, Sharing};
use vellum::{Error, Object};

const MAP_SHARED: u64 = 0x1;
const MAP_TYPE: u64 = 0xf;
const MAP_SHARED_VALIDATE: u64 = 0x3;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_GROWSDOWN: u64 = 0x100;
const MAP_NORESERVE: u64 = 0x4000;
const MAP_POPULATE: u64 = 0x8000;
/// Flags that mean nothing in Linux either: MAP_DENYWRITE, MAP_EXECUTABLE, MAP_STACK; and MAP_FIXED_NOREPLACE,
/// since the result is known to have been free.
const MAP_MEANINGLESS: u64 = 0x800 | 0x1000 | 0x2_0000 | 0x10_0000;
const MAP_KNOWN: u64 =
    MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_NORESERVE | MAP_POPULATE | MAP_MEANINGLESS;

/// An `mmap` of a log.
pub(super) struct Mmap {
    pub(super) address: u64,
    pub(super) length: u64,
    pub(super) protection: u64,
    pub(super) flags: u64,
    pub(super) fd: i32,
    pub(super) offset: u64,
}

impl<'vm, A: Arch> Engine<'vm, A> {
    pub(super) fn mmap(&mut self, process: &mut Process<'vm, A>, call: &Mmap) -> Result<(), RunError> {
        let Some((start, end)) = pages(call.address, call.length) else {
            return self.refused("mmap", Error::OutOfRange { start: call.address, length: call.length });
        };
        self.count_unknown_flags(call.flags);
        let (area, object) = match self.mapping(process, call, start, end - start) {
            Ok(found) => found,
            Err(error) => return self.refused("mmap", error),
        };
        for (start, end) in self.replaceable(process, call.flags, start, end) {
            let length = (end - start) << PAGE_SHIFT;
            let request = match (&object, area.kind) {
                (Some(object), Kind::Object { delta, is_shared, .. }) => {
                    let sharing = if is_shared { Sharing::Shared } else { Sharing::Private };
                    MapRequest::object(object, start.wrapping_sub(delta) << PAGE_SHIFT, sharing, length, area.prot)
                }
                _ => MapRequest::anonymous(length, area.prot),
            };
            let flag = |bit, flag, on: bool| if on && call.flags & bit != 0 { flag } else { MapFlags::NONE };
            let request = request
                .at(Place::Fixed(start << PAGE_SHIFT))
                .with(flag(MAP_GROWSDOWN, MapFlags::GROWS_DOWN, area.kind == Kind::GrowsDown))
                .with(flag(MAP_NORESERVE, MapFlags::NO_RESERVE, true))
                .with(flag(MAP_POPULATE, MapFlags::POPULATE, true));
            match process.space.map(&request) {
                Ok(_) => process.set_area(start, end, area, &mut self.shadow),
                Err(error) => self.refused("mmap", error)?,
            }
        }
        Ok(())
    }

    fn count_unknown_flags(&mut self, flags: u64) {
        let unknown = flags & !MAP_KNOWN;
        for bit in (0..64).map(|bit| 1 << bit).filter(|bit| unknown & bit != 0) {
            let name = match bit {
                0x2000 => "mmap flag MAP_LOCKED".into(),
                0x1_0000 => "mmap flag MAP_NONBLOCK".into(),
                0x4_0000 => "mmap flag MAP_HUGETLB".into(),
                0x8_0000 => "mmap flag MAP_SYNC".into(),
                bit => format!("mmap flag {bit:#x}"),
            };
            self.outcome.ignored_calls.add(&name);
        }
    }

    /// What an `mmap` maps: the area, and the object if there is one.
    #[allow(clippy::type_complexity)] // A pair.
    fn mapping(
        &mut self,
        process: &Process<'vm, A>,
        call: &Mmap,
        start: u64,
        pages: u64,
    ) -> Result<(Area, Option<Object<'vm, Host<A>>>), Error> {
        let prot = rights(call.protection);
        let is_shared = matches!(call.flags & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE);
        let is_anonymous = call.flags & MAP_ANONYMOUS != 0;
        if is_anonymous && !is_shared {
            let grows_down = call.flags & MAP_GROWSDOWN != 0;
            let kind = if grows_down { Kind::GrowsDown } else { Kind::Anonymous };
            return Ok((Area::new(kind, prot), None));
        }
        let ((key, object), index) = if is_anonymous {
            (self.shared_memory(pages)?, 0)
        } else {
            if call.offset & ((1 << PAGE_SHIFT) - 1) != 0 {
                return Err(Error::Unaligned { what: "offset", value: call.offset });
            }
            let identity = process.files.get(&call.fd).copied();
            // A file opened before the log began, a duplicated descriptor, a socket, …
            let identity = identity.unwrap_or_else(|| file_identity(format!("descriptor {}", call.fd).as_bytes()));
            (self.file(identity)?, call.offset >> PAGE_SHIFT)
        };
        let kind = Kind::Object { key, delta: start.wrapping_sub(index), is_shared };
        Ok((Area::new(kind, prot), Some(object)))
    }

    /// The ranges that an `mmap` may replace: all of it with `MAP_FIXED`, else what no logged call mapped.
    fn replaceable(&mut self, process: &Process<'vm, A>, flags: u64, start: u64, end: u64) -> Vec<(u64, u64)> {
        if flags & MAP_FIXED != 0 {
            return vec![(start, end)];
        }
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for Part { start, end, area } in process.layout.parts(start, end) {
            if area.is_some_and(|area| area.is_logged()) {
                self.outcome.refused_calls.add("mmap: something is mapped there");
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => ranges.push((start, end)),
            }
        }
        ranges
    }
}
