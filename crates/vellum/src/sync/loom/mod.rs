//! The primitives under a weak memory order, with the model checker `loom`.
//!
//! What is checked is the core's own code: a [`machine::LoomMachine`] carries the accesses to the words that a test has
//! [shared](words::share) out on loom's atomics, with the orders the core asks for. Loom then tries the interleavings
//! up to a bound of pre-emptions, and every value that a load may return.
//!
//! Loom takes a sequentially consistent *access* for one that acquires and releases; only its sequentially consistent
//! *fences* are exact. So the machine puts a fence before each such access, or one after, which are the two ways in
//! which compilers map them to processors without such accesses; each is stronger than the language in one direction,
//! and each test is passed under both. What loom cannot show: a store that becomes visible before an earlier load
//! (tests use loom's cells for that: they check that accesses happen in order), and what needs more pre-emptions.
//!
//! Each test has counterparts on machines that weaken something, and must fail there.

mod flush;
mod lock;
mod machine;
mod rcu;
mod sequence;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::{String, ToString};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Explores `body` with at most `preemptions` pre-emptions, on a machine that orders memory as `how` says: how many
/// executions there are, or what went wrong in one.
fn explore(how: u32, preemptions: usize, body: impl Fn() + Send + Sync + 'static) -> Result<u64, String> {
    machine::reset();
    let executions = Arc::new(AtomicU64::new(0));
    let counter = executions.clone();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 5_000;
    let run = AssertUnwindSafe(|| {
        model.check(move || {
            counter.fetch_add(1, Relaxed);
            words::begin(how);
            body();
        })
    });
    match catch_unwind(run) {
        Ok(()) => Ok(executions.load(Relaxed)),
        Err(panic) => Err(match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (None, Some(text)) => text.to_string(),
            (None, None) => "a panic without a message".to_string(),
        }),
    }
}

/// `body` holds.
#[track_caller]
fn holds(how: u32, preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    match explore(how, preemptions, body) {
        Ok(executions) => std::println!("{executions} executions"),
        Err(why) => panic!("broken: {why}"),
    }
}

/// `body`, with something weakened, breaks in the way that `why` says.
#[track_caller]
fn breaks(how: u32, preemptions: usize, body: impl Fn() + Send + Sync + 'static, why: &str) {
    match explore(how, preemptions, body) {
        Ok(executions) => panic!("nothing broken in {executions} executions"),
        Err(found) => assert!(found.contains(why), "broken otherwise: {found}"),
    }
}
