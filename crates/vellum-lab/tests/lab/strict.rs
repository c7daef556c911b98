//! The strict wrapper around the machines of this crate: what they and the core do breaks no clause of the contract.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Weak};
use vellum::arch::{Aarch64, Arch, PageBits, Prot, X86_64};
use vellum::ops::{Access, Advice, FaultError, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{AreaId, Backing, Error, IoError, Machine, Object, Space, Vm};
use vellum_lab::det::Det;
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
use vellum_lab::swap_device::MemoryDevice;
use vellum_lab::threads::{Mmus, Threads};
use vellum_strict::{Breach, Checked, Strict};

const CPUS: usize = 4;

type Of<M> = Strict<Arc<Checked<M>>>;

fn bytes<A: Arch>(pages: u64) -> u64 {
    pages << A::PAGE_SHIFT
}

/// A program's store or load of a word, by way of faults. The word is volatile: other threads are programs too.
fn access<M: Machine>(space: &Space<'_, M>, address: u64, value: Option<u64>) -> Result<u64, FaultError> {
    let (kind, right) = if value.is_some() { (Access::Write, PageBits::WRITE) } else { (Access::Read, PageBits::READ) };
    loop {
        // Held, so that nobody frees the page meanwhile.
        match space.hold(address).filter(|held| held.translation().bits.has(right)) {
            Some(held) => {
                let word = space.vm().machine().frame(held.translation().pfn).cast::<AtomicU64>();
                // SAFETY: a page of the machine which is held, and aligned.
                let word = unsafe { &*word };
                value.inspect(|&value| word.store(value, Relaxed));
                held.mark_dirty();
                return Ok(word.load(Relaxed));
            }
            None => _ = space.fault(address, kind)?,
        }
    }
}

/// A file in memory, of pages that all read as their number at first.
struct File(Mutex<Vec<Vec<u8>>>);

impl File {
    fn new<A: Arch>(pages: u64) -> File {
        File(Mutex::new((0..pages).map(|page| vec![page as u8; 1 << A::PAGE_SHIFT]).collect()))
    }
}

impl Backing for File {
    fn length(&self) -> u64 {
        self.0.lock().unwrap().iter().map(|page| page.len() as u64).sum()
    }
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        page.copy_from_slice(self.0.lock().unwrap().get(index as usize).ok_or(IoError)?);
        Ok(())
    }
    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        self.0.lock().unwrap().get_mut(index as usize).ok_or(IoError)?.copy_from_slice(page);
        Ok(())
    }
}

const PAGES: u64 = 48;

/// What programs do, on the CPUs that `on` makes current: everything that reaches the machine.
fn life<'vm, M: Machine>(vm: &'vm Vm<M>, file: &Object<'vm, M>, on: &dyn Fn(usize)) -> Result<(), Error> {
    let room = bytes::<M::Arch>(PAGES);
    let page = |number: u64| bytes::<M::Arch>(number);
    on(0);
    let space = vm.create_space()?;
    (0..CPUS).for_each(|cpu| {
        on(cpu);
        vm.switch_to(Some(&space));
    });
    let tags = if M::Arch::SEMANTICS.tags.is_some() { MapFlags::TAGGED } else { MapFlags::NONE };
    let own = space.map(&MapRequest::anonymous(room, Prot::READ_WRITE).with(tags))?;
    (0..PAGES).for_each(|number| _ = access(&space, own + page(number), Some(number)).expect("mapped"));
    on(1);
    let shown = MapRequest::object(file, 0, Sharing::Shared, page(8), Prot::READ_WRITE);
    let shown = space.map(&shown)?;
    let private = space.map(&MapRequest::object(file, 0, Sharing::Private, page(8), Prot::READ_WRITE))?;
    (0..8).for_each(|number| {
        _ = access(&space, shown + page(number), Some(100 + number)).expect("mapped");
        _ = access(&space, private + page(number), Some(200 + number)).expect("mapped");
    });
    let child = space.fork()?;
    on(2);
    vm.switch_to(Some(&child));
    (0..PAGES).for_each(|number| _ = access(&child, own + page(number), Some(300 + number)).expect("mapped"));
    file.write_back()?;
    on(3);
    space.advise(own, room, Advice::PageOut)?;
    vm.reclaim(0, 16);
    (0..PAGES).for_each(|number| assert_eq!(access(&space, own + page(number), None), Ok(number)));
    child.advise(own, page(4), Advice::Free)?;
    space.move_pages(own, room, 1)?;
    vm.compact(0, 2);
    on(0);
    let place = RemapPlace::Fixed(own - page(1024));
    let request = RemapRequest { old: own, old_length: room, new_length: room, place, keep_old: false };
    let moved = space.remap(&request)?;
    space.protect(moved, page(3), Prot::READ)?;
    assert_eq!(access(&space, moved + page(5), None), Ok(5));
    space.unmap(moved, page(PAGES / 2))?;
    vm.enter_lazy();
    on(1);
    space.advise(shown, page(8), Advice::DontNeed)?;
    vm.switch_to(None);
    drop((child, space));
    Ok(())
}

