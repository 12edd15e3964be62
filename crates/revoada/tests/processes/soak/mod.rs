//! `cargo xtask soak`: random faults and load on real processes, for as long as one likes.
//!
//! A seed decides which fault comes when, and to whom; the machine decides the rest. After each fault the cluster has to
//! have its declared shape again within a bound, and at the end everything that clients were told is judged by two
//! checkers, and the chain is verified. Rejected: faults on top of each other. Most of what one fault does would then be
//! put down to another; the simulation is for that.
//!
//! It is one more test of real processes, and ignored but on demand; what it came to goes to where `REVOADA_SOAK_TELLS`
//! says, since the runner of tests says things of its own on stdout.

mod faults;
mod picture;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faults::{Fault, Place};
use futures::FutureExt as _;
use picture::Picture;

use crate::support::{Chance, Recorder, TestCluster, judged_by_porcupine};

const NODES: usize = 5;
const CLIENTS: usize = 5;
/// Leaves most of a small machine to the nodes.
const PACE: Duration = Duration::from_millis(4);
/// Between the end of one fault and the next.
const QUIET_MS: u64 = 1_500;

/// What is asked for.
struct Plan {
    lasts: Duration,
    seed: u64,
    json: bool,
    /// Where the result goes: to whoever is at the other end of stdin, as `cargo xtask soak` has it, or to stdout.
    tells_stdin: bool,
}

impl Plan {
    fn from_environment() -> Option<Self> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let minutes: f64 = read("REVOADA_SOAK_MINUTES")?
            .parse()
            .expect("REVOADA_SOAK_MINUTES is a number");
        Some(Self {
            lasts: Duration::from_secs_f64(minutes * 60.0),
            seed: read("REVOADA_SOAK_SEED").map_or(1, |seed| seed.parse().expect("REVOADA_SOAK_SEED is a number")),
            json: read("REVOADA_SOAK_JSON").is_some(),
            tells_stdin: read("REVOADA_SOAK_TELLS").is_some_and(|where_to| where_to == "stdin"),
        })
    }
}

