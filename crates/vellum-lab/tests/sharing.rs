//! How much of the core's state an operation shares with other CPUs: counted, line by line, on the recording machine.
//!
//! What the core writes to pages' contents is not in a record; everything that goes through `vellum::sync` is: the
//! page-table entries, the frames' descriptors, and what belongs to the CPU alone.

use std::collections::BTreeSet;
use std::fmt::Write;
use vellum::arch::{Prot, X86_64};
use vellum::ops::{Access, FaultKind, MapRequest, Place};
use vellum::{Kind, Machine, Pfn, Space, Vm};
use vellum_lab::det::Det;
use vellum_lab::hardware::MachineConfig;
use vellum_lab::hosted::Hosted;
use vellum_lab::recorder::{self, LINE_SHIFT, Record, SharedLine, Summary};

type Recorded = Hosted<X86_64, true>;
type RecordedSpace<'vm> = Space<'vm, Det<X86_64, true>>;

const PAGE: u64 = 4096;
/// What an anonymous fault may do at most.
const FAULT_MODIFIES_MAX: f64 = 4.0;
const FAULT_LINES_MAX: f64 = 8.0;
/// Where the two CPUs work: 16 MiB apart, in leaf tables of their own.
const BASES: [u64; 2] = [0x10_0000_0000, 0x10_0100_0000];
const CPUS: usize = 2;

fn machine() -> Recorded {
    Hosted::new(&MachineConfig::new(CPUS, 16_384)).expect("the host has memory")
}

fn recorded(operation: impl FnOnce()) -> Vec<Record> {
    recorder::start();
    operation();
    recorder::stop()
}

fn map_at(space: &RecordedSpace<'_>, address: u64, pages: u64) {
    let request = MapRequest::anonymous(pages * PAGE, Prot::READ_WRITE).at(Place::FixedNoReplace(address));
    assert_eq!(space.map(&request), Ok(address));
}

fn touch(space: &RecordedSpace<'_>, address: u64) {
    assert_eq!(space.fault(address, Access::Write), Ok(FaultKind::Anonymous), "at {address:#x}");
}

/// What one fault did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FaultCost {
    modifies: u64,
    lines: usize,
}

fn fault_costs(hosted: &Recorded, faults: u64) -> Vec<FaultCost> {
    let space = hosted.vm().create_space().expect("there is memory");
    hosted.switch_to(0, &space);
    map_at(&space, BASES[0], faults);
    let cost = |page| {
        let summary = Summary::of(&recorded(|| touch(&space, BASES[0] + page * PAGE)));
        let cpu = &summary.cpus[&0];
        FaultCost { modifies: cpu.modifies, lines: cpu.lines_written.len() }
    };
    (0..faults).map(cost).collect()
}

#[test]
fn an_anonymous_fault_modifies_little() {
    let hosted = machine();
    let mut costs = fault_costs(&hosted, 4096);
    let mean = |of: fn(&FaultCost) -> f64| costs.iter().map(of).sum::<f64>() / costs.len() as f64;
    let (modifies, lines) = (mean(|cost| cost.modifies as f64), mean(|cost| cost.lines as f64));
    costs.sort();
    let (median, most) = (costs[costs.len() / 2], costs[costs.len() - 1]);
    println!("anonymous fault, mean: {modifies:.2} read-modify-writes, {lines:.2} lines written");
    println!("anonymous fault, median: {} read-modify-writes, {} lines written", median.modifies, median.lines);
    println!("anonymous fault, most: {} read-modify-writes, {} lines written", most.modifies, most.lines);
    for (modifies, lines) in [(modifies, lines), (median.modifies as f64, median.lines as f64)] {
        assert!(modifies <= FAULT_MODIFIES_MAX, "{modifies} read-modify-writes a fault");
        assert!(lines <= FAULT_LINES_MAX, "{lines} lines written a fault");
    }
}

/// What lies where in the machine's memory, as far as can be found out from outside.
struct Atlas<'h> {
    hosted: &'h Recorded,
    /// Lines that may be written by several CPUs when present entries are removed.
    generation: BTreeSet<usize>,
    mailboxes: BTreeSet<usize>,
}

impl<'h> Atlas<'h> {
    fn of(hosted: &'h Recorded, space: &RecordedSpace<'_>) -> Self {
        Atlas { hosted, generation: generation_line(hosted, space), mailboxes: mailbox_lines(hosted) }
    }

    fn kind(&self, address: usize) -> Option<Kind> {
        kind_at(self.hosted, address)
    }

