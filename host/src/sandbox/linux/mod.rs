//! Linux: privileges given up (`user.rs`), `no_new_privs`, Landlock.

mod user;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use super::{Confinement, Grant, Right, Sandbox, SandboxError, folder_of, is_shared};

pub use user::User;

/// What is handled, and so refused unless it is granted: what this was written for, whatever else a later kernel has.
const FILES: ABI = ABI::V9;
const SCOPES: ABI = ABI::V6;

impl SandboxError {
    /// Of what was tried.
    fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}

pub(super) fn apply(sandbox: &Sandbox, user: Option<&User>) -> Result<Confinement, SandboxError> {
    match threads()? {
        1 => {}
        threads => return Err(SandboxError::Threads(threads)),
    }
    // As who we were: a link may lead through folders that are closed to the user. Reading what it leads to is still the user's matter.
    let mut rules = Rules::default();
    for grant in &sandbox.grants {
        rules.add(grant)?;
    }
    rules.check()?;
    user::give_up_privileges(user)?;
    let refused = SandboxError::system("`no_new_privs` cannot be set");
    rustix::thread::set_no_new_privs(true).map_err(|error| refused(error.into()))?;
    pin_own_folder()?;
    let alone = std::mem::take(&mut rules.alone);
    let paths = rules.paths.len();
    let status = restrict(sandbox, rules)
        .map_err(|error| SandboxError::system("Landlock's rules are not taken")(io::Error::other(error)))?;
    let landlock = version(status.landlock).ok_or_else(|| no_landlock(status.landlock))?;
    Ok(Confinement { landlock, paths, missing: missing(landlock), alone })
}

fn threads() -> Result<usize, SandboxError> {
    let tasks = fs::read_dir("/proc/self/task")
        .map_err(SandboxError::system("how many threads there are cannot be read from /proc/self/task"))?;
    Ok(tasks.count())
}

/// A rule is about an inode, and the kernel makes new ones for `/proc/PID` when it was short of memory, unless somebody has it open.
fn pin_own_folder() -> Result<(), SandboxError> {
    static OPEN: OnceLock<File> = OnceLock::new();
    let folder = File::open("/proc/self").map_err(SandboxError::system("/proc/self cannot be opened"))?;
    // If it is open already, that will do.
    let _ = OPEN.set(folder);
    Ok(())
}

#[derive(Default)]
struct Rules {
    paths: Vec<(PathFd, BitFlags<AccessFs>)>,
    /// Where they are, without links.
    real: Vec<(PathBuf, BitFlags<AccessFs>)>,
    alone: Vec<PathBuf>,
}

impl Rules {
    fn add(&mut self, grant: &Grant) -> Result<(), SandboxError> {
        match grant.right {
            Right::ReadRenewed => self.add_renewed(&grant.path),
            Right::ExecuteRenewed => self.add_program(&grant.path),
            right => self.add_path(&grant.path, rights(right)),
        }
    }

    fn add_path(&mut self, path: &Path, rights: BitFlags<AccessFs>) -> Result<(), SandboxError> {
        let Ok(file) = fs::metadata(path) else { return Ok(()) };
        // The kernel refuses rights that only folders can have for anything else.
        let rights = if file.is_dir() { rights } else { rights & AccessFs::from_file(FILES) };
        let what = || format!("{} cannot be opened", path.display());
        let opened =
            PathFd::new(path).map_err(|error| SandboxError::system(what())(io::Error::other(error)))?;
        self.paths.push((opened, rights));
        // A program that has been replaced is nowhere.
        self.real.extend(fs::canonicalize(path).map(|real| (real, rights)));
        Ok(())
    }

    /// A right to a folder is one to all that is in it.
    ///
    /// # Errors
    /// Something is in both: a file that may be executed, and somewhere where one may be made or changed.
    fn check(&self) -> Result<(), SandboxError> {
        let with = |any: BitFlags<AccessFs>| {
            self.real.iter().filter(move |(_, rights)| rights.intersects(any)).map(|(path, _)| path)
        };
        let writing = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile;
        for executable in with(AccessFs::Execute.into()) {
            for writable in with(writing) {
                if executable.starts_with(writable) || writable.starts_with(executable) {
                    let (executable, writable) = (executable.clone(), writable.clone());
                    return Err(SandboxError::WritableAndExecutable { executable, writable });
                }
            }
        }
        Ok(())
    }

    /// A program, and whatever it is replaced with where its links lead to. Links need no right to be followed.
    fn add_program(&mut self, file: &Path) -> Result<(), SandboxError> {
        let Ok(real) = fs::canonicalize(file) else { return Ok(()) };
        let folder = folder_of(&real);
        if is_shared(folder, home().as_deref()) {
            self.alone.push(file.to_owned());
            self.add_path(&real, rights(Right::Execute))
        } else {
            self.add_path(folder, rights(Right::Execute))
        }
    }

