//! All CPUs load from and store to memory which CPU 0 moves back and forth between two nodes.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::{Advice, MapRequest};

const PAGES_MAX: u64 = 2048;
/// Times that the memory is moved.
const MOVES: u64 = 32;
/// Pages that a CPU accesses between two moves.
const ACCESSES: u64 = 64;

struct MigrateNodes<'vm, M: Simulated> {
    space: Space<'vm, M>,
    base: u64,
    cpu: u64,
    /// What this CPU stored to its word of each page.
    words: Vec<u64>,
    nodes: [u8; 2],
    taken: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    let nodes: Vec<u8> = user.vm.nodes().take(2).collect();
    let Ok(nodes) = <[u8; 2]>::try_from(nodes) else {
        return Err(RunError::Unfit("migrate-nodes: memory is moved between nodes (--nodes 2)".into()));
    };
    // An eighth of memory: it must fit into one node of many, beside the core's own.
    let pages = (user.frames() / 8).min(PAGES_MAX).min(user.vm.node_stats(nodes[1]).managed / 2);
    let space = user.ok("a new address space", user.vm.create_space())?;
    let length = pages * page_bytes::<M>();
    let base = user.ok("map", space.map(&MapRequest::anonymous(length, Prot::READ_WRITE)))?;
    user.ok("populate", space.advise(base, length, Advice::PopulateWrite))?;
    let actor = |cpu| {
        let words = vec![0; pages as usize];
        Box::new(MigrateNodes { space: space.clone(), base, cpu, words, nodes, taken: 0 }) as _
    };
    Ok(Prepared { actors: (0..cpus as u64).map(actor).collect(), is_common: true })
}

impl<'vm, M: Simulated> Actor<'vm, M> for MigrateNodes<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        self.taken += 1;
        let pages = self.words.len() as u64;
        if self.cpu == 0 {
            let node = self.nodes[self.taken as usize % 2];
            user.ok("move_pages", self.space.move_pages(self.base, pages * page_bytes::<M>(), node))?;
        }
        for _ in 0..ACCESSES {
            let page = user.below(pages);
            let address = self.base + page * page_bytes::<M>() + self.cpu * 8;
            let word = &mut self.words[page as usize];
            if *word == 0 {
                user.check_fresh(&self.space, address, 0)?;
            } else {
                user.check(&self.space, address, *word)?;
            }
            *word = page << 32 | self.taken;
            user.store(&self.space, address, *word)?;
        }
        Ok(Step::until(self.taken, MOVES))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}
