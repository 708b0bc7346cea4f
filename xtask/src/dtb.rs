//! A flattened device tree (Devicetree Specification, chapter 5), as far as a node is taken out of one.
use anyhow::{Context, Result, bail};

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;

/// The big-endian word at `at`.
fn word(tree: &[u8], at: usize) -> Result<u32> {
    let bytes = tree.get(at..at + 4).context("a device tree ends too early")?;
    Ok(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
}

/// Makes nothing of the first node of that name and of all in it, wherever it is.
pub fn remove_node(tree: &mut [u8], name: &str) -> Result<()> {
    let mut at = word(tree, 8)? as usize;
    let (mut depth, mut from) = (0, None);
    loop {
        match word(tree, at)? {
            BEGIN_NODE => {
                depth += 1;
                let rest = &tree[at + 4..];
                let length = rest.iter().position(|b| *b == 0).context("a node's name without an end")?;
                if from.is_none() && rest[..length] == *name.as_bytes() {
                    from = Some((at, depth));
                }
                at = (at + 4 + length + 1).next_multiple_of(4);
            }
            END_NODE => {
                at += 4;
                if let Some((start, _)) = from.filter(|(_, level)| *level == depth) {
                    tree[start..at].as_chunks_mut().0.fill(NOP.to_be_bytes());
                    return Ok(());
                }
                depth -= 1;
            }
            PROPERTY => at = (at + 12 + word(tree, at + 4)? as usize).next_multiple_of(4),
            NOP => at += 4,
            _ => bail!("the device tree has no node {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header whose third word says where the nodes are, and those.
    fn tree(words: &[&[u8]]) -> Vec<u8> {
        let header = [0u32, 0, 16, 0].map(u32::to_be_bytes).concat();
        [&header, &words.concat()[..]].concat()
    }

    #[test]
    fn a_node_goes_with_all_in_it() {
        let (begin, end, last) = (&[0, 0, 0, 1][..], &[0, 0, 0, 2][..], &[0, 0, 0, 9][..]);
        // The property's value holds what would be the node's beginning.
        let property = &[&[0, 0, 0, 3, 0, 0, 0, 6, 0, 0, 0, 0][..], b"\0\0\0\x01b\0\0\0"].concat()[..];
        let other = &[begin, b"bb\0\0", property, end].concat()[..];
        let gone = &[begin, b"b\0\0\0", property, begin, b"child\0\0\0", end, end].concat()[..];
        let nops = &[0, 0, 0, 4].repeat(gone.len() / 4)[..];
        let mut whole = tree(&[begin, &[0; 4], other, gone, other, end, last]);
        assert!(remove_node(&mut whole, "c").is_err());
        remove_node(&mut whole, "b").expect("removed");
        assert_eq!(whole, tree(&[begin, &[0; 4], other, nops, other, end, last]));
        assert!(remove_node(&mut whole, "b").is_err() && remove_node(&mut [0; 8], "b").is_err());
    }
}
