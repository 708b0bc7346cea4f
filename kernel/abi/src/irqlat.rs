//! `/dev/irqlat`: Vigil's own device, which no Linux has.

// Requests of ioctl(2), the sources of samples.
abi_consts! { u32; unchecked;
    IRQLAT_START = 0x4028_be01, IRQLAT_STOP = 0xbe02, IRQLAT_SOURCE_TIMER = 0, IRQLAT_SOURCE_GPIO = 1,
}

abi_struct! {
    /// What `IRQLAT_START` wants.
    pub struct IrqlatSetup: 40 {
        /// `IRQLAT_SOURCE_*`.
        pub source: u32,
        /// 0.
        pub reserved: u32,
        /// Nanoseconds from one sample to the next, of the schedule.
        pub period: u64,
        /// The first sample that is read later than so many nanoseconds is blamed; 0: none is.
        pub threshold: u64,
        /// GPIO: the number of the chip and the line that are toggled.
        pub out: [u32; 2],
        /// GPIO: those of the line whose edges are the samples.
        pub input: [u32; 2],
    }
}
