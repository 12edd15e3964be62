//! `genesis`: the birth certificate of a cluster, for machines of one's own. `up` makes the same file.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use revoada_core::error::ErrorKind;
use revoada_core::genesis::{self, Founder};
use revoada_core::{Digest, NodeId};
use serde_json::json;

use super::{check, files};
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::local::folder::write_atomically;
use crate::local::make::random_hex;
use crate::output::{Table, note};

/// Makes or shows a genesis: for machines of one's own
#[derive(Debug, Args)]
pub struct Genesis {
    #[command(subcommand)]
    pub what: What,
}

/// What to do with a genesis.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Makes a genesis from a declaration and the founders' keys
    #[command(after_help = "\
The same file goes to every founder; its digest is the cluster's identity. With --token FILE
a token for the native API over TLS is made too (mode 0600), or the one in FILE is used.

Example:
  revoada genesis create --declaration cluster.yaml \\
    --founder node-1=$(ssh one revoada key /var/lib/revoada/node.key),zone=a \\
    --founder node-2=$(ssh two revoada key /var/lib/revoada/node.key),zone=b \\
    --founder node-3=$(ssh three revoada key /var/lib/revoada/node.key),zone=c \\
    --out genesis.json --token token")]
    Create(Create),
    /// Shows what a genesis says
    Show {
        /// The genesis
        file: PathBuf,
    },
}

/// A genesis to be made.
#[derive(Debug, Args)]
pub struct Create {
    /// The declaration in YAML, JSON or HCL
    #[arg(long, value_name = "FILE")]
    pub declaration: PathBuf,
    /// A founder: NAME=ID[,zone=ZONE][,rack=RACK]
    #[arg(long = "founder", value_name = "NAME=ID[,zone=Z]", required = true)]
    pub founders: Vec<FounderText>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// A founder as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FounderText(NodeId, Founder);

impl FromStr for FounderText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let (name, id) = parts
            .next()
            .and_then(|first| first.split_once('='))
            .ok_or("a founder is NAME=ID, and perhaps ,zone=ZONE and ,rack=RACK")?;
        let id: NodeId = id.parse().map_err(|error| format!("{error}"))?;
        let mut founder = Founder::named(name);
        for part in parts {
            founder = match part.split_once('=') {
                Some(("zone", zone)) => founder.in_zone(zone),
                Some(("rack", rack)) => founder.in_rack(rack),
                _ => return Err(format!("{part:?} is neither zone=ZONE nor rack=RACK")),
            };
        }
        Ok(Self(id, founder))
    }
}

pub fn run(context: &Context, arguments: &Genesis) -> Outcome {
    match &arguments.what {
        What::Create(create_this) => create(context, create_this),
        What::Show { file } => {
            let bytes = files::read(file)?;
            let genesis = genesis::Genesis::parse(&bytes).map_err(|error| {
                CliError::because(error.kind(), format!("{} is not a genesis", files::name(file)), &error)
            })?;
            show(context, &genesis)
        }
    }
}

fn create(context: &Context, arguments: &Create) -> Outcome {
    let verdict = check::read(&arguments.declaration)?;
    for finding in &verdict.findings {
        note(check::finding_text(finding, false).trim_end());
    }
    let declaration = verdict
        .into_result()
        .map_err(|error| CliError::because(error.kind(), "no cluster can be declared so", &error).exit(1))?;
    let token = context.token.as_deref().map(token_digest).transpose()?;
    let founders = arguments
        .founders
        .iter()
        .map(|FounderText(id, founder)| (*id, founder.clone()));
    let genesis = genesis::Genesis::prove(declaration, founders, token)
        .map_err(|error| CliError::because(error.kind(), "these founders do not make a cluster", &error))?;
    write_atomically(&arguments.out, genesis.render().as_bytes())
        .map_err(|error| CliError::file(format!("cannot write {}", arguments.out.display()), &error))?;
    show(context, &genesis)
}

/// The digest of the token in `file`, which is made if it is not there.
fn token_digest(file: &std::path::Path) -> Result<Digest, CliError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let failed = |error: &std::io::Error| CliError::file(format!("cannot make {}", file.display()), error);
            let token = random_hex().map_err(|error| failed(&error))?;
            write_atomically(file, token.as_bytes()).map_err(|error| failed(&error))?;
            token
        }
        Err(error) => return Err(CliError::unreadable(file, &error)),
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(CliError::new(
            ErrorKind::Invalid,
            format!("{} holds no token", file.display()),
        ));
    }
    Ok(Digest::from_bytes(*blake3::hash(token.as_bytes()).as_bytes()))
}

fn show(context: &Context, genesis: &genesis::Genesis) -> Outcome {
    let first = genesis.first_voters();
    let founders: Vec<_> = genesis
        .founders()
        .iter()
        .map(|(id, founder)| {
            json!({"name": founder.name, "id": id, "zone": founder.zone, "rack": founder.rack,
                   "first_voter": first.contains(id)})
        })
        .collect();
    let declaration = genesis.declaration();
    let value = json!({
        "digest": genesis.digest(), "id": declaration.id(), "name": declaration.name(),
        "declaration": declaration.digest(), "token": genesis.token_digest().is_some(), "founders": founders,
    });
    let colour = context.out.colour();
    context.out.value(&value, || {
        let mut table = Table::new(&["NAME", "FIRST VOTER", "ZONE", "RACK", "ID"]);
        for (id, founder) in genesis.founders() {
            table.row([
                founder.name.as_str().into(),
                if first.contains(id) { "yes" } else { "no" }.into(),
                founder.zone.as_deref().unwrap_or("-").into(),
                founder.rack.as_deref().unwrap_or("-").into(),
                id.to_string().into(),
            ]);
        }
        let head = format!(
            "{} ({})\n  identity {}\n",
            declaration.name(),
            declaration.id(),
            genesis.digest()
        );
        head + &table.render(colour)
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_founder_is_a_name_an_id_and_perhaps_a_place() {
        let id = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
        let FounderText(_, founder) = format!("node-1={id},zone=a,rack=r2").parse().unwrap();
        assert_eq!(founder, Founder::named("node-1").in_zone("a").in_rack("r2"));
        for wrong in [
            "node-1".to_owned(),
            "node-1=12".to_owned(),
            format!("node-1={id},row=3"),
        ] {
            assert!(wrong.parse::<FounderText>().is_err(), "{wrong}");
        }
    }
}
