//! Finding a node to talk to.
//!
//! Any living node that replicates will do: followers forward what only the leader can do. So the nodes of the folder
//! are asked for their status one after another, each a moment after the one before, and the first that answers from
//! inside a working cluster is taken; a node that hangs costs that moment, and a dead one nothing. A worker that is no
//! standby, or a node that is drained, has no state to read from: it is taken only where no other answers. Rejected:
//! remembering the leader in a file, which is wrong exactly when it matters.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use revoada::client::{Client, ClientError, ClientOptions, Endpoint};
use revoada_core::error::ErrorKind;
use revoada_store::admin::{ClusterState, ClusterStatus};
use tokio::time::Instant;

use crate::failure::CliError;
use crate::local::folder::Folder;
use crate::local::record::Record;
use crate::output::Output;

/// How long one node is waited for before the next is asked too.
const STAGGER: Duration = Duration::from_millis(60);
/// How long all of them may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// How long the others may take once one has answered that it sees no working cluster.
const BETTER_LIMIT: Duration = Duration::from_millis(250);
/// How often a request that was not sent is tried at another node.
const ATTEMPTS: usize = 4;

/// What can be done about a cluster in which nobody leads.
const WITHOUT_QUORUM: &str = "no majority of the voters answers (`revoada status`): bring them back; until then `status` \
                              and reads with --stale answer; if they are lost for good, see `revoada recover --help`";

/// What every command is given: the flags that all of them have.
#[derive(Debug, Clone)]
pub struct Context {
    /// The folder of the cluster.
    pub dir: PathBuf,
    /// The node to talk to, where one was named.
    pub endpoint: Option<OsString>,
    /// The file of the token for an https endpoint.
    pub token: Option<PathBuf>,
    /// The file of the authorities for an https endpoint.
    pub ca: Option<PathBuf>,
    /// Stdout.
    pub out: Output,
}

/// A node that answered, and what it said.
pub struct Found {
    /// Its client.
    pub client: Client,
    /// Its status.
    pub status: ClusterStatus,
}

/// How long commands wait; a connection on this machine is there at once or not at all.
pub fn options() -> ClientOptions {
    ClientOptions {
        connect_timeout: Duration::from_secs(2),
        ..ClientOptions::default()
    }
}

impl Context {
    /// The folder of the cluster.
    pub fn folder(&self) -> Result<Folder, CliError> {
        Folder::new(&self.dir)
    }

    /// The cluster that `up` made; for commands that act on processes, which no endpoint can name.
    pub fn local(&self) -> Result<(Folder, Record), CliError> {
        if self.endpoint.is_some() {
            return Err(
                CliError::invalid("this command acts on the processes that `up` started")
                    .hint("use --dir DIR instead of --endpoint"),
            );
        }
        let folder = self.folder()?;
        let record = Record::of(&folder)?;
        Ok((folder, record))
    }

