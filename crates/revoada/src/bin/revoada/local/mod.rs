//! The cluster that `up` made in one folder: where its parts are, which processes are its nodes.
//!
//! ```text
//! DIR/cluster.json            what `up` decided: names, addresses, arguments; written last, so a folder that has it is whole
//! DIR/genesis.json            the declaration and the founders' keys
//! DIR/token                   the operator's token (0600); the genesis holds its digest
//! DIR/up.lock                 held while an `up` runs
//! DIR/nodes/NAME/             config.yaml, node.key, node.pid, node.log, control.sock, http.crt, the node's data
//! ```
//!
//! Everything here a person can do by hand: a node is `revoada node --config DIR/nodes/NAME/config.yaml`. Rejected: a
//! supervisor that stays and restarts what dies. A cluster that holds its shape without one is the point.

pub mod config;
pub mod folder;
pub mod lock;
pub mod make;
pub mod ports;
#[expect(
    unsafe_code,
    reason = "a process is waited for by its descriptor, which tokio takes on trust"
)]
pub mod process;
pub mod record;
#[expect(
    unsafe_code,
    reason = "what runs between fork and exec cannot be checked by the compiler"
)]
pub mod start;
