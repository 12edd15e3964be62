//! Who votes first, as a function of the genesis alone.
//!
//! Among equals the name decides, in the order that a person counts in. Rejected: a hash of the genesis and the key.
//! It is as deterministic, and nobody could say beforehand which three of five machines will vote.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use revoada_attest::NodeId;

use super::Founder;
use crate::declaration::{ClusterDeclaration, Placement};

/// Chooses one founder after the other: from the zone or rack with the fewest so far, and there the first by name.
pub(super) fn first(declaration: &ClusterDeclaration, founders: &BTreeMap<NodeId, Founder>) -> BTreeSet<NodeId> {
    let wanted = declaration.topology().voters(founders.len());
    let placement = declaration.strategy().placement;
    let mut candidates: Vec<(&NodeId, &Founder)> = founders.iter().collect();
    candidates.sort_by(|(_, a), (_, b)| natural(&a.name, &b.name));

    let mut chosen: Vec<(&NodeId, &Founder)> = Vec::new();
    if let Some(witness) = declaration.witness()
        && let Some(at) = candidates.iter().position(|(_, founder)| founder.name == witness)
    {
        chosen.push(candidates.remove(at));
    }
    while chosen.len() < wanted && !candidates.is_empty() {
        let nearness = |founder: &Founder| {
            let shared = |same: fn(&Founder, &Founder) -> bool| chosen.iter().filter(|(_, c)| same(c, founder)).count();
            match placement {
                Placement::ZoneAware => [shared(same_zone), 0],
                Placement::RackAware => [shared(same_rack), 0],
                Placement::Spread => [shared(same_zone), shared(same_rack)],
                Placement::LatencyAware | Placement::None => [0, 0],
            }
        };
        // The first of equals is the first by name.
        let (at, _) = candidates
            .iter()
            .enumerate()
            .min_by_key(|(_, (_, founder))| nearness(founder))
            .expect("there are candidates, the loop asked");
        chosen.push(candidates.remove(at));
    }
    chosen.into_iter().map(|(id, _)| *id).collect()
}

/// Founders of which no zone is known count as one zone: nothing says that they stand apart.
fn same_zone(a: &Founder, b: &Founder) -> bool {
    a.zone == b.zone
}

/// A rack is known by its zone and its name.
fn same_rack(a: &Founder, b: &Founder) -> bool {
    a.zone == b.zone && a.rack == b.rack
}

/// The order that a person expects: runs of digits by their number, so that `node-2` comes before `node-10`. Names
/// that differ only in leading zeros are told apart by their bytes.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    loop {
        match (left, right) {
            ([], []) => return a.cmp(b),
            ([], _) => return Ordering::Less,
            (_, []) => return Ordering::Greater,
            ([x, ..], [y, ..]) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, rest_of_left) = digits(left);
                let (y, rest_of_right) = digits(right);
                match x.len().cmp(&y.len()).then_with(|| x.cmp(y)) {
                    Ordering::Equal => (left, right) = (rest_of_left, rest_of_right),
                    unequal => return unequal,
                }
            }
            ([x, rest_of_left @ ..], [y, rest_of_right @ ..]) => match x.cmp(y) {
                Ordering::Equal => (left, right) = (rest_of_left, rest_of_right),
                unequal => return unequal,
            },
        }
    }
}

/// The digits at the beginning without leading zeros, and what comes after them.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let start = text[..end].iter().position(|byte| *byte != b'0').unwrap_or(end);
    (&text[start..end], &text[end..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = [
            "node-10", "node-2", "node-1", "node", "node-02", "a10b2", "a10b10", "a9", "0", "00",
        ];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            [
                "0", "00", "a9", "a10b2", "a10b10", "node", "node-1", "node-02", "node-2", "node-10"
            ]
        );
    }

    proptest! {
        #[test]
        fn the_order_of_names_is_total(a in "[a0-2-]{0,4}", b in "[a0-2-]{0,4}", c in "[a0-2-]{0,4}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b) == Ordering::Equal, a == b);
            if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
                prop_assert!(natural(&a, &c).is_le());
            }
        }
    }
}
