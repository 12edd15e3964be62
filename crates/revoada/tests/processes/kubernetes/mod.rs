//! A real kube-apiserver with a cluster of revoada as its only store, and a real kube-controller-manager on that.

mod api;
mod control_plane;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestCluster, not_run, until};
use api::Api;
use control_plane::ControlPlane;

/// How long anything may take that Kubernetes does by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many ConfigMaps are written, by how many writers, and the size of a page that they are read in.
const OBJECTS: usize = 5_000;
const WRITERS: usize = 8;
const PAGE: usize = 500;
/// How many custom resources are written meanwhile.
const WIDGETS: usize = 200;

const MAPS: &str = "/api/v1/namespaces/load/configmaps";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GADGETS: &str = "/apis/example.com/v1/namespaces/load/widgets";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager";

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn config_map(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map_name(number)},
        "data": {"number": number.to_string(), "filling": "x".repeat(200)},
    })
}

fn map_name(number: usize) -> String {
    format!("map-{number:05}")
}

fn widgets() -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": {"size": {"type": "integer", "minimum": 0}},
    }}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

fn widget(number: usize) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": format!("widget-{number:03}")},
        "spec": {"size": number},
    })
}

/// Waits until the controllers have given a namespace its account: they watch and write.
async fn controllers_serve(api: &Api, namespace: &str) {
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
    until(&format!("{namespace} has its account"), PATIENCE, async || {
        api.get(&account).await
    })
    .await;
}

/// Who holds the lease of the controllers, how often it went over, and when it was renewed last.
async fn lease(api: &Api) -> Result<(String, u64, String), String> {
    let spec = api.get(LEASE).await?["spec"].take();
    let text = |field: &str| {
        spec[field]
            .as_str()
            .map(str::to_owned)
            .ok_or(format!("no {field}: {spec}"))
    };
    let transitions = spec["leaseTransitions"].as_u64().unwrap_or(0);
    Ok((text("holderIdentity")?, transitions, text("renewTime")?))
}

/// Every name in a list, page by page; each page has the revision of the first.
async fn names_in_pages(api: &Api, path: &str, page: usize) -> Vec<String> {
    let (mut names, mut next, mut revision) = (Vec::new(), String::new(), Value::Null);
    loop {
        let asked = format!("{path}?limit={page}&continue={next}");
        let list = until(&asked, PATIENCE, async || api.get(&asked).await).await;
        let at = &list["metadata"]["resourceVersion"];
        assert!(revision.is_null() || revision == *at, "a page of {revision} is at {at}");
        revision = at.clone();
        names.extend(names_of(&list));
        match list["metadata"]["continue"].as_str() {
            Some(more) if !more.is_empty() => more.clone_into(&mut next),
            _ => return names,
        }
    }
}

