//! The log as etcd writes it: one object of JSON a line, in zap's form, or zap's form for a console. Scripts wait for
//! lines of it.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::flags::{FlagError, Given};

/// Logs from now on as the flags say.
///
/// # Errors
/// [`FlagError`] names the flag, or the file that cannot be written.
pub fn install(given: &Given) -> Result<(), FlagError> {
    let invalid = |what: String| Err(FlagError::Invalid(what));
    if given.text("logger") != "zap" {
        return invalid(format!("unknown logger option {:?}", given.text("logger")));
    }
    // What openraft has to say, a member says itself, once and by name.
    let level = match given.text("log-level") {
        "debug" => "debug,openraft=info,h2=info,hyper=info,rustls=info",
        "info" => "info,openraft=off",
        "warn" => "warn,openraft=off",
        "error" | "dpanic" | "panic" | "fatal" => "error,openraft=off",
        other => return invalid(format!("unrecognized level: {other:?}")),
    };
    let console = match given.text("log-format") {
        "json" => false,
        "console" => true,
        other => return invalid(format!("unknown log format: {other}")),
    };
    let mut outputs = Vec::new();
    for output in given.list("log-outputs") {
        outputs.push(match output.as_str() {
            "default" | "stderr" | "systemd/journal" => Output::Stderr,
            "stdout" => Output::Stdout,
            "/dev/null" => continue,
            path => match OpenOptions::new().create(true).append(true).open(path) {
                Ok(file) => Output::File(file),
                Err(error) => return invalid(format!("cannot write the log {path}: {error}")),
            },
        });
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Outputs(Arc::new(Mutex::new(outputs))))
        .event_format(Zap { console });
    // Only fails where a subscriber is installed already, and nothing here installs another.
    let _ = subscriber.try_init();
    Ok(())
}

enum Output {
    Stderr,
    Stdout,
    File(File),
}

/// All outputs at once, a line whole in each.
#[derive(Clone)]
struct Outputs(Arc<Mutex<Vec<Output>>>);

impl Write for Outputs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut outputs = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for output in outputs.iter_mut() {
            match output {
                Output::Stderr => io::stderr().write_all(bytes)?,
                Output::Stdout => io::stdout().write_all(bytes)?,
                Output::File(file) => file.write_all(bytes)?,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

impl MakeWriter<'_> for Outputs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Zap's form of a line.
struct Zap {
    console: bool,
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.rest.insert(field.name().to_owned(), Value::String(text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.rest
                .insert(field.name().to_owned(), Value::String(value.to_owned()));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let causes = std::iter::successors(Some(value), |error| error.source());
        let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        self.rest.insert(field.name().to_owned(), Value::String(text));
    }
}

impl Zap {
    fn line(&self, metadata: &Metadata<'_>, fields: Fields, now: SystemTime) -> Result<String, fmt::Error> {
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let ts = humantime::format_rfc3339_micros(now).to_string();
        // Folder, file and line, as zap shortens them.
        let file = metadata.file().unwrap_or("revoada");
        let short = file.rsplitn(3, '/').take(2).collect::<Vec<_>>();
        let caller = short.into_iter().rev().collect::<Vec<_>>().join("/");
        let caller = format!("{caller}:{}", metadata.line().unwrap_or_default());
        let Fields { message, rest } = fields;
        if self.console {
            let mut line = format!("{ts}\t{level}\t{caller}\t{message}");
            if !rest.is_empty() {
                write!(line, "\t{}", Value::Object(rest))?;
            }
            return Ok(line);
        }
        let mut object = Map::new();
        for (key, value) in [("level", level), ("ts", &ts), ("caller", &caller), ("msg", &message)] {
            object.insert(key.to_owned(), value.into());
        }
        object.extend(rest);
        Ok(Value::Object(object).to_string())
    }
}

impl<S, N> FormatEvent<S, N> for Zap
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = self.line(event.metadata(), fields, SystemTime::now())?;
        writeln!(writer, "{line}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use super::*;

    fn logged(console: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        let file = File::create(&path).unwrap();
        let outputs = Outputs(Arc::new(Mutex::new(vec![Output::File(file)])));
        let subscriber = tracing_subscriber::fmt()
            .with_writer(outputs.clone())
            .event_format(Zap { console })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(address = "127.0.0.1:1", count = 3, "ready to \"serve\"");
        });
        drop(outputs.0.lock().unwrap_or_else(PoisonError::into_inner));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_is_zaps() {
        let line = logged(false);
        let object: Map<String, Value> = serde_json::from_str(&line).unwrap();
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(keys, ["level", "ts", "caller", "msg", "address", "count"]);
        assert_eq!(
            (&object["level"], &object["msg"]),
            (&"info".into(), &"ready to \"serve\"".into())
        );
        assert!(object["caller"].as_str().unwrap().starts_with("etcd/log.rs:"), "{line}");
        let console = logged(true);
        let parts: Vec<&str> = console.trim_end().split('\t').collect();
        assert_eq!((parts[1], parts[3]), ("info", "ready to \"serve\""));
    }
}
