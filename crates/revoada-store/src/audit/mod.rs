//! A layer that writes down who did what, before a mutation is acknowledged.
//!
//! It wraps any backend: one line per verb (one per resource of an apply), chained by BLAKE3 so that a changed, missing
//! or moved line shows, and never the body. Lines of mutations are durable before the answer goes out; lines of reads
//! go with the next group. `health` is not written down: it is polled and tells nothing of what is stored.
//!
//! Rejected: writing the line before the mutation. It would record what somebody wanted, without revision or outcome,
//! and would need a second line to say what came of it.

mod line;
mod log;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use revoada_core::resource::ResourceRef;

pub use line::{AuditLine, AuditProblem, AuditVerified, NOTHING_BEFORE, verify};
pub use log::{AuditLog, AuditLogFailed, Clock, OpenAuditError};

use self::log::Record;
use crate::backend::{
    Applied, ApplyRequest, BackendHealth, Check, Deleted, Got, KindFilter, ListRequest, Listing, ReadOptions, Restored,
    Snapshotted, StoreBackend,
};
use crate::capability::Capabilities;
use crate::error::StoreError;
use crate::limits::AUDIT_WHO_CHARS_MAX;
use crate::watch::{WatchRequest, WatchStream};

/// A backend whose verbs are written down, on behalf of one caller.
#[derive(Debug)]
pub struct Audit<B: ?Sized> {
    backend: Arc<B>,
    log: AuditLog,
    who: Arc<str>,
}

impl<B: StoreBackend + ?Sized> Audit<B> {
    /// Writes the verbs of `backend` to `log`, as done by `who`.
    pub fn new(backend: Arc<B>, log: AuditLog, who: &str) -> Self {
        Self {
            backend,
            log,
            who: caller(who),
        }
    }

    /// The same backend and log, on behalf of another caller.
    #[must_use]
    pub fn on_behalf_of(&self, who: &str) -> Self {
        Self {
            backend: Arc::clone(&self.backend),
            log: self.log.clone(),
            who: caller(who),
        }
    }

    /// The log.
    pub fn log(&self) -> &AuditLog {
        &self.log
    }

    /// Refuses a mutation while it could not be written down.
    fn ready(&self) -> Result<(), StoreError> {
        self.log.check().map_err(|failed| {
            StoreError::unavailable_because("no mutation is done while the audit log cannot record it", failed)
        })
    }

    fn line(
        &self,
        verb: &'static str,
        reference: Option<String>,
        outcome: Result<&'static str, &StoreError>,
    ) -> Record {
        let outcome = outcome.unwrap_or_else(|error| error.kind().name());
        Record {
            who: Arc::clone(&self.who),
            verb,
            reference,
            outcome,
            revision: None,
        }
    }

    /// Makes the lines of a mutation durable before its answer goes out.
    ///
    /// If that fails, a mutation that was done is answered as unknown: it happened, and the record of it may be lost.
    /// One that failed keeps its own error.
    async fn settle<T>(&self, lines: Vec<Record>, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        match (self.log.record_durably(lines).await, answer) {
            (Err(failed), Ok(_)) => Err(StoreError::outcome_unknown_because(
                "it was done, and the audit log could not record it",
                failed,
            )),
            (_, answer) => answer,
        }
    }

    /// Queues the line of a read.
    async fn note<T>(&self, line: Record, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.log.record(line).await.map_err(|failed| {
            StoreError::unavailable_because("nothing is answered while the audit log cannot record it", failed)
        })?;
        answer
    }
}

/// A caller as it stands in a line: bounded, so that a line is.
fn caller(who: &str) -> Arc<str> {
    who.chars().take(AUDIT_WHO_CHARS_MAX).collect::<String>().into()
}

fn kinds(kind: &KindFilter, namespace: Option<&String>, name: Option<&String>) -> Option<String> {
    let mut text = kind.kind.clone().unwrap_or_else(|| "*".to_owned());
    if let Some(group) = kind.group.as_ref().filter(|group| !group.is_empty()) {
        text = format!("{text}.{group}");
    }
    match (namespace, name) {
        (None, None) => {}
        (namespace, name) => {
            let namespace = namespace.map_or("*", String::as_str);
            let name = name.map_or("*", String::as_str);
            text = format!("{text} {namespace}/{name}");
        }
    }
    // Filters are the caller's own text, and no reference that passed a check: they are bounded here.
    Some(text.chars().take(crate::limits::AUDIT_REFERENCE_CHARS_MAX).collect())
}

