//! epoll_wait(2) (Linux: ep_poll, ep_send_events).

use super::Epoll;
use super::item::{Item, PRIVATE};
use crate::vfs::file::File;
use crate::vfs::poll::PollTable;
use vigil_abi::Errno;
use vigil_abi::poll::{EPOLLET, EPOLLONESHOT, EpollEvent};
use vigil_executor::time::Nanos;
use vigil_executor::wait::{WaitMode, Waited};
use vigil_executor::wait_site;
use vigil_mem::{Fault, UserPtr};

/// What `item` waits for, and what of that is ready of `file`, which is the item's. One with EPOLLONESHOT is disabled then, before
/// anybody is told: an EPOLL_CTL_MOD by whoever takes the event, or beside that, is not undone.
fn claim(item: &Item, file: &File) -> (u32, u32) {
    loop {
        let events = item.events();
        let ready = item.poll(file, &mut PollTable::none()) & events;
        if ready == 0 || events & EPOLLONESHOT == 0 || item.disable(events) {
            return (events, ready);
        }
    }
}

impl Epoll {
    /// Gives out up to `max` events. `Err`: the buffer faulted at the first one, which is still on the list.
    fn scan(&self, to: UserPtr<EpollEvent>, max: usize) -> Result<usize, Fault> {
        let scan = self.ready.begin_scan();
        let mut count = 0;
        let mut result = Ok(());
        while count < max {
            let Some(item) = self.ready.pop_for(scan) else { break };
            let Some(file) = item.file() else { continue };
            let (events, ready) = claim(&item, &file);
            if ready == 0 {
                continue;
            }
            if let Err(fault) = to.index(count).write(&EpollEvent { events: ready, __pad: 0, data: item.data() }) {
                item.enable(events);
                self.ready.push_front(&item);
                result = Err(fault);
                break;
            }
            count += 1;
            if events & (EPOLLONESHOT | EPOLLET) == 0 && events & !PRIVATE != 0 {
                // Level-triggered: the next call asks again.
                self.ready.push_back(&item);
            }
        }
        // What is left is for others, who may have looked while it was off the list.
        if self.wait.has_waiters() && !self.ready.is_empty() {
            self.wait.wake(0, 1);
        }
        match result {
            Err(fault) if count == 0 => Err(fault),
            _ => Ok(count),
        }
    }

    /// Waits for events until `deadline` (CLOCK_MONOTONIC; `None`: without end) by at most `slack` nanoseconds more, and
    /// stores up to `max` of them. How many, 0 at the deadline; `Ok(Err)`: the buffer faulted, and nothing was taken. EINTR.
    pub async fn wait(
        &self,
        to: UserPtr<EpollEvent>,
        max: usize,
        deadline: Option<Nanos>,
        slack: Nanos,
    ) -> Result<Result<usize, Fault>, Errno> {
        let look = || match self.ready.is_empty() {
            true => None,
            false => match self.scan(to, max) {
                Ok(0) => None,
                other => Some(other),
            },
        };
        let site = wait_site!("ep_poll");
        match self.wait.wait_until_exclusive_deadline(site, WaitMode::Interruptible, deadline, slack, look).await {
            Waited::Ready(result) => Ok(result),
            Waited::TimedOut => Ok(Ok(0)),
            Waited::Interrupted => Err(Errno::EINTR),
        }
    }
}
