//! Attribute classes: what a slot maps, without where.
//!
//! * [`attributes`] – what a class says, and the identities that say it themselves; [`registry`] – finding and giving up
//!   the others; [`table`] – the hash tables it finds them by; [`record`] – their records, and frames as arrays;
//!   [`chain`] – the classes of a space and of an object, one after the other; [`extent`] – where their slots are.
//!
//! A class is an interned, immutable record of protection, flags, memory policy, object and the difference between
//! addresses and offsets in the object. Equal attributes have equal identities in the whole machine. The classes of
//! plain private anonymous memory have identities which *are* their attributes: they need no record, no count and no
//! lookup. Every other class is a counted record: the count is the number of slots of all tables that say it, plus what
//! operations in progress hold. A record is reused after a grace period, so an identity read without a lock stays
//! meaningful.
//!
//! The registry is in parts, each with a lock of its own: all classes of one space are in one part. A part's hash table
//! grows by one bucket when it has got one more class than buckets, so neither its chains nor the sections under its
//! lock get longer with the number of classes; where there is no memory for that, it stays as it is.
//!
//! The classes that show an object, and those of moved anonymous memory, are of one space each and stand on the chain
//! of that space and, if they have one, of the object: so the classes are what reverse mapping finds a page's addresses
//! by, and need no second structure that says who maps what. They leave the chains with their last slot. The chain of a
//! space changes under the lock of its part, the one of an object under that of some objects; readers follow them
//! without, within a read-side section.
//!
//! Classes that lead to one *place* stand side by side, those that are equal but for what may change in place: rights,
//! advice, policy. The first class of a place comes to the head of the chain, each further one in front of those of its
//! place. So who follows a chain once, from the head as he finds it to the end, meets each place that has a class all
//! the time, however often slots there change their class, and comes to an end, however often they do (B22).
//!
//! *Meets each place.* As long as the classes of a place lie ahead of the reader, so do those that come, since they come
//! in front of the first of them, and he is not between two. If he stands on a record that has left the chain, he sees
//! what followed as it was when that left: what he sees is of a time no earlier than what he has seen before.
//!
//! *Comes to an end.* No place comes ahead of him, only to the head. Of a place ahead he meets the classes that are there
//! when he gets to it, and none that come later.
//!
//! The classes of a place know where slots may say one of them: a hull of that, the same for all of them, which is
//! widened before a slot elsewhere does. So walks pass by places that do not reach as far as the page they are for; and
//! whether they do, does not depend on by which class of the place they come by (B22).

mod attributes;
mod chain;
mod extent;
mod record;
mod registry;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use attributes::{Attributes, ClassFlags, ClassId};
pub(crate) use extent::Extent;
pub(crate) use registry::Classes;
