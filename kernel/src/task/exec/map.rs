//! Mapping the segments of one ELF file (Linux: `elf_map`, `set_brk`, the loops of `load_elf_binary` and
//! `load_elf_interp`).

use super::elf::{ElfHeader, ElfType, ProgramHeader, ProgramHeaders};
use crate::mm::pgtable::{page_down, page_up};
use crate::mm::space::Space;
use crate::mm::vma::VmFlags;
use crate::mm::{Limits, Mm, MmapRequest, TASK_SIZE};
use vigil_abi::Errno;
use vigil_abi::mm::{MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE};
use vigil_fs::File;
use vigil_mem::{KArc, KVec, PAGE_SIZE};

/// What a file is mapped as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// The program; `0`: where a PIE with an interpreter goes.
    Program(Option<usize>),
    /// Its interpreter.
    Interpreter,
}

/// Bytes that the file does not fill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zero {
    pub addr: usize,
    pub len: usize,
    /// A failure counts.
    pub needed: bool,
}

/// A mapped file. Addresses have the bias added.
#[derive(Default)]
pub(super) struct Mapped {
    pub bias: usize,
    pub entry: usize,
    pub phdr: usize,
    pub start_code: usize,
    pub end_code: usize,
    pub start_data: usize,
    pub end_data: usize,
    /// End of bss, rounded to a page.
    pub brk: usize,
    pub zeros: KVec<Zero>,
}

/// The borders that grow with each segment, before the bias.
struct Extent {
    bss: usize,
    brk: usize,
    bss_exec: bool,
}

/// Maps `file` with mmap_lock held. Errors are Linux's after its point of no return.
pub(super) async fn map_file(
    mm: &Mm,
    space: &mut Space,
    file: &KArc<File>,
    header: &ElfHeader,
    phdrs: ProgramHeaders<'_>,
    role: Role,
    limits: &Limits,
) -> Result<Mapped, Errno> {
    let total = phdrs.total_size()?.unwrap_or(0) as usize;
    let mut out = Mapped { start_code: usize::MAX, ..Mapped::default() };
    let mut extent = Extent { bss: 0, brk: 0, bss_exec: false };
    let mut first = true;
    for p in phdrs.loads() {
        let vaddr = p.vaddr as usize;
        if extent.brk > extent.bss && matches!(role, Role::Program(_)) {
            map_bss(mm, space, &extent, out.bias, false, &mut out.zeros, limits).await?;
        }
        let flags = if first {
            let wanted = wanted_base(header.kind, role, vaddr, &phdrs);
            let at = place(space, header.kind, role, wanted, total)?;
            if header.kind == ElfType::Dyn {
                out.bias = at.wrapping_sub(page_down(vaddr));
            }
            MAP_PRIVATE | MAP_FIXED_NOREPLACE
        } else {
            MAP_PRIVATE | MAP_FIXED
        };
        first = false;
        map_segment(mm, space, file, &p, out.bias, flags, limits).await?;
        p.check_span()?;
        let (_, _, exec) = p.rights();
        if exec {
            out.start_code = out.start_code.min(vaddr);
        }
        out.start_data = out.start_data.max(vaddr);
        // check_span: neither sum exceeds TASK_SIZE.
        let (file_end, mem_end) = (vaddr + p.filesz as usize, vaddr + p.memsz as usize);
        extent.bss = extent.bss.max(file_end);
        if exec {
            out.end_code = out.end_code.max(file_end);
        }
        out.end_data = out.end_data.max(file_end);
        if mem_end > extent.brk {
            extent.brk = mem_end;
            extent.bss_exec = exec;
        }
    }
    if first {
        // Nothing to load: a program without segments starts at an address where nothing is; an interpreter is refused.
        if role == Role::Interpreter {
            return Err(Errno::EINVAL);
        }
        out.start_code = 0;
    }
    map_bss(mm, space, &extent, out.bias, true, &mut out.zeros, limits).await?;
    out.brk = page_up(extent.brk.wrapping_add(out.bias)).ok_or(Errno::ENOMEM)?;
    out.entry = (header.entry as usize).wrapping_add(out.bias);
    if out.entry >= TASK_SIZE {
        return Err(Errno::EINVAL);
    }
    let bias = out.bias;
    for border in [&mut out.start_code, &mut out.end_code, &mut out.start_data, &mut out.end_data] {
        *border = border.wrapping_add(bias);
    }
    out.phdr = (phdrs.phdr_address(header.phoff) as usize).wrapping_add(bias);
    Ok(out)
}

