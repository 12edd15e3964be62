//! The nearest of some names, for remedies: `phalanxx` is probably `phalanx`.

/// The name with the fewest edits (insert, delete, replace, swap of neighbours) from `given`, the first of equals.
pub(crate) fn nearest<'n>(given: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // A name that is far longer than any candidate is as far away as its first characters say.
    let given: Vec<char> = given.chars().take(64).flat_map(char::to_lowercase).collect();
    names
        .into_iter()
        .min_by_key(|name| distance(&given, &name.chars().flat_map(char::to_lowercase).collect::<Vec<_>>()))
}

/// The optimal string alignment distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let topologies = crate::topology::NAMES;
        let cases = [
            ("phalanxx", "phalanx"),
            ("Pair", "pair"),
            ("quorum3m", "quorum-3m"),
            ("slo", "solo"),
        ];
        for (given, meant) in cases {
            assert_eq!(nearest(given, topologies), Some(meant), "{given}");
        }
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn neighbours_that_changed_places_are_one_edit() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("qourum"), &chars("quorum")), 1);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
    }
}
