//! The reference model's own tests: a table of Linux's semantics, and the oracle's notice of wrong bytes.

use vellum::Error;
use vellum::arch::{Aarch64, Prot, Riscv64, Sparc64, Tiny, X86_64};
use vellum::ops::{Access, Advice, MapFlags, Place, RemapPlace, RemapRequest, Sharing};
use vellum_lab::model::oracle::{Broken, LoadError, Oracle};
use vellum_lab::model::{Fault, Limits, MapRequest, Model, ObjectId, Refusal, Source, SpaceId};

const PAGE: u64 = 0x1000;
const BASE: u64 = 0x40_0000;
const RW: Prot = Prot::READ_WRITE;

fn model() -> (Model, SpaceId) {
    let mut model = Model::new(Limits::of::<X86_64>(256));
    let space = model.create_space();
    (model, space)
}

/// A model with `pages` pages of private anonymous memory at [`BASE`].
fn mapped(pages: u64) -> (Model, SpaceId) {
    let (mut model, space) = model();
    model.map(space, &MapRequest::anonymous(BASE, pages * PAGE, RW), None).unwrap();
    (model, space)
}

fn object_request(object: ObjectId, offset: u64, sharing: Sharing, address: u64, pages: u64) -> MapRequest {
    let source = Source::Object { object, offset, sharing };
    MapRequest { source, ..MapRequest::anonymous(address, pages * PAGE, RW) }
}

fn byte(model: &mut Model, space: SpaceId, address: u64) -> u8 {
    let mut byte = [0xee];
    model.load(space, address, &mut byte).unwrap();
    byte[0]
}

fn remap(old: u64, old_pages: u64, new_pages: u64, place: RemapPlace) -> RemapRequest {
    RemapRequest { old, old_length: old_pages * PAGE, new_length: new_pages * PAGE, place, keep_old: false }
}

/// A file whose page `n` holds the byte `n + 1`.
fn numbered_file(model: &mut Model, length: u64) -> ObjectId {
    model.file(length, Box::new(|index, page| page.fill(index as u8 + 1)))
}

#[test]
fn requests_to_map_fail_as_linux_says() {
    let (mut model, space) = mapped(4);
    let good = MapRequest::anonymous(BASE, PAGE, RW);
    let mut fails = |request: MapRequest| match model.map(space, &request, None) {
        Err(Refusal::Error(error)) => error.errno(),
        other => panic!("{request:?}: {other:?}"),
    };
    assert_eq!(fails(MapRequest { length: 0, ..good }), 22);
    assert_eq!(fails(MapRequest { length: u64::MAX, ..good }), 12);
    assert_eq!(fails(MapRequest { place: Place::Fixed(BASE + 1), ..good }), 22);
    assert_eq!(fails(MapRequest { place: Place::Fixed(0), ..good }), 1);
    assert_eq!(fails(MapRequest { place: Place::Fixed(1 << 47), ..good }), 12);
    assert_eq!(fails(MapRequest { place: Place::FixedNoReplace(BASE - PAGE), length: 2 * PAGE, ..good }), 17);
    assert_eq!(fails(MapRequest { max_prot: Prot::READ, ..good }), 13);
    assert_eq!(fails(MapRequest { source: Source::SharedAnonymous, flags: MapFlags::GROWS_DOWN, ..good }), 22);
    assert_eq!(model.maps(space).len(), 1);
}

#[test]
fn choices_of_address_are_judged() {
    let (mut model, space) = mapped(4);
    let stack = MapRequest { flags: MapFlags::GROWS_DOWN, ..MapRequest::anonymous(BASE * 4, PAGE, RW) };
    model.map(space, &stack, None).unwrap();
    let anywhere = MapRequest { place: Place::Anywhere, ..MapRequest::anonymous(0, PAGE, RW) };
    let is_bad = |result| matches!(result, Err(Refusal::Placement { .. }));
    assert!(is_bad(model.map(space, &anywhere, None)));
    assert!(is_bad(model.map(space, &anywhere, Some(BASE))));
    assert!(is_bad(model.map(space, &anywhere, Some(BASE * 4 - 256 * PAGE))));
    assert_eq!(model.map(space, &anywhere, Some(BASE * 4 - 257 * PAGE)), Ok(BASE * 4 - 257 * PAGE));
    let hinted = MapRequest { place: Place::Hint(BASE * 2 + 5), ..anywhere };
    assert!(is_bad(model.map(space, &hinted, Some(BASE * 3))));
    assert_eq!(model.map(space, &hinted, Some(BASE * 2)), Ok(BASE * 2));
    assert_eq!(model.map(space, &hinted, Some(BASE * 3)), Ok(BASE * 3));
}

