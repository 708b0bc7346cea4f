//! The fair class's timeline: members in the order of their keys, where most come and go at the ends in constant time.
//!
//! Two structures: a *run*, a list in the order of the keys, and a [`Tree`] for what belongs into the middle. Who comes goes to
//! the end of the run, or to its front, if that is its place among all; else into the tree. So a handful of members, and
//! many that come in about the order in which they will leave, which is what one interrupt wakes, never touch the tree.
//!
//! Equal keys keep the order in which they came, over both: what goes to the run is not equal to anything in the tree (to its end
//! goes only what is after all of the tree, to its front only what is before all of it). So of equals the one in the run came first.

use super::tree::{Link, Member, Node, Tree, before, node};
use core::ptr::NonNull;

/// The timeline. As [`Tree`], it does not own its members.
#[derive(Debug)]
pub(super) struct Timeline<T> {
    tree: Tree<T>,
    /// No key in the tree is after it; meaningless while the tree is empty.
    bound: u64,
    head: Link<T>,
    /// Meaningless while there is no head; so is what the head has to its left.
    last: Link<T>,
}

impl<T: Member> Timeline<T> {
    pub(super) const fn new() -> Self {
        Timeline { tree: Tree::new(), bound: 0, head: None, last: None }
    }

    /// The member with the smallest key.
    #[inline(always)]
    pub(super) fn first(&self) -> Link<T> {
        let Some(in_tree) = self.tree.first() else { return self.head };
        // SAFETY: both are members.
        unsafe { earlier(self.head, Some(in_tree)) }
    }

    /// The last of the run.
    #[inline(always)]
    fn tail(&self) -> Link<T> {
        self.head.and(self.last)
    }

    /// The one after `e` in the order. Takes time that grows with the run when `e` is in the tree.
    ///
    /// # Safety
    /// `e` is a member.
    pub(super) unsafe fn next(&self, e: NonNull<T>) -> Link<T> {
        // SAFETY: everything that is linked to `e` is a member, hence valid.
        unsafe {
            if (*node(e)).in_run {
                return earlier((*node(e)).right, self.tree.first_from(T::key(e)));
            }
            let mut in_run = self.head;
            while let Some(r) = in_run
                && !before(T::key(e), T::key(r))
            {
                in_run = (*node(r)).right;
            }
            earlier(in_run, Tree::next(e))
        }
    }

    /// Puts a member in, after those with the same key.
    ///
    /// # Safety
    /// `e` is valid, in no timeline, does not move and keeps its key until it is removed.
    #[inline(always)]
    pub(super) unsafe fn insert(&mut self, e: NonNull<T>) {
        // SAFETY: `e` is valid by contract, the others are members.
        unsafe {
            let key = T::key(e);
            let Some(in_tree) = self.tree.first() else {
                match self.tail() {
                    None => self.begin(e),
                    Some(t) if !before(key, T::key(t)) => self.append(t, e),
                    _ => self.insert_before_tail(e, key),
                }
                return;
            };
            match self.tail() {
                None if before(self.bound, key) => self.begin(e),
                Some(t) if before(self.bound, key) && !before(key, T::key(t)) => self.append(t, e),
                Some(_) if before(key, T::key(in_tree)) => self.insert_before_tail(e, key),
                _ => self.insert_in_tree(e, key),
            }
        }
    }

    /// # Safety
    /// The run is empty, and `e` is not equal to anything in the tree.
    #[inline(always)]
    unsafe fn begin(&mut self, e: NonNull<T>) {
        // SAFETY: valid by the contract.
        unsafe { *node(e) = Node::in_run(None, None) };
        self.head = Some(e);
        self.last = Some(e);
    }

    /// # Safety
    /// `t` is the last of the run, and `e` belongs behind it.
    #[inline(always)]
    unsafe fn append(&mut self, t: NonNull<T>, e: NonNull<T>) {
        // SAFETY: by the contract.
        unsafe {
            *node(e) = Node::in_run(Some(t), None);
            (*node(t)).right = Some(e);
        }
        self.last = Some(e);
    }

    /// `e` is before all of the tree, and the run is not empty: to its front, if it is first.
    ///
    /// # Safety
    /// As [`Timeline::insert`].
    #[inline]
    unsafe fn insert_before_tail(&mut self, e: NonNull<T>, key: u64) {
        // SAFETY: as in `insert`.
        unsafe {
            match self.head {
                Some(h) if before(key, T::key(h)) => {
                    *node(e) = Node::in_run(None, Some(h));
                    (*node(h)).left = Some(e);
                    self.head = Some(e);
                }
                _ => self.insert_in_tree(e, key),
            }
        }
    }

    /// # Safety
    /// As [`Timeline::insert`].
    #[inline(never)]
    unsafe fn insert_in_tree(&mut self, e: NonNull<T>, key: u64) {
        if self.tree.first().is_none() || before(self.bound, key) {
            self.bound = key;
        }
        // SAFETY: passed on.
        unsafe { self.tree.insert(e) };
    }

    /// Links `e` before `next` in a list that is to become part of the run, see [`Timeline::append_all`].
    ///
    /// # Safety
    /// Both are valid, and in no timeline.
    #[inline(always)]
    pub(super) unsafe fn link(e: NonNull<T>, next: NonNull<T>) {
        // SAFETY: by the contract.
        unsafe {
            (*node(e)).right = Some(next);
            (*node(next)).left = Some(e);
            (*node(next)).in_run = true;
        }
    }

