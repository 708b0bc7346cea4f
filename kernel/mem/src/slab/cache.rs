//! [`KmemCache`]: a cache of objects of one size.

use super::layout::SlabLayout;
use super::{check, info};
use crate::addr::{PAGE_SIZE, VirtAddr, align_down};
use crate::error::AllocError;
use crate::fault;
use crate::kbox::KBox;
use crate::page::links::PageList;
use crate::page::{Page, PageFlags, page_of_virt};
use crate::page_alloc::{self, Gfp, Item};
use crate::percpu::Local;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};
use vigil_executor::context::in_interrupt;
use vigil_executor::cpu::MAX_CPUS;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// Slabs without an object in use that a cache keeps (Linux: MIN_PARTIAL).
const MIN_PARTIAL: usize = 5;

/// Objects and slabs that are looked at in one go, with interrupts masked.
const TURN: usize = 8;

/// One CPU's free objects. Changed by its CPU under masked interrupts.
struct CpuList {
    head: AtomicPtr<u8>,
    count: AtomicUsize,
}

/// Slabs that have a free object of their own, under the cache's lock.
struct Partial {
    list: PageList,
    ready: bool,
    /// Slabs on the list.
    count: usize,
    /// Objects free in them.
    free: usize,
}

/// A cache of objects of one size (Linux: struct kmem_cache). Usually a static; it lives for ever.
pub struct KmemCache {
    pub(super) name: &'static str,
    pub(super) layout: SlabLayout,
    ctor: Option<fn(NonNull<u8>)>,
    reclaimable: bool,
    cpu: Local<CpuList>,
    partial: SpinLock<Partial>,
    slabs: AtomicUsize,
    pub(super) listed: AtomicBool,
    pub(super) next: AtomicPtr<KmemCache>,
}

impl KmemCache {
    /// A cache of objects of `size` bytes aligned to `align`, for a static.
    ///
    /// # Panics
    /// At compile time, when such objects do not fit a slab (32 KiB) or `align` is not a power of two up to a page.
    pub const fn new(name: &'static str, size: usize, align: usize) -> KmemCache {
        let Some(layout) = SlabLayout::new(size, align, false) else { panic!("no slab for objects of this size") };
        Self::with_layout(name, layout, None)
    }

    /// As [`KmemCache::new`], for objects that a shrinker can free: their slabs count as reclaimable.
    pub const fn new_reclaimable(name: &'static str, size: usize, align: usize) -> KmemCache {
        let mut cache = Self::new(name, size, align);
        cache.reclaimable = true;
        cache
    }

    /// As [`KmemCache::new`], with a constructor that runs once for each object when its slab is made. An object is freed
    /// in the state in which the constructor left it.
    pub const fn with_ctor(name: &'static str, size: usize, align: usize, ctor: fn(NonNull<u8>)) -> KmemCache {
        let Some(layout) = SlabLayout::new(size, align, true) else { panic!("no slab for objects of this size") };
        Self::with_layout(name, layout, Some(ctor))
    }

    const fn with_layout(name: &'static str, layout: SlabLayout, ctor: Option<fn(NonNull<u8>)>) -> KmemCache {
        KmemCache {
            name,
            layout,
            ctor,
            reclaimable: false,
            cpu: Local::new([const { CpuList { head: AtomicPtr::new(null_mut()), count: AtomicUsize::new(0) } }; MAX_CPUS]),
            partial: SpinLock::new(lock_class!("slab"), Partial { list: PageList::new(), ready: false, count: 0, free: 0 }),
            slabs: AtomicUsize::new(0),
            listed: AtomicBool::new(false),
            next: AtomicPtr::new(null_mut()),
        }
    }

