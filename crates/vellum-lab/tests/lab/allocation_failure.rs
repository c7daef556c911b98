//! Every allocation of every operation fails in turn, alone and with all that follow: the operation fails as a whole
//! and succeeds when it is tried again, or it does without.

use crate::toys::Toy;
use vellum::arch::{Aarch64, Arch, Sparc64, TinyBroadcast, X86_64};
use vellum_lab::model::sequence::{Goal, How, Length, Op, Put, Settings, Spot, What, paste::*, sweep, sweep_seeds};

/// An operation, and what comes before it.
struct Scenario {
    name: &'static str,
    setup: Vec<Op>,
    op: Op,
}

fn scenario(name: &'static str, setup: &[Op], op: Op) -> Scenario {
    Scenario { name, setup: setup.to_vec(), op }
}

const FIRST: Spot = Mapped { area: 0, page: 0 };
const SECOND: Spot = Mapped { area: 0, page: 1 };

/// A private mapping, or what a change makes of it.
fn map(at: u16, pages: u16, change: impl FnOnce(&mut Op)) -> Op {
    let mut op = Map {
        cpu: 0,
        space: 0,
        at: Pool(at),
        length: Pages(pages),
        put: Exactly,
        rights: ReadWrite,
        most: AllRights,
        what: PrivateZero,
        how: Plain,
    };
    change(&mut op);
    op
}

fn what(new: What) -> impl FnOnce(&mut Op) {
    move |op| {
        if let Map { what, .. } = op {
            *what = new;
        }
    }
}

fn how(new: How) -> impl FnOnce(&mut Op) {
    move |op| {
        if let Map { how, .. } = op {
            *how = new;
        }
    }
}

fn put(new: Put) -> impl FnOnce(&mut Op) {
    move |op| {
        if let Map { put, .. } = op {
            *put = new;
        }
    }
}

fn store(at: Spot) -> Op {
    Store { cpu: 0, space: 0, at, offset: 0, bytes: 8 }
}

fn load(at: Spot) -> Op {
    Load { cpu: 0, space: 0, at, offset: 0, bytes: 8 }
}

fn protect(at: Spot) -> Op {
    Protect { cpu: 0, space: 0, at, length: Pages(1), rights: ReadOnly }
}

fn advise(advice: vellum::ops::Advice, length: Length) -> Op {
    Advise { cpu: 0, space: 0, at: SECOND, length, advice }
}

fn remap(length: u16, new_length: u16, goal: Goal, keep_old: bool) -> Op {
    let (length, new_length) = (Pages(length), Pages(new_length));
    Remap { cpu: 0, space: 0, at: SECOND, length, new_length, goal, keep_old }
}

/// Pages of one mapping with so many different advice and rights that its leaf needs more than a few runs.
fn checkered(at: u16) -> Vec<Op> {
    let mut ops = vec![map(at, 8, |_| {})];
    for page in [1, 3, 5] {
        ops.push(Protect { cpu: 0, space: 0, at: Pool(at + page), length: Pages(1), rights: ReadOnly });
    }
    ops
}

/// A mapping of six pages at `low`, three of which were stored to.
fn stored(low: u16) -> Vec<Op> {
    vec![map(low, 6, |_| {}), store(FIRST), store(SECOND), store(Mapped { area: 0, page: 4 })]
}

/// The same, and a child that shares the pages.
fn forked(low: u16) -> Vec<Op> {
    [&stored(low)[..], &[Fork { cpu: 0, space: 0 }]].concat()
}

/// Two pages of a shared file.
fn shared_file(low: u16) -> [Op; 1] {
    [map(low, 2, what(ObjectShared(1, 0)))]
}

/// Two pages of a file, privately.
fn private_file(low: u16) -> [Op; 1] {
    [map(low, 2, what(ObjectPrivate(1, 0)))]
}

