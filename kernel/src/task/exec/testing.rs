//! Files for the tests of exec: a program is written to the root file system and opened as execve does.

use super::ExecFile;
use crate::mm::tests::{context, run};
use vigil_abi::fcntl::{O_CREAT, O_TRUNC, O_WRONLY};
use vigil_fs::vfs::{OpenHow, Pos, WriteLimits, open, open_exec, write};
use vigil_fs::{At, KernelMem, LookupFlags};
use vigil_mem::IoBuf;

/// Makes `path` a file with these bytes and mode 0755.
pub(super) fn write_file(path: &[u8], bytes: &[u8]) {
    let ctx = context();
    let how = OpenHow { flags: O_CREAT | O_TRUNC | O_WRONLY, mode: 0o755, ..OpenHow::default() };
    let file = run(open(&ctx, At::Cwd, path, how)).unwrap();
    let mut from = IoBuf::kernel(bytes);
    let n = if bytes.is_empty() { 0 } else { run(write(&file, &mut from, Pos::At(0), &WriteLimits::NONE, &KernelMem)).unwrap() };
    assert_eq!(n, bytes.len());
}

/// Opens `path` for execution.
pub(super) fn exec_file(path: &[u8]) -> ExecFile {
    ExecFile::new(run(open_exec(&context(), At::Cwd, path, LookupFlags::FOLLOW)).unwrap())
}
