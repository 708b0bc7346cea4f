//! Indices that user space chooses, clamped against speculation past their bounds check (Linux: array_index_nospec;
//! DESIGN.md rule 13).

/// `index` if it is below `len`, else 0, computed without a branch that could be mispredicted: the value depends on the
/// comparison as data. Use it behind the bounds check that user space sees.
#[inline(always)]
pub fn index_nospec(index: usize, len: usize) -> usize {
    index & mask(index, len)
}

/// All ones if `index < len`, else 0.
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[inline(always)]
fn mask(index: usize, len: usize) -> usize {
    let mask: usize;
    // SAFETY: arithmetic on registers. SBC gives −1 when the comparison borrowed, and CSDB (a hint) keeps later loads from
    // using a predicted value of it.
    unsafe {
        core::arch::asm!("cmp {i}, {n}", "sbc {m}, xzr, xzr", "hint #20", i = in(reg) index, n = in(reg) len, m = out(reg) mask, options(pure, nomem, nostack));
    }
    mask
}

/// The twin on a host, where nothing attacks.
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
#[inline(always)]
fn mask(index: usize, len: usize) -> usize {
    usize::from(index < len).wrapping_neg()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::index_nospec;

    #[test]
    fn indices_beyond_the_end_become_zero() {
        assert_eq!([0, 3, 4, 5, usize::MAX].map(|i| index_nospec(i, 4)), [0, 3, 0, 0, 0]);
        assert_eq!(index_nospec(0, 0), 0);
    }
}