fn mappings(low: u16) -> Vec<Scenario> {
    vec![
        scenario("create a space", &[], CreateSpace),
        scenario("map private memory", &[], map(low, 6, |_| {})),
        scenario("map anywhere", &[], map(low, 6, put(AnyPlace))),
        scenario("map at a hint", &[], map(low, 6, put(Hinted))),
        scenario("map if free", &[], map(low, 6, put(IfFree))),
        scenario("map over pages", &stored(low), map(low + 1, 3, what(SharedZero))),
        scenario("map shared memory", &[], map(low, 6, what(SharedZero))),
        scenario("map a file privately", &[], map(low, 2, what(ObjectPrivate(1, 0)))),
        scenario("map a file shared", &[], map(low, 2, what(ObjectShared(1, 1)))),
        scenario("map a stack", &[], map(low, 2, how(GrowsDown))),
        scenario("map and populate", &[], map(low, 6, how(Populate))),
    ]
}

fn ranges(low: u16) -> Vec<Scenario> {
    let (stored, forked, mapped) = (stored(low), forked(low), [map(low, 6, |_| {})]);
    vec![
        scenario("unmap the middle", &stored, Unmap { cpu: 0, space: 0, at: SECOND, length: Pages(2) }),
        scenario("unmap all", &stored, Unmap { cpu: 0, space: 0, at: FIRST, length: Rest }),
        scenario("protect the middle", &stored, protect(SECOND)),
        scenario(
            "protect up to a hole",
            &stored,
            ProtectPartly { cpu: 0, space: 0, at: SECOND, length: Pages(8), rights: ReadOnly },
        ),
        scenario(
            "advise around a hole",
            &[&stored[..], &[Unmap { cpu: 0, space: 0, at: Mapped { area: 0, page: 2 }, length: Pages(1) }]].concat(),
            AdvisePartly { cpu: 0, space: 0, at: SECOND, length: Pages(3), advice: DontFork },
        ),
        scenario("advise against fork", &stored, advise(DontFork, Pages(2))),
        scenario("advise to wipe", &stored, advise(WipeOnFork, Pages(2))),
        scenario("advise an order", &stored, advise(Sequential, Pages(1))),
        scenario("drop contents", &stored, advise(DontNeed, Pages(2))),
        scenario("read ahead", &shared_file(low), advise(WillNeed, Pages(1))),
        scenario("populate for loads", &mapped, advise(PopulateRead, Rest)),
        scenario("populate for stores", &forked, advise(PopulateWrite, Rest)),
        scenario("fork", &stored, Fork { cpu: 0, space: 0 }),
        scenario("fork a fork", &forked, Fork { cpu: 0, space: 1 }),
        scenario("move the heap's end", &[BrkBase { space: 0, at: Pool(low), offset: 0 }], brk(low + 3)),
        scenario(
            "lower the heap's end",
            &[BrkBase { space: 0, at: Pool(low), offset: 0 }, brk(low + 5), store(FIRST)],
            brk(low + 2),
        ),
    ]
}

fn moves(low: u16, high: u16) -> Vec<Scenario> {
    let (stored, mapped) = (stored(low), [map(low, 6, |_| {})]);
    // Several runs, two holes, and a page in most of them.
    let mut several = checkered(low);
    several.extend([0, 1, 2, 4].map(|area| store(Mapped { area, page: 0 })));
    several.push(map(low + 10, 3, what(SharedZero)));
    several.push(Unmap { cpu: 0, space: 0, at: Pool(low + 4), length: Pages(1) });
    vec![
        scenario("move", &stored, remap(3, 3, MoveTo(Pool(high)), false)),
        scenario("move and grow", &stored, remap(2, 4, MoveTo(Pool(high)), false)),
        scenario("move and shrink", &stored, remap(4, 2, MoveTo(Pool(high)), false)),
        scenario("move several", &several, remap(12, 12, MoveTo(Pool(high)), false)),
        scenario("move several and keep", &several, remap(12, 12, MoveTo(Pool(high)), true)),
        scenario("move and keep", &stored, remap(3, 3, MoveTo(Pool(high)), true)),
        scenario("move somewhere", &stored, remap(2, 9, Wander, false)),
        scenario("grow in place", &mapped, remap(5, 7, Stay, false)),
        scenario("shrink", &stored, remap(5, 2, Stay, false)),
        scenario("duplicate", &[map(low, 4, what(SharedZero)), store(FIRST)], remap(0, 2, MoveTo(Pool(high)), false)),
    ]
}

