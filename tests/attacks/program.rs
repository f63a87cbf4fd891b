//! The host under attack: the real program in a process of its own, so that its memory and its life can be watched.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use waterspout_tests::Identity;

use crate::attack::{Attack, Handler, Place, Setting};
use crate::{handlers, victim};

/// How often its memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The kernel's unit of processor time, which is the same on all of Linux's platforms that we know.
const TICKS_PER_SECOND: u64 = 100;
/// The Host of the attacker's route.
pub(crate) const ATTACKER: &str = "attacker.test";
/// The Host of a third tenant's, which some attacks have.
pub(crate) const NEIGHBOUR: &str = "neighbour.test";

/// A host that runs. Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    /// Where its files are.
    pub(crate) folder: PathBuf,
    log: PathBuf,
    /// Plain, behind the PROXY protocol, with TLS.
    pub(crate) addresses: [SocketAddr; 3],
    watch: Arc<Watch>,
    watcher: Option<JoinHandle<()>>,
}

/// The most that was seen since it was last asked.
#[derive(Default)]
struct Watch {
    peak_kibibytes: AtomicU64,
    peak_descriptors: AtomicU64,
    over: AtomicBool,
}

/// What the process has at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) kibibytes: u64,
    pub(crate) descriptors: u64,
    pub(crate) processor: Duration,
}

/// Why there is no host.
pub(crate) struct NotStarted {
    pub(crate) status: String,
    pub(crate) message: String,
}

/// Where programs and files are.
pub(crate) struct Workshop {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) guests: PathBuf,
    /// A server that handlers may be allowed to connect to.
    pub(crate) hostile: SocketAddr,
    pub(crate) identity: Arc<Identity>,
}

impl Workshop {
    fn handler(&self, name: &str, handler: Handler) -> Result<PathBuf> {
        match handler {
            Handler::Guest(guest) => {
                let path = self.guests.join(format!("{guest}.wasm"));
                if !path.exists() {
                    bail!("{} is missing: build the guests with `cargo xtask guests`", path.display());
                }
                Ok(path)
            }
            Handler::Made(make) => {
                let path = self.folder.join(name);
                fs::write(&path, make()).with_context(|| format!("cannot write {}", path.display()))?;
                Ok(path)
            }
        }
    }

    /// Starts a host for an attack, with `changes` in place of its settings of the same key.
    pub(crate) fn start(&self, attack: &Attack, changes: &[Setting]) -> Result<Result<Program, NotStarted>> {
        let config = self.config(attack, changes)?;
        let file = self.folder.join("waterspout.toml");
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let log = self.folder.join("log");
        let mut child = Command::new(&self.program)
            .args(["serve", "--log", "info", "--config"])
            .arg(&file)
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .env("XDG_STATE_HOME", self.folder.join("state"))
            .env("RUST_BACKTRACE", "0")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let mut said = BufReader::new(child.stdout.take().context("its standard output is piped")?);
        let mut addresses = Vec::new();
        // Each listener is told once for each route.
        while addresses.len() < 3 {
            let mut line = String::new();
            said.read_line(&mut line)?;
            if line.starts_with("admin on") {
                continue;
            }
            let Some(address) = line.split_once("://").and_then(|(_, rest)| rest.split('/').next()) else {
                let status = child.wait()?.to_string();
                let message = fs::read_to_string(&log).unwrap_or_default();
                return Ok(Err(NotStarted { status, message }));
            };
            let address = address.parse().with_context(|| format!("`{line}` is no address"))?;
            if addresses.last() != Some(&address) {
                addresses.push(address);
            }
        }
        let watch = Arc::new(Watch::default());
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let watcher = thread::spawn({
            let watch = watch.clone();
            move || {
                while !watch.over.load(Ordering::Relaxed) {
                    let usage = look(&process);
                    watch.peak_kibibytes.fetch_max(usage.kibibytes, Ordering::Relaxed);
                    watch.peak_descriptors.fetch_max(usage.descriptors, Ordering::Relaxed);
                    thread::sleep(LOOK_EVERY);
                }
            }
        });
        // Whatever else it says must not fill the pipe.
        thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let addresses = [addresses[0], addresses[1], addresses[2]];
        let folder = self.folder.clone();
        Ok(Ok(Program { child, folder, log, addresses, watch, watcher: Some(watcher) }))
    }