#[test]
fn a_full_space_has_no_room() {
    let mut model = Model::new(Limits::of::<Tiny>(2));
    let space = model.create_space();
    model.map(space, &MapRequest::anonymous(PAGE, 40 * PAGE, RW), None).unwrap();
    let anywhere = |pages: u64| MapRequest { place: Place::Anywhere, ..MapRequest::anonymous(0, pages * PAGE, RW) };
    assert!(matches!(model.map(space, &anywhere(23), None), Err(Refusal::Placement { .. })));
    let none = Err(Refusal::Error(Error::NoAddressSpace { length: 24 * PAGE }));
    assert_eq!(model.map(space, &anywhere(24), None), none);
}

#[test]
fn limits_are_the_architectures() {
    // Pages of 8 KiB.
    let mut model = Model::new(Limits::of::<Sparc64>(256));
    let space = model.create_space();
    let request = MapRequest::anonymous(BASE, 2 * PAGE, Prot::EXECUTE);
    let unaligned = MapRequest { place: Place::Fixed(BASE + PAGE), ..request };
    assert!(matches!(model.map(space, &unaligned, None), Err(Refusal::Error(Error::Unaligned { .. }))));
    model.map(space, &MapRequest { length: PAGE, ..request }, None).unwrap();
    assert_eq!((model.maps(space)[0].end, byte(&mut model, space, BASE)), (BASE + 2 * PAGE, 0));
    // What can be executed cannot be read everywhere.
    for (limits, is_readable) in
        [(Limits::of::<X86_64>(256), true), (Limits::of::<Aarch64>(256), false), (Limits::of::<Riscv64>(256), false)]
    {
        let mut model = Model::new(limits);
        let space = model.create_space();
        model.map(space, &request, None).unwrap();
        assert_eq!(model.load(space, BASE, &mut [0]).is_ok(), is_readable);
    }
    let mut model = Model::new(Limits::of::<Riscv64>(256));
    let space = model.create_space();
    let high = MapRequest { place: Place::Fixed(1 << 38), ..request };
    assert!(model.map(space, &high, None).is_err());
}

#[test]
fn new_memory_is_zero_and_stores_stay() {
    let (mut model, space) = mapped(2);
    assert_eq!(byte(&mut model, space, BASE + 17), 0);
    model.store(space, BASE + PAGE - 1, &[1, 2]).unwrap();
    assert_eq!(byte(&mut model, space, BASE + PAGE), 2);
    assert_eq!(model.private_pages(space), 2);
    let mut bytes = [9; 3];
    model.load(space, BASE + PAGE - 2, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 1, 2]);
    assert_eq!(model.store(space, BASE + 2 * PAGE - 1, &[7, 7]), Err(Fault::NotMapped { address: BASE + 2 * PAGE }));
    assert_eq!(byte(&mut model, space, BASE + 2 * PAGE - 1), 7);
}

#[test]
fn unmapping_splits_and_mapping_over_replaces() {
    let (mut model, space) = mapped(4);
    model.store(space, BASE + PAGE, &[5]).unwrap();
    model.unmap(space, BASE + PAGE, 1).unwrap();
    assert_eq!(model.maps(space).len(), 2);
    assert_eq!(model.load(space, BASE + PAGE, &mut [0]), Err(Fault::NotMapped { address: BASE + PAGE }));
    model.map(space, &MapRequest::anonymous(BASE + PAGE, PAGE, RW), None).unwrap();
    assert_eq!(model.maps(space).len(), 1);
    assert_eq!(byte(&mut model, space, BASE + PAGE), 0);
    assert_eq!(model.unmap(space, BASE + 1, PAGE).unwrap_err().errno(), 22);
    assert_eq!(model.unmap(space, BASE, 0).unwrap_err().errno(), 22);
    model.unmap(space, 0, 1 << 46).unwrap();
    assert!(model.maps(space).is_empty());
}