fn accesses(low: u16) -> Vec<Scenario> {
    let (forked, mapped) = (forked(low), [map(low, 6, |_| {})]);
    let stack = [map(low + 6, 2, how(GrowsDown)), store(FIRST)];
    vec![
        scenario("store to new memory", &mapped, store(FIRST)),
        scenario("load new memory", &mapped, load(FIRST)),
        scenario("store after a load", &[mapped[0], load(FIRST)], store(FIRST)),
        scenario("store after fork", &forked, store(FIRST)),
        scenario("store to shared memory", &[map(low, 2, what(SharedZero))], store(FIRST)),
        scenario("load a file", &shared_file(low), load(FIRST)),
        scenario("store to a shared file", &shared_file(low), store(FIRST)),
        scenario("store to a private file", &private_file(low), store(FIRST)),
        scenario("store to a private file page read before", &[private_file(low)[0], load(FIRST)], store(FIRST)),
        scenario("grow a stack", &stack, store(Pool(low + 3))),
    ]
}

fn endings(low: u16) -> Vec<Scenario> {
    let forked = forked(low);
    vec![
        scenario("replace shared memory", &[], ReplaceObject { object: 0 }),
        scenario("replace a file", &shared_file(low), ReplaceObject { object: 1 }),
        scenario("write back", &[shared_file(low)[0], store(FIRST), protect(FIRST)], WriteBack { object: 1 }),
        scenario("end a space", &forked, DropSpace { space: 0 }),
        scenario(
            "end a space with a dirty file",
            &[CreateSpace, shared_file(low)[0], store(FIRST)],
            DropSpace { space: 0 },
        ),
    ]
}

/// Operations on a leaf of many parts.
fn many_parts(low: u16) -> Vec<Scenario> {
    let parts = checkered(low);
    let protect = |at, pages, rights| Protect { cpu: 0, space: 0, at, length: Pages(pages), rights };
    let advise = Advise { cpu: 0, space: 0, at: Pool(low + 1), length: Pages(6), advice: DontFork };
    vec![
        scenario("protect one part more", &parts, protect(Pool(low + 6), 1, AllRights)),
        scenario("protect all parts", &parts, protect(FIRST, 8, ReadOnly)),
        scenario("fork many parts", &parts, Fork { cpu: 0, space: 0 }),
        scenario("advise many parts", &parts, advise),
        scenario("unmap many parts", &parts, Unmap { cpu: 0, space: 0, at: Pool(low + 2), length: Pages(4) }),
    ]
}

/// Scenarios for pools in which pages `low` to `low + 12` and `high` to `high + 8` follow each other.
fn scenarios(low: u16, high: u16) -> Vec<Scenario> {
    let all = [mappings(low), ranges(low), moves(low, high), accesses(low), endings(low), many_parts(low)];
    all.into_iter().flatten().collect()
}

fn brk(at: u16) -> Op {
    Brk { cpu: 0, space: 0, at: Pool(at), offset: 0 }
}

fn sweep_all<A: Arch>(scenarios: &[Scenario]) {
    sweep_with::<A>(scenarios, &Settings { cpus: 2, frames: 1024, ..Settings::default() });
}

