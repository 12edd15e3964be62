//! SIGKILL at every place that production names: whatever a node was about to write, or had written and told nobody.
//!
//! A process kills itself there, so that the moment is exact; what runs is the program that was built with the tests, which
//! is the only one that has failpoints. Each test goes through some of the names, and the last says that all were gone
//! through.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use revoada::core::error::ErrorKind;
use revoada::core::roles::NodeState;
use revoada::store::admin::Wish;
use revoada_mesh::failpoints::Point;

use crate::support::{Chance, Load, PATIENCE, Recorder, TestCluster, WRITES, Written, config_map, until};

/// When somebody stands for election.
const VOTES: &[Point] = &[Point::BeforeVote, Point::AfterVote];
/// On the leader, when roles change.
const ROLES: &[Point] = &[
    Point::BeforeMembership,
    Point::AfterMembership,
    Point::BeforeTransition,
    Point::AfterTransition,
];
/// When much was written.
const CHECKPOINTS: &[Point] = &[
    Point::BeforeCheckpoint,
    Point::BeforeCheckpointSync,
    Point::BeforeCheckpointName,
    Point::AfterCheckpointName,
    Point::AfterCheckpoint,
];
/// When the log has grown, and a checkpoint has come after that.
const CUTS: &[Point] = &[
    Point::BeforePurge,
    Point::AfterPurge,
    Point::BeforeSegment,
    Point::AfterSegment,
    Point::BeforeRemove,
    Point::AfterRemove,
];
/// On a node that was away while the others forgot what it lacks.
const INSTALLS: &[Point] = &[Point::BeforeInstall, Point::AfterInstall];
/// On a leader that was alone with what it wrote last.
const TRUNCATIONS: &[Point] = &[Point::BeforeTruncate, Point::AfterTruncate];

/// How long a process may take to come to the place where it is to die.
const REACHED_WITHIN: Duration = PATIENCE;
/// Who changed its role within the last minute may have to wait for the rest of it.
const RESTORED_WITHIN: Duration = Duration::from_secs(90);
/// Fewer than the declared 10,000, so that checkpoints come while a test looks.
const ENTRIES_PER_CHECKPOINT: u64 = 50;
/// More than stay in the log behind a checkpoint, and a batch of those that go.
const ENTRIES_UNTIL_PURGE: usize = 2_600;
const LARGE_BYTES: usize = 200_000;

/// A cluster whose nodes can be armed. Nothing runs yet.
fn armable(topology: &str, count: usize) -> TestCluster {
    let mut cluster = TestCluster::prepare_as(topology, count, |draft| {
        draft.strategy.consensus.snapshot_interval = ENTRIES_PER_CHECKPOINT;
    });
    cluster.nodes.iter_mut().for_each(|node| node.with_failpoints());
    cluster
}

/// Waits until the process has killed itself at the point that it was armed with.
async fn dies_at(cluster: &mut TestCluster, victim: usize, point: Point) {
    let name = point.name();
    let what = format!("{} dies at {name}", cluster.nodes[victim].name());
    let ended = until(&what, REACHED_WITHIN, async || {
        cluster.nodes[victim].ended().ok_or_else(|| "it runs".to_owned())
    })
    .await;
    assert_eq!(ended.signal(), Some(9), "{what}: {ended}");
    let said = format!("killed at the failpoint {name}");
    assert!(
        cluster.nodes[victim].log_text().contains(&said),
        "{what}: it does not say so"
    );
    cluster.nodes[victim].arm("");
}

/// Starts nodes that died here again, and waits until all is as declared. That they died was the test's own doing.
async fn come_back(cluster: &mut TestCluster, victims: &[usize]) {
    for &victim in victims {
        cluster.nodes[victim].start();
    }
    let leader = cluster.leader().await;
    for &victim in victims {
        let (client, name) = (cluster.nodes[leader].client(), cluster.nodes[victim].name().to_owned());
        until(&format!("{name} is excused"), PATIENCE, async || {
            client.excuse(&name).await.map_err(|error| error.to_string())
        })
        .await;
    }
    cluster.settled().await;
}

async fn judge(cluster: &TestCluster, written: Written) {
    let (leader, _) = cluster.settled().await;
    written.assert_kept(cluster, leader).await;
    cluster.assert_chain_verifies(leader).await;
}

fn arm(cluster: &TestCluster, victim: usize, point: Point) {
    cluster.nodes[victim].arm(&format!("{}=return", point.name()));
}

#[tokio::test]
async fn a_node_that_dies_at_any_step_of_a_write_loses_nothing() {
    let mut cluster = armable("cluster-3m-nw", 5);
    cluster.start_all();
    cluster.settled().await;
    let recorder = Recorder::start(&cluster.sockets(), 3, 3, Duration::from_millis(1));
    let load = Load::start(&cluster.sockets(), 2, "write");
    let mut chance = Chance::new(3);
    for (number, &point) in WRITES.iter().enumerate() {
        // Every node in turn, leaders among them; not at the first time that it comes there.
        let victim = (cluster.leader().await + number) % cluster.nodes.len();
        cluster.nodes[victim].arm(&format!("{}={}*off->return", point.name(), chance.below(30)));
        dies_at(&mut cluster, victim, point).await;
        come_back(&mut cluster, &[victim]).await;
        load.more(20).await;
    }
    recorder
        .stop()
        .await
        .assert_linearizable("what clients were told while nodes died in a write");
    judge(&cluster, load.stop().await).await;
}

