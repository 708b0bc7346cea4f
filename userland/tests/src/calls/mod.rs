//! The cases, a file per group of calls.
mod adjust;
mod attribute;
mod change;
mod clone;
mod connect;
mod deliver;
mod end_of_time;
mod epoll;
mod event;
mod exec;
mod fd;
mod file;
mod futex;
mod gpio;
mod lock;
mod memory;
mod message;
mod mqueue;
mod numa;
mod path;
mod pi;
mod pidfd;
mod poll;
mod prctl;
mod process;
mod rtc;
mod rw;
mod sched;
mod semaphore;
mod sendmsg;
mod sharedmem;
mod signal;
mod socket;
mod system;
mod sysvmsg;
mod time;
mod vector;
mod wait;
mod xattr;

use crate::case::Calls;
use crate::sys;

/// All of them, in the order in which they run.
pub fn all() -> Calls {
    let mut all = Calls::default();
    rw::add(&mut all);
    vector::add(&mut all);
    fd::add(&mut all);
    poll::add(&mut all);
    event::add(&mut all);
    gpio::add(&mut all);
    epoll::add(&mut all);
    path::add(&mut all);
    change::add(&mut all);
    attribute::add(&mut all);
    file::add(&mut all);
    memory::add(&mut all);
    clone::add(&mut all);
    numa::add(&mut all);
    process::add(&mut all);
    pidfd::add(&mut all);
    exec::add(&mut all);
    wait::add(&mut all);
    prctl::add(&mut all);
    signal::add(&mut all);
    deliver::add(&mut all);
    futex::add(&mut all);
    time::add(&mut all);
    adjust::add(&mut all);
    sched::add(&mut all);
    system::add(&mut all);
    xattr::add(&mut all);
    socket::add(&mut all);
    message::add(&mut all);
    sendmsg::add(&mut all);
    mqueue::add(&mut all);
    semaphore::add(&mut all);
    sysvmsg::add(&mut all);
    sharedmem::add(&mut all);
    all
}

/// Removes what outlives the processes of a case that was ended in the middle.
pub fn sweep() {
    mqueue::sweep();
    semaphore::sweep();
    sysvmsg::sweep();
    sharedmem::sweep();
}

/// What this program does when a case has executed it: gives the exit status.
pub fn role(role: &str, arguments: &[String]) -> u8 {
    let number: i32 = arguments.first().and_then(|a| a.parse().ok()).unwrap_or(0);
    match role {
        "status" => number as u8,
        "argc" => arguments.len() as u8,
        "env" => std::env::vars_os().count() as u8,
        "open" => u8::from(sys!(fcntl, number, libc::F_GETFD, 0) >= 0),
        "pid" => u8::from(sys!(getpid) == number as isize),
        "leader" => u8::from(sys!(getpid) == number as isize && sys!(gettid) == number as isize),
        "sleep" => {
            crate::help::sleep_ms(60_000);
            0
        }
        "disposition" => {
            let mut old = crate::help::SigAction::default();
            sys!(rt_sigaction, number, 0, &mut old, 8);
            old.handler as u8
        }
        "mask" | "pending" => {
            let mut mask = 0u64;
            if role == "mask" {
                sys!(rt_sigprocmask, 0, 0, &mut mask, 8);
            } else {
                sys!(rt_sigpending, &mut mask, 8);
            }
            u8::from(mask == 1 << (number - 1))
        }
        "capabilities" => {
            let (header, mut data) = ([0x2008_0522u32, 0], [0u32; 6]);
            sys!(capget, &header, &mut data);
            u8::from(data[0] | data[3] != 0)
        }
        "name" => {
            let mut name = [0u8; 16];
            sys!(prctl, libc::PR_GET_NAME, &mut name);
            u8::from(crate::help::ctext(&name) == arguments[0])
        }
        _ => 99,
    }
}
