//! What happens to the words of a world, in words.

use super::world::World;
use crate::hardware::FrameKinds;
use crate::poison::lock;
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Absent, Arch, Entry, PageBits, SwapSlot, entries};
use vellum::phys::{Kind, PageFlags, Pfn};
use vellum::{Change, SharedWord, SlotState};

/// A page table of a process.
struct TableOf {
    pfn: Pfn,
    level: usize,
    /// The first address it covers.
    start: u64,
    process: usize,
}

/// What levels of entries and tables are called, leaves first.
const LEVELS: [&str; 5] = ["PTE", "PMD", "PUD", "PGD", "P5D"];

impl<A: Arch> World<A> {
    pub(super) fn is_table(&self, address: usize) -> bool {
        let frame = self.vm().machine().frame_at(address);
        frame.is_some_and(|frame| self.toy.frame_kind(frame) == Some(Kind::Table))
    }

    /// The store to an entry of a page table at the host's `address`.
    pub(super) fn entry_change(&self, address: usize, old: u64, new: u64) -> Option<String> {
        if !self.is_table(address) {
            return None;
        }
        let place = self.entry_at(address).or_else(|| self.toy.entry_at(address));
        let (level, name) = match place {
            Some((level, page, process)) => (level, format!("{}{}[{page:#x}]", self.whose(process), LEVELS[level])),
            None => {
                let (pfn, slot) = self.slot_at(address)?;
                let level = self.vm().table_level(pfn)? as usize;
                (level, format!("{} {slot:x} of unlinked F{:x}", LEVELS[level], pfn.0))
            }
        };
        let show = |word| match A::decode(word, level) {
            Entry::Empty => "none".into(),
            Entry::Table(Pfn(frame)) => format!("table F{frame:x}"),
            Entry::Page(Pfn(frame), bits) => format!("F{frame:x} {}", show_bits(bits)),
            Entry::Absent(absent) => show_absent(absent),
        };
        Some(format!("{name}: {} → {}", show(old), show(new)))
    }