#[tokio::test]
async fn a_voter_that_dies_at_its_vote_does_not_vote_twice() {
    let mut cluster = armable("cluster-3m-nw", 5);
    cluster.start_all();
    cluster.settled().await;
    let load = Load::start(&cluster.sockets(), 2, "vote");
    for &point in VOTES {
        let leader = cluster.leader().await;
        let (followers, _) = cluster.followers_and_workers().await;
        arm(&cluster, followers[0], point);
        cluster.nodes[leader].kill();
        dies_at(&mut cluster, followers[0], point).await;
        come_back(&mut cluster, &[leader, followers[0]]).await;
        load.more(20).await;
    }
    judge(&cluster, load.stop().await).await;
}

#[tokio::test]
async fn a_leader_that_dies_in_the_middle_of_a_change_of_roles_leaves_nothing_half_done() {
    let mut cluster = armable("cluster-3m-nw", 5);
    cluster.start_all();
    cluster.settled().await;
    let load = Load::start(&cluster.sockets(), 2, "role");
    for &point in ROLES {
        let (followers, _) = cluster.followers_and_workers().await;
        let leader = cluster.leader().await;
        let client = cluster.nodes[leader].client();
        arm(&cluster, leader, point);
        // A wish is granted sooner than a process looks at what it is armed with.
        until("the leader is armed", PATIENCE, async || {
            let armed = cluster.nodes[leader].is_armed();
            armed.then_some(()).ok_or_else(|| "not yet".to_owned())
        })
        .await;
        // The wish of an operator, and not a death: two voters that are gone at once would be no quorum of three.
        let name = cluster.nodes[followers[0]].name().to_owned();
        let wish = tokio::spawn(async move { client.role_wish(&name, Wish::Quarantine, false).await });
        dies_at(&mut cluster, leader, point).await;
        // Whatever it was told: the leader died before or after the wish was granted.
        drop(wish.await.unwrap());
        cluster.nodes[leader].start();
        let name = cluster.nodes[followers[0]].name().to_owned();
        // What the dead leader had begun is committed by the next one before this is, or never.
        cluster.apply_patiently(leader, "since", point.name()).await;
        until(
            "the wish is taken back, and the shape is back",
            RESTORED_WITHIN,
            async || {
                let (leader, status) = cluster.look_from_leader().await?;
                let node = status.nodes.iter().find(|node| node.name == name).unwrap();
                if node.state != NodeState::Active {
                    let client = cluster.nodes[leader].client();
                    let restored = client.role_wish(&name, Wish::Restore, false).await;
                    return Err(format!("{:?}, {restored:?}", node.state));
                }
                let redundancy = &status.cluster.redundancy;
                if redundancy.voters_caught_up == redundancy.voters_declared {
                    Ok(())
                } else {
                    Err(format!("{redundancy:?}"))
                }
            },
        )
        .await;
        come_back(&mut cluster, &[]).await;
        load.more(20).await;
    }
    judge(&cluster, load.stop().await).await;
}

/// Lets both die: each is armed before it starts, and has what it lacks to catch up with.
async fn restart_armed(cluster: &mut TestCluster, pairs: &[(usize, Point)]) {
    for &(victim, point) in pairs {
        cluster.nodes[victim].kill();
        arm(cluster, victim, point);
        cluster.nodes[victim].start();
    }
    for &(victim, point) in pairs {
        dies_at(cluster, victim, point).await;
    }
}

