use super::*;

/// An empty keyspace is at revision 1, and the first write goes past it.
const FIRST: u64 = 2;

pub(super) async fn alone(nodes: &Nodes) -> Running {
    let node = nodes.start(1).await;
    node.form(&ids([1])).await.unwrap();
    node.sees(|view| view.leads && view.applied > 0).await;
    node
}

#[tokio::test]
async fn what_waits_goes_together_and_is_answered_one_by_one() {
    let nodes = Nodes::new(3);
    let node = alone(&nodes).await;
    let entries = node.log_stats().entries;
    let keys: Vec<_> = (0..500).map(|n| format!("key-{n}")).collect();
    let puts = keys.iter().map(|key| node.propose(put(key, b"value")));
    let replies = timeout(SOON, futures::future::join_all(puts)).await.unwrap();
    for (key, reply) in keys.iter().zip(replies) {
        let written = node.read(|state| state.keyspace().get(key.as_bytes()).unwrap().mod_revision);
        assert_eq!(revision(reply.unwrap()), written, "{key} got somebody else's reply");
    }
    let entries = node.log_stats().entries - entries;
    assert!(entries < 100, "500 commands took {entries} entries");
    node.stop().await;
}

#[tokio::test]
async fn a_refused_command_is_answered_beside_those_that_are_done() {
    let nodes = Nodes::new(3);
    let node = alone(&nodes).await;
    let refused = || Command::Keyspace(Operation::Compact { revision: 1_000 });
    let (before, bad, after) = timeout(SOON, async {
        tokio::join!(
            node.propose(put("a", b"1")),
            node.propose(refused()),
            node.propose(put("b", b"2"))
        )
    })
    .await
    .unwrap();
    assert_eq!(
        (revision(before.unwrap()), revision(after.unwrap())),
        (FIRST, FIRST + 1)
    );
    let bad = bad.unwrap().unwrap_err();
    assert!(bad.operation.is_some(), "{bad:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_command_that_no_entry_holds_is_refused_before_it_is_sent() {
    let nodes = Nodes::new(3);
    let node = alone(&nodes).await;
    let entries = vec![(Bytes::new(), Bytes::from(vec![0; limits::COMMAND_BYTES_MAX + 1]))];
    let large = Command::Stage {
        id: 1,
        first: true,
        entries,
        numbers: Vec::new(),
        leases: Vec::new(),
    };
    let refused = node.propose(large).await.unwrap_err();
    assert!(matches!(refused, ProposeError::TooLarge { .. }), "{refused:?}");
    assert_eq!(node.put("a", b"1").await, FIRST);
    node.stop().await;
}

#[tokio::test]
async fn a_large_command_and_many_small_ones_all_arrive() {
    let nodes = Nodes::new(3);
    let node = alone(&nodes).await;
    let large = vec![5; limits::BATCH_BYTES_MAX * 2];
    let puts = (0..20).map(|n| match n % 5 {
        0 => node.propose(put(&format!("key-{n}"), &large)),
        _ => node.propose(put(&format!("key-{n}"), b"small")),
    });
    let replies = timeout(SOON, futures::future::join_all(puts)).await.unwrap();
    let revisions: Vec<_> = replies.into_iter().map(|reply| revision(reply.unwrap())).collect();
    assert_eq!(revisions, (FIRST..FIRST + 20).collect::<Vec<_>>());
    assert_eq!(node.newest_value("key-15").await.unwrap().len(), large.len());
    node.stop().await;
}

#[tokio::test]
async fn without_a_leader_writes_and_reads_are_unavailable_after_a_while() {
    let nodes = Nodes::new(3);
    let node = nodes.start(1).await;
    // Nothing is formed, so nothing but clocks runs here.
    tokio::time::pause();
    let refused = node.propose(put("a", b"1")).await.unwrap_err();
    assert!(
        matches!(&refused, ProposeError::Unavailable(why) if why.contains("no leader")),
        "{refused:?}"
    );
    let refused = node.newest().await.unwrap_err();
    assert!(refused.to_string().contains("no leader"), "{refused}");
    tokio::time::resume();
    node.stop().await;
}

#[tokio::test]
async fn after_a_stop_writes_say_that_nothing_was_sent_or_that_it_is_unknown() {
    let nodes = Nodes::new(3);
    let node = alone(&nodes).await;
    let consensus = node.consensus.clone();
    node.stop().await;
    let refused = timeout(SOON, consensus.propose(put("a", b"1")))
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(refused, ProposeError::Unavailable(_) | ProposeError::OutcomeUnknown(_)),
        "{refused:?}"
    );
    assert!(timeout(SOON, consensus.newest()).await.unwrap().is_err());
}

#[tokio::test]
async fn everything_is_there_after_a_restart_with_and_without_a_checkpoint() {
    let nodes = Nodes::new(3);
    let node = alone(&nodes).await;
    for n in 0..10 {
        node.put(&format!("key-{n}"), b"1").await;
    }
    let index = node.checkpoint().await;
    node.put("late", b"2").await;
    let (position, voters) = (node.position(), node.view().voters);
    node.stop().await;
    let node = nodes.start(1).await;
    // Who votes comes from log and checkpoint; nobody formed anything here.
    let view = node.sees(|view| view.leads && view.applied > index + 1).await;
    assert_eq!(view.voters, voters);
    assert!(node.position() >= position);
    assert_eq!(node.newest_value("key-3").await.unwrap(), "1");
    assert_eq!(node.newest_value("late").await.unwrap(), "2");
    assert_eq!(node.put("key-0", b"3").await, FIRST + 11);
    node.stop().await;
}

#[tokio::test]
async fn a_stopped_consensus_lets_go_of_its_state() {
    let nodes = Nodes::new(3);
    let node = alone(&nodes).await;
    let shared = Arc::downgrade(&node.shared);
    node.stop().await;
    let gone = async {
        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone)
        .await
        .expect("no task holds the state of a consensus that is gone");
}

#[tokio::test]
async fn a_sole_voter_is_made_where_a_majority_was_lost() {
    let nodes = Nodes::new(3);
    let mut running = nodes.form(1..=3).await;
    running[0].put("a", b"1").await;
    for node in &running {
        assert_eq!(node.newest_value("a").await.unwrap(), "1");
    }
    for node in running.drain(..) {
        node.stop().await;
    }
    let mut opened: Opened = Opened::open(nodes.config(2)).unwrap();
    opened.make_sole_voter().await.unwrap();
    opened.log.engine().close().unwrap();
    drop(opened);
    let node = nodes.start(2).await;
    let view = node.sees(|view| view.leads && view.voters == ids([2])).await;
    assert!(view.learners.is_empty());
    assert_eq!(node.newest_value("a").await.unwrap(), "1");
    assert_eq!(node.put("b", b"2").await, FIRST + 1);
    node.stop().await;
}
