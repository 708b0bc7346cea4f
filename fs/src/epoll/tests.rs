//! What an epoll keeps of its files and they of it, in each order of going.

extern crate std;
use super::*;
use crate::eventfd::eventfd;
use crate::vfs::tests::{now, root};
use std::vec::Vec;
use vigil_abi::fcntl::EFD_NONBLOCK;

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