    fn name(&self, address: usize) -> String {
        let line = address >> LINE_SHIFT;
        let vm = self.hosted.vm() as *const Vm<_> as usize;
        if self.generation.contains(&line) {
            "the space's generation and CPU set".to_string()
        } else if self.mailboxes.contains(&line) {
            "a flush mailbox".to_string()
        } else if (vm..vm + size_of_val(self.hosted.vm())).contains(&address) {
            format!("Vm + {:#x} (zones, slabs, classes, registries)", address - vm)
        } else {
            match self.kind(address) {
                Some(Kind::Table) => format!("entries of a page table, from slot {}", address % PAGE as usize / 8),
                Some(Kind::Reserved) => "boot memory: a frame descriptor or a CPU's own state".to_string(),
                Some(kind) => format!("a frame in use as {kind:?}, + {:#x}", address % PAGE as usize),
                None => "outside the machine's memory".to_string(),
            }
        }
    }
}

fn kind_at(hosted: &Recorded, address: usize) -> Option<Kind> {
    let range = hosted.machine().memory()[0];
    let offset = address.checked_sub(hosted.machine().frame(range.start).addr())? as u64;
    hosted.vm().frame_kind(Pfn(range.start.0 + offset / PAGE))
}

/// The line of a space that a CPU modifies when it enters the space.
fn generation_line(hosted: &Recorded, space: &RecordedSpace<'_>) -> BTreeSet<usize> {
    hosted.idle(0);
    let records = recorded(|| hosted.on(0, || hosted.vm().switch_to(Some(space))));
    hosted.idle(0);
    let of_a_space = |record: &&Record| kind_at(hosted, record.address) == Some(Kind::Slab);
    let lines =
        BTreeSet::from_iter(records.iter().filter(|record| record.writes()).filter(of_a_space).map(Record::line));
    assert_eq!(lines.len(), 1, "entering a space writes one line of it");
    lines
}

/// The lines that CPUs write in each other's state when they flush each other.
fn mailbox_lines(hosted: &Recorded) -> BTreeSet<usize> {
    let space = hosted.vm().create_space().expect("there is memory");
    map_at(&space, BASES[0], 4);
    (0..CPUS).for_each(|cpu| hosted.switch_to(cpu, &space));
    let mut lines = BTreeSet::new();
    for cpu in 0..CPUS {
        hosted.on(cpu, || touch(&space, BASES[0] + cpu as u64 * PAGE));
        let records =
            recorded(|| hosted.on(cpu, || assert_eq!(space.unmap(BASES[0] + cpu as u64 * PAGE, PAGE), Ok(()))));
        let both = Summary::of(&records).lines_written_by_several(|_| String::new());
        lines.extend(
            both.iter()
                .map(|shared| shared.line)
                .filter(|line| kind_at(hosted, line << LINE_SHIFT) == Some(Kind::Reserved)),
        );
    }
    (0..CPUS).for_each(|cpu| hosted.idle(cpu));
    assert!(lines.len() <= 2 * CPUS, "a mailbox is two lines");
    lines
}

/// A space that both CPUs have loaded, with an anchor page in each one's leaf table, and frames on each CPU's list.
fn shared_space(hosted: &Recorded) -> RecordedSpace<'_> {
    let space = hosted.vm().create_space().expect("there is memory");
    for (cpu, base) in BASES.into_iter().enumerate() {
        hosted.switch_to(cpu, &space);
        map_at(&space, base, 1);
        touch(&space, base);
        map_at(&space, base + 2 * PAGE, 40);
        (2..42).for_each(|page| touch(&space, base + page * PAGE));
        assert_eq!(space.unmap(base + 2 * PAGE, 40 * PAGE), Ok(()));
    }
    space
}

/// Lets both CPUs do `operation` in turn, each in its range, and reports the lines that both wrote.
fn written_by_both(hosted: &Recorded, atlas: &Atlas<'_>, rounds: u64, operation: impl Fn(u64, u64)) -> Vec<SharedLine> {
    let records = recorded(|| {
        for round in 0..rounds {
            for (cpu, base) in BASES.into_iter().enumerate() {
                hosted.on(cpu, || operation(base, round));
            }
        }
    });
    let summary = Summary::of(&records);
    let contended = summary.lines_contended(|address| atlas.name(address)).len();
    let shared = summary.lines_written_by_several(|address| atlas.name(address));
    println!(
        "  lines written by both: {}; written by one and read by the other besides: {}",
        shared.len(),
        contended - shared.len()
    );
    shared
}

