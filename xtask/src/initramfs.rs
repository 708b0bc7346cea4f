//! The initramfs of `run`: init, busybox with a link for each of its applets, or a given root directory, and what init shall do.
use crate::apt::Apt;
use crate::cpio::Tree;
use crate::ctx::Ctx;
use crate::elf;
use crate::run::Failure;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Directory of the program in the guest, also its working directory.
const HOME: &str = "/root";
/// Marks the end of the output streams; followed by random digits so that no program prints it.
pub const NONCE_PREFIX: &str = "\u{1}vigil:end:";

/// Packages whose libraries most programs need.
const LIBRARIES: [&str; 4] = ["libc6", "libgcc-s1", "libstdc++6", "zlib1g"];

/// Fetches what the trees below are made of.
pub fn fetch(apt: &Apt) -> Result<()> {
    LIBRARIES.iter().chain(&["busybox-static"]).try_for_each(|package| apt.unpacked(package).map(drop))
}

/// The program that init runs.
pub struct Program {
    /// Path in the guest.
    pub path: String,
    /// argv[0] and on.
    pub argv: Vec<String>,
    /// Additional environment, `NAME=value`.
    pub env: Vec<String>,
    /// Standard streams are the console.
    pub tty: bool,
    /// The serial port that all output goes to, on a board without virtio.
    pub uart: Option<&'static str>,
    /// QEMU lets user space end it.
    pub semihosting: bool,
    /// What init writes at the end of the output streams.
    pub nonce: String,
}

/// A tree with init and either busybox or the contents of `rootfs`.
pub fn base(ctx: &Ctx, init: &Path, rootfs: Option<&Path>) -> Result<Tree> {
    let mut tree = Tree::new();
    for dir in ["bin", "sbin", "dev", "proc", "sys", "run", "etc", "usr/bin", "usr/sbin"] {
        if rootfs.is_none() {
            tree.dir(dir, 0o755);
        }
    }
    if let Some(rootfs) = rootfs {
        tree.host_dir("", rootfs)?;
    }
    for dir in ["dev", "proc", "sys", "run"] {
        tree.dir(dir, 0o755);
    }
    tree.dir("tmp", 0o1777);
    tree.dir("root", 0o700);
    tree.chardev("/dev/console", 0o600, 5, 1);
    tree.chardev("/dev/null", 0o666, 1, 3);
    tree.host_file("/init", init)?;
    let has_shell = tree.has("/bin/sh") || tree.has("/usr/bin/sh");
    if !has_shell {
        let busybox = Apt::new(ctx)?.unpacked("busybox-static")?.join("bin/busybox");
        let bytes = std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
        for applet in applets(&bytes) {
            let path = format!("/bin/{applet}");
            if !tree.has(&path) {
                tree.link(&path, "busybox");
            }
        }
        tree.file("/bin/busybox", 0o755, bytes);
        if !tree.has("/usr/bin/env") {
            tree.link("/usr/bin/env", "/bin/busybox");
        }
    }
    for (path, text) in [
        ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("/etc/group", "root:x:0:\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
        ("/etc/shrc", "PS1='\\w # '\n"),
    ] {
        if !tree.has(path) {
            tree.file(path, 0o644, text.as_bytes().to_vec());
        }
    }
    Ok(tree)
}

/// The names of busybox's applets, from the table in its own read-only data: NUL-terminated, sorted, beginning with `[` and `[[`.
fn applets(busybox: &[u8]) -> Vec<String> {
    let Some(start) = busybox.windows(6).position(|w| w == b"\0[\0[[\0") else { return vec!["sh".to_string()] };
    let names = busybox[start + 1..].split(|b| *b == 0).take_while(|n| !n.is_empty());
    names.map(|n| String::from_utf8_lossy(n).into_owned()).filter(|n| n != "init" && n != "linuxrc" && n != "busybox").collect()
}

/// Puts the host's program with all that it needs into the tree and gives its path in the guest.
///
/// A name without a slash that is no file here is looked up on the guest's PATH.
pub fn add_program(ctx: &Ctx, tree: &mut Tree, name: &str, rootfs: Option<&Path>, env: &mut Vec<String>) -> Result<String> {
    let host = PathBuf::from(name);
    if !host.exists() && !name.contains('/') {
        let found =
            ["/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin"].iter().map(|dir| format!("{dir}/{name}")).find(|p| tree.has(p));
        if let Some(path) = found {
            return Ok(path);
        }
    }
    if !host.exists() {
        return Err(Failure::new(127, format!("{name}: no such file")).into());
    }
    let bytes = match std::fs::read(&host) {
        Ok(bytes) => bytes,
        Err(error) => return Err(Failure::new(126, format!("{name}: {error}")).into()),
    };
    let file_name = host.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let guest = format!("{HOME}/{file_name}");
    if bytes.starts_with(b"#!") {
        let line = String::from_utf8_lossy(bytes[2..].split(|b| *b == b'\n').next().unwrap_or_default()).into_owned();
        let interpreter = line.split_whitespace().next().unwrap_or_default().to_string();
        if !tree.has(&interpreter) {
            return Err(Failure::new(126, format!("{name}: its interpreter {interpreter} is missing")).into());
        }
    } else {
        let wanted = elf::needs(&bytes).map_err(|e| Failure::new(126, format!("{name}: {e}")))?;
        if wanted.interpreter.is_some() || !wanted.libraries.is_empty() {
            let mut roots: Vec<PathBuf> = rootfs.iter().map(|p| p.to_path_buf()).collect();
            if let Ok(apt) = Apt::new(ctx) {
                for package in LIBRARIES {
                    roots.push(apt.unpacked(package)?);
                }
            }
            let found = elf::resolve(&host, HOME, &roots).map_err(|e| Failure::new(126, format!("{name}: {e}")))?;
            for (path, from) in &found {
                if !tree.has(path) {
                    tree.host_file(path, from)?;
                }
            }
            if found.keys().any(|k| k.starts_with(HOME)) {
                env.push(format!("LD_LIBRARY_PATH={HOME}"));
            }
        }
    }
    tree.file(&guest, 0o755, bytes);
    Ok(guest)
}

/// Writes down for init what to run.
pub fn add_orders(tree: &mut Tree, program: &Program) {
    let mut env = vec![
        "HOME=/root".to_string(),
        "PATH=/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin".to_string(),
        "USER=root".to_string(),
        format!("TERM={}", std::env::var("TERM").unwrap_or_else(|_| "linux".to_string())),
    ];
    env.extend(program.env.iter().cloned());
    let join = |strings: &[String]| strings.iter().flat_map(|s| s.bytes().chain([0])).collect::<Vec<u8>>();
    tree.file("/.vigil/argv", 0o644, join(&program.argv));
    tree.file("/.vigil/env", 0o644, join(&env));
    tree.file("/.vigil/path", 0o644, program.path.clone().into_bytes());
    tree.file("/.vigil/cwd", 0o644, HOME.as_bytes().to_vec());
    tree.file("/.vigil/nonce", 0o644, program.nonce.clone().into_bytes());
    if program.tty {
        tree.file("/.vigil/tty", 0o644, Vec::new());
    }
    if let Some(uart) = program.uart {
        tree.file("/.vigil/uart", 0o644, uart.as_bytes().to_vec());
    }
    if program.semihosting {
        tree.file("/.vigil/semihosting", 0o644, Vec::new());
    }
}
