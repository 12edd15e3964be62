//! Who watches which keys, to be asked for each key that changes.
//!
//! Watchers of one key or of one range are one group. Single keys are looked up; ranges are a tree in the order of their
//! first keys, each node of which knows the furthest end below it, so that a key finds the ranges around it without
//! meeting the others (Cormen et al., Introduction to Algorithms, "Interval trees"). The tree is a treap: it keeps its
//! balance without a rule for each case. Rejected: asking every watcher about every change, which costs a thousand
//! comparisons where one answer is wanted.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use bytes::Bytes;
use revoada_core::keyspace::KeyRange;

/// A watcher: the number of its stream, and its own there.
pub type Who = (u64, i64);

/// Those who watch the same.
#[derive(Debug)]
pub struct Group<T> {
    /// The group's own number: no two of an index have the same.
    pub number: u64,
    /// Its watchers, those of one stream side by side.
    pub members: BTreeMap<Who, T>,
}

/// See the module.
#[derive(Debug)]
pub struct Index<T> {
    keys: HashMap<Bytes, Group<T>>,
    ranges: Tree<T>,
    groups: u64,
    members: usize,
}

/// Where a range ends: before a key, or nowhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(Bytes),
    Nowhere,
}

impl End {
    fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < end.as_ref(),
            Self::Nowhere => true,
        }
    }
}

type Tree<T> = Option<Box<Node<T>>>;

#[derive(Debug)]
struct Node<T> {
    start: Bytes,
    end: End,
    /// The furthest end of this node and those below it.
    furthest: End,
    /// Never less than that of a node below it.
    priority: u64,
    left: Tree<T>,
    right: Tree<T>,
    group: Group<T>,
}

fn ends(range: &KeyRange) -> (Bytes, End) {
    let (start, end) = range.ends();
    (start, end.map_or(End::Nowhere, End::Before))
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            ranges: None,
            groups: 0,
            members: 0,
        }
    }
}

impl<T> Index<T> {
    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// Adds a watcher, in place of the one that is the same.
    pub fn insert(&mut self, range: &KeyRange, who: Who, watcher: T) {
        let number = self.groups;
        self.groups += 1;
        let new = Group {
            number,
            members: BTreeMap::from([(who, watcher)]),
        };
        let replaced = if let KeyRange::One(key) = range {
            match self.keys.get_mut(key) {
                Some(group) => join(group, new),
                None => {
                    self.keys.insert(key.clone(), new);
                    false
                }
            }
        } else {
            let (start, end) = ends(range);
            insert(&mut self.ranges, start, end, new)
        };
        self.members += usize::from(!replaced);
    }

    /// Takes a watcher of this range away; none if it is not there.
    pub fn remove(&mut self, range: &KeyRange, who: Who) -> Option<T> {
        let removed = if let KeyRange::One(key) = range {
            let group = self.keys.get_mut(key)?;
            let removed = group.members.remove(&who);
            if group.members.is_empty() {
                self.keys.remove(key);
            }
            removed
        } else {
            let (start, end) = ends(range);
            remove(&mut self.ranges, &start, &end, who)
        };
        self.members -= usize::from(removed.is_some());
        removed
    }

    /// Every group that watches this key.
    pub fn matching<'a>(&'a self, key: &[u8], found: &mut impl FnMut(&'a Group<T>)) {
        if let Some(group) = self.keys.get(key) {
            found(group);
        }
        stab(&self.ranges, key, found);
    }

    /// Whether anybody watches this key.
    pub fn matches(&self, key: &[u8]) -> bool {
        let mut any = false;
        self.matching(key, &mut |_| any = true);
        any
    }

    /// Every watcher, in no order.
    pub fn into_watchers(self) -> impl Iterator<Item = (Who, T)> {
        let mut groups: Vec<_> = self.keys.into_values().collect();
        let mut nodes: Vec<_> = self.ranges.into_iter().collect();
        while let Some(mut node) = nodes.pop() {
            nodes.extend(node.left.take());
            nodes.extend(node.right.take());
            groups.push(node.group);
        }
        groups.into_iter().flat_map(|group| group.members)
    }
}

/// Whether one was there before.
fn join<T>(group: &mut Group<T>, new: Group<T>) -> bool {
    let before = group.members.len();
    group.members.extend(new.members);
    group.members.len() == before
}

