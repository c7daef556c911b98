//! The same jobs with the crates `memory_set` and `page_table_multiarch`, where those can do them.
//!
//! They are used as the kernels do that are built on them: areas in a `MemorySet`, whose backend fills an x86-64 page
//! table, at once or by a fault handler which allocates a frame. They take no locks (their caller must have one around
//! everything), and frames come from a plain stack. They can neither fork, nor share pages, nor read as zero without a
//! page of one's own.

use super::machine::{Arena, PAGE};
use super::window::Window;
use memory_addr::{AddrRange, MemoryAddr, PhysAddr, VirtAddr};
use memory_set::{MappingBackend, MemoryArea, MemorySet};
use page_table_multiarch::x86_64::X64PageTable;
use page_table_multiarch::{MappingFlags, PageSize, PagingHandler};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Frames of the machine: 256 MiB.
const FRAMES: usize = 1 << 16;
const SPACE_PAGES: u64 = 16_384;
const REPETITIONS: u64 = 8192;
const BASE: usize = 0x4000_0000;
const LIMIT: usize = 1 << 46;

/// The free frames: a stack. Their "physical" addresses are the host's.
struct Frames {
    arena: Arena,
    free: Box<[AtomicUsize]>,
    count: AtomicUsize,
}

fn frames() -> &'static Frames {
    static STACK: OnceLock<Frames> = OnceLock::new();
    STACK.get_or_init(|| {
        let arena = Arena::new(FRAMES);
        let free = arena.pages().map(AtomicUsize::new).collect();
        Frames { arena, free, count: AtomicUsize::new(FRAMES) }
    })
}

struct Handler;

impl PagingHandler for Handler {
    fn alloc_frames(count: usize, _align: usize) -> Option<PhysAddr> {
        assert!(count == 1, "frames are asked for one by one");
        let frames = frames();
        let left = frames.count.load(Relaxed).checked_sub(1)?;
        frames.count.store(left, Relaxed);
        Some(frames.free[left].load(Relaxed).into())
    }

    fn dealloc_frames(address: PhysAddr, _count: usize) {
        let frames = frames();
        let count = frames.count.load(Relaxed);
        frames.free[count].store(address.into(), Relaxed);
        frames.count.store(count + 1, Relaxed);
    }

    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        VirtAddr::from(address.as_usize())
    }
}

type Table = X64PageTable<Handler>;

/// Anonymous memory: filled when it is mapped, or by faults.
#[derive(Clone)]
struct Anonymous {
    at_once: bool,
}

impl Anonymous {
    fn fill(page: VirtAddr, flags: MappingFlags, table: &mut Table) -> bool {
        let Some(frame) = Handler::alloc_frame() else { return false };
        frames().arena.clear_at(frame.as_usize());
        table.cursor().map(page, frame, PageSize::Size4K, flags).is_ok()
    }
}

fn pages(start: VirtAddr, size: usize) -> impl Iterator<Item = VirtAddr> {
    (0..size / PAGE).map(move |page| start + page * PAGE)
}

impl MappingBackend for Anonymous {
    type Addr = VirtAddr;
    type Flags = MappingFlags;
    type PageTable = Table;

    fn map(&self, start: VirtAddr, size: usize, flags: MappingFlags, table: &mut Table) -> bool {
        !self.at_once || pages(start, size).all(|page| Self::fill(page, flags, table))
    }

    fn unmap(&self, start: VirtAddr, size: usize, table: &mut Table) -> bool {
        let mut cursor = table.cursor();
        for page in pages(start, size) {
            // A page that was never touched is not there.
            if let Ok((frame, ..)) = cursor.unmap(page) {
                Handler::dealloc_frame(frame);
            }
        }
        true
    }

    fn protect(&self, start: VirtAddr, size: usize, flags: MappingFlags, table: &mut Table) -> bool {
        table.cursor().protect_region(start, size, flags).is_ok()
    }
}

/// An address space as these crates make one.
struct PeerSpace {
    areas: MemorySet<Anonymous>,
    table: Table,
}

