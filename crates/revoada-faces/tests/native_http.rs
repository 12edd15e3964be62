//! Every route of the native face, without a socket.

mod support;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::{Extension, Router};
use base64::Engine as _;
use http_body_util::BodyExt as _;
use revoada_core::resource::{Resource, ResourceFormat};
use revoada_faces::native::{Caller, Failure, NativeFace, boot_failed};
use serde_json::{Value, json};
use support::{MadeUpCluster, for_operator};
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;

struct Bench {
    router: Router,
    cluster: Arc<MadeUpCluster>,
    _spool: TempDir,
}

fn bench_with(finish: impl FnOnce(NativeFace) -> Router) -> Bench {
    let spool = tempfile::tempdir().unwrap();
    let (face, cluster) = support::face(spool.path());
    Bench {
        router: finish(face),
        cluster,
        _spool: spool,
    }
}

fn bench() -> Bench {
    bench_with(for_operator)
}

struct Answered {
    status: StatusCode,
    content_type: String,
    revision: Option<String>,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn kind(&self) -> String {
        self.json()["error"]["kind"].as_str().expect("an error").to_owned()
    }
}

impl Bench {
    async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let (status, content_type) = (response.status(), header("content-type").unwrap_or_default());
        let revision = header("revoada-revision");
        let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
        Answered {
            status,
            content_type,
            revision,
            body,
        }
    }

    async fn call(&self, method: Method, path: &str) -> Answered {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap())
            .await
    }

    async fn get(&self, path: &str) -> Answered {
        self.call(Method::GET, path).await
    }

    async fn post(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Answered {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", content_type);
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn apply(&self, name: &str) -> Answered {
        self.post("/v1/resources", "application/json", config_map(name, "v").to_string())
            .await
    }
}

fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app": name}},
        "data": {"key": value},
    })
}

#[tokio::test]
async fn every_route_that_shows_something_answers_with_the_contracts_shape() {
    let bench = bench();
    let status = bench.get("/v1/status").await;
    assert_eq!(
        (status.status, status.content_type.as_str()),
        (StatusCode::OK, "application/json")
    );
    assert_eq!(status.json()["cluster"]["state"], "formed");
    assert_eq!(status.json()["nodes"][0]["role"], "control-plane");
    assert_eq!(bench.get("/v1/members").await.json()["nodes"][0]["name"], "node-1");
    assert_eq!(bench.get("/v1/health").await.json()["healthy"], true);
    assert_eq!(bench.get("/v1/history").await.json(), json!({"items": []}));
    assert_eq!(bench.get("/v1/declaration").await.json(), json!({"name": "homelab"}));
    assert_eq!(bench.get("/v1/chain").await.body, [0, 1, 255]);
    assert_eq!(bench.get("/v1/chain/heads").await.json()["items"][0]["node"], "node-1");
    assert_eq!(bench.get("/v1/chain/trust").await.text(), "a key\n");
    let metrics = bench.get("/metrics").await;
    assert_eq!(metrics.text(), "revoada_raft_term 2\n");
    assert!(metrics.content_type.starts_with("text/plain; version=0.0.4"));
}

