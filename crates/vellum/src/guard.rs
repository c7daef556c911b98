//! The core's protections against races, by name.
//!
//! At each place where the core does something only to stop a race, it asks [`Machine::guard`](crate::Machine::guard)
//! whether that protection is on. The answer is a constant on real machines and the question compiles to nothing. A
//! laboratory switches one protection off to show the interleaving it is there for. The ids in brackets are hazards of
//! the project's catalogue; `vellum check --list` shows the scenarios.

macro_rules! guards {
    ($($(#[$doc:meta])* $guard:ident,)*) => {
        /// A protection of the core against a race.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Guard {
            $($(#[$doc])* $guard,)*
        }

        impl Guard {
            /// All of them.
            pub const ALL: &[Guard] = &[$(Guard::$guard),*];

            /// Its name, as the command spells it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Guard::$guard => stringify!($guard),)*
                }
            }
        }
    };
}

guards! {
    /// A fault installs only if classes and entry are, under the leaf's lock, what it planned with. (G2, G9)
    Recheck,
    /// A table is made only if, under the lock of the one above, there still is none and the mapping is the same. (G2)
    RecheckAbove,
    /// Who locks a table looks whether it has been unlinked meanwhile. (B16, G4)
    StaleCheck,
    /// A class is found unused under the registry's lock under which it is given up. (G15)
    ClassUnderLock,
    /// A table is found empty under the locks under which it is unlinked. (B15)
    EmptyUnderLock,
    /// A descent decides by one read of each entry. (B20)
    SingleRead,
    /// What a fault read of a table's classes without a lock counts only if its sequence number has not changed. (G6)
    SequenceReread,
    /// So does what everybody else reads of them: who asks what is mapped. (G6M, G6N, G12R)
    SpanReread,
    /// A fault that finds nothing mapped waits for the commit of a range operation there. (G6F)
    HoleAwaited,
    /// What was unlinked is freed only when no lockless walker can be inside. (B11, B14, G1, G7)
    GracePeriod,
    /// A huge page is not installed where somebody has claimed a part of its place. (C11)
    HugeUnclaimed,
    /// The table in the place of a huge page shows its pages when it is published. (C5)
    SplitFilledFirst,
    /// It shows what the processor has noted in the huge page's entry until then. (C5)
    SplitRepeated,
    /// Of a huge page that is being moved, too, each entry of the table in its place is a mapping. (C14)
    MovingCutCounted,
    /// A huge page that is put out is flushed before its slots can be given up by who finds them, and before it is
    /// written. (A1H)
    SwapLeafFlushed,
    /// And its table of slots is locked until then. (B4H)
    SwapLeafLocked,
    /// The slots of a folio give back the tags that were saved with them, however many of its pages had got that far.
    /// (E10)
    FolioTagsFreed,
    /// A cut huge page is not put together while somebody works on its folio. (B17)
    RejoinLocksFolio,
    /// Where the architecture wants that, a huge page is no entry, and flushed, before a table comes in its place. (C6)
    SplitBreakBeforeMake,
    /// Who discards a huge page finds out under the lock whether a fault has split it meanwhile. (C1S)
    SplitSeen,
    /// Who looks an address up without a lock waits while a huge page there is no entry, to become a table. (C12)
    SplittingAwaited,
    /// Who looks up without a lock, and waits for who has one, serves its flush mailbox. (G5)
    ServeWhileLooking,
    /// Who finds a table where a huge page was goes down. (C11, C12)
    TableSeen,
    /// An entry is changed where it stands: nobody finds none. (C1)
    ChangedInPlace,
    /// It is changed only if it is what the change was made from: the processor may have noted something. (C4)
    ChangeRepeated,
    /// Who makes a huge page of small ones excludes whoever would change or move them. (B10)
    CollapseUnderClaim,
    /// That nothing is absent in a leaf is seen under the lock under which it is taken out for a huge page. (E20H)
    CollapseLooksUnderLock,
    /// No fault makes a table where a huge page is being put together. (B17C)
    CollapsePlaceKept,
    /// What small pages hold is copied to a huge one after their flush. (C10)
    CollapseFlushedFirst,
    /// A page that somebody holds stays where it is. (C6)
    CollapseCounted,
    /// Nor does one of shared memory go to a huge page. (C6G)
    GatherFrozen,
    /// Who finds a page of a huge one that shared memory is being gathered in waits for its contents. (C10G)
    GatheredAwaited,
    /// Whether somebody holds a page is asked when its entry is gone. (C6)
    CollapseCountsLast,
    /// Nobody can take a reference to a folio while its counts are dealt out to its pages. (C16)
    SplitFrozen,
    /// Whoever has taken a reference to a folio for a page asks again whether the page is still of that folio. (C16)
    FolioAskedAgain,
    /// That a folio was stored to is said of each of its pages when it is split. (C5)
    SplitDirtyDealt,
    /// Pages of a folio that no entry shows are freed when it is split.
    SplitRestFreed,
    /// Frames are freed after the flush. (B1)
    FlushBeforeFree,
    /// Whoever takes an entry of a page of an object that was stored to flushes it before the leaf's lock goes. (B2)
    DirtyFlushedUnderLock,
    /// Frames are freed when every CPU has acknowledged the flush, not when it is asked for. (A16)
    FreedWhenAcknowledged,
    /// A frame counts as mapped until the flush. (B3)
    MappedUntilFlush,
    /// What a leaf shows that was taken out of the tree as it was is dropped after the flush. (B25, B25M)
    DetachedFlushed,
    /// Leaves of shared mappings are not taken out of the tree as they are. (B25W)
    SharedPageByPage,
    /// Unlinking a table flushes the paging-structure caches that may name it. (B12)
    TablesFlushed,
    /// A flush for unlinked tables goes to lazy CPUs too. (B13)
    TablesFlushLazy,
    /// No table is put where another was unlinked before the flush for that. (B17)
    TablesBreakBeforeMake,
    /// Moved pages appear at the new place after the flush of the old one. (B8)
    MoveFlushedFirst,
    /// A move excludes whoever would change the entries that it moves. (B9)
    MoveUnderClaim,
    /// Fork excludes whoever would move what it copies. (B9F)
    ForkUnderClaim,
    /// It waits for faults that are about to make a table where a huge page is to come. (B9N)
    NewPlaceFrozen,
    /// Who works on a folio cuts no huge page where a range operation is being committed. (B9S)
    CutWhereNoCommit,
    /// Of two places that are claimed one by one, the lower one is claimed first. (B9O)
    LowerClaimedFirst,
    /// Two places are claimed below the table where they part, which everybody may claim. (B9T)
    ClaimedBelowParting,
    /// Who claims the upper one of two places passes by a claim above that waits for his lower one. (B9W)
    WaiterPassed,
    /// He waits for one that does not cover his lower one, too. (B9U)
    OthersAwaited,
    /// That there are no pages at the old place of a move is seen under the lock under which it goes. (B9V)
    VacantUnderLock,
    /// An operation within one leaf leaves it alone if somebody has claimed it. (B9)
    LeafClaimSeen,
    /// A copy-on-write replaces an entry only after the flush of the old one. (D9)
    CopyBreakBeforeMake,
    /// A fault in a leaf that fork has copied waits for fork's flush. (D10)
    ForkGate,
    /// A translation is read again after the frame was looked at. (D8)
    TranslateRecheck,
    /// A fault with nothing to do drops the CPU's own translation. (A14)
    SpuriousFlush,
    /// Taking a right away from a present entry is flushed. (A15)
    RevokeFlush,
    /// A CPU acknowledges a flush request after it has carried it out. (A13)
    AcknowledgeLast,
    /// Who waits for a lock serves its flush mailbox. (G5)
    ServeWhileLocking,
    /// Who comes for mail while some is being posted leaves: the sender's interrupt follows. (J14)
    MailLeft,
    /// Who has posted interrupts when it is seen that he has let go of the mailbox. (J14)
    ReleasedBeforeInterrupt,
    /// Who cannot post sends an interrupt, too: the owner of the mailbox may have left because of him. (J14)
    RefusedInterrupts,
    /// Nothing interrupts who has locked the pool of identifiers. (J14)
    PoolUninterrupted,
    /// Who waits for other CPUs to flush serves its own mailbox. (J13)
    ServeWhileFlushing,
    /// A CPU that becomes a target of a space's flushes does so with a full barrier before it walks its tables. (J1)
    TargetBarrier,
    /// A CPU becomes a target before it reads the generation it is to start from. (J2)
    TargetFirst,
    /// A flusher increments the generation before it reads who the targets are. (J8)
    GenerationFirst,
    /// A CPU that leaves lazy mode compares generations. (J4)
    LazyCompares,
    /// An identifier's translations are kept only for the space that they are of. (J5)
    IdentityCompared,
    /// Identifiers are given out again only with a flush on every CPU. (J6)
    RolloverFlush,
    /// Identifiers that CPUs run with survive a rollover. (J6)
    RolloverReserve,
    /// A CPU that is more than one generation behind flushes everything. (J7)
    GenerationGap,
    /// Every CPU leaves a space before its root is freed. (J10)
    LeaveBeforeFree,
    /// What lies below a stack is looked at again under the claim under which the stack grows. (G12)
    GrowUnderClaim,
    /// A stack that grows claims the gap below it too. (G19)
    GapClaimed,
    /// A new mapping is built under one claim: no other operation finds it half made. (G13)
    MapUnderClaim,
    /// A page of an unmap batch that was stored to is written out after the flush. (A1)
    FlushBeforeWrite,
    /// A page that could not be written counts as stored to as before. (A18)
    RefusedStaysDirty,
    /// Where a store through a cached clean entry does not look at the tables, a page with a writable entry counts as
    /// stored to. (A2)
    CleanMayBeStored,
    /// Frames of an unmap batch are freed after its flush. (A3)
    BatchFlushBeforeFree,
    /// Who unmaps pages flushes what unmap batches owe there. (A4, B4)
    SettledByZap,
    /// Who takes a right away flushes what unmap batches owe there. (A4)
    SettledByProtect,
    /// A fault that installs a page flushes what unmap batches owe there. (A4)
    SettledByFault,
    /// Who moves pages flushes what unmap batches owe at the old place. (A4)
    SettledByMove,
    /// Fork flushes what unmap batches owe. (A4)
    SettledByFork,
    /// Who unlinks a leaf flushes what unmap batches owe to all of it. (A4)
    SettledByFold,
    /// Who gives pages up until they are stored to flushes what unmap batches owe there. (A4)
    SettledByGiveUp,
    /// A range operation works on a leaf without entries if unmap batches owe it a flush. (A4)
    EmptyLeafSettled,
    /// An operation within one leaf works on it without entries if unmap batches owe it a flush. (A4)
    EmptyLeafSettledInPlace,
    /// What a batch owes to a space covers all its pages there. (A17)
    BatchWidened,
    /// A batch notes what it owes in every leaf. (A17)
    EachLeafNoted,
    /// A batch owes a flush to every space. (A17)
    EachSpaceOwed,
    /// What unmap batches owe is counted: one that has flushed does not pay for another. (A5)
    PendingCounted,
    /// What a batch takes from a leaf after somebody has flushed for it is owed anew. (A19)
    TakenSinceSettled,
    /// Migration copies a page after the flush. (A6)
    FlushBeforeCopy,
    /// So it does with one that it had to wait for. (A6)
    FlushBeforeBusyCopy,
    /// An entry without rights is flushed as others are: its protection may have changed just now. (A7)
    InaccessibleFlushed,
    /// An unmapping that fails puts back the entries it has taken. (F4)
    FailedUnmapUndone,
    /// A batch waits for its broadcasts. (A9)
    BatchAwaitsBroadcast,
    /// The dirty mark of a file's page is taken before its contents are. (B7)
    DirtyTakenFirst,
    /// The dirty mark of a page that goes to swap is taken before it is written. (I8)
    DirtyClearedFirst,
    /// A space ends when no reverse-mapping walk is in it any more. (F10)
    WalksEndFirst,
    /// A space's place in its line stays until no descendant is left. (F9)
    NodesOutliveSpaces,
    /// A walk that goes up in a line asks for siblings once more when it knows where it goes. (F18)
    SiblingsSoughtAgain,
    /// Fork hangs a leaf into the child before it copies entries to it. (F1)
    HungFirst,
    /// Fork takes exclusiveness from entries of absent pages too, on both sides. (E18, F1)
    SharedAbsent,
    /// Tags are restored before the slot may be freed. (E8)
    TagsBeforeSlotFree,
    /// A page of the swap cache is mapped only if, under its folio lock, it is still the page of that slot. (E12)
    SlotUnderLock,
    /// Who waits for a page that is being moved takes no reference. (F6)
    WaitWithoutReference,
    /// Who has folio locks tries others, and does not wait for them. (F8)
    LocksTried,
    /// That a page was stored to is noted when its entry comes to say that it is being moved. (F5)
    DirtyMoves,
    /// The walk that ends a migration is repeated until all entries were found. (F4)
    MoveSeen,
    /// A slot of a page cache is read again after a reference to the page that it named was taken. (F3)
    LookupRecheck,
    /// A page of an object, or a copy of it, is mapped only if, under the leaf's lock, it is still the object's.
    /// (F11, F12)
    CachedUnderLock,
    /// A fault shows no page that is being cut off, which it finds out under the leaf's lock. (F12, F14)
    CutUnderLock,
    /// Truncation flushes what it takes from a leaf under the leaf's lock. (B23)
    CutFlushedUnderLock,
    /// Nobody uses a page before who added it has looked at the length again. (F13)
    LastLookFirst,
    /// What another mapping replaces is flushed under the leaf's lock. (B23)
    ReplacedUnderLock,
    /// Reclaim takes a reference to a page only if there is one. (I9)
    IsolateCounted,
    /// Whether a page was stored to is asked when nobody else can have a reference any more. (I8)
    DirtyAfterFreeze,
    /// A page its owner has given up is dropped only if nobody else has a reference. (I6)
    LazyFreeCounted,
    /// A page its owner has given up is dropped only if nobody has stored to it until it was unmapped. (I7)
    LazyFreeRechecked,
    /// An anonymous page's frame is replaced only if nobody else has a reference. (F2)
    MoveCounted,
    /// An anonymous page is copied to its new frame when its references have been counted. (F2)
    CopyAfterCount,
    /// A file's page is replaced in the cache only while its count is frozen. (F2)
    MoveFrozen,
    /// A file's page is copied to its new frame while its count is frozen. (F2)
    CopyAfterFreeze,
    /// A swap slot's word is read again after a reference to the page that it named was taken. (E12)
    CacheRecheck,
    /// One page at a time stands for a swap slot: who finds another there does not read it. (E11)
    SlotCacheMutex,
    /// Whoever uses a swap area without a lock keeps it from being taken apart. (E13)
    AreaPinned,
    /// Saved memory tags are freed with their swap slot. (E7)
    TagsFreedWithSlot,
    /// An unmapping that is undone takes its counts of the slot back. (E1)
    SlotCountUndone,
    /// Tags are saved anew whenever their page is written out. (E2)
    TagsSavedAnew,
    /// Whoever maps a page that was in swap restores its tags, be it to switch the area off. (E3)
    TagsRestored,
    /// A page that is moved takes its tags along. (E4)
    MoveTakesTags,
    /// Saved tags stay until no entry names the slot. (E5)
    TagsKept,
    /// Saved tags belong to a slot, not to the place from which the page went there. (E5, E6)
    TagsBySlot,
    /// A new page has its tags before an entry shows it. (E9)
    TagsBeforeMapping,
    /// The length of a file is asked before a page is read, as to what of the page counts. (F15)
    LengthBeforeRead,
    /// What lies behind the end of an object in its last page is cleared when the object becomes shorter. (F15)
    TailCut,
    /// What lies behind the end of an object in its last page is cleared before the object becomes longer. (F15)
    TailClearedBeforeGrowth,
    /// A page of the swap cache is not mapped while it is being written out. (E15)
    StableWhileWritten,
    /// Entries are looked for in all spaces until no slot of an area that is switched off is in use. (E16)
    SwapOffRepeats,
    /// A search for entries during which some were moved is repeated. (E20)
    SwapOffFollowsMoves,
    /// Whoever switches an area off waits for who has taken the mapping from an entry that he finds. (E20)
    UnmappedEntryAwaited,
    /// Whoever switches an area off waits for the lock of a page that is cached there. (E20)
    CachedPageAwaited,
    /// Whoever switches an area off is woken when something becomes of a slot of it. (E20)
    SlotChangeWakes,
    /// No page is put out to an area that is being switched off. (E20)
    NotPutWhereOff,
    /// A page is given up under its folio lock. (E19)
    GivenUpUnderLock,
    /// What a fork that failed has given the child counts until the child ends. (E17)
    PartialForkCounted,
    /// That an entry is the only one of its slot is found out under its leaf's lock. (E18)
    LastUseUnderLock,
    /// An entry of a page in swap says whether the page was its own. (D7)
    ExclusiveKept,
    /// Who sleeps for a folio lock looks again whether it is still its page's, when it has announced that. (F6)
    WaitLooksAgain,
    /// A file's page at its new place is up to date only when it has been copied there. (F2)
    CopiedBeforeShown,
    /// A copy on write takes the tags along. (E4)
    CopyTakesTags,
    /// Who makes a page writable in place asks under the lock again whether nobody else has it. (D10)
    ReuseRecounted,
    /// Who waits for a page of a file is woken when it has been read. (F3)
    ReadersWoken,
    /// One CPU writes an object back at a time. (B22)
    WriteBacksInTurn,
    /// Where write-back finds no entry, it waits for who has the leaf's lock and may have taken one. (B22)
    TakersAwaited,
    /// Write-back waits for spaces at their end, which may have entries of the page. (B22)
    EndsAwaited,
    /// Write-back waits for a page that somebody else is writing. (B22)
    WritesAwaited,
    /// Write-back waits for a page whose contents are on their way to another frame. (B22)
    TransitAwaited,
    /// Who moves an entry notes with the page of an object that it was stored to. (B22)
    MovedDirtyNoted,
    /// A walk visits an entry once if it can, and ends where nothing else can show the page, not when it has visited as
    /// many entries as there were. (F16)
    WalkedToTheEnd,
    /// Classes that lead to one place stand side by side on their chains. (B22)
    PlacesTogether,
    /// The chain of an object's classes changes under its lock. (B22)
    ChainUnderLock,
    /// A move leaves behind what is being cut off. (F11)
    CutLeftBehind,
    /// A move leaves behind a huge page of shared memory of which a part is being cut off or out. (F11RH, F17RH)
    HugeLeftBehind,
    /// A move leaves behind what a hole is being made of. (F17R)
    HoleLeftBehind,
    /// A fault asks under the leaf's lock whether the page is in a hole that is being made. (F17)
    HoleUnderLock,
    /// Who has added a page to the cache looks once more whether it is in a hole that is being made. (F17A)
    HoleLookedForAgain,
    /// Who has found a page of a folio in the cache asks, having a reference to the head, again of which folio it is.
    /// (C16F)
    CachedPartAskedAgain,
    /// A huge page of shared memory is used by nobody before who added it has looked at the length, and at holes,
    /// again. (F13H)
    FolioLastLook,
    /// Of a huge page that is in the cache in part, a fault asks under the leaf's lock for the slot of the page that it
    /// shows. (F11P)
    PartSoughtUnderLock,
    /// A huge page is added to an object if, under the cache's lock, none of its pages is there. (F13S)
    FolioRoomUnderLock,
    /// A huge page of shared memory that is to be moved is flushed when its entry goes. (F2M)
    SharedHugeFlushed,
    /// A fault asks under the table's lock whether any page of a huge page of shared memory is being taken away. (F14H)
    HugeGoingAsked,
    /// Truncation waits for who has the lock of a table in which huge pages may be. (F11H)
    HugeAwaitedByCut,
    /// A fault asks whether a page is being taken away before it asks whether it has been. (F11L)
    GoingAskedFirst,
    /// Truncation comes to a space before it comes to those that were forked from it. (F11)
    ParentsCutFirst,
    /// Write-back makes clean what it had to wait for, too. (B7)
    BusyMadeClean,
    /// Write-back writes no page that has left its file. (F11)
    WrittenWhileOwned,
    /// Truncation waits for who has a page's lock. (F11)
    TruncateAwaitsLock,
    /// The stamp of an evicted page appears as the page leaves the cache, under the cache's lock. (I11)
    ShadowUnderLock,
    /// Whoever reaches into a program's page notes the access in the entry first. (B24)
    ReachNoted,
    /// Whoever reaches into a program's page has the lock of its leaf. (B24)
    ReachedUnderLock,
    /// Who finds no stack any more, under the claim, where there was one looks for it again. (G12M)
    StackSoughtAgain,
    /// Whether a stack is near is asked under the lock of the leaf in which something is mapped. (G19S)
    StackAskedUnderLock,
    /// A page that cannot be read is a bus error only if the address still shows it. (G2B)
    BusWhileShown,
    /// That there is no room for a mapping is certain only under a claim of everything. (G13N)
    RoomSoughtAlone,
    /// Whether memory may be given up is asked under the claim under which that is done. (E19M)
    AdviceUnderClaim,
    /// Who commits memory says so before he adds up what is committed. (O1)
    TicketFirst,
    /// Who adds up what is committed looks again if a move has begun meanwhile. (O2)
    MovesAwaited,
    /// A protection that a scenario defines for its own toy; the core has none of this name.
    OfScenario,
}