#[test]
fn protection_is_all_or_nothing() {
    let (mut model, space) = mapped(4);
    model.unmap(space, BASE + 2 * PAGE, PAGE).unwrap();
    let before = model.maps(space);
    let hole = Error::NotMapped { address: BASE + 2 * PAGE };
    assert_eq!(model.protect(space, BASE, 4 * PAGE, Prot::READ), Err(hole));
    assert_eq!(model.maps(space), before);
    model.protect(space, BASE + PAGE, PAGE, Prot::READ).unwrap();
    assert_eq!(model.store(space, BASE + PAGE, &[1]), Err(Fault::Denied { address: BASE + PAGE }));
    assert_eq!(model.protect(space, BASE, 0, Prot::READ), Ok(()));
    let object = model.shared_memory(1);
    let read_only = object_request(object, 0, Sharing::Shared, BASE + 2 * PAGE, 1);
    model.map(space, &MapRequest { prot: Prot::READ, max_prot: Prot::READ, ..read_only }, None).unwrap();
    assert_eq!(model.protect(space, BASE, 4 * PAGE, RW), Err(Error::AccessDenied { address: BASE + 2 * PAGE }));
}

#[test]
fn files_show_their_contents_until_private_pages_are_written() {
    let (mut model, space) = model();
    let file = numbered_file(&mut model, 2 * PAGE + 10);
    model.map(space, &object_request(file, PAGE, Sharing::Private, BASE, 4), None).unwrap();
    model.map(space, &object_request(file, 0, Sharing::Shared, 2 * BASE, 4), None).unwrap();
    assert_eq!(byte(&mut model, space, BASE), 2);
    model.store(space, 2 * BASE + PAGE, &[0x55]).unwrap();
    assert_eq!(byte(&mut model, space, BASE), 0x55);
    model.store(space, BASE, &[0x66]).unwrap();
    model.store(space, 2 * BASE + PAGE, &[0x77]).unwrap();
    assert_eq!(byte(&mut model, space, BASE), 0x66);
    model.advise(space, BASE, PAGE, Advice::DontNeed).unwrap();
    assert_eq!(byte(&mut model, space, BASE), 0x77);
    assert_eq!((byte(&mut model, space, BASE + PAGE + 9), byte(&mut model, space, BASE + PAGE + 10)), (3, 0));
    let beyond = Fault::BeyondEnd { address: BASE + 2 * PAGE, index: 3 };
    assert_eq!(model.load(space, BASE + 2 * PAGE, &mut [0]), Err(beyond));
    assert_eq!(model.advise(space, BASE, PAGE, Advice::WipeOnFork).unwrap_err().errno(), 22);
}

#[test]
fn fork_copies_skips_and_wipes() {
    let (mut model, parent) = mapped(4);
    for page in 0..4 {
        model.store(parent, BASE + page * PAGE, &[1]).unwrap();
    }
    model.advise(parent, BASE + PAGE, PAGE, Advice::DontFork).unwrap();
    model.advise(parent, BASE + 2 * PAGE, PAGE, Advice::WipeOnFork).unwrap();
    let child = model.fork(parent);
    assert_eq!(model.private_pages(child), 2);
    assert_eq!(byte(&mut model, child, BASE), 1);
    assert_eq!(model.load(child, BASE + PAGE, &mut [0]), Err(Fault::NotMapped { address: BASE + PAGE }));
    assert_eq!(byte(&mut model, child, BASE + 2 * PAGE), 0);
    model.store(child, BASE, &[2]).unwrap();
    model.store(parent, BASE + 3 * PAGE, &[3]).unwrap();
    assert_eq!((byte(&mut model, parent, BASE), byte(&mut model, child, BASE + 3 * PAGE)), (1, 1));
    model.drop_space(parent);
    assert_eq!(byte(&mut model, child, BASE), 2);
}

