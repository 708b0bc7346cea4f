//! What pins are wired to inside the SoC: `pinctrl-0` of a device names nodes of the pin controller, each with pins, their function and
//! their resistor (Linux: `Documentation/devicetree/bindings/pinctrl/{brcm,bcm2835-gpio,pincfg-node}.yaml`).

use super::bcm2835::{Bcm2835, INPUT, OUTPUT};
use super::{Bias, GpioChip};
use crate::dt::{DtError, Node};
use crate::model::EPROBE_DEFER;
use vigil_abi::Errno;

/// So many nodes of a state are looked at.
const MAX_NODES: usize = 16;
/// So many pins of a node are.
const MAX_PINS: usize = 64;

/// The pin controller, and its node.
static PINS: spin::Once<(&'static Bcm2835, u32)> = spin::Once::new();

/// Makes `chip` the one whose pins are set.
pub(super) fn register(chip: &'static Bcm2835, node: Node<'_>) {
    PINS.call_once(|| (chip, node.id()));
}

/// Sets the pins of the device at `node` as its state `default` wants them, if it has one.
///
/// Errors: EPROBE_DEFER when the pin controller is a Raspberry Pi's and has not been probed; EINVAL for a malformed tree.
pub fn select_default(node: Node<'_>) -> Result<(), Errno> {
    if !node.prop_strings("pinctrl-names").next().is_some_and(|first| first == "default") {
        return Ok(());
    }
    for index in 0..MAX_NODES {
        let config = match node.reference("pinctrl-0", None, index) {
            Ok(reference) => reference.node,
            Err(DtError::NotFound) => break,
            Err(e) => return Err(e.into()),
        };
        let Some(owner) = config.parent() else { continue };
        let Some(&(chip, id)) = PINS.get() else {
            let ours = super::bcm2835::DRIVER.compatible.iter().any(|c| owner.is_compatible(c));
            return if ours { Err(EPROBE_DEFER) } else { Ok(()) };
        };
        if owner.id() == id {
            apply(chip, config)?;
        }
    }
    Ok(())
}

/// Sets the pins of one node, and of those below it: trees group pins of different settings so.
pub(super) fn apply(chip: &Bcm2835, config: Node<'_>) -> Result<(), Errno> {
    core::iter::once(config).chain(config.children()).try_for_each(|node| apply_one(chip, node))
}

fn apply_one(chip: &Bcm2835, config: Node<'_>) -> Result<(), Errno> {
    if let Some(pins) = config.prop("brcm,pins") {
        let word = |name: &str, i: usize| Some(config.prop(name)?.chunks_exact(4)).and_then(|mut w| w.nth(i)).map(be);
        let count = |name: &str| config.prop(name).map_or(0, |p| p.len() / 4);
        for (i, pin) in pins.chunks_exact(4).map(be).take(MAX_PINS).enumerate() {
            // One for all pins, or one each.
            let of = |name: &str| word(name, if count(name) > 1 { i } else { 0 });
            let bias = match of("brcm,pull") {
                None => None,
                Some(0) => Some(Bias::Disable),
                Some(1) => Some(Bias::PullDown),
                Some(2) => Some(Bias::PullUp),
                Some(_) => return Err(Errno::EINVAL),
            };
            set(chip, pin, of("brcm,function"), bias)?;
        }
        return Ok(());
    }
    let function = match config.prop_str("function") {
        Some(name) => Some(function_called(name).ok_or(Errno::EINVAL)?),
        None => None,
    };
    let bias = [("bias-disable", Bias::Disable), ("bias-pull-up", Bias::PullUp), ("bias-pull-down", Bias::PullDown)];
    let bias = bias.into_iter().find(|(name, _)| config.prop(name).is_some()).map(|(_, bias)| bias);
    for pin in config.prop_strings("pins").take(MAX_PINS) {
        let pin = pin.strip_prefix("gpio").and_then(|n| n.parse().ok()).ok_or(Errno::EINVAL)?;
        set(chip, pin, function, bias)?;
    }
    Ok(())
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, &byte| n << 8 | u32::from(byte))
}

fn set(chip: &Bcm2835, pin: u32, function: Option<u32>, bias: Option<Bias>) -> Result<(), Errno> {
    if !chip.has(pin) || function.is_some_and(|f| f > 7) {
        return Err(Errno::EINVAL);
    }
    if let Some(function) = function {
        chip.set_function(pin, function);
    }
    match bias {
        Some(bias) => chip.set_bias(pin, bias),
        None => Ok(()),
    }
}

/// The three bits of a function that a tree names.
fn function_called(name: &str) -> Option<u32> {
    const NAMES: [(&str, u32); 8] =
        [("gpio_in", INPUT), ("gpio_out", OUTPUT), ("alt0", 4), ("alt1", 5), ("alt2", 6), ("alt3", 7), ("alt4", 3), ("alt5", 2)];
    NAMES.iter().find(|(n, _)| *n == name).map(|&(_, bits)| bits)
}
