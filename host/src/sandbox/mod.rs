//! What a process may still do once it has confined itself: a list of paths and ports, for everything that runs in it afterwards, and
//! for every program that it starts.
//!
//! This is a second wall, around the host itself: handlers are confined by WebAssembly, and reach none of this. It is for the day on
//! which that wall, the compiler, a parser or a TLS library has a hole. Then whoever got in is an unprivileged user who can read
//! what the server reads, write its cache, and connect where its routes may.
//!
//! The list is made here, from a [`Config`], and touches nothing. It is put in force by the platform's part: on Linux by privileges
//! given up, `no_new_privs` and Landlock (`landlock(7)`), all of which hold for a thread and what that thread starts, so that it has to
//! be done while there is only one. Elsewhere it is refused: a sandbox that is none would be worse than an error.

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
mod platform;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Config, PageChoice};
use crate::handler::HandlerSource;
use crate::server::listener::ListenAddress;

pub use platform::User;

/// What a process may still do. Everything that is not listed is refused by the system with "permission denied".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// What may be done with files. A path that does not exist when the sandbox is applied is left out.
    pub grants: Vec<Grant>,
    /// TCP ports that may be bound; sockets that are bound already are not asked. 0: any that the system chooses.
    pub bind: BTreeSet<u16>,
    /// TCP ports of any machine that may be connected to.
    pub connect: BTreeSet<u16>,
    /// Whether UDP may be used at all, which is how names are resolved. Only Linux 7.2 and later can forbid it.
    pub udp: bool,
}

/// One path, and what may be done there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Relative paths are the working folder's.
    pub path: PathBuf,
    /// What.
    pub right: Right,
}

/// What may be done with a path. Whatever the file's owner and mode forbid stays forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read a file and execute it.
    Execute,
    /// The same, also after another file has replaced it: this is all of its folder, where a link leads to, and in a folder that many share
    /// the file alone, as [`Confinement::alone`] tells.
    ExecuteRenewed,
    /// Read a file, or everything below a folder.
    Read,
    /// Read a file, also after it was replaced: rights belong to what is there now and not to its name, so this is all of the file's
    /// folder, and the folders of the files that links lead to. In a folder that many share (`/`, `/etc`, the user's home) it is the
    /// file alone, as [`Confinement::alone`] tells.
    ReadRenewed,
    /// Read and write a file or a device that is there.
    Write,
    /// Write files that are there, and read none of them: below a folder.
    WriteOnly,
    /// Read, write, make, rename and remove files and folders below a folder.
    Keep,
    /// Make, connect to and remove Unix sockets below a folder; removing is not limited to sockets.
    Sockets,
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The version of Landlock's interface that the kernel has.
    pub landlock: u32,
    /// How many rules about paths.
    pub paths: usize,
    /// What this kernel cannot forbid, with the one that can, for a person.
    pub missing: Vec<&'static str>,
    /// Files of [`Right::ReadRenewed`] and [`Right::ExecuteRenewed`] that may be read as they are now, but not after they were replaced.
    pub alone: Vec<PathBuf>,
}

/// Why a process could not confine itself. It must end then: it may be half confined.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Not Linux.
    #[error("the sandbox needs Linux: start without it, as a user of its own without privileges")]
    Platform,
    /// The kernel has no Landlock, or it is switched off.
    #[error(
        "the sandbox needs Landlock, and this Linux {release} {why}: or start without it, confined from outside \
         (docs/deployment.md)"
    )]
    NoLandlock {
        /// Of the kernel.
        release: String,
        /// What is to be done about it.
        why: &'static str,
    },
    /// Other threads would stay free.
    #[error("the sandbox must be applied while the process has one thread, and it has {0}")]
    Threads(usize),
    /// Root stays root.
    #[error(
        "as root, the sandbox needs a user to become: `--user NAME` or `user = \"NAME\"`, or start it as that user"
    )]
    RootStays,
    /// The user to become is root.
    #[error("user `{0}` has all privileges: name one that has none")]
    Privileged(String),
    /// There is none of this name.
    #[error("there is no user `{0}`: make it, such as by `useradd --system {0}`, or name another")]
    NoSuchUser(String),
    /// Only root can become another.
    #[error("only root can become user `{0}`: start as root, or as `{0}`, or without a user")]
    NotRoot(String),
    /// What is written in one of them could be executed in the other.
    #[error(
        "the sandbox: {} may be executed and {} be written, and one is in the other: whoever gets into this process could execute what \
         he writes there. Give the program a folder of its own, such as /opt/waterspout/bin, and keep cache, state and sockets elsewhere",
        .executable.display(), .writable.display()
    )]
    WritableAndExecutable {
        /// A file or a folder.
        executable: PathBuf,
        /// A folder, or a file.
        writable: PathBuf,
    },
    /// The system refused.
    #[error("the sandbox: {what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// The system's answer.
        error: io::Error,
    },
}

