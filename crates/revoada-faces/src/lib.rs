//! Faces: the APIs through which others speak to a cluster.
//!
//! A face is a tower service built from a store. It knows one wire format and translates; it never stores and never
//! listens, so a test needs no socket and a node decides where it is reached.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod etcd;
pub mod native;
