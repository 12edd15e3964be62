//! From an etcd that runs, into this cluster beside whatever else it does.

use std::time::Duration;

use revoada::client::Endpoint;
use revoada::node::ETCD_PATH;
use revoada::system;
use revoada_bridges::etcd::{Address, CallError, Channel, Copy, CopyError, EtcdClient, Found, LeaseTime, TlsFiles};
use revoada_core::error::ErrorKind;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use super::progress::Progress;
use super::{Migrate, Migrated, Plan, left_behind, must_know};
use crate::commands::confirm::confirm;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::note;

/// How many passes there are at most: whoever still finds differences then is written to all the time.
const PASSES_MAX: u32 = 10;
/// How often lost connections are made anew in a row.
const RECONNECTS_MAX: u32 = 6;
/// How long to wait before the first time; doubled each time.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// What can be done about everything that ends it in the middle.
const GO_ON: &str = "what was copied stays; say the same again, and it goes on";

pub async fn run(context: &Context, arguments: &Migrate, endpoints: &str) -> Outcome {
    let tls = match (&arguments.cacert, &arguments.cert, &arguments.key) {
        (Some(ca), cert, key) => Some(TlsFiles {
            ca: ca.clone(),
            shown: cert.clone().zip(key.clone()),
        }),
        (None, None, None) => None,
        _ => return Err(CliError::invalid("--cert and --key are shown over TLS").hint("say --cacert, too")),
    };
    let addresses = Address::several(endpoints, tls.as_ref())
        .map_err(|error| CliError::because(ErrorKind::Invalid, "this etcd cannot be named so", &error))?;
    let no_signals =
        |error: std::io::Error| CliError::because(ErrorKind::Unavailable, "cannot listen to signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let interrupted = || CliError::new(ErrorKind::Unavailable, "interrupted").hint(GO_ON);
    tokio::select! {
        outcome = migrate(context, arguments, &addresses) => outcome,
        _ = interrupt.recv() => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
    }
}

/// Both sides, and what the source says of itself.
struct Sides {
    copy: Copy,
    leases: Vec<LeaseTime>,
    revision: i64,
    keys: u64,
}

async fn migrate(context: &Context, arguments: &Migrate, addresses: &[Address]) -> Outcome {
    let mut sides = connect(context, arguments, addresses).await?;
    let plan = plan(arguments, &mut sides).await?;
    let conflicts = plan.conflicts > 0 && !arguments.overwrite;
    if arguments.plan {
        plan.show(context)?;
        return Ok(Exit::of_answer(
            !conflicts && (plan.left_behind.is_empty() || arguments.without_users),
        ));
    }
    must_know(arguments, &plan.left_behind)?;
    note(plan.text().trim_end());
    if conflicts {
        let message = format!("{} keys are here already with another value", plan.conflicts);
        let mut error =
            CliError::new(ErrorKind::Conflict, message).hint("--overwrite takes etcd's; nothing was changed");
        error.failure.causes = plan.conflicting;
        return Err(error);
    }
    confirm("these keys are copied into this cluster", arguments.yes)?;

    let attempt = attempt()?;
    let mut reconnects = 0;
    let mut passes = 0;
    loop {
        match pass(&mut sides, attempt).await {
            Ok(found) => {
                passes += 1;
                reconnects = 0;
                let settled = found.put == 0 && found.deleted == 0;
                // The first is compared with once more: the source went on meanwhile.
                if settled && (passes > 1 || plan.same == plan.keys) {
                    return done(context, arguments, sides, &found).await;
                }
                if passes >= PASSES_MAX {
                    let message = format!(
                        "etcd is written to all the time: {} keys differed in the last pass",
                        found.put + found.deleted
                    );
                    return Err(CliError::new(ErrorKind::Conflict, message)
                        .hint("stop its writers and say the same again: what is copied is not copied again"));
                }
                refresh(&mut sides).await?;
            }
            // The source forgets its history: its newest revision is there in any case.
            Err(CopyError::Source(error)) if error.kind() == ErrorKind::Compacted && passes < PASSES_MAX => {
                passes += 1;
                refresh(&mut sides).await?;
            }
            Err(error) if error.is_passing() && reconnects < RECONNECTS_MAX => {
                note(format!("warning: {}; connecting anew", one_line(&error)));
                tokio::time::sleep(RECONNECT_PAUSE * 2_u32.pow(reconnects)).await;
                reconnects += 1;
                match connect(context, arguments, addresses).await {
                    Ok(anew) => sides = anew,
                    Err(error) if reconnects < RECONNECTS_MAX && error.kind() == ErrorKind::Unavailable => {}
                    Err(error) => return Err(error.hint(GO_ON)),
                }
            }
            Err(error) => return Err(failed(&error).hint(GO_ON)),
        }
    }
}

/// Connects both sides, and looks at how far an earlier attempt has come.
async fn connect(context: &Context, arguments: &Migrate, addresses: &[Address]) -> Result<Sides, CliError> {
    let mut source = source(arguments, addresses).await?;
    let told = source
        .count()
        .await
        .map_err(|error| failed(&CopyError::Source(error)))?;
    let destination = destination(context).await?;
    let copy = Copy::find(source, destination, told.cluster_id, arguments.overwrite).await;
    let mut sides = Sides {
        copy: copy.map_err(|error| failed(&error))?,
        leases: Vec::new(),
        revision: told.revision,
        keys: told.count,
    };
    refresh(&mut sides).await?;
    Ok(sides)
}

/// The newest revision of the source, and then its leases: one that was granted in between has no key at that revision.
async fn refresh(sides: &mut Sides) -> Result<(), CliError> {
    let source = &mut sides.copy.source;
    let refreshed = async {
        let told = source.count().await?;
        Ok::<_, CallError>((source.leases().await?, told))
    };
    let (leases, told) = refreshed.await.map_err(|error| failed(&CopyError::Source(error)))?;
    sides.copy.set_leases(&leases);
    sides.leases = leases;
    (sides.revision, sides.keys) = (told.revision, told.count);
    Ok(())
}

async fn source(arguments: &Migrate, addresses: &[Address]) -> Result<EtcdClient, CliError> {
    let mut failures = Vec::new();
    for address in addresses {
        match address.connect().await {
            Ok(channel) => {
                let mut client = EtcdClient::new(channel);
                let Some(user) = &arguments.user else { return Ok(client) };
                let (name, password) = match user.split_once(':') {
                    Some((name, password)) => (name, password.to_owned()),
                    None => (user.as_str(), std::env::var("ETCDCTL_PASSWORD").unwrap_or_default()),
                };
                let logged_in = client.logged_in(name, &password).await;
                return logged_in.map_err(|error| {
                    CliError::because(error.kind(), format!("{address} does not let {name} in"), &error)
                });
            }
            Err(error) => failures.push(chain(&error)),
        }
    }
    let mut error = CliError::new(ErrorKind::Unavailable, "no etcd answers");
    error.failure.causes = failures;
    Err(error.hint("--cacert FILE where it speaks TLS"))
}

async fn destination(context: &Context) -> Result<EtcdClient, CliError> {
    let client = context.find().await?.client;
    let Endpoint::Socket(path) = client.endpoint() else {
        return Err(CliError::invalid("keys are brought in by a node's control socket")
            .hint("say it on a machine of the cluster, with --endpoint SOCKET"));
    };
    let message = || format!("cannot speak with the node at {}", path.display());
    let stream = UnixStream::connect(path)
        .await
        .map_err(|error| CliError::because(ErrorKind::Unavailable, message(), &error))?;
    let channel = Channel::over(stream, &format!("http://localhost{ETCD_PATH}")).await;
    let channel = channel.map_err(|error| CliError::because(ErrorKind::Unavailable, message(), &*error))?;
    Ok(EtcdClient::new(channel))
}

async fn plan(arguments: &Migrate, sides: &mut Sides) -> Result<Plan, CliError> {
    let users = sides.copy.source.users().await;
    let (users, roles, enabled) = users.map_err(|error| failed(&CopyError::Source(error)))?;
    let bar = Progress::new("comparing", sides.keys);
    let mut tries = 0;
    let (revision, found) = loop {
        let revision = sides.revision;
        match sides.copy.pass(revision, false, &mut |keys| bar.at(keys)).await {
            Ok(found) => break (revision, found),
            Err(CopyError::Source(error)) if error.kind() == ErrorKind::Compacted && tries < PASSES_MAX => {
                tries += 1;
                refresh(sides).await?;
            }
            Err(error) => return Err(failed(&error)),
        }
    };
    drop(bar);
    Ok(Plan {
        from: arguments.from.clone(),
        source_revision: u64::try_from(revision).unwrap_or_default(),
        keys: found.keys,
        bytes: found.bytes,
        leases: sides.leases.len() as u64,
        same: found.same,
        conflicts: found.conflicts,
        conflicting: found.conflicting,
        left_behind: left_behind(&users, &roles, enabled),
        resumes: sides.copy.record().is_some(),
    })
}

/// One pass at the source's newest revision: leases first, since keys are attached to them.
async fn pass(sides: &mut Sides, attempt: u64) -> Result<Found, CopyError> {
    sides.copy.begin(attempt, sides.revision).await?;
    sides.copy.hold_leases(i64::MAX).await?;
    let bar = Progress::new("copying", sides.keys);
    sides.copy.pass(sides.revision, true, &mut |keys| bar.at(keys)).await
}

async fn done(context: &Context, arguments: &Migrate, mut sides: Sides, found: &Found) -> Outcome {
    sides.copy.end().await.map_err(|error| failed(&error))?;
    let here = sides.copy.destination.count().await;
    let here = here.map_err(|error| failed(&CopyError::Destination(error)))?;
    let migrated = Migrated {
        from: arguments.from.clone(),
        source_revision: u64::try_from(sides.revision).unwrap_or_default(),
        revision: u64::try_from(here.revision).unwrap_or_default(),
        keys: found.keys,
        leases: sides.leases.len() as u64,
        revisions_kept: false,
    };
    if found.untold > 0 {
        note(format!(
            "warning: {} keys are here and not in etcd, and were perhaps deleted there meanwhile: they stay",
            found.untold
        ));
    }
    if found.conflicts > 0 {
        let message = format!(
            "{} keys were written here by others meanwhile, and differ",
            found.conflicts
        );
        let mut error = CliError::new(ErrorKind::Conflict, message).hint("everything else is as in etcd");
        error.failure.causes.clone_from(&found.conflicting);
        return Err(error);
    }
    context.out.value(&migrated, || {
        format!(
            "{} keys and {} leases as etcd has them at revision {}; this cluster is at revision {}\n",
            migrated.keys, migrated.leases, migrated.source_revision, migrated.revision
        )
    })?;
    Ok(Exit::Done)
}

/// A number that no other attempt has.
fn attempt() -> Result<u64, CliError> {
    let mut bytes = [0; 8];
    system::entropy(&mut bytes)
        .map_err(|error| CliError::because(ErrorKind::Unavailable, "the system gives no random bytes", &error))?;
    Ok(u64::from_le_bytes(bytes))
}

fn failed(error: &CopyError) -> CliError {
    let failure = match std::error::Error::source(error) {
        Some(source) => CliError::because(error.kind(), error.to_string(), source),
        None => CliError::new(error.kind(), error.to_string()),
    };
    match (error, error.kind()) {
        (CopyError::Destination(_), ErrorKind::Unsupported) => failure
            .hint("its node does not serve the face etcd: `revoada up --face etcd`, or `etcd:` in a node's config"),
        _ => failure,
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn one_line(error: &CopyError) -> String {
    chain(error)
}