    /// A store to a word of the core at the host's `address`, if it is one on which operations decide.
    pub(super) fn word_change(&self, address: usize, old: u64, new: u64) -> Option<String> {
        let (word, process) = self.word_at(address)?;
        let change = word.change(old, new)?;
        let whose = process.map_or(String::new(), |process| self.whose(process));
        Some(match (word, change) {
            (SharedWord::Counts(Pfn(frame)), Change::Counts { references, mappings }) => {
                let parts = [numbers("refs", references), numbers("mapped", mappings)];
                format!("F{frame:x}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
            }
            (SharedWord::Use(Pfn(frame)), Change::Use(from, to)) => change_of_use(frame, from, to)?,
            (SharedWord::FolioLock(Pfn(frame)), Change::Held(is_held)) => {
                format!("F{frame:x}: {}", if is_held { "locked" } else { "unlocked" })
            }
            (SharedWord::Flags(Pfn(frame)), Change::Flags(from, to)) => format!("F{frame:x}: {}", flags(from, to)),
            (SharedWord::FlushesOwed(pfn), Change::Number(from, to)) => {
                format!("{}: flushes owed {from}→{to}", self.table_name(pfn))
            }
            (SharedWord::TableHeader(pfn), Change::Stale) => format!("{}: unlinked", self.table_name(pfn)),
            (SharedWord::Posted(cpu), Change::Number(_, request)) => format!("flush request {request} for CPU {cpu}"),
            (SharedWord::Served(cpu), Change::Number(_, request)) => {
                format!("CPU {cpu} acknowledges request {request}")
            }
            (SharedWord::Generation, Change::Number(from, to)) => format!("{whose}TLB generation: {from}→{to}"),
            (SharedWord::Targets, Change::Cpus(from, to)) => targets(from, to, &whose),
            (SharedWord::ForkDone, Change::Number(_, fork)) => format!("{whose}fork {fork} is complete"),
            (SharedWord::MovesBegun, _) => format!("{whose}a move begins"),
            (SharedWord::MovesDone, _) => format!("{whose}a move ends"),
            (SharedWord::Slot(slot), Change::Slot(from, to)) => {
                format!("slot {}: {}", show_slot(slot), states(from, to))
            }
            _ => return None,
        })
    }

    /// What the current CPU waits for that waits for the integer at the host's `address`.
    pub(super) fn wait(&self, address: usize, holder: Option<usize>) -> String {
        let (word, process) = match self.word_at(address) {
            Some((word, process)) => (Some(word), process),
            None => (None, None),
        };
        let whose = process.map_or(String::new(), |process| self.whose(process));
        let what = match word {
            Some(SharedWord::FolioLock(Pfn(frame))) => format!("the lock of F{frame:x}"),
            Some(SharedWord::TableLock(pfn)) => format!("the lock of {}", self.table_name(pfn)),
            Some(SharedWord::Claim(pfn)) => format!("the range claimed in {}", self.table_name(pfn)),
            Some(SharedWord::Contents(Pfn(frame))) => format!("F{frame:x} to be read"),
            Some(SharedWord::Served(cpu)) => return format!("waits for CPU {cpu} to acknowledge"),
            Some(SharedWord::ForkDone) => return format!("{whose}waits for the end of a fork"),
            Some(SharedWord::Walks) => return format!("{whose}waits for rmap walks to end"),
            Some(SharedWord::MovesDone) => return format!("{whose}waits for the end of a move"),
            Some(SharedWord::Of(structure)) => format!("the lock of the {structure}"),
            _ => "a change".into(),
        };
        let by = holder.map_or(String::new(), |cpu| format!(" (CPU {cpu} has it)"));
        format!("waits for {what}{by}")
    }

    /// Which word of the core lies at the host's `address`, and of which process it is.
    fn word_at(&self, address: usize) -> Option<(SharedWord, Option<usize>)> {
        if let Some(word) = self.vm().word_at(address) {
            return Some((word, None));
        }
        if let Some(word) = lock(&self.file).as_ref().and_then(|file| file.word_at(address)) {
            return Some((word, None));
        }
        let processes = lock(&self.processes);
        let mut spaces = processes.iter().enumerate().filter_map(|(n, space)| Some((n, space.as_ref()?)));
        spaces.find_map(|(process, space)| Some((space.word_at(address)?, Some(process))))
    }

    /// Whose something is, where there are several processes.
    fn whose(&self, process: usize) -> String {
        if self.shared.processes() > 1 { format!("P{process} ") } else { String::new() }
    }

    fn table_name(&self, pfn: Pfn) -> String {
        let Pfn(frame) = pfn;
        match self.tables().into_iter().find(|table| table.pfn == pfn) {
            Some(TableOf { level, start, process, .. }) => {
                let level = if level == 0 { "leaf".into() } else { format!("{} table", LEVELS[level]) };
                format!("{}{level} F{frame:x} ({start:#x})", self.whose(process))
            }
            None => format!("table F{frame:x}"),
        }
    }

    /// Which entry lies at the host's `address`: its level, the first address it covers, and the process.
    fn entry_at(&self, address: usize) -> Option<(usize, u64, usize)> {
        self.tables().into_iter().find_map(|table| {
            let slot = self.slot_of(table.pfn, address).filter(|&slot| slot < entries::<A>(table.level))?;
            Some((table.level, table.start + ((slot as u64) << A::shift(table.level)), table.process))
        })
    }

    /// Which entry lies at the host's `address`, by its table's frame.
    fn slot_at(&self, address: usize) -> Option<(Pfn, usize)> {
        let mut pfn = self.vm().machine().frame_at(address)?;
        // Of a table of several frames only the first is one.
        while self.vm().table_level(pfn).is_none() {
            pfn = Pfn(pfn.0.checked_sub(1)?);
        }
        Some((pfn, self.slot_of(pfn, address)?))
    }

    /// How many words after the beginning of frame `pfn` the host's `address` is.
    fn slot_of(&self, pfn: Pfn, address: usize) -> Option<usize> {
        let first = self.vm().machine().memory().word(pfn, 0)?.as_ptr().addr();
        Some(address.checked_sub(first)? / size_of::<u64>())
    }

    /// The tables of all processes that are linked.
    fn tables(&self) -> Vec<TableOf> {
        let processes = lock(&self.processes);
        let spaces = processes.iter().enumerate().filter_map(|(n, space)| Some((n, space.as_ref()?)));
        let roots =
            spaces.map(|(process, space)| TableOf { pfn: space.root(), level: A::LEVELS - 1, start: 0, process });
        let mut tables: Vec<TableOf> = roots.collect();
        let mut next = 0;
        while next < tables.len() {
            let below = self.tables_below(&tables[next]);
            tables.extend(below);
            next += 1;
        }
        tables
    }

    fn tables_below(&self, above: &TableOf) -> Vec<TableOf> {
        let &TableOf { pfn, level, start, process } = above;
        let memory = self.vm().machine().memory();
        let below = |slot: usize| {
            let word = memory.word(pfn, slot)?.load(Relaxed);
            let Entry::Table(pfn) = A::decode(word, level) else { return None };
            Some(TableOf { pfn, level: level - 1, start: start + ((slot as u64) << A::shift(level)), process })
        };
        if level == 0 { Vec::new() } else { (0..entries::<A>(level)).filter_map(below).collect() }
    }
}

fn numbers(what: &str, (from, to): (u32, u32)) -> Option<String> {
    (from != to).then(|| format!("{what} {from}→{to}"))
}

/// `None` of what only the allocator cares for.
fn change_of_use(frame: u64, from: Kind, to: Kind) -> Option<String> {
    let is_free = |kind| matches!(kind, Kind::Free | Kind::Tail | Kind::Cached | Kind::Isolated | Kind::Reserved);
    let name = |kind| match kind {
        Kind::Table => Some("a page table"),
        Kind::Anonymous => Some("anonymous memory"),
        Kind::File => Some("of the page cache"),
        _ => None,
    };
    match (is_free(from), is_free(to)) {
        (true, true) => None,
        (false, true) => Some(format!("free F{frame:x}")),
        (true, false) => Some(match name(to) {
            Some(name) => format!("F{frame:x}: allocated, {name}"),
            None => format!("F{frame:x}: allocated"),
        }),
        (false, false) => Some(format!("F{frame:x}: {}", name(to)?)),
    }
}

fn flags(from: PageFlags, to: PageFlags) -> String {
    let had: Vec<&str> = from.names().collect();
    let has: Vec<&str> = to.names().collect();
    let gained = has.iter().filter(|name| !had.contains(name)).map(|name| name.to_string());
    let lost = had.iter().filter(|name| !has.contains(name)).map(|name| format!("not {name}"));
    let mut parts: Vec<String> = gained.chain(lost).collect();
    if let (None, Some(slot)) = (from.swap_slot(), to.swap_slot()) {
        parts.push(format!("slot {}", show_slot(slot)));
    }
    if from.generation() != to.generation() {
        parts.push(format!("generation {}→{}", from.generation(), to.generation()));
    }
    parts.join(", ")
}

fn targets(from: u64, to: u64, whose: &str) -> String {
    let cpus = |bits: u64| (0..64).filter(move |cpu| bits >> cpu & 1 != 0).map(|cpu| cpu.to_string());
    let list = |bits| cpus(bits).collect::<Vec<_>>().join(",");
    format!("{whose}CPUs to flush: {{{}}} → {{{}}}", list(from), list(to))
}

fn states(from: SlotState, to: SlotState) -> String {
    let mut parts = Vec::new();
    if from.entries != to.entries {
        parts.push(format!("entries {}→{}", from.entries, to.entries));
    }
    match (from.cached, to.cached) {
        (None, Some(Pfn(frame))) => parts.push(format!("caches F{frame:x}")),
        (Some(_), None) => parts.push("caches nothing".into()),
        _ => {}
    }
    match (from.is_reserved, to.is_reserved) {
        (false, true) => parts.push(if from.entries > 0 { "ends" } else { "given out" }.into()),
        (true, false) if to.entries == 0 && to.cached.is_none() => parts.push("free".into()),
        _ => {}
    }
    parts.join(", ")
}

fn show_slot(slot: SwapSlot) -> String {
    format!("{}:{:x}", slot.area(), slot.offset())
}

fn show_bits(bits: PageBits) -> String {
    let letters = [
        (PageBits::READ, 'r'),
        (PageBits::WRITE, 'w'),
        (PageBits::EXECUTE, 'x'),
        (PageBits::ACCESSED, 'a'),
        (PageBits::DIRTY, 'd'),
        (PageBits::EXCLUSIVE, 'e'),
        (PageBits::TAGGED, 't'),
    ];
    let letters = letters.iter().filter(|&&(flag, _)| flag != PageBits::TAGGED || bits.has(flag));
    letters.map(|&(flag, letter)| if bits.has(flag) { letter } else { '-' }).collect()
}

fn show_absent(absent: Absent) -> String {
    let own = |is_exclusive| if is_exclusive { " e" } else { "" };
    match absent {
        Absent::Swap { slot, is_exclusive } => format!("swap {}{}", show_slot(slot), own(is_exclusive)),
        Absent::Migration { pfn: Pfn(frame), is_exclusive, .. } => format!("moving F{frame:x}{}", own(is_exclusive)),
        Absent::Poison => "poison".into(),
        Absent::Splitting => "a huge page being split".into(),
    }
}
