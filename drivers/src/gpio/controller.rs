//! The registry of chips, and the state of their lines (Linux: struct gpio_device, struct gpio_desc).

use super::edge::Listening;
use super::{Bias, Drive, GpioChip, Settings};
use crate::dt::{DtError, Node};
use crate::irq::{IrqAction, IrqFlags};
use crate::model::EPROBE_DEFER;
use core::sync::atomic::{AtomicPtr, Ordering};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KBox, KVec, try_format};

/// The longest name of a user, the final zero not counted.
pub const NAME_MAX: usize = 31;
/// Chips that there can be.
const MAX_CHIPS: usize = 8;

static LINE: LockClass = LockClass::new("gpio_line");

/// A chip with its lines: `gpiochipN`. Lives for ever.
pub struct Controller {
    /// Its registers.
    pub chip: &'static dyn GpioChip,
    /// N.
    pub number: usize,
    /// The platform device that it belongs to: `9030000.pl061`.
    pub parent: &'static str,
    /// The bus that is on: `amba`, `platform`.
    pub bus: &'static str,
    node: u32,
    pub(super) lines: KVec<Line>,
}

/// One line.
pub(super) struct Line {
    pub(super) chip: &'static dyn GpioChip,
    pub(super) offset: u32,
    /// What the board calls it.
    name: &'static str,
    pub(super) state: SpinLock<LineState>,
    /// On the line's interrupt while somebody listens.
    pub(super) action: IrqAction,
}

/// What is known of a line.
pub struct LineState {
    /// Who has it; `None`: nobody.
    user: Option<[u8; NAME_MAX + 1]>,
    /// How it is used: of a free line the direction alone counts.
    pub settings: Settings,
    pub(super) listening: Option<Listening>,
}

impl Settings {
    /// What stays when a line is given back: its direction, and, as on Linux, which clock its edges had.
    fn of_free_line(self) -> Settings {
        Settings { output: self.output, realtime: self.realtime, ..Settings::default() }
    }
}

impl LineState {
    /// Who has the line, cut to [`NAME_MAX`] bytes; `None`: nobody.
    pub fn user(&self) -> Option<&[u8]> {
        self.user.as_ref().map(|name| name.split(|&byte| byte == 0).next().unwrap_or(&[]))
    }
}

static CHIPS: [AtomicPtr<Controller>; MAX_CHIPS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CHIPS];

/// `gpiochipN`, if there is one.
pub fn controller(n: usize) -> Option<&'static Controller> {
    // SAFETY: a slot is null or holds a leaked controller.
    unsafe { CHIPS.get(n)?.load(Ordering::Acquire).as_ref() }
}

/// All of them, by number.
pub fn controllers() -> impl Iterator<Item = &'static Controller> {
    (0..MAX_CHIPS).map_while(controller)
}

/// Makes `chip` the next `gpiochipN`; its lines are named by `gpio-line-names` of `node`. Boot only.
///
/// Errors: ENOMEM; ENOSPC when there are too many chips.
pub fn register(chip: &'static dyn GpioChip, node: Node<'_>) -> Result<&'static Controller, Errno> {
    let number = controllers().count();
    let slot = CHIPS.get(number).ok_or(Errno::ENOSPC)?;
    let parent = match node.reg(0) {
        Some(region) => leak(try_format!("{:x}.{}", region.base, node.name())?.as_str())?,
        None => leak(node.name())?,
    };
    let mut lines = KVec::new();
    lines.try_reserve_exact(chip.lines() as usize)?;
    // Empty strings count: they are lines without a name.
    let mut names =
        node.prop("gpio-line-names").unwrap_or(&[]).split(|&byte| byte == 0).map(|name| core::str::from_utf8(name).unwrap_or(""));
    for offset in 0..chip.lines() {
        let name = leak(names.next().unwrap_or(""))?;
        let settings = Settings { output: chip.is_output(offset), ..Settings::default() };
        let state = SpinLock::new(&LINE, LineState { user: None, settings, listening: None });
        let action = IrqAction::of_static("gpio", super::edge::nobody, IrqFlags::empty());
        lines.try_push(Line { chip, offset, name, state, action })?;
    }
    let bus = if node.is_compatible("arm,primecell") { "amba" } else { "platform" };
    let made: &'static mut Controller = KBox::leak(KBox::try_new(Controller { chip, number, parent, bus, node: node.id(), lines })?);
    super::edge::prepare(&mut made.lines);
    log::info!("{}: gpiochip{number}, {} lines", chip.label(), chip.lines());
    slot.store(made, Ordering::Release);
    Ok(made)
}

/// A copy of `text` for ever.
pub(super) fn leak(text: &str) -> Result<&'static str, Errno> {
    if text.is_empty() {
        return Ok("");
    }
    let bytes: &'static KVec<u8> = KBox::leak(KBox::try_new(KVec::try_from_slice(text.as_bytes())?)?);
    core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)
}

