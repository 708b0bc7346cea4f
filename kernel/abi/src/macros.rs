//! How this crate's tables are written: each entry once, with its check against `linux-raw-sys`.
//!
//! The checks are constants of the aarch64 build: a wrong value or offset is a compile error of the kernel, not a test
//! that somebody must run. On other hosts `linux-raw-sys` describes another architecture, so nothing is compared there.

/// Constants of one type. After `checked MODULE;` every entry is compared with `linux_raw_sys::MODULE::NAME`; the
/// entries after `unchecked;` are kernel-internal or not in that crate's selection.
macro_rules! abi_consts {
    ($ty:ty; checked $module:ident; $($(#[$meta:meta])* $name:ident = $value:expr,)*) => {
        $(
            $(#[$meta])*
            #[doc = concat!("`", stringify!($name), "` as in uapi.")]
            pub const $name: $ty = $value;
        )*
        #[cfg(target_arch = "aarch64")]
        const _: () = {
            $(assert!($name as i128 == linux_raw_sys::$module::$name as i128, stringify!($name));)*
        };
    };
    ($ty:ty; unchecked; $($(#[$meta:meta])* $name:ident = $value:expr,)*) => {
        $(
            $(#[$meta])*
            #[doc = concat!("`", stringify!($name), "` as in uapi.")]
            pub const $name: $ty = $value;
        )*
    };
}

/// A structure that crosses the system-call boundary: `repr(C)`, [`Pod`](crate::Pod), without padding (which would leak
/// kernel bytes), and with a checked size.
macro_rules! abi_struct {
    ($(#[$meta:meta])* pub struct $name:ident: $size:literal { $($(#[$fmeta:meta])* pub $field:ident: $fty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub struct $name { $($(#[$fmeta])* pub $field: $fty,)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size, "size of the structure");
        const _: () = assert!(0 $(+ core::mem::size_of::<$fty>())* == $size, "padding in the structure");
        const _: () = { $(crate::pod::assert_pod::<$fty>();)* };
        // SAFETY: `repr(C)`, all fields are Pod (asserted above), and their sizes add up to the whole: no padding.
        unsafe impl crate::Pod for $name {}
        impl Default for $name {
            fn default() -> Self {
                crate::Pod::zeroed()
            }
        }
    };
}

/// Compares size, alignment and the named fields' offsets of one of our structures with `linux-raw-sys`.
macro_rules! check_layout {
    ($ours:ty = $theirs:ty { $($field:ident $(= $their_field:ident)?),* $(,)? }) => {
        #[cfg(target_arch = "aarch64")]
        const _: () = {
            assert!(core::mem::size_of::<$ours>() == core::mem::size_of::<$theirs>(), "size differs from uapi");
            assert!(core::mem::align_of::<$ours>() == core::mem::align_of::<$theirs>(), "alignment differs from uapi");
            $(check_layout!(@field $ours, $theirs, $field $(, $their_field)?);)*
        };
    };
    (@field $ours:ty, $theirs:ty, $field:ident) => {
        assert!(core::mem::offset_of!($ours, $field) == core::mem::offset_of!($theirs, $field), stringify!($field));
    };
    (@field $ours:ty, $theirs:ty, $field:ident, $their_field:ident) => {
        assert!(core::mem::offset_of!($ours, $field) == core::mem::offset_of!($theirs, $their_field), stringify!($field));
    };
}
