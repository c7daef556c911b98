//! Mistakes that are seeded into Vellum's side: each is found, and shrunk to a few operations.

use crate::linux;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use vellum_conform::abi::*;
use vellum_conform::arena::PAGE;
use vellum_conform::compare::{self, Ending, Mistake, Settings};
use vellum_conform::op::{Call, Outcome};
use vellum_conform::ours::Ours;
use vellum_conform::{Campaign, Found, Limits, Linux, Stats, Stop};

/// Operations within which a mistake must be found.
const OPERATIONS: u64 = 40_000;
/// Most operations of a sequence that shows it.
const SHORT: usize = 6;

type Result = std::result::Result<Outcome, String>;
type Who<'a> = (usize, &'a Call, usize);

#[track_caller]
fn is_found(mistake: Mistake) {
    let Some(mut linux) = linux() else { return };
    let (mut seed, mut done) = (1, 0);
    while done < OPERATIONS {
        let limits = Limits { time: None, operations: Some(OPERATIONS - done) };
        let settings = Settings { mistake: Some(mistake), ..Settings::default() };
        let campaign = Campaign { seed, limits, has_pressure: true, settings };
        let mut stats = Stats::default();
        match campaign.run(&mut linux, &mut stats, &mut |_| ()) {
            Ok(()) => break,
            Err(Stop::Linux(error)) => panic!("{error}"),
            Err(Stop::Found(found)) if differs_anyway(&mut linux, &found) => {
                (seed, done) = (found.seed + 1, done + stats.operations());
            }
            Err(Stop::Found(found)) => {
                assert!(found.ops.len() <= SHORT, "{found}");
                return;
            }
        }
    }
    panic!("not found in {OPERATIONS} operations");
}

/// Whether both sides differ without the mistake as well.
fn differs_anyway(linux: &mut Linux, found: &Found) -> bool {
    let settings = Settings::default().exact();
    let ending = compare::run(linux, &found.ops, &settings, &mut Stats::default()).unwrap();
    !matches!(ending, Ending::Same)
}

/// Does `instead` of a call.
fn instead(ours: &mut Ours<'_>, (process, _, child): Who<'_>, call: Call, chosen: Option<u64>) -> Option<Result> {
    Some(ours.call(process, &call, child, chosen))
}

#[test]
fn an_error_has_another_number() {
    is_found(|_, (_, call, _), _| match *call {
        Call::Unmap { address, .. } if address % PAGE != 0 => Some(Ok(Outcome::Error(ENOMEM))),
        _ => None,
    });
}

#[test]
fn a_signal_has_another_code() {
    is_found(|ours, (process, call, child), chosen| match call {
        Call::Load { .. } => Some(ours.call(process, call, child, chosen).map(|outcome| match outcome {
            Outcome::Signal(SIGSEGV, SEGV_ACCERR, address) => Outcome::Signal(SIGSEGV, SEGV_MAPERR, address),
            outcome => outcome,
        })),
        _ => None,
    });
}

#[test]
fn discarding_does_nothing() {
    is_found(|ours, who, chosen| match *who.1 {
        Call::Advise { address, length, advice: MADV_DONTNEED } => {
            instead(ours, who, Call::Advise { address, length, advice: MADV_NORMAL }, chosen)
        }
        _ => None,
    });
}

#[test]
fn fork_shares_instead_of_copying() {
    is_found(|ours, (process, call, child), _| match call {
        Call::Fork => {
            ours.share(process, child);
            Some(Ok(Outcome::Value(0)))
        }
        _ => None,
    });
}

#[test]
fn moving_loses_the_last_page() {
    is_found(|ours, (process, call, child), chosen| match *call {
        Call::Remap { address, new_length, .. } => {
            let moved = ours.call(process, call, child, chosen);
            if let Ok(Outcome::Value(to)) = moved
                && to != address
            {
                let last = to + (new_length - 1) / PAGE * PAGE;
                let lose = Call::Advise { address: last, length: PAGE, advice: MADV_DONTNEED };
                ours.call(process, &lose, child, None).unwrap();
            }
            Some(moved)
        }
        _ => None,
    });
}

#[test]
fn protecting_leaves_the_last_page_out() {
    is_found(|ours, who, chosen| match *who.1 {
        Call::Protect { address, length, prot } if length > PAGE && length < 100 * PAGE => {
            instead(ours, who, Call::Protect { address, length: length - PAGE, prot }, chosen)
        }
        _ => None,
    });
}

#[test]
fn a_store_is_lost() {
    is_found(|_, (_, call, _), _| match *call {
        Call::Store { address, .. } if address % PAGE == 0x230 => Some(Ok(Outcome::Value(0))),
        _ => None,
    });
}

