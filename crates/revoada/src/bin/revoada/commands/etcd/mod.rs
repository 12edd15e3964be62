//! `etcd`: this program in the place of etcd 3.6, with its flags, its log, its signals and its exit codes. Also what the
//! program is when it is called by the name `etcd`.

mod flags;
mod log;
mod notify;
mod settings;
mod start;
mod urls;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use revoada::{ETCD_VERSION, system};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use flags::{FlagError, Given};
use settings::Settings;
use start::{End, StartError};

/// Runs a member of an etcd cluster, with etcd's own flags
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Etcd {
    /// Flags of etcd 3.6; `revoada etcd --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAG")]
    pub arguments: Vec<String>,
}

/// The name by which the program is etcd.
pub const NAME: &str = "etcd";

const USAGE: &str = "\
Usage:
  etcd [flags]
    Start an etcd server.
  etcd --version
    Show the version of etcd.
  etcd -h | --help
    Show the help information about etcd.
  etcd --config-file
    Path to the server configuration file. Note that if a configuration file is provided, other command line flags and \
environment variables will be ignored.
";

/// What etcd's `main` does. Exit codes are etcd's: 2 for flags that cannot be read, 1 for what does not fit or fails.
pub fn main(arguments: &[String]) -> ExitCode {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let given = match Given::read(arguments, &environment) {
        Ok(given) => given,
        Err(error) => return refuse(&error),
    };
    match given.switch("version") {
        Ok(true) => return print(&version()),
        Ok(false) => {}
        Err(error) => return refuse(&error),
    }
    if let Err(error) = log::install(&given) {
        return refuse(&error);
    }
    let settings = match Settings::read(&given) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    system::install_crypto();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&StartError::Other(error.to_string())),
    };
    let ended = runtime.block_on(serve(&settings));
    // Work that blocks (a name that is looked up) is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok((End::Removed, _)) => {
            tracing::warn!("the member has been permanently removed from the cluster");
            tracing::warn!("the data-dir used by this member must be removed");
            ExitCode::SUCCESS
        }
        Ok((End::Asked, signal)) => end_by(signal),
        Err(error) => fail(&error),
    }
}

/// Runs a member until a signal, which is returned.
async fn serve(settings: &Settings) -> Result<(End, Option<rustix::process::Signal>), StartError> {
    let stop = CancellationToken::new();
    let signals = |error: std::io::Error| StartError::Other(format!("cannot listen to signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let asked = stop.clone();
    let heard = tokio::spawn(async move {
        let signal = tokio::select! {
            _ = interrupt.recv() => rustix::process::Signal::INT,
            _ = terminate.recv() => rustix::process::Signal::TERM,
        };
        let name = if signal == rustix::process::Signal::INT {
            "interrupt"
        } else {
            "terminated"
        };
        tracing::info!(signal = name, "received signal; shutting down");
        asked.cancel();
        signal
    });
    let end = start::run(settings, &stop).await?;
    tracing::info!(name = settings.name, "data-dir" = %settings.data_dir.display(), "closed etcd server");
    let signal = if heard.is_finished() { heard.await.ok() } else { None };
    Ok((end, signal))
}

/// Ends by the signal that was heard, as etcd does, so that whoever started it sees why; the first process of a container
/// cannot, and ends well.
fn end_by(signal: Option<rustix::process::Signal>) -> ExitCode {
    let me = rustix::process::getpid();
    if let Some(signal) = signal.filter(|_| !me.is_init()) {
        restore(signal);
        // One that does not arrive leaves the exit code below.
        let _ = rustix::process::kill_process(me, signal);
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    ExitCode::SUCCESS
}

/// Makes a signal end the process again.
#[allow(unsafe_code, reason = "no safe function restores a signal's default")]
fn restore(signal: rustix::process::Signal) {
    // SAFETY: `signal(2)` with the default action touches no memory of this process, and nothing here relies on the
    // handler that it takes away: the runtime that installed it is gone.
    unsafe {
        libc::signal(signal.as_raw(), libc::SIG_DFL);
    }
}

fn version() -> String {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let machine = match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let revoada = env!("CARGO_PKG_VERSION");
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: revoada {revoada}\nGo Version: none (Rust)\nGo OS/Arch: {system}/{machine}\n"
    )
}

fn help() -> String {
    let mut text = format!("{USAGE}\nFlags, each with its default:\n");
    for flag in flags::FLAGS {
        let said = match flag.fate {
            flags::Fate::Honoured => String::new(),
            flags::Fate::Ignored(why) => format!("    ignored: {why}\n"),
            flags::Fate::Refused(why) => format!("    refused: {why}\n"),
        };
        text = format!("{text}  --{} '{}'\n{said}", flag.name, flag.default);
    }
    text
}

fn print(text: &str) -> ExitCode {
    // A reader that went away has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn refuse(error: &FlagError) -> ExitCode {
    let (text, code) = match error {
        FlagError::Help => return print(&help()),
        FlagError::Usage(what) => (format!("{what}\n{USAGE}"), 2),
        FlagError::Invalid(what) => {
            let line = serde_json::json!({"level": "warn", "msg": "failed to verify flags", "error": what});
            (format!("{line}\n"), 1)
        }
    };
    // Whoever closed stderr does not want to know.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

fn fail(error: &StartError) -> ExitCode {
    tracing::error!(error = error as &dyn std::error::Error, "the member ends");
    ExitCode::FAILURE
}
