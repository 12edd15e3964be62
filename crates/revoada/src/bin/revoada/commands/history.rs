//! `history`: every change of a role, oldest first.

use revoada_store::admin::History;

use crate::connect::Context;
use crate::failure::{Exit, Outcome};
use crate::output::Table;

pub async fn run(context: &Context) -> Outcome {
    let history = context.call(async |client| client.history().await).await?;
    let colour = context.out.colour();
    context.out.value(&history, || render(&history, colour))?;
    Ok(Exit::Done)
}

fn render(history: &History, colour: bool) -> String {
    let mut table = Table::new(&["#", "TIME", "NODE", "WHAT", "FROM", "TO", "BY", "WITNESSES", "WHY"]);
    for item in &history.items {
        let role = |role: Option<revoada_core::Role>| role.map_or("-", revoada_core::Role::name);
        let witnesses = if item.witnesses.is_empty() {
            "-".to_owned()
        } else {
            item.witnesses.join(",")
        };
        table.row([
            item.index.to_string().into(),
            item.time.as_str().into(),
            item.node.as_str().into(),
            item.transition.name().into(),
            role(item.from).into(),
            role(item.to).into(),
            item.proposed_by.as_str().into(),
            witnesses.into(),
            item.reason.as_str().into(),
        ]);
    }
    table.render(colour)
}
