//! The scenarios, one file each, by their ids in the catalogue.

mod a1;
mod a13;
mod a14;
mod a15;
mod a2;
mod a3;
mod a4;
mod a4u;
mod a5;
mod a6;
mod a7;
mod a9;
mod b1;
mod b11;
mod b12;
mod b13;
mod b14;
mod b15;
mod b16;
mod b16r;
mod b17;
mod b2;
mod b20;
mod b3;
mod b4;
mod b7;
mod b8;
mod b9;
mod d10;
mod d7;
mod d8;
mod d9;
mod e1;
mod e11;
mod e12;
mod e13;
mod e15;
mod e16;
mod e17;
mod e18;
mod e18l;
mod e2;
mod e3;
mod e4;
mod e5;
mod e6;
mod e7;
mod e8;
mod e9;
mod f1;
mod f10;
mod f11;
mod f12;
mod f1b;
mod f2;
mod f3;
mod f4;
mod f5;
mod f6;
mod f8;
mod f9;
mod g1;
mod g12;
mod g13;
mod g19;
mod g2;
mod g4;
mod g5;
mod g6;
mod g7;
mod g9;
mod i11;
mod i6;
mod i7;
mod i8;
mod i9;
mod j1;
mod j10;
mod j13;
mod j2;
mod j4;
mod j5;
mod j6;
mod j7;
mod j8;
mod t1;
mod t2;

use crate::scenario::Scenario;

/// All scenarios.
pub const ALL: &[&Scenario] = &[
    &a1::SCENARIO,
    &a2::SCENARIO,
    &a3::SCENARIO,
    &a4::SCENARIO,
    &a4u::SCENARIO,
    &a5::SCENARIO,
    &a6::SCENARIO,
    &a7::SCENARIO,
    &a9::SCENARIO,
    &a13::SCENARIO,
    &a14::SCENARIO,
    &a15::SCENARIO,
    &b1::SCENARIO,
    &b2::SCENARIO,
    &b3::SCENARIO,
    &b4::SCENARIO,
    &b7::SCENARIO,
    &b8::SCENARIO,
    &b9::SCENARIO,
    &b11::SCENARIO,
    &b12::SCENARIO,
    &b13::SCENARIO,
    &b14::SCENARIO,
    &b15::SCENARIO,
    &b16::SCENARIO,
    &b16r::SCENARIO,
    &b17::SCENARIO,
    &b20::SCENARIO,
    &d7::SCENARIO,
    &d8::SCENARIO,
    &d9::SCENARIO,
    &d10::SCENARIO,
    &e1::SCENARIO,
    &e2::SCENARIO,
    &e3::SCENARIO,
    &e4::SCENARIO,
    &e5::SCENARIO,
    &e6::SCENARIO,
    &e7::SCENARIO,
    &e8::SCENARIO,
    &e9::SCENARIO,
    &e11::SCENARIO,
    &e12::SCENARIO,
    &e13::SCENARIO,
    &e15::SCENARIO,
    &e16::SCENARIO,
    &e17::SCENARIO,
    &e18::SCENARIO,
    &e18l::SCENARIO,
    &f1::SCENARIO,
    &f1b::SCENARIO,
    &f2::SCENARIO,
    &f3::SCENARIO,
    &f4::SCENARIO,
    &f5::SCENARIO,
    &f6::SCENARIO,
    &f8::SCENARIO,
    &f9::SCENARIO,
    &f10::SCENARIO,
    &f11::SCENARIO,
    &f12::SCENARIO,
    &g1::SCENARIO,
    &g2::SCENARIO,
    &g4::SCENARIO,
    &g5::SCENARIO,
    &g6::SCENARIO,
    &g7::SCENARIO,
    &g9::SCENARIO,
    &g12::SCENARIO,
    &g13::SCENARIO,
    &g19::SCENARIO,
    &i6::SCENARIO,
    &i7::SCENARIO,
    &i8::SCENARIO,
    &i9::SCENARIO,
    &i11::SCENARIO,
    &j1::SCENARIO,
    &j2::SCENARIO,
    &j4::SCENARIO,
    &j5::SCENARIO,
    &j6::SCENARIO,
    &j7::SCENARIO,
    &j8::SCENARIO,
    &j10::SCENARIO,
    &j13::SCENARIO,
    &t1::SCENARIO,
    &t2::SCENARIO,
];

/// The scenario `id`.
pub fn find(id: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|scenario| scenario.id.eq_ignore_ascii_case(id))
}

/// How long the searches of `vellum check` for the scenario `id` took, added up, in seconds, if that was measured.
pub fn seconds(id: &str) -> Option<f64> {
    let lines = include_str!("seconds.txt").lines().filter(|line| !line.starts_with('#'));
    let seconds = lines.filter_map(|line| line.split_once(' ')).find(|(of, _)| *of == id)?.1;
    seconds.parse().ok()
}
