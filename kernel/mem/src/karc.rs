//! [`KArc`] and [`KWeak`]: shared ownership by atomic counts, made fallibly.
//!
//! The last strong reference drops the value where it stands: a type whose drop must sleep hands itself to a reaper
//! instead (rule 9). Counts are 64 bits wide, so no number of references that fits in memory can wrap them.

use crate::error::AllocError;
use crate::heap;
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering, fence};

#[repr(C)]
struct Inner<T: ?Sized> {
    strong: AtomicUsize,
    /// Weak references, plus one that all strong ones hold together.
    weak: AtomicUsize,
    data: T,
}

/// A shared `T`. Clone and drop are one atomic operation each; any context may clone.
#[repr(transparent)]
pub struct KArc<T: ?Sized> {
    ptr: NonNull<Inner<T>>,
    own: PhantomData<Inner<T>>,
}

/// A reference that does not keep the value alive.
#[repr(transparent)]
pub struct KWeak<T: ?Sized> {
    /// Dangling (address `usize::MAX`) when made by [`KWeak::new`].
    ptr: NonNull<Inner<T>>,
}

// SAFETY: the value is shared between and may be dropped on any thread; the counts are atomic.
unsafe impl<T: ?Sized + Send + Sync> Send for KArc<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for KArc<T> {}
// SAFETY: a weak reference can become a strong one.
unsafe impl<T: ?Sized + Send + Sync> Send for KWeak<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for KWeak<T> {}

/// Bytes from the start of an `Inner` to a value of alignment `align`.
#[inline(always)]
const fn data_offset(align: usize) -> usize {
    (size_of::<Inner<()>>() + align - 1) & !(align - 1)
}

impl<T> KArc<T> {
    /// Moves `value` to the heap. `value` is dropped when there is no memory.
    #[inline]
    pub fn try_new(value: T) -> Result<KArc<T>, AllocError> {
        let p = heap::allocate(Layout::new::<Inner<T>>())?.cast::<Inner<T>>();
        // SAFETY: fresh memory of Inner's layout.
        unsafe { p.as_ptr().write(Inner { strong: AtomicUsize::new(1), weak: AtomicUsize::new(1), data: value }) };
        Ok(KArc { ptr: p, own: PhantomData })
    }

    /// As [`KArc::try_new`] for a large value that `make` builds in its place.
    #[inline(always)]
    pub fn try_new_with(make: impl FnOnce() -> T) -> Result<KArc<T>, AllocError> {
        let p = heap::allocate(Layout::new::<Inner<T>>())?.cast::<Inner<T>>();
        // SAFETY: fresh memory of Inner's layout, which nobody else reaches. A panic in `make` leaks it, which is safe.
        unsafe {
            (&raw mut (*p.as_ptr()).strong).write(AtomicUsize::new(1));
            (&raw mut (*p.as_ptr()).weak).write(AtomicUsize::new(1));
            (&raw mut (*p.as_ptr()).data).write(make());
        }
        Ok(KArc { ptr: p, own: PhantomData })
    }

    /// As [`KArc::try_new`] for a large value that `init` writes into its place field by field: built as a whole it would be
    /// copied there.
    ///
    /// # Safety
    /// `init` initialises the `T` that it gets the address of.
    #[inline(always)]
    pub unsafe fn try_new_in_place(init: impl FnOnce(*mut T)) -> Result<KArc<T>, AllocError> {
        let p = heap::allocate(Layout::new::<Inner<T>>())?.cast::<Inner<T>>();
        // SAFETY: fresh memory of Inner's layout, which nobody else reaches. A panic in `init` leaks it, which is safe.
        unsafe {
            (&raw mut (*p.as_ptr()).strong).write(AtomicUsize::new(1));
            (&raw mut (*p.as_ptr()).weak).write(AtomicUsize::new(1));
        }
        // SAFETY: the field of the memory above.
        init(unsafe { &raw mut (*p.as_ptr()).data });
        Ok(KArc { ptr: p, own: PhantomData })
    }

