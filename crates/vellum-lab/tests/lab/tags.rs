//! Memory tags: what the machines hand to the core, and what the laboratory makes of wrong ones.

use vellum::Machine;
use vellum::arch::{Aarch64, Arch, PageBits, Sparc64, Tiny, TinyAssist, X86_64};
use vellum::ops::Access;
use vellum::phys::Pfn;
use vellum_lab::det::Det;
use vellum_lab::explore::Bound;
use vellum_lab::hardware::{FaultReason, HostMemory, MachineConfig, Translated};
use vellum_lab::lab::Lab;
use vellum_lab::scenario::{Check, Mode, Scenario, X, Y, actor, check};
use vellum_lab::threads::{Mmus, Threads};

fn memory<A: Arch>() -> HostMemory<A> {
    HostMemory::new(&MachineConfig::new(1, 4).and_range(8, 2, 0).ranges).expect("host memory")
}

fn granule<A: Arch>() -> usize {
    1 << A::SEMANTICS.tags.expect("it has tags").granule_shift
}

/// The packed form: the first granule's tag is in the lowest bits of the first byte.
fn tags_are_packed_from_the_low_end<A: Arch>() {
    let (memory, granule) = (memory::<A>(), granule::<A>());
    let format = A::SEMANTICS.tags.unwrap();
    let granules = (1usize << A::PAGE_SHIFT) / granule;
    (0..granules).for_each(|n| memory.set_tags(Pfn(257), n * granule, 1, (n * 7 + 3) as u8).unwrap());
    let mut packed = vec![0xaa; format.bytes(A::PAGE_SHIFT)];
    memory.pack_tags(Pfn(257), &mut packed);
    assert_eq!(packed[..3], [0xa3, 0x81, 0x6f], "tags 3, a, 1, 8, f, 6 of four bits each");
    // Another frame gets them, and its neighbours nothing.
    memory.unpack_tags(Pfn(258), &packed);
    for n in 0..granules {
        let expected = Some((n * 7 + 3) as u8 & 0xf);
        assert_eq!(
            (memory.tag(Pfn(258), n * granule), memory.tag(Pfn(257), (n + 1) * granule - 1)),
            (expected, expected)
        );
    }
    assert_eq!((memory.tag(Pfn(256), 0), memory.tag(Pfn(259), 0)), (Some(0), Some(0)));
}

#[test]
fn packing() {
    tags_are_packed_from_the_low_end::<Aarch64>();
    tags_are_packed_from_the_low_end::<Sparc64>();
    tags_are_packed_from_the_low_end::<Tiny>();
}

#[test]
fn there_are_tags_only_where_there_is_memory() {
    let memory = memory::<Aarch64>();
    for pfn in [0, 255, 260, 267, 270, u64::MAX] {
        assert_eq!((memory.tag(Pfn(pfn), 0), memory.set_tags(Pfn(pfn), 0, 1, 1)), (None, None), "{pfn}");
    }
    assert_eq!(memory.set_tags(Pfn(269), 4080, 16, 0x1e), Some(()));
    assert_eq!(memory.tag(Pfn(269), 4095), Some(0xe), "four bits");
    assert_eq!((memory.tag(Pfn(256), 4096), memory.set_tags(Pfn(256), 4090, 7, 1)), (None, None));
    assert_eq!(memory.set_tags(Pfn(256), 0, usize::MAX, 1), None);
    // Whole granules, however little of them is meant.
    assert_eq!(memory.set_tags(Pfn(256), 31, 2, 5), Some(()));
    assert_eq!([0, 16, 32, 48].map(|at| memory.tag(Pfn(256), at)), [Some(0), Some(5), Some(5), Some(0)]);
    let none = HostMemory::<X86_64>::new(&MachineConfig::new(1, 4).ranges).unwrap();
    assert_eq!((none.tag(Pfn(256), 0), none.set_tags(Pfn(256), 0, 1, 1)), (None, None));
}

#[test]
fn accesses_are_compared_granule_by_granule() {
    let memory = memory::<Aarch64>();
    let to = |bits| Translated { pfn: Pfn(256), bits, usable: true };
    let (tagged, untagged) = (to(PageBits::READ | PageBits::TAGGED), to(PageBits::READ));
    memory.set_tags(Pfn(256), 4064, 16, 3).unwrap();
    let check = |to: &Translated, at: u64, length, tag| {
        memory.check_tags(to, 0x5000 + at, Access::Read, length, tag).map_err(|fault| (fault.address, fault.reason))
    };
    assert_eq!(check(&tagged, 4064, 16, 3), Ok(()));
    let wrong = |at: u64, expected, found| Err((0x5000 + at, FaultReason::Tag { expected, found }));
    assert_eq!(check(&tagged, 4060, 8, 0), wrong(4064, 0, 3));
    assert_eq!(check(&tagged, 4070, 20, 3), wrong(4080, 3, 0));
    assert_eq!(check(&tagged, 4060, 4, 0), Ok(()));
    assert_eq!(check(&tagged, 4064, 0, 9), Ok(()), "no byte, no granule");
    assert_eq!(check(&untagged, 4060, 8, 9), Ok(()));
}

