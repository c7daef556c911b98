//! A machine on which mistakes are made, and what there must be the same afterwards.

use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Arch, Prot, X86_64};
use vellum::ops::{Access, FaultError, MapFlags, MapRequest, Place, Sharing, WordError};
use vellum::{
    Audit, Backing, BootError, CommitLimit, Error, IoError, Machine, MemoryUsage, Object, Overcommit, Space, Vm,
};
use vellum_lab::det::{Det, FailurePlan};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;

/// Bytes of a page.
pub(super) const P: u64 = 4096;
/// Where the rows map.
pub(super) const B: u64 = 0x5000_0000_0000;
/// A gibibyte that no page table cuts up.
pub(super) const LARGE: u64 = B + GIB;
pub(super) const GIB: u64 = 1 << 30;
/// Where no page table is near.
pub(super) const FAR: u64 = B + (1 << 40);
/// End of the address space.
pub(super) const END: u64 = X86_64::USER_END;

pub(super) const R: Prot = Prot::READ;
pub(super) const RW: Prot = Prot::READ_WRITE;
pub(super) const RX: Prot = R.with(Prot::EXECUTE);

/// As hosted machines are, for which other tests have the core.
pub(super) type M = Host<X86_64>;

/// A deterministic machine.
pub(super) fn det<A: Arch>(config: &MachineConfig) -> Host<A> {
    Host::Det(Det::new(config).expect("host memory"))
}

/// What a mistake came to.
pub(super) struct Told {
    /// The type of the error.
    pub(super) kind: String,
    /// The error with its operands, addresses as in the page.
    pub(super) error: String,
    /// Its number, if it has one.
    pub(super) number: Option<i32>,
    /// What is done all the same.
    pub(super) done: Option<&'static str>,
}

/// An error of the core's.
pub(super) trait Mistake: Copy + Debug + PartialEq {
    fn number(&self) -> Option<i32> {
        None
    }
}

impl Mistake for Error {
    fn number(&self) -> Option<i32> {
        Some(self.errno())
    }
}

impl Mistake for FaultError {}
impl Mistake for WordError {}
impl Mistake for BootError {}

pub(super) fn told<E: Mistake>(error: E) -> Told {
    let kind = std::any::type_name::<E>().rsplit("::").next().unwrap_or_default().to_string();
    Told { kind, error: with_places(&format!("{error:?}")), number: error.number(), done: None }
}

/// The text with its numbers as the page has them: in terms of `B`, `END` and `P`.
fn with_places(text: &str) -> String {
    let mut parts = text.split('"');
    let mut whole = in_terms(parts.next().unwrap_or_default());
    // Every second part stands in quotes.
    while let (Some(quoted), rest) = (parts.next(), parts.next()) {
        whole += &format!("\"{quoted}\"{}", in_terms(rest.unwrap_or_default()));
    }
    whole
}

fn in_terms(text: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut whole = String::new();
    let mut rest = text;
    while let Some(place) = rest.find(is_digit) {
        let digits = &rest[place..];
        let end = digits.find(|c| !is_digit(c)).unwrap_or(digits.len());
        whole += &rest[..place];
        whole += &digits[..end].parse().map_or(digits[..end].to_string(), number_in_terms);
        rest = &digits[end..];
    }
    whole + rest
}

fn number_in_terms(number: u64) -> String {
    let pages = |bytes: u64| match (bytes / P, bytes % P) {
        (0, rest) => format!("{rest}"),
        (1, 0) => "P".to_string(),
        (pages, 0) => format!("{pages} P"),
        (pages, rest) => format!("{pages} P + {rest}"),
    };
    for (name, place) in [("B", B), ("LARGE", LARGE), ("FAR", FAR), ("END", END)] {
        match (number.checked_sub(place), place.saturating_sub(number)) {
            (Some(0), _) => return name.to_string(),
            (Some(above), _) if above < 64 * P => return format!("{name} + {}", pages(above)),
            (None, below) if below < 64 * P => return format!("{name} - {}", pages(below)),
            _ => {}
        }
    }
    match number {
        u64::MAX => "u64::MAX".to_string(),
        number if number < 64 * P => pages(number),
        number if number.is_power_of_two() => format!("2^{}", number.ilog2()),
        number if number > (64 * P).wrapping_neg() => format!("2^64 - {}", pages(number.wrapping_neg())),
        number => format!("{number:#x}"),
    }
}

