//! Partitions: groups of version 2 whose CPUs nobody else has (`cpuset.cpus.partition`; Linux: kernel/cgroup/cpuset.c).
//!
//! A partition takes its CPUs from its parent, which is a partition, too; the root of the tree is one always. What a group has given to
//! partitions below it (`given`) is not in what its own tasks get (`effective`). A partition that cannot be one stays in its role,
//! but is flawed, and has its parent's CPUs like any other group, until it can be one again.
//!
//! All functions want the trees locked. They mark groups whose tasks get other CPUs; [`super::cpuset::settle`] sees to these.

use super::cpuset::validate;
use super::group::{Cgroup, Controller};
use vigil_executor::cpu::ACTIVE;
use vigil_mem::KArc;

/// What a group was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// One that shares its parent's CPUs.
    #[default]
    Member,
    /// A partition.
    Root,
    /// A partition whose CPUs are not balanced, either.
    Isolated,
}

impl Role {
    /// As files have it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Root => "root",
            Role::Isolated => "isolated",
        }
    }

    /// The one called `name`.
    pub fn by_name(name: &[u8]) -> Option<Role> {
        [Role::Member, Role::Root, Role::Isolated].into_iter().find(|role| role.name().as_bytes() == name)
    }
}

/// Why a partition cannot be one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// It was told of no CPUs.
    Empty,
    /// The parent has none of its CPUs.
    Foreign,
    /// A sibling has one of them.
    Shared,
    /// The parent's own tasks would have none.
    NoCpus,
    /// The parent is none.
    NoParent,
    /// The parent is a flawed one.
    FlawedParent,
    /// Its CPUs are gone.
    Hotplug,
}

impl Flaw {
    /// As files have it.
    pub const fn text(self) -> &'static str {
        match self {
            Flaw::Empty => "cpuset.cpus is empty",
            Flaw::Foreign => "Invalid cpu list in cpuset.cpus",
            Flaw::Shared => "Cpu list in cpuset.cpus not exclusive",
            Flaw::NoCpus => "Parent unable to distribute cpu downstream",
            Flaw::NoParent => "Parent is not a partition root",
            Flaw::FlawedParent => "Parent is an invalid partition root",
            Flaw::Hotplug => "No cpu available due to hotplug",
        }
    }
}

/// Whether `group` is a partition.
pub fn is_valid(group: &Cgroup) -> bool {
    let state = group.cpuset.lock();
    group.is_root() || state.role != Role::Member && state.flaw.is_none()
}

/// Why no child of `parent` can be one.
fn flaw_of_parent(parent: &Cgroup) -> Flaw {
    if parent.cpuset.lock().role == Role::Member { Flaw::NoParent } else { Flaw::FlawedParent }
}

/// Whether somebody runs on the CPUs that `group` has not given away: its own tasks, or those of groups below that are no partitions.
/// `but`, a child, does not count.
fn is_used(group: &Cgroup, but: Option<&Cgroup>) -> bool {
    group.is_root()
        || group.has_tasks()
        || group.children().any(|c| !but.is_some_and(|b| core::ptr::eq(b, &*c)) && !is_valid(&c) && c.is_populated())
}

/// What `group` would get with the CPUs `cpus`; 0: nothing of its own.
fn reach(group: &Cgroup, parent: &Cgroup, cpus: u64) -> u64 {
    // Whoever is to be a partition, flawed or not, is measured by what the parent has given away, too.
    let partition = group.cpuset.lock().role != Role::Member;
    let p = parent.cpuset.lock();
    if p.given != 0 && partition { (p.effective | p.given) & cpus & ACTIVE.load().0 } else { cpus & p.effective }
}

/// `parent` gives `add` to a partition below it, and gets `back`.
fn move_cpus(parent: &Cgroup, add: u64, back: u64) {
    let mut p = parent.cpuset.lock();
    p.given = (p.given | add) & !back;
    let effective = (p.effective & !add) | back & ACTIVE.load().0;
    p.set_effective(effective);
}

/// Whether `group` may have its CPUs to itself.
fn may_be_exclusive(group: &Cgroup) -> bool {
    let mut state = *group.cpuset.lock();
    state.exclusive[0] = true;
    validate(group, &state).is_ok()
}

