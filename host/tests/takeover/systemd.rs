//! The units of `dist/` under systemd itself: a machine of its own in namespaces, with the program, the units and nothing else. Where that
//! cannot be had (not root, no systemd, no cgroups that may be written) the test says so and is skipped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::until;
use crate::support::{Folder, client, echoes, get, handlers};

/// Runs in the new namespaces and becomes systemd. `$0` is the test's folder. Nothing of it is seen outside: /etc, /run, /var and /opt are
/// others, and the kernel's settings are closed.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
umount -R /sys/fs/cgroup 2>/dev/null || umount -lR /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /run/units /run/systemd /run/etc /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work overlay /etc
rm -rf /etc/systemd/system; mkdir -p /etc/systemd/system /etc/waterspout
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/cache
mount --bind "$0/opt" /opt
cp "$0"/waterspout.service "$0"/waterspout.socket /run/units/
cp "$0"/waterspout.toml "$0"/echo.wasm /etc/waterspout/
for target in sysinit basic shutdown network-online network sockets multi-user go; do
    printf '[Unit]\nDefaultDependencies=no\n' >/run/units/$target.target
done
export SYSTEMD_UNIT_PATH=/run/units container=waterspout-test
exec "$(command -v systemd || echo /lib/systemd/systemd)" --system --unit=go.target --log-target=null --show-status=no
"#;

/// In a folder that is the service's.
const ADMIN: &str = "/var/cache/waterspout/admin.sock";

/// Ends with all that runs in it when it is dropped.
struct Machine {
    outer: Child,
    /// Its first process, by the number outside.
    systemd: Pid,
    group: PathBuf,
}

/// Where groups of processes can be made (`cgroups(7)`, version 2).
fn groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| path.into())
    })
}