#[tokio::test]
async fn an_unhealthy_cluster_answers_503_with_its_report() {
    let spool = tempfile::tempdir().unwrap();
    let backend = Arc::new(revoada_store::MemoryBackend::new());
    let face = NativeFace::new(backend, Arc::new(MadeUpCluster::default()), spool.path());
    let bench = Bench {
        router: for_operator(face),
        cluster: Arc::default(),
        _spool: spool,
    };
    let health = bench.get("/v1/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.json()["healthy"], false);
}

#[tokio::test]
async fn what_was_applied_raw_is_got_listed_and_deleted() {
    let bench = bench();
    let yaml = "kind: ConfigMap\nmetadata:\n  name: one\ndata:\n  answer: \"yes\"\n";
    let applied = bench.post("/v1/resources", "application/yaml", yaml).await;
    assert_eq!(applied.status, StatusCode::OK, "{}", applied.text());
    let results = &applied.json()["results"];
    assert_eq!(
        results[0],
        json!({"kind": "ConfigMap", "namespace": "", "name": "one", "action": "created", "revision": results[0]["revision"]})
    );
    let revision = results[0]["revision"].as_u64().unwrap();

    let got = bench.get("/v1/resources/ConfigMap/one").await;
    assert_eq!(got.content_type, "application/json");
    assert_eq!(got.revision, Some(revision.to_string()));
    assert_eq!(got.json()["data"]["answer"], "yes");
    let raw = bench.get("/v1/resources/ConfigMap/one?format=yaml&stale").await;
    assert_eq!(
        (raw.text().as_str(), raw.content_type.as_str()),
        (yaml, "application/yaml")
    );

    let again = bench
        .post("/v1/resources", "application/x-www-form-urlencoded", yaml)
        .await;
    assert_eq!(again.json()["results"][0]["action"], "unchanged", "{}", again.text());
    let listed = bench.get("/v1/resources/ConfigMap").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert!(listed["revision"].is_u64());

    let deleted = bench.call(Method::DELETE, "/v1/resources/ConfigMap/one").await;
    assert!(deleted.json()["revision"].as_u64().unwrap() > revision);
    let gone = bench.get("/v1/resources/ConfigMap/one").await;
    assert_eq!(
        (gone.status, gone.kind().as_str()),
        (StatusCode::NOT_FOUND, "not-found")
    );
    let gone = bench.call(Method::DELETE, "/v1/resources/ConfigMap/one").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_envelope_carries_several_documents_in_several_formats() {
    let bench = bench();
    let native = Resource::from_content(config_map("native", "1"), ResourceFormat::Native)
        .unwrap()
        .document;
    let envelope = json!({"documents": [
        {"format": "yaml", "document": "kind: A\nmetadata: {name: a}\n---\nkind: B\nmetadata: {name: b}\n",
         "default_namespace": "home"},
        {"format": "native", "document": base64::engine::general_purpose::STANDARD.encode(&native)},
        {"document": "{\"kind\": \"C\", \"metadata\": {\"name\": \"c\"}}"},
    ]});
    let applied = bench
        .post("/v1/resources", "application/json", envelope.to_string())
        .await
        .json();
    let names: Vec<_> = applied["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["name"])
        .collect();
    assert_eq!(names, ["a", "b", "native", "c"]);
    assert_eq!(applied["results"][0]["namespace"], "home");
    assert_eq!(
        bench.get("/v1/resources/ConfigMap/native?format=native").await.body,
        native
    );
    assert_eq!(
        bench.get("/v1/resources/A/a?namespace=home").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn what_is_large_is_applied_listed_and_converted_too() {
    let bench = bench();
    let documents: Vec<_> = (0..200)
        .map(|index| config_map(&format!("item-{index:03}"), &"x".repeat(1024)).to_string())
        .collect();
    let applied = bench
        .post("/v1/resources", "application/json", documents.join("\n---\n"))
        .await;
    assert_eq!(
        applied.json()["results"].as_array().unwrap().len(),
        200,
        "{}",
        applied.text()
    );
    let listed = bench.get("/v1/resources/ConfigMap").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 200);
    let large = json!({"documents": [{"document": config_map("large", &"y".repeat(1 << 20)).to_string()}]});
    assert_eq!(
        bench
            .post("/v1/resources", "application/json", large.to_string())
            .await
            .status,
        StatusCode::OK
    );
    let yaml = bench.get("/v1/resources/ConfigMap/large?format=yaml").await;
    assert!(yaml.text().contains(&"y".repeat(1 << 20)));
    let too_large = config_map("larger", &"z".repeat(2 << 20)).to_string();
    assert_eq!(
        bench.post("/v1/resources", "application/json", too_large).await.kind(),
        "exhausted"
    );
}

#[tokio::test]
async fn one_bad_document_means_that_nothing_is_applied() {
    let bench = bench();
    let envelope = json!({"documents": [
        {"format": "json", "document": config_map("good", "1").to_string()},
        {"format": "yaml", "document": "kind: ConfigMap\n"},
    ]});
    let refused = bench
        .post("/v1/resources", "application/json", envelope.to_string())
        .await;
    assert_eq!(
        (refused.status, refused.kind().as_str()),
        (StatusCode::BAD_REQUEST, "invalid")
    );
    assert!(refused.text().contains("documents[1]"), "{}", refused.text());
    assert_eq!(
        bench.get("/v1/resources/ConfigMap/good").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn compare_and_set_is_refused_with_the_kind_of_the_conflict() {
    let bench = bench();
    let path = "/v1/resources?if_revision=0";
    let body = || config_map("one", "1").to_string();
    assert_eq!(
        bench.post(path, "application/json", body()).await.status,
        StatusCode::OK
    );
    let refused = bench.post(path, "application/json", body()).await;
    assert_eq!(
        (refused.status, refused.kind().as_str()),
        (StatusCode::CONFLICT, "already-exists")
    );
    let body = config_map("one", "2").to_string();
    let refused = bench
        .post("/v1/resources?if_revision=999", "application/json", body)
        .await;
    assert_eq!(
        (refused.status, refused.kind().as_str()),
        (StatusCode::CONFLICT, "conflict")
    );
    let refused = bench
        .call(Method::DELETE, "/v1/resources/ConfigMap/one?if_revision=999")
        .await;
    assert_eq!(refused.kind(), "conflict");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let bench = bench();
    let body = config_map("one", "1").to_string();
    let dry = bench.post("/v1/resources?dry_run=true", "application/json", body).await;
    assert_eq!(dry.json()["results"][0]["action"], "created");
    assert_eq!(
        bench.get("/v1/resources/ConfigMap/one").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_list_is_served_in_pages_and_by_labels() {
    let bench = bench();
    for name in ["a", "b", "c"] {
        bench.apply(name).await;
    }
    let first = bench.get("/v1/resources/ConfigMap?limit=2&group=").await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let token = first["continue"].as_str().unwrap();
    let second = bench
        .get(&format!("/v1/resources/ConfigMap?limit=2&group=&continue={token}"))
        .await
        .json();
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
    assert_eq!(
        (&second["revision"], second.get("continue")),
        (&first["revision"], None)
    );
    let chosen = bench.get("/v1/resources/ConfigMap?selector=app%3Db").await.json();
    assert_eq!(chosen["items"][0]["metadata"]["name"], "b");
    assert_eq!(
        bench.get("/v1/resources/ConfigMap?selector=%3D%3D").await.kind(),
        "invalid"
    );
}

#[tokio::test]
async fn a_kind_without_its_group_is_found_while_it_is_unambiguous() {
    let bench = bench();
    let of = |group: &str| json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "x"}});
    bench
        .post("/v1/resources", "application/json", of("one.example").to_string())
        .await;
    assert_eq!(
        bench.get("/v1/resources/Thing/x").await.json()["apiVersion"],
        "one.example/v1"
    );
    bench
        .post("/v1/resources", "application/json", of("two.example").to_string())
        .await;
    assert_eq!(bench.get("/v1/resources/Thing/x").await.kind(), "invalid");
    assert_eq!(
        bench.call(Method::DELETE, "/v1/resources/Thing/x").await.kind(),
        "invalid"
    );
    assert_eq!(
        bench.get("/v1/resources/Thing/x?group=two.example").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_watch_tells_what_is_there_then_what_changes_and_ends_when_the_node_stops() {
    let (stop, stopping) = watch::channel(false);
    let bench = bench_with(|face| for_operator(face.with_stopping(stopping)));
    bench.apply("one").await;
    let request = Request::get("/v1/watch/ConfigMap").body(Body::empty()).unwrap();
    let response = bench.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut body = response.into_body();
    let mut lines = Vec::<Value>::new();
    while lines.last().is_none_or(|line| line["type"] != "bookmark") {
        read_lines(&mut body, &mut lines).await;
    }
    assert_eq!(
        (&lines[0]["type"], &lines[0]["object"]["metadata"]["name"]),
        (&json!("added"), &json!("one"))
    );
    bench.call(Method::DELETE, "/v1/resources/ConfigMap/one").await;
    while lines.last().is_none_or(|line| line["type"] != "deleted") {
        read_lines(&mut body, &mut lines).await;
    }
    stop.send(true).unwrap();
    assert!(body.frame().await.is_none());
}

async fn read_lines(body: &mut Body, lines: &mut Vec<Value>) {
    let chunk = body
        .frame()
        .await
        .expect("the watch goes on")
        .unwrap()
        .into_data()
        .unwrap();
    lines.extend(
        chunk
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice::<Value>(line).expect("a chunk holds whole lines")),
    );
}

#[tokio::test]
async fn a_snapshot_that_was_saved_is_restored() {
    let bench = bench();
    bench.apply("one").await;
    let saved = bench.get("/v1/snapshot").await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.text());
    assert!(saved.revision.is_some());
    bench.call(Method::DELETE, "/v1/resources/ConfigMap/one").await;
    let mut cut = saved.body.clone();
    cut.truncate(cut.len() - 1);
    let refused = bench.post("/v1/snapshot", "application/octet-stream", cut).await;
    assert_eq!(refused.kind(), "invalid");
    assert_eq!(
        bench.get("/v1/resources/ConfigMap/one").await.status,
        StatusCode::NOT_FOUND
    );
    let restored = bench.post("/v1/snapshot", "application/octet-stream", saved.body).await;
    assert_eq!(restored.json()["entries"], 1, "{}", restored.text());
    assert_eq!(bench.get("/v1/resources/ConfigMap/one").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_operator_steers_the_cluster() {
    let bench = bench();
    let granted = bench.call(Method::POST, "/v1/nodes/node-1/drain?wait=true").await;
    assert_eq!(granted.json(), json!({"node": "node-1", "index": 3, "done": true}));
    for wish in ["promote", "demote", "quarantine", "restore", "excuse"] {
        let granted = bench.call(Method::POST, &format!("/v1/nodes/node-1/{wish}")).await;
        assert_eq!(granted.status, StatusCode::OK, "{wish}");
    }
    assert_eq!(bench.call(Method::POST, "/v1/shutdown").await.status, StatusCode::OK);
    let recover = bench
        .post("/v1/recover", "application/json", r#"{"reason": "fire"}"#)
        .await;
    assert_eq!(recover.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        recover.json()["error"],
        json!({"kind": "unavailable", "message": "a quorum is there", "causes": ["two of three"]})
    );
    assert_eq!(bench.call(Method::POST, "/v1/recover").await.kind(), "invalid");
    assert_eq!(
        bench.call(Method::POST, "/v1/nodes/other/drain").await.kind(),
        "not-found"
    );
    assert_eq!(
        bench.call(Method::POST, "/v1/nodes/node-1/explode").await.kind(),
        "not-found"
    );
    assert_eq!(
        *bench.cluster.asked.lock().unwrap(),
        [
            "drain node-1 wait=true",
            "promote node-1 wait=false",
            "demote node-1 wait=false",
            "quarantine node-1 wait=false",
            "restore node-1 wait=false",
            "excuse node-1",
            "shutdown",
            "recover: fire",
        ]
    );
}

#[tokio::test]
async fn a_reader_looks_and_changes_nothing() {
    let bench = bench_with(|face| face.router().layer(Extension(Caller::reader("uid 1001"))));
    assert_eq!(bench.get("/v1/status").await.status, StatusCode::OK);
    let changes = [
        (Method::POST, "/v1/resources"),
        (Method::DELETE, "/v1/resources/ConfigMap/one"),
        (Method::POST, "/v1/nodes/node-1/promote"),
        (Method::POST, "/v1/nodes/node-1/excuse"),
        (Method::POST, "/v1/shutdown"),
        (Method::POST, "/v1/recover"),
        (Method::POST, "/v1/snapshot"),
    ];
    for (method, path) in changes {
        let refused = bench.call(method, path).await;
        assert_eq!(
            (refused.status, refused.kind().as_str()),
            (StatusCode::FORBIDDEN, "denied"),
            "{path}"
        );
    }
    assert!(bench.cluster.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nobody_is_answered_whom_the_listener_did_not_name() {
    let bench = bench_with(NativeFace::router);
    for path in [
        "/v1/status",
        "/v1/resources/ConfigMap",
        "/v1/snapshot",
        "/v1/watch/A",
        "/v1/frames",
        "/metrics",
    ] {
        let refused = bench.get(path).await;
        assert_eq!(
            (refused.status, refused.kind().as_str()),
            (StatusCode::UNAUTHORIZED, "unauthenticated"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_wrong_request_is_answered_with_an_error_in_json() {
    let bench = bench();
    let missing = bench.get("/v2/status").await;
    assert_eq!(
        (missing.status, missing.kind().as_str()),
        (StatusCode::NOT_FOUND, "not-found")
    );
    let method = bench.call(Method::PUT, "/v1/status").await;
    assert_eq!(
        (method.status, method.kind().as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, "unsupported")
    );
    for path in [
        "/v1/resources/A?namspace=x",
        "/v1/resources/A?limit=many",
        "/v1/resources/A?stale=perhaps",
    ] {
        assert_eq!(bench.get(path).await.kind(), "invalid", "{path}");
    }
    assert_eq!(bench.get("/v1/resources/A/%FF").await.kind(), "invalid");
    assert_eq!(bench.get("/v1/frames").await.kind(), "invalid");
    let bodies = [
        ("image/png", "x"),
        ("application/json", "{\"kind\": "),
        ("application/json", r#"{"documents": [], "surprise": 1}"#),
        (
            "application/json",
            r#"{"documents": [{"format": "native", "document": "%%%"}]}"#,
        ),
    ];
    for (content_type, body) in bodies {
        let refused = bench.post("/v1/resources", content_type, body).await;
        assert_eq!(refused.kind(), "invalid", "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let bench = bench();
    let bytes = revoada_core::limits::HTTP_BODY_BYTES_MAX + 1;
    let request = Request::post("/v1/resources").header("content-type", "application/yaml");
    let announced = request
        .header("content-length", bytes)
        .body(Body::from_stream(endless()))
        .unwrap();
    assert_eq!(bench.send(announced).await.kind(), "exhausted");
    let chunked = Request::post("/v1/resources").header("content-type", "application/yaml");
    let refused = bench.send(chunked.body(Body::from_stream(endless())).unwrap()).await;
    assert_eq!(refused.kind(), "exhausted");
}

fn endless() -> impl futures::Stream<Item = std::io::Result<Vec<u8>>> + Send + 'static {
    futures::stream::repeat_with(|| Ok(vec![b' '; 1024 * 1024]))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let bench = bench();
    for path in ["/v1/resources", "/v1/snapshot"] {
        let silent = futures::stream::pending::<std::io::Result<Vec<u8>>>();
        let refused = bench.post(path, "application/yaml", Body::from_stream(silent)).await;
        assert_eq!(refused.kind(), "unavailable", "{path}");
    }
}

#[tokio::test]
async fn a_node_that_could_not_start_says_why() {
    let reason = Failure {
        causes: vec!["in use".to_owned()],
        ..Failure::invalid("cannot listen on 127.0.0.1:7070")
    };
    let bench = bench_with(|_| boot_failed(reason));
    let status = bench.get("/v1/status").await;
    assert_eq!(
        status.json()["error"],
        json!({"kind": "unavailable", "message": "this node could not start",
               "causes": ["cannot listen on 127.0.0.1:7070", "in use"]})
    );
    let health = bench.get("/v1/health").await;
    assert_eq!(
        health.json()["checks"][0]["detail"],
        "cannot listen on 127.0.0.1:7070: in use"
    );
}
