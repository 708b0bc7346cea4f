//! A wire from an output to an input: what goes out at one pin comes back as edges of the other.

use super::{Controller, EdgeListener, Edges, Settings};
use vigil_abi::Errno;
use vigil_mem::KArc;

/// A pin.
#[derive(Clone, Copy)]
pub struct Pin {
    /// Its chip.
    pub pins: &'static Controller,
    /// Its number there.
    pub line: u32,
}

impl PartialEq for Pin {
    fn eq(&self, other: &Pin) -> bool {
        core::ptr::eq(self.pins, other.pins) && self.line == other.line
    }
}

/// Both ends. Dropping it gives them back, and nobody listens any more; not for interrupt context.
///
/// Where both are one pin, it is driven to the new level and let go of at once. It is for a pin that keeps its level then.
pub struct Wire {
    out: Pin,
    input: Pin,
    high: bool,
}

impl Wire {
    /// Takes both pins for `user`, the output low, and tells `listener` of all edges of the input.
    ///
    /// Errors: EINVAL, EBUSY when somebody has one; those of [`Controller::listen`].
    pub fn connect(out: Pin, input: Pin, user: &[u8], listener: KArc<dyn EdgeListener>) -> Result<Wire, Errno> {
        out.pins.request(out.line, user)?;
        if out != input
            && let Err(e) = input.pins.request(input.line, user)
        {
            out.pins.free(out.line);
            return Err(e);
        }
        let mut wire = Wire { out, input, high: true };
        if out != input {
            out.pins.configure(out.line, Settings { output: true, ..Settings::default() }, false)?;
        }
        input.pins.configure(input.line, Settings::default(), false)?;
        // From a level that is known. What it looks like is nobody's edge yet.
        wire.toggle();
        input.pins.listen(input.line, Edges::RISING | Edges::FALLING, listener, None)?;
        Ok(wire)
    }

    /// Gives the output its other level. Any context.
    pub fn toggle(&mut self) {
        self.high = !self.high;
        let chip = self.out.pins.chip;
        if self.out == self.input {
            chip.output(self.out.line, self.high);
            chip.input(self.out.line);
        } else {
            chip.set(self.out.line, self.high);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.input.pins.free(self.input.line);
        if self.out != self.input {
            self.out.pins.free(self.out.line);
        }
    }
}
