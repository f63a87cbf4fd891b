//! `waterspout serve --sandbox`: what is to be made ready while there are privileges, and what is in force afterwards.

use std::path::Path;

use waterspout::CacheFolders;
use waterspout::config::Config;
use waterspout::sandbox::{Sandbox, User};

/// Confines this process to what the configuration needs. Sockets that need privileges are reserved already; there are no threads.
pub(super) fn confine(config: &mut Config, file: Option<&Path>) -> anyhow::Result<()> {
    let user = User::to_become(config.user.as_deref())?;
    make_folders(config, user.as_ref())?;
    let sandbox = Sandbox::of_process().and(Sandbox::of_server(config, file));
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
    Ok(())
}

/// The folders of cache and state have to be there for rules to be about them, and to belong to who uses them.
fn make_folders(config: &mut Config, user: Option<&User>) -> anyhow::Result<()> {
    let Some(folders) = &mut config.runtime.cache else { return Ok(()) };
    let Some(user) = user else {
        // The user's own: what is wrong with them is told where they are used, and the server does without.
        let _ = folders.make(None);
        return Ok(());
    };
    // Root's own would be closed to the user.
    if let Some(of_root) = CacheFolders::of_user() {
        let of_service = CacheFolders::of_service();
        if folders.cache == of_root.cache {
            folders.cache = of_service.cache;
        }
        if folders.state == of_root.state {
            folders.state = of_service.state;
        }
    }
    folders.make(Some(user.ids())).map_err(|error| anyhow::anyhow!("cache of compiled handlers: {error}"))
}