#[test]
fn shared_memory_is_shared_across_fork() {
    let (mut model, parent) = model();
    let request = MapRequest { source: Source::SharedAnonymous, ..MapRequest::anonymous(BASE, 2 * PAGE, RW) };
    model.map(parent, &request, None).unwrap();
    let child = model.fork(parent);
    model.store(child, BASE, &[4]).unwrap();
    model.advise(child, BASE, PAGE, Advice::DontNeed).unwrap();
    assert_eq!((byte(&mut model, parent, BASE), byte(&mut model, child, BASE)), (4, 4));
    assert_eq!(model.private_pages(child), 0);
}

#[test]
fn remapping_resizes_moves_and_keeps() {
    let (mut model, space) = mapped(4);
    model.store(space, BASE + PAGE, &[8]).unwrap();
    let grown = model.remap(space, &remap(BASE, 4, 6, RemapPlace::InPlace), None);
    assert_eq!(grown, Ok(BASE));
    model.map(space, &MapRequest::anonymous(BASE + 6 * PAGE, PAGE, Prot::READ), None).unwrap();
    let full = model.remap(space, &remap(BASE, 6, 7, RemapPlace::InPlace), None);
    assert_eq!(full, Err(Refusal::Error(Error::Exists { address: BASE + 6 * PAGE })));
    let moved = model.remap(space, &remap(BASE, 6, 7, RemapPlace::MayMove), Some(2 * BASE));
    assert_eq!(moved, Ok(2 * BASE));
    assert_eq!(byte(&mut model, space, 2 * BASE + PAGE), 8);
    assert!(model.is_free(space, BASE, 6 * PAGE));
    let keep = RemapRequest { keep_old: true, ..remap(2 * BASE, 7, 7, RemapPlace::Fixed(3 * BASE)) };
    assert_eq!(model.remap(space, &keep, None), Ok(3 * BASE));
    assert_eq!((byte(&mut model, space, 2 * BASE + PAGE), byte(&mut model, space, 3 * BASE + PAGE)), (0, 8));
    assert_eq!(model.remap(space, &remap(3 * BASE, 7, 2, RemapPlace::InPlace), None), Ok(3 * BASE));
    assert!(model.is_free(space, 3 * BASE + 2 * PAGE, 5 * PAGE));
}

#[test]
fn remapping_refuses_what_linux_refuses() {
    let (mut model, space) = mapped(4);
    model.protect(space, BASE, PAGE, Prot::READ).unwrap();
    let mut fails = |request: RemapRequest| model.remap(space, &request, None).is_err();
    assert!(fails(remap(BASE, 2, 4, RemapPlace::MayMove)));
    assert!(fails(remap(BASE, 1, 0, RemapPlace::MayMove)));
    assert!(fails(remap(BASE, 0, 1, RemapPlace::MayMove)));
    assert!(fails(remap(BASE + 1, 1, 1, RemapPlace::MayMove)));
    assert!(fails(remap(BASE + PAGE, 2, 2, RemapPlace::Fixed(BASE + 2 * PAGE))));
    assert!(fails(remap(BASE + 8 * PAGE, 1, 2, RemapPlace::MayMove)));
    assert!(fails(RemapRequest { keep_old: true, ..remap(BASE, 1, 1, RemapPlace::InPlace) }));
    assert_eq!(model.maps(space).len(), 2);
}

