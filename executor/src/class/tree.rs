//! An intrusive red-black tree, ordered by a key that its members carry, with a cached leftmost: the fair class's timeline
//! (entities by vruntime) and the deadline class's queues (reservations by the time of what is next).
//!
//! Equal keys keep the order in which they came. Keys wrap: two of them are compared by the sign of their difference.
//! Empty trees and trees of one or two entities, the common case, take a few instructions and no rebalancing.

use core::ptr::NonNull;

pub(super) type Link<T> = Option<NonNull<T>>;

/// What a tree is made of.
pub(super) trait Member: Sized {
    /// # Safety
    /// `this` is valid, and no reference to its node exists.
    unsafe fn node(this: NonNull<Self>) -> *mut Node<Self>;

    /// By what it is ordered. Stays the same as long as it is in a tree.
    ///
    /// # Safety
    /// `this` is valid.
    unsafe fn key(this: NonNull<Self>) -> u64;
}

/// A member's links in the tree.
#[derive(Debug)]
pub(super) struct Node<T> {
    parent: Link<T>,
    /// In the run of a [`Timeline`](super::timeline::Timeline): the one before, and the one behind.
    pub(super) left: Link<T>,
    pub(super) right: Link<T>,
    red: bool,
    /// Whether it is in such a run, and not in the tree.
    pub(super) in_run: bool,
}

impl<T> Clone for Node<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Node<T> {}

impl<T> Node<T> {
    pub(super) const UNLINKED: Node<T> = Node { parent: None, left: None, right: None, red: false, in_run: false };

    /// In a run, between two others.
    #[inline(always)]
    pub(super) const fn in_run(prev: Link<T>, next: Link<T>) -> Node<T> {
        Node { parent: None, left: prev, right: next, red: false, in_run: true }
    }
}

/// Whether virtual time `a` is before `b`.
#[inline(always)]
pub(super) const fn before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

/// The tree.
#[derive(Debug)]
pub(super) struct Tree<T> {
    root: Link<T>,
    first: Link<T>,
}

/// # Safety
/// `e` is valid, and no reference to its node exists.
#[inline(always)]
pub(super) unsafe fn node<T: Member>(e: NonNull<T>) -> *mut Node<T> {
    // SAFETY: passed on.
    unsafe { T::node(e) }
}

/// # Safety
/// A `Some` is valid.
#[inline(always)]
unsafe fn is_red<T: Member>(e: Link<T>) -> bool {
    // SAFETY: by the caller's contract.
    e.is_some_and(|e| unsafe { (*node(e)).red })
}

impl<T: Member> Tree<T> {
    pub(super) const fn new() -> Self {
        Tree { root: None, first: None }
    }

    /// The member with the smallest key.
    #[inline(always)]
    pub(super) fn first(&self) -> Link<T> {
        self.first
    }

    /// The one after `e` in the order.
    ///
    /// # Safety
    /// `e` is in a tree.
    pub(super) unsafe fn next(e: NonNull<T>) -> Link<T> {
        // SAFETY: everything that is linked to `e` is in the tree, hence valid.
        unsafe {
            if let Some(right) = (*node(e)).right {
                return Some(Self::leftmost(right));
            }
            let mut child = e;
            let mut up = (*node(e)).parent;
            while let Some(p) = up {
                if (*node(p)).left == Some(child) {
                    return Some(p);
                }
                child = p;
                up = (*node(p)).parent;
            }
            None
        }
    }

    /// The first member whose key is not before `key`.
    pub(super) fn first_from(&self, key: u64) -> Link<T> {
        let (mut at, mut best) = (self.root, None);
        while let Some(e) = at {
            // SAFETY: links of a tree lead to valid members.
            at = unsafe {
                if before(T::key(e), key) {
                    (*node(e)).right
                } else {
                    best = Some(e);
                    (*node(e)).left
                }
            };
        }
        best
    }