#[test]
fn a_mapping_replaces_what_it_must_not() {
    is_found(|ours, who, chosen| match *who.1 {
        Call::Map { address, length, prot, flags, file, offset } if flags & MAP_FIXED_NOREPLACE != 0 => {
            let flags = flags & !MAP_FIXED_NOREPLACE | MAP_FIXED;
            instead(ours, who, Call::Map { address, length, prot, flags, file, offset }, chosen)
        }
        _ => None,
    });
}

#[test]
fn a_property_is_forgotten() {
    is_found(|ours, who, chosen| match *who.1 {
        Call::Map { address, length, prot, flags, file, offset } if flags & MAP_NORESERVE != 0 => {
            let flags = flags & !MAP_NORESERVE;
            instead(ours, who, Call::Map { address, length, prot, flags, file, offset }, chosen)
        }
        _ => None,
    });
}

#[test]
fn the_kernel_stores_nowhere() {
    is_found(|_, (_, call, _), _| match call {
        Call::Read { .. } => Some(Ok(Outcome::Value(0))),
        _ => None,
    });
}

#[test]
fn shared_memory_is_private() {
    is_found(|ours, who, chosen| match *who.1 {
        Call::Map { address, length, prot, flags, file: 0, offset } if flags & MAP_SHARED_VALIDATE == MAP_SHARED => {
            let flags = flags & !MAP_SHARED | MAP_PRIVATE;
            instead(ours, who, Call::Map { address, length, prot, flags, file: 0, offset }, chosen)
        }
        _ => None,
    });
}

#[test]
fn children_get_what_they_must_not() {
    is_found(|ours, who, chosen| match *who.1 {
        Call::Advise { address, length, advice: MADV_DONTFORK } => {
            instead(ours, who, Call::Advise { address, length, advice: MADV_NORMAL }, chosen)
        }
        _ => None,
    });
}

#[test]
fn children_get_what_they_must_get_empty() {
    is_found(|ours, who, chosen| match *who.1 {
        Call::Advise { address, length, advice: MADV_WIPEONFORK } => {
            // Its errors are as they should be.
            let right = ours.call(who.0, who.1, who.2, chosen);
            instead(ours, who, Call::Advise { address, length, advice: MADV_KEEPONFORK }, chosen).and(Some(right))
        }
        _ => None,
    });
}

#[test]
fn a_heap_keeps_what_it_gave_back() {
    is_found(|ours, (process, call, child), _| match *call {
        Call::Brk { end } => match ours.call(process, &Call::Brk { end: 0 }, child, None) {
            Ok(Outcome::Value(now)) if end < now && end > now - 8 * PAGE => Some(Ok(Outcome::Value(end))),
            _ => None,
        },
        _ => None,
    });
}

#[test]
fn nothing_is_in_memory() {
    is_found(|ours, (process, call, child), chosen| match call {
        Call::Residency { .. } => Some(ours.call(process, call, child, chosen).map(|outcome| match outcome {
            Outcome::Resident(_) => Outcome::Resident(0),
            outcome => outcome,
        })),
        _ => None,
    });
}

#[test]
fn everything_is_in_memory() {
    is_found(|ours, (process, call, child), chosen| match call {
        Call::Residency { .. } => Some(ours.call(process, call, child, chosen).map(|outcome| match outcome {
            Outcome::Resident(_) => Outcome::Resident(u64::MAX),
            outcome => outcome,
        })),
        _ => None,
    });
}

#[test]
fn a_file_that_is_cut_keeps_its_length() {
    is_found(|_, (_, call, _), _| match *call {
        Call::Truncate { file: 2, length } if length < 4 * PAGE => Some(Ok(Outcome::Value(0))),
        _ => None,
    });
}

/// A sequence that differs once and not again is shown as it was then.
#[test]
fn what_is_not_repeated_is_a_failure() {
    static IS_MADE: AtomicBool = AtomicBool::new(false);
    let Some(mut linux) = linux() else { return };
    let mistake: Mistake = |_, (_, call, _), _| match call {
        Call::Store { .. } if !IS_MADE.swap(true, Relaxed) => Some(Ok(Outcome::Error(EIO))),
        _ => None,
    };
    let limits = Limits { time: None, operations: Some(OPERATIONS) };
    let settings = Settings { mistake: Some(mistake), ..Settings::default() };
    let campaign = Campaign { seed: 1, limits, has_pressure: false, settings };
    let stop = campaign.run(&mut linux, &mut Stats::default(), &mut |_| ());
    let Err(Stop::Found(found)) = stop else { panic!("{stop:?}") };
    assert!(!found.is_repeatable && found.disagreement.wrong.contains("EIO"), "{found}");
    assert!(found.to_string().contains("differed once, and not again"), "{found}");
}