    fn config(&self, attack: &Attack, changes: &[Setting]) -> Result<String> {
        let mut settings: Vec<Setting> = attack.settings.to_vec();
        for change in changes {
            settings.retain(|setting| (setting.place, setting.key) != (change.place, change.key));
            settings.push(*change);
        }
        let of = |place: Place| -> String {
            let chosen = settings.iter().filter(|setting| setting.place == place);
            // The only values that are not known beforehand.
            let (port, folder) = (self.hostile.port().to_string(), self.folder.to_string_lossy());
            let known = |value: &str| value.replace("{hostile}", &port).replace("{folder}", &folder);
            chosen.map(|setting| format!("{} = {}\n", setting.key, known(setting.value))).collect()
        };
        // Small pools start fast.
        let instances = match settings
            .iter()
            .any(|setting| setting.key == "max-instances" && setting.place == Place::Server)
        {
            true => "",
            false => "max-instances = 1000\n",
        };
        let files = self.identity.files();
        let neighbour = match settings.iter().any(|setting| setting.place == Place::Neighbour) {
            true => format!(
                "[tenant.neighbour]\nhosts = [{NEIGHBOUR:?}]\n\n[tenant.neighbour.route.neighbour]\nhandler = {:?}\n{}",
                self.handler("handler.wasm", attack.handler)?,
                of(Place::Neighbour)
            ),
            false => String::new(),
        };
        Ok(format!(
            "{instances}{}\n[[listener]]\naddress = \"127.0.0.1:0\"\n\n[[listener]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = true\n\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n\n[[certificate]]\ncertificate = {:?}\nkey = {:?}\n\n\
             [tenant.victim]\nhosts = [{:?}]\n\n[tenant.victim.route.echo]\npath = \"/echo\"\nhandler = {:?}\n\n\
             [tenant.attacker]\nhosts = [{ATTACKER:?}, \"localhost\"]\n{}\n[tenant.attacker.route.attack]\nhandler = {:?}\n{}{}\n{neighbour}",
            of(Place::Server),
            files.certificate,
            files.key,
            victim::HOST,
            self.handler("echo.wasm", Handler::Made(handlers::echo))?,
            of(Place::Tenant),
            self.handler("handler.wasm", attack.handler)?,
            match settings.iter().any(|setting| (setting.place, setting.key) == (Place::Route, "path")) {
                true => "",
                false => "path = \"/attack\"\n",
            },
            of(Place::Route),
        ))
    }
}

impl Program {
    /// What it has now.
    pub(crate) fn usage(&self) -> Usage {
        look(Path::new(&format!("/proc/{}", self.child.id())))
    }

    /// The most since this was last asked: memory in KiB and descriptors.
    pub(crate) fn take_peak(&self) -> (u64, u64) {
        let take = |cell: &AtomicU64| cell.swap(0, Ordering::Relaxed);
        let now = self.usage();
        (
            take(&self.watch.peak_kibibytes).max(now.kibibytes),
            take(&self.watch.peak_descriptors).max(now.descriptors),
        )
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// What it has logged, as far as that is text; at most 4 MiB from the beginning.
    pub(crate) fn log(&self) -> String {
        let mut text = Vec::new();
        if let Ok(file) = File::open(&self.log) {
            let _ = file.take(4 << 20).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Bytes that it has logged.
    pub(crate) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }

    /// Waits until its memory is at most `kibibytes`, or for so long; what it is then.
    pub(crate) fn settle(&self, kibibytes: u64, descriptors: u64, patience: Duration) -> Usage {
        let until = Instant::now() + patience;
        loop {
            let usage = self.usage();
            if (usage.kibibytes <= kibibytes && usage.descriptors <= descriptors) || Instant::now() > until {
                return usage;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.watch.over.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

fn look(process: &Path) -> Usage {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0);
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    // After the name, which may contain spaces: fields 14 and 15 of the whole.
    let ticks: u64 = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum())
        .unwrap_or(0);
    Usage {
        kibibytes,
        descriptors: fs::read_dir(process.join("fd")).map_or(0, |entries| entries.count() as u64),
        processor: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
    }
}
