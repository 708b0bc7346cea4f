//! [`KVec`]: a growing array on the kernel heap whose growth can fail.

use crate::error::AllocError;
use crate::heap;
use alloc::vec::{self, Vec};
use core::fmt;
use core::ops::{Deref, DerefMut, RangeBounds};

/// A growing array. Like `Vec`, but everything that may allocate is a `try_` function.
#[repr(transparent)]
pub struct KVec<T>(Vec<T>);

impl<T> KVec<T> {
    /// An empty one. Does not allocate.
    pub const fn new() -> KVec<T> {
        KVec(Vec::new())
    }

    /// An empty one with room for `n`.
    pub fn try_with_capacity(n: usize) -> Result<KVec<T>, AllocError> {
        let mut v = KVec::new();
        v.try_reserve_exact(n)?;
        Ok(v)
    }

    /// Room for `more` values beyond those that are there; grows by doubling.
    #[inline]
    pub fn try_reserve(&mut self, more: usize) -> Result<(), AllocError> {
        if self.0.capacity() - self.0.len() >= more {
            return Ok(());
        }
        if heap::injected_on_host() {
            return Err(AllocError);
        }
        self.0.try_reserve(more).map_err(|_| AllocError)
    }

    /// Room for exactly `more` values beyond those that are there.
    pub fn try_reserve_exact(&mut self, more: usize) -> Result<(), AllocError> {
        if self.0.capacity() - self.0.len() >= more {
            return Ok(());
        }
        if heap::injected_on_host() {
            return Err(AllocError);
        }
        self.0.try_reserve_exact(more).map_err(|_| AllocError)
    }

    /// Appends `value`; drops it when there is no memory.
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<(), AllocError> {
        self.try_reserve(1)?;
        self.push_within_capacity(value);
        Ok(())
    }

    /// Appends after a reservation; gives the value back when there is no room.
    #[inline]
    pub fn push_reserved(&mut self, value: T) -> Result<(), T> {
        if self.0.len() == self.0.capacity() {
            return Err(value);
        }
        self.push_within_capacity(value);
        Ok(())
    }

    #[inline]
    fn push_within_capacity(&mut self, value: T) {
        let len = self.0.len();
        debug_assert!(len < self.0.capacity());
        // SAFETY: the callers have made sure of room for one more.
        unsafe {
            self.0.as_mut_ptr().add(len).write(value);
            self.0.set_len(len + 1);
        }
    }

    /// Puts `value` at `index`, moving the rest up. An index beyond the end counts as the end.
    pub fn try_insert(&mut self, index: usize, value: T) -> Result<(), AllocError> {
        self.try_reserve(1)?;
        let len = self.0.len();
        let index = index.min(len);
        // SAFETY: room for one more was reserved; the tail is moved within the capacity and the gap filled.
        unsafe {
            let p = self.0.as_mut_ptr().add(index);
            core::ptr::copy(p, p.add(1), len - index);
            p.write(value);
            self.0.set_len(len + 1);
        }
        Ok(())
    }

