//! The keyspace against a model that keeps every state whole, and what the model cannot say.

mod codec;
mod model;
mod properties;
mod semantics;