/// A file of some pages, whose bytes are their pages' numbers.
pub(super) struct Disk {
    pub(super) length: AtomicU64,
    /// The page that can be neither read nor written.
    pub(super) bad: AtomicU64,
    /// Whether it has holes, and whether they can be made.
    pub(super) holes: Option<bool>,
}

impl Disk {
    pub(super) fn new(pages: u64) -> Arc<Self> {
        Arc::new(Disk::of(pages))
    }

    /// One that can have no holes.
    pub(super) fn of(pages: u64) -> Self {
        Disk { length: AtomicU64::new(pages * P), bad: AtomicU64::new(u64::MAX), holes: None }
    }

    fn pass(&self, index: u64) -> Result<(), IoError> {
        if self.bad.load(Relaxed) == index { Err(IoError) } else { Ok(()) }
    }
}

impl Backing for Disk {
    fn length(&self) -> u64 {
        self.length.load(Relaxed)
    }
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        page.fill(index as u8);
        self.pass(index)
    }
    fn write(&self, index: u64, _page: &[u8]) -> Result<(), IoError> {
        self.pass(index)
    }
    fn can_punch(&self) -> bool {
        self.holes.is_some()
    }
    fn punch(&self, _start: u64, _length: u64) -> Result<(), IoError> {
        if self.holes == Some(true) { Ok(()) } else { Err(IoError) }
    }
}

/// A space with a few mappings. From [`B`] on: two private pages, the first of which was stored to; two pages of shared
/// memory, for loads, the first of which was loaded from; and a hole. At [`LARGE`] a gibibyte of private memory.
pub(super) struct World<'vm> {
    pub(super) vm: &'vm Vm<M>,
    pub(super) space: Space<'vm, M>,
    objects: RefCell<Vec<Object<'vm, M>>>,
}

