//! The cases. Each runs against an empty backend of its own.

use std::collections::BTreeMap;

use futures::future::join_all;
use revoada_core::error::ErrorKind;
use revoada_core::resource::ResourceFormat;

use super::fixtures::{
    apply, apply_expecting, as_given_in, config, ensure, ensure_eq, ensure_kind, labelled, next, next_line, ok,
    reference,
};
use super::{Case, Outcome};
use crate::backend::{Action, ApplyRequest, KindFilter, ListRequest, ReadOptions, StoreBackend};
use crate::capability::Capability::{CompareAndSet, ReadAtRevision, Restore, Snapshot, Verbatim, Watch, WatchResume};
use crate::error::StoreError;
use crate::watch::{WatchEvent, WatchRequest};

macro_rules! cases {
    ($($function:ident: $name:literal needs [$($needs:ident),*];)*) => {
        /// Every case, in the order in which they are run.
        pub(super) const ALL: &[Case] = &[$(Case {
            name: $name,
            needs: &[$($needs),*],
            run: |backend| Box::pin($function(backend)),
        }),*];
    };
}

cases! {
    life_of_a_resource: "a resource is created, read, updated, deleted and gone" needs [];
    unchanged_by_content: "the same content in any format is unchanged and takes no revision" needs [];
    native_byte_for_byte: "a native document comes back byte for byte" needs [Verbatim];
    several_in_order: "several resources are applied in order, and a dry run changes nothing" needs [];
    expected_revisions: "an expected revision is compared before anything is written" needs [CompareAndSet];
    bad_input: "input that cannot be is refused and changes nothing" needs [];
    reads_at_a_revision: "a read at a revision sees what was there then" needs [ReadAtRevision];
    pages_at_one_revision: "all pages of a list are at one revision while writes go on" needs [ReadAtRevision];
    filters: "lists are in order and filtered by kind, namespace, name and labels" needs [];
    tokens: "a continue token of another list is refused" needs [ReadAtRevision];
    watch_from_the_start: "a watch tells what is there, a bookmark, then what changes" needs [Watch];
    watch_resumed: "a watch resumes behind a revision without a gap" needs [Watch, WatchResume];
    watch_by_labels: "a watch by labels sees resources come in and go out" needs [Watch];
    revisions_grow: "revisions only grow" needs [];
    concurrent_writers: "concurrent writers lose nothing" needs [];
    concurrent_increments: "concurrent compare-and-sets lose no increment" needs [CompareAndSet];
    restore_resets: "a restore brings back what was there, moves the revision on, and resets watches"
        needs [Snapshot, Restore, Watch, WatchResume];
    bad_snapshots: "a snapshot that is cut or changed restores nothing" needs [Snapshot, Restore];
    health: "health counts resources and watches" needs [Watch];
}

async fn life_of_a_resource(backend: &dyn StoreBackend) -> Outcome {
    let a = reference("a");
    ensure_kind(
        "get",
        backend.get(&a, ReadOptions::LINEARIZABLE).await,
        ErrorKind::NotFound,
    )?;
    ensure_kind("delete", backend.delete(&a, None).await, ErrorKind::NotFound)?;

    let created = apply_expecting(backend, config("a", "1"), Action::Created).await?;
    let got = ok("get", backend.get(&a, ReadOptions::LINEARIZABLE).await)?;
    ensure_eq("the document", &got.resource, &config("a", "1"))?;
    ensure_eq(
        "the numbers",
        (got.create_revision, got.revision, got.version),
        (created, created, 1),
    )?;

    let updated = apply_expecting(backend, config("a", "2"), Action::Updated).await?;
    let got = ok("get", backend.get(&a, ReadOptions::LINEARIZABLE).await)?;
    ensure_eq("the document", &got.resource, &config("a", "2"))?;
    ensure_eq(
        "the numbers",
        (got.create_revision, got.revision, got.version),
        (created, updated, 2),
    )?;

    let deleted = ok("delete", backend.delete(&a, None).await)?.revision;
    ensure(updated < deleted, || {
        format!("a delete at {deleted} after an update at {updated}")
    })?;
    ensure_kind(
        "get",
        backend.get(&a, ReadOptions::LINEARIZABLE).await,
        ErrorKind::NotFound,
    )?;

    let again = apply_expecting(backend, config("a", "3"), Action::Created).await?;
    let got = ok("get", backend.get(&a, ReadOptions::STALE).await)?;
    ensure_eq(
        "the numbers",
        (got.create_revision, got.revision, got.version),
        (again, again, 1),
    )
}

