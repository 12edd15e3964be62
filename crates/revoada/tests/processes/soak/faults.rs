//! The kinds of faults, how each is done, and how it is undone.

use std::path::PathBuf;
use std::time::Duration;

use revoada::store::admin::Wish;

use crate::support::{Chance, Hosts, OwnDisk, PATIENCE, TestCluster, WRITES, library_for_clocks, until};

/// How long a fault lasts that has to be ended.
const LASTS_MS: (u64, u64) = (500, 4_000);
/// More than is ever written: what is not written takes no room.
const DISK_BYTES: u64 = 2 << 30;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Kill,
    KillLeader,
    KillAll,
    Restart,
    Pause,
    PauseLeader,
    Failpoint,
    FailingDisk,
    FullDisk,
    HangingDisk,
    SlowDisk,
    Clock,
    Cut,
    Partial,
    OneWay,
    Loss,
}

impl Fault {
    const ALL: [Self; 16] = [
        Self::Kill,
        Self::KillLeader,
        Self::KillAll,
        Self::Restart,
        Self::Pause,
        Self::PauseLeader,
        Self::Failpoint,
        Self::FailingDisk,
        Self::FullDisk,
        Self::HangingDisk,
        Self::SlowDisk,
        Self::Clock,
        Self::Cut,
        Self::Partial,
        Self::OneWay,
        Self::Loss,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillLeader => "kill-leader",
            Self::KillAll => "kill-all",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::PauseLeader => "pause-leader",
            Self::Failpoint => "failpoint",
            Self::FailingDisk => "failing-disk",
            Self::FullDisk => "full-disk",
            Self::HangingDisk => "hanging-disk",
            Self::SlowDisk => "slow-disk",
            Self::Clock => "clock",
            Self::Cut => "cut",
            Self::Partial => "partial",
            Self::OneWay => "one-way",
            Self::Loss => "loss",
        }
    }

    /// The kinds that can be had on this machine, and why not the others.
    pub fn possible() -> (Vec<Self>, Vec<(&'static str, String)>) {
        let (mut possible, mut left_out) = (Vec::new(), Vec::new());
        for fault in Self::ALL {
            match fault.missing() {
                None => possible.push(fault),
                Some(reason) => left_out.push((fault.name(), reason)),
            }
        }
        (possible, left_out)
    }

    fn missing(self) -> Option<String> {
        match self {
            Self::FullDisk | Self::HangingDisk => OwnDisk::missing_device(),
            Self::SlowDisk => OwnDisk::missing_slowness(),
            Self::Clock => library_for_clocks().err(),
            Self::Cut | Self::Partial | Self::OneWay | Self::Loss => Hosts::missing(),
            _ => None,
        }
    }

    /// Does it, and lets it last.
    pub async fn happen(self, place: &mut Place, chance: &mut Chance) {
        let lasts = Duration::from_millis(LASTS_MS.0 + chance.below(LASTS_MS.1 - LASTS_MS.0));
        let count = place.cluster.nodes.len() as u64;
        let victim = chance.below(count) as usize;
        let other = (victim + 1 + chance.below(count - 1) as usize) % count as usize;
        match self {
            Self::Kill => place.cluster.nodes[victim].kill(),
            Self::KillLeader => {
                let leader = place.cluster.leader().await;
                place.cluster.nodes[leader].kill();
            }
            Self::KillAll => return place.cluster.kill_all(),
            Self::Restart => {
                place.faulty = Some(victim);
                return place.cluster.nodes[victim].stop().await;
            }
            Self::Pause => place.pause(victim),
            Self::PauseLeader => {
                let leader = place.cluster.leader().await;
                place.pause(leader);
            }
            Self::Failpoint => return place.die_in_a_write(victim, chance).await,
            Self::FailingDisk => place.fail_syncs(victim, chance),
            Self::FullDisk => place.fill_disk(victim, chance),
            Self::HangingDisk => place.hang_disk(victim),
            Self::SlowDisk => place.slow_disk(victim),
            Self::Clock => {
                let seconds = 1 + chance.below(7_200) as i64;
                place.cluster.nodes[victim].set_clock(if chance.below(2) == 0 { seconds } else { -seconds });
            }
            Self::Cut => place.hosts().cut(&[victim, other]),
            Self::Partial => place.hosts().cut_between(victim, other),
            Self::OneWay => place.hosts().silence(victim),
            Self::Loss => place.hosts().lose(5 + chance.below(15) as u32),
        }
        tokio::time::sleep(lasts).await;
    }
}

/// Where it happens.
pub struct Place {
    // Before the hosts, and so killed before they go.
    pub cluster: TestCluster,
    hosts: Option<Hosts>,
    /// One for each node, where that can be had.
    disks: Vec<OwnDisk>,
    /// Whose disk is full, slow or stands still.
    bad_disk: Option<usize>,
    paused: Option<usize>,
    /// To be ended and started as it was: it has a bad disk, or may be about to stop.
    faulty: Option<usize>,
    is_cut: bool,
}