    /// As [`KArc::try_new`], pinned.
    pub fn try_pin(value: T) -> Result<Pin<KArc<T>>, AllocError> {
        let arc = Self::try_new(value)?;
        // SAFETY: the value never moves before it is dropped: `KArc` gives no `&mut` to a pinned one and `try_unwrap`
        // needs the unpinned `KArc`.
        Ok(unsafe { Pin::new_unchecked(arc) })
    }

    /// Makes a value that holds a weak reference to itself. Until `make` returns, the weak one does not upgrade.
    pub fn try_new_cyclic(make: impl FnOnce(&KWeak<T>) -> T) -> Result<KArc<T>, AllocError> {
        let p = heap::allocate(Layout::new::<Inner<T>>())?.cast::<Inner<T>>();
        // SAFETY: fresh memory of Inner's layout; `data` is written before `strong` becomes 1, and nobody reads it while
        // `strong` is 0. A panic in `make` leaks the memory, which is safe.
        unsafe {
            (&raw mut (*p.as_ptr()).strong).write(AtomicUsize::new(0));
            (&raw mut (*p.as_ptr()).weak).write(AtomicUsize::new(1));
            let weak = ManuallyDrop::new(KWeak { ptr: p });
            (&raw mut (*p.as_ptr()).data).write(make(&weak));
            (*p.as_ptr()).strong.store(1, Ordering::Release);
        }
        Ok(KArc { ptr: p, own: PhantomData })
    }

    /// The value, when this was the only strong reference; otherwise the reference back.
    pub fn try_unwrap(this: KArc<T>) -> Result<T, KArc<T>> {
        if this.inner().strong.compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(this);
        }
        let this = ManuallyDrop::new(this);
        // SAFETY: the last strong reference is gone: the value is ours to move out; the memory belongs to the weak ones.
        let value = unsafe { ptr::read(&this.ptr.as_ref().data) };
        drop(KWeak { ptr: this.ptr });
        Ok(value)
    }
}

impl<T: ?Sized> KArc<T> {
    #[inline(always)]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: a strong reference keeps the value alive.
        unsafe { self.ptr.as_ref() }
    }

    /// Whether both refer to the same value.
    #[inline]
    pub fn ptr_eq(a: &KArc<T>, b: &KArc<T>) -> bool {
        ptr::addr_eq(a.ptr.as_ptr(), b.ptr.as_ptr())
    }

    /// The value's address; the reference keeps its count.
    #[inline]
    pub fn as_ptr(this: &KArc<T>) -> *const T {
        // SAFETY: in bounds of a live allocation.
        unsafe { &raw const (*this.ptr.as_ptr()).data }
    }

    /// Gives up the reference, not the count; [`KArc::from_raw`] takes it back.
    #[inline]
    pub fn into_raw(this: KArc<T>) -> *const T {
        Self::as_ptr(&ManuallyDrop::new(this))
    }

    /// The reference that [`KArc::into_raw`] gave up.
    ///
    /// # Safety
    /// `p` came from `into_raw` (possibly coerced to an unsized type), and each is taken back once only.
    #[inline]
    pub unsafe fn from_raw(p: *const T) -> KArc<T> {
        // SAFETY: a count is held, so the value is alive, and it stands behind the counts at its alignment's distance.
        let ptr = unsafe { p.byte_sub(data_offset(align_of_val(&*p))) as *mut Inner<T> };
        // SAFETY: derived from a pointer into a live allocation.
        KArc { ptr: unsafe { NonNull::new_unchecked(ptr) }, own: PhantomData }
    }

    /// Adds a count through a raw pointer, for another [`KArc::from_raw`].
    ///
    /// # Safety
    /// `p` came from `into_raw` and its count is still held.
    pub unsafe fn increment_strong_count(p: *const T) {
        // SAFETY: by the caller's contract; the count is not given back here.
        let this = ManuallyDrop::new(unsafe { KArc::from_raw(p) });
        core::mem::forget(KArc::clone(&this));
    }

    /// A reference that does not keep the value alive.
    #[inline]
    pub fn downgrade(this: &KArc<T>) -> KWeak<T> {
        let weak = &this.inner().weak;
        let mut n = weak.load(Ordering::Relaxed);
        loop {
            if n == usize::MAX {
                // `get_mut` of another reference looks at the counts at this moment.
                core::hint::spin_loop();
                n = weak.load(Ordering::Relaxed);
                continue;
            }
            // Acquire pairs with the Release by which `get_mut` unlocks.
            match weak.compare_exchange_weak(n, n + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return KWeak { ptr: this.ptr },
                Err(seen) => n = seen,
            }
        }
    }

    /// How many strong references there are at this moment; a statistic.
    pub fn strong_count(this: &KArc<T>) -> usize {
        this.inner().strong.load(Ordering::Relaxed)
    }

    /// The value for change, when this is the only reference of both kinds.
    pub fn get_mut(this: &mut KArc<T>) -> Option<&mut T> {
        // Locks the weak count (as one that nobody can upgrade through) so that no weak reference appears meanwhile.
        if this.inner().weak.compare_exchange(1, usize::MAX, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return None;
        }
        let unique = this.inner().strong.load(Ordering::Acquire) == 1;
        this.inner().weak.store(1, Ordering::Release);
        // SAFETY: one strong and no weak reference, and we hold it by `&mut`.
        if unique { Some(unsafe { &mut this.ptr.as_mut().data }) } else { None }
    }

    #[cold]
    #[inline(never)]
    fn drop_slow(&mut self) {
        // SAFETY: the strong count reached 0: nobody else reads the value, and nobody will; it is dropped once.
        unsafe { ptr::drop_in_place(&mut self.ptr.as_mut().data) };
        drop(KWeak { ptr: self.ptr });
    }
}