async fn unchanged_by_content(backend: &dyn StoreBackend) -> Outcome {
    let yaml = config("a", "12:30");
    let revision = apply_expecting(backend, yaml.clone(), Action::Created).await?;
    for format in [ResourceFormat::Yaml, ResourceFormat::Json, ResourceFormat::Hcl] {
        let same = apply(backend, as_given_in(&yaml, format)).await?;
        ensure_eq(
            "the same content",
            (same.action, same.revision),
            (Action::Unchanged, revision),
        )?;
    }
    let got = ok("get", backend.get(&yaml.reference, ReadOptions::LINEARIZABLE).await)?;
    ensure_eq("the stored document", &got.resource, &yaml)?;
    ensure_eq("the version", got.version, 1)
}

async fn native_byte_for_byte(backend: &dyn StoreBackend) -> Outcome {
    let native = as_given_in(&config("a", "1"), ResourceFormat::Native);
    apply_expecting(backend, native.clone(), Action::Created).await?;
    apply_expecting(backend, native.clone(), Action::Unchanged).await?;
    let got = ok("get", backend.get(&native.reference, ReadOptions::LINEARIZABLE).await)?;
    ensure_eq("the bytes", &got.resource.document, &native.document)?;
    ensure_eq("the format", got.resource.format, ResourceFormat::Native)
}

async fn several_in_order(backend: &dyn StoreBackend) -> Outcome {
    let both = vec![config("b", "1"), config("a", "1")];
    let dry = ok(
        "a dry run",
        backend.apply(ApplyRequest::many(both.clone()).dry_run()).await,
    )?;
    ensure_eq(
        "a dry run",
        dry.iter().map(|one| one.action).collect(),
        vec![Action::Created; 2],
    )?;
    ensure_kind(
        "get",
        backend.get(&reference("a"), ReadOptions::LINEARIZABLE).await,
        ErrorKind::NotFound,
    )?;

    let applied = ok("apply", backend.apply(ApplyRequest::many(both)).await)?;
    let names: Vec<&str> = applied.iter().map(|one| &*one.reference.name).collect();
    ensure_eq("the order", names, vec!["b", "a"])?;
    ensure(applied[0].revision < applied[1].revision, || {
        format!("each has its own revision: {applied:?}")
    })?;

    let next = vec![config("a", "1"), config("b", "2"), config("c", "1")];
    let dry = ok("a dry run", backend.apply(ApplyRequest::many(next).dry_run()).await)?;
    let actions: Vec<Action> = dry.iter().map(|one| one.action).collect();
    ensure_eq(
        "a dry run",
        actions,
        vec![Action::Unchanged, Action::Updated, Action::Created],
    )?;
    let nothing = ok("an empty apply", backend.apply(ApplyRequest::many(Vec::new())).await)?;
    ensure(nothing.is_empty(), || {
        format!("nothing was applied, and answered as {nothing:?}")
    })
}