    /// The nodes that may be talked to, by name.
    pub fn candidates(&self) -> Result<Vec<(String, Endpoint)>, CliError> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(vec![("the endpoint".to_owned(), self.named_endpoint(endpoint)?)]);
        }
        let (folder, record) = self.local()?;
        let nodes = record.nodes.iter();
        Ok(nodes
            .map(|node| (node.name.clone(), Endpoint::socket(folder.control(&node.name))))
            .collect())
    }

    /// The node called `name` itself, and no other.
    pub fn node(&self, name: &str) -> Result<Client, CliError> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => self.named_endpoint(endpoint)?,
            None => {
                let (folder, record) = self.local()?;
                Endpoint::socket(folder.control(&record.node(name)?.name))
            }
        };
        Ok(Client::new(endpoint, options())?)
    }

    fn named_endpoint(&self, endpoint: &OsString) -> Result<Endpoint, CliError> {
        let url = match endpoint.to_str() {
            Some(text) if Endpoint::is_url(text) => text,
            _ => return Ok(Endpoint::socket(PathBuf::from(endpoint))),
        };
        let missing = |flag: &str, what: &str| {
            CliError::invalid(format!("an https endpoint needs {flag}")).hint(format!("{flag} FILE names {what}"))
        };
        let token = self
            .token
            .as_ref()
            .ok_or_else(|| missing("--token", "the operator's token"))?;
        let ca = self
            .ca
            .as_ref()
            .ok_or_else(|| missing("--ca", "the node's certificate: its http.crt"))?;
        let text = fs::read_to_string(token).map_err(|error| CliError::unreadable(token, &error))?;
        Endpoint::https(url, text.trim(), ca)
            .map_err(|error| CliError::because(error.kind(), "the endpoint is not valid", &error))
    }

    /// The first node that answers, and what it said; one from inside a working cluster if there is any.
    pub async fn find(&self) -> Result<Found, CliError> {
        let candidates = self.candidates()?;
        match probe(&candidates).await {
            Ok(found) => Ok(found),
            Err(mut failures) => {
                if self.endpoint.is_some()
                    && let Some((_, error)) = failures.pop()
                {
                    return Err(error.into());
                }
                Err(nobody_answers(&failures))
            }
        }
    }

    /// Makes a call at some node. One that was not sent is made again at another; one that was sent never.
    pub async fn call<T>(&self, call: impl AsyncFn(&Client) -> Result<T, ClientError>) -> Result<T, CliError> {
        let mut attempt = 1;
        loop {
            let Found { client, status } = self.find().await?;
            match call(&client).await {
                Ok(answer) => return Ok(answer),
                Err(error) if attempt < ATTEMPTS && is_elsewhere_possible(&error) => attempt += 1,
                Err(error) if error.kind() == ErrorKind::Unavailable && !is_working(&status) => {
                    return Err(CliError::from(error).hint(WITHOUT_QUORUM));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether the node is gone, and nothing can have happened there.
pub fn is_elsewhere_possible(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } | ClientError::ConnectTimedOut { .. } | ClientError::NotSent { .. } => true,
        ClientError::NoAnswer { mutation, .. } => !mutation,
        _ => false,
    }
}

/// Asks nodes for their status until one answers from inside a working cluster.
pub async fn probe(candidates: &[(String, Endpoint)]) -> Result<Found, Vec<(String, ClientError)>> {
    let ask = async |name: &str, endpoint: &Endpoint| {
        let answer = async {
            let client = Client::new(endpoint.clone(), options())?;
            let status = client.status().await?;
            Ok(Found { client, status })
        };
        (name.to_owned(), answer.await)
    };
    let mut waiting = candidates.iter();
    let mut asked = FuturesUnordered::new();
    let mut fallback: Option<Found> = None;
    let mut failures = Vec::new();
    let mut deadline = Instant::now() + PROBE_LIMIT;
    let mut unanswered: Vec<String> = candidates.iter().map(|(name, _)| name.clone()).collect();
    loop {
        match waiting.next() {
            Some((name, endpoint)) => asked.push(ask(name, endpoint)),
            None if asked.is_empty() => break,
            None => {}
        }
        tokio::select! {
            Some((name, answer)) = asked.next() => {
                unanswered.retain(|waiting| *waiting != name);
                match answer {
                    Ok(found) if is_working(&found.status) && replicates(&found.status, &name) => return Ok(found),
                    Ok(found) => {
                        deadline = deadline.min(Instant::now() + BETTER_LIMIT);
                        let better = |other: &Found| is_working(&found.status) && !is_working(&other.status);
                        if fallback.as_ref().is_none_or(better) {
                            fallback = Some(found);
                        }
                    }
                    Err(error) => failures.push((name, error)),
                }
            }
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
    match fallback {
        Some(found) => Ok(found),
        None => {
            failures.extend(unanswered.into_iter().filter_map(|name| {
                let (_, endpoint) = candidates.iter().find(|(candidate, _)| *candidate == name)?;
                let error = ClientError::NoAnswerInTime {
                    endpoint: endpoint.to_string(),
                    mutation: false,
                    after: PROBE_LIMIT,
                };
                Some((name, error))
            }));
            Err(failures)
        }
    }
}

fn is_working(status: &ClusterStatus) -> bool {
    status.cluster.state == ClusterState::Formed && status.cluster.leader.is_some()
}

/// Whether the node that answered holds the state; of an endpoint, whose name is not known, it is assumed.
fn replicates(status: &ClusterStatus, name: &str) -> bool {
    let node = status.nodes.iter().find(|node| node.name == name);
    node.is_none_or(|node| node.voter || node.learner)
}

/// No node answers: which of them said what.
fn nobody_answers(failures: &[(String, ClientError)]) -> CliError {
    let mut error = CliError::new(ErrorKind::Unavailable, "no node of the cluster answers")
        .hint("`revoada up` starts the nodes that do not run; their logs are DIR/nodes/NAME/node.log");
    error.failure.causes = failures
        .iter()
        .map(|(name, failure)| format!("{name}: {}", on_one_line(failure)))
        .collect();
    error
}

/// An error and its causes as one line; what a cause says again is said once.
pub fn on_one_line(error: &ClientError) -> String {
    let mut parts = vec![error.to_string()];
    parts.extend(error.causes());
    parts.dedup();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use revoada::client::Failure;

    use super::*;

    #[test]
    fn a_cause_that_says_the_same_again_is_said_once() {
        let mut failure = Failure::new(ErrorKind::Unavailable, "this node could not start");
        failure.causes = vec!["this node could not start".to_owned(), "no space left".to_owned()];
        let error = ClientError::Refused(failure);
        assert_eq!(on_one_line(&error), "this node could not start: no space left");
    }
}
