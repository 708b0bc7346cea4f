//! From a file to a program that is ready to run.

use super::args::Args;
use super::elf::{ElfHeader, ProgramHeaders};
use super::map::{Mapped, Role, map_file};
use super::script::{self, HEAD_SIZE};
use super::stack::{self, Facts, Image};
use crate::mm::layout::Layout;
use crate::mm::pgtable::page_down;
use crate::mm::space::Space;
use crate::mm::vma::VmFlags;
use crate::mm::{Mm, MmFields, TASK_SIZE};
use vigil_abi::{Errno, until_nul};
use vigil_fs::vfs::open_exec;
use vigil_fs::vfs::rw::{self, Pos};
use vigil_fs::{At, Ctx, File, KernelMem, LookupFlags};
use vigil_mem::{IoBufMut, KArc, KVec, PAGE_SIZE};

/// Bytes by which the stack is made larger than what is on it at the start.
const STACK_EXPAND: usize = 128 << 10;
/// Rights of a stack.
const STACK: VmFlags = VmFlags::READ.union(VmFlags::WRITE).union(VmFlags::MAY_ALL).union(VmFlags::GROWSDOWN);

/// A file that is being executed: nobody may open it for writing while this lives.
pub struct ExecFile(KArc<File>);

impl ExecFile {
    /// Takes over a file from `vigil_fs::open_exec`, which denied writing.
    pub fn new(file: KArc<File>) -> ExecFile {
        ExecFile(file)
    }

    /// The file.
    pub fn file(&self) -> &KArc<File> {
        &self.0
    }
}

impl Drop for ExecFile {
    fn drop(&mut self) {
        self.0.inode().allow_write_access();
    }
}

/// Why a program was not loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadError {
    /// What execve(2) returns when it can return.
    pub errno: Errno,
    /// Linux has given the old program up at this point: the process dies by SIGSEGV.
    pub fatal: bool,
}

/// A program whose headers are read, and its interpreter's.
pub struct Program {
    exe: ExecFile,
    path: KVec<u8>,
    args: Args,
    image: Headers,
    interp: Option<(ExecFile, Headers)>,
}

struct Headers {
    header: ElfHeader,
    table: KVec<u8>,
}

impl Headers {
    fn phdrs(&self) -> ProgramHeaders<'_> {
        ProgramHeaders::new(&self.table)
    }
}

/// A new program, ready to be switched to.
pub struct LoadedImage {
    /// Its address space, one user.
    pub mm: KArc<Mm>,
    /// First instruction.
    pub entry: usize,
    /// Initial stack pointer.
    pub sp: usize,
    /// The task's new name: the last part of the path, 15 bytes at most, NUL-padded.
    pub comm: [u8; 16],
}

