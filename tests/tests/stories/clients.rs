//! Clients that are not ours (tests/clients): Python's, Node's and a browser. Each program checks much by itself; here all of
//! its checks must be ok.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use waterspout::Page;
use waterspout_tests::{Guest, Identity, TestHost};

/// How long a whole program may take; each of its checks has a shorter bound of its own.
const PATIENCE: Duration = Duration::from_secs(300);

struct Hosts {
    echo: TestHost,
    gate: TestHost,
    chat: TestHost,
}

impl Hosts {
    /// As tests/clients/README.md has them.
    async fn start() -> Self {
        let page = Page::from_file(&root().join("example-guests/chat.html")).expect("the chat has a page");
        Self {
            echo: TestHost::new(Guest::Echo).own_page().start().await,
            gate: TestHost::new(Guest::named("gatekeeper"))
                .path("/gate/{area}")
                .route(|route| {
                    route.config = [("token", "sesame"), ("domain", "example.com")]
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .into();
                })
                .start()
                .await,
            chat: TestHost::new(Guest::named("chat"))
                .path("/chat/{room}")
                .instance("{room}")
                .page(page)
                .start()
                .await,
        }
    }

    /// The addresses for a program that speaks WebSocket itself.
    fn addresses(&self) -> Vec<String> {
        [
            ("--echo", format!("ws://{}/websocket", self.echo.address())),
            ("--gate", format!("ws://{}/gate/{{area}}", self.gate.address())),
            ("--chat", format!("ws://{}/chat/{{room}}", self.chat.address())),
        ]
        .into_iter()
        .flat_map(|(option, address)| [option.to_owned(), address])
        .collect()
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the workspace's root folder")
        .to_owned()
}

/// What `cargo xtask setup` put into target/clients.
pub(crate) fn installed(name: &str) -> PathBuf {
    let path = root().join("target/clients").join(name);
    assert!(path.exists(), "{} is missing: get it with `cargo xtask setup`", path.display());
    path
}

/// Runs a program whose every check must be ok.
pub(crate) async fn all_is_ok(program: &mut Command) {
    program.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, program.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{program:?} has not ended after {PATIENCE:?}"));
    let output = output.unwrap_or_else(|error| panic!("{program:?} does not start: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let failed =
        || format!("{program:?}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", failed());
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed > 0 && !text.contains("not ok"), "{}", failed());
    assert_eq!(text.lines().last(), Some(format!("{passed} passed, 0 failed").as_str()), "{}", failed());
}

pub(crate) fn python() -> Command {
    let mut python = Command::new(installed("python/bin/python"));
    // Without this it would write its bytecode among the sources.
    python.arg("-B").arg(root().join("tests/clients/python/test_clients.py"));
    python
}

/// Modules are found in the folder where it runs.
pub(crate) fn node(program: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(root().join("tests/clients").join(program)).current_dir(installed("node"));
    node
}

#[tokio::test]
async fn pythons_websockets_and_tornados_client_agree_with_us() {
    let hosts = Hosts::start().await;
    all_is_ok(python().args(hosts.addresses())).await;
}

#[tokio::test]
async fn the_newest_tornado_agrees_with_us() {
    let hosts = Hosts::start().await;
    all_is_ok(python().args(hosts.addresses()).env("PYTHONPATH", installed("python/newest"))).await;
}

#[tokio::test]
async fn nodes_ws_agrees_with_us() {
    let hosts = Hosts::start().await;
    all_is_ok(node("node/clients.mjs").args(hosts.addresses())).await;
}

#[tokio::test]
async fn a_browser_shows_the_hosts_page_and_the_chat_to_two_people() {
    let hosts = Hosts::start().await;
    let mut browser = node("browser/browser.mjs");
    browser.arg("--chromium").arg(installed("chromium/run"));
    for (option, host) in [("--page", &hosts.echo), ("--chat", &hosts.chat)] {
        browser.args([option, &format!("{}/", host.origin())]);
    }
    all_is_ok(&mut browser).await;
}

/// A host with TLS, and its certificate.
async fn over_tls() -> (Identity, TestHost) {
    let identity = Identity::new(&["localhost"]);
    let host = TestHost::new(Guest::Echo).own_page().tls(identity.certificates()).start().await;
    (identity, host)
}

/// How many connections were opened over HTTP/2, and how many otherwise.
fn opened(host: &TestHost) -> (usize, usize) {
    let all: Vec<_> = host.logs().into_iter().filter(|record| record.message == "open").collect();
    let http2 = all.iter().filter(|record| record.field("http") == "2").count();
    (http2, all.len() - http2)
}

#[tokio::test]
async fn nodes_http2_opens_websockets_as_streams() {
    let (identity, host) = over_tls().await;
    let url = format!("https://localhost:{}/websocket", host.second_address().port());
    all_is_ok(node("node/http2.mjs").args(["--echo", &url, "--ca"]).arg(identity.authority_file())).await;
    assert_eq!(opened(&host), (2, 0));
}

#[tokio::test]
async fn a_browsers_websockets_come_over_the_pages_http2() {
    let (_identity, host) = over_tls().await;
    let url = format!("https://localhost:{}/", host.second_address().port());
    let mut browser = node("browser/http2.mjs");
    browser.arg("--chromium").arg(installed("chromium/run")).args(["--page", &url]);
    all_is_ok(&mut browser).await;
    assert_eq!(opened(&host), (2, 0));
}
