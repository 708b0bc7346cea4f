//! [`Pod`]: types that are nothing but their bytes.

/// A type that may be filled from any bytes, and whose bytes may all be shown to user space.
///
/// # Safety
/// Every bit pattern is a valid value, there is no padding and no pointer or reference, and the type is `repr(C)`,
/// `repr(transparent)` or primitive.
pub unsafe trait Pod: Copy + Send + Sync + 'static {
    /// All bytes zero.
    #[inline]
    fn zeroed() -> Self {
        // SAFETY: every bit pattern is a valid value, by the trait's contract.
        unsafe { core::mem::zeroed() }
    }

    /// Its bytes.
    #[inline]
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: no padding, so every byte is initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// Its bytes, to be filled.
    #[inline]
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: no padding, and whatever is written is a valid value.
        unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast(), size_of::<Self>()) }
    }

    /// A value from the first bytes of `bytes`; `None` when they are too few.
    #[inline]
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..size_of::<Self>())?;
        // SAFETY: the range is in bounds, any bytes are a valid value, and the read does not need alignment.
        Some(unsafe { head.as_ptr().cast::<Self>().read_unaligned() })
    }
}

/// Fails to compile when `T` is not [`Pod`].
pub(crate) const fn assert_pod<T: Pod>() {}

macro_rules! primitives {
    ($($t:ty),*) => { $(
        // SAFETY: integers: any bit pattern, no padding.
        unsafe impl Pod for $t {}
    )* };
}
primitives!(u8, i8, u16, i16, u32, i32, u64, i64, u128, i128, usize, isize, ());

// SAFETY: an array has no padding of its own.
unsafe impl<T: Pod, const N: usize> Pod for [T; N] {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip() {
        let mut v = 0x0102_0304u32;
        assert_eq!(v.as_bytes(), &[4, 3, 2, 1]);
        v.as_bytes_mut()[0] = 9;
        assert_eq!(u32::from_bytes(&[9, 3, 2, 1, 77]), Some(v));
        assert_eq!(u32::from_bytes(&[1, 2, 3]), None);
        assert_eq!(<[u64; 3]>::zeroed(), [0; 3]);
    }
}
