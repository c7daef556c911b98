//! Random sequences from a seed.

use super::op::{Access, Advice, Goal, How, Length, Op, Put, Rights, Spot, What};
use super::{Pool, Relief, Settings};
use vellum::arch::Arch;
use vellum::ops::HugePages;

/// A small deterministic generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// Whether an event of `percent` probability happens.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of some values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

/// Makes the operations of one sequence. Most name what is mapped when they run, so that they meet.
struct Generator<'a> {
    random: Random,
    ground: &'a Ground,
}

/// What operations are made for.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Pages of the pool.
    pool: u64,
    /// Those of them that begin where a huge page may.
    borders: Vec<u16>,
    /// Pages of a huge page.
    huge: u16,
    /// How many operations in a hundred are to meet huge pages.
    huge_percent: u64,
    relief: Option<Relief>,
}

impl Ground {
    /// That of an architecture.
    pub fn of<A: Arch>() -> Ground {
        let pool = Pool::of::<A>(vellum::space::stack_guard_pages::<A>());
        let huge = 1 << (A::shift(1) - A::PAGE_SHIFT);
        Ground { pool: pool.count() as u64, borders: pool.huge_borders::<A>(), huge, huge_percent: 0, relief: None }
    }

    /// The same, for sequences that are run in this way.
    pub fn with(&self, settings: &Settings) -> Ground {
        let huge_percent = if settings.huge_pages == HugePages::Always { 30 } else { 6 };
        Ground { huge_percent, relief: settings.relief, ..self.clone() }
    }
}

/// `count` operations, some of them about pressure where there is something against it.
pub fn sequence(seed: u64, count: usize, ground: &Ground) -> Vec<Op> {
    let mut generator = Generator { random: Random::new(seed), ground };
    // Nothing can be done before something is mapped.
    let head = 1 + generator.random.below(3) as usize;
    let first: Vec<Op> = (0..head).map(|_| generator.map(0, 0)).collect();
    let on = ground.relief.map(|_| Op::SwitchSwap { cpu: 0 });
    first.into_iter().chain(on).chain((head..count).map(|_| generator.next())).collect()
}

const ADVICE: [Advice; 27] = [
    Advice::GuardInstall,
    Advice::GuardInstall,
    Advice::GuardInstall,
    Advice::GuardRemove,
    Advice::Remove,
    Advice::Remove,
    Advice::DontNeed,
    Advice::DontNeed,
    Advice::DontNeed,
    Advice::WipeOnFork,
    Advice::WipeOnFork,
    Advice::KeepOnFork,
    Advice::DontFork,
    Advice::DontFork,
    Advice::DoFork,
    Advice::PopulateRead,
    Advice::PopulateWrite,
    Advice::WillNeed,
    Advice::Normal,
    Advice::Sequential,
    Advice::Random,
    Advice::DontDump,
    Advice::DoDump,
    Advice::HugePage,
    Advice::HugePage,
    Advice::NoHugePage,
    Advice::Collapse,
];

/// Advice about memory that is short.
const RELIEF: [Advice; 4] = [Advice::PageOut, Advice::PageOut, Advice::Cold, Advice::Free];

