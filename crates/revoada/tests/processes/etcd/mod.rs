//! Real clients of etcd on a cluster of processes, with its leader killed meanwhile where that is what it is about.

mod backup;
mod clients;
mod ctl;
mod durability;
mod etcdctl;
mod etcdctl_of_debian;
mod figures;
mod guarantees;
mod members;
mod rust_client;
mod snapshots;