    /// # Safety
    /// `e` is in a tree.
    #[inline]
    unsafe fn leftmost(mut e: NonNull<T>) -> NonNull<T> {
        // SAFETY: links of a tree lead to valid entities.
        while let Some(left) = unsafe { (*node(e)).left } {
            e = left;
        }
        e
    }

    /// Puts a member in, after those with the same key.
    ///
    /// # Safety
    /// `e` is valid, in no tree, does not move and keeps its key until it is removed.
    #[inline]
    pub(super) unsafe fn insert(&mut self, e: NonNull<T>) {
        // SAFETY: `e` is valid by contract, the others are in the tree.
        unsafe {
            let Some(mut parent) = self.root else {
                *node(e) = Node::UNLINKED;
                self.root = Some(e);
                self.first = Some(e);
                return;
            };
            let key = T::key(e);
            let mut is_first = true;
            let slot = loop {
                let slot = if before(key, T::key(parent)) {
                    &raw mut (*node(parent)).left
                } else {
                    is_first = false;
                    &raw mut (*node(parent)).right
                };
                match *slot {
                    Some(child) => parent = child,
                    None => break slot,
                }
            };
            *slot = Some(e);
            *node(e) = Node { parent: Some(parent), left: None, right: None, red: true, in_run: false };
            if is_first {
                self.first = Some(e);
            }
            if (*node(parent)).red {
                self.rebalance_insert(e);
            }
        }
    }

    /// Takes the first member out.
    #[inline(always)]
    pub(super) fn pop_first(&mut self) -> Link<T> {
        let e = self.first?;
        // SAFETY: it is in the tree, so what its links lead to is valid.
        unsafe {
            let Node { parent, right, red, .. } = *node(e);
            // It has no left child; so a right one can only be a red leaf, and is the next.
            self.first = right.or(parent);
            match parent {
                None => self.root = right,
                Some(p) => (*node(p)).left = right,
            }
            if let Some(r) = right {
                (*node(r)).parent = parent;
                (*node(r)).red = false;
            } else if !red && parent.is_some() {
                self.rebalance_remove(None, parent);
            }
        }
        Some(e)
    }

    /// Takes a member out.
    ///
    /// # Safety
    /// `e` is in this tree.
    pub(super) unsafe fn remove(&mut self, e: NonNull<T>) {
        // SAFETY: `e` is in the tree, so all that its links lead to is valid.
        unsafe {
            if self.first == Some(e) {
                self.first = Self::next(e);
            }
            let Node { parent, left, right, red, .. } = *node(e);
            // `hole` took the place that lost a node of colour `lost_red`; it may be empty, so its parent is kept.
            let (hole, hole_parent, lost_red) = match (left, right) {
                (None, child) | (child, None) => {
                    self.replace_child(parent, e, child);
                    if let Some(c) = child {
                        (*node(c)).parent = parent;
                    }
                    (child, parent, red)
                }
                (Some(l), Some(r)) => {
                    let heir = Self::leftmost(r);
                    let heir_red = (*node(heir)).red;
                    let heir_child = (*node(heir)).right;
                    let hole_parent = if heir == r {
                        heir
                    } else {
                        let p = (*node(heir)).parent;
                        self.replace_child(p, heir, heir_child);
                        if let Some(c) = heir_child {
                            (*node(c)).parent = p;
                        }
                        (*node(heir)).right = Some(r);
                        (*node(r)).parent = Some(heir);
                        // Below `r` there is a parent: `heir` is not `r`.
                        p.unwrap_or(heir)
                    };
                    self.replace_child(parent, e, Some(heir));
                    (*node(heir)).parent = parent;
                    (*node(heir)).left = Some(l);
                    (*node(l)).parent = Some(heir);
                    (*node(heir)).red = red;
                    (heir_child, Some(hole_parent), heir_red)
                }
            };
            if !lost_red && self.root.is_some() {
                self.rebalance_remove(hole, hole_parent);
            }
        }
    }

