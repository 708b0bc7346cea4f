//! The tests that need a machine, as data: what to type or run, and what a user would see. `cargo xtask test` drives them through
//! the same command that users type (`cargo xtask run`), under Vigil and, with `--kernel linux`, under Debian's Linux: a case
//! that fails there is a wrong case.
//!
//! To add one: write it in [`cases`], name what it needs of the kernel, run `cargo xtask test NAME --kernel linux`, then without.
mod bounds;
pub mod case;
mod cgroup;
mod chaos;
mod crash;
mod debian;
mod debug;
mod gpio;
pub mod hotplug;
mod irq;
mod irqlat;
mod matrix;
mod memory;
mod pi;
mod pipes;
mod programs;
mod rcu;
mod sched;
mod shell;
mod smp;
mod time;
mod trace;

pub use case::{Ability, BREAK, Case, Fixture, How, Input, MONITOR, Output};
pub use debian::RT_TESTS;

/// What the kernel can do by now. A case that needs more is not run under Vigil (it is under Linux), and is reported as "not yet".
///
/// Whoever lands an ability adds it here in the same commit.
pub const ABILITIES: &[Ability] = &[Ability::Shell, Ability::Programs, Ability::Dynamic];

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut all = shell::cases();
    all.extend(programs::cases());
    all.extend(pi::cases());
    all.extend(gpio::cases());
    all.extend(pipes::cases());
    all.extend(memory::cases());
    all.extend(debian::cases());
    all.extend(debug::cases());
    all.extend(bounds::cases());
    all.extend(matrix::cases());
    all.extend(crash::cases());
    all.extend(chaos::cases());
    all.extend(cgroup::cases());
    all.extend(smp::cases());
    all.extend(hotplug::cases());
    all.extend(rcu::cases());
    all.extend(irq::cases());
    all.extend(irqlat::cases());
    all.extend(time::cases());
    all.extend(sched::cases());
    all.extend(trace::cases());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_can_be_typed() {
        let mut seen = BTreeSet::new();
        for case in cases() {
            assert!(case.name.chars().all(|c| c.is_ascii_alphanumeric() || "-/.".contains(c)), "{}", case.name);
            assert!(seen.insert(case.name.clone()), "{} is there twice", case.name);
        }
    }
}
