//! The messages in frames.

use serde::{Deserialize, Serialize};

use crate::native::Failure;
use crate::native::message::{
    AppliedDocuments, ApplyDocuments, DeleteResource, DeletedResource, GetResource, GotResource, ListResources,
};

/// The id of an answer that is about the connection itself.
pub const CONNECTION_ID: u64 = 0;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The caller's number for it: from 1, and not one that is still unanswered.
    pub id: u64,
    /// What is wanted.
    pub call: Call,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// An answer, and nothing else.
    Ping,
    /// Apply documents.
    Apply(ApplyDocuments),
    /// Read one resource.
    Get(GetResource),
    /// Delete one resource.
    Delete(DeleteResource),
    /// Read one page of resources; the page has to fit into a frame.
    List(ListResources),
}

impl Call {
    /// Whether it changes something, so that its outcome can be unknown.
    pub const fn is_mutation(&self) -> bool {
        match self {
            Self::Ping | Self::Get(_) | Self::List(_) => false,
            Self::Apply(_) | Self::Delete(_) => true,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The number of the request, or [`CONNECTION_ID`].
    pub id: u64,
    /// What came of it.
    pub answer: Answer,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To a ping.
    Pong,
    /// To an apply.
    Applied(AppliedDocuments),
    /// To a get.
    Got(GotResource),
    /// To a delete.
    Deleted(DeletedResource),
    /// To a list: the page's JSON text, as the HTTP face would send it.
    Listed(bytes::Bytes),
    /// It failed.
    Failed(Failure),
}
