//! `mmap`: mapping memory.

use crate::range::{is_aligned, page, rights, rounded, task_size};
use crate::{Errno, File};
use vellum::arch::{Arch, Prot};
use vellum::ops::{MapFlags, MapRequest, Place, Sharing};
use vellum::{Error, Machine, Space};

/// Stores are seen by all who map the object.
pub const MAP_SHARED: u64 = 0x01;
/// Stores are seen by this space alone.
pub const MAP_PRIVATE: u64 = 0x02;
/// [`MAP_SHARED`], and an unknown flag is an error.
pub const MAP_SHARED_VALIDATE: u64 = 0x03;
/// The bits that say which of these.
pub const MAP_TYPE: u64 = 0x0f;
/// Exactly there, replacing what is mapped.
pub const MAP_FIXED: u64 = 0x10;
/// No file: memory that reads as zero.
pub const MAP_ANONYMOUS: u64 = 0x20;
/// Below 2^31, on x86-64.
pub const MAP_32BIT: u64 = 0x40;
/// Extends downwards by faults.
pub const MAP_GROWSDOWN: u64 = 0x100;
/// Locked into memory.
pub const MAP_LOCKED: u64 = 0x2000;
/// No memory is reserved.
pub const MAP_NORESERVE: u64 = 0x4000;
/// Faulted in at once.
pub const MAP_POPULATE: u64 = 0x8000;
/// Takes [`MAP_POPULATE`] back.
pub const MAP_NONBLOCK: u64 = 0x1_0000;
/// For a stack: it gets no huge pages.
pub const MAP_STACK: u64 = 0x2_0000;
/// From a reserve of huge pages.
pub const MAP_HUGETLB: u64 = 0x4_0000;
/// Exactly there, or not at all.
pub const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

/// What [`MAP_SHARED_VALIDATE`] knows; `MAP_FIXED_NOREPLACE` is younger, and not among it.
const KNOWN: u64 = MAP_SHARED
    | MAP_PRIVATE
    | MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_32BIT
    | MAP_GROWSDOWN
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_HUGETLB
    // MAP_ABOVE4G, MAP_DENYWRITE, MAP_EXECUTABLE, MAP_UNINITIALIZED; sizes of huge pages.
    | 0x80
    | 0x800
    | 0x1000
    | 0x400_0000
    | 21 << 26
    | 30 << 26;

/// Makes a mapping, as `mmap` does; its address. `file` is what the descriptor means, `None` if it is not open; it is
/// not looked at with [`MAP_ANONYMOUS`].
///
/// Not built: reserves of huge pages ([`MAP_HUGETLB`], as a Linux without them: `EINVAL`), locking ([`MAP_LOCKED`] is
/// refused as to a process that may lock nothing), `MAP_DROPPABLE`, and [`MAP_32BIT`], which means nothing.
///
/// # Errors
/// In this order: `EINVAL` for an offset that is not aligned; `EBADF`; `EINVAL` for huge pages, or length 0; `ENOMEM`
/// if the range is longer than the address space, or leaves it; `EINVAL` if a fixed address is not aligned; `EPERM` if
/// it is too low; `ENOMEM` if there is no room; `EEXIST`; `EPERM` for locking; `EOVERFLOW` if the offset is too large;
/// `EOPNOTSUPP` for an unknown flag with [`MAP_SHARED_VALIDATE`]; `EACCES` if the file was not opened for it; `EINVAL`
/// for what cannot grow down, or a type that is none; `ENOMEM` if memory is short, or may not be promised.
pub fn mmap<'vm, M: Machine>(
    space: &Space<'vm, M>,
    address: u64,
    length: u64,
    prot: u64,
    flags: u64,
    file: Option<File<'_, 'vm, M>>,
    offset: u64,
) -> Result<u64, Errno> {
    if !is_aligned::<M>(offset) {
        return Err(Errno::EINVAL);
    }
    let file = if flags & MAP_ANONYMOUS != 0 { None } else { Some(file.ok_or(Errno::EBADF)?) };
    if flags & MAP_HUGETLB != 0 || length == 0 {
        return Err(Errno::EINVAL);
    }
    let length = rounded::<M>(length);
    let place = place::<M>(address, length, flags)?;
    let request = match file {
        None => anonymous(length, rights(prot), flags),
        Some(file) => of_file(file, offset, length, rights(prot), flags),
    };
    let request = match request {
        Ok(request) => request.at(place),
        Err(error) => return Err(occupied(space, place, length).unwrap_or(error)),
    };
    space.map(&request.with(properties(flags))).map_err(|error| match error {
        Error::Limit { .. } | Error::CommitLimit { .. } => occupied(space, place, length).unwrap_or(Errno::ENOMEM),
        error => error.into(),
    })
}

