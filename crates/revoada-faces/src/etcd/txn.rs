//! Requests become operations of the keyspace, and its results become answers.
//!
//! What the keyspace does not do itself (an order other than by key) is done on its result, so an answer needs to know
//! what was asked: that is its [`Shape`].

use std::cmp::Ordering;

use bytes::Bytes;
use revoada_core::keyspace::{
    Compare, CompareTarget, Entry, KeyRange, Op, OpResult, RangeAnswer, RangeQuery, Relation, Revision, Txn, TxnAnswer,
};
use revoada_etcd_api::etcdserverpb::compare::{CompareResult, CompareTarget as Target, TargetUnion};
use revoada_etcd_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use revoada_etcd_api::etcdserverpb::request_op::Request;
use revoada_etcd_api::etcdserverpb::response_op::Response;
use revoada_etcd_api::etcdserverpb::{
    self as pb, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, ResponseHeader, ResponseOp, TxnRequest,
};
use tonic::Status;

use super::alarm::PUT_BYTES;
use super::auth::{self, Need};
use super::{key_value, keys, refusal, version_of};

/// What has to be allowed to whoever asks for a range.
pub fn range_needs(request: &RangeRequest) -> Need {
    auth::read(&request.key, &request.range_end)
}

/// What has to be allowed to whoever puts.
pub fn put_needs(request: &PutRequest) -> Vec<Need> {
    let mut needs = vec![auth::write(&request.key, &Bytes::new())];
    if request.prev_kv {
        needs.push(auth::read(&request.key, &Bytes::new()));
    }
    needs
}

/// What has to be allowed to whoever deletes.
pub fn delete_needs(request: &DeleteRangeRequest) -> Vec<Need> {
    let mut needs = vec![auth::write(&request.key, &request.range_end)];
    if request.prev_kv {
        needs.push(auth::read(&request.key, &request.range_end));
    }
    needs
}

/// What has to be allowed to whoever asks for a transaction: both branches.
pub fn txn_needs(request: &TxnRequest) -> Vec<Need> {
    let compares = request
        .compare
        .iter()
        .map(|compare| auth::read(&compare.key, &compare.range_end));
    let ops = request.success.iter().chain(&request.failure);
    let of_ops = ops.flat_map(|op| match &op.request {
        Some(Request::RequestRange(range)) => vec![range_needs(range)],
        Some(Request::RequestPut(put)) => put_needs(put),
        Some(Request::RequestDeleteRange(delete)) => delete_needs(delete),
        Some(Request::RequestTxn(nested)) => txn_needs(nested),
        None => Vec::new(),
    });
    compares.chain(of_ops).collect()
}

/// The leases that puts of a transaction tie keys to, whichever branch it takes.
pub fn leases(request: &TxnRequest) -> Vec<u64> {
    let ops = request.success.iter().chain(&request.failure);
    let of_ops = ops.flat_map(|op| match &op.request {
        Some(Request::RequestPut(put)) => vec![put.lease as u64],
        Some(Request::RequestTxn(nested)) => leases(nested),
        _ => Vec::new(),
    });
    of_ops.filter(|lease| *lease != 0).collect()
}

/// How many bytes a put takes where room is reckoned (etcd: `costPut`).
pub fn put_bytes(request: &PutRequest) -> u64 {
    PUT_BYTES + (request.key.len() + request.value.len()) as u64
}

/// How many bytes a transaction takes where room is reckoned: those of its larger branch (etcd: `costTxn`).
pub fn txn_bytes(request: &TxnRequest) -> u64 {
    let bytes = |ops: &[RequestOp]| -> u64 {
        let of_op = |op: &RequestOp| match &op.request {
            Some(Request::RequestPut(put)) => put_bytes(put),
            Some(Request::RequestTxn(nested)) => txn_bytes(nested),
            _ => 0,
        };
        ops.iter().map(of_op).sum()
    };
    bytes(&request.success).max(bytes(&request.failure))
}

/// What was asked, as far as the answer depends on it.
pub enum Shape {
    Range(RangeShape),
    Put { key: Bytes },
    Delete,
    Txn { then: Vec<Shape>, otherwise: Vec<Shape> },
}

/// How the entries of a range are to be shown.
pub struct RangeShape {
    /// None: as they come, which is by key, ascending.
    sort: Option<(SortTarget, SortOrder)>,
    /// What the keyspace was not asked to cut, because they are sorted first; 0 for none.
    limit: usize,
    /// Values were needed for the order alone.
    strip_values: bool,
}

/// A number of the protocol, where anything below 0 means nothing.
fn revision(number: i64) -> Revision {
    u64::try_from(number).unwrap_or(0)
}