    /// Puts in a list from `first` to `last`, in the order of the keys, each behind those with the same key.
    ///
    /// # Safety
    /// Each is linked to the next by [`Timeline::link`]; for them all the contract of [`Timeline::insert`] holds.
    pub(super) unsafe fn append_all(&mut self, first: NonNull<T>, last: NonNull<T>) {
        // SAFETY: by the contract; what is in the run is valid.
        unsafe {
            (*node(first)).in_run = true;
            (*node(last)).right = None;
            let behind_all = self.tree.first().is_none() && self.tail().is_none_or(|t| !before(T::key(first), T::key(t)));
            if !behind_all {
                return self.insert_each(first);
            }
            match self.tail() {
                Some(t) => Self::link(t, first),
                None => self.head = Some(first),
            }
        }
        self.last = Some(last);
    }

    /// # Safety
    /// As [`Timeline::append_all`]; the last is behind `e`, and linked to nobody.
    #[cold]
    #[inline(never)]
    unsafe fn insert_each(&mut self, e: NonNull<T>) {
        let mut at = Some(e);
        while let Some(e) = at {
            // SAFETY: by the contract; the link is read before `insert` writes it.
            unsafe {
                at = (*node(e)).right;
                self.insert(e);
            }
        }
    }

    /// Takes the first member out.
    #[inline(always)]
    pub(super) fn pop_first(&mut self) -> Link<T> {
        if self.tree.first().is_some() {
            return self.pop_first_of_both();
        }
        let e = self.head?;
        // SAFETY: it is a member, and so is what follows.
        unsafe { self.pop_head(e) };
        Some(e)
    }

    /// The same while all members are in the run.
    #[inline(always)]
    pub(super) fn pop_run(&mut self) -> Link<T> {
        debug_assert!(self.tree.first().is_none());
        let e = self.head?;
        // SAFETY: it is a member, and so is what follows.
        unsafe { self.pop_head(e) };
        Some(e)
    }

    /// The first of those that are in the run.
    #[inline(always)]
    pub(super) fn first_of_run(&self) -> Link<T> {
        self.head
    }

    /// The first of those that are not in the run.
    #[inline(always)]
    pub(super) fn first_of_tree(&self) -> Link<T> {
        self.tree.first()
    }

    #[inline(never)]
    fn pop_first_of_both(&mut self) -> Link<T> {
        let e = self.first()?;
        // SAFETY: it is a member.
        unsafe {
            if !(*node(e)).in_run {
                return self.tree.pop_first();
            }
            self.pop_head(e);
        }
        Some(e)
    }

    /// # Safety
    /// `e` is the first of the run.
    #[inline(always)]
    unsafe fn pop_head(&mut self, e: NonNull<T>) {
        // SAFETY: by the contract.
        self.head = unsafe { (*node(e)).right };
    }

    /// Takes a member out.
    ///
    /// # Safety
    /// `e` is a member.
    pub(super) unsafe fn remove(&mut self, e: NonNull<T>) {
        // SAFETY: links of a member lead to members.
        unsafe {
            if !(*node(e)).in_run {
                return self.tree.remove(e);
            }
            let (prev, next) = ((*node(e)).left, (*node(e)).right);
            match prev {
                Some(p) if self.head != Some(e) => (*node(p)).right = next,
                _ => self.head = next,
            }
            match next {
                Some(n) => (*node(n)).left = prev,
                None => self.last = prev,
            }
        }
    }
}

/// The earlier one of a member of the run and one of the tree; of equal ones, that of the run.
///
/// # Safety
/// Both are valid.
#[inline(always)]
unsafe fn earlier<T: Member>(in_run: Link<T>, in_tree: Link<T>) -> Link<T> {
    match (in_run, in_tree) {
        // SAFETY: by the contract.
        (Some(r), Some(t)) if unsafe { before(T::key(t), T::key(r)) } => in_tree,
        (None, _) => in_tree,
        _ => in_run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::{Entity, Params};
    use proptest::prelude::*;
    use std::boxed::Box;
    use std::vec::Vec;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a sorted vector, with equal keys and keys on both sides of the wrap; ascending ones, descending ones and others.
        #[test]
        fn keeps_the_order(
            keys in prop::collection::vec((0u64..30).prop_map(|k| k.wrapping_sub(15)), 1..48),
            sorted in 0u8..3,
            ops in prop::collection::vec((0usize..48, 0u8..10), 1..300),
        ) {
            let mut keys = keys;
            if sorted < 2 {
                keys.sort_by_key(|k| k.wrapping_add(15));
            }
            if sorted == 1 {
                keys.reverse();
            }
            let pool: Vec<_> = keys
                .iter()
                .map(|key| {
                    let mut e = Box::new(Entity::new(Params::DEFAULT));
                    e.vruntime = *key;
                    NonNull::from(Box::leak(e))
                })
                .collect();
            let mut line = Timeline::new();
            let mut model: Vec<NonNull<Entity>> = Vec::new();
            for (i, op) in ops {
                let e = pool[i % pool.len()];
                // SAFETY: entities of a pool that lives; the model knows whether it is a member.
                unsafe {
                    if op < 3 {
                        prop_assert_eq!(line.pop_first(), (!model.is_empty()).then(|| model.remove(0)));
                    } else if let Some(at) = model.iter().position(|x| *x == e) {
                        line.remove(e);
                        model.remove(at);
                    } else {
                        line.insert(e);
                        let key = e.as_ref().vruntime;
                        let at = model.iter().position(|x| before(key, x.as_ref().vruntime)).unwrap_or(model.len());
                        model.insert(at, e);
                    }
                    prop_assert_eq!(line.first(), model.first().copied());
                    for (i, e) in model.iter().enumerate() {
                        prop_assert_eq!(line.next(*e), model.get(i + 1).copied());
                    }
                }
            }
            for e in pool {
                // SAFETY: leaked above, and the timeline is not used any more.
                drop(unsafe { Box::from_raw(e.as_ptr()) });
            }
        }
    }
}
