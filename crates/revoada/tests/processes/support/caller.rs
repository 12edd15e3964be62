//! One client that goes from node to node: it stays with the one that answers, and turns to the next when one fails it.

use std::path::PathBuf;

use revoada::client::{ClientOptions, Endpoint, FramedClient};

use super::LOOK_AGAIN;

/// See the module.
pub struct Caller {
    sockets: Vec<PathBuf>,
    turn: usize,
    waits: ClientOptions,
    connection: Option<FramedClient>,
}

impl Caller {
    /// The `number`-th of several, which begin at different nodes.
    pub fn new(sockets: Vec<PathBuf>, number: usize, waits: ClientOptions) -> Self {
        Self {
            sockets,
            turn: number,
            waits,
            connection: None,
        }
    }

    /// The connection that was [kept](Self::keep), or one to the next node; none, after a pause, where that is not there.
    pub async fn next(&mut self) -> Option<FramedClient> {
        if let Some(kept) = self.connection.take().filter(|connection| !connection.is_closed()) {
            return Some(kept);
        }
        self.turn += 1;
        let endpoint = Endpoint::socket(&self.sockets[self.turn % self.sockets.len()]);
        match FramedClient::connect(endpoint, self.waits).await {
            Ok(connection) => Some(connection),
            Err(_) => {
                tokio::time::sleep(LOOK_AGAIN).await;
                None
            }
        }
    }

    /// Goes on with a node that answered.
    pub fn keep(&mut self, connection: FramedClient) {
        self.connection = Some(connection);
    }
}

/// Waits until `count` is larger by `more` than it is now.
pub async fn counted(count: impl Fn() -> usize, more: usize) {
    let enough = count() + more;
    super::until(
        &format!("{more} more writes are acknowledged"),
        super::PATIENCE,
        async || match count() {
            now if now >= enough => Ok(()),
            now => Err(format!("{} are missing", enough - now)),
        },
    )
    .await;
}
