//! A device's interrupts: from `interrupts` or `interrupts-extended` to a controller's node and its specifier cells.
//!
//! Devicetree Specification 2.4. Interrupt maps (PCI's nexus nodes) are not followed: such an interrupt answers
//! [`DtError::NotFound`], as if the controller were missing.

use super::tree::Node;
use super::validate::be32;
use super::{DtError, MAX_DEPTH};

/// The longest interrupt specifier; the GIC's have three or four cells.
pub const MAX_IRQ_CELLS: usize = 8;

/// One interrupt of a device.
#[derive(Clone, Copy, Debug)]
pub struct IrqSpec<'a> {
    /// The controller it is connected to.
    pub controller: Node<'a>,
    cells: [u32; MAX_IRQ_CELLS],
    len: usize,
}

impl IrqSpec<'_> {
    /// The specifier, in the controller's own encoding.
    pub fn cells(&self) -> &[u32] {
        self.cells.get(..self.len).unwrap_or(&[])
    }
}

impl<'a> Node<'a> {
    /// Interrupt `index` of this device.
    ///
    /// Errors: [`DtError::NotFound`] when it has no such interrupt or its controller is missing, others when the
    /// properties are malformed.
    pub fn irq(&self, index: usize) -> Result<IrqSpec<'a>, DtError> {
        if let Some(list) = self.prop("interrupts-extended") {
            return self.extended_irq(list, index);
        }
        let list = self.prop("interrupts").ok_or(DtError::NotFound)?;
        let controller = self.interrupt_parent().ok_or(DtError::NotFound)?;
        if controller.prop("interrupt-map").is_some() {
            return Err(DtError::NotFound);
        }
        let len = irq_cells(&controller)?;
        specifier(controller, list, index.checked_mul(len).ok_or(DtError::NotFound)?, len)
    }

    /// The interrupt that `interrupt-names` calls `name`.
    pub fn irq_by_name(&self, name: &str) -> Result<IrqSpec<'a>, DtError> {
        let index = self.prop_strings("interrupt-names").position(|n| n == name).ok_or(DtError::NotFound)?;
        self.irq(index)
    }

    fn extended_irq(&self, list: &[u8], index: usize) -> Result<IrqSpec<'a>, DtError> {
        let mut at = 0usize;
        for i in 0..=index {
            let phandle = be32(list, at * 4).ok_or(DtError::NotFound)?;
            let controller = self.tree().by_phandle(phandle).ok_or(DtError::NotFound)?;
            let len = irq_cells(&controller)?;
            if i == index {
                return specifier(controller, list, at + 1, len);
            }
            at += 1 + len;
        }
        Err(DtError::NotFound)
    }

    /// The controller (or nexus) above this node: the nearest one that has `#interrupt-cells`, on a way on which an
    /// `interrupt-parent` counts before the parent in the tree (Linux `of_irq_find_parent`).
    pub fn interrupt_parent(&self) -> Option<Node<'a>> {
        let mut node = *self;
        // Phandles may form a loop: bounded by twice the depth of the tree.
        for _ in 0..2 * MAX_DEPTH {
            node = match node.prop_u32("interrupt-parent") {
                Some(phandle) => self.tree().by_phandle(phandle)?,
                None => node.parent()?,
            };
            if node.prop("#interrupt-cells").is_some() {
                return Some(node);
            }
        }
        None
    }
}

fn irq_cells(controller: &Node<'_>) -> Result<usize, DtError> {
    let n = controller.prop_u32("#interrupt-cells").ok_or(DtError::BadProperty)? as usize;
    if (1..=MAX_IRQ_CELLS).contains(&n) { Ok(n) } else { Err(DtError::BadProperty) }
}

fn specifier<'a>(controller: Node<'a>, list: &[u8], at: usize, len: usize) -> Result<IrqSpec<'a>, DtError> {
    let mut cells = [0; MAX_IRQ_CELLS];
    for (i, cell) in cells.iter_mut().enumerate().take(len) {
        let off = at.checked_add(i).and_then(|n| n.checked_mul(4)).ok_or(DtError::NotFound)?;
        *cell = be32(list, off).ok_or(DtError::NotFound)?;
    }
    Ok(IrqSpec { controller, cells, len })
}