    /// A cache made at run time. It stays for ever.
    pub fn create(name: &'static str, size: usize, align: usize, ctor: Option<fn(NonNull<u8>)>) -> Result<&'static KmemCache, AllocError> {
        let layout = SlabLayout::new(size, align, ctor.is_some()).ok_or(AllocError)?;
        Ok(KBox::leak(KBox::try_new(Self::with_layout(name, layout, ctor))?))
    }

    /// Takes an object; `None` when there is no memory. Its bytes are whatever they are, unless a constructor made them or
    /// [`Gfp::ZERO`] is given (not both). Never waits; any context.
    #[inline(always)]
    pub fn alloc(&'static self, gfp: Gfp) -> Option<NonNull<u8>> {
        if !gfp.contains(Gfp::NOFAULT) && fault::should_fail() {
            return None;
        }
        let obj = match self.take() {
            Some(obj) => obj,
            None => self.refill(gfp)?,
        };
        // SAFETY: an object of this cache, ours now.
        unsafe { check::on_alloc(self.name, &self.layout, obj, self.ctor.is_some()) };
        if gfp.contains(Gfp::ZERO) {
            // SAFETY: the object's own bytes.
            unsafe { self.zero(obj) };
        }
        Some(obj)
    }

    #[inline(always)]
    fn take(&'static self) -> Option<NonNull<u8>> {
        self.cpu.with(|c| self.take_from(c))
    }

    /// Takes an object off this CPU's list.
    #[inline(always)]
    fn take_from(&self, c: &CpuList) -> Option<NonNull<u8>> {
        let obj = NonNull::new(c.head.load(Relaxed))?;
        // SAFETY: an object on the list is free and its free pointer valid.
        c.head.store(unsafe { self.next_of(obj).read() }, Relaxed);
        c.count.store(c.count.load(Relaxed).wrapping_sub(1), Relaxed);
        Some(obj)
    }

    /// This CPU's list was empty: takes an object from it after filling it from partial slabs, from a new slab, or from what the
    /// shrinkers, if the caller's place allows them, have left. A slab is made with interrupts as the caller has them: making it takes
    /// long. Meanwhile others may have used it up.
    #[cold]
    #[inline(never)]
    fn refill(&'static self, gfp: Gfp) -> Option<NonNull<u8>> {
        let take = || loop {
            let filled = self.cpu.with(|c| {
                if c.head.load(Relaxed).is_null() {
                    c.count.store(self.take_from_partial(c), Relaxed);
                }
                self.take_from(c)
            });
            if filled.is_some() {
                return filled;
            }
            self.grow(gfp)?;
        };
        if let Some(obj) = take() {
            return Some(obj);
        }
        let obj = page_alloc::shrink_here(gfp, take);
        if obj.is_none() {
            page_alloc::warn_failed(self.layout.order, gfp);
        }
        obj
    }

    /// Zeroes an object.
    ///
    /// # Safety
    /// `obj` is an object of this cache that the caller owns.
    unsafe fn zero(&self, obj: NonNull<u8>) {
        let size = self.layout.object_size;
        // SAFETY: the object's own bytes; pages only where object and size are whole pages.
        unsafe {
            if (size | obj.as_ptr() as usize).is_multiple_of(PAGE_SIZE) {
                crate::arch::zero_pages(obj.as_ptr(), size / PAGE_SIZE);
            } else {
                obj.as_ptr().write_bytes(0, size);
            }
        }
    }

    /// Gives an object back. Any context.
    ///
    /// # Safety
    /// `obj` came from this cache's [`alloc`](Self::alloc), is not used any more and is given back once.
    #[inline(always)]
    pub unsafe fn free(&'static self, obj: NonNull<u8>) {
        // SAFETY: by the caller's contract an object of this cache.
        unsafe { check::on_free(self.name, &self.layout, obj, self.ctor.is_some()) };
        let count = self.cpu.with(|c| {
            // SAFETY: the object is free now: its free pointer is ours.
            unsafe { self.next_of(obj).write(c.head.load(Relaxed)) };
            c.head.store(obj.as_ptr(), Relaxed);
            let count = c.count.load(Relaxed).wrapping_add(1);
            c.count.store(count, Relaxed);
            count
        });
        if count > 2 * self.layout.batch {
            self.spill(self.layout.batch);
        }
    }

    /// Where a free object's link lies.
    ///
    /// # Safety
    /// `obj` is an object of this cache.
    #[inline(always)]
    unsafe fn next_of(&self, obj: NonNull<u8>) -> *mut *mut u8 {
        // SAFETY: inside of the object; aligned, as objects and the offset are multiples of 8.
        unsafe { obj.as_ptr().add(self.layout.free_ptr).cast() }
    }

    /// The slab that `obj` lies in: slabs are aligned to their size.
    fn slab_of(&self, obj: NonNull<u8>) -> Option<&'static Page> {
        let base = align_down(obj.as_ptr() as usize, self.layout.slab_bytes());
        page_of_virt(VirtAddr::new(base))
    }

