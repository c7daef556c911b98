//! Integers that several CPUs access.

use crate::machine::{Machine, Touch};
use core::marker::PhantomData;
use core::sync::atomic::{self, Ordering};

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        /// An integer shared between CPUs; like the type of that name in `core`, seen by the machine.
        #[repr(transparent)]
        pub struct $name<M>(atomic::$name, PhantomData<fn(M)>);

        impl<M: Machine> $name<M> {
            /// A new one.
            pub const fn new(value: $int) -> Self {
                Self(atomic::$name::new(value), PhantomData)
            }
            /// Loads the value.
            #[inline(always)]
            pub fn load(&self, order: Ordering) -> $int {
                M::observe(self as *const Self as usize, Touch::Load);
                self.0.load(order)
            }
            /// Stores `value`.
            #[inline(always)]
            pub fn store(&self, value: $int, order: Ordering) {
                M::observe(self as *const Self as usize, Touch::Store);
                self.0.store(value, order)
            }
            /// Stores `value`, returning the previous one.
            #[inline(always)]
            pub fn swap(&self, value: $int, order: Ordering) -> $int {
                M::observe(self as *const Self as usize, Touch::Modify);
                self.0.swap(value, order)
            }
            /// Stores `new` if the value is `current`; the previous value either way.
            #[inline(always)]
            pub fn compare_exchange(&self, current: $int, new: $int, order: Ordering) -> Result<$int, $int> {
                M::observe(self as *const Self as usize, Touch::Modify);
                let failure = match order {
                    Ordering::Release => Ordering::Relaxed,
                    Ordering::AcqRel => Ordering::Acquire,
                    other => other,
                };
                self.0.compare_exchange(current, new, order, failure)
            }
            /// Adds, wrapping; the previous value.
            #[inline(always)]
            pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                M::observe(self as *const Self as usize, Touch::Modify);
                self.0.fetch_add(value, order)
            }
            /// Subtracts, wrapping; the previous value.
            #[inline(always)]
            pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                M::observe(self as *const Self as usize, Touch::Modify);
                self.0.fetch_sub(value, order)
            }
            /// Ors bits in; the previous value.
            #[inline(always)]
            pub fn fetch_or(&self, bits: $int, order: Ordering) -> $int {
                M::observe(self as *const Self as usize, Touch::Modify);
                self.0.fetch_or(bits, order)
            }
            /// Ands bits; the previous value.
            #[inline(always)]
            pub fn fetch_and(&self, bits: $int, order: Ordering) -> $int {
                M::observe(self as *const Self as usize, Touch::Modify);
                self.0.fetch_and(bits, order)
            }
            /// Adds where the caller is the only writer (a lock or CPU ownership sees to that): a load and a store.
            #[inline(always)]
            pub(crate) fn add_owned(&self, value: $int) {
                self.store(self.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
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

impl<M> AtomicU32<M> {
    /// The processor's atomic underneath, for [`Machine::wait_change`] and its like.
    pub(crate) fn as_core(&self) -> &atomic::AtomicU32 {
        &self.0
    }
}
