//! What a failure does to machines and to the network.

use super::super::schedule::{Failure, Kind, is_split_off};
use super::{Event, Fleet};

impl Fleet<'_> {
    pub(super) fn fails(&mut self, failure: Failure) {
        let number = failure.subject;
        match failure.kind {
            Kind::Reboot => self.stops(number),
            Kind::Crash | Kind::Machine => self.falls(number),
            Kind::Disk => {
                self.falls(number);
                let machine = &mut self.machines[number];
                (machine.emptied, machine.has_data) = (true, false);
            }
            Kind::Zone => {
                for number in self.in_zone(number) {
                    self.falls(number);
                }
            }
            Kind::Isolation => self.machines[number].cut += 1,
            Kind::Split => {
                let (seed, round) = (self.options.seed, failure.round);
                let side = (0..self.machines.len()).map(|number| is_split_off(seed, round, number));
                self.split = Some(side.collect());
            }
        }
    }

    pub(super) fn ends(&mut self, failure: Failure) {
        let number = failure.subject;
        match failure.kind {
            Kind::Crash | Kind::Machine | Kind::Disk | Kind::Reboot => self.rises(number),
            Kind::Zone => {
                for number in self.in_zone(number) {
                    self.rises(number);
                }
            }
            Kind::Isolation => self.machines[number].cut -= 1,
            Kind::Split => self.split = None,
        }
    }

    fn in_zone(&self, zone: usize) -> impl Iterator<Item = usize> + use<> {
        (zone..self.machines.len()).step_by(self.options.zones.max(1))
    }

    /// An operator stops a machine. A node that leads hands over first, as production's does.
    fn stops(&mut self, number: usize) {
        let heirs: Vec<usize> = self
            .numbers_of(&self.observed.voters)
            .filter(|heir| *heir != number && self.machines[*heir].present)
            .collect();
        if self.leader == Some(number) && !heirs.is_empty() {
            let heir = heirs[self.chance.below(heirs.len() as u64) as usize];
            self.lead(heir);
        }
        self.falls(number);
    }

    fn falls(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        machine.away += 1;
        machine.starts += 1;
        machine.runs = false;
    }

    fn rises(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        machine.away -= 1;
        machine.starts += 1;
        if machine.away == 0 {
            let starts = machine.starts;
            self.after(self.timing.starts_ms, Event::Started(number, starts));
        }
    }
}
