//! Holes.

use super::*;

fn mapped<'vm>(
    vm: &'vm TestVm,
    object: &Object<'vm, TestMachine>,
    sharing: Sharing,
    pages: u64,
) -> (Space<'vm, TestMachine>, u64) {
    let space = vm.create_space().expect("a space");
    let request = MapRequest::object(object, 0, sharing, pages * PAGE as u64, Prot::READ_WRITE);
    let at = space.map(&request).expect("a mapping");
    (space, at)
}

/// Wherever the pages are mapped; private copies stay, what private mappings show of the object goes.
#[test]
fn a_hole_is_zero_wherever_it_is_shown() {
    let vm = boot(256);
    let object = vm.shared_memory(4).expect("an object");
    let (page, bytes) = (PAGE as u64, 4 * PAGE);
    let (shared, at) = mapped(&vm, &object, Sharing::Shared, 4);
    let (private, copied) = mapped(&vm, &object, Sharing::Private, 4);
    shared.copy_out(at, &vec![7; bytes]).expect("memory");
    for index in 0..4 {
        user::load(&private, copied + index * page).expect("memory");
    }
    user::store(&private, copied + page, 9).expect("a copy");
    object.punch(page, 2 * page).expect("shared memory has holes");
    assert_eq!((object.cached_pages(), object.length()), (2, 4 * page));
    assert_eq!((shared.rss().shared_memory, private.rss().shared_memory, private.rss().anonymous), (2, 2, 1));
    let all = |space: &Space<'_, TestMachine>, at: u64| [0, 1, 2, 3].map(|index| user::load(space, at + index * page));
    assert_eq!(all(&shared, at), [Ok(7), Ok(0), Ok(0), Ok(7)]);
    assert_eq!(all(&private, copied), [Ok(7), Ok(9), Ok(0), Ok(7)]);
    drop((shared, private, object));
    vm.audited().expect("a sound machine");
}

/// Pages that lie in the hole in part are cleared there, and written so.
#[test]
fn the_edges_of_a_hole_are_cleared() {
    let vm = boot(256);
    let file = TestFile::new(3 * PAGE);
    file.can_punch.store(true, SeqCst);
    let object = vm.file(file.clone()).expect("an object");
    let (space, at) = mapped(&vm, &object, Sharing::Shared, 3);
    space.copy_out(at, &vec![7; 3 * PAGE]).expect("memory");
    assert_eq!(object.write_back(), Ok(3));
    object.punch(PAGE as u64 - 2, PAGE as u64 + 4).expect("it can");
    object.punch(10, 5).expect("within a page");
    let expected: Vec<u8> = (0..3 * PAGE)
        .map(|at| if (10..15).contains(&at) || (PAGE - 2..2 * PAGE + 2).contains(&at) { 0 } else { 7 })
        .collect();
    let mut found = vec![1; 3 * PAGE];
    space.copy_in(at, &mut found).expect("memory");
    assert_eq!(found, expected);
    assert_eq!(object.write_back(), Ok(2), "what is being written meanwhile may be older");
    assert_eq!(*file.data.lock().unwrap(), expected);
    object.punch(2 * PAGE as u64, 1 << 40).expect("beyond the end, too");
    assert_eq!(file.data.lock().unwrap().len(), 3 * PAGE);
    drop((space, object));
    vm.audited().expect("a sound machine");
}

#[test]
fn what_is_refused_changes_nothing() {
    let vm = boot(256);
    let file = TestFile::new(2 * PAGE);
    let object = vm.file(file.clone()).expect("an object");
    store(&vm, &object, 0, 3);
    let (page, unsupported) = (PAGE as u64, Error::Unsupported { what: "holes in this file" });
    assert_eq!(object.punch(0, 0), Err(Error::ZeroLength { what: "hole" }));
    assert_eq!(object.punch(page, u64::MAX), Err(Error::OutOfRange { start: page, length: u64::MAX }));
    assert_eq!(object.punch(1 << 63, 1), Err(Error::OutOfRange { start: 1 << 63, length: 1 }));
    assert_eq!(object.punch(0, page), Err(unsupported));
    assert_eq!((object.cached_pages(), object.write_back()), (1, Ok(1)));
    file.can_punch.store(true, SeqCst);
    file.bad_write.store(1, SeqCst);
    assert_eq!(object.punch(page, 1), Err(Error::Io { index: 1 }));
    assert!(!object.inner().is_in_hole(1));
    file.bad_write.store(NEVER, SeqCst);
    drop(object);
    check_empty(&vm);
}

