//! Each clause is broken once, by a core or an embedder that breaks nothing else, and the wrapper says which it was.

mod rig;

use rig::{CPUS, FRAMES, Machined, STARTS, Toy, become_cpu, breaches, inside, rig, set_time, unstarted};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use vellum::arch::{Aarch64, Arch, X86_64};
use vellum::{Asid, Backing, CpuSet, IoError, Machine, Pfn, RootLoad, SwapDevice};
use vellum_strict::{Checked, Clause, Side, Strict};

const PAGE: usize = 4096;

fn set(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::default();
    cpus.iter().for_each(|&cpu| set.insert(cpu));
    set
}

/// A device that changes its size, of a file of no length.
struct Device(AtomicU32);

impl SwapDevice for Device {
    fn pages(&self) -> u64 {
        self.0.load(SeqCst).into()
    }
    fn read(&self, _page: u64, _into: &mut [u8]) -> Result<(), IoError> {
        Ok(())
    }
    fn write(&self, _page: u64, _from: &[u8]) -> Result<(), IoError> {
        Ok(())
    }
}

impl Backing for Device {
    fn length(&self) -> u64 {
        0
    }
    fn read(&self, _index: u64, _page: &mut [u8]) -> Result<(), IoError> {
        Ok(())
    }
    fn write(&self, _index: u64, _page: &[u8]) -> Result<(), IoError> {
        Ok(())
    }
}

/// Breaks a promise of the core's: calls what a wrong core would call.
fn break_as_core(machine: &Machined<X86_64>, clause: Clause) {
    let frame = Pfn(STARTS[0]);
    let load = |root, asid| RootLoad { root, asid: Asid(asid), keep_entries: false };
    match clause {
        Clause::Pairs => inside(machine, || inside(machine, || ())),
        Clause::Inside => machine.load_root(load(frame, 1)),
        Clause::Sleeps => inside(machine, || machine.sleep(&AtomicU32::new(0), 0)),
        Clause::InterruptIsShort => machine.interrupt(|| inside(machine, || ())),
        Clause::CpuInRange => _ = machine.node_of_cpu(CPUS),
        Clause::NoInterruptToSelf => inside(machine, || machine.send_interrupt(&set(&[0, 1]))),
        Clause::FrameOfMemory => _ = machine.frame(Pfn(STARTS[0] + FRAMES)),
        // SAFETY: a page of the machine to itself, which the machine's copy allows.
        Clause::PageOfMemory => unsafe { machine.copy_page(machine.frame(frame), machine.frame(frame)) },
        Clause::UserPage => inside(machine, || machine.invalidate_page(Asid(1), 0x1001)),
        Clause::AsidInRange => inside(machine, || machine.invalidate_asid(Asid(0))),
        Clause::BroadcastsOnly => inside(machine, || machine.broadcast_wait()),
        Clause::RootIsEmpty => {
            let mut table = [0; 512];
            table[511] = 1;
            machine.prepare_root(&mut table);
        }
        Clause::BufferLength => _ = machine.compress(&[0; PAGE], &mut [0; PAGE - 1]),
        Clause::DevicePage => {
            let device = machine.watch(Device(AtomicU32::new(3)));
            let _ = (SwapDevice::pages(&device), SwapDevice::read(&device, 3, &mut [0; PAGE]));
        }
        _ => unreachable!("{clause:?} is the embedder's"),
    }
}

