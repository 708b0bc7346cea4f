//! Places in the source, by small numbers, so that the checker's tables can hold two in a word. Lock-free, never shrinks.

use crate::wait::WaitSite;
use core::panic::Location;
use core::sync::atomic::{AtomicPtr, Ordering::*};

/// The most places; locks taken at others are "?".
const MAX: usize = 4096;

/// Where a [`Location`] is; where a [`WaitSite`] is, with [`SITE`] added to the address.
static PLACES: [AtomicPtr<u8>; MAX] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX];
/// Both are aligned.
const SITE: usize = 1;

/// The number of a place; 0 for one that nothing is known of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(pub(super) u16);

impl Place {
    pub(super) const UNKNOWN: Place = Place(0);

    /// The number of the place of a call.
    pub(super) fn of(location: &'static Location<'static>) -> Place {
        Place::intern(core::ptr::from_ref(location).cast_mut().cast())
    }

    /// The number of the place of a wait.
    pub(super) fn of_site(site: &'static WaitSite) -> Place {
        Place::intern(core::ptr::from_ref(site).cast_mut().cast::<u8>().wrapping_add(SITE))
    }

    /// The number of what stands at `mine`, given at its first use.
    fn intern(mine: *mut u8) -> Place {
        let first = (mine.addr() >> 3).wrapping_mul(0x9e37_79b9) >> 4;
        for step in 0..64 {
            let at = first.wrapping_add(step) % (MAX - 1) + 1;
            let found = match PLACES[at].load(Acquire) {
                null if null.is_null() => PLACES[at].compare_exchange(null, mine, AcqRel, Acquire).map_or_else(|other| other, |_| mine),
                found => found,
            };
            if found == mine {
                return Place(at as u16);
            }
        }
        Place::UNKNOWN
    }
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let found = PLACES.get(self.0 as usize).map_or(core::ptr::null_mut(), |p| p.load(Acquire));
        if found.is_null() {
            return f.write_str("?");
        }
        let (file, line) = if found.addr() & SITE == 0 {
            // SAFETY: without the mark, `of` has stored the address of a `Location` that lives for ever.
            let at = unsafe { &*found.cast::<Location<'static>>() };
            (at.file(), at.line())
        } else {
            // SAFETY: with it, `of_site` has stored that of a `WaitSite` that does.
            let at = unsafe { &*found.wrapping_sub(SITE).cast::<WaitSite>() };
            (at.file, at.line)
        };
        write!(f, "{file}:{line}")
    }
}