fn assert_only(what: &str, shared: &[SharedLine], allowed: impl Fn(usize) -> bool) {
    let wrong = shared.iter().filter(|shared| !allowed(shared.line));
    let list = wrong.fold(String::new(), |mut list, shared| {
        let _ = write!(list, "\n  {:#x}: {}", shared.line << LINE_SHIFT, shared.name);
        list
    });
    assert!(list.is_empty(), "{what}: both CPUs write{list}");
}

/// Maps and unmaps, faults, and does both together, by both CPUs in turn from page `first` of their ranges on.
fn work_apart(hosted: &Recorded, space: &RecordedSpace<'_>, first: u64) {
    let atlas = Atlas::of(hosted, space);
    (0..CPUS).for_each(|cpu| hosted.switch_to(cpu, space));

    println!("map and unmap, untouched:");
    let untouched = written_by_both(hosted, &atlas, 200, |base, round| {
        let address = base + (first + round % 100) * PAGE;
        map_at(space, address, 1);
        assert_eq!(space.unmap(address, PAGE), Ok(()));
    });
    assert_only("map and unmap", &untouched, |_| false);

    println!("fault:");
    let all = |operation: fn(&RecordedSpace<'_>, u64)| {
        (0..CPUS).for_each(|cpu| hosted.on(cpu, || operation(space, BASES[cpu] + first * PAGE)));
    };
    all(|space, address| map_at(space, address, 16));
    let faults = written_by_both(hosted, &atlas, 16, |base, round| touch(space, base + (first + round) * PAGE));
    assert_only("fault", &faults, |_| false);
    all(|space, address| assert_eq!(space.unmap(address, 16 * PAGE), Ok(())));

    println!("map, fault and unmap:");
    let touched = written_by_both(hosted, &atlas, 200, |base, round| {
        let address = base + (first + round % 100) * PAGE;
        map_at(space, address, 1);
        touch(space, address);
        assert_eq!(space.unmap(address, PAGE), Ok(()));
    });
    let allowed = |line| atlas.generation.contains(&line) || atlas.mailboxes.contains(&line);
    assert_only("map, fault and unmap", &touched, allowed);
    assert_eq!(hosted.take_violations(), []);
}

#[test]
fn cpus_in_ranges_of_their_own_write_no_common_line() {
    let hosted = machine();
    let space = shared_space(&hosted);
    work_apart(&hosted, &space, 2);
}

#[test]
fn nor_do_they_where_many_mappings_lie_in_a_table() {
    let hosted = machine();
    let space = shared_space(&hosted);
    for (cpu, base) in BASES.into_iter().enumerate() {
        hosted.on(cpu, || (0..16).for_each(|number| map_at(&space, base + (2 + 2 * number) * PAGE, 1)));
    }
    work_apart(&hosted, &space, 40);
}

#[test]
fn nor_do_they_where_the_number_of_mappings_in_a_table_changes() {
    for mappings in 1..8 {
        let hosted = machine();
        let space = shared_space(&hosted);
        for (cpu, base) in BASES.into_iter().enumerate() {
            hosted.on(cpu, || (0..mappings).for_each(|number| map_at(&space, base + (2 + 2 * number) * PAGE, 1)));
        }
        println!("{mappings} mappings besides:");
        work_apart(&hosted, &space, 40);
    }
}

#[test]
fn nor_do_they_where_the_space_chooses_the_addresses() {
    let hosted = machine();
    let space = shared_space(&hosted);
    let atlas = Atlas::of(&hosted, &space);
    let map = || space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE)).expect("there is room");
    for cpu in 0..CPUS {
        hosted.switch_to(cpu, &space);
        touch(&space, map());
    }
    let untouched = written_by_both(&hosted, &atlas, 100, |_, _| assert_eq!(space.unmap(map(), PAGE), Ok(())));
    assert_only("map anywhere and unmap", &untouched, |_| false);
}

#[test]
fn a_common_line_is_found_and_named() {
    let hosted = machine();
    let space = shared_space(&hosted);
    let atlas = Atlas::of(&hosted, &space);
    // Both CPUs work in one leaf: its descriptor and its entries are common.
    let shared = written_by_both(&hosted, &atlas, 4, |base, round| {
        let page = 100 + 2 * round + (base == BASES[1]) as u64;
        map_at(&space, BASES[0] + page * PAGE, 1);
        touch(&space, BASES[0] + page * PAGE);
    });
    let names = Vec::from_iter(shared.iter().map(|shared| shared.name.as_str()));
    assert!(names.iter().any(|name| name.starts_with("entries of a page table")), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("boot memory")), "{names:?}");
}