impl Generator<'_> {
    fn next(&mut self) -> Op {
        match self.ground.relief {
            Some(relief) if self.random.percent(30) => self.relief(relief),
            _ => self.op(),
        }
    }

    fn relief(&mut self, relief: Relief) -> Op {
        let (cpu, space) = (self.random.below(3) as u8, self.space());
        let node = self.random.below(2) as u8;
        match self.random.below(100) {
            0..20 => Op::Reclaim { cpu, node, pages: self.random.pick(&[1, 2, 4, 16, 64, 1000]) },
            20..22 => Op::ReclaimBackground { cpu },
            22..55 => self.on_range(|at, length, random| {
                let advice = random.pick(&RELIEF);
                Op::Advise { cpu, space, at, length, advice }
            }),
            55..60 => Op::SwitchSwap { cpu },
            60..72 => self.on_range(|at, length, _| Op::MovePages { cpu, space, at, length, node }),
            72..77 => Op::Compact { cpu, node, order: self.random.below(6) as u8 },
            77..83 => self.on_range(|at, length, random| {
                let policy = random.below(5) as u8;
                Op::SetPolicy { cpu, space, at, length, policy }
            }),
            83..88 => Op::Truncate { object: self.random.below(4) as u8, keep: self.random.bits() as u8 },
            88..92 => Op::WriteBack { object: self.random.below(4) as u8 },
            _ if relief.tags => {
                let tag = self.random.below(16) as u8;
                self.on_bytes(|at, offset, _| Op::SetTag { cpu, space, at, offset, tag })
            }
            _ => self.on_bytes(|at, offset, bytes| Op::Store { cpu, space, at, offset, bytes }),
        }
    }

    fn op(&mut self) -> Op {
        let (cpu, space) = (self.random.below(3) as u8, self.space());
        match self.random.below(1000) {
            0..12 => Op::CreateSpace,
            12..25 => Op::DropSpace { space },
            25..75 => Op::Fork { cpu, space },
            75..225 => self.map(cpu, space),
            225..285 => self.on_range(|at, length, _| Op::Unmap { cpu, space, at, length }),
            285..355 => self.on_range(|at, length, random| {
                let rights = rights(random);
                match random.percent(70) {
                    true => Op::Protect { cpu, space, at, length, rights },
                    false => Op::ProtectPartly { cpu, space, at, length, rights },
                }
            }),
            355..430 => self.remap(cpu, space),
            430..510 => self.on_range(|at, length, random| {
                let advice = random.pick(&ADVICE);
                match random.percent(70) {
                    true => Op::Advise { cpu, space, at, length, advice },
                    false => Op::AdvisePartly { cpu, space, at, length, advice },
                }
            }),
            510..525 => self.on_range(|at, length, random| {
                let access = random.pick(&[Access::Read, Access::Write, Access::Execute]);
                Op::PopulateRange { cpu, space, at, length, access }
            }),
            525..700 => self.on_bytes(|at, offset, bytes| Op::Store { cpu, space, at, offset, bytes }),
            700..745 => self.on_bytes(|at, offset, bytes| Op::CopyOut { cpu, space, at, offset, bytes }),
            745..840 => self.on_bytes(|at, offset, bytes| Op::Load { cpu, space, at, offset, bytes }),
            840..880 => self.on_bytes(|at, offset, bytes| Op::CopyIn { cpu, space, at, offset, bytes }),
            880..900 => Op::Fetch { cpu, space, at: self.mapped_spot() },
            900..912 => Op::BrkBase { space, at: self.spot(), offset: self.odd_offset() },
            912..936 => Op::Brk { cpu, space, at: self.spot(), offset: self.odd_offset() },
            936..942 => Op::StackLimit { space, pages: self.random.pick(&[0, 1, 4, 16, 300, 2048]) },
            942..952 => Op::ReplaceObject { object: self.random.below(4) as u8 },
            952..962 => Op::WriteBack { object: self.random.below(4) as u8 },
            962..972 => Op::Lazy { cpu },
            972..980 => Op::Idle { cpu },
            980..992 => Op::Speculate { cpu, at: self.mapped_spot() },
            _ => Op::Quiesce { cpu },
        }
    }

    /// Whether something is to lie where huge pages do.
    fn is_huge(&mut self) -> bool {
        self.random.percent(self.ground.huge_percent)
    }

    fn space(&mut self) -> u8 {
        if self.random.percent(55) { 0 } else { self.random.below(4) as u8 }
    }

    fn spot(&mut self) -> Spot {
        match self.random.below(100) {
            _ if self.is_huge() => Spot::Pool(self.random.pick(&self.ground.borders)),
            0..90 => Spot::Pool(self.random.below(self.ground.pool) as u16),
            90..98 => Spot::Answer { back: self.random.below(3) as u8, page: self.random.below(4) as u8 },
            _ => {
                Spot::Raw(self.random.pick(&[0, 0x800, 0x1000, 1 << 46, 1 << 47, 1 << 63, u64::MAX, u64::MAX - 0xfff]))
            }
        }
    }

    fn mapped_spot(&mut self) -> Spot {
        match self.random.below(100) {
            0..12 => self.spot(),
            12..20 => Spot::Answer { back: self.random.below(2) as u8, page: self.random.below(4) as u8 },
            _ => {
                let huge = self.ground.huge;
                let page = match self.is_huge() {
                    true => self.random.pick(&[0, huge - 1, huge, huge + 1, 2 * huge]),
                    false => self.random.pick(&[0, 0, 1, 2, 3, 5, 9, 600]),
                };
                Spot::Mapped { area: self.random.below(12) as u8, page }
            }
        }
    }

    fn length(&mut self, at: Spot) -> Length {
        match self.random.below(100) {
            _ if self.is_huge() => Length::Huge(1 + self.random.below(3) as u8),
            0..70 => Length::Pages(1 + self.random.below(6) as u16),
            70..84 => {
                let pool = self.ground.pool;
                let from = if let Spot::Pool(index) = at { u64::from(index).min(pool - 1) } else { 0 };
                Length::To((from + 1 + self.random.below(pool - from)) as u16 % pool as u16)
            }
            84..90 => Length::Rest,
            90..95 => Length::Pages(self.random.pick(&[0, 16, 64, 512, 513])),
            95..98 => Length::Bytes(self.random.pick(&[1, 0xfff, 0x1001, 0x2fff])),
            _ => Length::Bytes(self.random.pick(&[0, u64::MAX, 1 << 63, 1 << 47, 1 << 40])),
        }
    }

    /// A mapping, a part of one, or any range.
    fn range(&mut self) -> (Spot, Length) {
        let at = self.mapped_spot();
        let length = match self.random.below(100) {
            0..30 => Length::Rest,
            30..70 => Length::Pages(1 + self.random.below(2) as u16),
            _ => self.length(at),
        };
        (at, length)
    }

    fn odd_offset(&mut self) -> u16 {
        if self.random.percent(70) { 0 } else { self.random.below(4096) as u16 }
    }

    fn on_range(&mut self, make: impl FnOnce(Spot, Length, &mut Random) -> Op) -> Op {
        let (at, length) = self.range();
        let at = if self.random.percent(1) { Spot::Raw(0x40_0010) } else { at };
        make(at, length, &mut self.random)
    }

    fn on_bytes(&mut self, make: impl FnOnce(Spot, u16, u16) -> Op) -> Op {
        let at = self.mapped_spot();
        let (offset, bytes) = match self.random.below(10) {
            0..5 => (self.random.below(4088) as u16, 1 + self.random.below(8) as u16),
            5..8 => (0, 8),
            8 => (4092, 1 + self.random.below(16) as u16),
            _ => (0, 4096 + self.random.below(8192) as u16),
        };
        make(at, offset, bytes)
    }

    fn map(&mut self, cpu: u8, space: u8) -> Op {
        let at = self.spot();
        let length = self.length(at);
        let put = match self.random.below(10) {
            0..6 => Put::Exactly,
            6 => Put::IfFree,
            7 => Put::Hinted,
            _ => Put::AnyPlace,
        };
        let random = &mut self.random;
        let (object, page) = (random.below(4) as u8, random.below(4) as u8);
        let what = match random.below(100) {
            0..50 => What::PrivateZero,
            50..62 => What::SharedZero,
            62..80 => What::ObjectPrivate(object, page),
            80..99 => What::ObjectShared(object, page),
            _ => What::ObjectRaw(object, random.pick(&[1, 0x800, u64::MAX - 0xfff, 1 << 62, 1 << 63])),
        };
        let how = match random.below(20) {
            0..3 => How::GrowsDown,
            3 => How::NoReserve,
            4..6 => How::Populate,
            _ => How::Plain,
        };
        let most = if random.percent(90) { Rights::AllRights } else { rights(random) };
        let rights = rights(random);
        Op::Map { cpu, space, at, length, put, rights, most, what, how }
    }

    fn remap(&mut self, cpu: u8, space: u8) -> Op {
        let (at, length) = self.range();
        let new_length = if self.random.percent(40) { length } else { self.length(at) };
        let goal = match self.random.below(10) {
            0..3 => Goal::Stay,
            3..5 => Goal::Wander,
            5 => Goal::Near(self.spot()),
            _ => Goal::MoveTo(self.spot()),
        };
        let keep_old = self.random.percent(15);
        let new_length = if keep_old && self.random.percent(80) { length } else { new_length };
        Op::Remap { cpu, space, at, length, new_length, goal, keep_old }
    }
}

fn rights(random: &mut Random) -> Rights {
    if random.percent(70) { Rights::ReadWrite } else { random.pick(&Rights::ALL) }
}
