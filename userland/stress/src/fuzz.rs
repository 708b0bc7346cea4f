//! Mutated programs: an ELF that only exits, with bytes of it changed. The kernel must refuse it or run it, and live.
use crate::sys::{child, exec, wait};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// A static AArch64 ELF with two segments whose code is `exit(0)`.
fn tiny_elf() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const CODE: u64 = 64 + 2 * 56;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let u16s = |elf: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    let u64s = |elf: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| elf.extend(v.to_le_bytes()));
    u16s(&mut elf, &[2, 183, 1, 0]);
    u64s(&mut elf, &[BASE + CODE, 64, 0]);
    u16s(&mut elf, &[0, 0, 64, 56, 2, 64, 0, 0]);
    for (flags, offset, address, size, memory) in [(5u64, 0, BASE, CODE + 12, CODE + 12), (6, 0, BASE + 0x1_0000, 64, 8192)] {
        u64s(&mut elf, &[1 | flags << 32, offset, address, address, size, memory, 0x1000]);
    }
    // mov x0, #0; mov x8, #93; svc #0
    for instruction in [0xd280_0000u32, 0xd280_0ba8, 0xd400_0001] {
        elf.extend(instruction.to_le_bytes());
    }
    elf
}

/// Writes and executes `count` mutants, the same ones each time. The unchanged program must run.
pub fn programs(count: u32) -> Result<(), String> {
    let original = tiny_elf();
    if run(&original)? != 0 {
        return Err("the unchanged program does not run".to_string());
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below.max(1)
    };
    // Values on which sizes and offsets overflow.
    let edges = [0u64, 1, 0xfff, 0x1000, 0x7fff_ffff, 0xffff_ffff, 1 << 47, 1 << 48, 1 << 63, u64::MAX - 0xfff, u64::MAX];
    let (mut ran, mut refused, mut killed) = (0, 0, 0);
    for _ in 0..count {
        let mut mutant = original.clone();
        for _ in 0..=random(4) {
            let at = random(mutant.len());
            match random(4) {
                0 => mutant[at] = random(256) as u8,
                1 => mutant[at] ^= 1 << random(8),
                2 => {
                    let (at, edge) = (at & !7, edges[random(edges.len())]);
                    mutant[at..].iter_mut().zip(edge.to_le_bytes()).for_each(|(byte, new)| *byte = new);
                }
                _ => mutant.truncate(at.max(1)),
            }
        }
        match run(&mutant)? {
            0 => ran += 1,
            status if libc::WIFSIGNALED(status) => killed += 1,
            _ => refused += 1,
        }
    }
    println!("mutants {count}\nran {ran}\nrefused {refused}\nkilled {killed}");
    Ok(())
}

/// Executes these bytes in a session of their own, with little time and memory; gives the status word.
fn run(program: &[u8]) -> Result<i32, String> {
    const PATH: &str = "/tmp/mutant";
    drop(std::fs::remove_file(PATH));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(PATH);
    file.and_then(|mut f| f.write_all(program)).map_err(|e| format!("{PATH}: {e}"))?;
    let pid = child(|| {
        // SAFETY: the limit structure lives through the call; the others take integers.
        unsafe {
            libc::setsid();
            libc::alarm(2);
            let memory = libc::rlimit { rlim_cur: 64 << 20, rlim_max: 64 << 20 };
            libc::setrlimit(libc::RLIMIT_AS, &raw const memory);
        }
        exec(PATH, "");
        126
    })?;
    wait(pid)
}
