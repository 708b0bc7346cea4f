//! Lists of phandles with arguments: `gpios`, `pinctrl-0` (Devicetree Specification 2.2.4; Linux `of_parse_phandle_with_args`).

use super::DtError;
use super::tree::Node;
use super::validate::be32;

/// The most arguments that a reference has.
const MAX_ARGS: usize = 8;
/// So many references of a list are looked at.
const MAX_REFERENCES: usize = 256;

/// One entry of a list.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// Which node is meant.
    pub node: Node<'a>,
    args: [u32; MAX_ARGS],
    len: usize,
}

impl Reference<'_> {
    /// What is said to it.
    pub fn args(&self) -> &[u32] {
        self.args.get(..self.len).unwrap_or(&[])
    }
}

impl<'a> Node<'a> {
    /// Entry `index` of the list `property`, whose nodes say by `cells` how many arguments follow them; `None`: none do.
    ///
    /// Errors: [`DtError::NotFound`] when there is no such entry or it is empty, [`DtError::BadProperty`] when the list is malformed.
    pub fn reference(&self, property: &str, cells: Option<&str>, index: usize) -> Result<Reference<'a>, DtError> {
        let list = self.prop(property).ok_or(DtError::NotFound)?;
        let mut at = 0usize;
        for i in 0..=index.min(MAX_REFERENCES) {
            let phandle = be32(list, at * 4).ok_or(DtError::NotFound)?;
            at += 1;
            // An entry of zero is left out on purpose, and has no arguments.
            if phandle == 0 {
                if i == index {
                    return Err(DtError::NotFound);
                }
                continue;
            }
            let node = self.tree().by_phandle(phandle).ok_or(DtError::BadProperty)?;
            let len = match cells {
                Some(cells) => node.prop_u32(cells).ok_or(DtError::BadProperty)? as usize,
                None => 0,
            };
            if len > MAX_ARGS {
                return Err(DtError::BadProperty);
            }
            if i == index {
                let mut args = [0; MAX_ARGS];
                for (n, arg) in args.iter_mut().take(len).enumerate() {
                    *arg = be32(list, (at + n) * 4).ok_or(DtError::BadProperty)?;
                }
                return Ok(Reference { node, args, len });
            }
            at += len;
        }
        Err(DtError::NotFound)
    }
}
