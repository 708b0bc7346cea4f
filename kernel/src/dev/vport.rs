//! `/dev/vportNpM`: ports of virtio-console devices (Linux: drivers/char/virtio_console.c).
//!
//! Ports come and go by interrupt; a work item makes and removes their nodes.

use super::stream;
use crate::pr_warn;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::stat::S_IFCHR;
use vigil_drivers::virtio::console::{self, MAX_DEVICES, MAX_PORTS, Port};
use vigil_executor::work::{UNBOUND, Work};
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::vfs::stat::{major, minor};
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, PollEvents, PollTable};
use vigil_mem::{IoBuf, IoBufMut, KArc, try_format, unsize};

/// Major number of the first device; the second has the next lower one (Linux gives dynamic numbers downwards).
const FIRST_MAJOR: u32 = 253;

/// Ports that have a node, by device; one bit each. Only the work item changes it.
static NODES: [AtomicU32; MAX_DEVICES] = [const { AtomicU32::new(0) }; MAX_DEVICES];
static SCAN: Work = Work::new(|_| scan());

const _: () = assert!(MAX_PORTS <= 32);

fn changed() {
    UNBOUND.queue(&SCAN);
}

/// Makes the nodes of ports that came and removes those of ports that went.
fn scan() {
    for (device, nodes) in NODES.iter().enumerate() {
        for number in 0..MAX_PORTS {
            let (bit, has) = (1 << number, nodes.load(Relaxed) & 1 << number != 0);
            let is = console::port(device, number).is_some();
            if is != has
                && let Err(e) = change_node(device, number, is)
            {
                pr_warn!("vport{device}p{number}: no device node: {}", e.name());
            }
            if is {
                nodes.fetch_or(bit, Relaxed)
            } else {
                nodes.fetch_and(!bit, Relaxed)
            };
        }
    }
}

fn change_node(device: usize, number: usize, make: bool) -> Result<(), Errno> {
    let name = try_format!("vport{device}p{number}")?;
    if make {
        devtmpfs::device_node(name.as_str(), S_IFCHR | 0o600, FIRST_MAJOR - device as u32, number as u32)
    } else {
        devtmpfs::remove_node(name.as_str())
    }
}

/// An open port; it can be open once.
struct OpenPort {
    port: &'static Port,
}

impl FileOps for OpenPort {
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        stream::read(self.port, file, buf)
    }

    fn write<'a>(&'a self, file: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        stream::write(self.port, file, buf)
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        stream::poll(self.port, table)
    }

    fn is_stream(&self) -> bool {
        true
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        self.port.close();
    }
}

/// Opens a port. ENXIO: it is not there; EBUSY: it is open.
fn open(inode: &Inode, _: u32) -> Result<Opened, Errno> {
    let device = FIRST_MAJOR.checked_sub(major(inode.rdev)).ok_or(Errno::ENXIO)?;
    let port = console::port(device as usize, minor(inode.rdev) as usize).ok_or(Errno::ENXIO)?;
    port.open()?;
    let open = match KArc::try_new(OpenPort { port }) {
        Ok(open) => open,
        // The value, and with it the open, was dropped.
        Err(e) => return Err(e.into()),
    };
    Ok(Opened::Own(unsize!(KArc, open => dyn FileOps)))
}

/// Registers the devices, makes the nodes of the ports that are there, and follows those that come and go.
pub(super) fn init() -> Result<(), Errno> {
    for device in 0..MAX_DEVICES as u32 {
        chrdev::register(FIRST_MAJOR - device, 0, MAX_PORTS as u32, "virtio-portsdev", open)?;
    }
    console::set_hotplug_hook(changed);
    changed();
    Ok(())
}