    /// A file, and whatever it is replaced with: in its folder, or, if it is a link, where that leads.
    fn add_renewed(&mut self, file: &Path) -> Result<(), SandboxError> {
        /// The kernel's limit, too.
        const MAX_LINKS: u32 = 40;
        let home = home();
        let mut path = file.to_owned();
        for _ in 0..MAX_LINKS {
            let folder = folder_of(&path);
            // What does not exist is told when it is read.
            let Ok(real) = fs::canonicalize(folder) else { return Ok(()) };
            let read = rights(Right::Read);
            if is_shared(&real, home.as_deref()) {
                self.add_path(&path, read)?;
                if !self.alone.iter().any(|alone| alone == file) {
                    self.alone.push(file.to_owned());
                }
            } else {
                self.add_path(&real, read)?;
            }
            match fs::read_link(&path) {
                Ok(target) => path = folder.join(target),
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").and_then(|home| fs::canonicalize(home).ok())
}

fn rights(right: Right) -> BitFlags<AccessFs> {
    match right {
        Right::Execute | Right::ExecuteRenewed => AccessFs::ReadFile | AccessFs::Execute,
        Right::Read | Right::ReadRenewed => AccessFs::ReadFile | AccessFs::ReadDir,
        Right::WriteOnly => AccessFs::WriteFile.into(),
        Right::Write => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate,
        // Without `Refer`: files do not wander between folders, and old kernels refuse that anyway.
        Right::Keep => {
            AccessFs::ReadFile
                | AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
        }
        Right::Sockets => AccessFs::MakeSock | AccessFs::RemoveFile | AccessFs::ResolveUnix,
    }
}

/// As much of it as the kernel knows; what it does not is found by [`missing`].
fn restrict(sandbox: &Sandbox, rules: Rules) -> Result<RestrictionStatus, RulesetError> {
    let tcp = AccessNet::BindTcp | AccessNet::ConnectTcp;
    let udp = AccessNet::BindUdp | AccessNet::ConnectSendUdp;
    let ruleset: RulesetCreated = Ruleset::default()
        .handle_access(AccessFs::from_all(FILES))?
        .handle_access(if sandbox.udp { tcp } else { tcp | udp })?
        .scope(Scope::from_all(SCOPES))?
        .create()?;
    let ports = |ports: &std::collections::BTreeSet<u16>, access: AccessNet| {
        ports.iter().map(move |port| Ok::<_, RulesetError>(NetPort::new(*port, access))).collect::<Vec<_>>()
    };
    let paths = rules.paths.into_iter();
    ruleset
        .add_rules(paths.map(|(path, rights)| Ok::<_, RulesetError>(PathBeneath::new(path, rights))))?
        .add_rules(ports(&sandbox.bind, AccessNet::BindTcp))?
        .add_rules(ports(&sandbox.connect, AccessNet::ConnectTcp))?
        .restrict_self()
}

/// The interface's version, if there is any.
fn version(landlock: LandlockStatus) -> Option<u32> {
    match landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            Some(kernel_abi.map_or(effective_abi as u32, i32::unsigned_abs))
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    }
}

fn no_landlock(landlock: LandlockStatus) -> SandboxError {
    let why = match landlock {
        LandlockStatus::NotEnabled => {
            "has it switched off: add `landlock` to the boot parameter `lsm=` (/sys/kernel/security/lsm has what is on)"
        }
        _ => {
            "has none, or a container forbids it: use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK, and let the \
             container's seccomp profile allow landlock_create_ruleset"
        }
    };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    SandboxError::NoLandlock { release, why }
}

/// What a kernel with this version of Landlock cannot forbid. What came after signals is taken where it is, and not missed.
fn missing(landlock: u32) -> Vec<&'static str> {
    let since = [
        (3, "truncating files (Linux 6.2)"),
        (4, "TCP connections by port (Linux 6.7)"),
        (5, "ioctl on devices (Linux 6.10)"),
        (6, "signals and abstract Unix sockets (Linux 6.12)"),
    ];
    since.into_iter().filter(|(version, _)| landlock < *version).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_kernel_cannot_forbid_is_named() {
        assert_eq!(missing(6), <[&str; 0]>::default());
        assert_eq!(missing(5), ["signals and abstract Unix sockets (Linux 6.12)"]);
        assert_eq!(missing(1).len(), 4);
    }

    #[test]
    fn without_landlock_the_remedy_is_named() {
        for (landlock, remedy) in
            [(LandlockStatus::NotEnabled, "lsm="), (LandlockStatus::NotImplemented, "Linux 5.13")]
        {
            let error = no_landlock(landlock).to_string();
            assert!(error.contains(remedy) && error.contains("docs/deployment.md"), "{error}");
        }
    }

    #[test]
    fn a_process_with_threads_is_refused() {
        // The test runner's own is one.
        let error = Sandbox::default().apply(None).expect_err("several threads");
        assert!(matches!(error, SandboxError::Threads(2..)), "{error}");
    }
}