/// Runs `body` in a new world, and recounts everything afterwards.
pub(super) fn with_world(body: impl FnOnce(&World<'_>) -> Told) -> Told {
    let vm = Vm::new(det(&MachineConfig::new(1, 4096))).expect("a machine");
    vm.set_overcommit(Overcommit::Always);
    let world = World { vm: &vm, space: vm.create_space().expect("memory"), objects: RefCell::default() };
    world.put(B, MapRequest::anonymous(2 * P, RW));
    world.put(B + 2 * P, MapRequest::shared(2 * P, R));
    world.put(LARGE, MapRequest::anonymous(GIB, RW));
    world.store(B);
    world.space.fault(B + 2 * P, Access::Read).expect("memory");
    let told = body(&world);
    drop(world);
    // SAFETY: nothing else runs.
    unsafe { vm.audit() }.expect("nothing is lost");
    assert_eq!(vm.machine().det().take_violations(), []);
    told
}

impl<'vm> World<'vm> {
    /// Maps something at `address`.
    pub(super) fn put(&self, address: u64, request: MapRequest<'_, 'vm, M>) {
        assert_eq!(self.space.map(&request.at(Place::Fixed(address))), Ok(address));
    }

    /// Maps `pages` pages of private memory at `address` that grow down.
    pub(super) fn put_stack(&self, address: u64, length: u64, prot: Prot) {
        self.put(address, MapRequest::anonymous(length, prot).with(MapFlags::GROWS_DOWN));
    }

    /// Maps the first pages of a file at `address`, shared, which may be protected up to `max_prot`.
    pub(super) fn put_file(&self, address: u64, pages: u64, prot: Prot, max_prot: Prot, file: &Object<'vm, M>) {
        let request = MapRequest::object(file, 0, Sharing::Shared, pages * P, prot);
        self.put(address, MapRequest { max_prot, ..request });
    }

    /// A file that shows `disk`, whose length and pages are looked at.
    pub(super) fn file(&self, disk: &Arc<Disk>) -> Object<'vm, M> {
        self.look_at(self.vm.file(disk.clone()).expect("memory"))
    }

    /// The object, whose length and pages are looked at from now on.
    pub(super) fn look_at(&self, object: Object<'vm, M>) -> Object<'vm, M> {
        self.objects.borrow_mut().push(object.clone());
        object
    }

    /// Maps four pages of a file of `pages` pages at `B + 8 P`, shared, for stores, of which `bad` cannot be had.
    pub(super) fn put_bad_file(&self, pages: u64, bad: u64) -> (Object<'vm, M>, Arc<Disk>) {
        let disk = Disk::new(pages);
        let file = self.file(&disk);
        disk.bad.store(bad, Relaxed);
        self.put_file(B + 8 * P, 4, RW, RW, &file);
        (file, disk)
    }

    /// No page more may be committed from now on.
    pub(super) fn commit_no_more(&self) {
        self.vm.set_overcommit(Overcommit::Never(CommitLimit::Bytes(self.vm.committed_bytes())));
    }

    /// Stores to the page at `address`, as the program would.
    pub(super) fn store(&self, address: u64) {
        self.space.copy_out(address, &[7]).expect("mapped");
    }

    /// Makes a mistake, and again; nothing has changed.
    pub(super) fn fails<T, E: Mistake>(&self, call: impl FnMut() -> Result<T, E>) -> Told {
        self.fails_in(&[&self.space], call)
    }

    /// As [`World::fails`], in other spaces.
    pub(super) fn fails_in<T, E: Mistake>(&self, spaces: &[&Space<'_, M>], call: impl FnMut() -> Result<T, E>) -> Told {
        fails(self.vm, spaces, &self.objects.borrow(), call)
    }

    /// Makes a call with so many allocations before memory is at its end.
    fn short<T>(&self, left: u64, call: &mut impl FnMut() -> T) -> T {
        self.vm.machine().det().set_failure_plan(FailurePlan::From(left));
        let result = call();
        self.vm.machine().det().set_failure_plan(FailurePlan::Never);
        result
    }

    /// As [`World::fails`], while memory is short: none is left from the first allocation on, or from the second, and
    /// so on, until the call does with what it gets.
    pub(super) fn starves<T, E: Mistake>(&self, mut call: impl FnMut() -> Result<T, E>) -> Told {
        let told = self.fails(|| self.short(0, &mut call));
        let mut more = |left: &u64| {
            let again = try_to_fail(self.vm, &[&self.space], &self.objects.borrow(), || self.short(*left, &mut call))?;
            assert_eq!(again.error, told.error, "with {left} allocations");
            Some(())
        };
        let most = (1..).map_while(|left| more(&left)).count();
        assert!(most < 100, "{most} allocations");
        told
    }

    /// As [`World::starves`], for an access, which leaves the tables there that it has made.
    pub(super) fn starves_in_fault<T, E: Mistake>(&self, mut call: impl FnMut() -> Result<T, E>) -> Told {
        let told = self.fails(|| self.short(0, &mut call));
        let look = || State::of(self.vm, &[&self.space], &self.objects.borrow()).without_tables();
        let before = look();
        let tables = self.space.table_pages();
        for left in 1.. {
            let Err(error) = self.short(left, &mut call) else { break };
            assert_eq!(self::told(error).error, told.error, "with {left} allocations");
            assert_eq!(look(), before, "with {left} allocations");
        }
        assert!(self.space.table_pages() > tables, "no table was made");
        Told { done: Some("tables that were made for it stay"), ..told }
    }

    /// Makes a mistake which leaves something done.
    pub(super) fn partly<T, E: Mistake>(&self, done: &'static str, call: impl FnOnce() -> Result<T, E>) -> Told {
        let look = || State::of(self.vm, &[&self.space], &self.objects.borrow());
        let before = look();
        let error = call().err().expect("a mistake");
        assert_ne!(look(), before, "{error:?} has changed nothing, not: {done}");
        Told { done: Some(done), ..told(error) }
    }
}

/// [`World::fails`], on any machine.
pub(super) fn fails<A: Arch, T, E: Mistake>(
    vm: &Vm<Host<A>>,
    spaces: &[&Space<'_, Host<A>>],
    objects: &[Object<'_, Host<A>>],
    call: impl FnMut() -> Result<T, E>,
) -> Told {
    try_to_fail(vm, spaces, objects, call).expect("a mistake")
}

/// [`fails`], but for a call that may be none: then it is made once.
fn try_to_fail<A: Arch, T, E: Mistake>(
    vm: &Vm<Host<A>>,
    spaces: &[&Space<'_, Host<A>>],
    objects: &[Object<'_, Host<A>>],
    mut call: impl FnMut() -> Result<T, E>,
) -> Option<Told> {
    let before = State::of(vm, spaces, objects);
    let error = call().err()?;
    assert_eq!(State::of(vm, spaces, objects), before, "after {error:?}");
    // What the first call has left on the core's own lists is used by the second.
    let memory = memory(vm);
    assert_eq!(call().err(), Some(error), "the second time");
    assert_eq!(State::of(vm, spaces, objects), before, "after {error:?}, the second time");
    assert_eq!(self::memory(vm), memory, "memory in use, after {error:?}");
    Some(told(error))
}

/// What memory is used for, when nothing waits to be freed.
fn memory<A: Arch>(vm: &Vm<Host<A>>) -> MemoryUsage {
    vm.quiesce();
    vm.usage()
}

/// What must not change.
#[derive(Debug, PartialEq, Eq)]
struct State {
    audit: Audit,
    spaces: Vec<SpaceState>,
    /// Lengths, and pages in memory.
    objects: Vec<(u64, u64)>,
    swap: vellum::SwapUsage,
}

impl State {
    /// But for how many tables there are.
    fn without_tables(mut self) -> Self {
        self.audit.tables = 0;
        self.spaces.iter_mut().for_each(|space| space.tables = 0);
        self
    }
}

#[derive(Debug, PartialEq, Eq)]
struct SpaceState {
    maps: Vec<vellum::SmapsEntry>,
    resident: vellum::Rss,
    mapped: u64,
    tables: u64,
    brk: Result<u64, Error>,
    /// The pages that are there: address and a sum of what is in them.
    contents: Vec<(u64, u64)>,
}

impl State {
    fn of<A: Arch>(vm: &Vm<Host<A>>, spaces: &[&Space<'_, Host<A>>], objects: &[Object<'_, Host<A>>]) -> Self {
        vm.quiesce();
        // SAFETY: nothing else runs.
        let audit = unsafe { vm.audit() }.expect("nothing is lost");
        State {
            audit: Audit { free_frames: 0, ..audit },
            spaces: spaces.iter().map(|space| SpaceState::of(space)).collect(),
            objects: objects.iter().map(|object| (object.length(), object.cached_pages())).collect(),
            swap: vm.swap_usage(),
        }
    }
}

impl SpaceState {
    fn of<A: Arch>(space: &Space<'_, Host<A>>) -> Self {
        let mut maps = Vec::new();
        space.smaps(&mut |map| maps.push(*map));
        let pages =
            maps.iter().filter(|map| map.resident > 0).flat_map(|map| (map.map.start..map.map.end).step_by(P as usize));
        let contents = pages.filter_map(|address| Some((address, sum(space, address)?))).collect();
        SpaceState {
            contents,
            resident: space.rss(),
            mapped: space.mapped_bytes(),
            tables: space.table_pages(),
            brk: space.brk(0),
            maps,
        }
    }
}

/// A sum of the bytes of the page at `address`, if one is there.
fn sum<A: Arch>(space: &Space<'_, Host<A>>, address: u64) -> Option<u64> {
    let page = space.vm().machine().frame(space.translate(address)?.pfn).cast::<u64>();
    // SAFETY: a frame of the machine, a page long, which nobody else accesses.
    let words = (0..P as usize / 8).map(|word| unsafe { page.add(word).read() });
    Some(words.fold(0, |sum, word| sum.wrapping_mul(31).wrapping_add(word)))
}

#[test]
fn numbers_are_told_as_on_the_page() {
    let told = |number: u64| with_places(&format!("It {{ what: \"2nd\", at: {number} }}"));
    assert_eq!(told(B + 2 * P), "It { what: \"2nd\", at: B + 2 P }");
    assert_eq!(told(FAR + 1), "It { what: \"2nd\", at: FAR + 1 }");
    assert_eq!(told(FAR - 2 * P), "It { what: \"2nd\", at: FAR - 2 P }");
    assert_eq!(told(0u64.wrapping_sub(P)), "It { what: \"2nd\", at: 2^64 - P }");
    assert_eq!(told(u64::MAX), "It { what: \"2nd\", at: u64::MAX }");
    assert_eq!(told(1 << 63), "It { what: \"2nd\", at: 2^63 }");
    assert_eq!(told(3), "It { what: \"2nd\", at: 3 }");
}

/// A call which has changed something is found out.
#[test]
#[should_panic(expected = "after Limit")]
fn changes_are_noticed() {
    let call = |world: &World<'_>| {
        world.fails(|| {
            world.store(B + P);
            Err::<(), _>(Error::Limit { length: 0 })
        })
    };
    with_world(call);
}
