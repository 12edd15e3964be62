//! Peers that Go builds.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// What of a module in `peers/` is built.
pub struct Module {
    /// The Go packages, one for each program.
    pub packages: &'static [&'static str],
    /// Their tests are built, with this tag, and not the packages themselves.
    pub tests: Option<&'static str>,
    /// The folder that those tests need, in the module of this path, as `fixtures` beside them.
    pub fixtures: Option<&'static str>,
}

impl Module {
    /// A module of programs.
    pub const fn of(packages: &'static [&'static str]) -> Self {
        Self {
            packages,
            tests: None,
            fixtures: None,
        }
    }

    /// Builds the programs `names`, in the folder `module`.
    pub fn build(&self, module: &Path, names: &[&str], bin: &Path) -> Result<()> {
        if cargo::on_path("go").is_none() {
            bail!(
                "{} needs a Go toolchain, and there is no `go` on the search path",
                module.display()
            );
        }
        for (name, package) in names.iter().zip(self.packages) {
            match self.tests {
                None => compile(module, bin, name, &["build"], package)?,
                Some(tag) => compile(module, bin, name, &["test", "-c", "-tags", tag], package)?,
            }
        }
        match self.fixtures {
            None => Ok(()),
            Some(path) => copy_fixtures(module, path, &bin.join("fixtures")),
        }
    }
}

fn compile(module: &Path, bin: &Path, name: &str, verb: &[&str], package: &str) -> Result<()> {
    eprintln!("building {name}");
    let part = bin.join(format!(".{name}.part"));
    let status = Command::new("go")
        .args(verb)
        .args(["-trimpath", "-o"])
        .arg(&part)
        .arg(package)
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .status()
        .context("go does not start")?;
    if !status.success() {
        bail!("go {} {package} ended with {status}", verb.join(" "));
    }
    fs::rename(&part, bin.join(name)).with_context(|| format!("cannot put {name} in its place"))
}

/// Copies the files of the folder `fixtures` in the module of this path, which Go keeps read-only.
fn copy_fixtures(module: &Path, path: &str, to: &Path) -> Result<()> {
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", path])
        .current_dir(module)
        .env("GOFLAGS", "-mod=readonly")
        .output()
        .context("go does not start")?;
    if !output.status.success() {
        bail!("go list -m {path}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let folder = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("fixtures");
    let failed = || format!("cannot copy {} to {}", folder.display(), to.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in fs::read_dir(&folder).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let bytes = fs::read(entry.path()).with_context(failed)?;
        fs::write(to.join(entry.file_name()), bytes).with_context(failed)?;
    }
    Ok(())
}
