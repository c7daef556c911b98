//! Guesses the next access of a program from what followed the same instructions before.
//!
//! Writer and reader of the compact form run the same predictor, so that an access that was guessed
//! needs no byte of its own. What came at a point of the program (the latest instruction fetch, and
//! how many data accesses followed it) is kept in two tables: by the point alone, and by the point
//! together with the path to it (the latest four jumps). The second one foretells where the program
//! jumps. Data is expected either as far from the address of the last visit as that was from the
//! visit before, or as far from the latest data access as at the last visit.

use super::event::{Access, AccessKind};

const SLOTS: usize = 1 << 16;

/// What was seen at one point of the program.
#[derive(Clone, Copy)]
struct Slot {
    kind: AccessKind,
    size: u16,
    tag: u16,
    /// Whether the distance told better than the stride where the two differed.
    is_distance_better: bool,
    address: u64,
    /// The distance from the address seen here the time before.
    stride: u64,
    /// The distance from the data access just before.
    distance: u64,
}

const EMPTY: Slot =
    Slot { kind: AccessKind::Execute, size: 1, tag: 0, is_distance_better: false, address: 0, stride: 0, distance: 0 };

impl Slot {
    #[inline]
    fn at(&self, address: u64) -> Access {
        Access { kind: self.kind, size: self.size, address }
    }

    /// The addresses to which the stride and the distance lead.
    #[inline]
    fn leads(&self, data: u64) -> (u64, u64) {
        (self.address.wrapping_add(self.stride), data.wrapping_add(self.distance))
    }
}

/// The state from which the next access is guessed.
pub(super) struct Predictor {
    /// By the point in the program.
    points: Vec<Slot>,
    /// By the point in the program and the path to it.
    paths: Vec<Slot>,
    /// Where the two tables tell about what comes next, and the path's check.
    point: usize,
    path: usize,
    tag: u16,
    /// The latest fetch and where the code runs on behind it.
    fetch: u64,
    fetch_end: u64,
    /// The address of the latest data access, and their number since the fetch.
    data: u64,
    ordinal: u64,
    /// Sixteen bits of each of the latest four jumps.
    jumps: u64,
}

/// What is expected next, and what else it may be.
#[derive(Clone, Copy)]
pub(super) struct Guess {
    pub first: Access,
    pub second: Access,
}

impl Predictor {
    pub fn new() -> Predictor {
        Predictor {
            points: vec![EMPTY; SLOTS],
            paths: vec![EMPTY; SLOTS],
            point: 0,
            path: 0,
            tag: 0,
            fetch: 0,
            fetch_end: 0,
            data: 0,
            ordinal: 0,
            jumps: 0,
        }
    }

    /// What is expected next.
    #[inline]
    pub fn guess(&self) -> Guess {
        let point = &self.points[self.point];
        let path = &self.paths[self.path];
        if path.tag == self.tag && path.kind == AccessKind::Execute {
            return Guess { first: path.at(path.address), second: point.at(point.address) };
        }
        if point.kind == AccessKind::Execute {
            let access = point.at(point.address);
            return Guess { first: access, second: access };
        }
        let (by_stride, by_distance) = point.leads(self.data);
        if point.is_distance_better {
            Guess { first: point.at(by_distance), second: point.at(by_stride) }
        } else {
            Guess { first: point.at(by_stride), second: point.at(by_distance) }
        }
    }

    /// The address from which one that was not guessed is counted.
    #[inline]
    pub fn base(&self, kind: AccessKind) -> u64 {
        if kind == AccessKind::Execute { self.fetch_end } else { self.data }
    }

    /// The address seen at this point before.
    #[inline]
    pub fn seen_here(&self) -> u64 {
        self.points[self.point].address
    }

    /// Learns what came.
    #[inline]
    pub fn learn(&mut self, access: Access) {
        let seen = self.learn_at_point(access);
        self.paths[self.path] = Slot { tag: self.tag, ..seen };
        if access.kind == AccessKind::Execute {
            if access.address != self.fetch_end {
                self.jumps = self.jumps << 16 ^ (mix(access.address) & 0xffff);
            }
            self.fetch = access.address;
            self.fetch_end = access.address.wrapping_add(u64::from(access.size));
            self.ordinal = 0;
        } else {
            self.data = access.address;
            self.ordinal += 1;
        }
        let point = mix(self.fetch ^ self.ordinal << 56 ^ self.ordinal);
        let path = mix(point ^ self.jumps);
        self.point = point as usize % SLOTS;
        self.path = path as usize % SLOTS;
        self.tag = (path >> 48) as u16;
    }

    #[inline]
    fn learn_at_point(&mut self, access: Access) -> Slot {
        let slot = &mut self.points[self.point];
        let Access { kind, size, address } = access;
        let (by_stride, by_distance) = slot.leads(self.data);
        let is_told = (by_stride == address) != (by_distance == address);
        let is_distance_better = if is_told { by_distance == address } else { slot.is_distance_better };
        let stride = if slot.kind == kind { address.wrapping_sub(slot.address) } else { 0 };
        let distance = address.wrapping_sub(self.data);
        *slot = Slot { kind, size, tag: 0, is_distance_better, address, stride, distance };
        *slot
    }
}

/// Spreads a number over all bits.
#[inline]
fn mix(value: u64) -> u64 {
    let product = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}
