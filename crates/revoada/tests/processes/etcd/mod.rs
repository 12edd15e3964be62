//! Real clients of etcd on a cluster of processes, with its leader killed meanwhile where that is what it is about.

mod backup;
mod clients;
mod etcdctl;
mod members;