/// What the runtime looks at: how many processors, mappings and bytes of memory it may use; loaded objects when a program is executed.
const OF_RUNTIME: &[&str] = &[
    "/proc/self",
    "/proc/meminfo",
    "/proc/sys/vm/max_map_count",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/kernel/random",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu/online",
    "/sys/kernel/mm/transparent_hugepage",
    "/dev/urandom",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
];

/// How names are resolved (`resolv.conf(5)`, `nsswitch.conf(5)`, `gai.conf(5)`). Some systems link `/etc/resolv.conf` into one of the
/// folders, and replace it there.
const OF_RESOLVER: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
];

/// DNS, where an answer is too long for UDP.
const DNS_PORT: u16 = 53;

/// Where distributions keep the certificates that they trust, and what those link to.
const OF_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
];

impl Sandbox {
    /// What every process needs to go on: its own executable, to run and to execute again, with the objects that are loaded; what the
    /// runtime reads; `/dev/null`.
    pub fn of_process() -> Self {
        let mut sandbox = Self::default();
        sandbox.grant(Right::Execute, "/proc/self/exe");
        // The kernel executes a dynamic program's loader, which reads the others.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        for object in objects(&maps) {
            sandbox.grant(Right::Execute, object);
        }
        for path in OF_RUNTIME {
            sandbox.grant(Right::Read, path);
        }
        sandbox.grant(Right::Write, "/dev/null");
        // A compiler offers itself to whoever ends processes when memory is short: `oom_score_adj`, in a folder of its own number, which
        // nobody knows yet. The rest of it belongs to others, or is nothing that the process could not do to itself anyhow.
        sandbox.grant(Right::WriteOnly, "/proc");
        // What a process that takes this one's place says of itself is in such a folder, too. Only where nobody else's are to be seen.
        if hides_other_processes(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default()) {
            sandbox.grant(Right::Read, "/proc");
        }
        sandbox
    }

    /// What a server of this configuration needs beside [that](Self::of_process), from the moment on when its TCP sockets are
    /// [reserved](crate::Reserved): no port may be bound any more. `file` is the configuration's, if it came from one.
    pub fn of_server(config: &Config, file: Option<&Path>) -> Self {
        Self::of_server_in(config, file, |variable| std::env::var_os(variable))
    }

    fn of_server_in(
        config: &Config,
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let mut sandbox = Self::default();
        let page = match &config.page {
            PageChoice::File(page) => Some(page.as_path()),
            PageChoice::Off | PageChoice::Own => None,
        };
        let handlers = config.routes.iter().filter_map(|(_, source)| match source {
            HandlerSource::File(handler) => Some(handler.as_path()),
            _ => None,
        });
        let certificates = config.certificates.iter().flat_map(|files| [&files.certificate, &files.key]);
        let files = certificates.chain(&config.authorities).map(PathBuf::as_path);
        for file in file.into_iter().chain(page).chain(handlers).chain(files) {
            sandbox.grant(Right::ReadRenewed, file);
        }
        if let Some(folders) = &config.runtime.cache {
            sandbox.grant(Right::Keep, &folders.cache);
            sandbox.grant(Right::Keep, &folders.state);
        }
        if let Some(folder) = &config.state_dir {
            sandbox.grant(Right::Keep, folder);
        }
        for listener in &config.listeners {
            if let ListenAddress::Unix(path) = &listener.address {
                sandbox.grant(Right::Sockets, folder_of(path));
            }
        }
        if let Some(admin) = &config.admin {
            if let Some(token) = &admin.token_file {
                sandbox.grant(Right::ReadRenewed, token);
            }
            match &admin.address {
                ListenAddress::Unix(path) => sandbox.grant(Right::Sockets, folder_of(path)),
                // It is bound after the handlers are loaded.
                ListenAddress::Tcp(address) => {
                    sandbox.bind.insert(address.port());
                }
                ListenAddress::Systemd(_) => {}
            }
        }
        sandbox.grant_outgoing(config, variable);
        sandbox
    }

    /// What handlers that connect need of the host.
    fn grant_outgoing(&mut self, config: &Config, variable: impl Fn(&str) -> Option<OsString>) {
        let connecting =
            || config.routes.iter().map(|(route, _)| route).filter(|route| !route.connect.is_empty());
        self.connect = connecting().flat_map(|route| route.connect.ports()).collect();
        if connecting().any(|route| route.connect.has_names()) {
            self.connect.insert(DNS_PORT);
            self.udp = true;
            for path in OF_RESOLVER {
                self.grant(Right::Read, path);
            }
        }
        if connecting().any(|route| route.connect_ca.is_none()) {
            for path in OF_AUTHORITIES {
                self.grant(Right::Read, path);
            }
            // As OpenSSL has them: a file, and folders separated by colons.
            if let Some(path) = variable("SSL_CERT_FILE") {
                self.grant(Right::Read, path);
            }
            for path in variable("SSL_CERT_DIR").iter().flat_map(std::env::split_paths) {
                self.grant(Right::Read, path);
            }
        }
    }

    fn grant(&mut self, right: Right, path: impl Into<PathBuf>) {
        let grant = Grant { path: path.into(), right };
        if !self.grants.contains(&grant) {
            self.grants.push(grant);
        }
    }

    /// Both lists together.
    pub fn and(mut self, other: Self) -> Self {
        for Grant { path, right } in other.grants {
            self.grant(right, path);
        }
        self.bind.extend(other.bind);
        self.connect.extend(other.connect);
        self.udp |= other.udp;
        self
    }

    /// Puts the list in force, for this process and every program that it starts, and for ever: becomes `user`, gives up all capabilities,
    /// sets `no_new_privs`, applies Landlock. What is open already, sockets among it, stays usable.
    ///
    /// # Errors
    /// See [`SandboxError`]: among others, a path that may be executed and one that may be written lie in each other. End the process then.
    pub fn apply(&self, user: Option<&User>) -> Result<Confinement, SandboxError> {
        platform::apply(self, user)
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Whether `/proc` shows a process only those that it may look into (`proc(5)`, hidepid): those of its sandbox.
fn hides_other_processes(mounts: &str) -> bool {
    // Of several on top of each other the last one counts.
    let mut of_proc = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == "/proc").then(|| fields.nth(1)).flatten()
    });
    of_proc.next_back().is_some_and(|options| {
        let hidden = ["hidepid=invisible", "hidepid=ptraceable", "hidepid=2", "hidepid=4"];
        options.split(',').any(|option| hidden.contains(&option))
    })
}

