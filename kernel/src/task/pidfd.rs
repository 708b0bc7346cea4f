//! Files that stand for a process (pidfd_open(2), CLONE_PIDFD; Linux: `pidfd_fops`): they go on to mean it when its number
//! means another.

use super::process::{Life, Process, tasks};
use vigil_abi::Errno;
use vigil_abi::fcntl::O_RDWR;
use vigil_fs::anon::anon_file;
use vigil_fs::{File, FileOps, PollEvents, PollTable};
use vigil_mem::{KArc, unsize};

/// The file's own part.
struct Pidfd {
    process: KArc<Process>,
}

impl FileOps for Pidfd {
    fn can_poll(&self) -> bool {
        true
    }

    /// Readable once the process has ended, waited for or not.
    fn poll(&self, _file: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.process.thread_exit);
        match self.process.relations(&tasks()).life {
            Life::Running | Life::Ending => PollEvents::empty(),
            Life::Zombie | Life::Reaped => PollEvents::IN | PollEvents::RDNORM,
        }
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

/// A file for `process`; `flags`: O_NONBLOCK or nothing. ENOMEM.
pub fn file_of(process: KArc<Process>, flags: u32) -> Result<KArc<File>, Errno> {
    let ops = unsize!(KArc, KArc::try_new(Pidfd { process })? => dyn FileOps);
    anon_file(b"[pidfd]", ops, O_RDWR | flags)
}

/// The process that `file` stands for. EBADF: it stands for none.
pub fn process_of(file: &File) -> Result<KArc<Process>, Errno> {
    file.private::<Pidfd>().map(|p| p.process.clone()).ok_or(Errno::EBADF)
}
