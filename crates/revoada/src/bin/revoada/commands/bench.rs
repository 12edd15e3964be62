//! wip
use clap::Args;
use crate::connect::Context;
use crate::failure::{Exit, Outcome};
#[derive(Debug, Args)]
pub struct Bench {}
pub async fn run(_: &Context, _: &Bench) -> Outcome { Ok(Exit::Done) }
