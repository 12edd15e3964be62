//! Asking before what cannot be taken back.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::failure::CliError;

/// Asks on a terminal, unless `yes` was said; without a terminal nobody is there to be asked, and it is not done.
pub fn confirm(what: &str, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(CliError::invalid(format!("{what}: not done without a confirmation"))
            .hint("there is no terminal to ask on: say --yes"));
    }
    let mut stderr = io::stderr().lock();
    let asked = write!(stderr, "{what}. Type yes to go on: ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.map_err(|error| CliError::file("cannot ask", &error))?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(CliError::invalid("not confirmed: nothing was done"))
    }
}
