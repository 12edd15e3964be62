//! A history that is good, and what is found when one thing of it is told otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use revoada_core::keyspace::{Event, EventKind, NO_LEASE, Revision, Version};

use super::answers::Wants;
use super::{Answer, Attempt, EtcdHistory, EtcdWatch};
use crate::history::{Glance, Read, Span, Write};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn version(value: &str, create_revision: Revision, mod_revision: Revision, version: u64) -> Version {
    Version {
        create_revision,
        mod_revision,
        version,
        lease: NO_LEASE,
        value: bytes(value),
    }
}

fn event(revision: Revision, sub: u32, key: &str, kind: EventKind) -> Event {
    let key = bytes(key);
    Event {
        revision,
        sub,
        key,
        kind,
    }
}

fn put(version: Version, previous: Option<Version>) -> EventKind {
    EventKind::Put { version, previous }
}

/// 2: a := w1; 3: a := w2, b := w3; 4: nothing of a client of etcd; 5: a deleted; 6: a := w4.
fn all() -> Vec<Event> {
    let (first, second) = (version("w1", 2, 2, 1), version("w2", 2, 3, 2));
    vec![
        event(2, 0, "a", put(first.clone(), None)),
        event(3, 0, "a", put(second.clone(), Some(first))),
        event(3, 1, "b", put(version("w3", 3, 3, 1), None)),
        event(5, 0, "a", EventKind::Delete { previous: second }),
        event(6, 0, "a", put(version("w4", 6, 6, 1), None)),
    ]
}

fn answer(events: &[Event]) -> Answer {
    Answer::Events {
        goes_on: false,
        events: events.to_vec(),
    }
}

fn fragment(events: &[Event]) -> Answer {
    Answer::Events {
        goes_on: true,
        events: events.to_vec(),
    }
}

fn watch(after: Revision, answers: Vec<Answer>) -> EtcdWatch {
    EtcdWatch {
        watcher: 0,
        place: 1,
        after,
        prefix: Bytes::new(),
        wants: Wants {
            previous: true,
            ..Wants::default()
        },
        answers,
    }
}

fn span(called: u64, returned: u64) -> Span {
    Span {
        called: Duration::from_millis(called),
        returned: Duration::from_millis(returned),
    }
}

fn write(at: u64, revision: Revision, changes: &[(&str, Option<&str>)]) -> Write {
    Write {
        span: span(at, at + 5),
        revision,
        changes: changes
            .iter()
            .map(|(key, value)| (bytes(key), value.map(bytes)))
            .collect(),
    }
}

fn read(at: u64, revision: Revision, key: &str, value: Option<&str>) -> Read {
    Read {
        span: span(at, at + 5),
        revision,
        linearizable: true,
        seen: BTreeMap::from([(bytes(key), value.map(bytes))]),
    }
}

/// The write of revision 6 is one that nobody was answered for.
fn good() -> EtcdHistory {
    let all = all();
    let mut history = EtcdHistory {
        wholes: vec![
            watch(0, vec![answer(&all), Answer::Progress(6)]),
            watch(0, vec![answer(&all[..3]), answer(&all[3..]), Answer::Progress(6)]),
        ],
        ..EtcdHistory::default()
    };
    history.records.writes = vec![
        write(10, 2, &[("a", Some("w1"))]),
        write(20, 3, &[("a", Some("w2")), ("b", Some("w3"))]),
        write(30, 5, &[("a", None)]),
    ];
    history.records.reads = vec![read(40, 5, "a", None), read(50, 6, "a", Some("w4"))];
    history.attempts = vec![
        Attempt {
            puts: BTreeMap::from([(bytes("a"), bytes("w4"))]),
            ..Attempt::default()
        },
        Attempt {
            puts: BTreeMap::from([(bytes("b"), bytes("w5"))]),
            ..Attempt::default()
        },
    ];
    // The second one goes on behind what the first was told.
    history.watches = vec![
        watch(0, vec![answer(&all[..1]), answer(&all[1..3]), Answer::Progress(4)]),
        watch(4, vec![answer(&all[3..]), Answer::Progress(6)]),
    ];
    history
}

fn found(change: impl FnOnce(&mut EtcdHistory)) -> String {
    let mut history = good();
    change(&mut history);
    match history.check() {
        Ok(()) => "nothing".to_owned(),
        Err(violation) => format!("{}: {}", violation.oracle, violation.what),
    }
}

/// What is found when the first watch was told this.
fn told(answers: Vec<Answer>) -> String {
    found(|history| history.watches[0].answers = answers)
}

fn assert_finds(found: &str, what: &str) {
    assert!(found.contains(what), "it found {found:?}, and not {what:?}");
}

#[test]
fn a_good_history_passes_with_fragments_filters_and_an_end_in_the_middle() {
    assert_eq!(found(|_| ()), "nothing");
    let all = all();
    // Cut off before a bookmark, and before the last fragment.
    assert_eq!(told(vec![answer(&all[..1])]), "nothing");
    let in_fragments = |answers: Vec<Answer>| {
        found(|history| {
            history.watches[0].wants.fragments = true;
            history.watches[0].answers = answers;
        })
    };
    assert_eq!(
        in_fragments(vec![fragment(&all[..2]), answer(&all[2..3]), Answer::Progress(4)]),
        "nothing"
    );
    assert_eq!(in_fragments(vec![answer(&all[..1]), fragment(&all[1..2])]), "nothing");
    let deletions = found(|history| {
        history.watches[0].wants.puts = false;
        history.watches[0].answers = vec![answer(&all[3..4]), Answer::Progress(6)];
    });
    assert_eq!(deletions, "nothing");
    let one_key = found(|history| {
        history.watches[0].prefix = bytes("b");
        history.watches[0].answers = vec![answer(&all[2..3]), Answer::Progress(6)];
    });
    assert_eq!(one_key, "nothing");
}

