//! `chain`: the signed history. Showing and exporting it needs a node; verifying it needs nothing but two files.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use revoada_attest::{Digest, Report, TrustedKeys, verify};
use serde_json::json;

use super::files;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::local::folder::write_atomically;
use crate::output::{Format, Style, Table, paint};

/// The signed history: shows, exports and verifies it
#[derive(Debug, Args)]
#[command(after_help = "\
To prove what happened to somebody who was not there:
  revoada chain export chain.bin && revoada chain trust > keys && revoada chain heads
They verify it offline; a head that a node vouched for also shows a tail that was cut off:
  revoada chain verify chain.bin --trust keys --head HEX")]
pub struct Chain {
    #[command(subcommand)]
    pub what: What,
}

/// What to do with the chain.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Shows the blocks
    Show,
    /// Writes the chain into a file, which is whole, the old one, or absent
    Export {
        /// The file to write
        file: PathBuf,
    },
    /// Verifies an exported chain; needs no cluster
    Verify(Verify),
    /// Prints the keys that a verifier should be given
    Trust,
    /// Prints the heads that the nodes vouch for
    Heads,
}

/// A chain to be verified.
#[derive(Debug, Args)]
pub struct Verify {
    /// The exported chain; - for stdin
    pub file: PathBuf,
    /// The file of trusted keys, as `chain trust` prints it
    #[arg(long, value_name = "FILE")]
    pub trust: PathBuf,
    /// A head that a node vouched for: it must be in the chain
    #[arg(long = "head", value_name = "HEX")]
    pub heads: Vec<Digest>,
}

pub async fn run(context: &Context, arguments: Chain) -> Outcome {
    match arguments.what {
        What::Show => show(context).await,
        What::Export { file } => {
            let bytes = context.call(async |client| client.chain_export().await).await?;
            write_atomically(&file, &bytes)
                .map_err(|error| CliError::file(format!("cannot write {}", file.display()), &error))?;
            let value = json!({"file": file.display().to_string(), "bytes": bytes.len()});
            context
                .out
                .value(&value, || format!("{} bytes in {}\n", bytes.len(), file.display()))?;
            Ok(Exit::Done)
        }
        What::Verify(arguments) => verify_file(context, &arguments),
        What::Trust => trust(context).await,
        What::Heads => heads(context).await,
    }
}

async fn show(context: &Context) -> Outcome {
    let history = context.call(async |client| client.history().await).await?;
    let colour = context.out.colour();
    context.out.value(&history, || {
        let mut table = Table::new(&["#", "DIGEST", "TIME", "WHAT", "NODE", "PROPOSED BY", "WITNESSES"]);
        for item in &history.items {
            table.row([
                item.index.to_string().into(),
                item.digest.short().into(),
                item.time.as_str().into(),
                item.transition.name().into(),
                item.node.as_str().into(),
                item.proposed_by.as_str().into(),
                item.witnesses.join(",").into(),
            ]);
        }
        table.render(colour)
    })?;
    Ok(Exit::Done)
}

fn verify_file(context: &Context, arguments: &Verify) -> Outcome {
    let chain = files::read(&arguments.file)?;
    let trust_file = &arguments.trust;
    let not_keys = |error: &(dyn std::error::Error + 'static)| {
        let message = format!("{} is not a file of trusted keys", trust_file.display());
        CliError::because(revoada_core::error::ErrorKind::Invalid, message, error)
    };
    let text = String::from_utf8(files::read(trust_file)?).map_err(|error| not_keys(&error))?;
    let trust: TrustedKeys = text
        .parse()
        .map_err(|error: revoada_attest::TrustError| not_keys(&error))?;
    let report = verify(&chain, &trust, &arguments.heads);
    let colour = context.out.colour();
    context.out.value(&report, || render(&report, colour))?;
    Ok(Exit::of_answer(report.valid))
}

fn render(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        text.push_str(&format!("{problem}\n"));
    }
    if report.problems_omitted > 0 {
        text.push_str(&format!("and {} more\n", report.problems_omitted));
    }
    let verdict = if report.valid {
        paint("valid", Style::Good, colour)
    } else {
        paint("NOT VALID", Style::Bad, colour)
    };
    let head = report.head.map_or_else(String::new, |head| format!(", head {head}"));
    let awaiting = match report.awaiting_witness {
        0 => String::new(),
        blocks => format!(", the newest {blocks} not witnessed yet"),
    };
    format!("{text}{verdict}: {} blocks{head}{awaiting}\n", report.blocks)
}

async fn trust(context: &Context) -> Outcome {
    let text = context.call(async |client| client.chain_trust().await).await?;
    if context.out.format(Format::Table) == Format::Table {
        context.out.text(&text)?;
        return Ok(Exit::Done);
    }
    let keys: TrustedKeys = text.parse().map_err(|error: revoada_attest::TrustError| {
        CliError::because(
            revoada_core::error::ErrorKind::Unavailable,
            "the node sent no trusted keys",
            &error,
        )
    })?;
    let list: Vec<_> = keys.iter().map(|(id, name)| json!({"id": id, "name": name})).collect();
    context
        .out
        .value(&json!({"cluster": keys.cluster(), "keys": list}), String::new)?;
    Ok(Exit::Done)
}

async fn heads(context: &Context) -> Outcome {
    let heads = context.call(async |client| client.chain_heads().await).await?;
    let colour = context.out.colour();
    context.out.value(&heads, || {
        let mut table = Table::new(&["NODE", "#", "HEAD"]);
        for head in &heads.items {
            table.row([
                head.node.as_str().into(),
                head.index
                    .map_or_else(|| "-".to_owned(), |index| index.to_string())
                    .into(),
                head.head.map_or_else(|| "-".to_owned(), |head| head.to_string()).into(),
            ]);
        }
        table.render(colour)
    })?;
    Ok(Exit::Done)
}
