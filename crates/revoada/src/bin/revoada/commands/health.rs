//! `health`: whether everything is as it should be, as the exit code too.

use revoada_store::admin::HealthReport;

use crate::connect::Context;
use crate::failure::{Exit, Outcome};
use crate::output::{Cell, Style, Table};

pub async fn run(context: &Context) -> Outcome {
    let report = context.call(async |client| client.health().await).await?;
    let colour = context.out.colour();
    context.out.value(&report, || render(&report, colour))?;
    Ok(Exit::of_answer(report.healthy))
}

fn render(report: &HealthReport, colour: bool) -> String {
    let mut table = Table::new(&["CHECK", "OK", "DETAIL"]);
    for check in &report.checks {
        let ok = if check.ok {
            Cell::styled("yes", Style::Good)
        } else {
            Cell::styled("NO", Style::Bad)
        };
        table.row([check.name.as_str().into(), ok, check.detail.as_str().into()]);
    }
    format!(
        "{}\n{}{} resources, {} watches, {} ms old\n",
        if report.healthy { "healthy" } else { "not healthy" },
        table.render(colour),
        report.resource_count,
        report.subscriber_count,
        report.freshness_ms,
    )
}
