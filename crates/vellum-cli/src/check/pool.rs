//! Searches side by side, one to a host thread at a time; the last ones on several threads each.

use crate::progress::Progress;
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use vellum_lab::scenario::{Found, Search};

/// Makes all `searches`, those of one program once, and calls `tell` for each in their order, as soon as it and those
/// before it are done.
pub fn run(searches: &[Search], mut tell: impl FnMut(&Search, &Found)) -> Vec<Found> {
    let first_like = |search: &Search| searches.iter().position(|other| other.is_same(search));
    let firsts: Vec<usize> =
        searches.iter().enumerate().map(|(index, search)| first_like(search).unwrap_or(index)).collect();
    let own: Vec<usize> = (0..searches.len()).filter(|&index| firsts[index] == index).collect();
    let progress = Progress::of_searches(own.len());
    let mut found: Vec<Option<Found>> = searches.iter().map(|_| None).collect();
    let mut done = 0;
    let mut told = 0;
    run_each(searches, &own, |index, result| {
        found[index] = Some(result);
        done += 1;
        while let Some(Some(result)) = firsts.get(told).map(|&first| found[first].clone()) {
            let by = (firsts[told] != told).then(|| searches[firsts[told]].check.scenario.id);
            let result = found[told].insert(Found { by, ..result });
            progress.hidden(|| tell(&searches[told], result));
            told += 1;
        }
        progress.at(done);
    });
    found.into_iter().flatten().collect()
}

/// Makes the searches of these indices, and calls `tell` for each when it is done.
fn run_each(searches: &[Search], indices: &[usize], mut tell: impl FnMut(usize, Found)) {
    let cores = thread::available_parallelism().map_or(1, |count| count.get());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..cores.min(indices.len()) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                let take = || next.fetch_add(1, Ordering::Relaxed);
                for (n, &index) in iter::from_fn(|| Some(take())).map_while(|n| Some((n, indices.get(n)?))) {
                    // The cores that would have nothing to do.
                    let threads = cores / (indices.len() - n).min(cores);
                    // Somebody receives until all senders are gone.
                    let _ = sender.send((index, searches[index].run_on(threads)));
                }
            });
        }
        drop(sender);
        receiver.iter().for_each(|(index, result)| tell(index, result));
    });
}
