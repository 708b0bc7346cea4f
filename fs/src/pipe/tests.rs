//! Pipes as programs see them.

extern crate std;
use super::*;
use crate::vfs::poll::ready;
use crate::vfs::tests::{World, now, read, root, write};
use crate::vfs::wait::KernelMem;
use crate::vfs::{self, Pos, WriteLimits};
use core::future::Future;
use core::task::{Context, Waker};
use futures_util::FutureExt;
use std::vec;
use vigil_abi::fcntl::{O_CREAT, O_RDWR};
use vigil_abi::poll::{POLLERR, POLLHUP};
use vigil_mem::buf::host::FakeUser;

fn new(flags: u32) -> (KArc<File>, KArc<File>) {
    root();
    pipe(flags).unwrap()
}

#[test]
fn bytes_come_out_in_order_and_ends_are_noticed() {
    let (r, w) = new(O_NONBLOCK);
    let mut buf = [0; 16];
    assert_eq!(read(&r, &mut buf), Err(Errno::EAGAIN));
    assert_eq!(read(&r, &mut []), Ok(0));
    assert_eq!((write(&w, b"one"), write(&w, b"two")), (Ok(3), Ok(3)));
    assert_eq!(read(&r, &mut buf[..4]), Ok(4));
    assert_eq!(&buf[..4], b"onet");
    assert_eq!(read(&w, &mut buf), Err(Errno::EBADF));
    assert_eq!(write(&r, b"x"), Err(Errno::EBADF));
    assert_eq!(now(vfs::llseek(&r, 0, 0)), Err(Errno::ESPIPE));
    let pread = now(vfs::read(&r, &mut IoBufMut::kernel(&mut buf), Pos::At(0), &KernelMem));
    assert_eq!(pread, Err(Errno::ESPIPE));
    assert_eq!(ready(&r, !0) & (POLLIN | POLLHUP), POLLIN);
    drop(w);
    assert_eq!(ready(&r, !0) & (POLLIN | POLLHUP), POLLIN | POLLHUP);
    assert_eq!(read(&r, &mut buf), Ok(2));
    assert_eq!(read(&r, &mut buf), Ok(0));
    assert_eq!(ready(&r, !0) & (POLLIN | POLLHUP), POLLHUP);
    let (r, w) = new(0);
    drop(r);
    assert_eq!(write(&w, b"x"), Err(Errno::EPIPE));
    assert_eq!(ready(&w, !0) & POLLERR, POLLERR);
    assert_eq!(pipe(0o4).err(), Some(Errno::EINVAL));
    let mut name = [0; 32];
    let shown = crate::d_path(w.path(), &root(), &mut name).unwrap();
    assert_eq!(shown, std::format!("pipe:[{}]", w.inode().ino).as_bytes());
}

/// What the short way answers: bytes moved, "wait", or "ask the long one".
fn short(answer: AtOnce<'_>) -> Option<Option<usize>> {
    match answer {
        AtOnce::Done(n) => Some(Some(n)),
        AtOnce::Wait(_) => Some(None),
        AtOnce::No => None,
    }
}

