//! `/dev/input/eventN`, `/proc/bus/input` and `/sys/class/input` (Linux: drivers/input/{evdev,input}.c).
//!
//! | file | what |
//! |---|---|
//! | [`client`] | one open file's events |
//! | [`evdev`] | the file's operations |
//! | [`show`] | what `/proc` and `/sys` say of the devices |
//!
//! A device's events come with its lock held and interrupts masked; then come the lock on its readers, each reader's own, its wait queue.

mod client;
mod evdev;
mod show;

use client::Client;
use vigil_abi::Errno;
use vigil_drivers::input::{self, Event, InputSink, MAX_DEVICES};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::time::Nanos;
use vigil_mem::{KArc, KVec};

/// Who reads a device.
struct Readers {
    all: KVec<KArc<Client>>,
    /// The one who gets all events alone (EVIOCGRAB).
    grab: Option<KArc<Client>>,
}

static CLASS: LockClass = LockClass::new("evdev");
static READERS: [SpinLock<Readers>; MAX_DEVICES] = [const { SpinLock::new(&CLASS, Readers { all: KVec::new(), grab: None }) }; MAX_DEVICES];

struct Evdev;

impl InputSink for Evdev {
    fn event(&self, number: usize, event: Event, at: Nanos) {
        let Some(readers) = READERS.get(number) else { return };
        let readers = readers.lock_irq();
        match &readers.grab {
            Some(one) => one.put(event, at),
            None => readers.all.iter().for_each(|reader| reader.put(event, at)),
        }
    }
}

static EVDEV: Evdev = Evdev;

/// A reader comes. ENOMEM.
fn join(number: usize, client: &KArc<Client>) -> Result<(), Errno> {
    let readers = READERS.get(number).ok_or(Errno::ENODEV)?;
    loop {
        // Memory is taken before the lock, for as many as there are now.
        let mut longer = KVec::try_with_capacity(readers.lock_irq().all.len() + 1)?;
        let mut held = readers.lock_irq();
        if longer.capacity() <= held.all.len() {
            continue;
        }
        while let Some(reader) = held.all.pop() {
            let _ = longer.push_reserved(reader);
        }
        let _ = longer.push_reserved(client.clone());
        core::mem::swap(&mut held.all, &mut longer);
        drop(held);
        return Ok(());
    }
}

/// A reader goes.
fn leave(number: usize, client: &KArc<Client>) {
    let Some(readers) = READERS.get(number) else { return };
    let _ = grab(number, client, false);
    let mut held = readers.lock_irq();
    let at = held.all.iter().position(|reader| KArc::ptr_eq(reader, client));
    let gone = at.and_then(|at| held.all.swap_remove(at));
    drop(held);
    drop(gone);
}

/// Gives a reader all events alone, or takes that back. EBUSY: another has them; EINVAL: it has not.
fn grab(number: usize, client: &KArc<Client>, on: bool) -> Result<(), Errno> {
    let mut held = READERS.get(number).ok_or(Errno::ENODEV)?.lock_irq();
    let owns = held.grab.as_ref().is_some_and(|owner| KArc::ptr_eq(owner, client));
    let old = match on {
        true if held.grab.is_some() => return Err(Errno::EBUSY),
        true => held.grab.replace(client.clone()),
        false if !owns => return Err(Errno::EINVAL),
        false => held.grab.take(),
    };
    drop(held);
    drop(old);
    Ok(())
}

/// Registers the files. Once, in a task.
pub(super) fn init() -> Result<(), Errno> {
    input::set_sink(&EVDEV);
    evdev::init()?;
    show::init()
}