fn read_write() -> MappingFlags {
    MappingFlags::READ | MappingFlags::WRITE | MappingFlags::USER
}

impl PeerSpace {
    fn new() -> PeerSpace {
        PeerSpace { areas: MemorySet::new(), table: Table::try_new().expect("there is memory") }
    }

    /// One with a dozen areas, as `jobs` has it.
    fn inhabited() -> PeerSpace {
        let mut space = PeerSpace::new();
        for number in 0..12 {
            let address = space.map(4, true);
            if number % 2 == 1 {
                space.protect(address, 4, MappingFlags::READ | MappingFlags::USER);
            }
        }
        space
    }

    fn map(&mut self, count: u64, at_once: bool) -> VirtAddr {
        let size = count as usize * PAGE;
        let limit = AddrRange::new(BASE.into(), LIMIT.into());
        let address = self.areas.find_free_area(BASE.into(), size, limit, PAGE).expect("there is room");
        let area = MemoryArea::new(address, size, read_write(), Anonymous { at_once });
        self.areas.map(area, &mut self.table, false).expect("there is memory");
        address
    }

    fn unmap(&mut self, address: VirtAddr, count: u64) {
        self.areas.unmap(address, count as usize * PAGE, &mut self.table).expect("it is mapped");
    }

    fn protect(&mut self, address: VirtAddr, count: u64, flags: MappingFlags) {
        let change = |_| Some(flags);
        self.areas.protect(address, count as usize * PAGE, change, &mut self.table).expect("it is mapped");
    }

    fn fault(&mut self, address: VirtAddr) {
        let area = self.areas.find(address).expect("it is mapped");
        assert!(area.flags().contains(MappingFlags::WRITE), "it is writable");
        assert!(Anonymous::fill(address.align_down_4k(), area.flags(), &mut self.table), "there is memory");
    }
}

pub fn fault_anon(window: &mut Window) {
    let mut space = PeerSpace::inhabited();
    let address = space.map(REPETITIONS, false);
    window.each(REPETITIONS, |page| space.fault(address + page as usize * PAGE), || ());
}

pub fn populate(window: &mut Window) {
    let mut space = PeerSpace::inhabited();
    window.whole(SPACE_PAGES, || _ = space.map(SPACE_PAGES, true), || ());
}

pub fn map_unmap(window: &mut Window) {
    let mut space = PeerSpace::inhabited();
    let pair = |_| {
        let address = space.map(1, false);
        space.unmap(address, 1);
    };
    window.each(REPETITIONS, pair, || ());
}

pub fn map_touch_unmap(window: &mut Window) {
    let mut space = PeerSpace::inhabited();
    let round = |_| {
        let address = space.map(1, false);
        space.fault(address);
        space.unmap(address, 1);
    };
    window.each(REPETITIONS, round, || ());
}

pub fn protect_toggle(window: &mut Window) {
    let mut space = PeerSpace::inhabited();
    let address = space.map(16, true) + 7 * PAGE;
    let toggle = |_| {
        space.protect(address, 1, MappingFlags::READ | MappingFlags::USER);
        space.protect(address, 1, read_write());
    };
    window.each(REPETITIONS, toggle, || ());
}

pub fn translate(window: &mut Window) {
    let mut space = PeerSpace::inhabited();
    let address = space.map(REPETITIONS, true);
    let mut seen = 0;
    let look_up = |page| {
        let (frame, flags, _) = space.table.query(address + page as usize * PAGE).expect("the page is there");
        seen ^= frame.as_usize() ^ flags.bits();
    };
    window.each(REPETITIONS, look_up, || ());
    std::hint::black_box(seen);
}

pub fn teardown(window: &mut Window) {
    let mut space = PeerSpace::new();
    space.map(SPACE_PAGES, true);
    let mut space = Some(space);
    let end = || {
        if let Some(mut space) = space.take() {
            space.areas.clear(&mut space.table).expect("it is mapped");
        }
    };
    window.whole(SPACE_PAGES, end, || ());
}
