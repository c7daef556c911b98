//! Sets of CPUs.

use crate::guard::Guard;
use crate::machine::Machine;
use crate::structure::holds;
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The largest number of CPUs a machine may have.
pub const CPUS_MAX: usize = 256;
const WORDS: usize = CPUS_MAX / 64;

/// A set of CPU numbers below [`CPUS_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// The empty set.
    pub const EMPTY: CpuSet = CpuSet([0; WORDS]);

    /// Adds `cpu`; numbers of [`CPUS_MAX`] and above are ignored.
    pub fn insert(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / 64) {
            *word |= 1 << (cpu % 64);
        }
    }

    /// Removes `cpu`.
    pub fn remove(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / 64) {
            *word &= !(1 << (cpu % 64));
        }
    }

    /// Whether `cpu` is in the set.
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.get(cpu / 64).is_some_and(|word| word & (1 << (cpu % 64)) != 0)
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Number of CPUs in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            core::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    index * 64 + bit
                })
            })
        })
    }
}

/// A set of CPUs that several CPUs change at once, each its own bit.
#[repr(C)]
pub(crate) struct SharedCpuSet<M>([AtomicU64<M>; WORDS]);

impl<M: Machine> SharedCpuSet<M> {
    pub(crate) const fn new() -> Self {
        SharedCpuSet([const { AtomicU64::new(0) }; WORDS])
    }

    /// Adds `cpu`: a full barrier, so that what the CPU loads afterwards is ordered after its being a target (J1).
    pub(crate) fn insert(&self, cpu: usize) {
        let (word, bit) = (&self.0[cpu / 64], 1 << (cpu % 64));
        if M::guard(Guard::TargetBarrier) {
            word.fetch_or(bit, SeqCst);
        } else {
            word.store(word.load(Relaxed) | bit, Relaxed);
        }
    }

    pub(crate) fn remove(&self, cpu: usize) {
        self.0[cpu / 64].fetch_and(!(1 << (cpu % 64)), SeqCst);
    }

    /// The members at this moment among the first `cpus` CPUs other than `cpu`; `None` if there are none.
    #[inline(always)]
    pub(crate) fn others(&self, cpu: usize, cpus: usize) -> Option<CpuSet> {
        let is_other = |word: usize| {
            let own = if cpu / 64 == word { 1 << (cpu % 64) } else { 0 };
            self.0[word].load(SeqCst) & !own != 0
        };
        if (0..cpus.div_ceil(64)).any(is_other) { Some(self.without(cpu, cpus)) } else { None }
    }

    /// [`Self::snapshot`] without `cpu`. Apart: most often there is nobody else.
    #[inline(never)]
    fn without(&self, cpu: usize, cpus: usize) -> CpuSet {
        let mut set = self.snapshot(cpus);
        set.remove(cpu);
        set
    }

    /// Whether the word of the first 64 CPUs lies at `address`.
    pub(crate) fn is_first_word_at(&self, address: usize) -> bool {
        holds(&self.0[0], address)
    }

    /// The members at this moment among the first `cpus` CPUs.
    pub(crate) fn snapshot(&self, cpus: usize) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for word in 0..cpus.div_ceil(64) {
            set.0[word] = self.0[word].load(SeqCst);
        }
        set
    }
}