#[test]
fn stacks_grow_to_the_limit_and_keep_their_distance() {
    let (mut model, space) = model();
    let top = BASE * 16;
    let stack = MapRequest { flags: MapFlags::GROWS_DOWN, ..MapRequest::anonymous(top, PAGE, RW) };
    model.map(space, &stack, None).unwrap();
    model.set_stack_limit(space, 1024 * PAGE);
    model.map(space, &MapRequest::anonymous(top - 600 * PAGE, PAGE, RW), None).unwrap();
    model.store(space, top - 10 * PAGE, &[1]).unwrap();
    assert_eq!(model.maps(space).last().unwrap().start, top - 10 * PAGE);
    let near = top - 600 * PAGE + 256 * PAGE;
    assert_eq!(model.store(space, near, &[1]), Err(Fault::NotMapped { address: near }));
    model.store(space, near + PAGE, &[1]).unwrap();
    model.protect(space, top - 600 * PAGE, PAGE, Prot::NONE).unwrap();
    model.store(space, near, &[1]).unwrap();
    model.unmap(space, top - 600 * PAGE, PAGE).unwrap();
    model.store(space, top - 1023 * PAGE, &[1]).unwrap();
    let beyond = top - 1024 * PAGE;
    assert_eq!(model.store(space, beyond, &[1]), Err(Fault::NotMapped { address: beyond }));
}

#[test]
fn the_heap_moves_its_end() {
    let (mut model, space) = model();
    assert!(model.brk(space, BASE).is_err());
    assert!(model.set_brk_base(space, BASE + 5).is_err());
    model.set_brk_base(space, BASE).unwrap();
    assert_eq!(model.brk(space, BASE + PAGE + 1), Ok(BASE + PAGE + 1));
    assert_eq!(model.brk(space, 0), Ok(BASE + PAGE + 1));
    model.store(space, BASE + 2 * PAGE - 1, &[1]).unwrap();
    assert_eq!(model.brk(space, BASE + 6), Ok(BASE + 6));
    assert!(!model.is_free(space, BASE, PAGE) && model.is_free(space, BASE + PAGE, PAGE));
    model.map(space, &MapRequest::anonymous(BASE + 3 * PAGE, PAGE, RW), None).unwrap();
    assert_eq!(model.brk(space, BASE + 4 * PAGE).unwrap_err().errno(), 17);
    assert!(model.brk(space, BASE - 1).is_err());
    assert_eq!(model.brk(space, BASE), Ok(BASE));
}

#[test]
fn population_owns_pages() {
    let (mut model, space) = model();
    let file = numbered_file(&mut model, 2 * PAGE);
    let populated = MapRequest { flags: MapFlags::POPULATE, ..object_request(file, 0, Sharing::Private, BASE, 4) };
    model.map(space, &populated, None).unwrap();
    assert_eq!(model.private_pages(space), 2);
    assert_eq!(model.advise(space, BASE, 4 * PAGE, Advice::PopulateRead).unwrap_err().errno(), 5);
    model.protect(space, BASE, PAGE, Prot::READ).unwrap();
    assert!(model.populate(space, BASE, PAGE, Access::Write).is_err());
}

#[test]
fn the_oracle_notices_and_classifies_wrong_bytes() {
    let mut oracle = Oracle::new(Limits::of::<X86_64>(256));
    let parent = oracle.model.create_space();
    oracle.model.map(parent, &MapRequest::anonymous(BASE, 2 * PAGE, RW), None).unwrap();
    oracle.model.store(parent, BASE, &[1, 2, 3]).unwrap();
    let child = oracle.model.fork(parent);
    oracle.model.store(child, BASE, &[9]).unwrap();
    let mut broken = |space, address, got: &[u8]| match oracle.check_load(space, address, got) {
        Err(LoadError::Mismatch(mismatch)) => Some(mismatch.broken),
        _ => None,
    };
    assert_eq!(broken(parent, BASE, &[1, 2, 3, 0]), None);
    assert_eq!(broken(parent, BASE, &[9, 2]), Some(Broken::Cow));
    assert_eq!(broken(parent, BASE, &[1, 0]), Some(Broken::Lost));
    assert_eq!(broken(parent, BASE + PAGE, &[0, 4]), Some(Broken::Gone));
    assert_eq!(oracle.check_load(parent, 0x1000, &[0]), Err(LoadError::Fault(Fault::NotMapped { address: 0x1000 })));
    assert_eq!((oracle.loads_checked, oracle.loads_after_store, oracle.violations), (5, 1, 4));
}
