//! A revision never goes back: neither for one who looks at one node again and again, nor behind a restore (etcd#16028).

use std::collections::BTreeMap;

use super::Violation;
use crate::history::Records;
use crate::wire::Place;

/// What was seen on one process of a node, one after the other.
pub fn glances(records: &Records) -> Result<(), Violation> {
    let mut newest: BTreeMap<(Place, u64), u64> = BTreeMap::new();
    for glance in &records.glances {
        let newest = newest.entry((glance.place, glance.start)).or_default();
        if glance.revision < *newest {
            let what = format!(
                "node-{} showed revision {newest}, and then {}",
                glance.place, glance.revision
            );
            return Err(Violation::of("revision-never-goes-back", what));
        }
        *newest = glance.revision;
    }
    Ok(())
}