/// `group` is a partition no more, because of `flaw`: its CPUs are its parent's.
fn spoil(group: &Cgroup, flaw: Flaw) {
    let Some(parent) = group.parent.as_ref().filter(|_| is_valid(group)) else { return };
    let given = parent.cpuset.lock().given;
    let back = {
        let mut state = group.cpuset.lock();
        state.flaw = Some(flaw);
        state.exclusive[0] = false;
        state.cpus & given
    };
    move_cpus(parent, 0, back);
}

/// Takes for `group`, which is to be a partition, its CPUs from its parent.
fn take(group: &Cgroup, parent: &Cgroup) -> Result<(), Flaw> {
    if !is_valid(parent) {
        return Err(flaw_of_parent(parent));
    }
    let cpus = group.cpuset.lock().cpus;
    let (all, effective) = {
        let p = parent.cpuset.lock();
        (p.cpus, p.effective)
    };
    if cpus & all == 0 {
        return Err(Flaw::Foreign);
    }
    if effective & !cpus == 0 && is_used(parent, Some(group)) {
        return Err(Flaw::NoCpus);
    }
    group.cpuset.lock().exclusive[0] = true;
    move_cpus(parent, cpus, 0);
    Ok(())
}

/// The CPUs of `group`, which has the role of a partition, are to be `new`; or those of its parent are others (`None`). It may be flawed
/// after that, or none longer.
pub fn update(group: &Cgroup, new: Option<u64>) {
    let Some(parent) = &group.parent else { return };
    let (cpus, exclusive) = {
        let state = group.cpuset.lock();
        (state.cpus, state.exclusive[0])
    };
    let valid = is_valid(group);
    let wanted = new.unwrap_or(cpus);
    if !is_valid(parent) || wanted == 0 {
        return;
    }
    let (all, given, effective) = {
        let p = parent.cpuset.lock();
        (p.cpus, p.given, p.effective)
    };
    let mut add = wanted & all & !given;
    let mut back = if new.is_some() { cpus & !wanted & given } else { 0 };
    let takes_all = add != 0 && effective & !add == 0 && back & ACTIVE.load().0 == 0;
    let flawed = new.is_none() && valid && given == 0 || takes_all && is_used(parent, Some(group));
    if flawed {
        add = 0;
        if new.is_some() || valid {
            back = cpus & given;
        }
    }
    if valid == flawed {
        if !valid && !exclusive && !may_be_exclusive(group) {
            return;
        }
        let mut state = group.cpuset.lock();
        state.exclusive[0] = !flawed;
        state.flaw = flawed.then_some(Flaw::NoCpus);
    } else if flawed {
        group.cpuset.lock().flaw = Some(Flaw::NoCpus);
    }
    move_cpus(parent, add, back);
}

/// Brings what the groups from `top` down get up to date, after a change of its CPUs or its parent's; `force`: also below those for which nothing
/// changes.
fn refresh(top: &KArc<Cgroup>, force: bool) {
    let mut at = Some(top.clone());
    while let Some(group) = at {
        let goes_on = group.has(Controller::Cpuset) && refresh_one(&group, KArc::ptr_eq(&group, top), force);
        at = if goes_on { Cgroup::next_below(&group, top) } else { Cgroup::next_beside(&group, top) };
    }
}

/// The same of one group; whether to look below it.
fn refresh_one(group: &KArc<Cgroup>, is_top: bool, force: bool) -> bool {
    let Some(parent) = &group.parent else { return true };
    let before = *group.cpuset.lock();
    let mut new = reach(group, parent, before.cpus);
    let gives_all = is_valid(group) && before.cpus == before.given;
    if new == 0 && !gives_all {
        new = parent.cpuset.lock().effective;
    }
    if before.role == Role::Member && !force && new == before.effective {
        return false;
    }
    if !is_top && before.role != Role::Member {
        if is_valid(parent) {
            update(group, None);
        } else {
            // Its parent has its CPUs back, as all that it had given away.
            let flaw = flaw_of_parent(parent);
            group.cpuset.lock().flaw = Some(flaw);
        }
    }
    let valid = is_valid(group);
    let mut state = group.cpuset.lock();
    if state.given != 0 && !valid {
        new = (new | state.given) & ACTIVE.load().0;
        state.given = 0;
    }
    new &= !state.given;
    state.set_effective(new);
    true
}

/// The same for the siblings of `group`, to which its parent's CPUs are what is left.
fn refresh_siblings(group: &KArc<Cgroup>) {
    if let Some(parent) = &group.parent {
        parent.children().filter(|c| !KArc::ptr_eq(c, group) && !is_valid(c)).for_each(|c| refresh(&c, false));
    }
}