fn sweep_with<A: Arch>(scenarios: &[Scenario], settings: &Settings) {
    let (mut requests, mut failed, mut survived, mut wrong) = (0, 0, 0, Vec::new());
    for Scenario { name, setup, op } in scenarios {
        match sweep::<A>(setup, op, settings) {
            Ok(found) => {
                println!("{}, {name}: {} allocations", A::NAME, found.requests);
                (requests, failed, survived) =
                    (requests + found.requests, failed + found.failed, survived + found.survived);
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    let scenarios = scenarios.len();
    println!(
        "{}: {scenarios} scenarios, {requests} allocations; {failed} runs failed, {survived} did without",
        A::NAME
    );
    assert!(wrong.is_empty(), "{} of {scenarios} scenarios:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn x86_64_survives_every_failure() {
    // Pages 11 to 24 of the pool lie around a leaf's end; 43 to 51 around an upper table's.
    sweep_all::<X86_64>(&scenarios(12, 43));
}

#[test]
fn x86_64_survives_every_failure_within_a_leaf() {
    sweep_all::<X86_64>(&scenarios(1, 19));
}

#[test]
fn the_tiny_architecture_survives_every_failure() {
    sweep_all::<Toy>(&scenarios(2, 40));
}

#[test]
fn broadcasts_survive_every_failure() {
    sweep_all::<TinyBroadcast>(&scenarios(2, 40));
}

#[test]
fn sparc64_survives_every_failure() {
    sweep_all::<Sparc64>(&scenarios(12, 43));
}

/// Reservations of terabytes are cut, moved and forked like everything else.
#[test]
fn large_reservations_survive_every_failure() {
    let large = |at| {
        map(at, 1, |op| {
            if let Map { length, .. } = op {
                *length = To(62)
            }
        })
    };
    let scenarios = [
        scenario("reserve", &[], large(15)),
        scenario(
            "reserve anywhere",
            &[],
            map(0, 1, |op| {
                if let Map { length, put, .. } = op {
                    (*length, *put) = (Bytes(1 << 42), AnyPlace);
                }
            }),
        ),
        scenario("cut a hole", &[large(15), store(FIRST)], Unmap { cpu: 0, space: 0, at: Pool(47), length: Pages(2) }),
        scenario(
            "protect a part",
            &[large(15), store(Pool(48))],
            Protect { cpu: 0, space: 0, at: Pool(45), length: To(57), rights: ReadOnly },
        ),
        scenario("fork", &[large(15), store(Pool(48)), store(Pool(57))], Fork { cpu: 0, space: 0 }),
        scenario(
            "drop contents",
            &[large(15), store(Pool(48))],
            Advise { cpu: 0, space: 0, at: FIRST, length: Rest, advice: DontNeed },
        ),
    ];
    sweep_all::<X86_64>(&scenarios);
}

/// What is done to two huge pages, the first of which lies at page `low` of the pool.
fn huge_pages(low: u16) -> Vec<Scenario> {
    let mapped = map(low, 1, |op| {
        if let Map { length, .. } = op {
            *length = Huge(2);
        }
    });
    let at = Mapped { area: 0, page: 1 };
    let (cpu, space, length) = (0, 0, Pages(1));
    let fresh = [mapped];
    let made = [mapped, store(at)];
    let forked = [mapped, store(at), Fork { cpu, space }];
    let discard = |length| Advise { cpu, space, at, length, advice: DontNeed };
    let all = Mapped { area: 0, page: 0 };
    vec![
        scenario("make a huge page", &fresh, store(at)),
        scenario("populate huge pages", &fresh, Advise { cpu, space, at: all, length: Rest, advice: PopulateWrite }),
        scenario("discard a part", &made, discard(length)),
        scenario("give a part up", &made, Advise { cpu, space, at, length, advice: Free }),
        scenario("protect a part", &made, Protect { cpu, space, at, length, rights: ReadOnly }),
        scenario("protect all", &made, Protect { cpu, space, at: all, length: Huge(1), rights: ReadOnly }),
        scenario("say nothing of a part", &made, Advise { cpu, space, at, length, advice: DontFork }),
        scenario("guard a part", &made, Advise { cpu, space, at, length, advice: GuardInstall }),
        scenario("unmap a part", &made, Unmap { cpu, space, at, length }),
        scenario("unmap all", &made, Unmap { cpu, space, at: all, length: Rest }),
        scenario("fork", &made, Fork { cpu, space }),
        scenario("copy a page", &forked, store(at)),
        scenario("copy a page by the kernel", &forked, CopyOut { cpu, space, at, offset: 0, bytes: 1 }),
        scenario("discard a shared part", &forked, discard(length)),
        scenario(
            "move a part",
            &made,
            Remap { cpu, space, at, length, new_length: length, goal: Wander, keep_old: false },
        ),
        scenario(
            "move all",
            &made,
            Remap { cpu, space, at: all, length: Rest, new_length: Rest, goal: Wander, keep_old: false },
        ),
    ]
}

#[test]
fn huge_pages_survive_every_failure() {
    let settings = Settings { cpus: 2, frames: 1024, ..Settings::default() };
    // Page 18 of the pool begins a leaf.
    sweep_with::<X86_64>(&huge_pages(18), &settings.with_huge_pages::<X86_64>());
    sweep_with::<Toy>(&huge_pages(8), &settings.with_huge_pages::<Toy>());
    sweep_with::<TinyBroadcast>(&huge_pages(8), &settings.with_huge_pages::<TinyBroadcast>());
}

/// As [`huge_pages`], but less than a huge page is mapped: so folios of several pages come.
fn folios(low: u16) -> Vec<Scenario> {
    let mapped = map(low, 12, |_| {});
    let (cpu, space, length) = (0, 0, Pages(2));
    let at = Mapped { area: 0, page: 2 };
    let made = [mapped, store(at)];
    let forked = [mapped, store(at), Fork { cpu, space }];
    vec![
        scenario("make a folio", &[mapped], store(at)),
        scenario("discard a part", &made, Advise { cpu, space, at, length, advice: DontNeed }),
        scenario("protect a part", &made, Protect { cpu, space, at, length, rights: ReadOnly }),
        scenario("unmap a part", &made, Unmap { cpu, space, at, length }),
        scenario("fork", &made, Fork { cpu, space }),
        scenario("copy a page", &forked, store(at)),
        scenario(
            "move a part",
            &made,
            Remap { cpu, space, at, length, new_length: length, goal: Wander, keep_old: false },
        ),
    ]
}

#[test]
fn folios_survive_every_failure() {
    for folio_orders in [1 << 1, 1 << 2, u32::MAX] {
        let settings = Settings { cpus: 2, frames: 1024, folio_orders, ..Settings::default() };
        sweep_with::<X86_64>(&folios(18), &settings.with_huge_pages::<X86_64>());
        sweep_with::<Toy>(&folios(8), &settings.with_huge_pages::<Toy>());
    }
}

fn sweep_random<A: Arch>() {
    sweep_some::<A>(1);
}

/// One in `share` of the random operations.
fn sweep_some<A: Arch>(share: u64) {
    let count: u64 =
        std::env::var("VELLUM_SWEEPS").map_or(600, |text| text.parse().expect("VELLUM_SWEEPS is a number"));
    let count = count.div_ceil(share);
    match sweep_seeds::<A>(0..count) {
        Ok(found) => println!(
            "{}: {count} random operations, {} allocations; {} runs failed, {} did without",
            A::NAME,
            found.requests,
            found.failed,
            found.survived
        ),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn random_operations_survive_on_x86_64() {
    // The slowest, as its tables are the largest.
    sweep_some::<X86_64>(4);
}

#[test]
fn random_operations_survive_on_the_tiny_architecture() {
    sweep_random::<Toy>();
}

#[test]
fn random_operations_survive_with_broadcasts() {
    sweep_some::<TinyBroadcast>(4);
}

#[test]
fn random_operations_survive_with_tags() {
    sweep_some::<Aarch64>(10);
    sweep_some::<Sparc64>(10);
}
