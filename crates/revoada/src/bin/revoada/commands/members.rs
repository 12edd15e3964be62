//! `members` and `roles`: the nodes of the status, one table about where and how they are, one about what they are.

use revoada::client::Members;

use super::status::{address, membership_cell, raft, role_cell, state_cell};
use crate::connect::Context;
use crate::failure::{Exit, Outcome};
use crate::output::Table;

pub async fn members(context: &Context) -> Outcome {
    let nodes = context.find().await?.status.nodes;
    let members = Members { nodes };
    let colour = context.out.colour();
    context.out.value(&members, || {
        let mut table = Table::new(&["NAME", "ALIVE", "ADDRESS", "VERSION", "ID"]);
        for node in &members.nodes {
            table.row([
                node.name.as_str().into(),
                membership_cell(node.membership),
                address(node).into(),
                node.version.as_str().into(),
                node.id.to_string().into(),
            ]);
        }
        table.render(colour)
    })?;
    Ok(Exit::Done)
}

pub async fn roles(context: &Context) -> Outcome {
    let nodes = context.find().await?.status.nodes;
    let members = Members { nodes };
    let colour = context.out.colour();
    context.out.value(&members, || {
        let mut table = Table::new(&["NAME", "ROLE", "STATE", "RAFT", "APPLIED", "LAG"]);
        for node in &members.nodes {
            table.row([
                node.name.as_str().into(),
                role_cell(node.role),
                state_cell(node.state),
                raft(node).into(),
                node.applied.to_string().into(),
                node.lag.to_string().into(),
            ]);
        }
        table.render(colour)
    })?;
    Ok(Exit::Done)
}