/// A machine moves tags for the core in the packed form, and leaves them when nobody asks.
fn hooks<M: Machine>(machine: &M) {
    let bytes = M::Arch::SEMANTICS.tags.unwrap().bytes(M::Arch::PAGE_SHIFT);
    let (from, to) = (machine.memory()[0].start, Pfn(machine.memory()[0].start.0 + 1));
    let tags: Vec<u8> = (0..bytes).map(|n| (n * 29 + 1) as u8).collect();
    machine.write_tags(from, &tags);
    let read = |pfn| {
        let mut tags = vec![0xee; bytes];
        machine.read_tags(pfn, &mut tags);
        tags
    };
    assert_eq!((read(from), read(to)), (tags.clone(), vec![0; bytes]));
    machine.write_tags(to, &read(from));
    machine.write_tags(from, &vec![0; bytes]);
    assert_eq!((read(from), read(to)), (vec![0; bytes], tags));
}

#[test]
fn machines_hand_tags_to_the_core() {
    let config = MachineConfig::new(1, 4);
    hooks(&Det::<Aarch64>::new(&config).unwrap());
    hooks(&Threads::<Sparc64>::new(&config, Mmus::None).unwrap());
    hooks(&Lab::<Tiny>::new(&config).unwrap());
}

fn compresses<M: Machine>(machine: &M) {
    let (page, mut packed, mut back) = ([7; 4096], [0; 4096], [0; 4096]);
    let length = machine.compress(&page, &mut packed).expect("a page of one byte");
    assert!(machine.decompress(&packed[..length], &mut back) && back == page);
}

#[test]
fn machines_compress_for_the_core() {
    let config = MachineConfig::new(1, 4);
    let det = Det::<X86_64>::new(&config).unwrap();
    compresses(&det);
    assert_eq!(det.compressor().compressed(), 1);
    det.compressor().switch(false);
    assert_eq!(det.compress(&[7; 4096], &mut [0; 4096]), None);
    // The switch is of one machine.
    compresses(&Threads::<X86_64>::new(&config, Mmus::None).unwrap());
    compresses(&Lab::<TinyAssist>::new(&config).unwrap());
}

const WITH_TAGS: fn(Mode) -> bool = |mode| mode.semantics.tags.is_some();

/// The owner of a granule tags it anew while another CPU uses it by the old tag.
static RETAGGED: Scenario = Scenario {
    id: "T90",
    title: "a granule is tagged anew under somebody who uses it",
    runs: WITH_TAGS,
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        cpu.toy().map_tagged(&[X, Y]);
        cpu.toy().set_tag(X, 3);
        cpu.toy().load_tagged(X, 3);
        cpu.toy().load(Y);
    },
    actors: &[
        actor("free", |cpu| {
            cpu.toy().set_tag(X, 4);
        }),
        actor("use", |cpu| {
            cpu.toy().load_tagged(X, 3);
        }),
    ],
    ..Scenario::DEFAULT
};

/// Everybody uses a granule of its own by its own tag.
static APART: Scenario = Scenario {
    id: "T91",
    title: "granules of one's own",
    actors: &[
        actor("one", |cpu| {
            cpu.toy().set_tag(X, 4);
            cpu.toy().load_tagged(X, 4);
        }),
        actor("other", |cpu| {
            cpu.toy().set_tag(Y, 5);
            cpu.toy().load_tagged(Y, 5);
        }),
    ],
    ..RETAGGED
};

/// Memory with tags is used by an ordinary address.
static BY_NONE: Scenario =
    Scenario { id: "T92", actors: &[actor("use", |cpu| assert_eq!(cpu.toy().load(X), None))], ..RETAGGED };

/// Memory without tags is used as if it had some.
static NO_TAGS: Scenario = Scenario {
    id: "T93",
    start: |cpu| cpu.toy().map(&[X]),
    actors: &[actor("use", |cpu| assert_eq!(cpu.toy().load_tagged(X, 3), None))],
    ..RETAGGED
};

/// The laboratory's search finds wrong tags, in some order of two steps as in every order, and only them.
#[test]
fn the_search_finds_wrong_tags() {
    for (scenario, finds) in [(&RETAGGED, true), (&APART, false), (&BY_NONE, true), (&NO_TAGS, true)] {
        for mode in scenario.modes() {
            let finding = check(&Check::new(scenario, mode)).unwrap();
            let found = finding.violation.map(|(broken, _)| broken.invariant);
            assert_eq!(found.as_deref(), finds.then_some("I-TAG"), "{} {mode}", scenario.id);
            assert!(finds || finding.exhaustive, "{} {mode}", scenario.id);
        }
    }
}