/// Lets the machine break a promise, and calls what a right core would call.
fn break_as_embedder(machine: &Machined<X86_64>, clause: Clause) {
    let page = |number| machine.frame(Pfn(STARTS[0] + number));
    machine.inner().lie(clause);
    match clause {
        Clause::CpuCount => _ = machine.cpu_count(),
        Clause::CurrentCpu => machine.disable_preemption(),
        Clause::Memory => _ = machine.memory(),
        Clause::Frame => _ = page(0),
        Clause::NodeOfCpu => {
            machine.inner().lie(Clause::Clock);
            machine.node_of_cpu(1);
            machine.inner().lie(clause);
            machine.node_of_cpu(1);
        }
        Clause::Demotion => _ = machine.demotion_target(0),
        Clause::Clock => {
            machine.now();
            set_time(10);
            machine.now();
        }
        Clause::WaitEnds => {
            // Another CPU looks, while this one waits.
            let watcher = machine.clone();
            let look = move || {
                set_time(9000);
                watcher.watchdog(5000);
            };
            *machine.inner().callback.lock().unwrap() = Some(Box::new(look));
            inside(machine, || machine.wait_change(&AtomicU32::new(0), 0));
        }
        Clause::InterruptArrives => {
            inside(machine, || machine.send_interrupt(&set(&[2])));
            set_time(9000);
            machine.watchdog(5000);
        }
        Clause::NoCallBack => {
            let core = machine.clone();
            *machine.inner().callback.lock().unwrap() = Some(Box::new(move || inside(&core, || ())));
            inside(machine, || machine.invalidate_page(Asid(1), 0x1000));
        }
        Clause::RootUserPart => machine.prepare_root(&mut [0; 512]),
        // SAFETY: a page of the machine that nobody uses.
        Clause::Clears => unsafe {
            page(0).write_bytes(1, PAGE);
            machine.clear_page(page(0));
        },
        // SAFETY: pages of the machine that nobody uses.
        Clause::Copies => unsafe {
            page(0).write_bytes(1, PAGE);
            machine.copy_page(page(0), page(1));
        },
        Clause::Compresses => {
            let mut compressed = [0; PAGE];
            let length = machine.compress(&[7; PAGE], &mut compressed).expect("it gets smaller");
            machine.decompress(&compressed[..length], &mut [0; PAGE]);
        }
        Clause::Tags => break_tags(),
        Clause::DeviceSize => {
            let device = machine.watch(Device(AtomicU32::new(3)));
            SwapDevice::pages(&device);
            device.inner().0.store(2, SeqCst);
            SwapDevice::pages(&device);
        }
        _ => unreachable!("{clause:?} is the core's"),
    }
}

/// x86-64 has no tags.
fn break_tags() {
    let machine = rig::<Aarch64>();
    let bytes = Aarch64::SEMANTICS.tags.expect("tags").bytes(Aarch64::PAGE_SHIFT);
    machine.write_tags(Pfn(STARTS[0]), &vec![5; bytes]);
    assert_eq!(breaches(), []);
    machine.inner().lie(Clause::Tags);
    machine.write_tags(Pfn(STARTS[0]), &vec![5; bytes]);
}

#[test]
fn each_clause_is_seen_when_it_is_broken() {
    for &clause in Clause::ALL {
        let machine = rig();
        match clause.side() {
            Side::Core => break_as_core(&machine, clause),
            Side::Embedder => break_as_embedder(&machine, clause),
        }
        let found = breaches();
        assert!(!found.is_empty(), "{clause:?} is broken, and nobody says so");
        assert!(found.iter().all(|breach| breach.clause == clause), "{clause:?} is broken, and found is {found:#?}");
    }
}

/// What is asked for when the checks begin is checked then.
#[test]
fn a_machine_that_describes_itself_wrongly_is_refused() {
    for clause in [Clause::Memory, Clause::Frame] {
        let checked = unstarted::<X86_64>();
        checked.machine().lie(clause);
        breaches();
        Strict::new(checked);
        assert_eq!(breaches().iter().map(|breach| breach.clause).collect::<Vec<_>>(), [clause]);
    }
}

#[test]
fn a_broken_clause_panics_with_a_line_that_names_it() {
    become_cpu(3);
    let machine = Strict::new(Arc::new(Checked::new(Toy::<X86_64>::new())));
    let panic = catch_unwind(|| machine.invalidate_asid(Asid(1))).expect_err("pre-emption is on");
    assert_eq!(
        *panic.downcast_ref::<String>().expect("a text"),
        "Inside broken by the core in Machine::invalidate_asid on CPU 3 (0x3): pre-emption is off, or it is the flush \
         interrupt (`Strict::interrupt`)"
    );
}