/// The files that are mapped to be executed (`proc_pid_maps(5)`): the program and its shared objects.
fn objects(maps: &str) -> BTreeSet<PathBuf> {
    let mapped = maps.lines().filter_map(|line| {
        // Address, permissions, offset, device, inode; then the path, which may have spaces in it.
        let mut rest = line;
        let mut fields = [""; 5];
        for field in &mut fields {
            (*field, rest) = rest.trim_start().split_once(' ')?;
        }
        let path = rest.trim_start();
        (fields[1].contains('x') && path.starts_with('/') && !path.ends_with(" (deleted)"))
            .then(|| path.into())
    });
    mapped.collect()
}

/// The folders that every system has (Filesystem Hierarchy Standard 3.0, chapters 3 to 6), as far as everybody's things lie in them.
const SHARED: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/share",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Whether so many things lie in a folder that reading one file in it must not mean reading all.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there is no sandbox to ask"))]
fn is_shared(folder: &Path, home: Option<&Path>) -> bool {
    home == Some(folder) || SHARED.iter().any(|shared| folder == Path::new(shared))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::destinations::Destinations;
    use crate::config::{DEFAULT_LISTEN, ListenerConfig};
    use crate::handler::cache::CacheFolders;
    use crate::server::routes::{Pattern, Route};
    use crate::server::tls::CertificateFiles;

    fn route() -> Route {
        Route::new("chat", Pattern::new("/chat").expect("a path"))
    }

    fn config(route: Route, handler: HandlerSource) -> Config {
        let mut config = Config::single(route, handler, DEFAULT_LISTEN);
        config.runtime.cache = None;
        config
    }

    fn of(config: &Config) -> Sandbox {
        Sandbox::of_server_in(config, None, |_| None)
    }

    fn connecting(to: &[&str]) -> Route {
        let to: Vec<String> = to.iter().map(|&entry| entry.into()).collect();
        Route { connect: Destinations::listed(&to).expect("destinations"), ..route() }
    }

    fn grant(right: Right, path: &str) -> Grant {
        Grant { path: path.into(), right }
    }

    #[test]
    fn all_of_proc_is_read_only_where_it_hides_the_processes_of_others() {
        let mounted = |options: &str| format!("/dev/vda / ext4 rw 0 0\nproc /proc proc rw,{options} 0 0\n");
        for options in ["relatime", "hidepid=1", "hidepid=noaccess", "subset=pid", "gid=5"] {
            assert!(!hides_other_processes(&mounted(options)), "{options}");
        }
        for options in ["nosuid,hidepid=invisible", "hidepid=2,gid=5", "hidepid=ptraceable", "hidepid=4"] {
            assert!(hides_other_processes(&mounted(options)), "{options}");
            let covered =
                mounted(options) + "proc /proc proc rw 0 0\n/dev/vda /proc/sys ext4 hidepid=2 0 0\n";
            assert!(!hides_other_processes(&covered), "{options}");
        }
        assert!(!hides_other_processes(""));
    }

    #[test]
    fn the_embedded_echo_without_a_cache_needs_nothing() {
        assert_eq!(of(&config(route(), HandlerSource::Echo)), Sandbox::default());
    }

    #[test]
    fn what_is_read_again_may_be_replaced_and_what_is_kept_may_be_written() {
        let mut config = config(route(), HandlerSource::File("/srv/chat/chat.wasm".into()));
        config.page = PageChoice::File("/srv/chat/page.html".into());
        config.certificates = vec![CertificateFiles {
            certificate: "/srv/tls/chain.pem".into(),
            key: "/srv/keys/key.pem".into(),
        }];
        config.authorities = vec!["/srv/ca.pem".into()];
        config.runtime.cache =
            Some(CacheFolders { cache: "/var/cache/w".into(), state: "/var/lib/w".into() });
        config.state_dir = Some("/var/lib/w-state".into());
        config.listeners = ["/run/w/http.sock", "other.sock"]
            .map(|path| ListenerConfig::plain(ListenAddress::Unix(path.into())))
            .into();
        let sandbox = Sandbox::of_server_in(&config, Some(Path::new("conf/w.toml")), |_| None);
        let expected = [
            grant(Right::ReadRenewed, "conf/w.toml"),
            grant(Right::ReadRenewed, "/srv/chat/page.html"),
            grant(Right::ReadRenewed, "/srv/chat/chat.wasm"),
            grant(Right::ReadRenewed, "/srv/tls/chain.pem"),
            grant(Right::ReadRenewed, "/srv/keys/key.pem"),
            grant(Right::ReadRenewed, "/srv/ca.pem"),
            grant(Right::Keep, "/var/cache/w"),
            grant(Right::Keep, "/var/lib/w"),
            grant(Right::Keep, "/var/lib/w-state"),
            grant(Right::Sockets, "/run/w"),
            grant(Right::Sockets, "."),
        ];
        assert_eq!(sandbox.grants, expected);
        assert!(sandbox.bind.is_empty() && sandbox.connect.is_empty() && !sandbox.udp);
    }

    #[test]
    fn the_admin_listener_needs_its_token_and_its_port_or_socket() {
        let mut config = config(route(), HandlerSource::Echo);
        let admin = |address: &str| crate::admin::AdminOptions {
            address: address.parse().expect("an address"),
            mode: None,
            token_file: Some("/etc/w/token".into()),
        };
        config.admin = Some(admin("127.0.0.1:9090"));
        let sandbox = of(&config);
        assert_eq!(sandbox.grants, [grant(Right::ReadRenewed, "/etc/w/token")]);
        assert_eq!(sandbox.bind, [9090].into());
        config.admin = Some(admin("unix:/run/w/admin.sock"));
        let sandbox = of(&config);
        assert!(sandbox.grants.contains(&grant(Right::Sockets, "/run/w")) && sandbox.bind.is_empty());
    }

    #[test]
    fn who_connects_to_addresses_needs_their_ports_and_the_systems_authorities_but_no_resolver() {
        let sandbox = of(&config(connecting(&["10.0.0.5:9000", "[::1]:9001"]), HandlerSource::Echo));
        assert_eq!(sandbox.connect, [9000, 9001].into());
        assert!(!sandbox.udp && !sandbox.grants.contains(&grant(Right::Read, "/etc/resolv.conf")));
        assert!(sandbox.grants.contains(&grant(Right::Read, "/etc/ssl/certs")));
    }

    #[test]
    fn who_connects_to_names_needs_the_resolver() {
        let sandbox = of(&config(connecting(&["example.com:443"]), HandlerSource::Echo));
        assert_eq!(sandbox.connect, [53, 443].into());
        assert!(sandbox.udp && sandbox.grants.contains(&grant(Right::Read, "/etc/resolv.conf")));
    }

    #[test]
    fn the_systems_authorities_are_where_the_environment_says() {
        let config = config(connecting(&["example.com:443"]), HandlerSource::Echo);
        let sandbox = Sandbox::of_server_in(&config, None, |variable| match variable {
            "SSL_CERT_FILE" => Some("/opt/ca.pem".into()),
            "SSL_CERT_DIR" => Some("/opt/a:/opt/b".into()),
            _ => None,
        });
        for path in ["/opt/ca.pem", "/opt/a", "/opt/b"] {
            assert!(sandbox.grants.contains(&grant(Right::Read, path)), "{path}");
        }
    }

    #[test]
    fn only_the_program_and_its_objects_are_executed() {
        let maps = "\
            55d0c0-55d0d0 r--p 00000000 fe:00 11 /usr/bin/water spout\n\
            55d0d0-55d0e0 r-xp 00010000 fe:00 11 /usr/bin/water spout\n\
            7f0000-7f0010 r-xp 00000000 00:00 0 \n\
            7f0010-7f0020 r-xp 00000000 fe:00 12                         /usr/lib/libc.so.6\n\
            7f0020-7f0030 r-xp 00000000 fe:00 13                         /usr/lib/old.so (deleted)\n\
            7f0030-7f0040 r--p 00000000 fe:00 14                         /usr/lib/locale/C\n\
            7f0040-7f0050 r-xp 00000000 00:00 0                          [vdso]\n";
        assert_eq!(objects(maps), ["/usr/bin/water spout", "/usr/lib/libc.so.6"].map(PathBuf::from).into());
    }

    #[test]
    fn folders_that_many_share_are_told_apart() {
        let home = Some(Path::new("/home/ann"));
        for shared in ["/", "/etc", "/tmp", "/var/tmp", "/home/ann"] {
            assert!(is_shared(Path::new(shared), home), "{shared}");
        }
        for own in ["/etc/waterspout", "/home/ann/chat", "/certificates", "/srv/chat"] {
            assert!(!is_shared(Path::new(own), home), "{own}");
        }
    }
}
