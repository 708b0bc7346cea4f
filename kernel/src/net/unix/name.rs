//! Addresses: paths and abstract names, and which socket is bound to which.

use super::{Kind, UnixSocket};
use vigil_abi::Errno;
use vigil_abi::socket::AF_UNIX;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_fs::Inode;
use vigil_mem::{KArc, KVec};

/// What a socket is bound to.
pub struct Name {
    /// `sun_path` as getsockname(2) shows it: a path with its NUL, or an abstract name, which begins with one.
    bytes: KVec<u8>,
    /// The socket's inode, for a path.
    inode: Option<KArc<Inode>>,
}

impl Name {
    /// An abstract name; `bytes` begins with NUL.
    pub fn try_abstract(bytes: &[u8]) -> Result<KArc<Name>, Errno> {
        Ok(KArc::try_new(Name { bytes: KVec::try_from_slice(bytes)?, inode: None })?)
    }

    /// A path whose node is `inode`.
    pub fn try_path(path: &[u8], inode: KArc<Inode>) -> Result<KArc<Name>, Errno> {
        let mut bytes = KVec::try_from_slice(path)?;
        bytes.try_push(0)?;
        Ok(KArc::try_new(Name { bytes, inode: Some(inode) })?)
    }

    /// `sun_path`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn is(&self, key: &Key<'_>) -> bool {
        match (key, &self.inode) {
            (Key::Inode(wanted), Some(inode)) => KArc::ptr_eq(wanted, inode),
            (Key::Abstract(wanted), None) => *wanted == self.bytes(),
            _ => false,
        }
    }

    fn key(&self) -> Key<'_> {
        match &self.inode {
            Some(inode) => Key::Inode(inode),
            None => Key::Abstract(&self.bytes),
        }
    }
}

/// What a socket is looked for by.
pub enum Key<'a> {
    /// The node of a path.
    Inode(&'a KArc<Inode>),
    /// An abstract name.
    Abstract(&'a [u8]),
}

const BUCKETS: usize = 64;

type Bucket = SpinLock<KVec<(KArc<Name>, KArc<UnixSocket>)>>;

static CLASS: LockClass = LockClass::new("unix_table");
static TABLE: [Bucket; BUCKETS] = [const { SpinLock::new(&CLASS, KVec::new()) }; BUCKETS];

fn bucket(key: &Key<'_>) -> &'static Bucket {
    let hash = match key {
        Key::Inode(inode) => inode.ino,
        // FNV-1a.
        Key::Abstract(bytes) => bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)),
    };
    &TABLE[(hash ^ hash >> 32) as usize % BUCKETS]
}

/// The socket that is bound to `key`; abstract names are separate for each type.
pub fn find(key: &Key<'_>, kind: Kind) -> Option<KArc<UnixSocket>> {
    let bucket = bucket(key).lock();
    let fits = |(name, socket): &&(KArc<Name>, KArc<UnixSocket>)| name.is(key) && (matches!(key, Key::Inode(_)) || socket.kind == kind);
    bucket.iter().find(fits).map(|(_, socket)| socket.clone())
}

/// Enters `socket` under `name`. EADDRINUSE, ENOMEM.
pub(super) fn enter(name: &KArc<Name>, socket: KArc<UnixSocket>) -> Result<(), Errno> {
    let key = name.key();
    let mut bucket = bucket(&key).lock();
    if bucket.iter().any(|(other, bound)| other.is(&key) && bound.kind == socket.kind) {
        return Err(Errno::EADDRINUSE);
    }
    Ok(bucket.try_push((name.clone(), socket))?)
}

/// Takes `socket` out.
pub(super) fn leave(name: &Name, socket: &UnixSocket) {
    let mut bucket = bucket(&name.key()).lock();
    let at = bucket.iter().position(|(_, bound)| core::ptr::eq(KArc::as_ptr(bound), socket));
    let gone = at.and_then(|at| bucket.swap_remove(at));
    // The table keeps no memory for names that are gone.
    let empty = if bucket.is_empty() { core::mem::take(&mut *bucket) } else { KVec::new() };
    drop(bucket);
    // Its references outside of the lock.
    drop((gone, empty));
}

/// What `sockaddr_un` bytes say. EINVAL: another family, too short, too long.
pub enum Address<'a> {
    /// Only the family: unnamed; bind(2) then chooses an abstract name.
    Unnamed,
    /// An abstract name, with its leading NUL.
    Abstract(&'a [u8]),
    /// A path, without NUL.
    Path(&'a [u8]),
}

/// Reads a `struct sockaddr_un` (Linux: unix_validate_addr).
pub fn parse(bytes: &[u8]) -> Result<Address<'_>, Errno> {
    const MAX: usize = 2 + vigil_abi::socket::UNIX_PATH_MAX;
    let (Some(family), true) = (bytes.first_chunk::<2>(), bytes.len() <= MAX) else { return Err(Errno::EINVAL) };
    if u32::from(u16::from_le_bytes(*family)) != AF_UNIX {
        return Err(Errno::EINVAL);
    }
    let path = &bytes[2..];
    match path.first() {
        None => Ok(Address::Unnamed),
        Some(0) => Ok(Address::Abstract(path)),
        Some(_) => Ok(Address::Path(&path[..path.iter().position(|&b| b == 0).unwrap_or(path.len())])),
    }
}
