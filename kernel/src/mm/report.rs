//! What `/proc/PID/{maps,smaps,statm,status}` say about an address space. The formats are Linux's, byte for byte
//! (`fs/proc/task_mmu.c`).

use super::page;
use super::space::{Mm, Space};
use super::table::ENTRIES_PER_HOLD;
use super::vma::{Backing, VmFlags, Vma};
use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Relaxed;
use vigil_fs::Path;
use vigil_fs::vnode::{PART, SeqBuf};
use vigil_mem::{PAGE_SHIFT, PAGE_SIZE, Pfn};

/// Column at which a mapping's name begins.
const NAME_COLUMN: usize = 73;

/// What of an address space the kinds of mappings are told by.
struct Places<'a> {
    fields: &'a super::space::MmFields,
    /// The reader's root directory, which paths are shown from.
    root: &'a Path,
}

impl Mm {
    /// Lines of `/proc/PID/maps` from the mapping at `from` or above on, [`PART`] bytes or some more; where the next ones begin.
    /// `root` is the reader's root directory, which paths are shown from.
    pub async fn show_maps(&self, from: usize, root: &Path, out: &mut SeqBuf) -> Option<usize> {
        let space = self.read().await;
        let places = Places { fields: &space.fields, root };
        for_part(&space, from, out, |vma, out| show_vma(vma, &places, out))
    }

    /// Entries of `/proc/PID/smaps`, as [`Mm::show_maps`].
    pub async fn show_smaps(&self, from: usize, root: &Path, out: &mut SeqBuf) -> Option<usize> {
        let space = self.read().await;
        let places = Places { fields: &space.fields, root };
        for_part(&space, from, out, |vma, out| {
            show_vma(vma, &places, out);
            for (name, pages) in [("Size", vma.pages()), ("KernelPageSize", 1), ("MMUPageSize", 1)] {
                put_kib(out, name, (pages as u64) << (PAGE_SHIFT - 10));
            }
            let mut usage = Usage::default();
            self.add_usage(vma, &mut usage);
            usage.show(false, out);
            out.put(b"THPeligible:    0\n");
            show_flags(vma.flags, out);
        })
    }

    /// `/proc/PID/smaps_rollup`: the sum over all mappings.
    pub async fn show_rollup(&self, out: &mut SeqBuf) {
        let space = self.read().await;
        let mut usage = Usage::default();
        for vma in space.tree.iter() {
            self.add_usage(vma, &mut usage);
        }
        let start = space.tree.iter().next().map_or(0, |vma| vma.start);
        let end = space.tree.last().and_then(|pos| space.tree.get(pos)).map_or(0, |vma| vma.end);
        put_range(out, start, end);
        out.put(b" ---p 00000000 00:00 0 ");
        out.pad(NAME_COLUMN, b' ');
        out.put(b"[rollup]\n");
        usage.show(true, out);
    }

    /// `/proc/PID/statm`: size, resident, shared, text, lib, data, dt; pages.
    pub async fn statm(&self) -> [usize; 7] {
        let fields = self.fields().await;
        let [anon, file, shmem] = self.counters.rss();
        let text = (fields.end_code.saturating_add(PAGE_SIZE - 1) >> PAGE_SHIFT) - (fields.start_code >> PAGE_SHIFT);
        let c = &self.counters;
        let data = c.data.load(Relaxed) + c.stack.load(Relaxed);
        [c.total.load(Relaxed), anon + file + shmem, file + shmem, text, 0, data, 0]
    }

    /// Resident pages: private, of files, of shared memory.
    pub fn rss(&self) -> [usize; 3] {
        self.counters.rss()
    }

    /// Size of all mappings in bytes (`vsize` of `/proc/PID/stat`).
    pub fn total_vm(&self) -> usize {
        self.counters.total.load(Relaxed) << PAGE_SHIFT
    }

    /// Largest resident set so far, in KiB (ru_maxrss).
    pub fn max_rss_kib(&self) -> usize {
        self.counters.hiwater_rss() << (PAGE_SHIFT - 10)
    }

    /// Bytes of page tables.
    pub fn page_table_bytes(&self) -> usize {
        self.tables.bytes()
    }