#[async_trait]
impl<B: StoreBackend + ?Sized> StoreBackend for Audit<B> {
    fn name(&self) -> &str {
        self.backend.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    async fn apply(&self, request: ApplyRequest) -> Result<Vec<Applied>, StoreError> {
        self.ready()?;
        let verb = if request.dry_run { "apply-dry-run" } else { "apply" };
        let asked: Vec<ResourceRef> = request
            .resources
            .iter()
            .map(|resource| resource.reference.clone())
            .collect();
        let answer = self.backend.apply(request).await;

        let (applied, failed): (&[Applied], _) = match &answer {
            Ok(applied) => (applied, None),
            Err(StoreError::PartlyApplied(partly)) => (&partly.applied, Some(&*partly.source)),
            Err(error) => (&[], Some(error)),
        };
        let mut lines: Vec<Record> = applied
            .iter()
            .map(|applied| Record {
                revision: Some(applied.revision),
                ..self.line(verb, Some(applied.reference.to_string()), Ok(applied.action.name()))
            })
            .collect();
        if let Some(error) = failed {
            let reference = asked.get(applied.len()).map(ToString::to_string);
            lines.push(self.line(verb, reference, Err(error)));
        }
        self.settle(lines, answer).await
    }

    async fn get(&self, reference: &ResourceRef, options: ReadOptions) -> Result<Got, StoreError> {
        let answer = self.backend.get(reference, options).await;
        let mut line = self.line("get", Some(reference.to_string()), answer.as_ref().map(|_| "ok"));
        line.revision = answer.as_ref().ok().map(|got| got.revision);
        self.note(line, answer).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        let what = kinds(&request.kind, request.namespace.as_ref(), request.name.as_ref());
        let answer = self.backend.list(request).await;
        let mut line = self.line("list", what, answer.as_ref().map(|_| "ok"));
        line.revision = answer.as_ref().ok().map(|listing| listing.revision);
        self.note(line, answer).await
    }

    async fn delete(&self, reference: &ResourceRef, if_revision: Option<u64>) -> Result<Deleted, StoreError> {
        self.ready()?;
        let answer = self.backend.delete(reference, if_revision).await;
        let mut line = self.line("delete", Some(reference.to_string()), answer.as_ref().map(|_| "ok"));
        line.revision = answer.as_ref().ok().map(|deleted| deleted.revision);
        self.settle(vec![line], answer).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        let what = kinds(&request.kind, request.namespace.as_ref(), request.name.as_ref());
        let after = request.after;
        let answer = self.backend.watch(request).await;
        let line = Record {
            revision: after,
            ..self.line("watch", what, answer.as_ref().map(|_| "ok"))
        };
        self.note(line, answer).await
    }

    async fn snapshot(&self, sink: &mut (dyn io::Write + Send)) -> Result<Snapshotted, StoreError> {
        let answer = self.backend.snapshot(sink).await;
        let mut line = self.line("snapshot", None, answer.as_ref().map(|_| "ok"));
        line.revision = answer.as_ref().ok().map(|written| written.revision);
        self.note(line, answer).await
    }

    async fn restore(&self, source: &mut (dyn io::Read + Send)) -> Result<Restored, StoreError> {
        self.ready()?;
        let answer = self.backend.restore(source).await;
        let mut line = self.line("restore", None, answer.as_ref().map(|_| "ok"));
        line.revision = answer.as_ref().ok().map(|restored| restored.revision);
        self.settle(vec![line], answer).await
    }

    async fn health(&self) -> BackendHealth {
        let mut health = self.backend.health().await;
        let (ok, detail) = match self.log.check() {
            Ok(()) => (true, format!("records to {}", self.log.path().display())),
            Err(failed) => (false, format!("{failed}: {}", failed.source)),
        };
        health.checks.push(Check {
            name: "audit".to_owned(),
            ok,
            detail,
        });
        health
    }
}