    /// Makes `new` the child of `parent` (or the root) that `old` was.
    ///
    /// # Safety
    /// `old` is (or, with its node cleared, was) a child of `parent`.
    #[inline(always)]
    unsafe fn replace_child(&mut self, parent: Link<T>, old: NonNull<T>, new: Link<T>) {
        match parent {
            None => self.root = new,
            // SAFETY: `p` is in the tree.
            Some(p) => unsafe {
                if (*node(p)).left == Some(old) {
                    (*node(p)).left = new;
                } else {
                    (*node(p)).right = new;
                }
            },
        }
    }

    /// Rotates `x` down: to the left if `left`, so that its right child takes its place; else mirrored.
    ///
    /// # Safety
    /// `x` is in this tree, and has the child that takes its place.
    unsafe fn rotate(&mut self, x: NonNull<T>, left: bool) {
        // SAFETY: links of the tree.
        unsafe {
            let Some(y) = (if left { (*node(x)).right } else { (*node(x)).left }) else { return };
            let inner = if left { (*node(y)).left } else { (*node(y)).right };
            let parent = (*node(x)).parent;
            if left {
                (*node(x)).right = inner;
                (*node(y)).left = Some(x);
            } else {
                (*node(x)).left = inner;
                (*node(y)).right = Some(x);
            }
            if let Some(i) = inner {
                (*node(i)).parent = Some(x);
            }
            (*node(y)).parent = parent;
            self.replace_child(parent, x, Some(y));
            (*node(x)).parent = Some(y);
        }
    }

    /// Restores the colours after the red `e` was put under a red parent.
    ///
    /// # Safety
    /// `e` is in this tree.
    #[cold]
    unsafe fn rebalance_insert(&mut self, mut e: NonNull<T>) {
        // SAFETY: links of the tree.
        unsafe {
            while let Some(mut p) = (*node(e)).parent
                && (*node(p)).red
                // A red node is not the root: it has a parent.
                && let Some(g) = (*node(p)).parent
            {
                let p_is_left = (*node(g)).left == Some(p);
                let uncle = if p_is_left { (*node(g)).right } else { (*node(g)).left };
                if let Some(u) = uncle
                    && (*node(u)).red
                {
                    (*node(p)).red = false;
                    (*node(u)).red = false;
                    (*node(g)).red = true;
                    e = g;
                    continue;
                }
                let e_is_left = (*node(p)).left == Some(e);
                if e_is_left != p_is_left {
                    self.rotate(p, p_is_left);
                    core::mem::swap(&mut e, &mut p);
                }
                (*node(p)).red = false;
                (*node(g)).red = true;
                self.rotate(g, !p_is_left);
                break;
            }
            if let Some(root) = self.root {
                (*node(root)).red = false;
            }
        }
    }

