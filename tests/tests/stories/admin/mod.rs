//! What an operator sees and does by the admin listener: counts, tenants, connections, kicks; and who is kept out.

mod access;
mod connections;
mod counts;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use waterspout::limits::TenantLimits;
use waterspout::{AdminOptions, Tenant};
use waterspout_tests::host::Builder;
use waterspout_tests::http::Request;
use waterspout_tests::{Answer, Metrics, TestHost, within};

const TOKEN: &str = "correct-horse-battery-staple";

/// A folder of a test's own, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("waterspout-admin-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// The file with the token, put in its place as a whole.
    fn token(&self, token: &str) -> PathBuf {
        let (new, file) = (self.0.join("new"), self.0.join("token"));
        std::fs::write(&new, token).expect("written");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("ours");
        std::fs::rename(new, &file).expect("ours");
        file
    }

    fn options(&self) -> AdminOptions {
        AdminOptions {
            address: "127.0.0.1:0".parse().expect("an address"),
            mode: None,
            token_file: Some(self.token(TOKEN)),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// With an admin listener.
pub(crate) async fn start(host: Builder) -> (TestHost, Folder) {
    let folder = Folder::new();
    (host.admin(folder.options()).start().await, folder)
}

fn ask(host: &TestHost, method: &str, target: &str) -> Request {
    host.admin_request(target).method(method).header("Authorization", format!("Bearer {TOKEN}"))
}

pub(crate) async fn metrics(host: &TestHost) -> Metrics {
    let answer = ask(host, "GET", "/metrics").answer().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Metrics::parse(answer.text())
}

/// Waits until so many connections are open: a client has its 101 a moment before the host says so.
async fn are_open(host: &TestHost, connections: usize) {
    within("connections to be open", async {
        while metrics(host).await.sum("waterspout_connections_open", &[]) != connections as f64 {}
    })
    .await;
}

pub(crate) async fn json(host: &TestHost, method: &str, target: &str) -> Value {
    let answer = ask(host, method, target).answer().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{}",
        answer.text()
    );
    serde_json::from_str(answer.text()).expect("JSON")
}

fn tenant(name: &str, change: impl FnOnce(&mut TenantLimits)) -> Tenant {
    let mut total = TenantLimits::default();
    change(&mut total);
    Tenant { name: name.into(), total }
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.text().trim_end())
}
