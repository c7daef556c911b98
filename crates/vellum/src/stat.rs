//! Event counters with Linux's names, one set per CPU.

use crate::machine::Machine;
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Event {
            $($(#[$doc])* $variant,)*
        }

        impl Event {
            /// All events, in the order of the enumeration.
            pub const ALL: &'static [Event] = &[$(Event::$variant,)*];

            /// The name the counter has in reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Event::$variant => $name,)*
                }
            }
        }
    };
}

// The first eight are those of a fault: one cache line.
events! {
    /// Page faults of every kind.
    Fault = "pgfault",
    /// Faults that mapped a fresh anonymous page.
    AnonymousFault = "pgfault_anon",
    /// Read faults that mapped the zero page.
    ZeroFault = "pgfault_zero",
    /// Write faults that copied a shared page.
    CopyFault = "pgfault_copy",
    /// Write faults that reused an exclusive page.
    ReuseFault = "pgfault_reuse",
    /// Faults that mapped a page-cache page.
    FileFault = "pgfault_file",
    /// Frames allocated.
    Alloc = "pgalloc",
    /// Frames freed.
    Free = "pgfree",
    /// Faults that read from a backing.
    MajorFault = "pgmajfault",
    /// Faults that found nothing to do.
    SpuriousFault = "pgfault_spurious",
    /// Faults whose commit found the state changed.
    FaultRetry = "pgfault_retry",
    /// Refills of a CPU's list of free frames.
    Refill = "pcp_refill",
    /// Page tables allocated.
    TableAlloc = "pgtable_alloc",
    /// Page tables freed, in a live space or at its end.
    TableFree = "pgtable_free",
    /// Shootdowns that had to reach other CPUs.
    RemoteFlush = "nr_tlb_remote_flush",
    /// Flush interrupts this CPU received.
    RemoteFlushReceived = "nr_tlb_remote_flush_received",
    /// Interrupts sent for flushes: one per target.
    InterruptSent = "nr_tlb_ipi_sent",
    /// Whole address spaces flushed locally.
    LocalFlushAll = "nr_tlb_local_flush_all",
    /// Single pages flushed locally.
    LocalFlushOne = "nr_tlb_local_flush_one",
    /// Gathers finished with a flush: batches.
    FlushBatch = "nr_tlb_flush_batch",
    /// Lazy CPUs a flush left alone.
    LazySkipped = "nr_tlb_lazy_skipped",
    /// Pages read from a backing.
    PageIn = "pgpgin",
    /// Pages written to a backing.
    PageOut = "pgpgout",
    /// Dirty pages lost because their backing failed to write them when their object ended.
    WriteBackError = "writeback_errors",
    /// Pages of dead or unmapped mappings that were freed.
    Unmapped = "pgunmap",
    /// Page-table entries copied by fork.
    ForkPage = "pgfork",
    /// Page-table entries moved by remap.
    MovedPage = "pgmove",
    /// Grows-down mappings extended.
    StackGrowth = "stack_grow",
    /// Range operations that waited for another one's claim.
    ClaimWait = "claim_wait",
    /// Faults that mapped a page which was in swap.
    SwapFault = "pgfault_swap",
    /// Pages looked at to be reclaimed.
    Scanned = "pgscan",
    /// Pages of files reclaimed.
    StolenFile = "pgsteal_file",
    /// Anonymous pages reclaimed.
    StolenAnonymous = "pgsteal_anon",
    /// Pages that were found in use when they were to be reclaimed.
    Activated = "pgactivate",
    /// Pages that could not be reclaimed after all.
    PutBack = "pgputback",
    /// Pages dropped that their owner had given up.
    LazyFreed = "pglazyfreed",
    /// Pages given up by their owner.
    LazyFree = "pglazyfree",
    /// Pages of files that came back after they were reclaimed.
    RefaultFile = "workingset_refault_file",
    /// Anonymous pages that did.
    RefaultAnonymous = "workingset_refault_anon",
    /// Of those of files, pages that came back so soon that they belong to what is in use.
    ActivateFile = "workingset_activate_file",
    /// Of the anonymous ones.
    ActivateAnonymous = "workingset_activate_anon",
    /// Times that somebody had to reclaim before he got memory.
    AllocationStall = "allocstall",
    /// Times that memory was reclaimed in the background.
    PageOutRun = "pageoutrun",
    /// Faults that found their group at its limit.
    GroupLimit = "memcg_limit",
    /// Times that no memory was left and none could be reclaimed.
    OutOfMemory = "oom",
    /// Pages moved to other frames.
    MigrateSuccess = "pgmigrate_success",
    /// Pages that could not be.
    MigrateFail = "pgmigrate_fail",
    /// Pages moved to a slower node instead of being reclaimed.
    Demoted = "pgdemote",
    /// Blocks of memory made free by moving pages out of them.
    CompactSuccess = "compact_success",
    /// Blocks that could not be.
    CompactFail = "compact_fail",
    /// Flushes of what an unmap batch owed, by somebody who could not wait for it.
    BatchSettled = "nr_tlb_batch_settled",
    /// Faults that mapped a fresh huge page.
    HugeFault = "thp_fault_alloc",
    /// Faults that wanted a huge page, and there was none to be had.
    HugeFallback = "thp_fault_fallback",
    /// Huge pages of shared memory that were added to the cache of an object.
    SharedHugeAlloc = "thp_file_alloc",
    /// Faults that wanted such a huge page, and there was none to be had.
    SharedHugeFallback = "thp_file_fallback",
    /// Faults that mapped a huge page of shared memory by one entry.
    SharedHugeMapped = "thp_file_mapped",
    /// Huge pages of zeroes made: one.
    HugeZeroPage = "thp_zero_page_alloc",
    /// Faults that mapped a fresh folio of several pages, fewer than a huge one has.
    FolioFault = "anon_fault_alloc",
    /// Entries of huge pages that were replaced by a table of their pages.
    SplitMapping = "thp_split_pmd",
    /// Places of small pages that became huge ones, newly allocated or what they had been cut from.
    Collapse = "thp_collapse",
    /// Huge pages that were allocated to take the place of small ones.
    CollapseAlloc = "thp_collapse_alloc",
    /// Times that there was none to be had for that.
    CollapseAllocFailed = "thp_collapse_alloc_failed",
    /// Folios of which single pages were made.
    SplitFolio = "thp_split_page",
    /// Folios that could not be split: somebody had a reference, or there was no memory for a table.
    SplitFolioFail = "thp_split_page_failed",
    /// Huge pages, as folios, that were put out to swap as a whole.
    HugeSwapOut = "thp_swpout",
    /// Those that were split instead: there were no slots side by side, or no table, or they could not be written.
    HugeSwapOutFallback = "thp_swpout_fallback",
    /// Folios of which a part was unmapped and the rest was not, to be split when memory is short.
    SplitDeferred = "thp_deferred_split_page",
    /// Walks from a page to the entries that show it.
    RmapWalk = "rmap_walks",
    /// Places those walks looked at.
    RmapLook = "rmap_looks",
    /// Nodes of lines and classes that those walks went by.
    RmapStep = "rmap_steps",
    /// Records that were looked at to find or give up a class.
    ClassStep = "class_steps",
    /// Flushes by broadcast.
    Broadcast = "nr_tlb_broadcast",
    /// Rollovers of the global address-space identifiers.
    Rollover = "asid_rollover",
    /// Frames allocated by a policy on the node it wanted.
    NumaHit = "numa_hit",
    /// Frames allocated by a policy on another node than it wanted.
    NumaMiss = "numa_miss",
    /// Frames a policy wanted on a node that had none left: as many in all as came from others.
    NumaForeign = "numa_foreign",
    /// Frames allocated on the node that interleaving wanted.
    NumaInterleave = "numa_interleave",
    /// Pages read from swap devices.
    SwapIn = "pswpin",
    /// Pages written to swap devices.
    SwapOut = "pswpout",
    /// Pages read from swap before anybody wanted them.
    SwapReadAhead = "swap_ra",
    /// Those of them that somebody wanted then.
    SwapReadAheadHit = "swap_ra_hit",
    /// Pages restored from the compressed tier of swap.
    CompressedIn = "zswpin",
    /// Pages stored in the compressed tier.
    CompressedOut = "zswpout",
    /// Pages that the compressed tier did not take: they do not get small enough, or there was no room.
    CompressedReject = "zswap_reject",
    /// Pages that could not be read from swap, or were not what had been written.
    SwapInError = "swap_read_errors",
    /// Pages that could not be written to swap.
    SwapOutError = "swap_write_errors",
}

/// Number of different events.
pub const EVENTS: usize = Event::ALL.len();

/// One CPU's counters; written by that CPU alone.
#[repr(C, align(64))]
pub(crate) struct Counters<M>([AtomicU64<M>; EVENTS]);

impl<M: Machine> Counters<M> {
    pub(crate) const fn new() -> Self {
        Counters([const { AtomicU64::new(0) }; EVENTS])
    }

    #[inline(always)]
    pub(crate) fn add(&self, event: Event, count: u64) {
        self.0[event as usize].add_owned(count);
    }

    pub(crate) fn get(&self, event: Event) -> u64 {
        self.0[event as usize].load(Relaxed)
    }
}

/// The counters of a whole machine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals(pub(crate) [u64; EVENTS]);

impl Totals {
    /// How often `event` happened.
    pub fn get(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// All counters with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Event::ALL.iter().map(|&event| (event.name(), self.get(event)))
    }
}
