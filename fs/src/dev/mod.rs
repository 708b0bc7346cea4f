//! Devices as files: the registry of character devices, the memory devices, devtmpfs.
//!
//! | file | what |
//! |---|---|
//! | [`chrdev`] | major and minor numbers → who opens them |
//! | [`blkdev`] | the same for block devices |
//! | [`mem`] | /dev/null, zero, full, random, urandom |
//! | [`devtmpfs`] | the file system of device nodes that the kernel fills |

pub mod blkdev;
pub mod chrdev;
pub mod devtmpfs;
pub mod mem;