/// Each call that may sleep, and each that may not be made with pre-emption on.
#[test]
fn every_call_knows_where_it_may_be_made() {
    let machine = rig::<X86_64>();
    let victim = vellum::Victim { space: 1, anonymous: 1, swapped: 0 };
    let device = machine.watch(Device(AtomicU32::new(3)));
    let sleeping: [(&str, &dyn Fn()); 10] = [
        ("Machine::sleep", &|| machine.sleep(&AtomicU32::new(0), 0)),
        ("Machine::compress", &|| _ = machine.compress(&[0; PAGE], &mut [0; PAGE])),
        ("Machine::decompress", &|| _ = machine.decompress(&[3], &mut [0; PAGE])),
        ("Machine::out_of_memory", &|| _ = machine.out_of_memory(&victim)),
        ("Backing::length", &|| _ = device.length()),
        ("Backing::read", &|| _ = Backing::read(&device, 0, &mut [0; PAGE])),
        ("Backing::write", &|| _ = Backing::write(&device, 0, &[0; PAGE])),
        ("SwapDevice::read", &|| _ = SwapDevice::read(&device, 0, &mut [0; PAGE])),
        ("SwapDevice::write", &|| _ = SwapDevice::write(&device, 0, &[0; PAGE])),
        ("Machine::sleep", &|| machine.sleep(&AtomicU32::new(0), 1)),
    ];
    for (call, body) in sleeping {
        body();
        assert_eq!(breaches(), [], "{call}");
        inside(&machine, body);
        machine.interrupt(body);
        let found: Vec<_> = breaches().iter().map(|breach| (breach.call, breach.clause)).collect();
        assert_eq!(found, [(call, Clause::Sleeps), (call, Clause::InterruptIsShort)]);
    }
    let load = RootLoad { root: Pfn(STARTS[1]), asid: Asid(1), keep_entries: true };
    let brief: [(&str, &dyn Fn()); 7] = [
        ("Machine::current_cpu", &|| _ = machine.current_cpu()),
        ("Machine::load_root", &|| machine.load_root(load)),
        ("Machine::unload_root", &|| machine.unload_root()),
        ("Machine::invalidate_page", &|| machine.invalidate_page(Asid(1), 0x1000)),
        ("Machine::invalidate_asid", &|| machine.invalidate_asid(Asid(1))),
        ("Machine::send_interrupt", &|| machine.send_interrupt(&set(&[1]))),
        ("Machine::wait_change", &|| machine.wait_change(&AtomicU32::new(0), 0)),
    ];
    for (call, body) in brief {
        inside(&machine, body);
        machine.interrupt(body);
        assert_eq!(breaches(), [], "{call}");
        body();
        let found: Vec<_> = breaches().iter().map(|breach| (breach.call, breach.clause)).collect();
        assert_eq!(found, [(call, Clause::Inside)]);
    }
}

#[test]
fn a_cpu_that_changes_while_preemption_is_off_is_seen() {
    let machine = rig::<X86_64>();
    *machine.inner().callback.lock().unwrap() = Some(Box::new(|| become_cpu(2)));
    inside(&machine, || machine.invalidate_page(Asid(1), 0x1000));
    let found: Vec<_> = breaches().iter().map(|breach| (breach.clause, breach.cpu, breach.value)).collect();
    // Then the CPU that it has become is not one which switched pre-emption off.
    assert_eq!(found, [(Clause::CurrentCpu, 0, 2), (Clause::Pairs, 2, 0)]);
}

/// An interrupt that comes while a method is being called may call the core.
#[test]
fn interrupts_may_come_at_any_time() {
    let machine = rig::<X86_64>();
    let handler = machine.clone();
    let serve = move || handler.interrupt(|| handler.invalidate_asid(Asid(1)));
    *machine.inner().callback.lock().unwrap() = Some(Box::new(serve));
    inside(&machine, || machine.wait_change(&AtomicU32::new(0), 0));
    inside(&machine, || machine.send_interrupt(&set(&[1])));
    become_cpu(1);
    machine.interrupt(|| machine.invalidate_asid(Asid(1)));
    set_time(90_000);
    machine.watchdog(5000);
    assert_eq!(breaches(), []);
}