async fn expected_revisions(backend: &dyn StoreBackend) -> Outcome {
    let a = reference("a");
    let at = |value: &str, revision| ApplyRequest::one(config("a", value)).if_revision(revision);
    ensure_kind(
        "an update of nothing",
        backend.apply(at("1", 7)).await,
        ErrorKind::Conflict,
    )?;
    let created = ok("a create", backend.apply(at("1", 0)).await)?[0].revision;
    ensure_kind(
        "a second create",
        backend.apply(at("1", 0)).await,
        ErrorKind::AlreadyExists,
    )?;
    ensure_kind(
        "a dry second create",
        backend.apply(at("1", 0).dry_run()).await,
        ErrorKind::AlreadyExists,
    )?;

    let updated = ok("an update", backend.apply(at("2", created)).await)?[0].revision;
    match backend.apply(at("3", created)).await {
        Err(StoreError::Conflict(conflict)) => {
            ensure_eq(
                "expected and actual",
                (conflict.expected, conflict.actual),
                (created, Some(updated)),
            )?;
        }
        other => return Err(format!("a stale update: {other:?}")),
    }
    let same = ok("an update to the same", backend.apply(at("2", updated)).await)?;
    ensure_eq(
        "the same",
        (same[0].action, same[0].revision),
        (Action::Unchanged, updated),
    )?;

    ensure_kind(
        "a stale delete",
        backend.delete(&a, Some(created)).await,
        ErrorKind::Conflict,
    )?;
    ok("a delete", backend.delete(&a, Some(updated)).await)?;
    ensure_kind(
        "a second delete",
        backend.delete(&a, Some(updated)).await,
        ErrorKind::NotFound,
    )?;

    let two = ApplyRequest::many(vec![config("a", "1"), config("b", "1")]).if_revision(0);
    ensure_kind(
        "an expected revision for two",
        backend.apply(two).await,
        ErrorKind::Invalid,
    )?;
    ensure_kind(
        "get",
        backend.get(&a, ReadOptions::LINEARIZABLE).await,
        ErrorKind::NotFound,
    )
}

async fn bad_input(backend: &dyn StoreBackend) -> Outcome {
    apply_expecting(backend, config("good", "1"), Action::Created).await?;
    let long = "n".repeat(254);
    for name in ["..", "a/b", "a\0b", "", "../../etc/passwd", &long] {
        let mut resource = config("x", "1");
        resource.reference.name = name.to_owned();
        let bad = resource.reference.clone();
        let what = format!("the name {name:?}");
        ensure_kind(
            &what,
            backend.get(&bad, ReadOptions::LINEARIZABLE).await,
            ErrorKind::Invalid,
        )?;
        ensure_kind(&what, backend.delete(&bad, None).await, ErrorKind::Invalid)?;
        let with_good = ApplyRequest::many(vec![config("good", "2"), resource]);
        ensure_kind(&what, backend.apply(with_good).await, ErrorKind::Invalid)?;
    }
    let got = ok("get", backend.get(&reference("good"), ReadOptions::LINEARIZABLE).await)?;
    ensure_eq("what was there before", &got.resource, &config("good", "1"))
}

async fn reads_at_a_revision(backend: &dyn StoreBackend) -> Outcome {
    let a = reference("a");
    let first = apply_expecting(backend, config("a", "1"), Action::Created).await?;
    let second = apply_expecting(backend, config("a", "2"), Action::Updated).await?;
    let third = ok("delete", backend.delete(&a, None).await)?.revision;
    for (revision, value) in [(first, "1"), (second, "2")] {
        let got = ok("get", backend.get(&a, ReadOptions::at(revision)).await)?;
        ensure_eq("the past", &got.resource, &config("a", value))?;
        let list = ListRequest {
            read: ReadOptions::at(revision),
            ..ListRequest::of(KindFilter::of("", "ConfigMap"))
        };
        let listing = ok("list", backend.list(list).await)?;
        ensure_eq("the past list", (listing.revision, listing.items.len()), (revision, 1))?;
    }
    ensure_kind(
        "get",
        backend.get(&a, ReadOptions::at(third)).await,
        ErrorKind::NotFound,
    )?;
    ensure_kind(
        "the future",
        backend.get(&a, ReadOptions::at(third + 1_000)).await,
        ErrorKind::Invalid,
    )
}

