//! Searches side by side, one to a host thread at a time; the last ones on several threads each.

use crate::progress::Progress;
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use vellum_lab::scenario::{Found, Search};

/// Makes all `searches`, and calls `tell` for each in their order, as soon as it and those before it are done.
pub fn run(searches: &[Search], mut tell: impl FnMut(&Search, &Found)) -> Vec<Found> {
    let cores = thread::available_parallelism().map_or(1, |count| count.get());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let progress = Progress::of_searches(searches.len());
    thread::scope(|scope| {
        for _ in 0..cores.min(searches.len()) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                let take = || next.fetch_add(1, Ordering::Relaxed);
                for (index, search) in iter::from_fn(|| Some(take())).map_while(|n| Some((n, searches.get(n)?))) {
                    // The cores that would have nothing to do.
                    let threads = cores / (searches.len() - index).min(cores);
                    // Somebody receives until all senders are gone.
                    let _ = sender.send((index, search.run_on(threads)));
                }
            });
        }
        drop(sender);
        let mut found: Vec<Option<Found>> = searches.iter().map(|_| None).collect();
        let mut told = 0;
        for (done, (index, result)) in receiver.iter().enumerate() {
            found[index] = Some(result);
            while let Some(Some(result)) = found.get(told) {
                progress.hidden(|| tell(&searches[told], result));
                told += 1;
            }
            progress.at(done as u64 + 1);
        }
        found.into_iter().flatten().collect()
    })
}
