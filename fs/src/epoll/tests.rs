//! What an epoll keeps of its files and they of it, in each order of going.

extern crate std;
use super::*;
use crate::eventfd::eventfd;
use crate::vfs::tests::{now, root};
use std::vec::Vec;
use vigil_abi::fcntl::EFD_NONBLOCK;
use vigil_abi::poll::EPOLLONESHOT;
use vigil_mem::UserPtr;
use vigil_mem::buf::host::FakeUser;

const EVENT: EpollEvent = EpollEvent { events: EPOLLIN, __pad: 0, data: 7 };

fn add(epoll: &KArc<File>, fd: i32, file: &KArc<File>) -> Result<(), Errno> {
    now(control(epoll, EPOLL_CTL_ADD, fd, file, EVENT))
}

fn is_ready(file: &KArc<File>) -> bool {
    file.ops().poll(file, &mut PollTable::none()).contains(PollEvents::IN)
}

fn items(file: &KArc<File>) -> usize {
    of(file).unwrap().items.lock().len()
}

fn counter(value: u32) -> KArc<File> {
    eventfd(value, EFD_NONBLOCK).unwrap()
}

fn bump(file: &KArc<File>) {
    use crate::vfs::rw::{Pos, WriteLimits, try_write};
    try_write(file, &mut vigil_mem::IoBuf::kernel(&1u64.to_ne_bytes()), Pos::Shared, || Ok(WriteLimits::NONE)).ok().unwrap();
}

#[test]
fn a_wake_makes_it_ready_and_a_look_finds_out_if_it_is() {
    root();
    let (watcher, file) = (epoll().unwrap(), counter(0));
    add(&watcher, 3, &file).unwrap();
    assert_eq!(add(&watcher, 3, &file), Err(Errno::EEXIST));
    add(&watcher, 4, &file).unwrap();
    assert!(!is_ready(&watcher));
    bump(&file);
    assert!(is_ready(&watcher) && is_ready(&watcher));
    let mut bytes = [0u8; 8];
    crate::vfs::rw::try_read(&file, &mut vigil_mem::IoBufMut::kernel(&mut bytes), crate::vfs::rw::Pos::Shared).ok().unwrap();
    assert!(!is_ready(&watcher));
}

#[test]
fn either_may_go_first() {
    root();
    let (watcher, file) = (epoll().unwrap(), counter(1));
    add(&watcher, 3, &file).unwrap();
    assert_eq!((items(&watcher), is_ready(&watcher)), (1, true));
    drop(file);
    assert_eq!((items(&watcher), is_ready(&watcher)), (0, false));
    let file = counter(0);
    add(&watcher, 3, &file).unwrap();
    drop(watcher);
    // Wakes nobody, and is watched anew.
    bump(&file);
    let watcher = epoll().unwrap();
    add(&watcher, 3, &file).unwrap();
    assert!(is_ready(&watcher));
    now(control(&watcher, EPOLL_CTL_DEL, 3, &file, EVENT)).unwrap();
    assert_eq!(now(control(&watcher, EPOLL_CTL_DEL, 3, &file, EVENT)), Err(Errno::ENOENT));
    assert!(!is_ready(&watcher));
}

#[test]
fn chains_are_short_and_circles_refused() {
    root();
    let chain: Vec<KArc<File>> = (0..6).map(|_| epoll().unwrap()).collect();
    // From the top down, where only what is above tells the length.
    let added: Vec<bool> = (1..6).map(|i| add(&chain[i - 1], 3, &chain[i]).is_ok()).collect();
    assert_eq!(added, [true, true, true, true, false]);
    assert_eq!(add(&chain[4], 3, &chain[0]), Err(Errno::ELOOP));
    assert_eq!(add(&chain[0], 3, &chain[0]), Err(Errno::EINVAL));
    let file = counter(0);
    add(&chain[2], 3, &file).ok();
    add(&chain[1], 9, &file).unwrap();
    bump(&file);
    assert!(is_ready(&chain[0]) && is_ready(&chain[1]));
}

/// A file that is always ready, and whose epoll gets an EPOLL_CTL_MOD the first time that it is asked: as by another thread.
struct Meddler {
    epoll: KArc<File>,
    this: SpinLock<Option<KWeak<File>>>,
    meddles: AtomicU32,
}

impl FileOps for Meddler {
    fn poll(&self, _: &File, _: &mut PollTable<'_>) -> PollEvents {
        if self.meddles.swap(0, Relaxed) == 1 {
            let this = self.this.lock().as_ref().and_then(KWeak::upgrade).unwrap();
            now(control(&self.epoll, EPOLL_CTL_MOD, 3, &this, once(EPOLLOUT, 8))).unwrap();
        }
        PollEvents::IN | PollEvents::OUT
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

fn once(events: u32, data: u64) -> EpollEvent {
    EpollEvent { events: events | EPOLLONESHOT, __pad: 0, data }
}

/// The events of one look, and their data.
fn given(watcher: &KArc<File>) -> Vec<(u32, u64)> {
    let user = FakeUser::new(1);
    let to = UserPtr::<EpollEvent>::new(user.addr());
    let n = now(of(watcher).unwrap().wait(to, 4, Some(0), 0)).unwrap().unwrap();
    (0..n).map(|i| to.index(i).read().map(|e| (e.events, e.data)).unwrap()).collect()
}

#[test]
fn one_shot_armed_anew_while_its_event_is_given_out_stays_armed() {
    root();
    let watcher = epoll().unwrap();
    let ops = KArc::try_new(Meddler { epoll: watcher.clone(), this: SpinLock::new(&ITEMS, None), meddles: AtomicU32::new(0) }).unwrap();
    let meddler = ops.clone();
    let file = anon_file(b"meddler", vigil_mem::unsize!(KArc, ops => dyn FileOps), O_RDWR).unwrap();
    *meddler.this.lock() = Some(KArc::downgrade(&file));
    now(control(&watcher, EPOLL_CTL_ADD, 3, &file, once(EPOLLIN, 7))).unwrap();
    meddler.meddles.store(1, Relaxed);
    // Either the event was given out before the change, and the change gives another one, or after it.
    let mut all = given(&watcher);
    all.extend(given(&watcher));
    assert_eq!(all.last(), Some(&(EPOLLOUT, 8)), "the change was undone: {all:?}");
    assert_eq!(given(&watcher), []);
    drop(meddler);
    // A buffer that faults takes nothing.
    now(control(&watcher, EPOLL_CTL_MOD, 3, &file, once(EPOLLIN, 9))).unwrap();
    assert!(now(of(&watcher).unwrap().wait(UserPtr::new(8), 4, Some(0), 0)).unwrap().is_err());
    assert_eq!(given(&watcher), [(EPOLLIN, 9)]);
}
