//! A cluster keeps the shape it was declared with.

pub mod client;
