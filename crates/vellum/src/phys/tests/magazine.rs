//! Free slab objects that CPUs keep.

use super::*;

/// Bytes of the objects of each class.
const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];
/// What a CPU takes of each at a time, where there is memory enough.
const BATCHES: [u64; 6] = [8, 8, 8, 8, 4, 2];

fn kept(vm: &TestVm, cpu: usize) -> [u64; 6] {
    core::array::from_fn(|class| vm.cpu(cpu).magazines.len(class))
}

/// Objects in use, as far as the slabs know.
fn in_use(vm: &TestVm) -> u64 {
    let mut sum = 0;
    vm.physical().for_each_frame(|pfn, frame| {
        if frame.kind() == Kind::Slab {
            sum += slab::Slab::of(vm.physical(), vm.machine(), pfn).expect("a class").in_use();
        }
    });
    sum
}

fn take(cx: &Cx<'_, TestMachine>, size: usize, count: usize) -> Vec<NonNull<u8>> {
    (0..count).map(|_| cx.slab_alloc(size).expect("memory")).collect()
}

#[test]
fn a_cpu_goes_to_the_slabs_once_a_batch() {
    let vm = boot(&[(0, 4096, 0)], &[0, 0]);
    for (size, batch) in SIZES.into_iter().zip(BATCHES) {
        let cx = Cx::enter(&vm);
        let before = in_use(&vm);
        let mut objects = Vec::new();
        for number in 0..4 * batch {
            assert_eq!(in_use(&vm) - before, number.next_multiple_of(batch), "{size} bytes: {number} taken");
            objects.extend(take(&cx, size, 1));
        }
        // Freed, two batches stay, and what comes then goes in batches, too.
        for (number, object) in objects.into_iter().enumerate() {
            cx.slab_free(object, size);
            let back = (number as u64 + 1).saturating_sub(2 * batch).next_multiple_of(batch);
            assert_eq!(in_use(&vm) - before, 4 * batch - back, "{size} bytes: {} freed", number + 1);
        }
    }
    audit(&vm);
    assert_eq!(kept(&vm, 0), BATCHES.map(|batch| 2 * batch));
    assert_eq!(kept(&vm, 1), [0; 6]);
    drain(&vm);
    assert_eq!((kept(&vm, 0), in_use(&vm)), ([0; 6], 0));
    audit(&vm);
}

/// Objects freed on another CPU are that one's to use; none is given out twice.
#[test]
fn what_another_cpu_frees_is_kept_there() {
    let vm = boot(&[(0, 4096, 0)], &[0, 0]);
    let objects = take(&Cx::enter(&vm), 64, 12);
    become_cpu(1);
    objects.iter().for_each(|&object| Cx::enter(&vm).slab_free(object, 64));
    assert_eq!((kept(&vm, 0)[0], kept(&vm, 1)[0]), (4, 12));
    let mut again = take(&Cx::enter(&vm), 64, 12);
    become_cpu(0);
    again.extend(take(&Cx::enter(&vm), 64, 4));
    assert_eq!(again.iter().collect::<BTreeSet<_>>().len(), 16);
    audit(&vm);
}

/// Before an allocation says that there is no memory, the CPU's objects go back to their slabs, and those that become
/// empty to whoever asks.
#[test]
fn a_cpu_in_want_of_memory_gives_back_what_it_keeps() {
    let vm = boot(&[(0, 512, 0)], &[0]);
    let cx = Cx::enter(&vm);
    // A magazine of objects of different slabs.
    let objects = take(&cx, 2048, 8);
    objects.iter().step_by(2).chain(objects.iter().skip(1).step_by(2)).for_each(|&object| cx.slab_free(object, 2048));
    let slabs = frames_of(&vm, Kind::Slab);
    assert!(slabs > 1 && kept(&vm, 0)[5] > 1, "{slabs} slabs, {:?}", kept(&vm, 0));
    while cx.alloc_frame(0, NONE).is_ok() {}
    assert_eq!((kept(&vm, 0), frames_of(&vm, Kind::Slab)), ([0; 6], 1));
    audit(&vm);
}

fn frames_of(vm: &TestVm, kind: Kind) -> u64 {
    audit(vm).frames(kind)
}

/// Where memory is small, a CPU keeps none.
#[test]
fn a_cpu_of_a_small_machine_keeps_nothing() {
    let vm = boot(&[(0, 200, 0)], &[0; 4]);
    let cx = Cx::enter(&vm);
    assert_eq!(SIZES.map(|size| vm.physical().magazine_batch(size.ilog2() as usize - 6)), [0; 6]);
    for size in SIZES {
        take(&cx, size, 3).into_iter().for_each(|object| cx.slab_free(object, size));
    }
    assert_eq!((kept(&vm, 0), in_use(&vm)), ([0; 6], 0));
    assert_eq!(frames_of(&vm, Kind::Slab), 6);
}

#[test]
fn the_audit_finds_what_is_kept_wrongly() {
    type Break = fn(&Cx<'_, TestMachine>, NonNull<u8>);
    let breaks: [(&str, Break); 3] = [
        // Two CPUs have it.
        ("Kept", |cx, object| {
            cx.vm().cpu(1).magazines.push(0, object);
            cx.slab_free(object, 64);
        }),
        ("NoObject", |cx, object| cx.cpu().magazines.push(1, object)),
        // Its link is gone: what was kept below it is lost.
        ("Count", |cx, object| {
            cx.slab_free(object, 64);
            // SAFETY: nobody else accesses the object.
            unsafe { object.cast::<u64>().write(0) };
        }),
    ];
    for (name, seed) in breaks {
        let vm = boot(&[(0, 4096, 0)], &[0, 0]);
        let cx = Cx::enter(&vm);
        let object = cx.slab_alloc(64).expect("memory");
        seed(&cx, object);
        let error = vm.physical().audit(&vm).expect_err(name);
        assert!(std::format!("{error:?}").starts_with(name), "{name}: {error:?}");
    }
}

#[cfg(debug_assertions)]
mod detected {
    use super::*;

    /// The other CPU does not look there; when the object comes to its slab for the second time, that shows.
    #[test]
    #[should_panic(expected = "is freed twice")]
    fn an_object_freed_on_two_cpus() {
        let vm = boot(&[(0, 4096, 0)], &[0, 0]);
        let object = Cx::enter(&vm).slab_alloc(64).expect("memory");
        for cpu in 0..2 {
            become_cpu(cpu);
            Cx::enter(&vm).slab_free(object, 64);
        }
        for cpu in 0..2 {
            become_cpu(cpu);
            drain(&vm);
        }
    }

    /// Also while it goes from a magazine to its slab.
    #[test]
    #[should_panic(expected = "written after it was freed")]
    fn an_object_written_while_it_was_kept() {
        let vm = boot(&[(0, 4096, 0)], &[0]);
        let object = Cx::enter(&vm).slab_alloc(64).expect("memory");
        Cx::enter(&vm).slab_free(object, 64);
        // SAFETY: the memory is there, though not ours any more: that is what is tested.
        unsafe { object.add(40).write(1) };
        drain(&vm);
    }
}