/// Reads up to `buf.len()` bytes at `at`; how many there were.
async fn read_at(file: &File, at: u64, buf: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buf.len() {
        let mut to = IoBufMut::kernel(&mut buf[done..]);
        let pos = Pos::At(at.checked_add(done as u64).ok_or(Errno::EINVAL)?);
        match rw::read(file, &mut to, pos, &KernelMem).await? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Reads exactly `len` bytes at `at`. EIO when there are fewer (`elf_read`).
async fn read_exact(file: &File, at: u64, len: usize) -> Result<KVec<u8>, Errno> {
    let mut bytes = KVec::new();
    bytes.try_resize(len, 0)?;
    if read_at(file, at, &mut bytes).await? != len {
        return Err(Errno::EIO);
    }
    Ok(bytes)
}

/// Finds out what `file`, opened by `vigil_fs::open_exec`, is, down to the ELF file that will run. `path` is how the
/// caller named it (`/dev/fd/N` for execveat with AT_EMPTY_PATH). ENOEXEC, ELOOP, E2BIG, EIO, ELIBBAD, ENOMEM, ENOENT
/// for a script whose name is gone then, and what
/// opening an interpreter gives.
pub async fn prepare(ctx: &Ctx<'_>, path: &[u8], file: ExecFile, mut args: Args, stack_limit: u64) -> Result<Program, Errno> {
    args.check(path, stack_limit)?;
    let name = KVec::try_from_slice(path)?;
    let mut exe = file;
    // What a `#!` line's interpreter gets as the script's name.
    let mut interp_name = KVec::try_from_slice(path)?;
    let mut depth = 0;
    loop {
        let mut head = [0u8; HEAD_SIZE];
        let n = read_at(&exe.0, 0, &mut head).await?;
        let Some(parsed) = script::parse(&head[..n]) else {
            let header = ElfHeader::parse(&head[..n])?;
            return prepare_elf(ctx, exe, name, args, header).await;
        };
        let line = parsed?;
        depth += 1;
        if args.path_vanishes {
            // The interpreter could not open it any more.
            return Err(Errno::ENOENT);
        }
        if depth > script::MAX_DEPTH {
            return Err(Errno::ELOOP);
        }
        match line.argument {
            Some(argument) => args.replace_first(&[line.interpreter, argument, &interp_name])?,
            None => args.replace_first(&[line.interpreter, &interp_name])?,
        }
        args.check(path, stack_limit)?;
        interp_name = KVec::try_from_slice(line.interpreter)?;
        exe = ExecFile(open_exec(ctx, At::Cwd, line.interpreter, LookupFlags::FOLLOW).await?);
    }
}

/// Reads the program headers, and the interpreter's.
async fn prepare_elf(ctx: &Ctx<'_>, exe: ExecFile, path: KVec<u8>, args: Args, header: ElfHeader) -> Result<Program, Errno> {
    // Linux gives ENOEXEC for any failure here, a short file included.
    let table = read_exact(&exe.0, header.phoff, header.phdrs_len()).await.map_err(|e| match e {
        Errno::ENOMEM => Errno::ENOMEM,
        _ => Errno::ENOEXEC,
    })?;
    let image = Headers { header, table };
    let interp = match image.phdrs().interpreter()? {
        None => None,
        Some((offset, len)) => {
            let path = read_exact(&exe.0, offset, len).await?;
            let Some((&0, path)) = path.split_last() else { return Err(Errno::ENOEXEC) };
            // The path ends at its first NUL.
            let path = until_nul(path);
            let file = ExecFile(open_exec(ctx, At::Cwd, path, LookupFlags::FOLLOW).await?);
            let head = read_exact(&file.0, 0, super::elf::EHDR_SIZE).await?;
            let header = ElfHeader::parse(&head).map_err(|_| Errno::ELIBBAD)?;
            let table = read_exact(&file.0, header.phoff, header.phdrs_len()).await.map_err(|_| Errno::ELIBBAD)?;
            Some((file, Headers { header, table }))
        }
    };
    Ok(Program { exe, path, args, image, interp })
}

impl Program {
    /// The file whose mode bits and owner decide on the new credentials: the ELF file, not a script.
    pub fn file(&self) -> &KArc<File> {
        &self.exe.0
    }

    /// Builds the new address space. Every error is [`LoadError::fatal`] but lack of memory before the first mapping.
    pub async fn load(self, facts: &Facts) -> Result<LoadedImage, LoadError> {
        let layout = Layout::new(facts.limits.stack, facts.aslr, facts.legacy_layout);
        let mm = Mm::new(layout).map_err(|errno| LoadError { errno, fatal: false })?;
        match self.build(&mm, layout, facts).await {
            Ok((entry, sp, comm)) => Ok(LoadedImage { mm, entry, sp, comm }),
            Err(errno) => {
                mm.exit_mmap().await;
                Err(LoadError { errno, fatal: true })
            }
        }
    }

    async fn build(self, mm: &Mm, layout: Layout, facts: &Facts) -> Result<(usize, usize, [u8; 16]), Errno> {
        let mut space = mm.write().await;
        let stack_end = layout.stack_top;
        self.map_stack(mm, &mut space, stack_end, facts)?;
        let pie_base = self.interp.as_ref().map(|_| layout.pie_base());
        let (exe, image) = (&self.exe.0, &self.image);
        let limits = &facts.limits;
        let role = Role::Program(pie_base);
        let program = map_file(mm, &mut space, exe, &image.header, image.phdrs(), role, limits).await?;
        let interp = match &self.interp {
            None => None,
            Some((file, h)) => Some(map_file(mm, &mut space, &file.0, &h.header, h.phdrs(), Role::Interpreter, limits).await?),
        };
        let vdso = mm.map_vdso(&mut space)?;
        let brk = self.heap_start(&program, &layout);
        let to_stack = Image {
            phdr: program.phdr,
            phnum: image.header.phnum,
            interp_base: interp.as_ref().map_or(0, |i| i.bias),
            entry: program.entry,
            vdso,
        };
        let stack = stack::build(stack_end, layout.stack_offset(), &self.args, &self.path, &to_stack, facts)?;
        space.fields = MmFields {
            start_code: program.start_code,
            end_code: program.end_code,
            start_data: program.start_data,
            end_data: program.end_data,
            start_brk: brk,
            brk,
            start_stack: stack.sp,
            arg_start: stack.arg_start,
            arg_end: stack.arg_end,
            env_start: stack.arg_end,
            env_end: stack.env_end,
        };
        space.auxv = KVec::try_from_slice(&stack.words[stack.auxv_at..])?;
        let entry = interp.as_ref().map_or(program.entry, |i| i.entry);
        let comm = comm_of(&self.path);
        drop(space);
        mm.set_exe(Some(KArc::try_new(self.exe)?));

        // From here on pages are touched, which takes mmap_lock itself.
        for zero in program.zeros.iter().chain(interp.iter().flat_map(|i| i.zeros.iter())) {
            if mm.zero_remote(zero.addr, zero.len).await != zero.len && zero.needed {
                return Err(Errno::EFAULT);
            }
        }
        put(mm, stack.arg_start, self.args.bytes()).await?;
        put(mm, stack.env_end, &self.path).await?;
        put(mm, stack.small.0, &stack.small.1).await?;
        let words: &[u64] = &stack.words;
        // SAFETY: plain integers seen as bytes, in the machine's order, which is the program's.
        let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast::<u8>(), size_of_val(words)) };
        put(mm, stack.sp, bytes).await?;
        Ok((entry, stack.sp, comm))
    }

    /// The stack: what is on it and 128 KiB more, within its limit.
    fn map_stack(&self, mm: &Mm, space: &mut Space, end: usize, facts: &Facts) -> Result<(), Errno> {
        let strings = stack::strings_start(end, &self.args, &self.path).ok_or(Errno::ENOMEM)?;
        let used = end - page_down(strings);
        let limit = page_down(facts.limits.stack as usize);
        let size = if used + STACK_EXPAND > limit { limit.max(used) } else { used + STACK_EXPAND };
        // The tables below the strings must fit as well: they are at most as large as the pointers that were counted.
        let (argc, envc) = self.args.counts();
        let tables = (argc + envc + 64) * 8 + 2 * PAGE_SIZE;
        let size = size.max(page_down(used + tables + PAGE_SIZE)).min(TASK_SIZE / 4);
        let exec = if self.image.phdrs().executable_stack() { VmFlags::EXEC } else { VmFlags::empty() };
        mm.map_anonymous(space, end - size, end, STACK | exec, &crate::mm::Limits::NONE)
    }

    /// Where the heap begins (the end of `load_elf_binary`).
    fn heap_start(&self, program: &Mapped, layout: &Layout) -> usize {
        use super::elf::ElfType;
        if !layout.is_random() {
            return program.brk;
        }
        // A loader run directly: its heap goes where PIEs are, out of the way of the mappings that it will make.
        if self.image.header.kind == ElfType::Dyn && self.interp.is_none() {
            return layout.randomize_brk(crate::mm::layout::ELF_ET_DYN_BASE);
        }
        layout.randomize_brk(program.brk)
    }
}

/// Writes to the new stack. EFAULT when that is impossible.
async fn put(mm: &Mm, at: usize, bytes: &[u8]) -> Result<(), Errno> {
    if mm.write_remote(at, bytes).await == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
}

/// The last part of `path`, cut to 15 bytes.
fn comm_of(path: &[u8]) -> [u8; 16] {
    let base = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    let mut comm = [0; 16];
    let n = base.len().min(15);
    comm[..n].copy_from_slice(&base[..n]);
    comm
}
