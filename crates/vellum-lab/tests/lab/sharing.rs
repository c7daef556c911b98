//! How much of the core's state an operation shares with other CPUs: counted, line by line, on the recording machine.
//!
//! What the core writes to pages' contents is not in a record; everything that goes through `vellum::sync` is: the
//! page-table entries, the frames' descriptors, and what belongs to the CPU alone.

use vellum::arch::{Aarch64, Arch, Prot, X86_64};
use vellum::ops::{Access, FaultKind, MapRequest, Place, Sharing};
use vellum::{Structure, Touch};
use vellum_lab::conflicts::{self, Line, Operation};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::recorder::{self, Record, Summary};

type Recorded = conflicts::Recorded<X86_64>;
type RecordedSpace<'vm> = conflicts::Space<'vm, X86_64>;

const PAGE: u64 = 4096;
/// What an anonymous fault may do at most.
const FAULT_MODIFIES_MAX: f64 = 4.0;
const FAULT_LINES_MAX: f64 = 8.0;
/// What a copy on write may do: enter, take the leaf's lock, take a reference and drop it, take the entry, increment
/// the generation, drop the mapping. No page's lock.
const COPY_MODIFIES_MAX: u64 = 7;
/// Where the two CPUs work: 16 MiB apart, in leaf tables of their own.
const BASES: [u64; 2] = [0x10_0000_0000, 0x10_0100_0000];
const CPUS: usize = 2;
/// How often CPUs may take the lock of a slab cache for each object that they make and drop: a batch is at least four
/// objects, to be taken and to be given back.
const SLAB_EXCHANGES_MAX: f64 = 0.5;

fn machine() -> Recorded {
    Recorded::new(&MachineConfig::new(CPUS, 16_384)).expect("the host has memory")
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

/// A page that a child shares, with whom no slot of swap does, is copied without asking whether it is.
#[test]
fn a_copy_on_write_takes_no_lock_of_a_page() {
    let hosted = machine();
    let space = hosted.vm().create_space().expect("there is memory");
    hosted.switch_to(0, &space);
    map_at(&space, BASES[0], 256);
    (0..256).for_each(|page| touch(&space, BASES[0] + page * PAGE));
    let _child = space.fork().expect("there is memory");
    let copy = |page| {
        let address = BASES[0] + page * PAGE;
        let records = recorded(|| assert_eq!(space.fault(address, Access::Write), Ok(FaultKind::Copied)));
        Summary::of(&records).cpus[&0].modifies
    };
    let mut modifies: Vec<u64> = (0..256).map(copy).collect();
    modifies.sort();
    println!("copy on write, median: {} read-modify-writes, most: {}", modifies[128], modifies[255]);
    assert!(modifies[128] <= COPY_MODIFIES_MAX, "{} read-modify-writes a copy", modifies[128]);
}

/// A space that both CPUs have loaded, with an anchor page in each one's leaf table, and frames on each CPU's list.
fn shared_space(hosted: &Recorded) -> RecordedSpace<'_> {
    prepared(hosted, hosted.vm().create_space().expect("there is memory"))
}

fn prepared<'vm>(hosted: &Recorded, space: RecordedSpace<'vm>) -> RecordedSpace<'vm> {
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
fn written_by_both(hosted: &Recorded, rounds: u64, operation: impl Fn(u64, u64)) -> Vec<Line> {
    let records = recorded(|| {
        for round in 0..rounds {
            for (cpu, base) in BASES.into_iter().enumerate() {
                hosted.on(cpu, || operation(base, round));
            }
        }
    });
    let moved = Line::of(hosted.vm(), &Summary::of(&records));
    let (shared, others): (Vec<_>, Vec<_>) = moved.into_iter().partition(Line::is_written_by_several);
    println!(
        "  lines written by both: {}; written by one and read by the other besides: {}",
        shared.len(),
        others.len()
    );
    shared
}

