//! The unflattened tree: parent links, phandles and properties as slices into the blob.
//!
//! Built once when memory is up, in one walk; afterwards a property costs a scan of its node's few, a parent one load.
//! It is read-only and shared freely.

use super::cells::{self, Props, as_str};
use super::validate::{Dtb, RawNode, be32};
use super::{DtError, MAX_DEPTH, Region};
use vigil_mem::KVec;

/// A node on the way of [`walk`], before its descendants.
pub(super) struct Visit<'a> {
    node: RawNode<'a>,
    depth: usize,
}

/// Visits every node of the blob, parents before children, without recursion.
pub(super) fn walk<'a>(dtb: &Dtb<'a>, mut f: impl FnMut(Visit<'a>) -> Result<(), DtError>) -> Result<(), DtError> {
    let root = dtb.root()?;
    let mut stack: [Option<fdt::nodes::NodeChildrenIter<'a, super::validate::Mode<'a>>>; MAX_DEPTH] = [const { None }; MAX_DEPTH];
    f(Visit { node: root, depth: 0 })?;
    let children = |n: &RawNode<'a>| n.children().map(|c| c.iter()).map_err(|_| DtError::Structure);
    stack[0] = Some(children(&root)?);
    let mut depth = 0;
    loop {
        let slot = stack.get_mut(depth).ok_or(DtError::TooDeep)?;
        match slot.as_mut().and_then(|it| it.next()) {
            Some(node) => {
                let node = node.map_err(|_| DtError::Structure)?;
                f(Visit { node, depth: depth + 1 })?;
                depth += 1;
                let inner = children(&node)?;
                if let Some(slot) = stack.get_mut(depth) {
                    *slot = Some(inner);
                } else {
                    // The deepest level that validation allows has no room for children, so it has none.
                    depth -= 1;
                }
            }
            None if depth == 0 => return Ok(()),
            None => depth -= 1,
        }
    }
}

#[derive(Debug)]
struct Entry<'a> {
    name: &'a str,
    unit: Option<&'a str>,
    phandle: u32,
    parent: u32,
    /// Index after this node's last descendant.
    end: u32,
    first_prop: u32,
    props: u32,
}

/// The unflattened tree.
#[derive(Debug)]
pub struct Tree<'a> {
    /// In the order of the blob: a node is followed by its descendants.
    nodes: KVec<Entry<'a>>,
    props: KVec<(&'a str, &'a [u8])>,
}

/// A node of a [`Tree`]; as cheap to copy as a pointer and a number.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    tree: &'a Tree<'a>,
    index: u32,
}