    /// Moves up to a batch of objects from partial slabs to the empty list `c`; returns how many.
    fn take_from_partial(&self, c: &CpuList) -> usize {
        let mut got = 0;
        let mut p = self.partial.lock_irq();
        while got < self.layout.batch {
            let Some(slab) = p.list.front() else { break };
            while got < self.layout.batch {
                let Some(obj) = NonNull::new(slab.private() as *mut u8) else { break };
                // SAFETY: a free object of the slab; its link leads to the next.
                unsafe {
                    slab.set_private(self.next_of(obj).read() as usize);
                    self.next_of(obj).write(c.head.load(Relaxed));
                }
                c.head.store(obj.as_ptr(), Relaxed);
                slab.set_index(slab.index() + 1);
                got += 1;
            }
            if slab.private() == 0 {
                // SAFETY: it is on this list, whose lock is held.
                unsafe { slab.links().unlink() };
                p.count -= 1;
            }
        }
        p.free -= got;
        got
    }

    /// Adds a slab.
    fn grow(&'static self, gfp: Gfp) -> Option<()> {
        // Not counted by the fault injector again: the object was.
        // Nor reported: `reclaim` does that when it is of no use either.
        let mut want = (gfp & !(Gfp::ZERO | Gfp::MOVABLE)) | Gfp::NOFAULT | Gfp::NOWARN;
        if in_interrupt() {
            want |= Gfp::ATOMIC;
        }
        if self.reclaimable {
            want |= Gfp::RECLAIMABLE;
        }
        let slab = page_alloc::alloc_pages(self.layout.order, want)?;
        slab.reset_flags(PageFlags::SLAB | PageFlags::HEAD);
        slab.set_mapping(core::ptr::from_ref(self) as usize);
        let base = slab.as_ptr();
        let mut next = null_mut();
        for i in (0..self.layout.objects).rev() {
            // SAFETY: object `i` of a slab that nobody else knows yet.
            unsafe {
                let obj = NonNull::new_unchecked(base.add(i * self.layout.stride));
                if let Some(ctor) = self.ctor {
                    ctor(obj);
                }
                check::init(&self.layout, obj, self.ctor.is_some());
                self.next_of(obj).write(next);
                next = obj.as_ptr();
            }
        }
        slab.set_private(next as usize);
        slab.set_index(0);
        if !self.listed.swap(true, Relaxed) {
            info::list(self);
        }
        self.slabs.fetch_add(1, Relaxed);
        self.account(1);
        let mut p = self.partial.lock_irq();
        if !p.ready {
            p.list.init();
            p.ready = true;
        }
        // SAFETY: a fresh page is on no list; the lock is held.
        unsafe { p.list.push_front(slab) };
        p.count += 1;
        p.free += self.layout.objects;
        Some(())
    }

    fn account(&self, slabs: isize) {
        let item = if self.reclaimable { Item::SlabReclaimable } else { Item::SlabUnreclaimable };
        page_alloc::add_item(item, slabs << self.layout.order);
    }

    /// Gives `n` objects of this CPU's list back to their slabs, [`TURN`] at a time.
    #[cold]
    #[inline(never)]
    fn spill(&self, n: usize) {
        let mut left = n;
        while left > 0 {
            let turn = left.min(TURN);
            // Slabs are freed with interrupts as the caller has them.
            let (given, empty) = self.cpu.with(|c| self.spill_some(c, turn));
            self.free_chain(empty);
            if given < turn {
                return;
            }
            left -= turn;
        }
    }