/// As beside truncation; but private copies come along.
#[test]
fn a_move_leaves_behind_what_a_hole_is_made_of() {
    const PAGE: u64 = 4096;
    let vm = boot(256);
    for sharing in [Sharing::Shared, Sharing::Private] {
        let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
        let (old, new) = (16 * PAGE, 600 * PAGE);
        let request = MapRequest::object(&object, PAGE, sharing, 4 * PAGE, Prot::READ_WRITE);
        space.map(&request.at(Place::Fixed(old))).expect("room");
        (0..4).for_each(|page| user::store(&space, old + page * PAGE, 1).expect("memory"));
        let place = RemapPlace::Fixed(new);
        let request = RemapRequest { old, old_length: 4 * PAGE, new_length: 4 * PAGE, place, keep_old: false };
        object.inner().while_hole(2..4, || space.remap(&request).expect("room"));
        let shows = [0, 1, 2, 3].map(|page| space.translate(new + page * PAGE).is_some());
        let is_private = sharing == Sharing::Private;
        assert_eq!(shows, [true, is_private, is_private, true], "the mapping begins with the object's second page");
        vm.audited().expect("a sound machine");
    }
}

/// Who wants a page of a hole waits until the backing has made it.
#[test]
fn a_page_of_a_hole_is_waited_for() {
    let vm = boot(256);
    let file = TestFile::new(2 * PAGE);
    file.can_punch.store(true, SeqCst);
    file.data.lock().unwrap().fill(7);
    let object = vm.file(file.clone()).expect("an object");
    let (old, _) = get(&vm, &object, 1).expect("a page");
    drop_page(&vm, old);
    let lock = vm.physical().frame(old).folio_lock();
    lock.acquire(&vm);
    thread::scope(|scope| {
        scope.spawn(|| {
            become_cpu(1);
            object.punch(PAGE as u64, PAGE as u64).expect("it can");
        });
        while !object.inner().is_in_hole(1) {
            thread::yield_now();
        }
        let reader = scope.spawn(|| {
            become_cpu(2);
            let (new, was_read) = get(&vm, &object, 1).expect("a page");
            assert_eq!((was_read, contents(&vm, new)[0]), (true, 0), "the old page");
            drop_page(&vm, new);
        });
        thread::sleep(Duration::from_millis(20));
        lock.release(&vm);
        reader.join().expect("no panic");
    });
    drop(object);
    check_empty(&vm);
}

/// `madvise` with `MADV_REMOVE`: what the mappings show, as far as they may be stored to.
#[test]
fn advice_makes_holes() {
    let vm = boot(256);
    let object = vm.shared_memory(8).expect("an object");
    let page = PAGE as u64;
    let space = vm.create_space().expect("a space");
    let map = |sharing, index: u64, at: u64, pages: u64| {
        let request = MapRequest::object(&object, index * page, sharing, pages * page, Prot::READ_WRITE);
        space.map(&request.at(Place::Fixed(at * page))).expect("room");
    };
    map(Sharing::Shared, 2, 16, 4);
    (16..20).for_each(|at| user::store(&space, at * page, at as u8).expect("memory"));
    let advise = |at: u64, pages: u64| space.advise(at * page, pages * page, Advice::Remove);
    let loads = || [16, 17, 18, 19].map(|at| user::load(&space, at * page).expect("mapped"));
    assert_eq!(advise(17, 4), Err(Error::NotMapped { address: 20 * page }));
    map(Sharing::Private, 0, 20, 1);
    assert_eq!(advise(17, 4), Err(Error::AccessDenied { address: 20 * page }));
    let request = MapRequest::anonymous(page, Prot::READ_WRITE).at(Place::Fixed(20 * page));
    space.map(&request).expect("room");
    assert!(matches!(advise(17, 4), Err(Error::Invalid { .. })));
    assert_eq!(loads(), [16, 17, 18, 19], "an error changes nothing");
    space.protect(18 * page, page, Prot::READ).expect("mapped");
    advise(17, 2).expect("it may be stored to");
    assert_eq!(loads(), [16, 0, 0, 19]);
    assert!(matches!(space.advise_partly(16 * page, 8 * page, Advice::Remove), Err(Error::Invalid { .. })));
    assert_eq!(loads(), [0, 0, 0, 0], "what lies before is done");
    drop((space, object));
    vm.audited().expect("a sound machine");
}