/// What came of it.
#[derive(Default)]
struct Account {
    survived: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
    /// Who has looked at the history.
    judges: Vec<&'static str>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: cargo xtask soak"]
async fn real_processes_under_load_survive_random_faults() {
    let plan = Plan::from_environment().expect("REVOADA_SOAK_MINUTES says how long; cargo xtask soak sets it");
    // What panics is a violation, and told at the end with all others.
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    match caught(soak(&plan)).await {
        Ok(held) => assert!(held, "the soak has found something, or nothing happened"),
        Err(why) => panic!("the soak itself failed: {why}"),
    }
}

async fn soak(plan: &Plan) -> bool {
    let (kinds, left_out) = Fault::possible();
    for (kind, reason) in &left_out {
        eprintln!("left out: {kind}: {reason}");
    }
    eprintln!(
        "{} minutes, seed {}, faults: {}",
        plan.lasts.as_secs_f64() / 60.0,
        plan.seed,
        kinds.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ")
    );
    let mut place = Place::prepare(NODES);
    place.cluster.start_all();
    let mut account = Account::default();
    if let Err(why) = caught(place.cluster.settled()).await {
        eprintln!("the cluster never had its shape: {why}");
        return false;
    }
    let began = Instant::now();
    let recorder = Recorder::start(&place.cluster.sockets(), CLIENTS, plan.seed, PACE);
    let picture = Arc::new(Mutex::new(Picture::default()));
    let looks = look(&recorder, began, picture.clone());
    let interrupted = tokio::select! {
        () = disturb(plan, began, &kinds, &mut place, &mut account, &picture) => false,
        () = looks => unreachable!("it looks on until it is dropped"),
        _ = tokio::signal::ctrl_c() => true,
    };
    if interrupted {
        eprintln!("interrupted: what there is until now is judged");
    }
    place.undo_all();
    let last = caught(place.cluster.settled()).await;
    account
        .violations
        .extend(last.err().map(|why| format!("at the end: {why}")));
    let seconds = began.elapsed().as_secs_f64();
    let recorded = recorder.stop().await;
    judge(&place.cluster, &recorded.operations, &mut account).await;
    if !account.violations.is_empty() {
        eprintln!("the history is in {}", recorded.keep().display());
    }
    let svg = picture.lock().expect("nobody panics with it").draw(seconds);
    let file = std::env::temp_dir().join(format!("revoada-soak-{}.svg", plan.seed));
    let held = (recorded.operations.len(), recorded.longest_gap);
    report(plan, seconds, held, &account, svg, file)
}

/// Faults, one after the other.
async fn disturb(
    plan: &Plan,
    began: Instant,
    kinds: &[Fault],
    place: &mut Place,
    account: &mut Account,
    picture: &Mutex<Picture>,
) {
    let mut chance = Chance::new(plan.seed);
    // Every kind comes before any comes again.
    let mut turn: Vec<Fault> = Vec::new();
    while began.elapsed() < plan.lasts {
        if turn.is_empty() {
            turn = kinds.to_vec();
        }
        let fault = turn.swap_remove(chance.below(turn.len() as u64) as usize);
        let from = began.elapsed().as_secs_f64();
        let done = caught(async {
            fault.happen(place, &mut chance).await;
            place.undo(fault).await;
            place.cluster.settled().await;
        })
        .await;
        let took = began.elapsed().as_secs_f64() - from;
        let now = Picture::of(fault.name(), from, took);
        picture.lock().expect("nobody panics with it").faults.push(now);
        match done {
            Ok(()) => {
                eprintln!(
                    "{from:7.1} s  {:16} {took:5.1} s until all was well again",
                    fault.name()
                );
                *account.survived.entry(fault.name()).or_default() += 1;
            }
            Err(why) => {
                eprintln!("{from:7.1} s  {:16} VIOLATION: {why}", fault.name());
                account
                    .violations
                    .push(format!("{} at {from:.1} s: {why}", fault.name()));
                place.undo_all();
                if caught(place.cluster.settled()).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(chance.below(QUIET_MS))).await;
    }
}

/// Notes every second how much was done.
async fn look(recorder: &Recorder, began: Instant, picture: Arc<Mutex<Picture>>) {
    let mut before = recorder.counts();
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.tick().await;
    loop {
        every.tick().await;
        let now = recorder.counts();
        let rates = (now.0 - before.0, now.1 - before.1);
        let second = began.elapsed().as_secs_f64();
        picture
            .lock()
            .expect("nobody panics with it")
            .load
            .push((second, rates.0, rates.1));
        before = now;
    }
}

async fn judge(cluster: &TestCluster, operations: &[revoada_sim::client_history::Operation], account: &mut Account) {
    account.judges.push("oracle");
    if let Err(violation) = revoada_sim::client_history::check(operations) {
        account
            .violations
            .push(format!("{}: {}", violation.oracle, violation.what));
    }
    match judged_by_porcupine(operations) {
        Ok(finds_an_order) => {
            account.judges.push("porcupine");
            if !finds_an_order {
                account.violations.push("porcupine finds no order".to_owned());
            }
        }
        Err(missing) => eprintln!("not judged by porcupine: {missing}"),
    }
    for node in 0..cluster.nodes.len() {
        let verified = caught(cluster.assert_chain_verifies(node)).await;
        account.violations.extend(verified.err());
    }
}

fn report(
    plan: &Plan,
    seconds: f64,
    (operations, longest_gap): (usize, Duration),
    account: &Account,
    svg: String,
    file: PathBuf,
) -> bool {
    let faults: u64 = account.survived.values().sum();
    let gap_ms = longest_gap.as_secs_f64() * 1000.0;
    for violation in &account.violations {
        eprintln!("violation: {violation}");
    }
    match std::fs::write(&file, svg) {
        Ok(()) => eprintln!("picture: {}", file.display()),
        Err(error) => eprintln!("no picture: {}: {error}", file.display()),
    }
    if plan.json {
        let told = serde_json::json!({
            "seconds": seconds,
            "operations": operations,
            "faults": account.survived,
            "violations": account.violations.len(),
            "judges": account.judges,
            "longest_gap_ms": gap_ms,
        });
        tell(plan, &format!("{told}\n"));
    } else {
        let rate = operations as f64 / seconds;
        let kinds = account.survived.iter();
        let kinds: String = kinds.map(|(kind, count)| format!("  {kind:16} {count}\n")).collect();
        let violations = account.violations.len();
        let judges = match account.judges.as_slice() {
            [one] => format!("{one} alone, without porcupine"),
            all => all.join(", "),
        };
        tell(
            plan,
            &format!(
                "load held      {rate:.0} operations a second, {operations} in {seconds:.0} s\n\
                 faults         {faults} survived\n{kinds}\
                 violations     {violations}\n\
                 judged by      {judges}\n\
                 longest gap    {gap_ms:.0} ms without an acknowledged write\n"
            ),
        );
    }
    account.violations.is_empty() && faults > 0 && operations > 0
}

fn tell(plan: &Plan, text: &str) {
    if !plan.tells_stdin {
        println!("{text}");
        return;
    }
    let out = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let told = out.and_then(|mut out| out.write_all(text.as_bytes()));
    told.unwrap_or_else(|error| panic!("nobody can be told: {error}\n{text}"));
}

/// What a test would panic with, as text.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "it panicked".to_owned())
    })
}