async fn pages_at_one_revision(backend: &dyn StoreBackend) -> Outcome {
    let mut expected = BTreeMap::new();
    for number in 0..25 {
        let name = format!("n{number:02}");
        apply_expecting(backend, config(&name, "old"), Action::Created).await?;
        expected.insert(name, config(&format!("n{number:02}"), "old"));
    }
    let mut request = ListRequest {
        limit: Some(4),
        ..ListRequest::of(KindFilter::of("", "ConfigMap"))
    };
    let mut found = BTreeMap::new();
    let mut revision = None;
    let mut pages = 0;
    loop {
        let page = ok("a page", backend.list(request.clone()).await)?;
        ensure_eq(
            "the revision of a page",
            page.revision,
            *revision.get_or_insert(page.revision),
        )?;
        ensure(page.items.len() <= 4 && !page.items.is_empty(), || {
            format!("a page of {}", page.items.len())
        })?;
        found.extend(
            page.items
                .into_iter()
                .map(|got| (got.resource.reference.name.clone(), got.resource)),
        );
        if let Some(remaining) = page.remaining {
            ensure_eq("what remains", remaining, 25 - found.len() as u64)?;
        }
        pages += 1;
        // Writes before, inside and behind the page that was read.
        apply(backend, config(&format!("n{:02}-new", pages * 3), "new")).await?;
        apply(backend, config(&format!("n{:02}", 24 - pages), "new")).await?;
        ok(
            "delete",
            backend.delete(&reference(&format!("n{:02}", pages * 2)), None).await,
        )?;
        match page.continue_token {
            Some(token) => request.continue_token = Some(token),
            None => break,
        }
    }
    ensure_eq("the number of pages", pages, 7)?;
    ensure_eq("all pages together", found, expected)
}

async fn filters(backend: &dyn StoreBackend) -> Outcome {
    for resource in [
        labelled("b", "1", "front"),
        labelled("a", "1", "back"),
        labelled("c", "1", "front"),
    ] {
        apply(backend, resource).await?;
    }
    for resource in super::data_set() {
        apply(backend, resource).await?;
    }
    let kind = KindFilter::of("", "ConfigMap");
    let names = async |request: ListRequest| -> Result<Vec<String>, String> {
        let listing = ok("list", backend.list(request).await)?;
        let references: Vec<_> = listing.items.iter().map(|got| got.resource.reference.clone()).collect();
        ensure(references.is_sorted(), || {
            format!("a list out of order: {references:?}")
        })?;
        Ok(references.into_iter().map(|reference| reference.name).collect())
    };
    let front = "tier=front"
        .parse()
        .map_err(|error| format!("the selector of the suite: {error}"))?;
    let selected = names(ListRequest {
        selector: Some(front),
        limit: Some(5),
        ..ListRequest::of(kind.clone())
    })
    .await?;
    ensure_eq("by label", selected, vec!["b".to_owned(), "c".to_owned()])?;
    let placed = names(ListRequest {
        namespace: Some("elsewhere".into()),
        ..ListRequest::of(kind.clone())
    })
    .await?;
    ensure_eq("by namespace", placed, vec!["placed".to_owned()])?;
    let named = names(ListRequest {
        name: Some("plain".into()),
        ..ListRequest::of(KindFilter::named("ConfigMap"))
    })
    .await?;
    ensure_eq("by name", named, vec!["plain".to_owned()])?;
    let grouped = names(ListRequest::of(KindFilter::of("apps", "Deployment"))).await?;
    ensure_eq("by group", grouped, vec!["site".to_owned()])?;
    ensure_eq(
        "another group",
        names(ListRequest::of(KindFilter::of("", "Deployment"))).await?,
        vec![],
    )?;
    let all = names(ListRequest::of(KindFilter::ANY)).await?;
    ensure_eq("everything", all.len(), super::data_set().len() + 3)
}

