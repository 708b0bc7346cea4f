//! The program's standard streams: socket pairs whose other ends are virtio-console ports, or a serial port, in the guest.
use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread::JoinHandle;

/// Both ends of a port. QEMU's end is closed here as soon as QEMU runs.
pub struct Port {
    /// Our end.
    pub ours: UnixStream,
    theirs: UnixStream,
}

impl Port {
    /// Adds a port of this name and number (the guest's `/dev/vport0pN`) to QEMU's command line.
    pub fn add(qemu: &mut Command, name: &str, number: u32) -> Result<Port> {
        let port = Port::chardev(qemu, name)?;
        qemu.args(["-device", &format!("virtserialport,chardev={name},name=vigil.{name},nr={number}")]);
        Ok(port)
    }

    /// Adds a character device of that name; QEMU is to be told what it is behind.
    pub fn chardev(qemu: &mut Command, name: &str) -> Result<Port> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        fcntl_setfd(&theirs, FdFlags::empty())?;
        qemu.args(["-chardev", &format!("socket,id={name},fd={}", theirs.as_raw_fd())]);
        Ok(Port { ours, theirs })
    }

    /// Our end alone, once QEMU has its own.
    pub fn started(self) -> UnixStream {
        drop(self.theirs);
        self.ours
    }
}

/// Copies our standard input to the port in a thread; its end hangs up the port, which the guest reads as end of file.
pub fn feed(mut port: UnixStream) {
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0; 65536];
        loop {
            match input.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    if port.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        // Only our direction is shut, and the socket stays until QEMU goes: QEMU throws away what it has not read when a socket hangs up.
        if port.shutdown(Shutdown::Write).is_ok() {
            while port.read(&mut buffer).is_ok_and(|n| n > 0) {}
        }
    });
}

/// How the copying of an output stream ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum End {
    /// The end mark was seen: all that the program wrote has been passed on.
    Complete,
    /// QEMU ended first.
    Cut,
    /// Our reader has gone (the program would have got SIGPIPE).
    ReaderGone,
}

/// Copies a port to `output` in a thread until the end mark `nonce` or until QEMU is gone; `on_end` hears how it ended.
pub fn drain(
    mut port: UnixStream,
    mut output: impl Write + Send + 'static,
    nonce: &str,
    on_end: impl FnOnce(End) + Send + 'static,
) -> JoinHandle<()> {
    let nonce = nonce.as_bytes().to_vec();
    std::thread::spawn(move || {
        let mut pending = Vec::new();
        let mut buffer = [0; 65536];
        let end = loop {
            let n = match port.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            pending.extend_from_slice(&buffer[..n]);
            let (ready, end) = match find(&pending, &nonce) {
                Some(at) => (at, Some(End::Complete)),
                None if n == 0 => (pending.len(), Some(End::Cut)),
                None => (pending.len() - possible_start(&pending, &nonce), None),
            };
            if output.write_all(&pending[..ready]).and_then(|()| output.flush()).is_err() {
                break End::ReaderGone;
            }
            pending.drain(..ready);
            if let Some(end) = end {
                break end;
            }
        };
        on_end(end);
        // Until QEMU ends nobody else may be stopped by a full socket.
        while port.read(&mut buffer).is_ok_and(|n| n > 0) {}
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // The first byte is rare in any output: skipping to it keeps this linear in practice.
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|b| *b == first) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// How many bytes at the end may be the beginning of the mark.
fn possible_start(bytes: &[u8], mark: &[u8]) -> usize {
    (1..mark.len()).rev().find(|n| bytes.ends_with(&mark[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn passed(pieces: &[&[u8]]) -> (Vec<u8>, End) {
        let (ours, mut guest) = UnixStream::pair().expect("sockets");
        let sink = Sink::default();
        let end = Arc::new(Mutex::new(End::Cut));
        let seen = end.clone();
        let thread = drain(ours, sink.clone(), "\u{1}MARK", move |e| *seen.lock().expect("not poisoned") = e);
        for piece in pieces {
            guest.write_all(piece).expect("the reader lives");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        drop(guest);
        thread.join().expect("the reader ends");
        let bytes = sink.0.lock().expect("not poisoned").clone();
        (bytes, *end.lock().expect("not poisoned"))
    }

    #[test]
    fn output_ends_at_the_mark_even_when_it_comes_in_pieces() {
        assert_eq!(passed(&[b"one\x01MA", b"RK"]), (b"one".to_vec(), End::Complete));
        assert_eq!(passed(&[b"\x01MAR", b"X\x01MARK"]), (b"\x01MARX".to_vec(), End::Complete));
    }

    #[test]
    fn output_without_a_mark_is_passed_whole() {
        assert_eq!(passed(&[b"one\x01MA"]), (b"one\x01MA".to_vec(), End::Cut));
    }
}
