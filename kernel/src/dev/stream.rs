//! A driver's [`CharStream`] as operations of an open file: what the two have in common, arm by arm.

use vigil_drivers::char::{self, CharStream};
use vigil_fs::{File, OpResult, PollEvents, PollTable, Stop};
use vigil_mem::{IoBuf, IoBufMut};

/// The file layer's form of a driver's stop; one that would wait is EAGAIN on a file that does not.
pub fn stop<'a>(file: &File, stop: char::Stop<'a>) -> Stop<'a> {
    match stop {
        char::Stop::Err(e) => Stop::Err(e),
        char::Stop::Wait(queue, key) => file.would_block(queue, key),
        char::Stop::Fault(fault) => fault.into(),
    }
}

/// read(2): what is there, at least a byte; waits for it as the file says.
pub fn read<'a>(stream: &'a dyn CharStream, file: &File, buf: &mut IoBufMut<'_>) -> OpResult<'a, usize> {
    if buf.is_empty() {
        return Ok(0);
    }
    stream.try_read(buf).map_err(|s| stop(file, s))
}

/// write(2): all of the buffer; a file that does not wait stops where there is no room, and answers EAGAIN if there was
/// none at all.
pub fn write<'a>(stream: &'a dyn CharStream, file: &File, buf: &mut IoBuf<'_>) -> OpResult<'a, usize> {
    let before = buf.done();
    while !buf.is_empty() {
        match stream.try_write(buf) {
            Ok(0) => break,
            Ok(_) => {}
            Err(s) => match stop(file, s) {
                Stop::Err(_) if buf.done() > before => break,
                other => return Err(other),
            },
        }
    }
    Ok(buf.done() - before)
}

/// poll(2).
pub fn poll(stream: &dyn CharStream, table: &mut PollTable<'_>) -> PollEvents {
    table.add(stream.read_queue());
    table.add(stream.write_queue());
    PollEvents::from_bits_truncate(stream.poll())
}
