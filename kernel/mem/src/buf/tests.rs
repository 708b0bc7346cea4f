//! The cursors against a byte-by-byte model: random ranges, random protections, random steps.

use super::host::FakeUser;
use super::{IoBuf, IoBufMut, Iovecs, UserBuf, UserBufMut, UserPtr, UserSlice};
use crate::addr::PAGE_SIZE;
use crate::error::Fault;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const PAGES: usize = 3;

/// The addresses that a list of ranges names, one after the other.
fn addresses(ranges: &[UserSlice]) -> Vec<usize> {
    ranges.iter().flat_map(|r| r.addr..r.addr + r.len).collect()
}

fn ranges(user: &FakeUser, raw: &[(usize, usize)]) -> Vec<UserSlice> {
    raw.iter().map(|(at, len)| UserSlice { addr: user.addr() + at, len: *len }).collect()
}

fn protect(user: &FakeUser, open: &[bool; PAGES]) {
    for (i, ok) in open.iter().enumerate() {
        user.protect(i, *ok, *ok);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn copies_stop_exactly_at_the_fault(
        raw in prop::collection::vec((0..PAGES * PAGE_SIZE, 0..2000usize), 0..12),
        open in any::<[bool; PAGES]>(),
        steps in prop::collection::vec((0..3000usize, any::<bool>()), 1..12),
    ) {
        let user = FakeUser::new(PAGES);
        let pattern: Vec<u8> = (0..user.len()).map(|i| (i * 7 + i / 251) as u8).collect();
        user.poke(0, &pattern);
        protect(&user, &open);
        let list = ranges(&user, &raw);
        let all = addresses(&list);
        let reachable = |a: &usize| {
            let page = (a - user.addr()) / PAGE_SIZE;
            page < PAGES && open[page]
        };
        let (mut source, mut sink) = (IoBuf::iovec(&list), IoBufMut::iovec(&list));
        let mut at = 0;
        for (n, skip) in steps {
            let want = n.min(all.len() - at);
            if skip {
                source.skip(n);
                sink.skip(n);
                at += want;
            } else {
                let good = all[at..at + want].iter().take_while(|a| reachable(a)).count();
                let expect = |write| match (want, good) {
                    (0, _) => Ok(0),
                    (_, 0) => Err(Fault { addr: all[at], write }),
                    (_, good) => Ok(good),
                };
                let mut got = vec![0; n];
                prop_assert_eq!(source.copy_in(&mut got), expect(false));
                for (g, a) in got[..good].iter().zip(&all[at..]) {
                    prop_assert_eq!(*g, pattern[a - user.addr()]);
                }
                // What is written is what stands there, so that ranges which overlap stay the pattern.
                let same: Vec<u8> = all[at..at + want].iter().map(|a| *pattern.get(a - user.addr()).unwrap_or(&0)).collect();
                prop_assert_eq!(sink.copy_out(&same), expect(true));
                at += good;
            }
            prop_assert_eq!((source.remaining(), sink.remaining()), (all.len() - at, all.len() - at));
            prop_assert_eq!((source.done(), sink.done()), (at, at));
        }
        prop_assert_eq!(user.peek(0, user.len()), pattern);
    }
}

#[test]
fn long_lists_are_fetched_and_faults_in_the_list_are_told_apart() {
    let user = FakeUser::new(2);
    let list = UserPtr::<[u64; 2]>::new(user.addr() + PAGE_SIZE - 16 * 9);
    for i in 0..9 {
        list.index(i).write(&[user.addr() as u64 + i as u64, 1]).unwrap();
    }
    let iov = Iovecs::import(list, 9).unwrap();
    assert_eq!((iov.total(), iov.ranges().len(), iov.ranges()[8].addr), (9, 9, user.addr() + 8));
    user.protect(1, false, false);
    let next_page = Fault { addr: user.addr() + PAGE_SIZE, write: false };
    assert_eq!(Iovecs::import(list, 10).err(), Some(super::IovecError::Fault(next_page)));
    assert!(crate::fault::set(1));
    assert_eq!(Iovecs::import(list, 9).err(), Some(super::IovecError::Errno(vigil_abi::Errno::ENOMEM)));
    assert!(crate::fault::set(0));
}

#[test]
fn plain_cursors_move_by_what_was_copied() {
    let user = FakeUser::new(1);
    let mut out = UserBufMut::new(user.addr() + PAGE_SIZE - 4, 100);
    assert_eq!(out.copy_out(b"abcdefgh"), Ok(4));
    assert_eq!(out.copy_out(b"efgh"), Err(Fault { addr: user.addr() + PAGE_SIZE, write: true }));
    assert_eq!((out.remaining(), out.addr()), (96, user.addr() + PAGE_SIZE));
    let mut back = UserBuf::new(user.addr() + PAGE_SIZE - 4, 3);
    let mut bytes = [0; 8];
    assert_eq!(back.copy_in(&mut bytes), Ok(3));
    assert_eq!((&bytes[..4], back.remaining()), (&b"abc\0"[..], 0));
    let mut zero = UserBufMut::new(user.addr() + PAGE_SIZE - 4, 2);
    assert_eq!(zero.zero(10), Ok(2));
    assert_eq!(user.peek(PAGE_SIZE - 4, 4), b"\0\0cd");
}