impl<T: ?Sized> Clone for KArc<T> {
    #[inline]
    fn clone(&self) -> Self {
        self.inner().strong.fetch_add(1, Ordering::Relaxed);
        KArc { ptr: self.ptr, own: PhantomData }
    }
}

impl<T: ?Sized> Drop for KArc<T> {
    #[inline]
    fn drop(&mut self) {
        if self.inner().strong.fetch_sub(1, Ordering::Release) == 1 {
            // Pairs with the Release of every other drop: their uses of the value happen before its end.
            fence(Ordering::Acquire);
            self.drop_slow();
        }
    }
}

impl<T> KWeak<T> {
    /// A reference to nothing. Does not allocate.
    pub const fn new() -> KWeak<T> {
        // SAFETY: usize::MAX is not null. It is never dereferenced: `is_dangling` tells it apart, since no allocation
        // can start at the last address.
        KWeak { ptr: unsafe { NonNull::new_unchecked(ptr::without_provenance_mut(usize::MAX)) } }
    }
}

impl<T> Default for KWeak<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ?Sized> KWeak<T> {
    #[inline]
    fn is_dangling(&self) -> bool {
        self.ptr.as_ptr().cast::<()>().addr() == usize::MAX
    }

    /// The counts. They outlive the value.
    fn counts(&self) -> Option<&Inner<()>> {
        // SAFETY: a weak reference keeps the memory; `Inner` is repr(C), so the counts are where `Inner<()>` has them.
        if self.is_dangling() { None } else { Some(unsafe { self.ptr.cast::<Inner<()>>().as_ref() }) }
    }

    /// A strong reference, if the value is still alive.
    pub fn upgrade(&self) -> Option<KArc<T>> {
        let strong = &self.counts()?.strong;
        let mut n = strong.load(Ordering::Relaxed);
        loop {
            if n == 0 {
                return None;
            }
            // Acquire pairs with `try_new_cyclic`'s Release of the first count.
            match strong.compare_exchange_weak(n, n + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(KArc { ptr: self.ptr, own: PhantomData }),
                Err(seen) => n = seen,
            }
        }
    }

