//! wip
use clap::Args;
use crate::connect::Context;
use crate::failure::{Exit, Outcome};
#[derive(Debug, Args)]
pub struct Drill {}
pub async fn run(_: &Context, _: &Drill) -> Outcome { Ok(Exit::Done) }