#[test]
fn a_watch_that_loses_repeats_or_reorders_is_found() {
    let all = all();
    // Reliable: an event, a whole revision, the first one behind the place where a watch goes on.
    assert_finds(&told(vec![answer(&all[1..3])]), "revision 2 did");
    assert_finds(&told(vec![answer(&all[..2]), Answer::Progress(3)]), "revision 3 did");
    assert_finds(&told(vec![answer(&all[..3]), Answer::Progress(6)]), "revision 5 did");
    let resumed = found(|history| history.watches[1].answers = vec![answer(&all[4..])]);
    assert_finds(&resumed, "revision 5 did");
    // Unique, ordered.
    let again = told(vec![answer(&all[..1]), answer(&all[..3])]);
    assert_finds(&again, "told in two answers, or twice");
    let late = told(vec![answer(&[all[3].clone(), all[0].clone()])]);
    assert_finds(&late, "not in order, or twice");
    let seen = found(|history| history.watches[1].answers = vec![answer(&all[2..])]);
    assert_finds(&seen, "told in two answers, or twice");
    let twice_at_once = told(vec![answer(&[all[0].clone(), all[1].clone(), all[1].clone()])]);
    assert_finds(&twice_at_once, "twice");
}

#[test]
fn a_revision_in_two_answers_and_a_fragment_that_nobody_asked_for_are_found() {
    let all = all();
    let torn = told(vec![answer(&all[..2]), answer(&all[2..3])]);
    assert_finds(&torn, "revision 3 is told in two answers");
    let unasked = told(vec![fragment(&all[..2]), answer(&all[2..3])]);
    assert_finds(&unasked, "did not ask for any");
}

#[test]
fn a_bookmark_that_comes_too_early_is_found() {
    let all = all();
    let early = told(vec![answer(&all[..1]), Answer::Progress(3), answer(&all[1..3])]);
    assert_finds(&early, "revision 3 behind a bookmark at 3");
    let between = found(|history| {
        history.watches[0].wants.fragments = true;
        history.watches[0].answers = vec![fragment(&all[..1]), Answer::Progress(1), answer(&all[1..3])];
    });
    assert_finds(&between, "between two fragments");
}

#[test]
fn a_wrong_value_version_or_previous_value_is_found() {
    let changed = |change: &dyn Fn(&mut Event)| {
        let mut events = all()[..3].to_vec();
        change(&mut events[1]);
        told(vec![answer(&events)])
    };
    let now = |event: &mut Event, change: &dyn Fn(&mut Version)| match &mut event.kind {
        EventKind::Put { version, .. } => change(version),
        EventKind::Delete { .. } => panic!("it is a put"),
    };
    let other = changed(&|event| now(event, &|version| version.value = bytes("w9")));
    assert_finds(&other, "it was told");
    let count = changed(&|event| now(event, &|version| version.version = 1));
    assert_finds(&count, "it was told");
    let born = changed(&|event| now(event, &|version| version.create_revision = 3));
    assert_finds(&born, "it was told");
    let before = changed(&|event| event.kind = put(version("w2", 2, 3, 2), None));
    assert_finds(&before, "before revision 3");
    let unasked = found(|history| history.watches[0].wants.previous = false);
    assert_finds(&unasked, "before revision 3");
    let stranger = found(|history| history.watches[0].prefix = bytes("b"));
    assert_finds(&stranger, "which it does not watch");
    let unwanted = found(|history| history.watches[1].wants.deletions = false);
    assert_finds(&unwanted, "which it left out");
}

#[test]
fn a_lost_a_torn_and_a_foreign_write_are_found() {
    let lost = found(|history| {
        history.records.writes.push(write(60, 7, &[("a", Some("w6"))]));
    });
    assert_finds(&lost, "durable");
    let torn = found(|history| {
        history.records.writes[1].changes.insert(bytes("c"), Some(bytes("w7")));
    });
    assert_finds(&torn, "which no client asked for as a whole");
    let refused = found(|history| {
        history.attempts.remove(0);
    });
    assert_finds(&refused, "which no client asked for");
    let forked = found(|history| {
        history.wholes[1].answers = vec![answer(&all()[..4]), Answer::Progress(6)];
    });
    assert_finds(&forked, "state-machine-safety");
}

#[test]
fn a_read_of_the_past_and_a_revision_that_goes_back_are_found() {
    let stale = found(|history| history.records.reads.push(read(70, 3, "a", Some("w2"))));
    assert_finds(&stale, "linearizable");
    let wrong = found(|history| history.records.reads.push(read(70, 6, "a", Some("w2"))));
    assert_finds(&wrong, "linearizable");
    let back = found(|history| {
        history.records.glances = [6, 5]
            .map(|revision| Glance {
                place: 1,
                start: 0,
                revision,
            })
            .to_vec();
    });
    assert_finds(&back, "revision-never-goes-back");
}