    /// Takes the value at `index` out, moving the rest down; `None` beyond the end.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        if index < self.0.len() { Some(self.0.remove(index)) } else { None }
    }

    /// Takes the value at `index` out, moving the last into its place; `None` beyond the end.
    pub fn swap_remove(&mut self, index: usize) -> Option<T> {
        if index < self.0.len() { Some(self.0.swap_remove(index)) } else { None }
    }

    /// Takes the last value out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Drops all values behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Drops all values, keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Drops the values that `keep` refuses.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    /// Takes the values of `range` out, as an iterator. The range is clipped to what is there.
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> vec::Drain<'_, T> {
        use core::ops::Bound::{Excluded, Included, Unbounded};
        let len = self.0.len();
        let end = match range.end_bound() {
            Included(&e) => e.saturating_add(1),
            Excluded(&e) => e,
            Unbounded => len,
        };
        let end = end.min(len);
        let start = match range.start_bound() {
            Included(&s) => s,
            Excluded(&s) => s.saturating_add(1),
            Unbounded => 0,
        };
        self.0.drain(start.min(end)..end)
    }

    /// Moves all values of `other` to the end, in one go; none if there is no memory.
    pub fn try_append(&mut self, other: &mut KVec<T>) -> Result<(), AllocError> {
        self.try_reserve(other.len())?;
        self.0.append(&mut other.0);
        Ok(())
    }

    /// Appends what `iter` yields; what came before a failure stays.
    pub fn try_extend(&mut self, iter: impl IntoIterator<Item = T>) -> Result<(), AllocError> {
        let iter = iter.into_iter();
        self.try_reserve(iter.size_hint().0)?;
        for value in iter {
            self.try_push(value)?;
        }
        Ok(())
    }

    /// Collects `iter`.
    pub fn try_from_iter(iter: impl IntoIterator<Item = T>) -> Result<KVec<T>, AllocError> {
        let mut v = KVec::new();
        v.try_extend(iter)?;
        Ok(v)
    }

    /// Makes it `len` long, by what `value` gives or by dropping.
    pub fn try_resize_with(&mut self, len: usize, mut value: impl FnMut() -> T) -> Result<(), AllocError> {
        if len <= self.len() {
            self.truncate(len);
            return Ok(());
        }
        self.try_reserve(len - self.len())?;
        while self.len() < len {
            self.push_within_capacity(value());
        }
        Ok(())
    }

    /// How many values fit without allocating.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<T: Clone> KVec<T> {
    /// Appends clones of `values`.
    pub fn try_extend_from_slice(&mut self, values: &[T]) -> Result<(), AllocError> {
        self.try_reserve(values.len())?;
        let len = self.0.len();
        // The length is set once, so that bytes are copied in one go. If a clone panics, those before it are leaked.
        for (place, value) in self.0.spare_capacity_mut().iter_mut().zip(values) {
            place.write(value.clone());
        }
        // SAFETY: there was room for all of `values`, so the loop has written as many places behind the end.
        unsafe { self.0.set_len(len + values.len()) };
        Ok(())
    }

    /// Makes it `len` long, by clones of `value` or by dropping.
    pub fn try_resize(&mut self, len: usize, value: T) -> Result<(), AllocError> {
        self.try_resize_with(len, || value.clone())
    }

    /// A copy of `values`.
    pub fn try_from_slice(values: &[T]) -> Result<KVec<T>, AllocError> {
        let mut v = KVec::try_with_capacity(values.len())?;
        v.try_extend_from_slice(values)?;
        Ok(v)
    }

    /// A copy of it.
    pub fn try_clone(&self) -> Result<KVec<T>, AllocError> {
        KVec::try_from_slice(self)
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];
    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T> AsRef<[T]> for KVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;
    fn into_iter(self) -> vec::IntoIter<T> {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a KVec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> core::slice::Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut KVec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;
    fn into_iter(self) -> core::slice::IterMut<'a, T> {
        self.iter_mut()
    }
}

impl<T: PartialEq> PartialEq for KVec<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Eq> Eq for KVec<T> {}

impl<T: fmt::Debug> fmt::Debug for KVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault;
    use proptest::prelude::*;
    use std::rc::Rc;
    use std::vec::Vec as StdVec;

    #[test]
    fn a_failed_growth_changes_nothing_and_drops_what_came() {
        let token = Rc::new(());
        let mut v = KVec::try_with_capacity(1).unwrap();
        v.try_push(token.clone()).unwrap();
        assert!(fault::set(1));
        assert_eq!(v.try_push(token.clone()), Err(AllocError));
        assert!(v.try_push(token.clone()).is_ok(), "the next one succeeds");
        assert!(fault::set(1));
        assert_eq!(v.try_insert(0, token.clone()).is_err(), v.capacity() == 2);
        assert!(fault::set(0));
        assert_eq!(Rc::strong_count(&token), 1 + v.len());
        assert!(KVec::<[u8; 1 << 40]>::try_with_capacity(usize::MAX >> 30).is_err(), "too large is an error");
        drop(v);
        assert_eq!(Rc::strong_count(&token), 1);
    }

    #[test]
    fn beyond_the_end_is_an_answer() {
        let mut v = KVec::try_from_slice(&[1, 2, 3]).unwrap();
        assert_eq!((v.remove(3), v.swap_remove(9), v.remove(0)), (None, None, Some(1)));
        v.try_insert(99, 7).unwrap();
        assert_eq!(v.drain(1..100).collect::<StdVec<_>>(), [3, 7]);
        assert_eq!(v.drain(5..).count(), 0);
        assert_eq!(&*v, &[2]);
        v.try_resize(3, 0).unwrap();
        assert_eq!(v.try_clone().unwrap(), v);
    }

    proptest! {
        #[test]
        fn behaves_as_vec(ops in prop::collection::vec((0..6u8, any::<u8>(), 0..40usize), 0..200)) {
            let (mut k, mut s) = (KVec::new(), StdVec::new());
            for (op, x, i) in ops {
                match op {
                    0 | 1 => { k.try_push(x).unwrap(); s.push(x); }
                    2 => { k.try_insert(i, x).unwrap(); s.insert(i.min(s.len()), x); }
                    3 => prop_assert_eq!(k.remove(i), (i < s.len()).then(|| s.remove(i))),
                    4 => { k.retain(|y| *y != x); s.retain(|y| *y != x); }
                    _ => { k.try_extend_from_slice(&[x; 3]).unwrap(); s.extend([x; 3]); }
                }
                prop_assert_eq!(&*k, &*s);
            }
        }
    }
}
