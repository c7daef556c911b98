//! Integers that several CPUs access.

use crate::machine::Machine;
use core::marker::PhantomData;
use core::sync::atomic::{self, Ordering};

/// An atomic read-modify-write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modify<V> {
    /// Stores the value.
    Swap(V),
    /// Adds, wrapping.
    Add(V),
    /// Subtracts, wrapping.
    Subtract(V),
    /// Ors bits in.
    Or(V),
    /// Ands bits.
    And(V),
    /// Stores `new` if the value is `current`.
    CompareExchange {
        /// What must be there.
        current: V,
        /// What is stored then.
        new: V,
    },
}

/// A processor's atomic integer: what a [`Machine`]'s hooks are given to carry an access out on.
pub trait Word: Sized {
    /// The integer.
    type Value: Copy + Eq + Into<u64> + TryFrom<u64> + core::fmt::Debug;
    /// Its bytes.
    const SIZE: usize = size_of::<Self::Value>();
    /// Loads the value.
    fn load(&self, order: Ordering) -> Self::Value;
    /// Stores `value`.
    fn store(&self, value: Self::Value, order: Ordering);
    /// Carries `change` out: the previous value; an error of a compare-exchange that did not store.
    fn modify(&self, change: Modify<Self::Value>, order: Ordering) -> Result<Self::Value, Self::Value>;
}

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        impl Word for atomic::$name {
            type Value = $int;
            #[inline(always)]
            fn load(&self, order: Ordering) -> $int {
                self.load(order)
            }
            #[inline(always)]
            fn store(&self, value: $int, order: Ordering) {
                self.store(value, order)
            }
            #[inline(always)]
            fn modify(&self, change: Modify<$int>, order: Ordering) -> Result<$int, $int> {
                match change {
                    Modify::Swap(value) => Ok(self.swap(value, order)),
                    Modify::Add(value) => Ok(self.fetch_add(value, order)),
                    Modify::Subtract(value) => Ok(self.fetch_sub(value, order)),
                    Modify::Or(bits) => Ok(self.fetch_or(bits, order)),
                    Modify::And(bits) => Ok(self.fetch_and(bits, order)),
                    Modify::CompareExchange { current, new } => {
                        let failure = match order {
                            Ordering::Release => Ordering::Relaxed,
                            Ordering::AcqRel => Ordering::Acquire,
                            other => other,
                        };
                        self.compare_exchange(current, new, order, failure)
                    }
                }
            }
        }

        /// An integer shared between CPUs; like the type of that name in `core`, reached through the machine's hooks.
        #[repr(transparent)]
        pub struct $name<M>(atomic::$name, PhantomData<fn(M)>);

        impl<M: Machine> $name<M> {
            /// A new one.
            pub const fn new(value: $int) -> Self {
                Self(atomic::$name::new(value), PhantomData)
            }
            /// The integer at `word`, which is shared only in this way: a table's entry, say.
            pub const fn from_core(word: &atomic::$name) -> &Self {
                // SAFETY: the type is transparent.
                unsafe { &*(word as *const atomic::$name).cast() }
            }
            /// Loads the value.
            #[inline(always)]
            pub fn load(&self, order: Ordering) -> $int {
                M::load(&self.0, order)
            }
            /// Stores `value`.
            #[inline(always)]
            pub fn store(&self, value: $int, order: Ordering) {
                M::store(&self.0, value, order)
            }
            /// Stores `value`, returning the previous one.
            #[inline(always)]
            pub fn swap(&self, value: $int, order: Ordering) -> $int {
                self.modify(Modify::Swap(value), order)
            }
            /// Stores `new` if the value is `current`; the previous value either way.
            #[inline(always)]
            pub fn compare_exchange(&self, current: $int, new: $int, order: Ordering) -> Result<$int, $int> {
                M::modify(&self.0, Modify::CompareExchange { current, new }, order)
            }
            /// Adds, wrapping; the previous value.
            #[inline(always)]
            pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                self.modify(Modify::Add(value), order)
            }
            /// Subtracts, wrapping; the previous value.
            #[inline(always)]
            pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                self.modify(Modify::Subtract(value), order)
            }
            /// Ors bits in; the previous value.
            #[inline(always)]
            pub fn fetch_or(&self, bits: $int, order: Ordering) -> $int {
                self.modify(Modify::Or(bits), order)
            }
            /// Ands bits; the previous value.
            #[inline(always)]
            pub fn fetch_and(&self, bits: $int, order: Ordering) -> $int {
                self.modify(Modify::And(bits), order)
            }
            #[inline(always)]
            fn modify(&self, change: Modify<$int>, order: Ordering) -> $int {
                match M::modify(&self.0, change, order) {
                    Ok(previous) | Err(previous) => previous,
                }
            }
        }

        impl<M: Machine> core::fmt::Debug for $name<M> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}", self.0.load(Ordering::Relaxed))
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

/// A fence between accesses to integers of this module.
#[inline(always)]
pub fn fence<M: Machine>(order: Ordering) {
    M::fence(order);
}

impl<M: Machine> AtomicU64<M> {
    /// Adds where the caller is the only writer (a lock or CPU ownership sees to that): a load and a store.
    #[inline(always)]
    pub(crate) fn add_owned(&self, value: u64) {
        self.store(self.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
    }
}

impl<M> AtomicU64<M> {
    /// The value, to whom nobody shares it with: not an access to shared state.
    pub(crate) fn get_mut(&mut self) -> &mut u64 {
        self.0.get_mut()
    }
}

impl<M> AtomicU32<M> {
    /// The processor's atomic underneath, for [`Machine::wait_change`] and its like.
    pub(crate) fn as_core(&self) -> &atomic::AtomicU32 {
        &self.0
    }
}
