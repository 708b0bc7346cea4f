//! A writer of device tree blobs for tests, and a tree shaped like QEMU's `virt` with a bus on top of it.

use std::vec::Vec;

/// Writes the structure and strings blocks as calls come.
pub(crate) struct Blob {
    structure: Vec<u8>,
    strings: Vec<u8>,
    reserve: Vec<(u64, u64)>,
}

impl Blob {
    pub(crate) fn new() -> Self {
        Blob { structure: Vec::new(), strings: Vec::new(), reserve: Vec::new() }
    }

    fn word(&mut self, w: u32) {
        self.structure.extend_from_slice(&w.to_be_bytes());
    }

    fn pad(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    pub(crate) fn memreserve(mut self, base: u64, size: u64) -> Self {
        self.reserve.push((base, size));
        self
    }

    pub(crate) fn node(mut self, name: &str, inside: impl FnOnce(Self) -> Self) -> Self {
        self.word(1);
        self.structure.extend_from_slice(name.as_bytes());
        self.structure.push(0);
        self.pad();
        self = inside(self);
        self.word(2);
        self
    }

    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        let off = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.word(3);
        self.word(value.len() as u32);
        self.word(off);
        self.structure.extend_from_slice(value);
        self.pad();
        self
    }

    pub(crate) fn cells(self, name: &str, cells: &[u32]) -> Self {
        let bytes: Vec<u8> = cells.iter().flat_map(|c| c.to_be_bytes()).collect();
        self.bytes(name, &bytes)
    }

    pub(crate) fn strings(self, name: &str, list: &[&str]) -> Self {
        let bytes: Vec<u8> = list.iter().flat_map(|s| s.bytes().chain([0])).collect();
        self.bytes(name, &bytes)
    }

    pub(crate) fn finish(mut self) -> Aligned {
        self.word(9);
        let reserve_off = 40;
        let struct_off = reserve_off + 16 * (self.reserve.len() + 1);
        let strings_off = struct_off + self.structure.len();
        let total = strings_off + self.strings.len();
        let header = [0xd00d_feed, total, struct_off, strings_off, reserve_off, 17, 16, 0, self.strings.len(), self.structure.len()];
        let mut out: Vec<u8> = header.iter().flat_map(|&w| (w as u32).to_be_bytes()).collect();
        for (base, size) in self.reserve.iter().chain([&(0, 0)]) {
            out.extend_from_slice(&base.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
        }
        out.extend_from_slice(&self.structure);
        out.extend_from_slice(&self.strings);
        Aligned::new(&out)
    }
}

/// Bytes that start at a multiple of eight.
#[derive(Clone)]
pub(crate) struct Aligned {
    words: Vec<u64>,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut this = Aligned { words: std::vec![0; bytes.len().div_ceil(8)], len: bytes.len().next_multiple_of(8) };
        this.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        this
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `words` holds at least `len` bytes.
        unsafe { core::slice::from_raw_parts(self.words.as_ptr().cast(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `words` holds at least `len` bytes, borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.len) }
    }
}

/// A board with everything that the readers look at.
pub(crate) fn board() -> Aligned {
    let gic = 0x8001;
    Blob::new()
        .memreserve(0x4800_0000, 0x1000)
        .node("", |b| {
            b.cells("#address-cells", &[2])
                .cells("#size-cells", &[2])
                .cells("interrupt-parent", &[gic])
                .strings("compatible", &["vigil,test", "linux,dummy-virt"])
                .strings("model", &["test board"])
                .node("chosen", |b| {
                    b.strings("bootargs", &["console=ttyAMA0 quiet"])
                        .cells("linux,initrd-start", &[0x4400_0000])
                        .cells("linux,initrd-end", &[0, 0x4480_0000])
                        .cells("kaslr-seed", &[0x0123_4567, 0x89ab_cdef])
                        .bytes("rng-seed", &[7; 32])
                        .strings("stdout-path", &["serial0:115200n8"])
                })
                .node("aliases", |b| b.strings("serial0", &["/soc/apb@c0000000/serial@1000"]))
                .node("memory@40000000", |b| {
                    b.strings("device_type", &["memory"]).cells("reg", &[0, 0x4000_0000, 0, 0x2000_0000, 1, 0, 0, 0x1000_0000, 2, 0, 0, 0])
                })
                .node("reserved-memory", |b| {
                    b.cells("#address-cells", &[2])
                        .cells("#size-cells", &[2])
                        .bytes("ranges", &[])
                        .node("secure@4a000000", |b| b.cells("reg", &[0, 0x4a00_0000, 0, 0x10_0000]).bytes("no-map", &[]))
                        .node("frame@4b000000", |b| b.cells("reg", &[0, 0x4b00_0000, 0, 0x8000]))
                        .node("gone@4c000000", |b| b.cells("reg", &[0, 0x4c00_0000, 0, 0x8000]).strings("status", &["disabled"]))
                })
                .node("psci", |b| b.strings("compatible", &["arm,psci-1.0", "arm,psci-0.2"]).strings("method", &["hvc"]))
                .node("cpus", |b| {
                    b.cells("#address-cells", &[1])
                        .cells("#size-cells", &[0])
                        .node("cpu-map", |b| b)
                        .node("cpu@0", |b| b.strings("device_type", &["cpu"]).cells("reg", &[0]).strings("enable-method", &["psci"]))
                        .node("cpu@1", |b| {
                            b.strings("device_type", &["cpu"])
                                .cells("reg", &[0x101])
                                .strings("enable-method", &["spin-table"])
                                .cells("cpu-release-addr", &[0, 0xd8])
                        })
                })
                .node("intc@8000000", |b| {
                    b.strings("compatible", &["arm,cortex-a15-gic"])
                        .cells("phandle", &[gic])
                        .cells("#interrupt-cells", &[3])
                        .bytes("interrupt-controller", &[])
                        .cells("reg", &[0, 0x800_0000, 0, 0x1_0000, 0, 0x801_0000, 0, 0x1_0000])
                })
                .node("timer", |b| {
                    b.strings("compatible", &["arm,armv8-timer"])
                        .cells("interrupts", &[1, 13, 0x104, 1, 14, 0x104, 1, 11, 0x104, 1, 10, 0x104])
                })
                .node("soc", |b| {
                    b.strings("compatible", &["simple-bus"])
                        .cells("#address-cells", &[1])
                        .cells("#size-cells", &[1])
                        .cells("ranges", &[0x7e00_0000, 0, 0xfe00_0000, 0x0180_0000, 0xc000_0000, 0, 0x900_0000, 0x1_0000])
                        .node("apb@c0000000", |b| {
                            b.cells("#address-cells", &[1])
                                .cells("#size-cells", &[1])
                                .cells("ranges", &[0, 0xc000_0000, 0x1_0000])
                                .node("serial@1000", |b| {
                                    b.strings("compatible", &["arm,pl011", "arm,primecell"])
                                        .cells("reg", &[0x1000, 0x1000])
                                        .cells("interrupts", &[0, 1, 4])
                                })
                                .node("gpio@2000", |b| {
                                    b.strings("compatible", &["arm,pl061"])
                                        .cells("reg", &[0x2000, 0x1000])
                                        .cells("interrupts-extended", &[gic, 0, 7, 4, gic, 0, 9, 1])
                                        .strings("interrupt-names", &["low", "high"])
                                        .strings("status", &["okay"])
                                })
                        })
                        .node("lost@90000000", |b| b.cells("reg", &[0x9000_0000, 4]))
                })
        })
        .finish()
}