    /// Whether both refer to the same value (or both to nothing).
    pub fn ptr_eq(&self, other: &KWeak<T>) -> bool {
        ptr::addr_eq(self.ptr.as_ptr(), other.ptr.as_ptr())
    }

    /// Whether it refers to the value of `arc`.
    pub fn is(&self, arc: &KArc<T>) -> bool {
        ptr::addr_eq(self.ptr.as_ptr(), arc.ptr.as_ptr())
    }
}

impl<T: ?Sized> Clone for KWeak<T> {
    fn clone(&self) -> Self {
        if let Some(inner) = self.counts() {
            inner.weak.fetch_add(1, Ordering::Relaxed);
        }
        KWeak { ptr: self.ptr }
    }
}

impl<T: ?Sized> Drop for KWeak<T> {
    fn drop(&mut self) {
        let Some(counts) = self.counts() else { return };
        if counts.weak.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: the value is dropped, but its memory and (for a dyn type) its metadata are still there: size and
            // alignment can be asked of a place that is no longer initialised only through the pointer's metadata,
            // which is all that `Layout::for_value` looks at for sized, slice and dyn types.
            let layout = unsafe { Layout::for_value(self.ptr.as_ref()) };
            // SAFETY: the last reference of both kinds is gone; allocated with this layout.
            unsafe { heap::deallocate(self.ptr.cast(), layout) };
        }
    }
}

impl<T: ?Sized> Deref for KArc<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner().data
    }
}

impl<T: ?Sized> AsRef<T> for KArc<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for KArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized> fmt::Debug for KWeak<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(KWeak)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize as Count;

    struct Noisy<'a>(&'a Count);
    impl Drop for Noisy<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn drops_once_and_weak_sees_it() {
        let drops = Count::new(0);
        let a = KArc::try_new(Noisy(&drops)).unwrap();
        let b = a.clone();
        let w = KArc::downgrade(&a);
        assert!(KArc::ptr_eq(&a, &b) && w.is(&a));
        drop(a);
        assert!(w.upgrade().is_some());
        drop(b);
        assert!(w.upgrade().is_none());
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        assert!(KWeak::<u8>::new().clone().upgrade().is_none());
    }

    #[test]
    fn dyn_raw_cyclic_and_unique() {
        #[repr(align(64))]
        struct Wide(u8);
        trait Get {
            fn get(&self) -> u8;
        }
        impl Get for Wide {
            fn get(&self) -> u8 {
                self.0
            }
        }
        let a = KArc::try_new(Wide(7)).unwrap();
        let d: KArc<dyn Get> = crate::unsize!(KArc, a.clone() => dyn Get);
        assert_eq!(d.get(), 7);
        let w = KArc::downgrade(&d);
        drop(d);
        assert_eq!(w.upgrade().unwrap().get(), 7);
        let mut a = a;
        assert!(KArc::get_mut(&mut a).is_none());
        drop(w);
        KArc::get_mut(&mut a).unwrap().0 = 9;
        assert_eq!(KArc::try_unwrap(a).ok().unwrap().0, 9);
        struct Node(KWeak<Node>);
        let n = KArc::try_new_cyclic(|w| {
            assert!(w.upgrade().is_none());
            Node(w.clone())
        })
        .unwrap();
        assert!(KArc::ptr_eq(&n.0.upgrade().unwrap(), &n));
    }

    #[test]
    fn counts_survive_many_threads() {
        let drops = Count::new(0);
        let a = KArc::try_new(Noisy(&drops)).unwrap();
        std::thread::scope(|s| {
            for _ in 0..4 {
                let a = a.clone();
                s.spawn(move || {
                    for _ in 0..10_000 {
                        let w = KArc::downgrade(&a);
                        drop(a.clone());
                        assert!(w.upgrade().is_some());
                    }
                });
            }
        });
        assert_eq!(KArc::strong_count(&a), 1);
        drop(a);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    }
}