async fn tokens(backend: &dyn StoreBackend) -> Outcome {
    for name in ["a", "b", "c"] {
        apply(backend, config(name, "1")).await?;
    }
    let request = ListRequest {
        limit: Some(1),
        ..ListRequest::of(KindFilter::of("", "ConfigMap"))
    };
    let token = ok("list", backend.list(request.clone()).await)?
        .continue_token
        .ok_or("a first page without a token")?;
    let other = ListRequest {
        continue_token: Some(token),
        ..ListRequest::of(KindFilter::of("", "Secret"))
    };
    ensure_kind("a token of another list", backend.list(other).await, ErrorKind::Invalid)?;
    for token in ["", "x", "1", "1.2.3.zz", "9.9.9.9"] {
        let request = ListRequest {
            continue_token: Some(token.to_owned()),
            ..request.clone()
        };
        ensure_kind(
            &format!("the token {token:?}"),
            backend.list(request).await,
            ErrorKind::Invalid,
        )?;
    }
    Ok(())
}

async fn watch_from_the_start(backend: &dyn StoreBackend) -> Outcome {
    let one = apply_expecting(backend, config("a", "1"), Action::Created).await?;
    let two = apply_expecting(backend, config("b", "1"), Action::Created).await?;
    let mut watch = ok(
        "watch",
        backend.watch(WatchRequest::of(KindFilter::of("", "ConfigMap"))).await,
    )?;
    ensure_eq("first", next_line(&mut watch).await?, format!("added a@{one}"))?;
    ensure_eq("then", next_line(&mut watch).await?, format!("added b@{two}"))?;
    ensure_eq("then", next_line(&mut watch).await?, format!("bookmark -@{two}"))?;

    let three = apply_expecting(backend, config("b", "2"), Action::Updated).await?;
    apply_expecting(backend, config("b", "2"), Action::Unchanged).await?;
    let four = ok("delete", backend.delete(&reference("a"), None).await)?.revision;
    let five = apply_expecting(backend, config("c", "1"), Action::Created).await?;
    ensure_eq("a change", next_line(&mut watch).await?, format!("modified b@{three}"))?;
    match next(&mut watch).await? {
        WatchEvent::Deleted { revision, last } => {
            ensure_eq("a deletion", (revision, &last.resource), (four, &config("a", "1")))?;
        }
        other => return Err(format!("a deletion was told as {other:?}")),
    }
    ensure_eq("a creation", next_line(&mut watch).await?, format!("added c@{five}"))
}

async fn watch_resumed(backend: &dyn StoreBackend) -> Outcome {
    let one = apply_expecting(backend, config("a", "1"), Action::Created).await?;
    let two = apply_expecting(backend, config("a", "2"), Action::Updated).await?;
    let three = ok("delete", backend.delete(&reference("a"), None).await)?.revision;
    let kind = KindFilter::of("", "ConfigMap");
    let mut watch = ok("watch", backend.watch(WatchRequest::of(kind.clone()).after(one)).await)?;
    ensure_eq("first", next_line(&mut watch).await?, format!("modified a@{two}"))?;
    ensure_eq("then", next_line(&mut watch).await?, format!("deleted a@{three}"))?;
    let four = apply_expecting(backend, config("a", "3"), Action::Created).await?;
    ensure_eq("then", next_line(&mut watch).await?, format!("added a@{four}"))?;
    let future = backend
        .watch(WatchRequest::of(kind).after(four + 1_000))
        .await
        .map(|_| "a stream");
    ensure_kind("a watch from the future", future, ErrorKind::Invalid)
}