/// Entry `index` of `property` of the device at `node`: a line, and whether its active level is the low one.
///
/// Errors: ENOENT when there is none, EPROBE_DEFER when its chip has no driver yet, EINVAL.
pub fn from_dt(node: Node<'_>, property: &str, index: usize) -> Result<(&'static Controller, u32, bool), Errno> {
    const ACTIVE_LOW: u32 = 1;
    let reference = match node.reference(property, Some("#gpio-cells"), index) {
        Ok(reference) => reference,
        Err(DtError::NotFound) => return Err(Errno::ENOENT),
        Err(e) => return Err(e.into()),
    };
    let found = controllers().find(|c| c.node == reference.node.id()).ok_or(EPROBE_DEFER)?;
    let &[line, flags, ..] = reference.args() else { return Err(Errno::EINVAL) };
    found.line(line)?;
    Ok((found, line, flags & ACTIVE_LOW != 0))
}

impl Controller {
    pub(super) fn line(&self, line: u32) -> Result<&Line, Errno> {
        self.lines.get(line as usize).ok_or(Errno::EINVAL)
    }

    /// What the board calls the line; empty: nothing.
    pub fn name(&self, line: u32) -> &'static str {
        self.line(line).map_or("", |l| l.name)
    }

    /// Looks at a line's state. EINVAL.
    pub fn with<T>(&self, line: u32, look: impl FnOnce(&LineState) -> T) -> Result<T, Errno> {
        Ok(look(&self.line(line)?.state.lock_irq()))
    }

    /// Takes a line for `user`. Errors: EINVAL, EBUSY when somebody has it.
    pub fn request(&self, line: u32, user: &[u8]) -> Result<(), Errno> {
        let mut state = self.line(line)?.state.lock_irq();
        if state.user.is_some() {
            return Err(Errno::EBUSY);
        }
        let mut name = [0; NAME_MAX + 1];
        name.iter_mut().take(NAME_MAX).zip(user).for_each(|(to, from)| *to = *from);
        state.user = Some(name);
        state.settings = state.settings.of_free_line();
        Ok(())
    }

    /// Gives a line back: nobody listens to it any more. Its direction and level stay. Not for interrupt context.
    pub fn free(&'static self, line: u32) {
        self.unlisten(line);
        if let Ok(line) = self.line(line) {
            let mut state = line.state.lock_irq();
            state.user = None;
            state.settings = state.settings.of_free_line();
        }
    }

    /// Makes a line what `settings` say; to its edges nobody listens by that. An output is `active` from the start. Errors: EINVAL, or those of the chip
    /// but for resistors that it does not have.
    pub fn configure(&self, line: u32, settings: Settings, active: bool) -> Result<(), Errno> {
        let line = self.line(line)?;
        // Before the lock, which masks interrupts: there are chips that take their time for it.
        if let Some(bias) = settings.bias {
            set_bias(line, bias)?;
        }
        let mut state = line.state.lock_irq();
        state.settings = settings;
        if settings.output {
            drive(line, settings, active != settings.active_low, true);
        } else {
            line.chip.input(line.offset);
        }
        Ok(())
    }

    /// Notes how a line is used whose pin is left as it is. EINVAL.
    pub fn leave(&self, line: u32, settings: Settings) -> Result<(), Errno> {
        let mut state = self.line(line)?.state.lock_irq();
        state.settings = Settings { output: state.settings.output, ..settings };
        Ok(())
    }

    /// Whether the line is active. EINVAL.
    pub fn value(&self, line: u32) -> Result<bool, Errno> {
        let line = self.line(line)?;
        let active_low = line.state.lock_irq().settings.active_low;
        Ok(line.chip.get(line.offset) != active_low)
    }

    /// Makes an output active or not. Errors: EINVAL; EPERM for an input.
    pub fn set_value(&self, line: u32, active: bool) -> Result<(), Errno> {
        let line = self.line(line)?;
        let state = line.state.lock_irq();
        if !state.settings.output {
            return Err(Errno::EPERM);
        }
        drive(line, state.settings, active != state.settings.active_low, false);
        Ok(())
    }
}

fn set_bias(line: &Line, bias: Bias) -> Result<(), Errno> {
    match line.chip.set_bias(line.offset, bias) {
        // A wish, not a demand, as on Linux.
        Err(Errno::ENOTSUPP) => Ok(()),
        other => other,
    }
}

/// Puts a level on an output. One that is left to a resistor is one that the pin is not driven to.
fn drive(line: &Line, settings: Settings, high: bool, begin: bool) {
    let let_go = matches!((settings.drive, high), (Drive::OpenDrain, true) | (Drive::OpenSource, false));
    if let_go {
        line.chip.input(line.offset);
    } else if begin || settings.drive != Drive::PushPull {
        line.chip.output(line.offset, high);
    } else {
        line.chip.set(line.offset, high);
    }
}
