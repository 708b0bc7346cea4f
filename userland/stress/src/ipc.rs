//! Objects of System V IPC and POSIX message queues outlive who makes them: what random calls have made is taken away here.
use std::ffi::CStr;
use std::fs;

/// Where the queues are looked at.
const QUEUES: &CStr = c"/tmp/fuzz-queues";

/// The numbers in a table of `/proc/sysvipc`; none where there is no such table.
fn numbers(table: &str) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap_or_default();
    text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

/// Removes all message queues, semaphores and segments, of everybody.
pub fn remove_all() {
    // SAFETY: numbers; no buffer is given.
    unsafe {
        for id in numbers("msg") {
            libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut());
        }
        for id in numbers("sem") {
            libc::semctl(id, 0, libc::IPC_RMID);
        }
        for id in numbers("shm") {
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        }
    }
    let directory = QUEUES.to_str().unwrap_or_default();
    drop(fs::create_dir(directory));
    // SAFETY: strings that end.
    if unsafe { libc::mount(c"mqueue".as_ptr(), QUEUES.as_ptr(), c"mqueue".as_ptr(), 0, std::ptr::null()) } == 0 {
        for queue in fs::read_dir(directory).into_iter().flatten().flatten() {
            drop(fs::remove_file(queue.path()));
        }
        // SAFETY: a string that ends.
        unsafe { libc::umount2(QUEUES.as_ptr(), 0) };
    }
    drop(fs::remove_dir(directory));
}
