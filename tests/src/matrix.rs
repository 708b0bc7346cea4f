//! The machines on which the kernel must boot: CPU × interrupt controller × memory × exception level.
use crate::{Case, Input, Output};

const CPUS: [&str; 5] = ["cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "max"];

/// One boot per combination. Two memory sizes and two entry levels for each CPU and controller; all but a few are long.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cpu in CPUS {
        for gic in ["2", "3"] {
            for mem in ["128M", "8G"] {
                for el2 in [false, true] {
                    let level = if el2 { "el2" } else { "el1" };
                    let mut case = Case::program(&format!("boot/{cpu}-gic{gic}-{mem}-{level}"), vec!["sh", "-c", "nproc; uname -m"], 0)
                        .streams(Input::Empty, Output::Exact("4\naarch64\n".to_string()), Output::Empty);
                    case.options = ["--cpu", cpu, "--gic", gic, "--mem", mem, "--smp", "4"].map(str::to_string).to_vec();
                    if el2 {
                        case.options.push("--el2".to_string());
                    }
                    // One of each value, not all pairs, in every run.
                    let short = [
                        ("cortex-a53", "2", "128M", true),
                        ("cortex-a57", "3", "128M", false),
                        ("cortex-a76", "3", "8G", true),
                        ("max", "2", "8G", false),
                    ];
                    case.long = !short.contains(&(cpu, gic, mem, el2));
                    cases.push(case);
                }
            }
        }
    }
    for smp in ["1", "2", "8"] {
        let case = Case::program(&format!("boot/smp-{smp}"), vec!["nproc"], 0);
        let case = case.options(&["--smp", smp]).streams(Input::Empty, Output::Exact(format!("{smp}\n")), Output::Empty);
        cases.push(case);
    }
    let isolated = Case::program("boot/isolcpus", vec!["sh", "-c", "nproc; grep Cpus_allowed_list /proc/self/status; taskset 2 nproc"], 0);
    let isolated = isolated.options(&["--smp", "4", "--append", "isolcpus=1-2"]);
    cases.push(isolated.streams(Input::Empty, Output::Exact("2\nCpus_allowed_list:\t0,3\n1\n".to_string()), Output::Empty));
    cases
}
