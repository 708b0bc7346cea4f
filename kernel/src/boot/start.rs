//! The order of the boot on the boot CPU, at the virtual address, up to `kernel_main`.

use super::info::{self, BootInfo, CpuInfo};
use super::params::{Complaint, Params};
use super::{earlycon, memory};
use crate::arch::aarch64::{boot, cpu, features, hardening, kaslr, mmu, psci};
use crate::debug::{console, panic, panic_print, printk, semihosting, warn};
use crate::trace::dump;
use crate::{pr_info, pr_notice, pr_warn};
use vigil_drivers::dt::{self, Dtb, early};
use vigil_executor::cpu::{CpuId, MAX_CPUS};
use vigil_mem::{PhysAddr, phys_to_virt};

/// The longest command line (Linux on arm64: COMMAND_LINE_SIZE).
const COMMAND_LINE_SIZE: usize = 2048;
/// Longest machine name that is kept.
const MODEL_SIZE: usize = 64;

static CMDLINE: spin::Once<([u8; COMMAND_LINE_SIZE], usize)> = spin::Once::new();
static MODEL: spin::Once<([u8; MODEL_SIZE], usize)> = spin::Once::new();

/// Copies at most `N` bytes of `from` into `to`, for ever.
fn keep<const N: usize>(to: &'static spin::Once<([u8; N], usize)>, from: &[u8]) -> &'static [u8] {
    let (bytes, len) = to.call_once(|| {
        let mut bytes = [0; N];
        let len = from.len().min(N);
        bytes[..len].copy_from_slice(&from[..len]);
        (bytes, len)
    });
    &bytes[..*len]
}

/// The tree at `va`, validated. `None`: not a device tree.
///
/// # Safety
/// 2 MiB at `va` are mapped and nobody writes them as long as the answer lives.
unsafe fn tree_at(va: usize) -> Option<Dtb<'static>> {
    // SAFETY: by the caller's contract.
    let head = unsafe { core::slice::from_raw_parts(va as *const u8, 40) };
    let size = Dtb::peek_size(head).ok()?;
    // SAFETY: `peek_size` answers at most 2 MiB.
    dt::validate(unsafe { core::slice::from_raw_parts(va as *const u8, size) }).ok()
}

/// Goes on where the architecture's entry code ends: exceptions masked, the boot stack empty, one CPU.
pub fn start() -> ! {
    printk::start_clock();
    printk::init_log_crate();
    let args = boot::boot_args();
    let dtb_phys = args.x[0];
    let early_dtb = Some(dtb_phys)
        .filter(|p| *p != 0)
        .and_then(mmu::map_fdt)
        // SAFETY: `map_fdt` maps 4 MiB around it, read-only; nobody else writes the tree.
        .and_then(|va| unsafe { tree_at(va) });
    let Some(early_dtb) = early_dtb else {
        // Without a tree there is neither a console nor memory: nothing can be said or done.
        cpu::park();
    };
    let chosen = early::chosen(&early_dtb);
    let cmdline = keep(&CMDLINE, chosen.bootargs.unwrap_or("").as_bytes());
    let params = Params::parse(cmdline, |why, name| match why {
        Complaint::Malformed => pr_warn!("Malformed option '{}'", name.escape_ascii()),
        Complaint::Unsupported => pr_warn!("Option '{}' is not supported and has no effect", name.escape_ascii()),
    });
    apply(&params);
    earlycon::init(&params, &early_dtb);
    let model = core::str::from_utf8(keep(&MODEL, early::model(&early_dtb).unwrap_or("unknown").as_bytes())).unwrap_or("unknown");

    pr_info!("Booting Vigil on physical CPU {:#012x} [{:#010x}]", cpu::mpidr(), cpu::midr());
    pr_notice!(
        "Vigil version {} (rustc, {}) #1 SMP PREEMPT",
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) { "checks on" } else { "release" }
    );
    if args.x[1..] != [0; 3] {
        pr_warn!("x1-x3 nonzero in violation of boot protocol: {:x?}", &args.x[1..]);
    }
    pr_info!("Machine model: {model}");
    pr_info!("CPU: started at EL{}, image at {:#x} physical, KASLR offset {:#x}", args.boot_el, args.image_phys, kaslr::offset());
    pr_notice!("Kernel command line: {}", cmdline.escape_ascii());
    if let Some((major, minor)) = psci::version() {
        pr_info!("psci: PSCIv{major}.{minor} detected in firmware.");
    }
    start_features(&params);

    let initrd = memory::init(&early_dtb, dtb_phys, &params);
    // SAFETY: the linear map covers the tree's pages, which are reserved for ever.
    let dtb = unsafe { tree_at(phys_to_virt(PhysAddr::new(dtb_phys as usize)).get()) };
    let Some(dtb) = dtb else { panic!("the device tree is not in memory") };
    let rng_seed = early::chosen(&dtb).rng_seed.and_then(|s| s.first_chunk::<32>()).copied();
    let cpus = list_cpus(&dtb, params.nr_cpus);
    let info = info::set(BootInfo { cmdline, params, initrd, dtb, boot_el: args.boot_el, model, rng_seed, cpus });
    if let Err(why) = hardening::init_cpu(CpuId::BOOT) {
        panic!("CPU0: {why}");
    }
    crate::kernel_main(info)
}

/// What takes effect at once.
fn apply(params: &Params<'_>) {
    if params.semihosting {
        semihosting::enable();
    }
    if let Some(level) = params.loglevel {
        printk::set_console_level(level);
    }
    printk::set_ignore_level(params.ignore_loglevel);
    panic::set_timeout(params.panic_timeout);
    panic::set_panic_on_oops(params.panic_on_oops);
    panic_print::set(params.panic_print);
    warn::set_panics(params.panic_on_warn);
    dump::set_at_the_end(params.ftrace_dump_on_oops);
    if params.keep_bootcon {
        console::keep_boot_consoles();
    }
}

/// Reads the boot CPU's features and decides on the mitigations.
fn start_features(params: &Params<'_>) {
    let regs = features::read_this_cpu();
    features::set_boot_cpu(&regs, cpu::midr(), cpu::revidr());
    pr_info!("CPU features: hwcap {:#x} hwcap2 {:#x}", features::hwcap(), features::hwcap2());
    hardening::init(params);
}

/// The CPUs by logical number.
fn list_cpus(dtb: &Dtb<'_>, limit: Option<u32>) -> [Option<CpuInfo>; MAX_CPUS] {
    let mut list = [None; MAX_CPUS];
    let boot = cpu::mpidr();
    let limit = limit.map_or(MAX_CPUS, |n| (n as usize).clamp(1, MAX_CPUS));
    let mut next = 1;
    list[0] = Some(CpuInfo { mpidr: boot, enable: early::EnableMethod::Unknown });
    for node in early::cpus(dtb).filter(|n| n.available) {
        let info = CpuInfo { mpidr: node.mpidr, enable: node.enable };
        if node.mpidr == boot {
            list[0] = Some(info);
        } else if next < limit {
            list[next] = Some(info);
            next += 1;
        }
    }
    list
}
