//! Transcripts to read, and properties over what nobody thought of.

mod cluster;
mod follow;
mod properties;
mod script;
mod unit;
