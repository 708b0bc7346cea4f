//! Dentries: names in the tree, and the cache that finds them (Linux: fs/dcache.c).
//!
//! A dentry is a name in a directory and the inode that it stands for, or none (a negative one: "looked for, not
//! there"). What a dentry stands for never changes: making a file replaces the negative dentry, removing it unhashes
//! the positive one, so that the inode is read without a lock. Its name and parent do change, by rename.
//!
//! The cache is a hash table of (parent, name) chains. It holds a reference to what is in it; a dentry that nobody else
//! holds may be dropped at any time, because every file system keeps its own directories. What bounds the cache is memory:
//! all that is in it is also on one list ([`lru`]), which reclaim goes through from the oldest entry on.
//!
//! Locks: a chain's spin lock guards the chain. `name` and `parent` of a dentry change only under the rename lock, the
//! locks of both chains *and* the dentry's own lock; holding any one of these is enough to read them.

mod lru;

pub use lru::SHRINKER;

use super::inode::Inode;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinGuard, SpinLock};
use vigil_mem::{KArc, KVec};

/// Names up to this length live in the dentry.
const INLINE: usize = 39;
const HASHED: u32 = 1;
const USED: u32 = 2;
/// It is never in the cache, and not removed for all that.
const PASSING: u32 = 4;
/// Counts mounts on the dentry, from this bit on.
const MOUNT_UNIT: u32 = 1 << 8;

/// A name of 0–255 bytes.
enum Name {
    Inline(u8, [u8; INLINE]),
    Heap(KVec<u8>),
}

impl Name {
    fn try_new(name: &[u8]) -> Result<Name, Errno> {
        if name.len() <= INLINE {
            let mut bytes = [0; INLINE];
            bytes[..name.len()].copy_from_slice(name);
            return Ok(Name::Inline(name.len() as u8, bytes));
        }
        Ok(Name::Heap(KVec::try_from_slice(name)?))
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Name::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Name::Heap(bytes) => bytes,
        }
    }
}

struct Place {
    /// `None` for a root.
    parent: Option<KArc<Dentry>>,
    name: Name,
}

/// A name in the tree.
pub struct Dentry {
    place: UnsafeCell<Place>,
    inode: Option<KArc<Inode>>,
    /// Hash of the name alone.
    hash: AtomicU32,
    flags: AtomicU32,
    lock: SpinLock<()>,
    /// The rest of the chain; guarded by the chain's lock.
    next: UnsafeCell<Option<KArc<Dentry>>>,
    /// Its place on the list of all that is cached.
    lru: lru::Links,
}

// SAFETY: the cells are guarded as the module says; everything else is immutable or atomic.
unsafe impl Send for Dentry {}
// SAFETY: as above.
unsafe impl Sync for Dentry {}

static DENTRY_CLASS: LockClass = LockClass::new("d_lock");
static CHAIN_CLASS: LockClass = LockClass::new("d_hash");
static CHAIN_CLASS_2: LockClass = LockClass::new("d_hash/2");
static RENAME_CLASS: LockClass = LockClass::new("rename_lock");

type Chain = SpinLock<Option<KArc<Dentry>>>;

/// Chains before [`init`] gives more; a static so that tests and early boot need no set-up.
static FIRST: [Chain; 64] = [const { SpinLock::new(&CHAIN_CLASS, None) }; 64];
static TABLE: core::sync::atomic::AtomicPtr<KVec<Chain>> = core::sync::atomic::AtomicPtr::new(core::ptr::null_mut());
/// Serialises renames, and whoever must see a whole path stand still and has seen it move (Linux: rename_lock).
static RENAME: SpinLock<()> = SpinLock::new(&RENAME_CLASS, ());
/// How many renames have begun and ended: odd while one is under way. Changed under the lock.
static RENAMES: AtomicU64 = AtomicU64::new(0);
static NR_CACHED: AtomicU32 = AtomicU32::new(0);

