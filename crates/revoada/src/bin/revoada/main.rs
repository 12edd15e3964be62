//! The command line: one file per command, one way to print, one way to fail.
//!
//! A command is a function from its arguments and the [`connect::Context`] to an [`failure::Outcome`]; everything that
//! is worth a test lives in the library or behind a pure function. The runtime has one thread: a command waits for
//! sockets and processes, and a node that shares its machine with four others is faster on one (a current-thread
//! runtime measured 10 to 20 % above two workers). Rejected: a framework that registers commands; the compiler checks
//! a `match`.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod arguments;
mod commands;
mod connect;
mod failure;
mod local;
mod output;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use revoada_core::error::ErrorKind;
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Command};
use connect::Context;
use failure::{CliError, Outcome};
use output::Output;

/// A node's values are a kilobyte each, written by thousands and dropped in another order: the C library's allocator
/// spends as much time on that as everything else takes together.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, and a node that idles would take half as much memory again for them. A kernel
    // that does not know the call has none.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    if let Some(arguments) = as_etcd() {
        return commands::etcd::main(&arguments);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    if let Command::Etcd(etcd) = &arguments.command {
        return commands::etcd::main(&etcd.arguments);
    }
    let json = arguments.global.output == Some(output::Format::Json);
    let code = match run(arguments) {
        Ok(exit) => exit.code(),
        Err(error) => {
            say(&error.text(json));
            error.code()
        }
    };
    ExitCode::from(code)
}

/// The arguments behind `etcd`, where this program is called by that name or has it as its first argument: they are of a
/// kind of their own.
fn as_etcd() -> Option<Vec<String>> {
    let text = |argument: std::ffi::OsString| argument.to_string_lossy().into_owned();
    let mut arguments = std::env::args_os().map(text);
    let program = arguments.next()?;
    let called = std::path::Path::new(&program).file_name();
    if called.is_some_and(|name| name == commands::etcd::NAME) {
        return Some(arguments.collect());
    }
    (arguments.next()? == commands::etcd::NAME).then(|| arguments.collect())
}

fn run(arguments: Arguments) -> Outcome {
    let Arguments { global, command } = arguments;
    log(global.verbose, matches!(command, Command::Node(_)));
    revoada::system::install_crypto();
    let context = Context {
        dir: global.dir,
        endpoint: global.endpoint,
        token: global.token,
        ca: global.ca,
        out: Output::new(global.output),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        CliError::because(
            ErrorKind::Unavailable,
            "the system gives no resources to wait on",
            &error,
        )
    })?;
    let outcome = runtime.block_on(commands::run(&context, command));
    // Work that blocks (a name that is looked up) is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Logs go to stderr; `RUST_LOG` decides, and else `-v`. A node says more than a command, since its log is a file.
fn log(verbose: u8, is_node: bool) {
    let level = match (verbose, is_node) {
        (0, false) => "error",
        // What openraft warns of, a node says itself, once and by name.
        (0, true) => "warn,openraft=error",
        (1, _) => "info",
        (2, _) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal && !plain);
    // Only fails where a subscriber is installed already, and nothing here installs another.
    let _ = subscriber.try_init();
}

/// What clap says: help and version are answers, everything else is wrong usage.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that went away has read enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if wants_json() {
        let rendered = error.render().to_string();
        let mut lines = rendered.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines
            .next()
            .unwrap_or("wrong usage")
            .trim_start_matches("error: ")
            .to_owned();
        let mut failure = CliError::invalid(message);
        failure.failure.causes = lines.map(str::to_owned).collect();
        say(&failure.text(true));
    } else {
        // Whoever closed stderr does not want to know.
        let _ = error.print();
    }
    ExitCode::from(2)
}

/// Whether `-o json` is among arguments that could not be understood.
fn wants_json() -> bool {
    let arguments: Vec<_> = std::env::args_os().collect();
    let joined = ["-ojson", "-o=json", "--output=json"];
    arguments
        .iter()
        .any(|argument| joined.iter().any(|joined| argument == joined))
        || arguments
            .windows(2)
            .any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json")
}

fn say(text: &str) {
    // Whoever closed stderr does not want to know; the exit code says the rest.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