    /// The Vm* and Rss* lines of `/proc/PID/status`.
    pub async fn show_status(&self, out: &mut (dyn Write + Send)) -> fmt::Result {
        let fields = self.fields().await;
        let c = &self.counters;
        let [anon, file, shmem] = c.rss();
        let kb = |pages: usize| pages << (PAGE_SHIFT - 10);
        let text = (fields.end_code.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1)).saturating_sub(fields.start_code & !(PAGE_SIZE - 1))
            >> PAGE_SHIFT;
        let exec = c.exec.load(Relaxed);
        for (name, pages) in [
            ("VmPeak", c.hiwater_vm()),
            ("VmSize", c.total.load(Relaxed)),
            ("VmLck", c.locked.load(Relaxed)),
            ("VmPin", 0),
            ("VmHWM", c.hiwater_rss()),
            ("VmRSS", anon + file + shmem),
            ("RssAnon", anon),
            ("RssFile", file),
            ("RssShmem", shmem),
            ("VmData", c.data.load(Relaxed)),
            ("VmStk", c.stack.load(Relaxed)),
            ("VmExe", text.min(exec)),
            ("VmLib", exec.saturating_sub(text)),
            ("VmPTE", self.tables.bytes() >> PAGE_SHIFT),
            ("VmSwap", 0),
        ] {
            writeln!(out, "{name}:\t{:>8} kB", kb(pages))?;
        }
        Ok(())
    }

    /// Adds the pages of `vma` that are there.
    fn add_usage(&self, vma: &Vma, u: &mut Usage) {
        let before = u.pss;
        let mut at = vma.start;
        while let Some((table, first)) = self.tables.next_table(at, vma.end) {
            let stop = vma.end.min((first & !(super::pgtable::PMD_SIZE - 1)).saturating_add(super::pgtable::PMD_SIZE));
            let stop = stop.min(first.saturating_add(ENTRIES_PER_HOLD * PAGE_SIZE));
            let locked = self.tables.lock(table, first);
            let mut addr = locked.skip_empty(first, stop);
            while addr < stop {
                let pte = locked.get(addr);
                if pte.is_present() && !pte.is_special() {
                    u.count(pte.pfn(), pte.is_dirty());
                }
                addr = locked.skip_empty(addr + PAGE_SIZE, stop);
            }
            at = stop;
        }
        if vma.flags.contains(VmFlags::LOCKED) {
            u.locked += u.pss - before;
        }
    }
}

/// Calls `show` for the mappings from the one at `from` or above on until they have filled a part; where the next one begins.
fn for_part(space: &Space, from: usize, out: &mut SeqBuf, mut show: impl FnMut(&Vma, &mut SeqBuf)) -> Option<usize> {
    let mut pos = space.tree.find(from);
    while let Some((at, vma)) = pos.and_then(|at| Some((at, space.tree.get(at)?))) {
        if out.len() >= PART {
            return Some(vma.start);
        }
        show(vma, out);
        pos = space.tree.next(at);
    }
    None
}

/// Sums over pages that are there, KiB in 4 096ths: a page that n entries map counts for one n-th in what is proportional.
#[derive(Default)]
struct Usage {
    shared_clean: u64,
    shared_dirty: u64,
    private_clean: u64,
    private_dirty: u64,
    pss: u64,
    pss_dirty: u64,
    pss_anon: u64,
    pss_shmem: u64,
    anon: u64,
    locked: u64,
}

/// A whole page in a [`Usage`].
const WHOLE: u64 = (PAGE_SIZE as u64 >> 10) << 12;

impl Usage {
    fn count(&mut self, pfn: Pfn, dirty: bool) {
        let mappers = page::mappers(pfn);
        let share = WHOLE / mappers;
        let (anon, shmem) = (page::is_anon(pfn), page::is_shmem(pfn));
        // tmpfs has no store behind it: whatever is in a page of its is nowhere else.
        let dirty = dirty || shmem;
        self.pss += share;
        if dirty {
            self.pss_dirty += share;
        }
        if anon {
            self.anon += WHOLE;
            self.pss_anon += share;
        } else if shmem {
            self.pss_shmem += share;
        }
        *match (mappers == 1, dirty) {
            (true, true) => &mut self.private_dirty,
            (true, false) => &mut self.private_clean,
            (false, true) => &mut self.shared_dirty,
            (false, false) => &mut self.shared_clean,
        } += WHOLE;
    }

    /// The lines from Rss to Locked; `by_kind`: with those of each kind of memory.
    fn show(&self, by_kind: bool, out: &mut SeqBuf) {
        let rss = self.shared_clean + self.shared_dirty + self.private_clean + self.private_dirty;
        put_kib(out, "Rss", rss >> 12);
        put_kib(out, "Pss", self.pss >> 12);
        put_kib(out, "Pss_Dirty", self.pss_dirty >> 12);
        if by_kind {
            put_kib(out, "Pss_Anon", self.pss_anon >> 12);
            put_kib(out, "Pss_File", (self.pss - self.pss_anon - self.pss_shmem) >> 12);
            put_kib(out, "Pss_Shmem", self.pss_shmem >> 12);
        }
        put_kib(out, "Shared_Clean", self.shared_clean >> 12);
        put_kib(out, "Shared_Dirty", self.shared_dirty >> 12);
        put_kib(out, "Private_Clean", self.private_clean >> 12);
        put_kib(out, "Private_Dirty", self.private_dirty >> 12);
        // Nobody takes access flags away, so whatever is there was referenced.
        put_kib(out, "Referenced", rss >> 12);
        put_kib(out, "Anonymous", self.anon >> 12);
        // There are no huge pages, no swap, and MADV_FREE frees at once.
        for name in ["LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss"]
        {
            put_kib(out, name, 0);
        }
        put_kib(out, "Locked", self.locked >> 12);
    }
}

