//! What guards and pointers under RCU give away: a guard that is shared between threads gives out `&T`, so it may be shared only if `T` may.
//! Checked when this is compiled.
#![cfg(not(loom))]

use std::cell::Cell;
use vigil_executor::sync::rcu::Rcu;
use vigil_executor::sync::rt_mutex::PiGuard;
use vigil_executor::sync::{MutexGuard, RwReadGuard, RwSemReadGuard, RwSemWriteGuard, RwWriteGuard, SpinGuard};

/// Two implementations fit a type that is `Sync`, so that `is` of such a type is ambiguous, and does not compile.
trait NotSync<A> {
    fn is() {}
}
struct Any;
struct Shared;
impl<T: ?Sized> NotSync<Any> for T {}
impl<T: ?Sized + Sync> NotSync<Shared> for T {}

fn is_sync<T: Sync>() {}
fn is_send<T: Send>() {}

#[test]
fn guards_of_what_may_not_be_shared_are_not_shared() {
    type Inside = Cell<u32>;
    <MutexGuard<'static, Inside> as NotSync<_>>::is();
    <PiGuard<'static, Inside> as NotSync<_>>::is();
    <SpinGuard<'static, Inside> as NotSync<_>>::is();
    <RwReadGuard<'static, Inside> as NotSync<_>>::is();
    <RwWriteGuard<'static, Inside> as NotSync<_>>::is();
    <RwSemReadGuard<'static, Inside> as NotSync<_>>::is();
    <RwSemWriteGuard<'static, Inside> as NotSync<_>>::is();
}

#[test]
fn a_pointer_under_rcu_is_shared_only_if_what_it_points_to_may_be() {
    <Rcu<Cell<u32>> as NotSync<_>>::is();
    is_sync::<Rcu<u32>>();
}

#[test]
fn guards_that_are_held_across_awaits_move_with_their_task() {
    is_send::<MutexGuard<'static, Cell<u32>>>();
    is_send::<PiGuard<'static, Cell<u32>>>();
    is_sync::<MutexGuard<'static, u32>>();
    is_send::<RwSemReadGuard<'static, u32>>();
    is_send::<RwSemWriteGuard<'static, u32>>();
}