/// Swap on a device, with a compressed tier before it.
fn swap<M: Machine>(vm: &Vm<Of<M>>, compressed: u64) -> AreaId {
    vm.set_compressed_limit(compressed);
    let device = MemoryDevice::new(512, bytes::<M::Arch>(1) as usize);
    vm.swap_on(vm.machine().watch(device), 0).expect("swap")
}

fn leave<M: Machine>(vm: &Vm<M>, on: &dyn Fn(usize)) {
    for cpu in (0..CPUS).chain(0..CPUS) {
        on(cpu);
        vm.switch_to(None);
        vm.quiesce();
    }
    // SAFETY: no thread is inside the core.
    unsafe { vm.audit() }.expect("a sound end");
}

fn config() -> MachineConfig {
    MachineConfig::with_nodes(CPUS, 2048, 2)
}

/// The handler of the flush interrupt.
fn handler<M: Machine>(vm: Weak<Vm<Of<M>>>) -> impl Fn() + Send + Sync + 'static {
    move || {
        if let Some(vm) = vm.upgrade() {
            // SAFETY: a CPU of the machine is a thread, or a task that no other replaces meanwhile.
            vm.machine().interrupt(|| unsafe { vm.handle_interrupt() });
        }
    }
}

fn det<A: Arch>() -> Arc<Vm<Of<Host<A>>>> {
    let machine = Host::Det(Det::new(&config()).expect("host memory"));
    let machine = Strict::new(Arc::new(Checked::new(machine)));
    let vm = Arc::new(Vm::new(machine).expect("a machine"));
    vm.machine().inner().det().on_interrupt(handler(Arc::downgrade(&vm)));
    vm
}

fn on_det<A: Arch>() {
    let vm = det::<A>();
    let machine = vm.machine().inner().det();
    let on = |cpu| machine.set_cpu(cpu);
    swap(&vm, 8);
    let file = vm.machine().watch(File::new::<A>(8));
    let object = vm.file(file).expect("an object");
    for _ in 0..3 {
        life(&vm, &object, &on).expect("enough memory");
    }
    vm.machine().watchdog(0);
    drop(object);
    leave(&vm, &on);
    let counters = machine.total_counters();
    assert!(A::SEMANTICS.shootdown != vellum::arch::Shootdown::Interrupt || counters.interrupts_received > 0);
    assert!(machine.compressor().compressed() > 0);
}

#[test]
fn det_x86_64() {
    on_det::<X86_64>();
}

#[test]
fn det_aarch64() {
    on_det::<Aarch64>();
}