#[test]
fn the_short_way_moves_all_or_leaves_it_to_the_long_one() {
    let (r, w) = new(0);
    let user = FakeUser::new(2);
    let range = |at: usize, n: usize| UserRange::new(user.addr() + at, n);
    let get = |r: &File, at, n| short(vfs::rw::read_at_once(r, || range(at, n)));
    let put = |w: &File, at, n| short(vfs::rw::write_at_once(w, || range(at, n)));
    user.poke(0, b"abcdef");
    // A pipe that was never written to has no page yet: the long way finds one.
    assert_eq!((get(&r, 100, 4), put(&w, 0, 6)), (Some(None), None));
    assert_eq!((write(&w, b"x"), get(&r, 100, 0), get(&r, 100, 4)), (Ok(1), None, Some(Some(1))));
    assert_eq!((get(&r, 100, 4), put(&w, 0, 6)), (Some(None), Some(Some(6))), "now there is one");
    // What is left of a write is the next read's.
    assert_eq!((get(&r, 100, 4), user.peek(100, 4)), (Some(Some(4)), b"abcd".to_vec()));
    assert_eq!((put(&w, 0, 1), get(&r, 100, 4)), (None, Some(Some(2))));
    assert_eq!((user.peek(100, 2), get(&r, 100, 4)), (b"ef".to_vec(), Some(None)));
    // A page that is not there costs nothing.
    user.protect(1, false, false);
    assert_eq!((put(&w, 4094, 6), get(&r, 100, 4), put(&w, 0, 6)), (None, Some(None), Some(Some(6))));
    assert_eq!((get(&r, 4094, 6), get(&r, 100, 6), user.peek(100, 6)), (None, Some(Some(6)), b"abcdef".to_vec()));
    drop(w);
    assert_eq!((get(&r, 100, 4), read(&r, &mut [0; 4])), (None, Ok(0)), "the end is the long way's");
    let (r, w) = new(O_NONBLOCK);
    assert_eq!(get(&r, 100, 4), None, "and so is EAGAIN");
    drop(r);
    assert_eq!(put(&w, 0, 6), None, "and EPIPE");
}

#[test]
fn a_full_pipe_takes_no_part_of_an_atomic_write() {
    let (r, w) = new(O_NONBLOCK);
    assert_eq!(write(&w, &vec![1; 100_000]), Ok(65536));
    assert_eq!(ready(&w, POLLOUT), 0);
    assert_eq!(write(&w, b"x"), Err(Errno::EAGAIN));
    let mut page = vec![0; 4096];
    assert_eq!(read(&r, &mut page[..4000]), Ok(4000));
    assert_eq!(write(&w, &[2; 4096]), Err(Errno::EAGAIN));
    assert_eq!(read(&r, &mut page[..96]), Ok(96));
    assert_eq!(write(&w, &[2; 4000]), Ok(4000));
    assert_eq!(write(&w, &[3; 200]), Err(Errno::EAGAIN), "only 96 bytes are left, and 200 are not split");
    assert_eq!(write(&w, &[3; 96]), Ok(96));
    let state = of(&r).unwrap();
    assert_eq!(state.set_size(4096, &Cred::root()), Err(Errno::EBUSY));
    assert_eq!(state.set_size(100_000, &Cred::user(1, 1)), Ok(131_072));
    assert_eq!(state.set_size(2 << 20, &Cred::user(1, 1)), Err(Errno::EPERM));
    assert_eq!(write(&w, &[4; 4096]), Ok(4096));
    let mut all = vec![0; 200_000];
    assert_eq!(read(&r, &mut all), Ok(65536 + 4096));
    assert_eq!((all[61439], all[61440], all[65536]), (1, 2, 4));
}

#[test]
fn packets_keep_their_borders() {
    let (r, w) = new(O_DIRECT | O_NONBLOCK);
    assert_eq!((write(&w, b"first"), write(&w, b"second")), (Ok(5), Ok(6)));
    let mut buf = [0; 4];
    assert_eq!(read(&r, &mut buf), Ok(4));
    assert_eq!(&buf, b"firs");
    assert_eq!(read(&r, &mut buf), Ok(4), "the rest of the first packet is gone");
    assert_eq!(&buf, b"seco");
    assert_eq!(read(&r, &mut buf), Err(Errno::EAGAIN));
}

