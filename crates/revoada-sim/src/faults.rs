//! Carries out a schedule of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::executor::SimRuntime;
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;
use revoada_attest::NodeId;
use revoada_core::declaration::ClusterDeclaration;
use revoada_core::genesis::Genesis;
use revoada_mesh::runtime::Runtime;

use crate::cluster::{Cluster, Standing};
use crate::disk::Ills;
use crate::entropy::Chance;
use crate::plan::{Fault, OLD_DISK_OFF_MS, Planned, Whom};
use crate::runtime::{RIGHT, Sim};
use crate::wire::{Place, Quality};
use crate::workload::Clients;

/// How many faults of each kind have happened.
pub type Counts = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// Does what is planned, each at its time; returns at once.
pub fn carry_out(clients: &Clients, plan: &[Planned], counts: &Counts) {
    for planned in plan {
        let (clients, planned, counts) = (clients.clone(), planned.clone(), counts.clone());
        Sim::detach(async move {
            SimRuntime::sleep(Duration::from_millis(planned.at_ms)).await;
            one(&clients, &planned, &counts).await;
        });
    }
}

fn at(cluster: &Cluster, whom: Whom) -> Option<Place> {
    match whom {
        Whom::At(place) => Some(place).filter(|place| *place < cluster.size()),
        Whom::Leader => cluster.leader(),
    }
}

