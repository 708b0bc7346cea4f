//! What the hot calls cost on the host: `cargo run --release -p vigil-fs --example cost -- CALL COUNT`, under a tool that
//! counts instructions (`perf stat -e instructions:u`, or callgrind). Run it with
//! two counts and divide the difference.
//!
//! It is a measuring aid for developers, not a gate: the gate counts instructions of the whole system call in QEMU.

use core::future::Future;
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_CREAT, O_RDONLY, O_RDWR};
use vigil_fs::{At, Cred, Ctx, FsStruct, Host, KernelMem, LookupFlags, OpenHow, Pos, Time, WriteLimits};
use vigil_mem::{IoBuf, IoBufMut};

struct Bench;
static HOST: &dyn Host = &Bench;

impl Host for Bench {
    fn now(&self) -> Time {
        Time::default()
    }
    fn random(&self, out: &mut [u8]) {
        out.fill(0);
    }
    fn ram_pages(&self) -> u64 {
        60 << 10
    }
    fn current_tgid(&self) -> u32 {
        1
    }
    fn current_tid(&self) -> u32 {
        1
    }
    fn signal_file(&self, _: &vigil_fs::File, _: i32, _: vigil_fs::vfs::fasync::Band) {}
}

fn now<T>(future: impl Future<Output = Result<T, Errno>>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("does not wait").expect("succeeds")
}

fn main() {
    let mut args = std::env::args().skip(1);
    let call = args.next().unwrap_or_default();
    let count: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    vigil_mem::host::start();
    let root = vigil_fs::init(&HOST).expect("starts");
    let fs = FsStruct::new(root.clone());
    let cred = Cred::root();
    let ctx = Ctx { fs: &fs, cred: &cred, fsize_limit: u64::MAX };
    now(vigil_fs::mkdir(&ctx, At::Cwd, b"/usr", 0o755));
    now(vigil_fs::mkdir(&ctx, At::Cwd, b"/usr/bin", 0o755));
    let create = OpenHow { flags: O_RDWR | O_CREAT, mode: 0o644, ..OpenHow::default() };
    let file = now(vigil_fs::open(&ctx, At::Cwd, b"/usr/bin/env", create));
    now(vigil_fs::write(&file, &mut IoBuf::kernel(&[1; 4096]), Pos::Shared, &WriteLimits::NONE, &KernelMem));
    let read_only = OpenHow { flags: O_RDONLY, ..OpenHow::default() };
    let zero = {
        now(vigil_fs::mknod(&ctx, At::Cwd, b"/dev/zero", vigil_abi::stat::S_IFCHR | 0o666, 0x105));
        now(vigil_fs::open(&ctx, At::Cwd, b"/dev/zero", read_only))
    };
    let (reader, writer) = vigil_fs::pipe::pipe(0).expect("a pipe");
    let image = match call.as_str() {
        "unpack" => std::fs::read(args.next().expect("an archive")).expect("readable"),
        _ => Vec::new(),
    };
    let mut byte = [0u8; 1];
    for _ in 0..count {
        match call.as_str() {
            "stat" => {
                let path = vigil_fs::try_lookup(&ctx, &At::Cwd, b"/", LookupFlags::FOLLOW).expect("cached").expect("there");
                std::hint::black_box(vigil_fs::stat(&path).to_abi());
            }
            "stat3" => {
                let path = vigil_fs::try_lookup(&ctx, &At::Cwd, b"/usr/bin/env", LookupFlags::FOLLOW).expect("cached").expect("there");
                std::hint::black_box(vigil_fs::stat(&path).to_abi());
            }
            "open" => drop(vigil_fs::try_open(&ctx, &At::Cwd, b"/usr/bin/env", &read_only).expect("cached")),
            "read" => {
                let _ = vigil_fs::try_read(&file, &mut IoBufMut::kernel(&mut byte), Pos::At(5));
            }
            "zero" => {
                let _ = vigil_fs::try_read(&zero, &mut IoBufMut::kernel(&mut byte), Pos::Shared);
            }
            "pipe" => {
                let _ = vigil_fs::try_write(&writer, &mut IoBuf::kernel(&byte), Pos::Shared, || Ok(WriteLimits::NONE));
                let _ = vigil_fs::try_read(&reader, &mut IoBufMut::kernel(&mut byte), Pos::Shared);
            }
            "unpack" => {
                let report = vigil_fs::unpack(&root, &image);
                println!("{report:?}");
            }
            _ => {}
        }
    }
}
