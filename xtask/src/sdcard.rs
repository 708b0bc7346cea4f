//! `cargo xtask image --board rpi3|rpi4|rpi5 DIR`: what goes on the boot partition of a Raspberry Pi's SD card, but for the
//! firmware's own files, which are named. The same input makes the same bytes.
use crate::board::Board;
use crate::ctx::Ctx;
use crate::{build, initramfs, ui, userland};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// A board with a slot for the card.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pi {
    /// Raspberry Pi 3 Model B and B+
    Rpi3,
    /// Raspberry Pi 4 Model B
    Rpi4,
    /// Raspberry Pi 5
    Rpi5,
}

/// Options of `image`.
#[derive(Args, Clone, Debug)]
pub struct ImageArgs {
    /// The board
    #[arg(long, value_enum)]
    pub board: Pi,
    /// Words added to the kernel's command line (may be repeated)
    #[arg(long, allow_hyphen_values = true, value_name = "WORDS")]
    pub append: Vec<String>,
    /// The initramfs, instead of busybox
    #[arg(long, value_name = "FILE")]
    pub initramfs: Option<PathBuf>,
    /// Take init and target/Image as the last build left them
    #[arg(long, hide = true)]
    pub no_build: bool,
    /// Where to write the files: an empty or new directory, or one that this command has written
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

impl Pi {
    fn name(self) -> &'static str {
        match self {
            Pi::Rpi3 => "Raspberry Pi 3",
            Pi::Rpi4 => "Raspberry Pi 4",
            Pi::Rpi5 => "Raspberry Pi 5",
        }
    }

    /// The emulated board with the same device tree; Debian's kernel has none for a Raspberry Pi 5.
    fn emulated(self) -> Option<Board> {
        match self {
            Pi::Rpi3 => Some(Board::Raspi3b),
            Pi::Rpi4 => Some(Board::Raspi4b),
            Pi::Rpi5 => None,
        }
    }

    /// The firmware's files that must be on the card as well.
    pub fn firmware(self) -> &'static [&'static str] {
        match self {
            Pi::Rpi3 => &["bootcode.bin", "start.elf", "fixup.dat"],
            Pi::Rpi4 => &["start4.elf", "fixup4.dat"],
            // Its loader is in its own flash memory.
            Pi::Rpi5 => &["bcm2712-rpi-5-b.dtb"],
        }
    }

    /// The port of the pins 8 and 10 of the header, or of a Raspberry Pi 5's debug connector, which its tree's stdout-path names.
    fn console(self) -> &'static str {
        match self {
            Pi::Rpi3 | Pi::Rpi4 => "console=ttyS1,115200 ",
            Pi::Rpi5 => "",
        }
    }

    fn config(self, dtb: Option<&str>) -> String {
        let mut text = format!("# {}, by cargo xtask image. Every key: docs/raspberry-pi.md\n[all]\n", self.name());
        text += "arm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs.cpio followkernel\nenable_uart=1\n";
        if let Some(dtb) = dtb {
            text += &format!("device_tree={dtb}\n");
        }
        text += "disable_splash=1\nboot_delay=0\n# For measuring latency: one clock, no display.\n#force_turbo=1\n#hdmi_blanking=2\n";
        text
    }

    fn readme(self) -> String {
        let files: String = self.firmware().iter().map(|f| format!("    {f}\n")).collect();
        format!(
            "Vigil for a {}.\n\nCopy everything here to the first partition (FAT32) of an SD card, and add from the folder \"boot\" of the\n\
             repository raspberrypi/firmware:\n\n{files}\nThe console is at 115200 baud, 8N1: docs/raspberry-pi.md says where.\n",
            self.name()
        )
    }
}

/// Writes the directory; the exit status.
pub fn image(ctx: &Ctx, args: &ImageArgs) -> Result<i32> {
    let dir = &args.dir;
    let ours = dir.join("kernel8.img").exists() && dir.join("cmdline.txt").exists();
    if !ours && std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} has files that are not of this command", dir.display());
    }
    let kernel = if args.no_build { ctx.target.join("Image") } else { build::kernel(ctx, false)?.image };
    let kernel = std::fs::read(&kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
    check_header(&kernel)?;
    let initrd = match &args.initramfs {
        Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => {
            let mut tree = initramfs::base(ctx, &build::init(ctx, args.no_build)?, None)?;
            tree.host_file("/bin/irqlat", &userland::program(ctx, "vigil-irqlat", "irqlat")?)?;
            tree.archive()
        }
    };
    let dtb = args.board.emulated().map(|board| board.dtb(ctx)).transpose()?.flatten();
    let dtb_name = dtb.as_ref().and_then(|d| d.file_name()).map(|n| n.to_string_lossy().into_owned());
    let words = args.append.join(" ");
    let cmdline = format!("{}rdinit=/init panic=10 {words}", args.board.console());

    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).with_context(|| format!("cannot write {name}"));
    put("kernel8.img", &kernel)?;
    put("initramfs.cpio", &initrd)?;
    put("config.txt", args.board.config(dtb_name.as_deref()).as_bytes())?;
    put("cmdline.txt", format!("{}\n", cmdline.trim()).as_bytes())?;
    put("README.txt", args.board.readme().as_bytes())?;
    if let (Some(dtb), Some(name)) = (&dtb, &dtb_name) {
        put(name, &std::fs::read(dtb)?)?;
    }
    ui::say(&format!("{} is complete but for the firmware's {}", dir.display(), args.board.firmware().join(", ")));
    Ok(0)
}