/// Sizes the cache for a machine of `ram_pages` pages: a chain for each 4 pages, 1 024 to 262 144. Called once, before
/// anything is cached. Without memory the small table stays.
pub fn init(ram_pages: u64) {
    let wanted = (ram_pages / 4).clamp(1 << 10, 1 << 18).next_power_of_two() as usize;
    if !TABLE.load(Acquire).is_null() || NR_CACHED.load(Relaxed) != 0 {
        return;
    }
    let mut chains = KVec::new();
    if chains.try_reserve_exact(wanted).is_err() {
        return;
    }
    for _ in 0..wanted {
        if chains.push_reserved(SpinLock::new(&CHAIN_CLASS, None)).is_err() {
            return;
        }
    }
    if let Ok(table) = vigil_mem::KBox::try_new(chains) {
        TABLE.store(vigil_mem::KBox::leak(table), Release);
    }
}

#[inline]
fn chains() -> &'static [Chain] {
    // SAFETY: only a leaked table is stored.
    match unsafe { TABLE.load(Acquire).cast_const().as_ref() } {
        Some(table) => table,
        None => &FIRST,
    }
}

#[inline]
fn chain_of(parent: *const Dentry, hash: u32) -> &'static Chain {
    let chains = chains();
    let mixed = ((parent as usize as u64) >> 6 ^ u64::from(hash)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The table's length is a power of two.
    &chains[(mixed >> 32) as usize & (chains.len() - 1)]
}