/// Makes `group` what `role` says, as well as that can be.
pub fn set_role(group: &KArc<Cgroup>, role: Role) {
    let Some(parent) = &group.parent else { return };
    let old = *group.cpuset.lock();
    if old.role == role {
        return;
    }
    if role != Role::Member && old.flaw.is_some() {
        group.cpuset.lock().role = role;
        return;
    }
    let flaw = if role == Role::Member {
        if is_valid(group) {
            let given = parent.cpuset.lock().given;
            move_cpus(parent, 0, old.cpus & given);
        }
        let mut state = group.cpuset.lock();
        state.given = 0;
        state.exclusive[0] = false;
        None
    } else if old.role != Role::Member {
        None
    } else if old.cpus == 0 {
        Some(Flaw::Empty)
    } else if !may_be_exclusive(group) {
        Some(Flaw::Shared)
    } else {
        take(group, parent).err()
    };
    {
        let mut state = group.cpuset.lock();
        state.role = role;
        state.flaw = flaw;
    }
    refresh(group, role == Role::Member);
    refresh_siblings(group);
}

/// `group` gets the CPUs `cpus`, which some relatives may not allow it (`shared`): then they and it are no partitions any more.
pub fn set_cpus(group: &KArc<Cgroup>, cpus: u64, shared: bool) {
    let Some(parent) = &group.parent else { return };
    if shared {
        for sibling in parent.children().filter(|c| !KArc::ptr_eq(c, group)) {
            let theirs = sibling.cpuset.lock().cpus;
            if theirs & cpus != 0 {
                spoil(&sibling, Flaw::Shared);
                refresh(&sibling, true);
            }
        }
        spoil(group, Flaw::Shared);
    } else if group.cpuset.lock().role != Role::Member {
        update(group, Some(cpus));
    }
    let new = reach(group, parent, cpus);
    let given = group.cpuset.lock().given;
    let keeps = is_valid(group) && !(new & !given == 0 && is_used(group, None));
    {
        let mut state = group.cpuset.lock();
        state.cpus = cpus;
        state.given = if keeps { state.given & cpus } else { 0 };
    }
    refresh(group, false);
    if group.cpuset.lock().role != Role::Member {
        refresh_siblings(group);
    }
}

/// CPUs have come or gone: what `top`, the root of version 2's tree, and all below it get (Linux: cpuset_hotplug_workfn).
pub fn cpus_changed(top: &KArc<Cgroup>) {
    let active = ACTIVE.load().0;
    {
        let mut state = top.cpuset.lock();
        if active & !state.given == 0 {
            state.given = 0;
        }
        // Tasks of no group run on all CPUs that are there in any case.
        state.effective = active & !state.given;
    }
    let mut at = Cgroup::next_below(top, top);
    while let Some(group) = at {
        let goes_on = group.has(Controller::Cpuset);
        if goes_on && !one_cpus_changed(&group) {
            // It is a partition again.
            let _ = one_cpus_changed(&group);
        }
        at = if goes_on { Cgroup::next_below(&group, top) } else { Cgroup::next_beside(&group, top) };
    }
}

/// The same of one group; `false`: it became a partition, and is to be looked at again.
fn one_cpus_changed(group: &KArc<Cgroup>) -> bool {
    let Some(parent) = &group.parent else { return true };
    let before = *group.cpuset.lock();
    let whole = || reach(group, parent, before.cpus);
    let mut new = whole() & !before.given;
    if before.role != Role::Member {
        let valid = is_valid(group);
        if before.given != 0 && valid && new == 0 && is_used(group, None) {
            group.cpuset.lock().given = 0;
            new = whole();
        }
        let given = parent.cpuset.lock().given;
        if valid && (given == 0 || new == 0 && is_used(group, None)) {
            let flaw = if is_valid(parent) { Flaw::Hotplug } else { flaw_of_parent(parent) };
            spoil(group, flaw);
            group.cpuset.lock().given = 0;
            new = whole();
        } else if !valid && is_valid(parent) {
            update(group, None);
            if is_valid(group) {
                return false;
            }
        }
    }
    if new == 0 && !is_valid(group) {
        new = parent.cpuset.lock().effective;
    }
    group.cpuset.lock().set_effective(new);
    true
}