/// A range, and how its answer is made.
pub fn range(request: &RangeRequest) -> Result<(RangeQuery, RangeShape), Status> {
    if request.key.is_empty() {
        return Err(refusal::EMPTY_KEY.into());
    }
    let (Ok(order), Ok(target)) = (
        SortOrder::try_from(request.sort_order),
        SortTarget::try_from(request.sort_target),
    ) else {
        return Err(refusal::INVALID_SORT.into());
    };
    // By key and ascending is how they come. Another target without an order is ascending, as etcd has it.
    let sort = match (target, order) {
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
        (target, SortOrder::None) => Some((target, SortOrder::Ascend)),
        other => Some(other),
    };
    let limit = u64::try_from(request.limit).unwrap_or(0);
    let by_value = matches!(sort, Some((SortTarget::Value, _)));
    let query = RangeQuery {
        range: keys::range(&request.key, &request.range_end),
        revision: (request.revision > 0).then_some(revision(request.revision)),
        limit: if sort.is_some() { 0 } else { limit },
        after: None,
        keys_only: request.keys_only && !by_value,
        count_only: request.count_only,
        min_mod_revision: revision(request.min_mod_revision),
        max_mod_revision: revision(request.max_mod_revision),
        min_create_revision: revision(request.min_create_revision),
        max_create_revision: revision(request.max_create_revision),
    };
    let shape = RangeShape {
        limit: if sort.is_some() {
            usize::try_from(limit).unwrap_or(usize::MAX)
        } else {
            0
        },
        sort,
        strip_values: request.keys_only && by_value,
    };
    Ok((query, shape))
}

/// Checks a put, and what it is in the keyspace.
pub fn put(request: PutRequest) -> Result<(Op, Shape), Status> {
    if request.key.is_empty() {
        return Err(refusal::EMPTY_KEY.into());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(refusal::VALUE_PROVIDED.into());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(refusal::LEASE_PROVIDED.into());
    }
    let op = Op::Put {
        key: keys::stored(&request.key),
        // It shares the request's buffer, which would live as long as the value does.
        value: Bytes::copy_from_slice(&request.value),
        lease: request.lease as u64,
        keep_value: request.ignore_value,
        keep_lease: request.ignore_lease,
        same_prefix_bytes: 0,
        previous: request.prev_kv,
    };
    Ok((op, Shape::Put { key: request.key }))
}

/// Checks a deletion, and what it is in the keyspace.
pub fn delete(request: &DeleteRangeRequest) -> Result<Op, Status> {
    if request.key.is_empty() {
        return Err(refusal::EMPTY_KEY.into());
    }
    Ok(Op::Delete {
        range: keys::range(&request.key, &request.range_end),
        previous: request.prev_kv,
    })
}

/// Checks a transaction, and what it is in the keyspace; each of its lists has at most `ops_max`, and nested ones what
/// the lists around them leave (etcd: `checkTxnRequest`).
pub fn txn(request: TxnRequest, ops_max: usize) -> Result<(Txn, Shape), Status> {
    let longest = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    if longest > ops_max {
        return Err(refusal::TOO_MANY_OPS.into());
    }
    let left = ops_max - longest;
    let compares = request.compare.into_iter().map(compare).collect::<Result<_, _>>()?;
    let (then, then_shapes) = ops(request.success, left)?;
    let (otherwise, otherwise_shapes) = ops(request.failure, left)?;
    let txn = Txn {
        compares,
        then,
        otherwise,
    };
    let shape = Shape::Txn {
        then: then_shapes,
        otherwise: otherwise_shapes,
    };
    Ok((txn, shape))
}

fn ops(requests: Vec<RequestOp>, ops_max: usize) -> Result<(Vec<Op>, Vec<Shape>), Status> {
    let mut ops = Vec::with_capacity(requests.len());
    let mut shapes = Vec::with_capacity(requests.len());
    for request in requests {
        // An operation of no kind is told this (etcd: `checkRequestOp`).
        let (op, shape) = match request.request.ok_or(refusal::KEY_NOT_FOUND)? {
            Request::RequestRange(request) => {
                let (query, shape) = range(&request)?;
                (Op::Range(query), Shape::Range(shape))
            }
            Request::RequestPut(request) => put(request)?,
            Request::RequestDeleteRange(request) => (delete(&request)?, Shape::Delete),
            Request::RequestTxn(request) => {
                let (nested, shape) = txn(request, ops_max)?;
                (Op::Txn(Box::new(nested)), shape)
            }
        };
        ops.push(op);
        shapes.push(shape);
    }
    Ok((ops, shapes))
}