async fn watch_by_labels(backend: &dyn StoreBackend) -> Outcome {
    let selector = "tier=front"
        .parse()
        .map_err(|error| format!("the selector of the suite: {error}"))?;
    let request = WatchRequest {
        selector: Some(selector),
        ..WatchRequest::of(KindFilter::of("", "ConfigMap"))
    };
    let mut watch = ok("watch", backend.watch(request).await)?;
    ensure_eq("first", next(&mut watch).await?.name(), "bookmark")?;
    apply(backend, labelled("a", "1", "back")).await?;
    let into = apply(backend, labelled("a", "1", "front")).await?.revision;
    let inside = apply(backend, labelled("a", "2", "front")).await?.revision;
    let out = apply(backend, labelled("a", "2", "back")).await?.revision;
    ok("delete", backend.delete(&reference("a"), None).await)?;
    let last = apply(backend, labelled("z", "1", "front")).await?.revision;
    ensure_eq("coming in", next_line(&mut watch).await?, format!("added a@{into}"))?;
    ensure_eq("inside", next_line(&mut watch).await?, format!("modified a@{inside}"))?;
    ensure_eq("going out", next_line(&mut watch).await?, format!("deleted a@{out}"))?;
    ensure_eq("another", next_line(&mut watch).await?, format!("added z@{last}"))
}

async fn revisions_grow(backend: &dyn StoreBackend) -> Outcome {
    let mut last = 0;
    for round in 0..20 {
        let name = format!("n{}", round % 3);
        let revision = match round % 4 {
            3 => match backend.delete(&reference(&name), None).await {
                Ok(deleted) => deleted.revision,
                Err(_) => continue,
            },
            _ => apply(backend, config(&name, &round.to_string())).await?.revision,
        };
        ensure(revision > last, || format!("revision {revision} after {last}"))?;
        last = revision;
        let listed = ok(
            "list",
            backend.list(ListRequest::of(KindFilter::of("", "ConfigMap"))).await,
        )?
        .revision;
        ensure(listed >= last, || format!("a list at {listed} after a write at {last}"))?;
    }
    Ok(())
}

async fn concurrent_writers(backend: &dyn StoreBackend) -> Outcome {
    let writers = (0..8).map(|writer| async move {
        let mut written = Vec::new();
        for number in 0..10 {
            let resource = config(&format!("w{writer}-{number}"), "1");
            written.push((apply(backend, resource.clone()).await?.revision, resource));
        }
        Ok::<_, String>(written)
    });
    let written: Result<Vec<_>, String> = join_all(writers).await.into_iter().collect();
    let mut revisions = Vec::new();
    for (revision, resource) in written?.into_iter().flatten() {
        let got = ok("get", backend.get(&resource.reference, ReadOptions::LINEARIZABLE).await)?;
        ensure_eq("what was written", (got.revision, &got.resource), (revision, &resource))?;
        revisions.push(revision);
    }
    revisions.sort_unstable();
    revisions.dedup();
    ensure_eq("every write has a revision of its own", revisions.len(), 80)
}