    /// Gives up to `n` objects of the list `c` back; how many, and a chain of slabs that nothing is in use of any more.
    fn spill_some(&self, c: &CpuList, n: usize) -> (usize, *const Page) {
        let mut empty: *const Page = core::ptr::null();
        let mut given = 0;
        let mut p = self.partial.lock_irq();
        while given < n {
            let Some(obj) = NonNull::new(c.head.load(Relaxed)) else { break };
            let Some(slab) = self.slab_of(obj) else { break };
            // SAFETY: a free object on this CPU's list goes to its slab's list.
            unsafe {
                c.head.store(self.next_of(obj).read(), Relaxed);
                self.next_of(obj).write(slab.private() as *mut u8);
            }
            if slab.private() == 0 {
                // SAFETY: a full slab is on no list; the lock is held.
                unsafe { p.list.push_front(slab) };
                p.count += 1;
            }
            slab.set_private(obj.as_ptr() as usize);
            slab.set_index(slab.index() - 1);
            given += 1;
            p.free += 1;
            if slab.index() == 0 && p.count > MIN_PARTIAL {
                self.detach(&mut p, slab);
                slab.set_private(empty as usize);
                empty = slab;
            }
        }
        c.count.store(c.count.load(Relaxed).saturating_sub(given), Relaxed);
        (given, empty)
    }

    /// Takes an unused slab off the partial list, under its lock.
    fn detach(&self, p: &mut Partial, slab: &'static Page) {
        // SAFETY: an unused slab has free objects, so it is on the list.
        unsafe { slab.links().unlink() };
        p.count -= 1;
        p.free -= self.layout.objects;
    }

    /// Frees slabs that are chained by their private words.
    fn free_chain(&self, mut slab: *const Page) {
        // SAFETY: null, or a descriptor, which lives for ever.
        while let Some(s) = unsafe { slab.as_ref() } {
            slab = s.private() as *const Page;
            s.set_private(0);
            s.set_index(0);
            s.clear(PageFlags::SLAB | PageFlags::HEAD);
            self.slabs.fetch_sub(1, Relaxed);
            self.account(-1);
            page_alloc::free_pages(s, self.layout.order);
        }
    }

    /// Gives all objects of this CPU's list back to their slabs.
    pub fn drain_local(&self) {
        self.spill(usize::MAX);
    }

    /// Gives a few of them back; false: there are none.
    pub fn drain_turn(&self) -> bool {
        let (given, empty) = self.cpu.with(|c| self.spill_some(c, TURN));
        self.free_chain(empty);
        given != 0
    }

    /// Frees the slabs without an object in use; returns how many. Objects on other CPUs' lists count as in use until
    /// those have drained, and what others change meanwhile may be missed.
    pub fn shrink(&self) -> usize {
        self.drain_local();
        let (mut n, mut left) = (0, self.partial.lock_irq().count);
        while left > 0 {
            let mut empty: *const Page = core::ptr::null();
            {
                let mut p = self.partial.lock_irq();
                for _ in 0..left.min(TURN) {
                    let Some(slab) = p.list.front() else { break };
                    if slab.index() == 0 {
                        self.detach(&mut p, slab);
                        // Its own list of free objects is not needed any more: the word becomes the chain.
                        slab.set_private(empty as usize);
                        empty = slab;
                        n += 1;
                    } else {
                        // SAFETY: it is on this list, whose lock is held, and goes to its other end.
                        unsafe {
                            slab.links().unlink();
                            p.list.push_back(slab);
                        }
                    }
                }
            }
            left -= left.min(TURN);
            self.free_chain(empty);
        }
        n
    }

    /// Slabs, and objects that are in use: neither on a CPU's list nor free in a slab.
    pub(super) fn usage(&self) -> (usize, usize) {
        let free = self.partial.lock_irq().free + self.cpu.iter().map(|c| c.count.load(Relaxed)).sum::<usize>();
        let slabs = self.slabs.load(Relaxed);
        (slabs, (slabs * self.layout.objects).saturating_sub(free))
    }
}
