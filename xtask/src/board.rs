//! The boards that QEMU emulates, and what each needs: its device tree, and a QEMU that knows it.
use crate::apt::Apt;
use crate::ctx::Ctx;
use crate::{dtb, linux, setup};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A board.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// QEMU's own, with virtio devices
    Virt,
    /// Raspberry Pi 3 Model B
    Raspi3b,
    /// Raspberry Pi 4 Model B (QEMU 9 or newer; Debian's backport is fetched when there is none)
    Raspi4b,
}

impl Board {
    /// QEMU's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Board::Virt => "virt",
            Board::Raspi3b => "raspi3b",
            Board::Raspi4b => "raspi4b",
        }
    }

    /// Whether it is a Raspberry Pi: its CPUs and memory are fixed, and it has two serial ports and no virtio.
    pub fn is_pi(self) -> bool {
        self != Board::Virt
    }

    /// The device tree, from Debian's kernel package; `virt` makes its own.
    pub fn dtb(self, ctx: &Ctx) -> Result<Option<PathBuf>> {
        let name = match self {
            Board::Virt => return Ok(None),
            Board::Raspi3b => "bcm2837-rpi-3-b.dtb",
            Board::Raspi4b => "bcm2711-rpi-4-b.dtb",
        };
        Ok(Some(linux::dtbs(ctx)?.join("broadcom").join(name)))
    }

    /// The device tree for Linux, written into `dir`: without the Bluetooth chip behind a Raspberry Pi's PL011. QEMU has not got it, and Linux
    /// keeps the port for its driver: there would be no `ttyAMA0`.
    pub fn dtb_for_linux(self, ctx: &Ctx, dir: &Path) -> Result<Option<PathBuf>> {
        let Some(path) = self.dtb(ctx)? else { return Ok(None) };
        let mut tree = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        dtb::remove_node(&mut tree, "bluetooth")?;
        let written = dir.join("board.dtb");
        std::fs::write(&written, tree)?;
        Ok(Some(written))
    }

    /// What Linux must be told on its command line so that it does not touch, and panic about, what QEMU does not model: of a Raspberry Pi 4 the
    /// interrupt controller and the I2C of HDMI, and clocks, which it would look at to switch off those that nobody uses.
    pub fn words_for_linux(self) -> &'static str {
        match self {
            Board::Virt | Board::Raspi3b => "",
            Board::Raspi4b => "clk_ignore_unused initcall_blacklist=brcmstb_l2_driver_init,brcmstb_i2c_driver_init",
        }
    }

    /// A QEMU that knows the board, as a command, and whether its user programs may end it by semihosting.
    pub fn qemu(self, ctx: &Ctx) -> Result<(Command, bool)> {
        let (major, minor) = setup::qemu()?;
        if self == Board::Raspi4b && major < 9 {
            let dir = backport(ctx)?;
            let mut qemu = Command::new(dir.join("usr/bin").join(setup::QEMU));
            qemu.arg("-L").arg(dir.join("usr/share/qemu"));
            return Ok((qemu, true));
        }
        Ok((Command::new(setup::QEMU), (major, minor) >= (7, 2)))
    }
}

/// Debian's newer QEMU, unpacked beside the installed one, whose libraries it uses.
fn backport(ctx: &Ctx) -> Result<PathBuf> {
    let apt = Apt::backports(ctx)?;
    let packages = ["qemu-system-arm", "qemu-system-common", "qemu-system-data"].map(|p| apt.download(p));
    let [arm, common, data] = packages;
    let debs = [arm?, common?, data?];
    apt.unpacked_together(&debs.iter().map(PathBuf::as_path).collect::<Vec<&Path>>())
}
