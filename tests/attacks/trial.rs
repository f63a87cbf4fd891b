//! One attack from start to verdict: a quiet time, the attack beside the victim, its end; then the same without its limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::attack::{Attack, Harm, Setting, Sign, Tally, Without, summary};
use crate::field::Field;
use crate::program::{Program, Usage, Workshop};
use crate::victim::{Figures, Victim};

/// How long things take and how much is forgiven.
pub(crate) struct Form {
    pub(crate) quiet: Duration,
    pub(crate) attack: Duration,
    /// Beyond twice the quiet p99. The bound that counts is 5 ms; a busy machine of two cores, on which the attacker's own clients
    /// run, too, needs more not to fail by chance.
    pub(crate) forgiven: Duration,
    /// What may stay: the allocator's arenas, buffers that a thread keeps, pages of code that are run for the first time.
    pub(crate) kept_kibibytes: u64,
}

/// Beyond twice the quiet p99: the issue's own bound.
const STRICT: Duration = Duration::from_millis(5);
/// How long an attack may go on for a sign to be seen, and without its limit to do harm.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long memory may take to come back.
const SETTLING: Duration = Duration::from_secs(5);
/// A newcomer who waits so long is harmed; without an attack it takes milliseconds. The attack goes on for longer than this.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// How long an attack goes on whose harm is that nothing happens.
const LEAST: Duration = Duration::from_millis(1600);
/// Descriptors that may stay: the newcomer who is there just now.
const KEPT_DESCRIPTORS: u64 = 4;

/// What one attack came to.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) did: String,
    pub(crate) quiet: Figures,
    pub(crate) attacked: Figures,
    pub(crate) before: Usage,
    pub(crate) peak_kibibytes: u64,
    pub(crate) after: Usage,
    /// Processor seconds a second, under attack.
    pub(crate) processor: f64,
    /// How the run without the limit hurt.
    pub(crate) hurt: String,
    /// What is wrong; empty if the host has withstood.
    pub(crate) failures: Vec<String>,
}

impl Row {
    fn new(attack: &Attack) -> Self {
        Self {
            name: attack.name,
            did: String::new(),
            quiet: Figures::default(),
            attacked: Figures::default(),
            before: Usage::default(),
            peak_kibibytes: 0,
            after: Usage::default(),
            processor: 0.0,
            hurt: String::new(),
            failures: Vec::new(),
        }
    }

    /// Whether the victim's p99 stays within the issue's own bound.
    pub(crate) fn is_strictly_fine(&self) -> bool {
        self.attacked.p99 <= self.quiet.p99 * 2 + STRICT
    }
}

/// Tries one attack.
pub(crate) fn run(attack: &Attack, workshop: &Workshop, form: &Form) -> Result<Row> {
    let mut row = Row::new(attack);
    withstand(attack, workshop, form, &mut row)?;
    match &attack.without {
        Without::Rule(why) => row.hurt = format!("nothing to switch off: {why}"),
        Without::Limit(changes, harm) => match suffer(attack, workshop, changes, *harm)? {
            Ok(hurt) => row.hurt = hurt,
            Err(harmless) => {
                row.failures.push(format!("without its limit it does no harm: {harmless}"));
                row.hurt = "none".into();
            }
        },
    }
    Ok(row)
}

fn withstand(attack: &Attack, workshop: &Workshop, form: &Form, row: &mut Row) -> Result<()> {
    let started = Instant::now();
    let mut program = match workshop.start(attack, &[])? {
        Ok(program) => program,
        Err(not_started) => {
            let line = not_started.message.lines().last().unwrap_or_default();
            // Where the test keeps its files is of no interest.
            let line = line.replace(&*workshop.folder.to_string_lossy(), "");
            row.did = format!("not started after {:.1?} ({}): {line}", started.elapsed(), not_started.status);
            row.failures.push(row.did.clone());
            return Ok(());
        }
    };
    let victim =
        Victim::start(program.addresses[0]).map_err(|error| anyhow!("the victim cannot connect: {error}"))?;
    // The first messages find cold caches: they are nobody's quiet.
    std::thread::sleep(Duration::from_millis(300));
    let quiet = Instant::now();
    std::thread::sleep(form.quiet);
    row.before = program.usage();
    program.take_peak();
    let attacked = Instant::now();
    let field = Arc::new(Field::new(&program, workshop));
    let tally = assault(attack, &field, form.attack, PATIENCE, || {
        unseen(attack.seen, &field.tally(), &program).is_empty()
    });
    let over = Instant::now();
    let used = program.usage().processor.saturating_sub(row.before.processor);
    row.processor = used.as_secs_f64() / (over - attacked).as_secs_f64();
    row.peak_kibibytes = program.take_peak().0;
    row.after = program.settle(
        row.before.kibibytes + form.kept_kibibytes,
        row.before.descriptors + KEPT_DESCRIPTORS,
        SETTLING,
    );
    let report = victim.stop();
    row.quiet = report.between(quiet, attacked);
    row.attacked = report.between(attacked, over);
    row.did = summary(&tally);

    let mut fail = |what: String| row.failures.push(what);
    for sign in unseen(attack.seen, &tally, &program) {
        fail(format!("it is not seen that the host withstands: {sign:?}; {}", summary(&tally)));
    }
    if let Some(status) = program.ended() {
        fail(format!("the host has ended ({status}): {}", last_lines(&program.log())));
    }
    if has_panicked(&program.log()) {
        fail(format!("the host has panicked: {}", last_lines(&program.log())));
    }
    if report.lost() > 0 {
        fail(format!("the victim has lost {} messages", report.lost()));
    }
    for figures in [&row.quiet, &row.attacked] {
        if let Some(why) = figures.turned_away.first() {
            row.failures
                .push(format!("{} newcomers of the victim did not get in: {why}", figures.turned_away.len()));
        }
    }
    let bound = row.quiet.p99 * 2 + form.forgiven;
    if row.attacked.p99 > bound {
        row.failures.push(format!("the victim's p99 is {:.1?}, over {bound:.1?}", row.attacked.p99));
    }
    if row.after.kibibytes > row.before.kibibytes + form.kept_kibibytes {
        row.failures.push(format!(
            "memory does not come back: {} MiB, and {} MiB before",
            row.after.kibibytes >> 10,
            row.before.kibibytes >> 10
        ));
    }
    if row.after.descriptors > row.before.descriptors + KEPT_DESCRIPTORS {
        row.failures.push(format!(
            "descriptors do not come back: {}, and {} before",
            row.after.descriptors, row.before.descriptors
        ));
    }
    Ok(())
}