async fn one(clients: &Clients, planned: &Planned, counts: &Counts) {
    let cluster = &clients.cluster;
    let lasts = Duration::from_millis(planned.lasts_ms);
    let fault = &planned.fault;
    let whom = match fault {
        Fault::Kill(whom)
        | Fault::PowerLoss(whom)
        | Fault::Pause(whom)
        | Fault::Isolate(whom)
        | Fault::Mute(whom)
        | Fault::Deaf(whom)
        | Fault::SlowDisk(whom, _)
        | Fault::FailingSync(whom)
        | Fault::FullDisk(whom)
        | Fault::ClockJump(whom, _)
        | Fault::ClockRate(whom, _)
        | Fault::Flap(whom, _)
        | Fault::Rot(whom)
        | Fault::EmptyDisk(whom)
        | Fault::OldDisk(whom)
        | Fault::CopiedKey(whom)
        | Fault::LoneCopy(whom)
        | Fault::OtherDeclaration(whom, _) => at(cluster, *whom),
        Fault::Starve => cluster.leader(),
        Fault::PowerLossOfAll
        | Fault::SlowDisks(_)
        | Fault::CutPair(..)
        | Fault::Split(_)
        | Fault::Slow { .. }
        | Fault::Lossy { .. }
        | Fault::Resets(..)
        | Fault::HalfResets(..)
        | Fault::Churn => Some(0),
    };
    // Nobody leads: there is nobody to do it to.
    let Some(place) = whom else { return };
    *counts.lock().entry(fault.kind()).or_default() += 1;
    cluster.trace.say(format_args!("fault {planned} (node-{place})"));
    match fault {
        Fault::Kill(_) => {
            cluster.kill(place, false);
            SimRuntime::sleep(lasts).await;
            cluster.start(place);
        }
        Fault::PowerLoss(_) => {
            cluster.kill(place, true);
            SimRuntime::sleep(lasts).await;
            cluster.start(place);
        }
        Fault::PowerLossOfAll => {
            for place in 0..cluster.size() {
                cluster.kill(place, true);
            }
            SimRuntime::sleep(lasts).await;
            for place in 0..cluster.size() {
                cluster.start(place);
            }
        }
        Fault::Pause(_) => {
            let Some(process) = cluster.process(place) else { return };
            process.pause();
            SimRuntime::sleep(lasts).await;
            process.resume();
        }
        Fault::Isolate(_) | Fault::Mute(_) | Fault::Deaf(_) => {
            let (out, into) = (!matches!(fault, Fault::Deaf(_)), !matches!(fault, Fault::Mute(_)));
            let ways: Vec<_> = cluster
                .places()
                .filter(|other| *other != place)
                .flat_map(|other| [(out, (place, other)), (into, (other, place))])
                .filter_map(|(is_cut, way)| is_cut.then_some(way))
                .collect();
            cut(cluster, &ways, lasts).await;
        }
        Fault::CutPair(a, b) => cut(cluster, &[(*a, *b), (*b, *a)], lasts).await,
        Fault::Split(side) => {
            let across = |a: &Place, b: &Place| side.contains(a) != side.contains(b);
            let ways: Vec<_> = cluster
                .places()
                .flat_map(|a| cluster.places().map(move |b| (a, b)))
                .filter(|(a, b)| across(a, b))
                .collect();
            cut(cluster, &ways, lasts).await;
        }
        Fault::Slow { jitter_us } => {
            let quality = Quality {
                jitter_us: *jitter_us,
                ..Quality::default()
            };
            cluster.net.spoil(cluster.places().len(), quality);
            SimRuntime::sleep(lasts).await;
            cluster.net.spoil(cluster.places().len(), Quality::default());
        }
        Fault::Lossy { permille } => {
            let quality = Quality {
                loss_permille: *permille,
                ..Quality::default()
            };
            cluster.net.spoil(cluster.places().len(), quality);
            SimRuntime::sleep(lasts).await;
            cluster.net.spoil(cluster.places().len(), Quality::default());
        }
        Fault::Resets(a, b) | Fault::HalfResets(a, b, _) => {
            let mut chance = Chance::of(cluster.seed, &format!("resets {}", planned.number));
            let mut left = lasts;
            while left > Duration::ZERO {
                match fault {
                    Fault::HalfResets(_, _, later_ms) => {
                        cluster.net.reset_side(*a, *b, Duration::from_millis(*later_ms));
                    }
                    _ => cluster.net.reset(*a, *b),
                }
                let pause = chance.ms(20, 400).min(left);
                SimRuntime::sleep(pause).await;
                left -= pause;
            }
        }
        Fault::SlowDisk(_, slow_us) => {
            ill(
                cluster,
                place,
                lasts,
                |ills| ills.slow_us = *slow_us,
                |ills| ills.slow_us = 0,
            )
            .await
        }
        Fault::SlowDisks(slow_us) => {
            let slow = |slow_us: u64| {
                for place in 0..cluster.size() {
                    let disk = cluster.disk(place);
                    let ills = disk.ills();
                    disk.suffer(Ills { slow_us, ..ills });
                }
            };
            slow(*slow_us);
            SimRuntime::sleep(lasts).await;
            slow(0);
        }
        Fault::FailingSync(_) => {
            ill(
                cluster,
                place,
                lasts,
                |ills| ills.syncs_fail = true,
                |ills| ills.syncs_fail = false,
            )
            .await;
            cluster.start(place);
        }
        Fault::FullDisk(_) => {
            ill(
                cluster,
                place,
                lasts,
                |ills| ills.is_full = true,
                |ills| ills.is_full = false,
            )
            .await;
            cluster.start(place);
        }
        Fault::ClockJump(_, by_ms) => cluster.shift_clock(place, *by_ms),
        Fault::ClockRate(_, rate) => {
            let Some(process) = cluster.process(place) else { return };
            process.set_rate(*rate);
            SimRuntime::sleep(lasts).await;
            process.set_rate(RIGHT);
        }
        Fault::Flap(_, times) => {
            for _ in 0..*times {
                cluster.kill(place, false);
                SimRuntime::sleep(lasts / (2 * *times as u32)).await;
                cluster.start(place);
                SimRuntime::sleep(lasts / (2 * *times as u32)).await;
            }
        }
        Fault::Rot(_) => {
            cluster.kill(place, false);
            let rotten = cluster.disk(place).rot("/");
            cluster.trace.say(format_args!("a bit of {rotten:?} flips"));
            SimRuntime::sleep(lasts).await;
            cluster.start(place);
        }
        Fault::EmptyDisk(_) => {
            cluster.kill(place, false);
            cluster.disk(place).wipe();
            SimRuntime::sleep(lasts).await;
            cluster.start(place);
        }
        Fault::OldDisk(_) => {
            let image = cluster.disk(place).image();
            SimRuntime::sleep(lasts).await;
            cluster.kill(place, false);
            cluster.disk(place).restore(&image);
            SimRuntime::sleep(Duration::from_millis(OLD_DISK_OFF_MS)).await;
            cluster.start(place);
        }
        Fault::CopiedKey(_) => {
            if !cluster.start_copy(place) {
                return;
            }
            SimRuntime::sleep(lasts).await;
            cluster.kill(cluster.spare(), true);
            // Whoever heard of the copy takes it for the newer process of the two, until there is another.
            cluster.kill(place, false);
            cluster.start(place);
        }
        Fault::LoneCopy(_) => {
            cluster.kill(place, false);
            let copied = cluster.start_copy(place);
            SimRuntime::sleep(lasts / 2).await;
            cluster.start(place);
            if !copied {
                return;
            }
            SimRuntime::sleep(lasts / 2).await;
            cluster.kill(cluster.spare(), true);
            cluster.kill(place, false);
            cluster.start(place);
        }
        Fault::Starve => {
            let Some(running) = cluster.running(place) else { return };
            let view = running.consensus().view();
            let places = |ids: &BTreeSet<NodeId>| -> Vec<Place> {
                ids.iter()
                    .filter_map(|id| cluster.place_of(id))
                    .filter(|other| *other != place)
                    .collect()
            };
            let standbys = places(&view.learners);
            let ways: Vec<_> = standbys
                .iter()
                .flat_map(|standby| [(place, *standby), (*standby, place)])
                .collect();
            for (from, to) in &ways {
                cluster.net.cut(*from, *to, true);
            }
            // So much that those who hear none of it have not caught up.
            Sim::detach(clients.clone().hurry(running, planned.number, lasts / 2));
            SimRuntime::sleep(lasts / 2).await;
            let victim = places(&view.voters).first().copied();
            if let Some(victim) = victim {
                cluster.kill(victim, false);
            }
            SimRuntime::sleep(lasts / 2).await;
            for (from, to) in &ways {
                cluster.net.cut(*from, *to, false);
            }
            if let Some(victim) = victim {
                cluster.start(victim);
            }
        }
        Fault::Churn => {
            let chance = Chance::of(cluster.seed, &format!("churn {}", planned.number));
            clients.churn(chance, lasts).await;
        }
        Fault::OtherDeclaration(_, standbys) => {
            cluster.kill(place, false);
            cluster.declare(place, declared_otherwise(cluster, *standbys));
            cluster.start(place);
            SimRuntime::sleep(lasts).await;
            cluster.kill(place, false);
            cluster.declare(place, None);
            cluster.start(place);
        }
    }
    cluster.trace.say(format_args!("fault #{} is over", planned.number));
}