fn compare(compare: pb::Compare) -> Result<Compare, Status> {
    if compare.key.is_empty() {
        return Err(refusal::EMPTY_KEY.into());
    }
    let range = keys::range(&compare.key, &compare.range_end);
    let relation = match compare.result() {
        CompareResult::Equal => Relation::Equal,
        CompareResult::NotEqual => Relation::NotEqual,
        CompareResult::Greater => Relation::Greater,
        CompareResult::Less => Relation::Less,
    };
    // The target decides, and a union of another kind is the zero of the target's (etcd: `applyCompare`).
    let given = compare.target_union.as_ref();
    let target = match compare.target() {
        Target::Version => CompareTarget::VersionNumber(match given {
            Some(TargetUnion::Version(number)) => revision(*number),
            _ => 0,
        }),
        Target::Create => CompareTarget::Create(match given {
            Some(TargetUnion::CreateRevision(number)) => revision(*number),
            _ => 0,
        }),
        Target::Mod => CompareTarget::Mod(match given {
            Some(TargetUnion::ModRevision(number)) => revision(*number),
            _ => 0,
        }),
        Target::Value => CompareTarget::Value(match given {
            Some(TargetUnion::Value(value)) => Bytes::copy_from_slice(value),
            _ => Bytes::new(),
        }),
        Target::Lease => CompareTarget::Lease(match given {
            Some(TargetUnion::Lease(lease)) => *lease as u64,
            _ => 0,
        }),
    };
    Ok(Compare {
        range,
        target,
        relation,
    })
}

/// Whether a transaction can change nothing, whichever branch it takes.
pub fn only_reads(txn: &Txn) -> bool {
    txn.then.iter().chain(&txn.otherwise).all(|op| match op {
        Op::Range(_) => true,
        Op::Txn(nested) => only_reads(nested),
        Op::Put { .. } | Op::Delete { .. } => false,
    })
}

/// Whether every read of a request may be of the past: then the whole transaction may.
pub fn may_be_stale(request: &TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .all(|op| match &op.request {
            Some(Request::RequestRange(range)) => range.serializable,
            Some(Request::RequestTxn(nested)) => may_be_stale(nested),
            _ => true,
        })
}

/// The answer of a transaction; `header` stands in front of the outermost alone, the others have the revision.
pub fn answered(header: Option<ResponseHeader>, after: Revision, answer: TxnAnswer, shape: &Shape) -> pb::TxnResponse {
    let none = Vec::new();
    let shapes = match shape {
        Shape::Txn { then, .. } if answer.succeeded => then,
        Shape::Txn { otherwise, .. } => otherwise,
        _ => &none,
    };
    let responses = answer
        .results
        .into_iter()
        .zip(shapes)
        .map(|(result, shape)| ResponseOp {
            response: response(after, result, shape),
        });
    pb::TxnResponse {
        header,
        succeeded: answer.succeeded,
        responses: responses.collect(),
    }
}

fn response(after: Revision, result: OpResult, shape: &Shape) -> Option<Response> {
    let header = |revision: Revision| {
        Some(ResponseHeader {
            revision: revision as i64,
            ..ResponseHeader::default()
        })
    };
    Some(match (result, shape) {
        (OpResult::Range(answer), Shape::Range(shape)) => {
            Response::ResponseRange(range_answered(header(answer.revision), answer, shape))
        }
        (OpResult::Put { previous, .. }, Shape::Put { key }) => Response::ResponsePut(PutResponse {
            header: header(after),
            prev_kv: previous.map(|previous| version_of(key.clone(), previous)),
        }),
        (OpResult::Deleted { count, previous }, Shape::Delete) => {
            Response::ResponseDeleteRange(deleted(header(after), count, previous))
        }
        (OpResult::Txn(nested), shape) => Response::ResponseTxn(answered(header(after), after, nested, shape)),
        (result, _) => {
            tracing::error!(?result, "an operation was answered by something else");
            return None;
        }
    })
}

/// The answer of a deletion.
pub fn deleted(header: Option<ResponseHeader>, count: u64, previous: Vec<Entry>) -> DeleteRangeResponse {
    DeleteRangeResponse {
        header,
        deleted: count as i64,
        prev_kvs: previous.into_iter().map(key_value).collect(),
    }
}

/// The answer of a range.
pub fn range_answered(header: Option<ResponseHeader>, answer: RangeAnswer, shape: &RangeShape) -> RangeResponse {
    let RangeAnswer {
        mut entries,
        mut more,
        count,
        ..
    } = answer;
    if let Some((target, order)) = shape.sort {
        entries.sort_by(|left, right| {
            let ascending = by(target, left, right);
            if order == SortOrder::Descend {
                ascending.reverse()
            } else {
                ascending
            }
        });
        if shape.limit > 0 && entries.len() > shape.limit {
            entries.truncate(shape.limit);
            more = true;
        }
    }
    let mut kvs: Vec<_> = entries.into_iter().map(key_value).collect();
    if shape.strip_values {
        for kv in &mut kvs {
            kv.value = Bytes::new();
        }
    }
    RangeResponse {
        header,
        kvs,
        more,
        count: count as i64,
    }
}

fn by(target: SortTarget, left: &Entry, right: &Entry) -> Ordering {
    let (a, b) = (&left.version, &right.version);
    match target {
        SortTarget::Key => left.key.cmp(&right.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    }
}

/// One key, as a range of the keyspace.
pub fn one(key: &[u8]) -> KeyRange {
    keys::range(key, &[])
}
