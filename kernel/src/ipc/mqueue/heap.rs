//! Messages by priority, and among equals by age: a pairing heap whose links are in the messages, so that entering one needs no
//! memory and cannot fail. Entering is O(1), taking the first O(log n) on the average. Pure.

use vigil_mem::KBox;

/// A message with its place in the heap.
pub struct Node<T> {
    priority: u32,
    /// Which one it was to be entered.
    age: u64,
    /// The message.
    pub value: T,
    child: Option<KBox<Node<T>>>,
    sibling: Option<KBox<Node<T>>>,
}

impl<T> Node<T> {
    /// A message that is in no heap.
    pub const fn new(priority: u32, value: T) -> Node<T> {
        Node { priority, age: 0, value, child: None, sibling: None }
    }

    /// Its priority: the largest comes first.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    fn comes_before(&self, other: &Node<T>) -> bool {
        (other.priority, self.age) < (self.priority, other.age)
    }
}

/// The messages.
pub struct Heap<T> {
    root: Option<KBox<Node<T>>>,
    next_age: u64,
}

impl<T> Heap<T> {
    /// No messages.
    pub const fn new() -> Heap<T> {
        // What comes back must be able to be older than all.
        Heap { root: None, next_age: 1 }
    }

    /// Enters a message behind those of its priority.
    pub fn push(&mut self, mut node: KBox<Node<T>>) {
        node.age = self.next_age;
        self.next_age += 1;
        self.put_back(node);
    }

    /// Enters a message where it was before it was taken; one that never was in the heap before all of its priority.
    pub fn put_back(&mut self, node: KBox<Node<T>>) {
        self.root = Some(match self.root.take() {
            Some(root) => meld(root, node),
            None => node,
        });
    }

    /// Takes the first message.
    pub fn pop(&mut self) -> Option<KBox<Node<T>>> {
        let mut first = self.root.take()?;
        let mut rest = first.child.take();
        // Neighbours in pairs, from the left, then the pairs from the right.
        let mut pairs: Option<KBox<Node<T>>> = None;
        while let Some(mut a) = rest {
            rest = a.sibling.take();
            let mut pair = match rest.take() {
                Some(mut b) => {
                    rest = b.sibling.take();
                    meld(a, b)
                }
                None => a,
            };
            pair.sibling = pairs.take();
            pairs = Some(pair);
        }
        while let Some(mut pair) = pairs {
            pairs = pair.sibling.take();
            self.put_back(pair);
        }
        Some(first)
    }
}

impl<T> Drop for Heap<T> {
    fn drop(&mut self) {
        // One by one: their links are no deeper than a stack by nothing but luck.
        while self.pop().is_some() {}
    }
}

/// One heap of two; neither root has a sibling.
fn meld<T>(mut a: KBox<Node<T>>, mut b: KBox<Node<T>>) -> KBox<Node<T>> {
    if !a.comes_before(&b) {
        core::mem::swap(&mut a, &mut b);
    }
    b.sibling = a.child.take();
    a.child = Some(b);
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(priority: u32, value: u32) -> KBox<Node<u32>> {
        KBox::try_new(Node::new(priority, value)).unwrap()
    }

    #[test]
    fn by_priority_then_by_age() {
        let mut heap = Heap::new();
        for (i, priority) in [3, 1, 3, 0, 32767, 1].into_iter().enumerate() {
            heap.push(node(priority, i as u32));
        }
        let order: std::vec::Vec<u32> = core::iter::from_fn(|| heap.pop()).map(|n| n.value).collect();
        assert_eq!(order, [4, 0, 2, 1, 5, 3]);
    }

    #[test]
    fn what_comes_back_is_where_it_was() {
        let mut heap = Heap::new();
        for i in 0..4 {
            heap.push(node(5, i));
        }
        let first = heap.pop().unwrap();
        heap.push(node(5, 9));
        heap.put_back(first);
        // Never entered: it was handed on at once and comes back before those that came later.
        heap.put_back(node(5, 8));
        let order: std::vec::Vec<u32> = core::iter::from_fn(|| heap.pop()).map(|n| n.value).collect();
        assert_eq!(order, [8, 0, 1, 2, 3, 9]);
    }

    #[test]
    fn many_at_once() {
        let mut heap = Heap::new();
        let mut random = 7u32;
        let mut expected = std::vec::Vec::new();
        for i in 0..5000u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            heap.push(node(random >> 28, i));
            expected.push((core::cmp::Reverse(random >> 28), i));
            if i % 3 == 0 {
                expected.sort();
                let n = heap.pop().unwrap();
                assert_eq!((core::cmp::Reverse(n.priority()), n.value), expected.remove(0));
            }
        }
        // Dropping a heap of many is no deep recursion.
        drop(heap);
    }
}