/// The same founders under a declaration that differs in the number of standbys, if it does.
fn declared_otherwise(cluster: &Cluster, standbys: u32) -> Option<Arc<Genesis>> {
    let mut draft = cluster.genesis.declaration().draft();
    draft.strategy.standbys = standbys;
    let declaration = ClusterDeclaration::prove(draft).ok()?;
    let founders = cluster.genesis.founders().clone();
    Genesis::prove(declaration, founders, None).ok().map(Arc::new)
}

async fn cut(cluster: &Cluster, ways: &[(Place, Place)], lasts: Duration) {
    for (from, to) in ways {
        cluster.net.cut(*from, *to, true);
    }
    SimRuntime::sleep(lasts).await;
    for (from, to) in ways {
        cluster.net.cut(*from, *to, false);
    }
}

async fn ill(cluster: &Cluster, place: Place, lasts: Duration, begin: impl Fn(&mut Ills), end: impl Fn(&mut Ills)) {
    let disk = cluster.disk(place);
    let mut ills = disk.ills();
    begin(&mut ills);
    disk.suffer(ills);
    SimRuntime::sleep(lasts).await;
    let mut ills = disk.ills();
    end(&mut ills);
    disk.suffer(ills);
}

/// Ends everything that is wrong, and starts what is off.
pub fn heal(cluster: &Arc<Cluster>) {
    cluster.net.heal();
    cluster.kill(cluster.spare(), true);
    for place in 0..cluster.size() {
        cluster.disk(place).suffer(Ills::default());
        if let Some(process) = cluster.process(place) {
            process.set_rate(RIGHT);
            process.resume();
        }
        if !matches!(cluster.standing(place), Standing::Up | Standing::Starting) {
            cluster.start(place);
        }
    }
}