fn names_of(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Every creation is seen once, and in order.
fn judge(events: &[Value], expected: &BTreeSet<String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut last = 0;
    for event in events {
        let metadata = &event["object"]["metadata"];
        let revision: u64 = metadata["resourceVersion"].as_str().unwrap().parse().unwrap();
        if event["type"] != "ADDED" || revision <= last {
            return Err(format!("behind {last} comes {event}"));
        }
        last = revision;
        let name = metadata["name"].as_str().unwrap();
        if !seen.insert(name.to_owned()) {
            return Err(format!("{name} came twice"));
        }
    }
    match expected.difference(&seen).next() {
        Some(missed) => Err(format!("{missed} is missing")),
        None => Ok(()),
    }
}

#[test]
fn a_watch_that_misses_repeats_or_reorders_objects_is_found() {
    let added = |name: &str, revision: u64| json!({"type": "ADDED", "object": {"metadata": {"name": name, "resourceVersion": revision.to_string()}}});
    let expected = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    assert_eq!(judge(&[added("a", 2), added("b", 10)], &expected), Ok(()));
    for wrong in [
        vec![added("a", 2)],
        vec![added("a", 2), added("b", 10), added("a", 11)],
        vec![added("b", 10), added("a", 2)],
        vec![
            added("a", 2),
            added("b", 10),
            json!({"type": "ERROR", "object": {"metadata": {"resourceVersion": "11"}}}),
        ],
    ] {
        assert!(judge(&wrong, &expected).is_err(), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_keeps_everything_in_a_cluster_whose_leaders_die() {
    let mut cluster = TestCluster::start_with_etcd("cluster-3m-nw", 4).await;
    let control_plane = match ControlPlane::start(&cluster).await {
        Ok(started) => started,
        Err(missing) => return not_run("Kubernetes on revoada", &missing),
    };
    let api = control_plane.api();
    until("kube-apiserver is ready", PATIENCE, async || {
        api.get_text("/readyz").await
    })
    .await;
    api.create("/api/v1/namespaces", &namespace("load")).await;
    controllers_serve(&api, "load").await;
    api.create(CRDS, &widgets()).await;
    until("the custom resource is served", PATIENCE, async || {
        api.get(GADGETS).await
    })
    .await;
    let (holder, transitions, _) =
        until("the controllers have their lease", PATIENCE, async || lease(&api).await).await;

    // What the controllers put there themselves comes before the watch.
    until("the controllers have given it their root", PATIENCE, async || {
        api.get(&format!("{MAPS}/kube-root-ca.crt")).await
    })
    .await;
    let before: BTreeSet<String> = names_of(&api.get(MAPS).await.unwrap()).into_iter().collect();
    let maps = api.watch(MAPS).await;
    let gadgets = api.watch(GADGETS).await;
    let written = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (api, written) = (control_plane.api(), written.clone());
            tokio::spawn(async move {
                for number in (writer..OBJECTS).step_by(WRITERS) {
                    api.create(MAPS, &config_map(number)).await;
                    if number < WIDGETS {
                        api.create(GADGETS, &widget(number)).await;
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for quarter in 1..=3 {
        until("a quarter more is written", PATIENCE, async || {
            match written.load(Ordering::Relaxed) {
                count if count >= quarter * OBJECTS / 4 => Ok(()),
                count => Err(format!("{count} are")),
            }
        })
        .await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        cluster.leader().await;
        cluster.nodes[leader].start();
        cluster.settled().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }

    let expected: BTreeSet<String> = (0..OBJECTS).map(map_name).collect();
    let paged = names_in_pages(&api, MAPS, PAGE).await;
    let listed: BTreeSet<String> = paged.iter().cloned().collect();
    assert_eq!(listed.len(), paged.len(), "a page repeats a name");
    assert_eq!(&listed - &before, expected, "something was lost, or is too much");
    assert_eq!(
        names_of(&api.get(MAPS).await.unwrap()),
        paged,
        "pages and the whole list differ"
    );
    let some = api.get(&format!("{MAPS}/{}", map_name(OBJECTS / 2))).await.unwrap();
    assert_eq!(some["data"], config_map(OBJECTS / 2)["data"]);
    let widgets: BTreeSet<String> = names_in_pages(&api, GADGETS, 60).await.into_iter().collect();
    assert_eq!(widgets.len(), WIDGETS);

    until("the watches have come to the end", PATIENCE, async || {
        let (seen, of) = (maps.count(), gadgets.count());
        (seen >= OBJECTS && of >= WIDGETS)
            .then_some(())
            .ok_or(format!("{seen} ConfigMaps, {of} widgets"))
    })
    .await;
    assert_eq!(judge(&maps.events(), &expected), Ok(()));
    assert_eq!(judge(&gadgets.events(), &widgets), Ok(()));
    assert_eq!((maps.end(), gadgets.end()), (None, None), "a watch ended");

    let (still, over, renewed) = until("the lease is read", PATIENCE, async || lease(&api).await).await;
    assert_eq!((still, over), (holder, transitions), "the controllers lost their lease");
    until("the lease is renewed", PATIENCE, async || {
        let (_, _, again) = lease(&api).await?;
        (again > renewed).then_some(()).ok_or(again)
    })
    .await;
    api.create("/api/v1/namespaces", &namespace("after")).await;
    controllers_serve(&api, "after").await;
    control_plane.assert_alive();
}
