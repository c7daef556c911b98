//! The tests of hosted machines, of what runs on them, and of the core by way of them.
//!
//! They are one program, because each program that uses a machine compiles the core for it anew.

mod allocation_failure;
mod broadcast;
mod collapse;
mod contract;
mod errors;
mod flush_rule;
mod groups;
mod hardware;
mod hosted;
mod huge;
mod interrupted;
mod large_unmap;
mod model;
mod pressure_failure;
mod pressure_sequences;
mod pressure_stress;
mod replay;
mod sequences;
mod sharing;
mod strict;
mod tagged_accesses;
mod tags;
mod toys;
mod trace;
mod trace_fuzz;
mod workload;