#[test]
fn a_blocked_reader_gets_what_comes() {
    let (r, w) = new(0);
    let mut buf = [0; 8];
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut sink = IoBufMut::kernel(&mut buf);
        let mut waiting = core::pin::pin!(vfs::read(&r, &mut sink, Pos::Shared, &KernelMem));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(write(&w, b"data"), Ok(4));
        assert_eq!(waiting.as_mut().poll(&mut cx), core::task::Poll::Ready(Ok(4)));
    }
    // A writer of more than fits goes on as room comes.
    let big = vec![5; 70_000];
    let mut source = IoBuf::kernel(&big);
    let mut writing = core::pin::pin!(vfs::write(&w, &mut source, Pos::Shared, &WriteLimits::NONE, &KernelMem));
    assert!(writing.as_mut().poll(&mut cx).is_pending());
    let mut got = vec![0; 60_000];
    assert_eq!(read(&r, &mut got), Ok(60_000));
    assert_eq!(writing.as_mut().poll(&mut cx), core::task::Poll::Ready(Ok(70_000)));
    assert_eq!(read(&r, &mut got), Ok(10_000));
    // Dropping a blocked reader leaves the pipe as it was.
    let mut other = [0; 1];
    let mut sink = IoBufMut::kernel(&mut other);
    assert!(vfs::read(&r, &mut sink, Pos::Shared, &KernelMem).now_or_never().is_none());
    assert_eq!(write(&w, b"z"), Ok(1));
    assert_eq!(read(&r, &mut got), Ok(1));
}

#[test]
fn a_bad_buffer_takes_and_gives_nothing() {
    let (r, w) = new(O_NONBLOCK);
    let user = FakeUser::new(2);
    user.poke(0, &[9; 8192]);
    user.protect(1, false, false);
    let mut source = IoBuf::user(user.addr() + 4000, 200).unwrap();
    let result = now(vfs::write(&w, &mut source, Pos::Shared, &WriteLimits::NONE, &KernelMem));
    assert_eq!(result, Err(Errno::EFAULT), "an atomic write is not cut at a bad page");
    assert_eq!(read(&r, &mut [0; 8]), Err(Errno::EAGAIN));
    let mut source = IoBuf::user(user.addr(), 8000).unwrap();
    let result = now(vfs::write(&w, &mut source, Pos::Shared, &WriteLimits::NONE, &KernelMem));
    assert_eq!(result, Ok(4096), "a longer one is a short count");
    let mut sink = IoBufMut::user(user.addr() + 4096, 10).unwrap();
    assert_eq!(now(vfs::read(&r, &mut sink, Pos::Shared, &KernelMem)), Err(Errno::EFAULT));
    let mut all = [0; 5000];
    assert_eq!(read(&r, &mut all), Ok(4096), "and nothing was lost");
}

#[test]
fn a_fifo_waits_for_its_other_end() {
    let world = World::new("fifo");
    let ctx = world.ctx();
    now(vfs::mknod(&ctx, crate::At::Cwd, b"p", S_IFIFO | 0o644, 0)).unwrap();
    assert_eq!(world.open("p", O_WRONLY | O_NONBLOCK).err(), Some(Errno::ENXIO));
    let open = |flags| vfs::open(&ctx, crate::At::Cwd, b"p", crate::vfs::OpenHow { flags, ..Default::default() });
    let mut cx = Context::from_waker(Waker::noop());
    let mut reader = core::pin::pin!(open(O_RDONLY));
    assert!(reader.as_mut().poll(&mut cx).is_pending());
    let w = now(open(O_WRONLY)).unwrap();
    let core::task::Poll::Ready(Ok(r)) = reader.as_mut().poll(&mut cx) else { panic!("the writer has come") };
    assert_eq!(write(&w, b"hi"), Ok(2));
    let mut buf = [0; 2];
    assert_eq!(read(&r, &mut buf), Ok(2));
    drop((r, w));
    let r = now(open(O_RDONLY | O_NONBLOCK)).unwrap();
    assert_eq!(ready(&r, !0) & POLLHUP, 0, "nobody has hung up yet");
    assert_eq!(read(&r, &mut buf), Ok(0));
    drop(now(open(O_WRONLY)).unwrap());
    assert_eq!(ready(&r, !0) & POLLHUP, POLLHUP);
    assert!(world.open("p", O_RDWR).is_ok());
    assert!(world.open("p", O_RDWR | O_CREAT).is_ok());
}