async fn concurrent_increments(backend: &dyn StoreBackend) -> Outcome {
    apply(backend, config("counter", "0")).await?;
    let writers = (0..4).map(|_| async move {
        let mut done = 0;
        while done < 10 {
            let got = ok(
                "get",
                backend.get(&reference("counter"), ReadOptions::LINEARIZABLE).await,
            )?;
            let value = got.resource.content["data"]["value"]
                .as_str()
                .and_then(|value| value.parse::<u32>().ok());
            let value = value.ok_or("the counter is no number")?;
            let next = ApplyRequest::one(config("counter", &(value + 1).to_string())).if_revision(got.revision);
            match backend.apply(next).await {
                Ok(_) => done += 1,
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok::<_, String>(())
    });
    join_all(writers).await.into_iter().collect::<Outcome>()?;
    let got = ok(
        "get",
        backend.get(&reference("counter"), ReadOptions::LINEARIZABLE).await,
    )?;
    ensure_eq("the counter", &got.resource, &config("counter", "40"))
}

async fn restore_resets(backend: &dyn StoreBackend) -> Outcome {
    let kind = KindFilter::of("", "ConfigMap");
    apply(backend, config("kept", "1")).await?;
    let old = apply(backend, config("changed", "1")).await?.revision;
    let mut file = Vec::new();
    let written = ok("snapshot", backend.snapshot(&mut file).await)?;
    ensure_eq("what the snapshot holds", written.entries, 2)?;
    ensure(written.revision >= old, || {
        format!("a snapshot at {} after a write at {old}", written.revision)
    })?;

    apply(backend, config("changed", "2")).await?;
    let newest = apply(backend, config("added", "1")).await?.revision;
    let mut present = ok("watch", backend.watch(WatchRequest::of(kind.clone())).await)?;
    let mut resumed = ok(
        "watch",
        backend.watch(WatchRequest::of(kind.clone()).after(newest)).await,
    )?;
    for expected in ["added", "added", "added", "bookmark"] {
        ensure_eq("before the restore", next(&mut present).await?.name(), expected)?;
    }
    let restored = ok("restore", backend.restore(&mut file.as_slice()).await)?;
    ensure(restored.revision > newest, || {
        format!("restored to {} after {newest}", restored.revision)
    })?;
    for watch in [&mut present, &mut resumed] {
        match next(watch).await? {
            WatchEvent::Reset { revision } => {
                ensure(revision >= restored.revision, || format!("a reset at {revision}"))?;
            }
            other => return Err(format!("a restore was told as {other:?}")),
        }
        let after = futures::StreamExt::next(watch).await;
        ensure(after.is_none(), || format!("{after:?} came behind a reset"))?;
    }
    let mut late = ok(
        "watch",
        backend.watch(WatchRequest::of(kind.clone()).after(newest)).await,
    )?;
    ensure_eq("a watch from before", next(&mut late).await?.name(), "reset")?;

    ensure_kind(
        "what was added",
        backend.get(&reference("added"), ReadOptions::LINEARIZABLE).await,
        ErrorKind::NotFound,
    )?;
    let got = ok(
        "get",
        backend.get(&reference("changed"), ReadOptions::LINEARIZABLE).await,
    )?;
    ensure_eq("what was changed", &got.resource, &config("changed", "1"))?;
    ensure(got.revision > newest, || {
        format!("a restored resource at {}, after {newest}", got.revision)
    })?;
    let after = apply(backend, config("after", "1")).await?.revision;
    ensure(after > restored.revision, || {
        format!("revision {after} after {}", restored.revision)
    })
}

async fn bad_snapshots(backend: &dyn StoreBackend) -> Outcome {
    apply(backend, config("a", "1")).await?;
    let mut file = Vec::new();
    ok("snapshot", backend.snapshot(&mut file).await)?;
    let kept = apply(backend, config("a", "2")).await?.revision;
    let mut bad: Vec<Vec<u8>> = (0..file.len())
        .step_by(7)
        .map(|length| file[..length].to_vec())
        .collect();
    bad.extend((0..file.len()).step_by(5).map(|index| {
        let mut changed = file.clone();
        changed[index] ^= 1 << (index % 8);
        changed
    }));
    bad.push([file.as_slice(), b"more"].concat());
    for bad in bad {
        ensure_kind(
            "a bad snapshot",
            backend.restore(&mut bad.as_slice()).await,
            ErrorKind::Invalid,
        )?;
    }
    let got = ok("get", backend.get(&reference("a"), ReadOptions::LINEARIZABLE).await)?;
    ensure_eq(
        "what was there before",
        (got.revision, &got.resource),
        (kept, &config("a", "2")),
    )
}

async fn health(backend: &dyn StoreBackend) -> Outcome {
    for name in ["a", "b", "c"] {
        apply(backend, config(name, "1")).await?;
    }
    let before = backend.health().await;
    ensure(before.is_healthy(), || format!("not healthy: {before:?}"))?;
    ensure_eq("the resources", before.resource_count, 3)?;
    let watch = ok("watch", backend.watch(WatchRequest::of(KindFilter::ANY)).await)?;
    ensure_eq(
        "the watches",
        backend.health().await.subscriber_count,
        before.subscriber_count + 1,
    )?;
    drop(watch);
    ensure_eq(
        "the watches",
        backend.health().await.subscriber_count,
        before.subscriber_count,
    )
}
