//! Tests of the buffers over user memory that is there, is not, and is there in part.

use super::super::host::FakeUser;
use super::super::{Iovecs, UserPtr};
use super::*;
use crate::addr::{PAGE_SIZE, TASK_SIZE};
use crate::buf::iovec::IovecError;
use std::vec;
use vigil_abi::Errno;

#[test]
fn short_then_fault_then_resumed() {
    let m = FakeUser::new(2);
    m.poke(PAGE_SIZE - 3, b"abcdef");
    m.protect(1, false, false);
    let mut b = IoBuf::user(m.addr() + PAGE_SIZE - 3, 6).unwrap();
    let mut out = [0; 10];
    assert_eq!(b.copy_in(&mut out), Ok(3));
    assert_eq!(b.copy_in(&mut out[3..]), Err(Fault { addr: m.addr() + PAGE_SIZE, write: false }));
    m.protect(1, true, true);
    assert_eq!(b.copy_in(&mut out[3..]), Ok(3));
    assert_eq!((&out[..6], b.remaining(), b.done()), (&b"abcdef"[..], 0, 6));
    assert_eq!(b.copy_in(&mut out), Ok(0));
}

#[test]
fn iovec_pieces_and_limits() {
    let m = FakeUser::new(2);
    m.poke(0, b"helloworld");
    let a = m.addr() as u64;
    for (i, e) in [[a, 5], [0, 0], [a + 7, 3]].iter().enumerate() {
        UserPtr::<[u64; 2]>::new(m.addr() + 1000).index(i).write(e).unwrap();
    }
    let iov = Iovecs::import(UserPtr::new(m.addr() + 1000), 3).unwrap();
    assert_eq!(iov.total(), 8);
    let mut b = IoBuf::iovec(iov.ranges());
    let mut out = [0; 8];
    assert_eq!(b.copy_in(&mut out), Ok(8));
    assert_eq!(&out, b"hellorld");
    let mut w = IoBufMut::iovec(iov.ranges());
    w.skip(4);
    assert_eq!(w.copy_out(b"XYZW"), Ok(4));
    assert_eq!(w.zero(1), Ok(0));
    assert_eq!(m.peek(0, 10), b"hellXwoYZW");
    let bad = |e: [u64; 2], n| {
        UserPtr::<[u64; 2]>::new(m.addr() + 2000).write(&e).unwrap();
        Iovecs::import(UserPtr::new(m.addr() + 2000), n).err()
    };
    assert_eq!(bad([a, 1 << 63], 1), Some(IovecError::Errno(Errno::EINVAL)));
    assert_eq!(bad([TASK_SIZE as u64, 1], 1), Some(IovecError::Errno(Errno::EFAULT)));
    assert_eq!(bad([a, 1], 1025), Some(IovecError::Errno(Errno::EINVAL)));
    let wild = Iovecs::import(UserPtr::new(m.addr() + m.len()), 1).err();
    assert_eq!(wild, Some(IovecError::Fault(Fault { addr: m.addr() + m.len(), write: false })));
    let long = vec![[a, 0x7fff_0000u64], [a, 0x7fff_0000]];
    UserPtr::<[u64; 2]>::new(m.addr() + 3000).write_slice(&long).unwrap();
    assert_eq!(Iovecs::import(UserPtr::new(m.addr() + 3000), 2).unwrap().total(), super::super::MAX_RW_COUNT);
}

