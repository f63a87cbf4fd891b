//! The client that the Autobahn|Testsuite tests: the crate's own, which sends every message back, once for each case.
//!
//! `autobahn-client URL AGENT`; `cargo xtask autobahn` starts the suite and this.

use std::env;
use std::process::ExitCode;

use tokio_tungstenite::tungstenite::http::Request;
use tungstenite_deflate::Settings;
use waterspout::client::{self, ClientConnection, ConnectError, ConnectOptions};

/// The longest messages of the suite's section 9.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, agent] = arguments.as_slice() else {
        eprintln!("usage: autobahn-client URL AGENT");
        return ExitCode::FAILURE;
    };
    match run(url, agent).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("autobahn-client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(url: &str, agent: &str) -> Result<(), ConnectError> {
    let mut count = String::new();
    let mut connection = connect(&format!("{url}/getCaseCount")).await?;
    while let Some(message) = connection.read_message().await {
        count = message.to_text().unwrap_or_default().to_owned();
    }
    let cases: usize = count.parse().expect("the suite says how many cases it has");

    for case in 1..=cases {
        // That a case fails is for the suite to judge, and to miss in its report.
        match connect(&format!("{url}/runCase?case={case}&agent={agent}")).await {
            Ok(connection) => echo(connection).await,
            Err(error) => println!("case {case} of {cases}: {error}"),
        }
    }

    let mut connection = connect(&format!("{url}/updateReports?agent={agent}")).await?;
    while connection.read_message().await.is_some() {}
    Ok(())
}

async fn echo(mut connection: ClientConnection) {
    while let Some(message) = connection.read_message().await {
        // Closed: what arrived before is read all the same.
        let _ = connection.write_message(message).await;
    }
}

async fn connect(url: &str) -> Result<ClientConnection, ConnectError> {
    let request = Request::get(url).body(()).expect("the suite's URLs are URLs");
    let options = ConnectOptions {
        max_message_bytes: MAX_MESSAGE_BYTES,
        // Section 9 sends 4 MiB in frames of 64 bytes.
        max_fragments: 100_000,
        compression: Some(Settings::default()),
        ..ConnectOptions::default()
    };
    client::connect(request, options).await
}