/// Runs the attack without what stops it: how it hurt, or how it did not.
fn suffer(
    attack: &Attack,
    workshop: &Workshop,
    changes: &[Setting],
    harm: Harm,
) -> Result<std::result::Result<String, String>> {
    let mut program = match workshop.start(attack, changes)? {
        Ok(program) => program,
        Err(not_started) => {
            return Ok(Err(format!("the host has not started: {}", last_lines(&not_started.message))));
        }
    };
    let victim = match harm {
        Harm::Victim => Some(
            Victim::start(program.addresses[0])
                .map_err(|error| anyhow!("the victim cannot connect: {error}"))?,
        ),
        _ => None,
    };
    let before = program.usage();
    let log_before = program.log_bytes();
    program.take_peak();
    let began = Instant::now();
    let field = Arc::new(Field::new(&program, workshop));
    let mut peak = (0, 0);
    // What has to be waited for, because it is that nothing happens.
    let least = match harm {
        Harm::Unstopped { .. } | Harm::Victim => LEAST,
        _ => Duration::ZERO,
    };
    let mut hurts = || {
        let now = program.take_peak();
        peak = (peak.0.max(now.0), peak.1.max(now.1));
        match harm {
            Harm::Memory(mebibytes) => peak.0 >= before.kibibytes + (mebibytes << 10),
            Harm::Log(kibibytes) => program.log_bytes() - log_before >= kibibytes << 10,
            Harm::Noted(what) => field.tally().keys().any(|note| note.contains(what)),
            Harm::Unstopped { .. } | Harm::Victim => true,
        }
    };
    let tally = assault(attack, &field, least, PATIENCE, &mut hurts);
    let used = program.usage().processor.saturating_sub(before.processor).as_secs_f64()
        / began.elapsed().as_secs_f64();
    let taken = |(kibibytes, descriptors): (u64, u64)| {
        format!(
            "{} MiB, {} descriptors, {used:.1} processors, {} KiB of log; {}",
            kibibytes.saturating_sub(before.kibibytes) >> 10,
            descriptors.saturating_sub(before.descriptors),
            (program.log_bytes() - log_before) >> 10,
            summary(&tally)
        )
    };
    let (hurt, told) = match harm {
        Harm::Unstopped { processor_percent } => {
            let unseen = unseen(attack.seen, &tally, &program).len();
            (unseen > 0 && used * 100.0 >= f64::from(processor_percent), "goes on: ")
        }
        Harm::Victim => (false, "the victim is served: "),
        _ => (hurts(), ""),
    };
    let told = format!("{told}{}", taken(peak));
    let ended = program.ended();
    if let Some(victim) = victim {
        let now = Instant::now();
        let report = victim.stop();
        let figures = report.between(began, now);
        let away = figures.turned_away.len();
        if away > 0 || report.lost() > 0 || figures.newcomer >= LONG_WAIT {
            return Ok(Ok(format!(
                "{away} newcomers turned away, one waited {:.1?}, {} messages lost",
                figures.newcomer,
                report.lost()
            )));
        }
    }
    if has_panicked(&program.log()) {
        return Ok(Err(format!("the host has panicked instead: {}", last_lines(&program.log()))));
    }
    if let Some(status) = ended {
        return Ok(Ok(format!("the host has ended: {status}")));
    }
    Ok(if hurt { Ok(told) } else { Err(told) })
}

/// Runs the assault for at least `least`, then until `enough`, at most for `most`.
fn assault(
    attack: &Attack,
    field: &Arc<Field>,
    least: Duration,
    most: Duration,
    mut enough: impl FnMut() -> bool,
) -> Tally {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("the system gives a thread");
    let began = Instant::now();
    let running = threads.spawn((attack.assault)(field.clone()));
    std::thread::sleep(least);
    while began.elapsed() < most.max(least) && !enough() {
        std::thread::sleep(Duration::from_millis(20));
    }
    running.abort();
    // Its sockets close with its tasks.
    threads.shutdown_timeout(Duration::from_secs(2));
    field.tally()
}

/// The signs that are not to be seen.
fn unseen(signs: &[Sign], tally: &Tally, program: &Program) -> Vec<Sign> {
    let noted = |text: &str| tally.keys().any(|note| note.contains(text));
    let missing = |sign: &&Sign| match sign {
        Sign::Noted(text) => !noted(text),
        Sign::NotNoted(text) => noted(text),
        Sign::Logged(text) => !program.log().contains(text),
        Sign::NotLogged(text) => program.log().contains(text),
        Sign::LoggedAtMost(most, text) => !(1..=*most).contains(&program.log().matches(text).count()),
    };
    signs.iter().filter(missing).copied().collect()
}

/// A panic of the host's own. A guest's stands behind the time and the target of a record, and no guest can begin a line.
fn has_panicked(log: &str) -> bool {
    log.lines().any(|line| line.starts_with("thread '") && line.contains("panicked at"))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}