fn assert_only(what: &str, shared: &[Line], allowed: impl Fn(&Line) -> bool) {
    let wrong: Vec<_> = shared.iter().filter(|line| !allowed(line)).map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{what}: both CPUs write {wrong:#?}");
}

/// Maps and unmaps, faults, and does both together, by both CPUs in turn from page `first` of their ranges on.
fn work_apart(hosted: &Recorded, space: &RecordedSpace<'_>, first: u64) {
    (0..CPUS).for_each(|cpu| hosted.switch_to(cpu, space));

    println!("map and unmap, untouched:");
    let untouched = written_by_both(hosted, 200, |base, round| {
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
    let faults = written_by_both(hosted, 16, |base, round| touch(space, base + (first + round) * PAGE));
    assert_only("fault", &faults, |_| false);
    all(|space, address| assert_eq!(space.unmap(address, 16 * PAGE), Ok(())));

    println!("map, fault and unmap:");
    let touched = written_by_both(hosted, 200, |base, round| {
        let address = base + (first + round % 100) * PAGE;
        map_at(space, address, 1);
        touch(space, address);
        assert_eq!(space.unmap(address, PAGE), Ok(()));
    });
    assert_only("map, fault and unmap", &touched, Line::is_of_flushes);
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
    let map = || space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE)).expect("there is room");
    for cpu in 0..CPUS {
        hosted.switch_to(cpu, &space);
        touch(&space, map());
    }
    let untouched = written_by_both(&hosted, 100, |_, _| assert_eq!(space.unmap(map(), PAGE), Ok(())));
    assert_only("map anywhere and unmap", &untouched, |_| false);
}

/// Nor do those that fault in one group: each counts some pages before it tells the group.
#[test]
fn cpus_that_fault_in_one_group_write_no_common_line() {
    let hosted = machine();
    let group = hosted.vm().create_group(1 << 20).expect("there is memory");
    let space = prepared(&hosted, group.create_space().expect("there is memory"));
    (0..CPUS).for_each(|cpu| hosted.switch_to(cpu, &space));
    for (cpu, base) in BASES.into_iter().enumerate() {
        hosted.on(cpu, || map_at(&space, base + 100 * PAGE, 16));
    }
    let faults = written_by_both(&hosted, 16, |base, round| touch(&space, base + (100 + round) * PAGE));
    assert_only("faults in a group", &faults, |_| false);
    assert_eq!(group.pages(), space.rss().anonymous);
}

/// What each of the CPUs does that make and drop things of their own, and for how many slab objects it asks thereby, at
/// least.
type Maker<'a> = (&'a str, u64, &'a dyn Fn(&Recorded));

/// How many exchanges of slab caches' lines both CPUs together do for each object: of those that are asked for, with
/// which they come back after a grace period.
fn slab_exchanges((what, objects, make): Maker<'_>) -> f64 {
    const ROUNDS: u64 = 256;
    let hosted = machine();
    let round = || (0..CPUS).for_each(|cpu| hosted.on(cpu, || make(&hosted)));
    // Until as many wait for grace periods as will later.
    (0..64).for_each(|_| round());
    let records = recorded(|| (0..ROUNDS).for_each(|_| round()));
    let is_exchange = |record: &&Record| {
        let place = || hosted.vm().structure_at(record.address);
        record.touch == Touch::Modify && matches!(place(), Some(Structure::SlabCache(_)))
    };
    let exchanges = records.iter().filter(is_exchange).count() as f64 / (ROUNDS * objects * CPUS as u64) as f64;
    println!("{what}: {exchanges:.3} exchanges of slab caches' lines for each object");
    exchanges
}

/// CPUs that make spaces, objects and nodes of page caches of their own come to the slabs, where they write common
/// lines, once for a batch; each exchange stands for taking a lock.
#[test]
fn cpus_that_make_things_of_their_own_share_slabs_once_a_batch() {
    let spaces = |hosted: &Recorded| drop(hosted.vm().create_space().expect("there is memory"));
    let objects = |hosted: &Recorded| drop(hosted.vm().shared_memory(16).expect("there is memory"));
    // Six levels of nodes above the page.
    let nodes = |hosted: &Recorded| {
        let object = hosted.vm().shared_memory_unreserved(1 << 31).expect("there is memory");
        let space = hosted.vm().create_space().expect("there is memory");
        let request = MapRequest::object(&object, (1 << 30) * PAGE, Sharing::Shared, PAGE, Prot::READ_WRITE);
        let address = space.map(&request).expect("there is room");
        assert!(space.fault(address, Access::Write).is_ok());
    };
    // A space has a lineage, and a line for the CPU.
    let makers: [Maker<'_>; 3] = [("spaces", 2, &spaces), ("objects", 1, &objects), ("nodes", 10, &nodes)];
    for maker in makers {
        let exchanges = slab_exchanges(maker);
        // Formerly one to take it, and one to give it back.
        assert!(exchanges <= SLAB_EXCHANGES_MAX, "{}: {exchanges} for each", maker.0);
    }
}

/// What DESIGN calls for: these four, in every pair.
const REQUIRED: [Operation; 4] = [Operation::Fault, Operation::Map, Operation::Unmap, Operation::Protect];

fn assert_apart<A: Arch>(operations: &[Operation]) {
    let pairs = conflicts::measure::<A>(operations).expect("the host has memory");
    assert_eq!(pairs.len(), operations.len() * (operations.len() + 1) / 2);
    for pair in &pairs {
        let lines: Vec<_> = pair.conflicts().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{} {:?} and {:?}: {lines:#?}", A::NAME, pair.first, pair.second);
        let may_flush = pair.first.flushes() || pair.second.flushes();
        let visits_zone = |line: &Line| line.structures.iter().any(|place| matches!(place, Structure::Zone(_)));
        assert!(!pair.lines.iter().any(visits_zone), "{:?} and {:?}: a list was refilled", pair.first, pair.second);
        assert!(may_flush || pair.exempted().next().is_none(), "{:?} and {:?} flush", pair.first, pair.second);
    }
}

#[test]
fn no_pair_of_operations_conflicts() {
    assert_apart::<X86_64>(&REQUIRED);
}

#[test]
fn nor_does_one_where_flushes_are_broadcasts() {
    assert_apart::<Aarch64>(&REQUIRED);
}

#[test]
fn operations_that_flush_write_mailboxes() {
    let pairs = conflicts::measure::<X86_64>(&[Operation::Unmap]).expect("the host has memory");
    let names: Vec<_> = pairs[0].exempted().map(ToString::to_string).collect();
    for wanted in ["space: TLB generation; space: CPU set", "mailbox of CPU 0", "mailbox of CPU 1"] {
        assert!(names.iter().any(|name| name == wanted), "{names:#?}");
    }
}

#[test]
fn faults_in_one_table_conflict() {
    let pair = conflicts::measure_pair::<X86_64>(Operation::Fault, Operation::Fault, 0).expect("the host has memory");
    let structures: Vec<_> = pair.conflicts().flat_map(|line| line.structures.clone()).collect();
    assert!(structures.contains(&Structure::TableDescriptor(0)), "{structures:?}");
    assert!(!structures.contains(&Structure::TableDescriptor(1)), "{structures:?}");
}