/// One line of smaps.
fn put_kib(out: &mut SeqBuf, name: &str, kib: u64) {
    let start = out.len();
    out.put(name.as_bytes());
    out.put_byte(b':');
    out.pad(start + 16, b' ');
    out.put_decimal(kib, 8);
    out.put(b" kB\n");
}

fn put_range(out: &mut SeqBuf, start: usize, end: usize) {
    out.put_hex(start as u64, 8);
    out.put_byte(b'-');
    out.put_hex(end as u64, 8);
}

/// The VmFlags line.
fn show_flags(flags: VmFlags, out: &mut SeqBuf) {
    out.put(b"VmFlags:");
    for (flag, name) in [
        (VmFlags::READ, "rd"),
        (VmFlags::WRITE, "wr"),
        (VmFlags::EXEC, "ex"),
        (VmFlags::SHARED, "sh"),
        (VmFlags::MAYREAD, "mr"),
        (VmFlags::MAYWRITE, "mw"),
        (VmFlags::MAYEXEC, "me"),
        (VmFlags::MAYSHARE, "ms"),
        (VmFlags::GROWSDOWN, "gd"),
        (VmFlags::PFNMAP, "pf"),
        (VmFlags::LOCKED, "lo"),
        (VmFlags::IO, "io"),
        (VmFlags::SEQ_READ, "sr"),
        (VmFlags::RAND_READ, "rr"),
        (VmFlags::DONTCOPY, "dc"),
        (VmFlags::DONTEXPAND, "de"),
        (VmFlags::LOCKONFAULT, "lf"),
        (VmFlags::ACCOUNT, "ac"),
        (VmFlags::NORESERVE, "nr"),
        (VmFlags::WIPEONFORK, "wf"),
        (VmFlags::DONTDUMP, "dd"),
        (VmFlags::HUGEPAGE, "hg"),
        (VmFlags::NOHUGEPAGE, "nh"),
        (VmFlags::MERGEABLE, "mg"),
    ] {
        if flags.contains(flag) {
            out.put_byte(b' ');
            out.put(name.as_bytes());
        }
    }
    out.put(b" \n");
}

/// One line of maps.
fn show_vma(vma: &Vma, places: &Places<'_>, out: &mut SeqBuf) {
    let line = out.len();
    let bit = |f: VmFlags, c: u8| if vma.flags.contains(f) { c } else { b'-' };
    let (dev, ino) = vma.file_map().map_or((0, 0), |m| (m.inode.sb().dev, m.inode.ino));
    let offset = if vma.is_anonymous() { 0 } else { vma.pgoff << PAGE_SHIFT };
    put_range(out, vma.start, vma.end);
    let shared = if vma.flags.contains(VmFlags::MAYSHARE) { b's' } else { b'p' };
    out.put(&[b' ', bit(VmFlags::READ, b'r'), bit(VmFlags::WRITE, b'w'), bit(VmFlags::EXEC, b'x'), shared, b' ']);
    out.put_hex(offset as u64, 8);
    out.put_byte(b' ');
    out.put_hex(u64::from(dev >> 20), 2);
    out.put_byte(b':');
    out.put_hex(u64::from(dev & 0xf_ffff), 2);
    out.put_byte(b' ');
    out.put_decimal(ino, 1);
    out.put_byte(b' ');
    let mut buffer = [0u8; 512];
    let fields = places.fields;
    let name: &[u8] = match &vma.backing {
        Backing::Special(s) => s.name.as_bytes(),
        Backing::File(_) | Backing::Device { .. } => match vma.file() {
            Some(file) => vigil_fs::d_path(file.path(), places.root, &mut buffer).unwrap_or(b""),
            None => b"",
        },
        Backing::Anon if vma.start <= fields.brk && vma.end >= fields.start_brk => b"[heap]",
        Backing::Anon if vma.start <= fields.start_stack && fields.start_stack <= vma.end => b"[stack]",
        Backing::Anon => b"",
    };
    if !name.is_empty() {
        out.pad(line + NAME_COLUMN, b' ');
        // A newline in a name would look like another mapping.
        out.put_escaped(name, b"\n");
    }
    out.put_byte(b'\n');
}
