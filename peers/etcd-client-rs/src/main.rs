//! Does what programs do with the Rust crate `etcd-client`, and prints what it saw as lines of JSON. It judges nothing: the
//! test that starts it does.
//!
//! ```text
//! etcd-client-rs URL,URL,... kv|watch|lease|locks|auth|cluster|maintenance
//! ```

mod groups;
mod keys;

use std::process::ExitCode;

use etcd_client::{Client, Error};
use serde_json::Value;

/// Prints a line at once.
fn say(line: &Value) {
    println!("{line}");
}

/// How a request was refused: as its caller sees it.
fn refusal<T>(answer: Result<T, Error>) -> Value {
    match answer {
        Ok(_) => Value::Null,
        Err(Error::GRpcStatus(status)) => status.message().into(),
        Err(error) => error.to_string().into(),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoints, scenario] = arguments.as_slice() else {
        eprintln!("usage: etcd-client-rs URL,... kv|watch|lease|locks|auth|cluster|maintenance");
        return ExitCode::from(2);
    };
    let endpoints: Vec<&str> = endpoints.split(',').collect();
    match run(&endpoints, scenario).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("etcd-client-rs: there is no scenario {scenario}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("etcd-client-rs: {scenario}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(endpoints: &[&str], scenario: &str) -> Result<bool, Error> {
    let client = Client::connect(endpoints, None).await?;
    match scenario {
        "kv" => keys::kv(client).await?,
        "watch" => keys::watch(client).await?,
        "lease" => keys::lease(client).await?,
        "locks" => groups::locks(client).await?,
        "auth" => groups::auth(client, endpoints).await?,
        "cluster" => groups::cluster(client).await?,
        "maintenance" => groups::maintenance(endpoints).await?,
        _ => return Ok(false),
    }
    Ok(true)
}
