//! The etcd face on a keyspace in memory, by its own client, without a socket.

mod auth;
mod calls;
mod maintenance;
mod support;
mod watch;