/// Whether the firmware takes `image` for a 64-bit kernel and puts it where it can run: the header of booting.rst.
pub fn check_header(image: &[u8]) -> Result<()> {
    let word = |at: usize| image.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).context("the image is too short");
    if image.get(56..60) != Some(b"ARM\x64") {
        bail!("the image has no arm64 header");
    }
    let (offset, size, flags) = (word(8)?, word(16)?, word(24)?);
    if offset != 0 || flags & 1 != 0 || flags & 8 == 0 {
        bail!("the image wants text offset {offset:#x}, flags {flags:#x}: not little-endian at any address");
    }
    if size < image.len() as u64 {
        bail!("the header says {size} bytes and the image has {}", image.len());
    }
    Ok(())
}

/// The keys of a config.txt, with their values; a line without `=` by its first word.
pub fn config_keys(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', '[']));
    lines.filter_map(|l| l.split_once('=').or_else(|| l.split_once(' '))).collect()
}

/// Whether everything that a board's config.txt names is in `dir`, and the firmware would start our kernel in 64-bit mode.
pub fn check_card(dir: &Path) -> Result<()> {
    let config = std::fs::read_to_string(dir.join("config.txt"))?;
    let keys = config_keys(&config);
    let get = |key: &str| keys.iter().find(|(k, _)| *k == key).map(|(_, v)| *v).with_context(|| format!("config.txt has no {key}"));
    if get("arm_64bit")? != "1" || get("enable_uart")? != "1" {
        bail!("config.txt does not ask for 64 bits and a serial port");
    }
    check_header(&std::fs::read(dir.join(get("kernel")?))?)?;
    let initramfs = get("initramfs")?;
    let (name, place) = initramfs.split_once(' ').context("initramfs without a place")?;
    if place != "followkernel" || !std::fs::read(dir.join(name))?.starts_with(b"070701") {
        bail!("the initramfs is no cpio archive behind the kernel");
    }
    if let Ok(dtb) = get("device_tree")
        && !std::fs::read(dir.join(dtb))?.starts_with(&[0xd0, 0x0d, 0xfe, 0xed])
    {
        bail!("{dtb} is no device tree");
    }
    let cmdline = std::fs::read_to_string(dir.join("cmdline.txt"))?;
    if cmdline.lines().count() != 1 || !cmdline.contains("rdinit=/init") {
        bail!("cmdline.txt is not one line");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_files_are_read_as_the_firmware_reads_them() {
        let text = Pi::Rpi3.config(Some("x.dtb"));
        let keys = config_keys(&text);
        assert!(keys.contains(&("initramfs", "initramfs.cpio followkernel")) && keys.contains(&("device_tree", "x.dtb")));
        assert!(!keys.iter().any(|(key, _)| key.contains("force_turbo")));
        assert!(!config_keys(&Pi::Rpi5.config(None)).iter().any(|(key, _)| *key == "device_tree"));
    }

    #[test]
    fn a_header_that_the_firmware_would_not_take_is_refused() {
        let mut image = vec![0; 4096];
        assert!(check_header(&image).is_err());
        image[56..60].copy_from_slice(b"ARM\x64");
        image[16..24].copy_from_slice(&8192u64.to_le_bytes());
        image[24] = 0b1010;
        assert!(check_header(&image).is_ok());
        image[8] = 0x80;
        assert!(check_header(&image).is_err(), "a text offset");
        image[8] = 0;
        image[24] = 0b1011;
        assert!(check_header(&image).is_err(), "big-endian");
        image[24] = 0b1010;
        image[16..24].copy_from_slice(&100u64.to_le_bytes());
        assert!(check_header(&image).is_err(), "more bytes than it says");
    }
}
