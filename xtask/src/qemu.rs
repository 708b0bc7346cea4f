//! The QEMU command line.
use crate::board::Board;
use crate::ctx::Ctx;
use crate::run::Failure;
use anyhow::Result;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine to emulate.
#[derive(Args, Clone, Debug)]
pub struct Machine {
    /// Board to boot on
    #[arg(long, value_enum, default_value = "virt", value_name = "BOARD")]
    pub board: Board,
    /// Serial port of a Raspberry Pi that the console is on: 0, the PL011, or 1, the mini UART
    #[arg(long, default_value = "0", value_name = "N", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub uart: u8,
    /// Number of CPUs, 1 to 8 [default: 2, with --icount 1; a Raspberry Pi has 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub smp: Option<u32>,
    /// Memory: a number and K, M, G or T; M without one [default: 512M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub mem: Option<String>,
    /// CPU model [default: cortex-a72]
    #[arg(long, value_name = "MODEL", value_parser = CPUS)]
    pub cpu: Option<String>,
    /// Version of the interrupt controller: 2 or 3 [default: 3]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(2..=3))]
    pub gic: Option<u8>,
    /// Enter the kernel at EL2
    #[arg(long)]
    pub el2: bool,
    /// Words added to the kernel's command line (may be repeated)
    #[arg(long, allow_hyphen_values = true, value_name = "WORDS")]
    pub append: Vec<String>,
    /// Raw disk image, attached as a virtio block device (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub disk: Vec<PathBuf>,
    /// One instruction is one nanosecond of guest time: repeatable to the instruction
    #[arg(long)]
    pub icount: bool,
    /// Wait for gdb on port 1234 before the first instruction
    #[arg(long)]
    pub gdb: bool,
    /// More arguments for QEMU itself
    #[arg(long, hide = true, allow_hyphen_values = true, value_name = "ARG")]
    pub qemu_arg: Vec<String>,
}

/// The CPU models that are tested.
const CPUS: [&str; 5] = ["cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "max"];

/// Accepts what QEMU understands as a size of memory.
fn size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T']);
    let good = text.len() <= digits.len() + 1 && digits.parse::<u64>().is_ok_and(|n| n > 0);
    good.then(|| text.to_string()).ok_or_else(|| "not a size such as 512M or 8G".to_string())
}

/// The flags that make a run exact and repeatable (DESIGN.md 8).
pub const ICOUNT: [&str; 6] = ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2024-01-01,clock=vm"];

impl Machine {
    /// QEMU with this machine, without kernel and console; `dtb` is its device tree, unless it makes its own. Gives also whether user space
    /// may end QEMU by semihosting.
    pub fn command(&self, ctx: &Ctx, dtb: Option<&Path>) -> Result<(Command, bool)> {
        let (mut qemu, user_exit) = self.board.qemu(ctx)?;
        match dtb {
            Some(dtb) => {
                self.check_pi()?;
                qemu.args(["-M", self.board.name(), "-dtb"]).arg(dtb);
            }
            None => self.virt(&mut qemu),
        }
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.args(["-semihosting-config", if user_exit { "enable=on,target=native,userspace=on" } else { "enable=on,target=native" }]);
        for (i, disk) in self.disk.iter().enumerate() {
            if !disk.exists() {
                return Err(Failure::new(2, format!("{}: no such file", disk.display())).into());
            }
            qemu.args(["-drive", &format!("file={},if=none,id=disk{i},format=raw", disk.display().to_string().replace(',', ",,"))]);
            qemu.args(["-device", &format!("virtio-blk-device,drive=disk{i}")]);
        }
        if self.icount {
            qemu.args(ICOUNT);
        }
        if self.gdb {
            qemu.args(["-s", "-S"]);
        }
        qemu.args(&self.qemu_arg);
        Ok((qemu, user_exit))
    }

    fn virt(&self, qemu: &mut Command) {
        let el2 = if self.el2 { ",virtualization=on" } else { "" };
        let cpus = self.smp.unwrap_or(if self.icount { 1 } else { 2 });
        qemu.args(["-M", &format!("virt,gic-version={}{el2}", self.gic.unwrap_or(3))]);
        qemu.args(["-cpu", self.cpu.as_deref().unwrap_or("cortex-a72"), "-smp", &cpus.to_string()]);
        qemu.args(["-m", self.mem.as_deref().unwrap_or("512M"), "-net", "none"]);
        qemu.args(["-global", "virtio-mmio.force-legacy=false"]);
    }

    /// What cannot be chosen on a board that is as it is.
    fn check_pi(&self) -> Result<()> {
        let chosen = [
            ("--smp (use --append maxcpus=N)", self.smp.is_some_and(|n| n != 4)),
            ("--mem (use --append mem=SIZE)", self.mem.is_some()),
            ("--cpu", self.cpu.is_some()),
            ("--gic", self.gic.is_some()),
            ("--disk", !self.disk.is_empty()),
        ];
        match chosen.iter().find(|(_, chosen)| *chosen) {
            Some((option, _)) => Err(Failure::new(2, format!("{}: {option} cannot be chosen", self.board.name())).into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_those_that_qemu_takes() {
        assert!(["128", "128M", "8G", "64k"].iter().all(|s| size(s).is_ok()));
        assert!(["", "M", "12X", "1.5G", "-1", "0", "8GG"].iter().all(|s| size(s).is_err()));
    }
}