/// The address that the first segment asks for, before rounding to a page.
fn wanted_base(kind: ElfType, role: Role, vaddr: usize, phdrs: &ProgramHeaders<'_>) -> usize {
    match (kind, role) {
        (ElfType::Dyn, Role::Program(Some(base))) => base & !(phdrs.max_alignment() as usize - 1),
        (ElfType::Dyn, Role::Program(None)) => 0,
        _ => vaddr,
    }
}

/// Where the whole file goes: its own place when that is fixed, else wherever there is room.
fn place(space: &Space, kind: ElfType, role: Role, wanted: usize, total: usize) -> Result<usize, Errno> {
    if total == 0 {
        return Err(Errno::EINVAL);
    }
    let len = page_up(total).ok_or(Errno::ENOMEM)?;
    let fixed = kind == ElfType::Exec || matches!(role, Role::Program(Some(_)));
    if !fixed {
        return Mm::get_unmapped_area(&space.tree, &space.layout, page_down(wanted), len);
    }
    let at = page_down(wanted);
    if len > TASK_SIZE || at > TASK_SIZE - len {
        return Err(Errno::ENOMEM);
    }
    if space.tree.first_in(at, at + len).is_some() {
        return Err(Errno::EEXIST);
    }
    Ok(at)
}

/// Maps what the file holds of one segment.
async fn map_segment(
    mm: &Mm,
    space: &mut Space,
    file: &KArc<File>,
    p: &ProgramHeader,
    bias: usize,
    flags: u32,
    limits: &Limits,
) -> Result<(), Errno> {
    let in_page = p.page_offset();
    let size = p.filesz.checked_add(in_page).ok_or(Errno::EINVAL)? as usize;
    if size == 0 {
        return Ok(());
    }
    let (r, w, x) = p.rights();
    let prot = u32::from(r) | u32::from(w) << 1 | u32::from(x) << 2;
    let offset = p.offset.wrapping_sub(in_page);
    if offset % PAGE_SIZE as u64 != 0 {
        return Err(Errno::EINVAL);
    }
    let len = page_up(size).filter(|l| *l != 0).ok_or(Errno::ENOMEM)?;
    offset.checked_add(len as u64).ok_or(Errno::EINVAL)?;
    let addr = page_down((p.vaddr as usize).wrapping_add(bias));
    let req = MmapRequest { addr, len, prot, flags, file: Some(file.clone()), offset };
    mm.do_mmap(space, &req, len, limits).await.map(|_| ())
}

/// Maps whole pages of bss, and notes the part of the last page of the file that must be zeroed.
async fn map_bss(
    mm: &Mm,
    space: &mut Space,
    extent: &Extent,
    bias: usize,
    needed: bool,
    zeros: &mut KVec<Zero>,
    limits: &Limits,
) -> Result<(), Errno> {
    let bss = extent.bss.wrapping_add(bias);
    let brk = extent.brk.wrapping_add(bias);
    if brk <= bss {
        return Ok(());
    }
    let (start, end) = (page_up(bss).ok_or(Errno::ENOMEM)?, page_up(brk).ok_or(Errno::ENOMEM)?);
    if end > TASK_SIZE {
        return Err(Errno::ENOMEM);
    }
    if end > start {
        mm.unmap(space, start, end).await?;
        let mut flags = VmFlags::READ | VmFlags::WRITE | VmFlags::MAY_ALL;
        if extent.bss_exec {
            flags |= VmFlags::EXEC;
        }
        mm.map_anonymous(space, start, end, flags, limits)?;
    }
    let len = start - bss;
    if len != 0 {
        zeros.try_push(Zero { addr: bss, len, needed })?;
    }
    Ok(())
}
