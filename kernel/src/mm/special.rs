//! Kernel pages that show in user address spaces: vvar and vDSO (Linux: `_install_special_mapping`).

use core::sync::atomic::{AtomicUsize, Ordering};
use vigil_mem::{PAGE_SHIFT, Pfn};

/// Most pages of one special mapping.
const MAX_PAGES: usize = 4;

/// Pages that live as long as the kernel, under a name.
pub struct SpecialMapping {
    /// What `/proc/PID/maps` shows, brackets included.
    pub name: &'static str,
    /// Frame numbers; 0 where there is none yet.
    pages: [AtomicUsize; MAX_PAGES],
}

impl SpecialMapping {
    /// A mapping without pages.
    pub const fn new(name: &'static str) -> Self {
        SpecialMapping { name, pages: [const { AtomicUsize::new(0) }; MAX_PAGES] }
    }

    /// Sets page `index`, once at boot.
    pub fn set_page(&self, index: usize, pfn: Pfn) {
        if let Some(slot) = self.pages.get(index) {
            slot.store(pfn.get(), Ordering::Release);
        }
    }

    /// Page `index`, if there is one.
    pub fn page(&self, index: u64) -> Option<Pfn> {
        let n = self.pages.get(usize::try_from(index).ok()?)?.load(Ordering::Acquire);
        (n != 0).then_some(Pfn::new(n))
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.pages.iter().filter(|p| p.load(Ordering::Relaxed) != 0).count() << PAGE_SHIFT
    }

    /// Whether it has no page.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