impl<'a> Tree<'a> {
    /// Builds the tree of a validated blob. Allocates about 80 bytes per node and 32 per property.
    ///
    /// Errors: [`DtError::NoMemory`].
    pub fn unflatten(dtb: &Dtb<'a>) -> Result<Tree<'a>, DtError> {
        let mut tree = Tree { nodes: KVec::new(), props: KVec::new() };
        let mut open = [0u32; MAX_DEPTH + 1];
        walk(dtb, |visit| {
            let index = tree.nodes.len() as u32;
            let name = visit.node.name().map_err(|_| DtError::BadName)?;
            let first_prop = tree.props.len() as u32;
            let mut phandle = 0;
            for p in visit.node.properties().map_err(|_| DtError::Structure)?.iter() {
                let p = p.map_err(|_| DtError::Structure)?;
                if p.name == "phandle" || (p.name == "linux,phandle" && phandle == 0) {
                    phandle = be32(p.value, 0).unwrap_or(0);
                }
                tree.props.try_push((p.name, p.value)).map_err(|_| DtError::NoMemory)?;
            }
            let parent = visit.depth.checked_sub(1).and_then(|d| open.get(d)).copied().unwrap_or(0);
            *open.get_mut(visit.depth).ok_or(DtError::TooDeep)? = index;
            let props = tree.props.len() as u32 - first_prop;
            let (name, unit) = (name.name, name.unit_address);
            let entry = Entry { name, unit, phandle, parent, end: index + 1, first_prop, props };
            tree.nodes.try_push(entry).map_err(|_| DtError::NoMemory)
        })?;
        // A node's descendants end where its last child's do; children come after parents, so one pass from behind.
        for i in (1..tree.nodes.len()).rev() {
            let (end, parent) = (tree.nodes[i].end, tree.nodes[i].parent as usize);
            let p = &mut tree.nodes[parent];
            p.end = p.end.max(end);
        }
        Ok(tree)
    }

    /// The root.
    pub fn root(&'a self) -> Node<'a> {
        Node { tree: self, index: 0 }
    }

    /// All nodes, parents before children.
    pub fn nodes(&'a self) -> impl Iterator<Item = Node<'a>> {
        (0..self.nodes.len() as u32).map(|index| Node { tree: self, index })
    }

    /// The available nodes that are compatible with one of `with`, in the tree's order.
    pub fn compatible(&'a self, with: &'a [&'a str]) -> impl Iterator<Item = Node<'a>> {
        self.nodes().filter(|n| n.is_available()).filter(move |n| n.compatible().any(|c| with.contains(&c)))
    }

    /// The node whose phandle is `phandle`.
    pub fn by_phandle(&'a self, phandle: u32) -> Option<Node<'a>> {
        if phandle == 0 || phandle == u32::MAX {
            return None;
        }
        self.nodes().find(|n| n.entry().phandle == phandle)
    }

    /// The node at `path` ("/soc/serial@7e201000"; a unit address may be left out) or with the alias `path` ("serial0").
    pub fn find(&'a self, path: &str) -> Option<Node<'a>> {
        let path = match path.strip_prefix('/') {
            Some(path) => path,
            None => {
                let aliases = self.root().child("aliases")?;
                as_str(aliases.prop(path)?)?.strip_prefix('/')?
            }
        };
        path.split('/').filter(|p| !p.is_empty()).try_fold(self.root(), |node, part| node.child(part))
    }
}

impl<'a> Node<'a> {
    fn entry(&self) -> &'a Entry<'a> {
        // Indices are made by `Tree` alone and the tree is never changed.
        &self.tree.nodes[self.index as usize]
    }

    /// The tree it belongs to.
    pub fn tree(&self) -> &'a Tree<'a> {
        self.tree
    }

    /// A number that is this node's alone within its tree.
    pub fn id(&self) -> u32 {
        self.index
    }

    /// Its name without the unit address; "/" for the root.
    pub fn name(&self) -> &'a str {
        self.entry().name
    }

    /// What follows the `@` in its name.
    pub fn unit_address(&self) -> Option<&'a str> {
        self.entry().unit
    }

    /// The value of property `name`.
    pub fn prop(&self, name: &str) -> Option<&'a [u8]> {
        Props::prop(self, name)
    }

    /// The first cell of property `name`.
    pub fn prop_u32(&self, name: &str) -> Option<u32> {
        Props::prop_u32(self, name)
    }

    /// Property `name` as one string.
    pub fn prop_str(&self, name: &str) -> Option<&'a str> {
        as_str(self.prop(name)?)
    }

    /// Property `name` as a list of strings; empty when there is none.
    pub fn prop_strings(&self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        cells::strings(self.prop(name).unwrap_or(&[]))
    }

    /// The strings of `compatible`, most specific first.
    pub fn compatible(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.prop_strings("compatible")
    }

    /// Whether `compatible` has `name`.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.compatible().any(|c| c == name)
    }

    /// Whether `status` is absent, "okay" or "ok".
    pub fn is_available(&self) -> bool {
        cells::is_available(self)
    }

    /// Its phandle, if it has one.
    pub fn phandle(&self) -> Option<u32> {
        Some(self.entry().phandle).filter(|&p| p != 0)
    }

    /// The parent; `None` for the root.
    pub fn parent(&self) -> Option<Node<'a>> {
        (self.index != 0).then(|| Node { tree: self.tree, index: self.entry().parent })
    }

    /// The children in the tree's order.
    pub fn children(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let (tree, end) = (self.tree, self.entry().end);
        let mut next = self.index + 1;
        core::iter::from_fn(move || {
            let node = (next < end).then_some(Node { tree, index: next })?;
            next = node.entry().end;
            Some(node)
        })
    }

    /// The child called `name`, which may leave the unit address out.
    pub fn child(&self, name: &str) -> Option<Node<'a>> {
        let (base, unit) = match name.split_once('@') {
            Some((base, unit)) => (base, Some(unit)),
            None => (name, None),
        };
        self.children().find(|n| n.name() == base && (unit.is_none() || n.unit_address() == unit))
    }

    /// Entry `index` of `reg` as a physical address, translated through the `ranges` of the buses above.
    pub fn reg(&self, index: usize) -> Option<Region> {
        let mut chain = [*self; MAX_DEPTH];
        let mut used = 0;
        let mut at = *self;
        while let Some(parent) = at.parent() {
            *chain.get_mut(used)? = parent;
            used += 1;
            at = parent;
        }
        cells::reg(*self, chain.get(..used)?, index)
    }

    /// The entry of `reg` that `reg-names` calls `name`.
    pub fn reg_by_name(&self, name: &str) -> Option<Region> {
        self.reg(self.prop_strings("reg-names").position(|n| n == name)?)
    }
}

impl<'a> Props<'a> for Node<'a> {
    fn prop(&self, name: &str) -> Option<&'a [u8]> {
        let e = self.entry();
        let props = self.tree.props.get(e.first_prop as usize..(e.first_prop + e.props) as usize)?;
        props.iter().find(|(n, _)| *n == name).map(|&(_, value)| value)
    }
}

impl core::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// `name@unit`.
impl core::fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.unit_address() {
            Some(unit) => write!(f, "{}@{}", self.name(), unit),
            None => f.write_str(self.name()),
        }
    }
}