impl Place {
    pub fn prepare(nodes: usize) -> Self {
        let hosts = Hosts::missing().is_none().then(|| Hosts::new(nodes));
        let mut cluster = match &hosts {
            Some(hosts) => hosts.prepare("cluster-3m-nw"),
            None => TestCluster::prepare("cluster-3m-nw", nodes),
        };
        let disks = match OwnDisk::missing_device() {
            None => (0..nodes)
                .map(|node| OwnDisk::of_file(&mut cluster, node, DISK_BYTES))
                .collect(),
            Some(_) => Vec::new(),
        };
        let clocks: Option<PathBuf> = library_for_clocks().ok();
        for node in &mut cluster.nodes {
            node.with_failpoints();
            if let Some(library) = &clocks {
                node.with_own_clock(library);
            }
        }
        Self {
            cluster,
            hosts,
            disks,
            bad_disk: None,
            paused: None,
            faulty: None,
            is_cut: false,
        }
    }

    fn hosts(&mut self) -> &Hosts {
        self.is_cut = true;
        self.hosts.as_ref().expect("this kind is left out where there are none")
    }

    fn pause(&mut self, victim: usize) {
        self.cluster.nodes[victim].pause();
        self.paused = Some(victim);
    }

    /// By the log's own scripted faults: a device that fails at will needs a device mapper.
    fn fail_syncs(&mut self, victim: usize, chance: &mut Chance) {
        let node = &mut self.cluster.nodes[victim];
        node.kill();
        let script = format!("fail-sync={}", 5 + chance.below(200));
        node.environment.push(("REVOADA_LOG_FAULTS".to_owned(), script));
        node.start();
        self.faulty = Some(victim);
    }

    /// While it runs, or before it starts.
    fn fill_disk(&mut self, victim: usize, chance: &mut Chance) {
        let starts = chance.below(2) == 0;
        if starts {
            self.cluster.nodes[victim].kill();
        }
        self.disks[victim].fill();
        if starts {
            self.cluster.nodes[victim].start();
        }
        self.bad_disk = Some(victim);
        self.faulty = Some(victim);
    }

    fn hang_disk(&mut self, victim: usize) {
        self.disks[victim].freeze();
        self.bad_disk = Some(victim);
    }

    fn slow_disk(&mut self, victim: usize) {
        self.disks[victim].slow(&self.cluster.nodes[victim]);
        self.bad_disk = Some(victim);
    }

    async fn die_in_a_write(&mut self, victim: usize, chance: &mut Chance) {
        let point = WRITES[chance.below(WRITES.len() as u64) as usize].name();
        let node = &mut self.cluster.nodes[victim];
        node.arm(&format!("{point}={}*off->return", chance.below(50)));
        until(
            &format!("{} dies at {point}", node.name().to_owned()),
            PATIENCE,
            async || node.ended().ok_or_else(|| "it runs".to_owned()),
        )
        .await;
    }

    /// Ends a fault, and tells the cluster that an operator was at work: a node that is lost again and again would be
    /// quarantined, as it should be.
    pub async fn undo(&mut self, _: Fault) {
        self.undo_all();
        let leader = self.cluster.leader().await;
        let client = self.cluster.nodes[leader].client();
        let status = client.status().await;
        for node in status.iter().flat_map(|status| &status.nodes) {
            // Where there is nothing to excuse or to take back this is refused, and the shape is asked for below.
            drop(client.excuse(&node.name).await);
            if matches!(node.state, revoada::core::roles::NodeState::Quarantined) {
                drop(client.role_wish(&node.name, Wish::Restore, false).await);
            }
        }
    }

    /// Ends whatever there is, without asking anybody.
    pub fn undo_all(&mut self) {
        if std::mem::take(&mut self.is_cut)
            && let Some(hosts) = &self.hosts
        {
            hosts.heal();
        }
        if let Some(paused) = self.paused.take() {
            self.cluster.nodes[paused].resume();
        }
        if let Some(bad) = self.bad_disk.take() {
            let disk = &mut self.disks[bad];
            disk.thaw();
            disk.hasten();
            disk.free();
        }
        if let Some(faulty) = self.faulty.take() {
            let node = &mut self.cluster.nodes[faulty];
            node.environment.retain(|(name, _)| name != "REVOADA_LOG_FAULTS");
            node.kill();
        }
        for node in &mut self.cluster.nodes {
            node.arm("");
            // One that ended by itself has to be seen to have ended, before it can be started.
            node.ended();
            if !node.is_running() {
                node.start();
            }
        }
    }
}
