//! Moving pages to other frames, under their users' hands.
//!
//! * [`pages`] – moving a list; [`page`] – moving one page; [`node`] – to a slower memory node, before swap;
//! * [`compact`] – to make large blocks free.
//!
//! A list is moved in three steps. All its pages are unmapped, each under a folio lock that was free: entries of
//! anonymous pages say that the page is being moved, those of files become empty. One flush serves the whole list. Then
//! each page is copied, with its tags, and the entries show the new frame. Whoever faults meanwhile waits for the folio
//! lock, without taking a reference (F6).
//!
//! A page which somebody else has a reference to is put back. While other folio locks are held none is waited for (F8);
//! what was left for that reason is tried again, at last one by one.

mod compact;
mod node;
mod page;
mod pages;
#[cfg(test)]
mod tests;

pub(crate) use pages::{Goal, LENGTH, migrate};