/// Where a mapping of `length` bytes goes.
fn place<M: Machine>(address: u64, length: u64, flags: u64) -> Result<Place, Errno> {
    if length == 0 || length > task_size::<M>() {
        return Err(Errno::ENOMEM);
    }
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) == 0 {
        let hint = address & !(page::<M>() - 1);
        return Ok(if hint == 0 { Place::Anywhere } else { Place::Hint(hint.max(M::Arch::USER_START)) });
    }
    if address > task_size::<M>() - length {
        return Err(Errno::ENOMEM);
    }
    if !is_aligned::<M>(address) {
        return Err(Errno::EINVAL);
    }
    if address < M::Arch::USER_START {
        return Err(Errno::EPERM);
    }
    let replaces = flags & MAP_FIXED_NOREPLACE == 0;
    Ok(if replaces { Place::Fixed(address) } else { Place::FixedNoReplace(address) })
}

fn anonymous<'a, 'vm, M: Machine>(length: u64, prot: Prot, flags: u64) -> Result<MapRequest<'a, 'vm, M>, Errno> {
    if flags & MAP_LOCKED != 0 {
        return Err(Errno::EPERM);
    }
    match flags & MAP_TYPE {
        MAP_PRIVATE => Ok(MapRequest::anonymous(length, prot)),
        MAP_SHARED if flags & MAP_GROWSDOWN == 0 => Ok(MapRequest::shared(length, prot)),
        _ => Err(Errno::EINVAL),
    }
}

fn of_file<'a, 'vm, M: Machine>(
    file: File<'a, 'vm, M>,
    offset: u64,
    length: u64,
    prot: Prot,
    flags: u64,
) -> Result<MapRequest<'a, 'vm, M>, Errno> {
    if flags & MAP_LOCKED != 0 {
        return Err(Errno::EPERM);
    }
    if offset > i64::MAX as u64 - length {
        return Err(Errno::EOVERFLOW);
    }
    let sharing = match flags & MAP_TYPE {
        MAP_SHARED_VALIDATE if flags & !KNOWN != 0 => return Err(Errno::EOPNOTSUPP),
        MAP_SHARED | MAP_SHARED_VALIDATE => Sharing::Shared,
        MAP_PRIVATE => Sharing::Private,
        _ => return Err(Errno::EINVAL),
    };
    let is_read_only = sharing == Sharing::Shared && !file.writable;
    if !file.readable || is_read_only && prot.has(Prot::WRITE) {
        return Err(Errno::EACCES);
    }
    if flags & MAP_GROWSDOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let request = MapRequest::object(file.object, offset, sharing, length, prot);
    let max_prot = if is_read_only { Prot::READ | Prot::EXECUTE } else { request.max_prot };
    Ok(MapRequest { max_prot, ..request })
}

fn properties(flags: u64) -> MapFlags {
    let flag = |on: bool, flag: MapFlags| if on { flag } else { MapFlags::NONE };
    flag(flags & MAP_GROWSDOWN != 0, MapFlags::GROWS_DOWN)
        | flag(flags & MAP_NORESERVE != 0, MapFlags::NO_RESERVE)
        | flag(flags & MAP_STACK != 0, MapFlags::NO_HUGE_PAGES)
        | flag(flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE, MapFlags::POPULATE)
}

/// The error of a place that is taken, which comes before those of the type, the file and the limit.
fn occupied<M: Machine>(space: &Space<'_, M>, place: Place, length: u64) -> Option<Errno> {
    match place {
        Place::Fixed(_) => None,
        Place::FixedNoReplace(address) => space.first_mapped(address, length).map(|_| Errno::EEXIST),
        Place::Anywhere | Place::Hint(_) => space.find_room(length).err().map(Errno::from),
    }
}
