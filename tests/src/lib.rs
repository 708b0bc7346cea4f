//! QEMU harness and comparison with Linux.