/// A number that nobody can steer: the priorities of a treap have to look drawn (Steele et al., "SplitMix").
fn scattered(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn insert<T>(tree: &mut Tree<T>, start: Bytes, end: End, new: Group<T>) -> bool {
    let Some(node) = tree else {
        *tree = Some(Box::new(Node {
            start,
            furthest: end.clone(),
            end,
            priority: scattered(new.number),
            left: None,
            right: None,
            group: new,
        }));
        return false;
    };
    let replaced = match (&start, &end).cmp(&(&node.start, &node.end)) {
        std::cmp::Ordering::Equal => return join(&mut node.group, new),
        std::cmp::Ordering::Less => insert(&mut node.left, start, end, new),
        std::cmp::Ordering::Greater => insert(&mut node.right, start, end, new),
    };
    node.look();
    let priority = node.priority;
    let higher = |child: &Tree<T>| child.as_ref().is_some_and(|child| child.priority > priority);
    let (left, right) = (higher(&node.left), higher(&node.right));
    if left {
        rotate(tree, |node| &mut node.left, |node| &mut node.right);
    } else if right {
        rotate(tree, |node| &mut node.right, |node| &mut node.left);
    }
    replaced
}

/// Puts a child in the place of its parent; the parent takes over what the child had on its inner side.
fn rotate<T>(
    tree: &mut Tree<T>,
    child_of: impl Fn(&mut Node<T>) -> &mut Tree<T>,
    inner_of: impl Fn(&mut Node<T>) -> &mut Tree<T>,
) {
    let Some(mut parent) = tree.take() else { return };
    let Some(mut child) = child_of(&mut parent).take() else {
        *tree = Some(parent);
        return;
    };
    *child_of(&mut parent) = inner_of(&mut child).take();
    parent.look();
    *inner_of(&mut child) = Some(parent);
    child.look();
    *tree = Some(child);
}

fn remove<T>(tree: &mut Tree<T>, start: &Bytes, end: &End, who: Who) -> Option<T> {
    let node = tree.as_mut()?;
    let removed = match (start, end).cmp(&(&node.start, &node.end)) {
        std::cmp::Ordering::Equal => node.group.members.remove(&who),
        std::cmp::Ordering::Less => remove(&mut node.left, start, end, who),
        std::cmp::Ordering::Greater => remove(&mut node.right, start, end, who),
    };
    if node.group.members.is_empty() {
        let (left, right) = (node.left.take(), node.right.take());
        *tree = merge(left, right);
    } else {
        node.look();
    }
    removed
}

/// One tree of two, all of the first before all of the second.
fn merge<T>(left: Tree<T>, right: Tree<T>) -> Tree<T> {
    match (left, right) {
        (Some(mut left), Some(mut right)) => Some(if left.priority >= right.priority {
            left.right = merge(left.right.take(), Some(right));
            left.look();
            left
        } else {
            right.left = merge(Some(left), right.left.take());
            right.look();
            right
        }),
        (left, right) => left.or(right),
    }
}

fn stab<'a, T>(tree: &'a Tree<T>, key: &[u8], found: &mut impl FnMut(&'a Group<T>)) {
    let Some(node) = tree else { return };
    if !node.furthest.is_behind(key) {
        return;
    }
    stab(&node.left, key, found);
    if node.start.as_ref() <= key {
        if node.end.is_behind(key) {
            found(&node.group);
        }
        stab(&node.right, key, found);
    }
}

impl<T> Node<T> {
    /// Finds the furthest end anew.
    fn look(&mut self) {
        let children = [&self.left, &self.right];
        let below = children.into_iter().flatten().map(|child| &child.furthest).max();
        let furthest = below.filter(|below| **below > self.end).unwrap_or(&self.end).clone();
        drop(mem::replace(&mut self.furthest, furthest));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> Bytes {
        Bytes::from(vec![n])
    }

    fn any_range() -> impl Strategy<Value = KeyRange> {
        prop_oneof![
            (0..40_u8).prop_map(|n| KeyRange::One(key(n))),
            (0..40_u8, 0..40_u8).prop_map(|(a, b)| KeyRange::Span {
                start: key(a),
                end: key(b)
            }),
            (0..40_u8).prop_map(|n| KeyRange::From(key(n))),
            (0..40_u8).prop_map(|n| KeyRange::Prefix(key(n))),
        ]
    }

    proptest! {
        #[test]
        fn an_index_finds_whom_asking_everybody_finds(
            steps in prop::collection::vec((any_range(), 0..6_i64, prop::bool::weighted(0.7)), 0..120),
        ) {
            let mut index = Index::default();
            let mut all: Vec<(KeyRange, Who)> = Vec::new();
            for (range, id, adds) in steps {
                let who = (id as u64 % 2, id);
                // A range is the keys that it has, however it is spelled; one key alone is looked up.
                let same = |(other, whose): &(KeyRange, Who)| {
                    let one = |range: &KeyRange| matches!(range, KeyRange::One(_));
                    *whose == who && one(other) == one(&range) && other.ends() == range.ends()
                };
                if adds {
                    index.insert(&range, who, ());
                    if !all.iter().any(same) {
                        all.push((range.clone(), who));
                    }
                } else {
                    let there = all.iter().position(same);
                    prop_assert_eq!(index.remove(&range, who).is_some(), there.is_some());
                    if let Some(there) = there {
                        all.swap_remove(there);
                    }
                }
                prop_assert_eq!(index.is_empty(), all.is_empty());
                for n in 0..42 {
                    let mut found = Vec::new();
                    index.matching(&key(n), &mut |group| found.extend(group.members.keys().copied()));
                    let mut expected: Vec<_> =
                        all.iter().filter(|(range, _)| range.contains(&key(n))).map(|(_, who)| *who).collect();
                    found.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(found, expected, "key {}", n);
                }
            }
            prop_assert_eq!(index.into_watchers().count(), all.len());
        }
    }
}