async fn write_large(cluster: &TestCluster, bytes: usize) {
    let leader = cluster.leader().await;
    let client = cluster.nodes[leader].client();
    let large = "x".repeat(LARGE_BYTES);
    for number in 0..bytes / LARGE_BYTES {
        client
            .apply(&config_map(&format!("large-{}", number % 4), &large))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_node_that_dies_while_it_writes_cuts_or_takes_over_a_checkpoint_has_everything() {
    let mut cluster = armable("cluster-3m-nw", 5);
    cluster.start_all();
    // Workers replicate as well, and the cluster goes on without them.
    let (_, workers) = cluster.followers_and_workers().await;
    let load = Load::start(&cluster.sockets()[..1], 1, "first");
    for pair in CHECKPOINTS.chunks(2) {
        let pairs: Vec<_> = workers.iter().copied().zip(pair.iter().copied()).collect();
        restart_armed(&mut cluster, &pairs).await;
        let victims: Vec<_> = pairs.iter().map(|(victim, _)| *victim).collect();
        come_back(&mut cluster, &victims).await;
    }
    let mut written = load.stop().await;

    arm(&cluster, workers[0], Point::BeforeSegment);
    arm(&cluster, workers[1], Point::AfterSegment);
    write_large(&cluster, 36 << 20).await;
    dies_at(&mut cluster, workers[0], Point::BeforeSegment).await;
    dies_at(&mut cluster, workers[1], Point::AfterSegment).await;
    come_back(&mut cluster, &workers).await;

    // So many entries stay behind a checkpoint: what was large is behind them, and with it a whole segment.
    let load = Load::start(&cluster.sockets(), 1, "second");
    more_entries(&load).await;
    restart_armed(
        &mut cluster,
        &[(workers[0], Point::BeforeRemove), (workers[1], Point::AfterRemove)],
    )
    .await;
    come_back(&mut cluster, &workers).await;
    load.more(400).await;
    restart_armed(
        &mut cluster,
        &[(workers[0], Point::BeforePurge), (workers[1], Point::AfterPurge)],
    )
    .await;
    written.absorb(load.stop().await);

    // What the two lack the others no longer have, once they have written checkpoints of their own.
    let others: Vec<usize> = (0..cluster.nodes.len())
        .filter(|node| !workers.contains(node))
        .collect();
    let sockets: Vec<_> = others
        .iter()
        .map(|node| cluster.nodes[*node].config.control_socket())
        .collect();
    let load = Load::start(&sockets, 1, "third");
    more_entries(&load).await;
    for &other in &others {
        cluster.nodes[other].kill();
    }
    for &other in &others {
        cluster.nodes[other].start();
    }
    load.more(200).await;
    restart_armed(
        &mut cluster,
        &[(workers[0], Point::BeforeInstall), (workers[1], Point::AfterInstall)],
    )
    .await;
    come_back(&mut cluster, &workers).await;
    written.absorb(load.stop().await);
    for &worker in &workers {
        written.assert_kept(&cluster, worker).await;
    }
    judge(&cluster, written).await;
}

async fn more_entries(load: &Load) {
    const AT_A_TIME: usize = 400;
    // One writer, so that each of its writes is an entry of its own.
    for _ in 0..ENTRIES_UNTIL_PURGE.div_ceil(AT_A_TIME) {
        load.more(AT_A_TIME).await;
    }
}

#[tokio::test]
async fn a_deposed_leader_that_dies_while_it_cuts_its_log_has_what_the_others_have() {
    let mut cluster = armable("quorum-3m", 3);
    cluster.start_all();
    cluster.settled().await;
    let mut written = Written::default();
    for &point in TRUNCATIONS {
        let load = Load::start(&cluster.sockets(), 2, point.name());
        load.more(20).await;
        written.absorb(load.stop().await);
        let (leader, followers) = left_alone_with_a_write(&mut cluster, point.name()).await;
        cluster.nodes[leader].kill();
        for &follower in &followers {
            cluster.nodes[follower].start();
        }
        let next = cluster.leader().await;
        cluster.apply_patiently(next, "together", point.name()).await;
        arm(&cluster, leader, point);
        cluster.nodes[leader].start();
        dies_at(&mut cluster, leader, point).await;
        come_back(&mut cluster, &[leader]).await;
        written.assert_kept(&cluster, leader).await;
    }
    judge(&cluster, written).await;
}

/// Kills the followers of a leader and has it append what nobody else has: the leader, and who followed.
async fn left_alone_with_a_write(cluster: &mut TestCluster, content: &str) -> (usize, Vec<usize>) {
    let end = Instant::now() + PATIENCE;
    loop {
        let (followers, _) = cluster.followers_and_workers().await;
        let leader = cluster.leader().await;
        // A follower that only stood still would find the write in its socket when it goes on.
        for &follower in &followers {
            cluster.nodes[follower].kill();
        }
        // Its own log has it before anybody can answer.
        let said = cluster.apply(leader, "alone", content).await;
        let error = said.expect_err("one of three acknowledged a write");
        if error.kind() == ErrorKind::OutcomeUnknown {
            return (leader, followers);
        }
        // It had found out that it is alone before it was asked, and appended nothing.
        assert!(
            Instant::now() < end,
            "a leader that is left alone refuses each time: {error}"
        );
        for &follower in &followers {
            cluster.nodes[follower].start();
        }
        cluster.settled().await;
    }
}

#[test]
fn every_failpoint_is_died_at() {
    let groups = [WRITES, VOTES, ROLES, CHECKPOINTS, CUTS, INSTALLS, TRUNCATIONS];
    let named: Vec<Point> = groups.concat();
    let distinct: BTreeSet<Point> = named.iter().copied().collect();
    assert_eq!(named.len(), distinct.len());
    assert_eq!(distinct, Point::ALL.iter().copied().collect());
}

#[test]
fn a_release_has_no_failpoints() {
    let Ok(release) = std::env::var("REVOADA_BIN") else {
        return crate::support::not_run("the search for failpoints in a release", "REVOADA_BIN names none");
    };
    let holds = |file: &str| {
        let bytes = std::fs::read(file).unwrap();
        let wanted = Point::BeforeCheckpointName.name().as_bytes();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    };
    assert!(holds(&crate::support::program_with_failpoints()));
    assert!(!holds(&release), "{release} can be told to die");
}
