//! Debian's arm64 kernel, the one that Vigil is compared with.
use crate::apt::Apt;
use crate::board::Board;
use crate::cpio::Tree;
use crate::ctx::Ctx;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// An unpacked `linux-image-*-arm64`.
pub struct Linux {
    /// `vmlinuz`, bootable by QEMU.
    pub image: PathBuf,
    /// Such as `6.1.0-50-arm64`.
    pub release: String,
    dir: PathBuf,
    input: PathBuf,
    watchdog: PathBuf,
}

/// The modules without which Debian's kernel sees no virtio-mmio device, in the order in which they must be loaded.
const MODULES: [&str; 6] = [
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio_mmio.ko",
    "drivers/char/virtio_console.ko",
    "drivers/block/virtio_blk.ko",
    "drivers/char/hw_random/virtio-rng.ko",
];

/// The modules that make an input device of `virt`'s power button, in the order in which they must be loaded.
const INPUT: [&str; 2] = ["drivers/input/evdev.ko", "drivers/input/keyboard/gpio_keys.ko"];

/// A Raspberry Pi's watchdog, by which it is switched off and restarted.
const WATCHDOG: &str = "drivers/watchdog/bcm2835_wdt.ko";

/// Fetches (once) and unpacks (once) the kernel and the few modules; `rt`: the kernel with PREEMPT_RT.
pub fn fetch(ctx: &Ctx, rt: bool) -> Result<Linux> {
    let apt = Apt::new(ctx)?;
    let package = apt.linux_image(rt)?;
    let release = package.trim_start_matches("linux-image-").to_string();
    let dir = apt.unpacked_part(
        &package,
        &["./boot/vmlinuz*", "*/kernel/drivers/virtio/*", "*/char/virtio_console.ko", "*/block/virtio_blk.ko", "*/hw_random/*"],
    )?;
    let input = apt.unpacked_as(&package, "-input", &["*/input/evdev.ko", "*/keyboard/gpio_keys.ko"])?;
    let watchdog = apt.unpacked_as(&package, "-watchdog", &["*/watchdog/bcm2835_wdt.ko"])?;
    Ok(Linux { image: dir.join(format!("boot/vmlinuz-{release}")), release, dir, input, watchdog })
}

/// The directory of the device trees in Debian's kernel package, of which those of Broadcom's boards are unpacked.
pub fn dtbs(ctx: &Ctx) -> Result<PathBuf> {
    let apt = Apt::new(ctx)?;
    let package = apt.linux_image(false)?;
    let dir = apt.unpacked_as(&package, "-dtbs", &["*/broadcom/bcm2*-rpi-*.dtb"])?;
    Ok(dir.join("usr/lib").join(package))
}

impl Linux {
    /// Packs the modules for virtio and input, or for a Raspberry Pi's watchdog, and the list by which init loads them. `block`: with the
    /// driver for disks.
    pub fn pack_modules(&self, tree: &mut Tree, board: Board, block: bool) -> Result<()> {
        let mut list = String::new();
        let virtio = MODULES.iter().filter(|m| block || !m.contains("blk")).filter(|m| !m.contains("rng")).map(|m| (&self.dir, m));
        let of_virt = virtio.chain(INPUT.iter().map(|m| (&self.input, m))).filter(|_| board == Board::Virt);
        for (dir, module) in of_virt.chain(board.is_pi().then_some((&self.watchdog, &WATCHDOG))) {
            let from = dir.join("lib/modules").join(&self.release).join("kernel").join(module);
            if !from.exists() {
                // Built into this kernel.
                continue;
            }
            let name = module.rsplit('/').next().context("a module has a name")?;
            let to = format!("/.vigil/modules.d/{name}");
            tree.host_file(&to, &from)?;
            list.push_str(&to);
            list.push('\n');
        }
        tree.file("/.vigil/modules", 0o644, list.into_bytes());
        Ok(())
    }
}
