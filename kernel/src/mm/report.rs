//! What `/proc/PID/{maps,smaps,statm,status}` say about an address space. The formats are Linux's, byte for byte
//! (`fs/proc/task_mmu.c`).

use super::space::Mm;
use super::table::ENTRIES_PER_HOLD;
use super::vma::{Backing, VmFlags, Vma};
use super::{counters::Rss, page};
use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Relaxed;
use vigil_fs::Path;
use vigil_mem::{PAGE_SHIFT, PAGE_SIZE};

/// Column at which a mapping's name begins.
const NAME_COLUMN: usize = 73;

/// Counts what passes through.
struct Counting<'a> {
    out: &'a mut dyn Write,
    written: usize,
}

impl Write for Counting<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.written += s.len();
        self.out.write_str(s)
    }
}

impl Mm {
    /// The lines of `/proc/PID/maps`. `root` is the reader's root directory, which paths are shown from.
    pub async fn show_maps(&self, root: &Path, out: &mut (dyn Write + Send)) -> fmt::Result {
        let space = self.read().await;
        for vma in space.tree.iter() {
            show_vma(vma, space.fields.start_brk, space.fields.brk, space.fields.start_stack, root, out)?;
        }
        Ok(())
    }

    /// The lines of `/proc/PID/smaps`, without what needs page tables of other processes.
    pub async fn show_smaps(&self, root: &Path, out: &mut (dyn Write + Send)) -> fmt::Result {
        let space = self.read().await;
        for vma in space.tree.iter() {
            show_vma(vma, space.fields.start_brk, space.fields.brk, space.fields.start_stack, root, out)?;
            let u = self.usage(vma);
            let kb = |pages: usize| pages << (PAGE_SHIFT - 10);
            let locked = if vma.flags.contains(VmFlags::LOCKED) { u.rss() } else { 0 };
            for (name, pages) in [
                ("Size", vma.pages()),
                ("KernelPageSize", 1),
                ("MMUPageSize", 1),
                ("Rss", u.rss()),
                ("Shared_Clean", u.shared_clean),
                ("Shared_Dirty", u.shared_dirty),
                ("Private_Clean", u.private_clean),
                ("Private_Dirty", u.private_dirty),
                ("Anonymous", u.anon),
                ("Swap", 0),
                ("Locked", locked),
            ] {
                let label = Label(name);
                writeln!(out, "{label}{:>8} kB", kb(pages))?;
            }
            show_flags(vma.flags, out)?;
        }
        Ok(())
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

    fn usage(&self, vma: &Vma) -> Usage {
        let mut u = Usage::default();
        let mut at = vma.start;
        while let Some((table, first)) = self.tables.next_table(at, vma.end) {
            let stop = vma.end.min((first & !(super::pgtable::PMD_SIZE - 1)).saturating_add(super::pgtable::PMD_SIZE));
            let stop = stop.min(first.saturating_add(ENTRIES_PER_HOLD * PAGE_SIZE));
            let locked = self.tables.lock(table, first);
            for addr in (first..stop).step_by(PAGE_SIZE) {
                let pte = locked.get(addr);
                if !pte.is_present() || pte.is_special() {
                    continue;
                }
                let mut kind = Rss::default();
                kind.count(pte.pfn(), 1);
                u.anon += kind.anon as usize;
                let slot = match (page::is_sole_owner(pte.pfn()), pte.is_dirty()) {
                    (true, true) => &mut u.private_dirty,
                    (true, false) => &mut u.private_clean,
                    (false, true) => &mut u.shared_dirty,
                    (false, false) => &mut u.shared_clean,
                };
                *slot += 1;
            }
            at = stop;
        }
        u
    }
}

#[derive(Default)]
struct Usage {
    shared_clean: usize,
    shared_dirty: usize,
    private_clean: usize,
    private_dirty: usize,
    anon: usize,
}

impl Usage {
    fn rss(&self) -> usize {
        self.shared_clean + self.shared_dirty + self.private_clean + self.private_dirty
    }
}

/// A label of smaps, padded to its column.
struct Label(&'static str);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:width$}", self.0, "", width = 15usize.saturating_sub(self.0.len()))
    }
}

/// The VmFlags line.
fn show_flags(flags: VmFlags, out: &mut dyn Write) -> fmt::Result {
    out.write_str("VmFlags:")?;
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
            write!(out, " {name}")?;
        }
    }
    out.write_str(" \n")
}

/// One line of maps.
fn show_vma(vma: &Vma, start_brk: usize, brk: usize, start_stack: usize, root: &Path, out: &mut dyn Write) -> fmt::Result {
    let mut line = Counting { out, written: 0 };
    let bit = |f: VmFlags, c: char| if vma.flags.contains(f) { c } else { '-' };
    let (dev, ino) = vma.file_map().map_or((0, 0), |m| (m.inode.sb().dev, m.inode.ino));
    let offset = if vma.is_anonymous() { 0 } else { vma.pgoff << PAGE_SHIFT };
    write!(
        line,
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        vma.start,
        vma.end,
        bit(VmFlags::READ, 'r'),
        bit(VmFlags::WRITE, 'w'),
        bit(VmFlags::EXEC, 'x'),
        if vma.flags.contains(VmFlags::MAYSHARE) { 's' } else { 'p' },
        offset,
        dev >> 20,
        dev & 0xf_ffff,
        ino
    )?;
    let mut buffer = [0u8; 512];
    let name: &[u8] = match &vma.backing {
        Backing::Special(s) => s.name.as_bytes(),
        Backing::File(_) | Backing::Device { .. } => match vma.file() {
            Some(file) => vigil_fs::d_path(file.path(), root, &mut buffer).unwrap_or(b""),
            None => b"",
        },
        Backing::Anon if vma.start <= brk && vma.end >= start_brk => b"[heap]",
        Backing::Anon if vma.start <= start_stack && start_stack <= vma.end => b"[stack]",
        Backing::Anon => b"",
    };
    if !name.is_empty() {
        while line.written < NAME_COLUMN {
            line.write_char(' ')?;
        }
        for chunk in name.utf8_chunks() {
            for c in chunk.valid().chars() {
                // A newline in a name would look like another mapping.
                if c == '\n' { line.write_str("\\012")? } else { line.write_char(c)? }
            }
            for b in chunk.invalid() {
                write!(line, "\\{b:03o}")?;
            }
        }
    }
    line.write_char('\n')
}
