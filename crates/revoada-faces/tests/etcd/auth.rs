//! Who may do what, where authentication is on.

use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::middleware::{self, Next};
use revoada_etcd_api::authpb::{Permission, permission::Type};
use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::auth_client::AuthClient;
use revoada_etcd_api::etcdserverpb::kv_client::KvClient;
use revoada_etcd_api::etcdserverpb::lease_client::LeaseClient;
use revoada_etcd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revoada_faces::etcd::{CertificateName, EtcdOptions};
use tonic::{Code, Request};

use crate::support::{face_with, put, range, says};

const EMPTY: &str = "etcdserver: user name is empty";
const DENIED: &str = "etcdserver: permission denied";

/// Authentication is on: root, and eve, who may do everything with `foo`.
async fn with_users(face: &Router) {
    let mut auth = AuthClient::new(face.clone());
    for (name, password, role) in [("root", "rootPass", "root"), ("eve", "pass", "foo")] {
        let user = pb::AuthUserAddRequest {
            name: name.to_owned(),
            password: password.to_owned(),
            ..pb::AuthUserAddRequest::default()
        };
        auth.user_add(user).await.unwrap();
        let role = role.to_owned();
        auth.role_add(pb::AuthRoleAddRequest { name: role.clone() })
            .await
            .unwrap();
        let user = name.to_owned();
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role })
            .await
            .unwrap();
    }
    let perm = Permission {
        perm_type: Type::Readwrite as i32,
        key: "foo".into(),
        ..Permission::default()
    };
    let permission = pb::AuthRoleGrantPermissionRequest {
        name: "foo".to_owned(),
        perm: Some(perm),
    };
    auth.role_grant_permission(permission).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

/// A request with the token of a login; without a name, with none.
async fn by<T>(face: &Router, name: &str, request: T) -> Request<T> {
    let mut request = Request::new(request);
    if !name.is_empty() {
        let password = if name == "root" { "rootPass" } else { "pass" };
        let login = pb::AuthenticateRequest {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        let token = AuthClient::new(face.clone())
            .authenticate(login)
            .await
            .unwrap()
            .into_inner()
            .token;
        request.metadata_mut().insert("token", token.parse().unwrap());
    }
    request
}

fn cheap() -> EtcdOptions {
    EtcdOptions {
        bcrypt_cost: 4,
        ..EtcdOptions::default()
    }
}

#[tokio::test]
async fn each_call_asks_for_a_user_for_root_or_for_a_permission_as_etcds_does() {
    let face = face_with(cheap()).router();
    let mut lease = LeaseClient::new(face.clone());
    let mut kv = KvClient::new(face.clone());
    let mut maintenance = MaintenanceClient::new(face.clone());
    with_users(&face).await;

    let grant = pb::LeaseGrantRequest { id: 0, ttl: 60 };
    let refused = lease.lease_grant(by(&face, "", grant).await).await.unwrap_err();
    says(&refused, Code::InvalidArgument, EMPTY);
    let of_eve = lease
        .lease_grant(by(&face, "eve", grant).await)
        .await
        .unwrap()
        .into_inner()
        .id;
    let leased = pb::PutRequest {
        lease: of_eve,
        ..put("foo", "1")
    };
    kv.put(by(&face, "eve", leased).await).await.unwrap();
    lease
        .lease_leases(by(&face, "eve", pb::LeaseLeasesRequest {}).await)
        .await
        .unwrap();
    let of_root = lease
        .lease_grant(by(&face, "root", grant).await)
        .await
        .unwrap()
        .into_inner()
        .id;
    let leased = pb::PutRequest {
        lease: of_root,
        ..put("bar", "1")
    };
    kv.put(by(&face, "root", leased).await).await.unwrap();
    // One of the leases has a key that eve may not read, nor tie one of hers to.
    let leases = lease
        .lease_leases(by(&face, "eve", pb::LeaseLeasesRequest {}).await)
        .await;
    says(&leases.unwrap_err(), Code::PermissionDenied, DENIED);
    let theirs = pb::PutRequest {
        lease: of_root,
        ..put("foo", "2")
    };
    let in_txn = pb::TxnRequest {
        success: vec![pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(theirs.clone())),
        }],
        ..pb::TxnRequest::default()
    };
    says(
        &kv.put(by(&face, "eve", theirs).await).await.unwrap_err(),
        Code::PermissionDenied,
        DENIED,
    );
    says(
        &kv.txn(by(&face, "eve", in_txn).await).await.unwrap_err(),
        Code::PermissionDenied,
        DENIED,
    );
    let leases = lease.lease_leases(by(&face, "", pb::LeaseLeasesRequest {}).await).await;
    says(&leases.unwrap_err(), Code::InvalidArgument, EMPTY);
    assert_eq!(
        lease
            .lease_leases(by(&face, "root", pb::LeaseLeasesRequest {}).await)
            .await
            .unwrap()
            .into_inner()
            .leases
            .len(),
        2
    );

    let compact = pb::CompactionRequest {
        revision: 3,
        physical: true,
    };
    says(
        &kv.compact(by(&face, "eve", compact).await).await.unwrap_err(),
        Code::PermissionDenied,
        DENIED,
    );
    kv.compact(by(&face, "root", compact).await).await.unwrap();

    let status = maintenance.status(by(&face, "", pb::StatusRequest {}).await).await;
    says(&status.unwrap_err(), Code::InvalidArgument, EMPTY);
    maintenance
        .status(by(&face, "eve", pb::StatusRequest {}).await)
        .await
        .unwrap();
    let list = pb::AlarmRequest::default();
    maintenance.alarm(by(&face, "eve", list).await).await.unwrap();
    let raise = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Activate as i32,
        alarm: pb::AlarmType::Corrupt as i32,
        ..list
    };
    let raised = maintenance.alarm(by(&face, "eve", raise).await).await;
    says(&raised.unwrap_err(), Code::PermissionDenied, DENIED);
    let snapshot = maintenance
        .snapshot(by(&face, "eve", pb::SnapshotRequest {}).await)
        .await;
    says(&snapshot.unwrap_err(), Code::PermissionDenied, DENIED);
}

#[tokio::test]
async fn a_certificates_name_logs_in_where_that_is_wanted_and_no_token_came() {
    for wanted in [true, false] {
        let options = EtcdOptions {
            certificate_names: wanted,
            ..cheap()
        };
        let plain = face_with(options).router();
        with_users(&plain).await;
        let named = plain
            .clone()
            .layer(middleware::from_fn(|mut request: HttpRequest, next: Next| async {
                request.extensions_mut().insert(CertificateName("eve".into()));
                next.run(request).await
            }));
        let mut kv = KvClient::new(named.clone());
        let of_eve = kv.range(range("foo", "")).await;
        if wanted {
            of_eve.unwrap();
            says(
                &kv.range(range("bar", "")).await.unwrap_err(),
                Code::PermissionDenied,
                DENIED,
            );
        } else {
            says(&of_eve.unwrap_err(), Code::InvalidArgument, EMPTY);
        }
        kv.range(by(&plain, "root", range("bar", "")).await).await.unwrap();
    }
}
