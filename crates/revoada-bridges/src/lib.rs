//! Bridges: what speaks to foreign systems, and reads what they wrote. They translate, and decide nothing.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod etcd;