/// Hash of a name. FNV-1a over the bytes: names are short.
#[inline]
pub fn hash_name(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Dentry {
    /// A root (of a file system, or of an object without a name in any tree); `name` is what /proc shows for it.
    pub fn try_root(inode: KArc<Inode>, name: &[u8]) -> Result<KArc<Dentry>, Errno> {
        Dentry::build(None, name, Some(inode))
    }

    /// A dentry that is not in the cache.
    pub fn try_new(parent: &KArc<Dentry>, name: &[u8], inode: Option<KArc<Inode>>) -> Result<KArc<Dentry>, Errno> {
        Dentry::build(Some(parent.clone()), name, inode)
    }

    /// Lets a new negative dentry stand for `inode`: what can fail is over before the inode is made.
    pub fn instantiate(mut this: KArc<Dentry>, inode: KArc<Inode>) -> KArc<Dentry> {
        if let Some(dentry) = KArc::get_mut(&mut this) {
            dentry.inode = Some(inode);
        }
        this
    }

    fn build(parent: Option<KArc<Dentry>>, name: &[u8], inode: Option<KArc<Inode>>) -> Result<KArc<Dentry>, Errno> {
        Ok(KArc::try_new(Dentry {
            place: UnsafeCell::new(Place { parent, name: Name::try_new(name)? }),
            inode,
            hash: AtomicU32::new(hash_name(name)),
            flags: AtomicU32::new(0),
            lock: SpinLock::new(&DENTRY_CLASS, ()),
            next: UnsafeCell::new(None),
            lru: lru::Links::new(),
        })?)
    }

    /// What it stands for; `None` for a negative one.
    #[inline]
    pub fn inode_opt(&self) -> Option<&KArc<Inode>> {
        self.inode.as_ref()
    }

    /// Its parent; `None` for a root.
    pub fn parent(&self) -> Option<KArc<Dentry>> {
        let _guard = self.lock.lock();
        // SAFETY: the dentry's lock is held.
        unsafe { &*self.place.get() }.parent.clone()
    }

    /// Whether it is a root of its tree.
    pub fn is_root(&self) -> bool {
        let _guard = self.lock.lock();
        // SAFETY: the dentry's lock is held.
        unsafe { &*self.place.get() }.parent.is_none()
    }

    /// Copies its name to the end of `out`'s free space (`out[..end]`), returning the new end. `None`: no room.
    pub fn prepend_name(&self, out: &mut [u8], end: usize) -> Option<usize> {
        let _guard = self.lock.lock();
        // SAFETY: the dentry's lock is held.
        let name = unsafe { &*self.place.get() }.name.as_bytes();
        let start = end.checked_sub(name.len())?;
        out.get_mut(start..end)?.copy_from_slice(name);
        Some(start)
    }

    /// Whether its name is `name`.
    pub fn has_name(&self, name: &[u8]) -> bool {
        let _guard = self.lock.lock();
        // SAFETY: the dentry's lock is held.
        unsafe { &*self.place.get() }.name.as_bytes() == name
    }

    /// Whether it is in the cache: false after it was removed.
    pub fn is_hashed(&self) -> bool {
        self.flags.load(Acquire) & HASHED != 0
    }

    /// Whether it lost its name: it was removed, and is no root.
    pub fn is_removed(&self) -> bool {
        self.flags.load(Acquire) & (HASHED | PASSING) == 0 && !self.is_root()
    }

    /// Whether what is below it may be in the cache.
    pub fn is_passing(&self) -> bool {
        self.flags.load(Relaxed) & PASSING != 0
    }

    /// Says that it will not be put into the cache, because what it stands for goes without a call that would take it
    /// out again (Linux takes a process's entries out when it ends: proc_flush_pid).
    pub fn set_passing(&self) {
        self.flags.fetch_or(PASSING, Relaxed);
    }

    /// Whether something may be mounted on it: a look into the mount table is worth while.
    #[inline]
    pub fn is_mountpoint(&self) -> bool {
        self.flags.load(Acquire) >= MOUNT_UNIT
    }

    /// Counts a mount on it.
    pub fn add_mount(&self) {
        self.flags.fetch_add(MOUNT_UNIT, AcqRel);
    }

    /// A mount less.
    pub fn sub_mount(&self) {
        self.flags.fetch_sub(MOUNT_UNIT, AcqRel);
    }

    /// Whether it is in `parent` under `name`. Under a chain's lock.
    #[inline]
    fn matches(&self, parent: *const Dentry, name: &[u8], hash: u32) -> bool {
        if self.hash.load(Relaxed) != hash {
            return false;
        }
        // SAFETY: the caller holds the lock of the chain that it is in.
        let place = unsafe { &*self.place.get() };
        place.parent.as_ref().is_some_and(|p| KArc::as_ptr(p) == parent) && place.name.as_bytes() == name
    }
}

impl Drop for Dentry {
    /// Lets go of the parents one by one: a tree may be deeper than a stack.
    fn drop(&mut self) {
        let mut next = self.place.get_mut().parent.take();
        while let Some(parent) = next {
            next = match KArc::try_unwrap(parent) {
                Ok(mut dentry) => dentry.place.get_mut().parent.take(),
                Err(_) => None,
            };
        }
    }
}

/// Finds `name` in `parent` in the cache.
#[inline]
pub fn lookup(parent: &KArc<Dentry>, name: &[u8]) -> Option<KArc<Dentry>> {
    let hash = hash_name(name);
    let parent = KArc::as_ptr(parent);
    let chain = chain_of(parent, hash).lock();
    let mut at = chain.as_ref();
    while let Some(dentry) = at {
        if dentry.matches(parent, name, hash) {
            if dentry.flags.load(Relaxed) & USED == 0 {
                dentry.flags.fetch_or(USED, Relaxed);
            }
            return Some(dentry.clone());
        }
        // SAFETY: the chain's lock is held.
        at = unsafe { &*dentry.next.get() }.as_ref();
    }
    None
}

/// Puts a new dentry into the cache. If an equal one is there, that one is the result and `dentry` is dropped, unless
/// the present one is negative: then it is replaced. The caller holds the directory's `rwsem`.
pub fn insert(dentry: KArc<Dentry>) -> KArc<Dentry> {
    let hash = dentry.hash.load(Relaxed);
    // SAFETY: it is not in the cache: nobody renames it.
    let place = unsafe { &*dentry.place.get() };
    let Some(parent) = place.parent.as_ref().map(KArc::as_ptr) else { return dentry };
    let mut chain = chain_of(parent, hash).lock();
    let mut dropped = None;
    let present = find_in(&chain, |d| d.matches(parent, place.name.as_bytes(), hash));
    if let Some(present) = present {
        if present.inode.is_some() {
            return present;
        }
        dropped = unlink_from(&mut chain, &present);
    }
    link_into(&mut chain, &dentry);
    drop(chain);
    // Its inode may go with it: not under the lock.
    drop(dropped);
    dentry
}

/// Takes a dentry out of the cache, because what it stands for has lost that name. Holders keep it.
pub fn unhash(dentry: &KArc<Dentry>) {
    let guard = RENAME.lock();
    let (parent, hash) = key_of(dentry);
    let dropped = unlink_from(&mut chain_of(parent, hash).lock(), dentry);
    drop(guard);
    drop(dropped);
}

/// A place for a dentry that exists, made before anything is changed.
pub struct NewPlace(Place);

impl NewPlace {
    /// The name `name` in `parent`. ENOMEM.
    pub fn try_new(parent: &KArc<Dentry>, name: &[u8]) -> Result<NewPlace, Errno> {
        Ok(NewPlace(Place { parent: Some(parent.clone()), name: Name::try_new(name)? }))
    }
}

/// Gives `dentry` a new place, where nothing is cached any more.
pub fn rename(dentry: &KArc<Dentry>, NewPlace(place): NewPlace) {
    let new_hash = hash_name(place.name.as_bytes());
    let guard = RENAME.lock();
    let (old_parent, old_hash) = key_of(dentry);
    let from = chain_of(old_parent, old_hash);
    let to = chain_of(place.parent.as_ref().map_or(core::ptr::null(), KArc::as_ptr), new_hash);
    let (mut first, mut second) = lock_both(from, to);
    let in_cache = unlink_from(&mut first, dentry);
    let renames = RENAMES.load(Relaxed);
    RENAMES.store(renames + 1, Relaxed);
    let own = dentry.lock.lock();
    // SAFETY: the rename lock, both chains' locks and the dentry's own lock are held.
    let old = unsafe { core::mem::replace(&mut *dentry.place.get(), place) };
    dentry.hash.store(new_hash, Relaxed);
    drop(own);
    RENAMES.store(renames + 2, Release);
    link_into(second.as_mut().unwrap_or(&mut first), dentry);
    drop((first, second));
    drop(guard);
    drop((in_cache, old));
}

/// How often [`without_renames`] lets renames come in between.
const TRIES: u32 = 4;

/// The result of an `f` during which nothing was renamed: for paths as a whole, which may be long, and so are looked at with preemption
/// on. Earlier ones are forgotten. Only among many renames it runs under the lock.
pub fn without_renames<R>(mut f: impl FnMut() -> R) -> R {
    for _ in 0..TRIES {
        let before = loop {
            let renames = RENAMES.load(Acquire);
            if renames.is_multiple_of(2) {
                break renames;
            }
            core::hint::spin_loop();
        };
        let result = f();
        // What `f` has read of a rename it has read under a dentry's lock, which the rename held after its first store.
        fence(Acquire);
        if RENAMES.load(Relaxed) == before {
            return result;
        }
    }
    let _guard = RENAME.lock();
    f()
}

/// Whether `ancestor` is `dentry` or above it.
pub fn is_ancestor(ancestor: &KArc<Dentry>, dentry: &KArc<Dentry>) -> bool {
    let _guard = RENAME.lock();
    let mut at = KArc::as_ptr(dentry);
    loop {
        if at == KArc::as_ptr(ancestor) {
            return true;
        }
        // SAFETY: parents are kept alive by their children, `dentry` by the caller; the rename lock is held.
        match unsafe { &*(*at).place.get() }.parent.as_ref() {
            Some(parent) => at = KArc::as_ptr(parent),
            None => return false,
        }
    }
}

/// Drops cached dentries that nobody else holds, up to `limit`, whatever their last use; returns how many went.
pub fn shrink(limit: usize) -> usize {
    let mut freed = 0;
    while freed < limit {
        // A parent is held by what is below it, so it goes in a later round.
        let gone = lru::age((limit - freed).min(cached() as usize), true);
        if gone == 0 {
            break;
        }
        freed += gone;
    }
    freed
}

/// Takes `dentry` out of the cache if nobody but its chain and the caller holds it. The result is dropped by the caller.
fn evict(dentry: &KArc<Dentry>) -> Option<KArc<Dentry>> {
    let (parent, hash) = {
        let _guard = dentry.lock.lock();
        // SAFETY: the dentry's lock is held.
        let place = unsafe { &*dentry.place.get() };
        (place.parent.as_ref().map_or(core::ptr::null(), KArc::as_ptr), dentry.hash.load(Relaxed))
    };
    // If it is renamed meanwhile, it is not in that chain any more, and stays.
    evict_where(&mut chain_of(parent, hash).lock(), |d| KArc::ptr_eq(d, dentry) && KArc::strong_count(d) == 2)
}

/// How many dentries are cached.
pub fn cached() -> u32 {
    NR_CACHED.load(Relaxed)
}

/// Parent and hash of a dentry. Under the rename lock.
fn key_of(dentry: &KArc<Dentry>) -> (*const Dentry, u32) {
    // SAFETY: the rename lock is held.
    let place = unsafe { &*dentry.place.get() };
    (place.parent.as_ref().map_or(core::ptr::null(), KArc::as_ptr), dentry.hash.load(Relaxed))
}

fn find_in(chain: &SpinGuard<'_, Option<KArc<Dentry>>>, mut wanted: impl FnMut(&KArc<Dentry>) -> bool) -> Option<KArc<Dentry>> {
    let mut at = chain.as_ref();
    while let Some(dentry) = at {
        if wanted(dentry) {
            return Some(dentry.clone());
        }
        // SAFETY: the chain's lock is held.
        at = unsafe { &*dentry.next.get() }.as_ref();
    }
    None
}

fn link_into(chain: &mut SpinGuard<'_, Option<KArc<Dentry>>>, dentry: &KArc<Dentry>) {
    let rest = chain.take();
    // SAFETY: the chain's lock is held, and the dentry is in no chain.
    unsafe { *dentry.next.get() = rest };
    dentry.flags.fetch_or(HASHED, AcqRel);
    NR_CACHED.fetch_add(1, Relaxed);
    lru::add(dentry);
    **chain = Some(dentry.clone());
}

/// Takes `dentry` out of the chain; the chain's reference is the result.
fn unlink_from(chain: &mut SpinGuard<'_, Option<KArc<Dentry>>>, dentry: &KArc<Dentry>) -> Option<KArc<Dentry>> {
    evict_where(chain, |d| KArc::ptr_eq(d, dentry))
}

/// Takes the first entry for which `wanted` holds out of the chain.
fn evict_where(chain: &mut SpinGuard<'_, Option<KArc<Dentry>>>, mut wanted: impl FnMut(&KArc<Dentry>) -> bool) -> Option<KArc<Dentry>> {
    let mut slot: *mut Option<KArc<Dentry>> = &raw mut **chain;
    loop {
        // SAFETY: `slot` is the chain's head or the `next` of a dentry in it; the chain's lock is held throughout.
        let here = unsafe { &mut *slot };
        let dentry = here.as_ref()?;
        if wanted(dentry) {
            let gone = here.take()?;
            // SAFETY: `gone` was in this chain, whose lock is held.
            *here = unsafe { (*gone.next.get()).take() };
            gone.flags.fetch_and(!HASHED, AcqRel);
            NR_CACHED.fetch_sub(1, Relaxed);
            lru::remove(&gone);
            return Some(gone);
        }
        slot = dentry.next.get();
    }
}

type Guard = SpinGuard<'static, Option<KArc<Dentry>>>;

/// Locks two chains, the one at the lower address first. The second is `None` if they are the same.
fn lock_both(from: &'static Chain, to: &'static Chain) -> (Guard, Option<Guard>) {
    if core::ptr::eq(from, to) {
        (from.lock(), None)
    } else if core::ptr::from_ref(from) < core::ptr::from_ref(to) {
        let first = from.lock();
        (first, Some(to.lock_nested(&CHAIN_CLASS_2)))
    } else {
        let second = to.lock();
        (from.lock_nested(&CHAIN_CLASS_2), Some(second))
    }
}
