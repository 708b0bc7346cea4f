//! Random bytes: ChaCha20 keyed from the boot loader's seed and timings, with fast key erasure.
//!
//! The design is Linux's `crng` in small: a base key; each request derives a key of its own from it, replaces the base
//! key by output, and answers from the derived stream, so that what was given out cannot be computed from what is kept.

use core::sync::atomic::{AtomicBool, Ordering::*};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// The base key.
static KEY: SpinLock<[u32; 8]> = SpinLock::new(lock_class!("random"), [0; 8]);
static SEEDED: AtomicBool = AtomicBool::new(false);

/// One ChaCha20 block (RFC 8439, section 2.3).
fn block(key: &[u32; 8], counter: u32, nonce: [u32; 3]) -> [u8; 64] {
    let mut s = [0u32; 16];
    s[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    s[4..12].copy_from_slice(key);
    s[12] = counter;
    s[13..].copy_from_slice(&nonce);
    let initial = s;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        s[a] = s[a].wrapping_add(s[b]);
        s[d] = (s[d] ^ s[a]).rotate_left(16);
        s[c] = s[c].wrapping_add(s[d]);
        s[b] = (s[b] ^ s[c]).rotate_left(12);
        s[a] = s[a].wrapping_add(s[b]);
        s[d] = (s[d] ^ s[a]).rotate_left(8);
        s[c] = s[c].wrapping_add(s[d]);
        s[b] = (s[b] ^ s[c]).rotate_left(7);
    };
    for _ in 0..10 {
        quarter(0, 4, 8, 12);
        quarter(1, 5, 9, 13);
        quarter(2, 6, 10, 14);
        quarter(3, 7, 11, 15);
        quarter(0, 5, 10, 15);
        quarter(1, 6, 11, 12);
        quarter(2, 7, 8, 13);
        quarter(3, 4, 9, 14);
    }
    let mut out = [0u8; 64];
    for (i, word) in out.chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&s[i].wrapping_add(initial[i]).to_le_bytes());
    }
    out
}

/// Replaces the key by 32 bytes of output and returns the other 32: a fresh key, or what a small request asks for.
fn derive() -> [u8; 32] {
    let mut key = KEY.lock_irq();
    let out = block(&key, 0, [0; 3]);
    let (next, mut fresh) = (words(&out[..32]), [0; 32]);
    *key = next;
    fresh.copy_from_slice(&out[32..]);
    fresh
}

/// The key of [`hidden`].
static HIDING: SpinLock<Option<[u32; 8]>> = SpinLock::new(lock_class!("random_hiding"), None);

/// Stands for `address` in texts: the same for as long as the machine runs, and nothing can be learnt from it (Linux: %p).
pub fn hidden(address: usize) -> u32 {
    // A new key is made outside the lock, and not used if somebody was faster.
    let known = *HIDING.lock_irq();
    let key = known.unwrap_or_else(|| {
        let new = words(&derive());
        *HIDING.lock_irq().get_or_insert(new)
    });
    let out = block(&key, 0, [address as u32, (address >> 32) as u32, 0]);
    u32::from_le_bytes([out[0], out[1], out[2], out[3]])
}

/// 32 bytes as a key.
fn words(bytes: &[u8]) -> [u32; 8] {
    let mut w = [0u32; 8];
    for (slot, chunk) in w.iter_mut().zip(bytes.chunks_exact(4)) {
        *slot = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    w
}

/// Mixes `bytes` into the key. The first call with at least 32 bytes makes the generator ready.
pub fn add_entropy(bytes: &[u8]) {
    let mut key = KEY.lock_irq();
    for chunk in bytes.chunks(32) {
        for (i, b) in chunk.iter().enumerate() {
            key[i / 4] ^= u32::from(*b) << (8 * (i % 4));
        }
        let counter = vigil_executor::arch::counter();
        let out = block(&key, 1, [counter as u32, (counter >> 32) as u32, 0]);
        for (slot, chunk) in key.iter_mut().zip(out.chunks_exact(4)) {
            *slot = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
    }
    if bytes.len() >= 32 {
        SEEDED.store(true, Release);
    }
}

/// Whether a seed came from outside; without one the bytes depend on timings alone.
pub fn is_seeded() -> bool {
    SEEDED.load(Acquire)
}

/// Fills `out`. Any context but an NMI; cost grows with the length, so callers ask for little at a time.
pub fn fill(out: &mut [u8]) {
    let fresh = derive();
    if let Some(bytes) = fresh.get(..out.len()) {
        return out.copy_from_slice(bytes);
    }
    let key = words(&fresh);
    for (i, chunk) in out.chunks_mut(64).enumerate() {
        let bytes = block(&key, i as u32, [1, 0, 0]);
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

/// A random word.
pub fn u64() -> u64 {
    let mut b = [0; 8];
    fill(&mut b);
    u64::from_le_bytes(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chacha20_block_matches_rfc_8439() {
        let mut key = [0u32; 8];
        for (i, k) in key.iter_mut().enumerate() {
            let b = 4 * i as u32;
            *k = b | (b + 1) << 8 | (b + 2) << 16 | (b + 3) << 24;
        }
        let out = block(&key, 1, [0x0900_0000, 0x4a00_0000, 0]);
        assert_eq!(out[..8], [0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15]);
    }

    #[test]
    fn two_requests_differ() {
        for length in [16, 32, 33, 100] {
            let (mut a, mut b) = ([0; 100], [0; 100]);
            fill(&mut a[..length]);
            fill(&mut b[..length]);
            assert_ne!(a, b);
            assert!(a[..length].windows(8).all(|w| w != [0; 8]));
        }
    }
}
