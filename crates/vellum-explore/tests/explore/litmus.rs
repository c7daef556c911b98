//! Litmus tests: the complete set of outcomes under each order of memory.
//!
//! The names, and which outcomes x86-TSO allows, are those of Sewell et al. (CACM 53(7), 2010), Owens, Sarkar, Sewell
//! ("A better x86 memory model: x86-TSO", TPHOLs 2009: n4b, n5, n6, RWC), and Alglave, Maranget, Tautschnig ("Herding
//! cats", TOPLAS 2014: S, R, 2+2W, WRC). An outcome is written as the loaded values, CPU by CPU, then the final value
//! of the words named.

use super::reference;
use super::text::{Found, Text};
use std::collections::BTreeSet;
use vellum_explore::{Bound, MemoryOrder};

struct Litmus {
    name: &'static str,
    program: &'static str,
    /// Words whose final values belong to the outcome.
    finals: &'static str,
    sc: &'static str,
    /// What total store order allows besides.
    tso: &'static str,
}

const fn loads(name: &'static str, program: &'static str, sc: &'static str, tso: &'static str) -> Litmus {
    Litmus { name, program, finals: "", sc, tso }
}

const TESTS: [Litmus; 19] = [
    loads("SB", "x=1; y | y=1; x", "01 10 11", "00"),
    loads("SB+fences", "x=1; fence; y | y=1; fence; x", "01 10 11", ""),
    loads("SB+swaps", "x<-1; y | y<-1; x", "0001 0100 0101", ""),
    loads("SB+fence", "x=1; fence; y | y=1; x", "01 10 11", "00"),
    loads("SB+unrelated swaps", "x=1; z<-1; y | y=1; w<-1; x", "0001 0100 0101", ""),
    loads("SB, fences too late", "x=1; y; fence | y=1; x; fence", "01 10 11", "00"),
    loads("MP", "x=1; y=1 | y; x", "00 01 11", ""),
    loads("LB", "x; y=1 | y; x=1", "00 01 10", ""),
    Litmus { name: "S", program: "x=2; y=1 | y; x=1", finals: "x", sc: "01 02 11", tso: "" },
    Litmus { name: "R", program: "x=1; y=1 | y=2; x", finals: "y", sc: "01 11 12", tso: "02" },
    Litmus { name: "2+2W", program: "x=1; y=2 | y=1; x=2", finals: "xy", sc: "12 21 22", tso: "" },
    loads("WRC", "x=1 | x; y=1 | y; x", "000 001 010 011 100 101 111", ""),
    loads("RWC", "x=1 | x; y | y=1; x", "000 001 010 011 101 110 111", "100"),
    loads("CoRR", "x=1 | x; x", "00 01 11", ""),
    loads("CoWW", "x=1; x=2 | x; x", "00 01 02 11 12 22", ""),
    Litmus { name: "CoWR", program: "x=1; x | x=2", finals: "x", sc: "11 12 22", tso: "" },
    loads("n4b", "x; x=1 | x; x=2", "00 01 20", ""),
    loads("n5", "x=1; x | x=2; x", "11 12 22", ""),
    Litmus { name: "n6", program: "x=1; x; y | y=2; x=2", finals: "x", sc: "102 121 122 222", tso: "101" },
];

fn project(litmus: &Litmus, found: &Found) -> BTreeSet<String> {
    let of = |outcome: &Vec<u64>| {
        let (loaded, memory) = outcome.split_at(outcome.len() - super::text::WORDS);
        let finals = litmus.finals.chars().map(|name| memory["xyzw".find(name).unwrap()]);
        loaded.iter().copied().chain(finals).map(|value| value.to_string()).collect()
    };
    found.outcomes.iter().map(of).collect()
}

fn set(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(String::from).collect()
}

fn check(litmus: &Litmus, reduce: bool) {
    let text = Text::new(litmus.program);
    let sc = set(litmus.sc);
    let tso: BTreeSet<String> = sc.union(&set(litmus.tso)).cloned().collect();
    for (order, expected) in [(MemoryOrder::Sc, &sc), (MemoryOrder::Tso, &tso)] {
        assert_eq!(&project(litmus, &reference::outcomes(&text, order)), expected, "the machine, {}", litmus.name);
        let (found, _) = text.explore(order, Bound::NONE, reduce);
        assert_eq!(&project(litmus, &found), expected, "{} {order:?}", litmus.name);
    }
    let (found, _) = text.explore(MemoryOrder::Tso, Bound { surprises: 0, ..Bound::NONE }, reduce);
    assert_eq!(project(litmus, &found), sc, "{} without surprises", litmus.name);
}

#[test]
fn reduced_searches_find_the_known_outcomes() {
    TESTS.iter().for_each(|litmus| check(litmus, true));
}

#[test]
fn unreduced_searches_find_the_known_outcomes() {
    TESTS.iter().for_each(|litmus| check(litmus, false));
}

/// Independent reads of independent writes: readers agree on the order of the writes.
#[test]
fn readers_agree() {
    let all = (0..16).map(|bits| format!("{bits:04b}")).filter(|outcome| outcome != "1010");
    let all: Vec<String> = all.collect();
    let litmus =
        Litmus { name: "IRIW", program: "x=1 | y=1 | x; y | y; x", finals: "", sc: all.join(" ").leak(), tso: "" };
    check(&litmus, true);
}

/// Each litmus test's surprise is one.
#[test]
fn one_surprise_suffices() {
    for name in ["SB", "SB+fence", "SB, fences too late", "R", "RWC", "n6"] {
        let litmus = TESTS.iter().find(|litmus| litmus.name == name).unwrap();
        let bound = Bound { surprises: 1, ..Bound::NONE };
        let (found, _) = Text::new(litmus.program).explore(MemoryOrder::Tso, bound, true);
        assert!(project(litmus, &found).is_superset(&set(litmus.tso)), "{name}");
    }
}