    /// Restores the colours where the paths through `hole` (a child of `parent`, or the root) miss a black node.
    ///
    /// # Safety
    /// `hole` and `parent` are in this tree.
    #[cold]
    unsafe fn rebalance_remove(&mut self, mut hole: Link<T>, mut parent: Link<T>) {
        // SAFETY: links of the tree.
        unsafe {
            while !is_red(hole)
                && let Some(p) = parent
            {
                let is_left = (*node(p)).left == hole;
                // A path that missed a black node has a sibling path with one: the sibling exists.
                let Some(mut s) = (if is_left { (*node(p)).right } else { (*node(p)).left }) else { return };
                if (*node(s)).red {
                    (*node(s)).red = false;
                    (*node(p)).red = true;
                    self.rotate(p, is_left);
                    let Some(new) = (if is_left { (*node(p)).right } else { (*node(p)).left }) else { return };
                    s = new;
                }
                let (near, far) = if is_left { ((*node(s)).left, (*node(s)).right) } else { ((*node(s)).right, (*node(s)).left) };
                if !is_red(near) && !is_red(far) {
                    (*node(s)).red = true;
                    hole = Some(p);
                    parent = (*node(p)).parent;
                    continue;
                }
                if let Some(n) = near
                    && !is_red(far)
                {
                    (*node(n)).red = false;
                    (*node(s)).red = true;
                    self.rotate(s, !is_left);
                    s = n;
                }
                (*node(s)).red = (*node(p)).red;
                (*node(p)).red = false;
                let far = if is_left { (*node(s)).right } else { (*node(s)).left };
                if let Some(f) = far {
                    (*node(f)).red = false;
                }
                self.rotate(p, is_left);
                return;
            }
            if let Some(h) = hole {
                (*node(h)).red = false;
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test may abort when memory runs out")]
mod tests {
    use super::*;
    use crate::class::{Entity, Params};
    use proptest::prelude::*;
    use std::boxed::Box;
    use std::vec::Vec;

    /// Entities in boxes, which go when the test ends.
    struct Pool(Vec<NonNull<Entity>>);

    impl Pool {
        fn new(keys: &[u64]) -> Pool {
            let make = |key: &u64| {
                let mut e = Box::new(Entity::new(Params::DEFAULT));
                e.vruntime = *key;
                NonNull::from(Box::leak(e))
            };
            Pool(keys.iter().map(make).collect())
        }
    }

    impl Drop for Pool {
        fn drop(&mut self) {
            for e in self.0.drain(..) {
                // SAFETY: leaked in `new`, and the tree that held it is not used any more.
                drop(unsafe { Box::from_raw(e.as_ptr()) });
            }
        }
    }

    /// Checks the subtree's links and colours; its black height and its entities in order.
    fn check(at: Link<Entity>, parent: Link<Entity>, order: &mut Vec<NonNull<Entity>>) -> usize {
        let Some(e) = at else { return 1 };
        // SAFETY: entities of a pool that lives.
        let n = unsafe { &*node(e) };
        assert_eq!(n.parent, parent);
        // SAFETY: as above.
        let red_child = unsafe { is_red(n.left) || is_red(n.right) };
        assert!(!(n.red && red_child), "red below red");
        let left = check(n.left, at, order);
        order.push(e);
        let right = check(n.right, at, order);
        assert_eq!(left, right, "black heights differ");
        left + usize::from(!n.red)
    }

    fn check_tree(tree: &Tree<Entity>, expected: &[NonNull<Entity>]) {
        let mut order = Vec::new();
        check(tree.root, None, &mut order);
        assert_eq!(order, expected);
        assert_eq!(tree.first(), expected.first().copied());
        for (i, e) in expected.iter().enumerate() {
            // SAFETY: it is in the tree.
            assert_eq!(unsafe { Tree::next(*e) }, expected.get(i + 1).copied());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a sorted vector, with equal keys and keys on both sides of the wrap.
        #[test]
        fn keeps_the_order(
            keys in prop::collection::vec((0u64..40).prop_map(|k| k.wrapping_sub(20)), 1..64),
            ops in prop::collection::vec(0usize..64, 1..300),
        ) {
            let pool = Pool::new(&keys);
            let mut tree = Tree::new();
            let mut model: Vec<NonNull<Entity>> = Vec::new();
            for i in ops {
                let e = pool.0[i % pool.0.len()];
                // SAFETY: entities of a pool that lives; the model knows whether it is in the tree.
                unsafe {
                    if let Some(at) = model.iter().position(|x| *x == e) {
                        if at == 0 && i >= 8 {
                            assert_eq!(tree.pop_first(), Some(e));
                        } else {
                            tree.remove(e);
                        }
                        model.remove(at);
                    } else {
                        tree.insert(e);
                        let key = e.as_ref().vruntime;
                        let at = model.iter().position(|x| before(key, x.as_ref().vruntime)).unwrap_or(model.len());
                        model.insert(at, e);
                    }
                }
                check_tree(&tree, &model);
            }
        }
    }
}