/// Programs on threads, some of which share a space; with faults, flushes, and shortage.
#[test]
fn threads() {
    let machine = Host::Threads(Threads::<X86_64>::new(&config(), Mmus::None).expect("host memory"));
    let strict = Strict::new(Arc::new(Checked::new(machine)));
    let vm = {
        let _seat = strict.inner().threads().enter_cpu(0);
        Arc::new(Vm::new(strict.clone()).expect("a machine"))
    };
    strict.inner().threads().on_interrupt(handler(Arc::downgrade(&vm)));
    let (file, shared) = {
        let _seat = strict.inner().threads().enter_cpu(0);
        swap(&vm, 8);
        (strict.watch(File::new::<X86_64>(8)), vm.create_space().expect("a space"))
    };
    let object = {
        let _seat = strict.inner().threads().enter_cpu(0);
        vm.file(file).expect("an object")
    };
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (vm, strict, shared, object) = (&vm, &strict, &shared, &object);
            scope.spawn(move || {
                let _seat = strict.inner().threads().enter_cpu(cpu);
                for round in 0..40 {
                    one_thread(vm, shared, object, cpu as u64, round).expect("enough memory");
                    strict.inner().threads().poll();
                }
                vm.switch_to(None);
            });
        }
    });
    strict.watchdog(u64::MAX / 2);
    let _seat = strict.inner().threads().enter_cpu(0);
    drop((object, shared));
    vm.quiesce();
    // SAFETY: no thread is inside the core.
    unsafe { vm.audit() }.expect("a sound end");
}

fn one_thread<'vm>(
    vm: &'vm Vm<Of<Host<X86_64>>>,
    shared: &Space<'vm, Of<Host<X86_64>>>,
    object: &Object<'vm, Of<Host<X86_64>>>,
    cpu: u64,
    round: u64,
) -> Result<(), Error> {
    let page = |number| bytes::<X86_64>(number);
    vm.switch_to(Some(shared));
    let place = Place::Fixed(page(1 << 10) * (cpu + 1));
    let own = shared.map(&MapRequest::anonymous(page(16), Prot::READ_WRITE).at(place))?;
    (0..16).for_each(|number| _ = access(shared, own + page(number), Some(round)).expect("mapped"));
    let shown = shared.map(&MapRequest::object(object, 0, Sharing::Shared, page(8), Prot::READ_WRITE))?;
    _ = access(shared, shown + page(cpu), Some(round)).expect("mapped");
    let child = shared.fork()?;
    shared.advise(own, page(16), Advice::PageOut)?;
    (0..16).for_each(|number| assert_eq!(access(&child, own + page(number), None), Ok(round)));
    vm.switch_to(Some(&child));
    object.write_back()?;
    shared.unmap(shown, page(8))?;
    shared.unmap(own, page(16))?;
    vm.switch_to(None);
    Ok(())
}

/// The wrapper, told not to panic, finds nothing where an area is switched off: its device is read outside the core.
#[test]
fn swap_off_reads_outside_the_core() {
    static FOUND: Mutex<Vec<Breach>> = Mutex::new(Vec::new());
    let machine = Host::Det(Det::<X86_64>::new(&config()).expect("host memory"));
    let machine = Checked::with_handler(machine, |breach| {
        FOUND.lock().unwrap().push(*breach);
    });
    let vm = Vm::new(Strict::new(Arc::new(machine))).expect("a machine");
    let area = swap(&vm, 0);
    let space = vm.create_space().expect("a space");
    vm.switch_to(Some(&space));
    let address = space.map(&MapRequest::anonymous(bytes::<X86_64>(4), Prot::READ_WRITE)).expect("room");
    access(&space, address, Some(1)).expect("mapped");
    space.advise(address, bytes::<X86_64>(4), Advice::PageOut).expect("mapped");
    vm.swap_off(area).expect("room for pages");
    assert_eq!(*FOUND.lock().unwrap(), []);
    assert_eq!(access(&space, address, None), Ok(1));
}