impl Machine {
    /// None if this system does not let us.
    fn boot(folder: &Folder) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root makes such namespaces".into());
        }
        let group = groups().ok_or("there are no cgroups of version 2")?;
        let group = group.join(format!("waterspout-test-{}", std::process::id()));
        fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        let mut outer = Command::new("sh");
        outer
            .args(["-c", r#"echo $$ >"$1/cgroup.procs" && exec unshare --kill-child --pid --fork --mount --cgroup --ipc --uts --mount-proc sh -c "$2" "$0""#])
            .arg(folder.path("."))
            .arg(&group)
            .arg(BOOT)
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.path("boot.log")).expect("ours"))
            .stderr(fs::File::create(folder.path("boot.err")).expect("ours"));
        let mut outer = outer.spawn().map_err(|error| error.to_string())?;
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let mut systemd = None;
        let mut ended = None;
        until("systemd starts or does not", || {
            ended = outer.try_wait().expect("our own child");
            let first = fs::read_to_string(&children).unwrap_or_default();
            let first =
                first.split_whitespace().next().and_then(|number| Pid::from_raw(number.parse().ok()?));
            systemd = first.filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd")
            });
            ended.is_some() || systemd.is_some()
        });
        let machine = systemd.map(|systemd| Self { outer, systemd, group: group.clone() });
        let Some(machine) = machine else {
            let _ = fs::remove_dir(&group);
            return Err(fs::read_to_string(folder.path("boot.err")).unwrap_or_default());
        };
        until("systemd answers", || machine.run("systemctl is-active go.target").0);
        Ok(machine)
    }

    /// Whether it succeeds in the machine, and what it says.
    fn run(&self, script: &str) -> (bool, String) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.systemd)).args(["-m", "-p", "-C", "-i", "-u"]);
        let output = command.args(["sh", "-c", script]).stdin(Stdio::null()).output().expect("util-linux");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
    }

    fn done(&self, script: &str) -> String {
        let (done, said) = self.run(script);
        assert!(done, "{script}: {said}");
        said
    }

    fn property(&self, name: &str) -> String {
        self.done(&format!("systemctl show waterspout.service --property={name} --value"))
    }

    /// Asks the main process for a successor, and waits until systemd takes that for it.
    fn take_over(&self) {
        let before = self.property("MainPID");
        self.done("systemctl kill --kill-whom=main --signal=SIGUSR2 waterspout.service");
        until("systemd follows the successor", || self.property("MainPID") != before);
        assert_eq!(self.property("ActiveState"), "active");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = kill_process(self.systemd, Signal::KILL);
        let _ = self.outer.kill();
        let _ = self.outer.wait();
        // Its processes' groups, innermost first; they end with the first process.
        let began = std::time::Instant::now();
        while self.group.exists() && began.elapsed() < crate::support::PATIENCE {
            let _ = Command::new("find").arg(&self.group).args(["-depth", "-type", "d", "-delete"]).output();
        }
    }
}

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn under_systemd_the_shipped_units_start_take_over_reload_restart_and_stop() {
    let folder = Folder::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    folder.write("waterspout.service", unit("waterspout.service"));
    let socket = unit("waterspout.socket");
    let here = socket.replace("ListenStream=443", &format!("ListenStream=127.0.0.1:{port}"));
    assert_ne!(here, socket, "the socket unit has a port");
    folder.write("waterspout.socket", here);
    let config = format!(
        "[[listener]]\naddress = 'systemd:web'\n[admin]\nlisten = 'unix:{ADMIN}'\n\
         [route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n"
    );
    folder.write("waterspout.toml", config);
    folder.write("echo.wasm", handlers::echo_module());
    fs::create_dir_all(folder.path("opt/waterspout/bin")).expect("ours");
    super::install(folder.command().get_program().as_ref(), &folder.path("opt/waterspout/bin/waterspout"));
    let machine = match Machine::boot(&folder) {
        Ok(machine) => machine,
        Err(why) => {
            eprintln!("skipped: no systemd of its own: {why}");
            return;
        }
    };

    // `Type=notify`: it accepts when the command returns. systemd listens itself, as the socket's unit says.
    machine.done("systemctl start waterspout.socket waterspout.service");
    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(machine.property("OOMPolicy"), "continue");
    let mut stays = client(address, "/echo");
    echoes(&mut stays, "the first one's");
    let first = machine.property("MainPID");

    // Another version of the file, and the one after it.
    for _ in 0..2 {
        machine.done("cd /opt/waterspout/bin && install -m 755 waterspout new && mv new waterspout");
        machine.take_over();
        echoes(&mut stays, "still the first one's");
        echoes(&mut client(address, "/echo"), "the new one's");
    }
    // It sees no process but its own, as the unit says, and so the sandbox lets it look at itself.
    let admin = PathBuf::from(format!("/proc/{}/root{ADMIN}", machine.systemd));
    let metrics = super::sockets::get_over_unix(&admin, "/metrics").expect("the admin listener answers");
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
        assert!(metrics.lines().any(|line| line.starts_with(&format!("{name} "))), "no {name}: {metrics}");
    }
    machine.done("systemctl reload waterspout.service");
    assert_eq!(machine.property("ActiveState"), "active");

    // systemd's own child ends: the service does not.
    stays.close(None).expect("open");
    while stays.read().is_ok() {}
    until("the first one ends", || !machine.run(&format!("kill -0 {first}")).0);
    assert_eq!(
        (machine.property("ActiveState"), machine.property("NRestarts")),
        ("active".into(), "0".into())
    );
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));

    // A successor that dies is the service's death, and systemd starts it again; who connects meanwhile waits in its socket.
    let main = machine.property("MainPID");
    machine.done(&format!("kill -KILL {main}"));
    echoes(&mut client(address, "/echo"), "after a restart");
    assert_eq!(machine.property("NRestarts"), "1");

    // To stop is to close the connections of all processes.
    let mut of_old = client(address, "/echo");
    echoes(&mut of_old, "old");
    machine.take_over();
    let mut of_new = client(address, "/echo");
    echoes(&mut of_new, "new");
    machine.done("systemctl stop --no-block waterspout.service");
    for client in [&mut of_old, &mut of_new] {
        assert!(client.read().expect("a close frame").is_close());
        while client.read().is_ok() {}
    }
    until("the service is stopped", || machine.property("ActiveState") == "inactive");
    assert_eq!(machine.property("Result"), "success");
}
