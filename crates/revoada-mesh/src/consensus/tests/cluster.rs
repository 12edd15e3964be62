use openraft::ChangeMembers;

use super::*;

#[tokio::test]
async fn a_write_on_any_node_is_read_on_any_node() {
    let nodes = Nodes::new(3);
    let running = nodes.form(1..=3).await;
    let mut last = 0;
    for (n, writer) in running.iter().chain(&running).enumerate() {
        let value = n.to_string();
        let revision = writer.put("key", value.as_bytes()).await;
        assert!(revision > last);
        last = revision;
        for reader in &running {
            assert_eq!(reader.newest_value("key").await.unwrap(), value);
        }
    }
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn the_death_of_the_leader_loses_nothing_and_it_comes_back_from_its_folder() {
    let nodes = Nodes::new(3);
    let mut running = nodes.form(1..=3).await;
    let dead = running.remove(leader(&running).await);
    dead.put("before", b"1").await;
    let (n, voters, term) = (dead.n, dead.view().voters, dead.view().term);
    dead.stop().await;
    running[0].put("after", b"2").await;
    assert!(running[0].view().term > term);
    assert_eq!(running[1].newest_value("before").await.unwrap(), "1");
    let back = nodes.start(n).await;
    assert_eq!(back.newest_value("after").await.unwrap(), "2");
    assert_eq!(back.view().voters, voters);
    running.push(back);
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn all_nodes_at_once_come_back_with_what_was_acknowledged() {
    let nodes = Nodes::new(3);
    let running = nodes.form(1..=3).await;
    for n in 0..20 {
        running[n % 3].put(&format!("key-{n}"), b"1").await;
    }
    for node in running {
        node.stop().await;
    }
    let mut running = Vec::new();
    for n in 1..=3 {
        running.push(nodes.start(n).await);
    }
    for (n, node) in (0..20).zip(running.iter().cycle()) {
        assert_eq!(node.newest_value(&format!("key-{n}")).await.unwrap(), "1");
    }
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_dead_voter_is_replaced_by_a_learner_in_one_change() {
    let nodes = Nodes::new(4);
    let mut running = nodes.form(1..=3).await;
    let standby = nodes.start(4).await;
    let at = leader(&running).await;
    running[at].put("key", b"1").await;
    running[at].set_membership(&ids(1..=3), &ids([4])).await.unwrap();
    let view = running[at]
        .sees(|view| view.matched.get(&id(4)).is_some_and(|at| *at == view.last_index))
        .await;
    assert_eq!((view.voters, view.learners), (ids(1..=3), ids([4])));

    let dead = running.remove((at + 1) % 3);
    let n = dead.n;
    dead.stop().await;
    let left: BTreeSet<_> = ids(1..=4).into_iter().filter(|node| *node != id(n)).collect();
    running.push(standby);
    let at = leader(&running).await;
    timeout(SOON, running[at].set_membership(&left, &BTreeSet::new()))
        .await
        .unwrap()
        .unwrap();
    for node in &running {
        let view = node.sees(|view| view.voters == left && !view.changing).await;
        assert!(view.learners.is_empty(), "{view:?}");
        assert_eq!(node.newest_value("key").await.unwrap(), "1");
    }
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_joint_membership_that_was_left_behind_is_ended() {
    let nodes = Nodes::new(4);
    let running = nodes.form(1..=3).await;
    let standby = nodes.start(4).await;
    let leads = &running[leader(&running).await];
    leads.set_membership(&ids(1..=3), &ids([4])).await.unwrap();
    leads
        .sees(|view| view.matched.get(&id(4)).is_some_and(|at| *at > 0))
        .await;
    // The first half is sent, and nobody is there for the second: the caller lost its patience.
    let gone = running.iter().find(|node| node.n != leads.n).unwrap().n;
    let wanted: BTreeSet<_> = ids(1..=4).into_iter().filter(|node| *node != id(gone)).collect();
    {
        let change = leads
            .raft
            .change_membership(ChangeMembers::ReplaceAllVoters(wanted.clone()), true);
        futures::pin_mut!(change);
        assert!(futures::poll!(change.as_mut()).is_pending());
    }
    leads.sees(|view| view.changing && view.voters == ids(1..=4)).await;
    let ended = async {
        // Until the first half is committed, a second one is refused.
        while leads.end_joint().await.is_err() {}
    };
    timeout(SOON, ended).await.unwrap();
    let view = leads.sees(|view| !view.changing).await;
    assert_eq!((view.voters, view.learners), (wanted, ids([gone])));
    // Where there is nothing to end, nothing is done.
    let last = leads.view().last_index;
    leads.end_joint().await.unwrap();
    assert_eq!(leads.view().last_index, last);
    for node in running.into_iter().chain([standby]) {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_is_far_behind_gets_the_checkpoint() {
    let nodes = Nodes::new(3);
    let mut running = nodes.form(1..=3).await;
    let at = (leader(&running).await + 1) % 3;
    let behind = running.remove(at);
    let n = behind.n;
    behind.stop().await;
    let value = vec![7; 64 << 10];
    for n in 0..30 {
        running[0].put(&format!("key-{n}"), &value).await;
    }
    let mut index = u64::MAX;
    for node in &running {
        node.newest().await.unwrap();
        index = index.min(node.checkpoint().await);
    }
    let behind = nodes.start(n).await;
    behind.applies(index).await;
    assert!(
        behind.log.engine().bounds().first_index > 1,
        "the log does not hold what the checkpoint brought"
    );
    assert_eq!(behind.value("key-29").unwrap().len(), value.len());
    running[0].put("late", b"1").await;
    assert_eq!(behind.newest_value("late").await.unwrap(), "1");
    let voters = behind.view().voters;
    assert_eq!(voters, ids(1..=3));
    // The same again from its own folder.
    behind.stop().await;
    let behind = nodes.start(n).await;
    assert_eq!(behind.newest_value("late").await.unwrap(), "1");
    assert_eq!(behind.value("key-0").unwrap().len(), value.len());
    assert_eq!(behind.view().voters, voters);
    running.push(behind);
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_minority_neither_writes_nor_reads_the_newest() {
    let nodes = Nodes::new(3);
    let mut running = nodes.form(1..=3).await;
    let at = leader(&running).await;
    let left = running.remove(at);
    left.put("key", b"1").await;
    for node in running {
        node.stop().await;
    }
    let (write, read) = tokio::join!(
        timeout(Duration::from_millis(500), left.propose(put("key", b"2"))),
        timeout(Duration::from_millis(500), left.newest()),
    );
    assert!(!matches!(write, Ok(Ok(_))), "{write:?}");
    assert!(!matches!(read, Ok(Ok(()))), "{read:?}");
    // What asks for no quorum is served.
    assert_eq!(left.value("key").unwrap(), "1");
    left.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_as_commands_never_reaches_the_log() {
    let nodes = Nodes::new(3);
    let running = nodes.form(1..=3).await;
    let at = leader(&running).await;
    let (leads, other) = (&running[at], &running[(at + 1) % 3]);
    let last = leads.view().last_index;
    let link = other.peers.link(id(leads.n), Lane::Forward, SOON).await.unwrap();
    let answer = link
        .call(forward::verb::PROPOSE, Bytes::from_static(b"\xffgarbage"), SOON)
        .await
        .unwrap();
    let answer: forward::Proposed = cbor4ii::serde::from_slice(&answer).unwrap();
    assert!(
        matches!(answer, forward::Proposed::Failed(ProposeError::Unavailable(_))),
        "{answer:?}"
    );
    assert_eq!(leads.view().last_index, last);
    other.put("key", b"1").await;
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn the_leader_hands_over_when_it_is_asked_to() {
    let nodes = Nodes::new(3);
    let running = nodes.form(1..=3).await;
    let at = leader(&running).await;
    let heir = &running[(at + 1) % 3];
    heir.newest().await.unwrap();
    running[at].hand_over(id(heir.n)).await.unwrap();
    heir.sees(|view| view.leads).await;
    heir.put("key", b"1").await;
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_question_that_is_not_consensus_s_own_reaches_the_leader() {
    let nodes = Nodes::new(3);
    let running = nodes.form(1..=3).await;
    let at = leader(&running).await;
    for node in &running {
        node.sees(|view| view.leader == Some(id(running[at].n))).await;
    }
    let other = &running[(at + 1) % 3];
    let answer = other
        .ask_leader(EXTRA_VERBS, Bytes::from_static(b"echo"), SOON)
        .await
        .unwrap();
    assert_eq!(answer, "echo");
    for node in running {
        node.stop().await;
    }
}