#[test]
fn whole_copies_and_words_at_a_fault() {
    let m = FakeUser::new(2);
    m.protect(1, false, false);
    let edge = m.addr() + PAGE_SIZE;
    let mut w = IoBufMut::user(edge - 10, 16).unwrap();
    // SAFETY: the source has 16 bytes.
    let copied = unsafe { w.copy_out_whole_raw([7u8; 16].as_ptr(), 16) };
    assert_eq!((copied, w.remaining(), w.done()), (Err(Fault { addr: edge, write: true }), 16, 0));
    assert_eq!(w.clear(16), Ok(8));
    assert_eq!((w.clear(8), w.done()), (Err(Fault { addr: edge, write: true }), 8));
    m.protect(1, true, true);
    assert_eq!((w.clear(8), w.done()), (Ok(8), 16));
    m.protect(1, false, false);
    let short = |at: usize, n| IoBufMut::user(edge - at, n).unwrap().clear(n).map_err(|f| f.addr);
    assert_eq!([short(5, 6), short(3, 6), short(2, 3), short(1, 3), short(1, 1)], [Ok(4), Err(edge), Ok(2), Err(edge), Ok(1)]);
    for (e, n) in [(m.addr() as u64, 4u64), (edge as u64 - 4, 8)].iter().enumerate().map(|(i, r)| (i, [r.0, r.1])) {
        UserPtr::<[u64; 2]>::new(m.addr() + 1000).index(e).write(&n).unwrap();
    }
    let iov = Iovecs::import(UserPtr::new(m.addr() + 1000), 2).unwrap();
    let mut w = IoBufMut::iovec(iov.ranges());
    // SAFETY: the source has 12 bytes.
    let copied = unsafe { w.copy_out_whole_raw([7u8; 12].as_ptr(), 12) };
    assert_eq!((copied, w.remaining(), w.done()), (Err(Fault { addr: edge, write: true }), 12, 0));
}

#[test]
fn kernel_memory_and_pods() {
    let mut k = [0u8; 6];
    let mut w = IoBufMut::kernel(&mut k);
    assert_eq!(w.write_pod(&0x0403_0201u32), Ok(true));
    assert_eq!(w.write_pod(&1u32), Ok(false));
    assert_eq!(w.remaining(), 2);
    assert_eq!(k, [1, 2, 3, 4, 0, 0]);
    let m = FakeUser::new(1);
    let mut b = IoBuf::user(m.addr() + PAGE_SIZE - 2, 4).unwrap();
    assert_eq!(b.read_pod::<u32>(), Err(Fault { addr: m.addr() + PAGE_SIZE, write: false }));
    assert_eq!(b.remaining(), 4);
}

#[test]
fn ranges_strings_and_tags() {
    let m = FakeUser::new(1);
    m.poke(PAGE_SIZE - 4, b"abc\0");
    let p = UserPtr::<u8>::new(m.addr() + PAGE_SIZE - 4);
    let mut s = [0xff; 8];
    assert_eq!(p.read_str(&mut s), Ok(3));
    assert_eq!(&s[..4], b"abc\0");
    assert_eq!(p.read_str(&mut s[..3]), Ok(3), "no NUL in three bytes");
    assert_eq!(p.strnlen(100), Ok(3));
    m.poke(PAGE_SIZE - 1, b"d");
    assert_eq!(p.read_str(&mut s), Err(Fault { addr: m.addr() + PAGE_SIZE, write: false }));
    let wild = UserPtr::<u8>::new(m.addr() + PAGE_SIZE + 5);
    assert_eq!(wild.read_str(&mut s), Err(Fault { addr: m.addr() + PAGE_SIZE + 5, write: false }));
    assert!(IoBuf::user(TASK_SIZE, 0).is_some());
    assert!(IoBuf::user(TASK_SIZE, 1).is_none());
    assert!(IoBuf::user(usize::MAX, 2).is_none());
    assert!(!UserPtr::<u64>::new(0xffff_0000_0000_0000).read().unwrap_err().is_resolvable());
    let tagged = m.addr() | 0x5a << 56;
    assert!(UserPtr::<u8>::new(tagged).read().is_err(), "tags are refused unless the task enabled them");
    assert_eq!(uaccess::untagged_addr(tagged), m.addr());
    m.protect(0, true, false);
    let q = UserPtr::<u32>::new(m.addr());
    assert_eq!(q.read(), Ok(0));
    assert_eq!(q.write(&1), Err(Fault { addr: m.addr(), write: true }));
    m.protect(0, true, true);
    assert_eq!(uaccess::user_cmpxchg_u32(m.addr(), 0, 5), Ok(0));
    assert_eq!(uaccess::user_atomic_u32(uaccess::UserAtomic::Add, m.addr(), 3), Ok(5));
    assert_eq!(uaccess::user_load_u32(m.addr()), Ok(8));
    assert!(uaccess::user_load_u32(m.addr() + 2).is_err());
}
