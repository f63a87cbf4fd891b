//! `waterspout serve --sandbox`: what is to be made ready while there are privileges, and what is in force afterwards, also for the
//! process that takes this one's place.

use std::path::Path;

use waterspout::config::Config;
use waterspout::sandbox::{Grant, Right, Sandbox, User};
use waterspout::takeover::Confined;
use waterspout::{CacheFolders, StateDir};

/// Confines this process to what the configuration needs, and to executing `program` anew. Sockets that need privileges are reserved
/// already; there are no threads.
pub(super) fn confine(config: &mut Config, file: Option<&Path>, program: &Path) -> anyhow::Result<Confined> {
    let user = User::to_become(config.user.as_deref())?;
    make_folders(config, user.as_ref())?;
    let successor = Grant { path: program.into(), right: Right::ExecuteRenewed };
    let successor = Sandbox { grants: vec![successor], ..Sandbox::default() };
    let sandbox = Sandbox::of_process().and(Sandbox::of_server(config, file)).and(successor);
    let confined = sandbox.apply(user.as_ref())?;
    tracing::info!(
        user = rustix::process::geteuid().as_raw(),
        no_new_privs = true,
        landlock = confined.landlock,
        paths = confined.paths,
        connect_ports = sandbox.connect.len(),
        "the sandbox is in force"
    );
    if !confined.missing.is_empty() {
        tracing::warn!(missing = confined.missing.join(", "), "this kernel cannot forbid everything");
    }
    for file in &confined.alone {
        tracing::warn!(
            file = %file.display(),
            remedy = "give it a folder of its own",
            "this file may not be read any more once another has replaced it"
        );
    }
    Ok(Confined { of_service: user.is_some() })
}

/// The sandbox of the process whose place this one takes holds here, too, for ever: nothing is added to it, and nothing taken away.
pub(super) fn inherit(config: &mut Config, confined: Confined) -> anyhow::Result<()> {
    if confined.of_service
        && let Some(folders) = &mut config.runtime.cache
    {
        keep_out_of_roots(folders);
    }
    if !config.sandbox {
        tracing::warn!(
            remedy = "restart the server",
            "`sandbox` is off by now, but the process that this one takes over from is in one: it stays"
        );
    }
    tracing::info!(
        user = rustix::process::geteuid().as_raw(),
        "the sandbox of the process that this one takes over from is in force"
    );
    Ok(())
}

/// The folders of cache and state have to be there for rules to be about them, and to belong to who uses them.
fn make_folders(config: &mut Config, user: Option<&User>) -> anyhow::Result<()> {
    if let Some(folder) = &config.state_dir {
        StateDir::make(folder, user.map(User::ids))?;
    }
    let Some(folders) = &mut config.runtime.cache else { return Ok(()) };
    let Some(user) = user else {
        // The user's own: what is wrong with them is told where they are used, and the server does without.
        let _ = folders.make(None);
        return Ok(());
    };
    keep_out_of_roots(folders);
    folders.make(Some(user.ids())).map_err(|error| anyhow::anyhow!("cache of compiled handlers: {error}"))
}

/// Root's own would be closed to the user.
fn keep_out_of_roots(folders: &mut CacheFolders) {
    if let Some(of_root) = CacheFolders::of_user() {
        let of_service = CacheFolders::of_service();
        if folders.cache == of_root.cache {
            folders.cache = of_service.cache;
        }
        if folders.state == of_root.state {
            folders.state = of_service.state;
        }
    }
}
