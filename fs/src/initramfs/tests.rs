//! Archives, whole and damaged.

extern crate std;
use super::cpio::{CpioError, Header, Sink};
use super::*;
use crate::vfs::tests::World;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;
use vigil_abi::stat::{S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};

/// Builds archives.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(&mut self, name: &str, mode: u32, nlink: u32, ino: u32, data: &[u8]) -> &mut Self {
        let rdev = if mode & S_IFMT == S_IFCHR { (5, 1) } else { (0, 0) };
        let header = std::format!(
            "070701{ino:08x}{mode:08x}{:08x}{:08x}{nlink:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}",
            1,
            2,
            1234,
            data.len(),
            0,
            0,
            rdev.0,
            rdev.1,
            name.len() + 1,
            0
        );
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.pad();
        self.0.extend_from_slice(data);
        self.pad();
        self
    }

    fn pad(&mut self) {
        while self.0.len() % 4 != 0 {
            self.0.push(0);
        }
    }

    fn end(&mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, 1, 0, b"");
        core::mem::take(&mut self.0)
    }
}

/// As gzip would wrap it, in stored blocks.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::from([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3]);
    out.extend_from_slice(b"name\0");
    for (n, block) in data.chunks(60_000).enumerate() {
        let last = (n + 1) * 60_000 >= data.len();
        out.push(u8::from(last));
        out.extend_from_slice(&(block.len() as u16).to_le_bytes());
        out.extend_from_slice(&(!(block.len() as u16)).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out
}

fn sample() -> Vec<u8> {
    let big: Vec<u8> = (0..200_000u32).map(|n| (n * 7) as u8).collect();
    Archive::default()
        .add(".", S_IFDIR | 0o755, 2, 1, b"")
        .add("bin", S_IFDIR | 0o755, 2, 2, b"")
        .add("bin/busybox", S_IFREG | 0o755, 1, 3, &big)
        .add("bin/sh", S_IFLNK | 0o777, 1, 4, b"busybox")
        .add("console", S_IFCHR | 0o600, 1, 5, b"")
        .add("a", S_IFREG | 0o644, 2, 6, b"")
        .add("b", S_IFREG | 0o644, 2, 6, b"shared")
        .add("../../escape", S_IFREG | 0o644, 1, 7, b"inside")
        .add("no/parent", S_IFREG | 0o644, 1, 8, b"lost")
        .end()
}

fn check(w: &World) {
    assert_eq!(w.read("bin/sh").len(), 200_000);
    assert_eq!(w.read("bin/sh")[199_999], (199_999u32 * 7) as u8);
    let stat = w.lstat("bin/busybox").unwrap();
    assert_eq!((stat.mode, stat.uid, stat.gid, stat.mtime.sec), (S_IFREG | 0o755, 1, 2, 1234));
    assert_eq!(w.lstat("bin").unwrap().mtime.sec, 1234, "times of directories are set last");
    assert_eq!(w.lstat("console").unwrap().rdev, crate::vfs::stat::mkdev(5, 1));
    assert_eq!((w.read("a"), w.lstat("b").unwrap().nlink), (b"shared".to_vec(), 2));
    assert_eq!(w.read("escape"), b"inside");
}

#[test]
fn archives_unpack_plain_compressed_and_in_a_row() {
    let more = Archive::default().add("second", S_IFREG | 0o600, 1, 1, b"2").add("a", S_IFDIR | 0o700, 2, 2, b"").end();
    let w = World::new("cpio-plain");
    let report = crate::unpack(&w.fs.root(), &sample());
    assert_eq!((report.entries, report.failed, report.error), (8, 1, None));
    check(&w);
    let w = World::new("cpio-gzip");
    assert_eq!(crate::unpack(&w.fs.root(), &gzip(&sample())).error, None);
    check(&w);
    let w = World::new("cpio-row");
    let mut image = sample();
    image.resize(image.len() + 512, 0);
    image.extend_from_slice(&gzip(&more));
    image.resize(image.len().next_multiple_of(4) + 8, 0);
    image.extend_from_slice(&Archive::default().add("third", S_IFREG | 0o600, 1, 1, b"3").end());
    assert_eq!(crate::unpack(&w.fs.root(), &image).error, None);
    assert_eq!((w.read("second"), w.read("third")), (b"2".to_vec(), b"3".to_vec()));
    assert_eq!(w.lstat("a").unwrap().mode, S_IFDIR | 0o700, "a later entry replaces one of another type");
}

#[test]
fn damage_is_named() {
    let w = World::new("cpio-bad");
    let error = |image: &[u8]| crate::unpack(&w.fs.root(), image).error.map(|error| error.to_string());
    let good = sample();
    let text = |s: &str| Some(String::from(s));
    assert_eq!(error(&[]), None);
    assert_eq!(error(&[0; 512]), None);
    assert_eq!(error(b"garbage"), text("invalid magic at start of compressed archive"));
    assert_eq!(error(&[0x28, 0xb5, 0x2f, 0xfd]), text("compression method zstd not configured"));
    assert_eq!(error(&good[..1000]), text("unexpected end of archive"));
    assert_eq!(error(b"070707000000"), text("unexpected end of archive"));
    let mut old = good.clone();
    old[5] = b'7';
    assert_eq!(error(&old), text("incorrect cpio method used: use -H newc option"));
    let mut field = good.clone();
    field[20] = b'g';
    assert_eq!(error(&field), text("malformed cpio header"));
    let packed = gzip(&good);
    assert!(error(&packed[..packed.len() / 2]).is_some());
    let mut length = packed.clone();
    *length.last_mut().unwrap() ^= 1;
    assert_eq!(error(&length), text("length error"));
}

/// Counts, and keeps nothing.
#[derive(Default)]
struct Counter {
    entries: Vec<(String, Vec<u8>)>,
}

impl Sink for Counter {
    fn entry(&mut self, _: &Header, name: &[u8]) -> bool {
        self.entries.push((String::from_utf8_lossy(name).into_owned(), Vec::new()));
        true
    }
    fn data(&mut self, piece: &[u8]) {
        self.entries.last_mut().unwrap().1.extend_from_slice(piece);
    }
    fn end_entry(&mut self) {}
    fn symlink(&mut self, _: &Header, name: &[u8], target: &[u8]) {
        self.entries.push((String::from_utf8_lossy(name).into_owned(), target.to_vec()));
    }
    fn end_archive(&mut self) {}
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_entries(cuts in proptest::collection::vec(1usize..5000, 1..200)) {
        vigil_mem::host::start();
        let image = sample();
        let mut whole = Counter::default();
        Parser::new().unwrap().feed(&image, &mut whole).unwrap();
        let mut parts = Counter::default();
        let mut parser = Parser::new().unwrap();
        let (mut rest, mut cuts) = (&image[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            parser.feed(piece, &mut parts).unwrap();
            rest = tail;
        }
        prop_assert_eq!(parser.finish(), Ok::<(), CpioError>(()));
        prop_assert_eq!(whole.entries, parts.entries);
    }
}

/// A sound archive, raw and compressed.
static SOUND: std::sync::LazyLock<(Vec<u8>, Vec<u8>)> = std::sync::LazyLock::new(|| (sample()[..3000].to_vec(), gzip(&sample()[..2500])));

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Noise, and ten thousand mutants of sound archives, raw and compressed: entries or an error, and no panic.
    #[test]
    fn fuzz_cpio(image in proptest::collection::vec(any::<u8>(), 0..600), flips in proptest::collection::vec((0usize..3000, any::<u8>()), 0..12)) {
        vigil_mem::host::start();
        let _ = scan(&image, &mut Counter::default());
        for mut image in [SOUND.0.clone(), SOUND.1.clone()] {
            for &(at, value) in &flips {
                let at = at % image.len();
                image[at] = value;
            }
            let mut found = Counter::default();
            let _ = scan(&image, &mut found);
            let bytes: usize = found.entries.iter().map(|(_, data)| data.len()).sum();
            // A damaged compressed one may stand for anything.
            prop_assert!(bytes <= image.len() || image.len() != SOUND.0.len(), "{} bytes of files in an archive of {}", bytes, image.len());
        }
    }
}
