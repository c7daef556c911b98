//! The calls, as Linux 6.18 answers them: every expectation was seen there first.

mod brk;
mod limit;
mod madvise;
mod mincore;
mod mmap;
mod mprotect;
mod mremap;
mod msync;
mod overcommit;
mod prctl;
mod table;
mod world;
