//! zlib in Python's standard library as the other end: `peer.py` sends every message back, recompressed.
//!
//! Every window × both takeovers × both roles, each with the other direction's window as well as its own: 56 agreements, among
//! which every pair of windows occurs. The script inflates with exactly the window that was agreed, so that a reference to anything
//! before it is an error. Needs python3.

use std::fmt;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite_deflate::{Agreed, DeflateStream, Level, MemLevel, Settings, WindowBits, ready_made};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer.py");
/// What the cases are drawn from; another number is another set of cases.
const SEED: u8 = 7;
/// For each agreement.
const CASES: u32 = 5;
/// A conversation that takes longer has stopped.
const DEADLINE: Duration = Duration::from_secs(20);
const MOST_BYTES: usize = 200_000;

/// Bytes that are easily told, and of a shape that matters.
#[derive(Clone)]
enum Content {
    /// Characters of one to four bytes, so many times over.
    Text(String, usize),
    /// Random bytes, repeated after `period`: nothing to find where that is more than `length`, or than the window.
    Periodic { seed: u8, period: usize, length: usize },
}

/// Without the text, which may be long.
impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text, times) => write!(formatter, "{text:.20?} of {} bytes × {times}", text.len()),
            Self::Periodic { seed, period, length } => {
                write!(formatter, "{length} bytes of seed {seed} with period {period}")
            }
        }
    }
}

impl Content {
    fn message(&self) -> Message {
        match self {
            Self::Text(text, times) => Message::text(text.repeat(*times)),
            Self::Periodic { seed, period, length } => {
                let pattern: Vec<u8> = random_bytes(*seed).take((*period).min(*length)).collect();
                Message::binary(pattern.into_iter().cycle().take(*length).collect::<Vec<u8>>())
            }
        }
    }
}

/// Xorshift: zlib finds nothing in it.
fn random_bytes(seed: u8) -> impl Iterator<Item = u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(seed);
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

fn content() -> impl Strategy<Value = Content> {
    let periodic = |period: BoxedStrategy<usize>, length: BoxedStrategy<usize>| {
        // Few seeds: a message repeats what an earlier one said.
        (0..3_u8, period, length).prop_map(|(seed, period, length)| Content::Periodic {
            seed,
            period,
            length,
        })
    };
    let random = Just(usize::MAX).boxed();
    prop_oneof![
        2 => periodic(random.clone(), (0..=20_usize).boxed()),
        3 => ("\\PC{1,200}", 1..50_usize).prop_map(|(text, times)| Content::Text(text, times)),
        2 => periodic((1..=16_usize).boxed(), (0..=MOST_BYTES).boxed()),
        1 => periodic(random, (0..=MOST_BYTES).boxed()),
        4 => around_a_window().prop_flat_map(move |period| {
            periodic(Just(period).boxed(), (period..=4 * period).boxed())
        }),
    ]
}

/// Distances at which a window ends, and those at which zlib stops looking, 262 bytes before.
fn around_a_window() -> impl Strategy<Value = usize> {
    (9..=15_u32, prop_oneof![Just(0), Just(262)], 0..=4_usize)
        .prop_map(|(bits, margin, around)| (1 << bits) - margin + around - 2)
}

/// How we send a message.
#[derive(Debug, Clone)]
enum Sending {
    Whole,
    /// Cut there.
    Fragments(Vec<Index>),
    ReadyMade,
}

fn sending() -> impl Strategy<Value = Sending> {
    prop_oneof![
        3 => Just(Sending::Whole),
        1 => vec(any::<Index>(), 1..4).prop_map(Sending::Fragments),
        1 => Just(Sending::ReadyMade),
    ]
}

/// A conversation, and what is not negotiated.
#[derive(Debug, Clone)]
struct Case {
    messages: Vec<(Content, Sending)>,
    level: u8,
    mem_level: u8,
    threshold: Option<usize>,
    peer_mem_level: u8,
    peer_seed: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let threshold = prop_oneof![Just(None), Just(Some(0))];
    (vec((content(), sending()), 1..8), 0..=9_u8, 1..=9_u8, threshold, 1..=9_u8, any::<u32>()).prop_map(
        |(messages, level, mem_level, threshold, peer_mem_level, peer_seed)| Case {
            messages,
            level,
            mem_level,
            threshold,
            peer_mem_level,
            peer_seed,
        },
    )
}

fn window(bits: u8) -> WindowBits {
    WindowBits::try_from(bits).expect("9 to 15")
}

/// The peer has the other role.
fn spawn_peer(role: Role, agreed: &Agreed, case: &Case) -> anyhow::Result<Child> {
    let mut command = Command::new(python()?);
    // Nothing but the standard library: it starts three times as fast.
    command.args(["-I", "-S", PEER]);
    let server = (agreed.server_max_window_bits, agreed.server_no_context_takeover);
    let client = (agreed.client_max_window_bits, agreed.client_no_context_takeover);
    let (peer, theirs, ours) = match role {
        Role::Server => ("client", client, server),
        Role::Client => ("server", server, client),
    };
    command.args(["--role", peer]);
    for (direction, (bits, resets)) in [("send", theirs), ("receive", ours)] {
        command.arg(format!("--{direction}-bits={}", bits.get()));
        if resets {
            command.arg(format!("--{direction}-resets"));
        }
    }
    command.arg(format!("--mem-level={}", case.peer_mem_level)).arg(format!("--seed={}", case.peer_seed));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(command.spawn()?)
}

/// The interpreter itself: `python3` may be a version manager's script, which takes longer than what it starts.
fn python() -> anyhow::Result<&'static str> {
    static PATH: OnceLock<String> = OnceLock::new();
    if let Some(path) = PATH.get() {
        return Ok(path);
    }
    let output = std::process::Command::new("python3")
        .args(["-c", "import sys, zlib; print(sys.executable)"])
        .output()
        .context(
            "python3 is the other end of these tests and cannot be started: install Python 3.11 or newer",
        )?;
    ensure!(output.status.success(), "python3 has no zlib: {}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8(output.stdout)?;
    Ok(PATH.get_or_init(|| path.trim_end().to_owned()))
}

/// Every message comes back as it was; then both sides close.
async fn converse<S>(
    mut socket: WebSocketStream<S>,
    role: Role,
    agreed: &Agreed,
    settings: &Settings,
    messages: &[(Content, Sending)],
) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for (index, (content, sending)) in messages.iter().enumerate() {
        let message = content.message();
        match sending {
            Sending::Whole => socket.send(message.clone()).await?,
            Sending::Fragments(cuts) => {
                for fragment in fragments(&message, cuts) {
                    socket.send(fragment).await?;
                }
            }
            Sending::ReadyMade => {
                socket.send(ready_made(&message, agreed.compression(role, settings))).await?;
            }
        }
        let answer = loop {
            match socket.next().await.context("the peer is gone")?? {
                Message::Ping(_) => {}
                answer => break answer,
            }
        };
        if answer != message {
            let same = std::iter::zip(answer.clone().into_data(), message.clone().into_data())
                .take_while(|(one, other)| one == other);
            let (got, sent) = (answer.len(), message.len());
            bail!(
                "message {index} of {sent} bytes came back with {got}, alike in the first {}",
                same.count()
            );
        }
    }
    socket.close(None).await?;
    while let Some(message) = socket.next().await {
        ensure!(!message?.is_text(), "a message after the last one");
    }
    Ok(())
}

fn fragments(message: &Message, cuts: &[Index]) -> Vec<Message> {
    let opcode = if message.is_text() { Data::Text } else { Data::Binary };
    let bytes = message.clone().into_data();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.sort_unstable();
    let last = ends.len();
    ends.push(bytes.len());
    let starts = std::iter::once(0).chain(ends.clone());
    std::iter::zip(starts, ends)
        .enumerate()
        .map(|(index, (start, end))| {
            let opcode = OpCode::Data(if index == 0 { opcode } else { Data::Continue });
            Message::Frame(Frame::message(bytes.slice(start..end), opcode, index == last))
        })
        .collect()
}

async fn hold(role: Role, agreed: &Agreed, case: &Case) -> anyhow::Result<()> {
    let mut peer = spawn_peer(role, agreed, case)?;
    let stdin = peer.stdin.take().expect("piped");
    let stdout = peer.stdout.take().expect("piped");
    let settings = Settings {
        level: Level::try_from(case.level)?,
        mem_level: MemLevel::try_from(case.mem_level)?,
        threshold: case.threshold,
        ..Settings::default()
    };
    let stream = DeflateStream::new(tokio::io::join(stdout, stdin), role, agreed, &settings);
    let socket = WebSocketStream::from_raw_socket(stream, role, None).await;
    let conversation =
        tokio::time::timeout(DEADLINE, converse(socket, role, agreed, &settings, &case.messages)).await;
    let conversation = conversation.unwrap_or_else(|_| bail!("no answer within {DEADLINE:?}"));
    // Its input is closed now, so that it ends.
    let mut traceback = String::new();
    peer.stderr.take().expect("piped").read_to_string(&mut traceback).await?;
    let status = peer.wait().await?;
    match conversation {
        Ok(()) if status.success() => Ok(()),
        Ok(()) => bail!("the peer ended with {status}:\n{traceback}"),
        Err(error) => Err(error.context(format!("the peer ended with {status}:\n{traceback}"))),
    }
}

/// One role and one pair of takeovers with every window. `rotation` says how far the client's window is from the server's: over all
/// tests every pair of windows occurs.
fn every_window(
    role: Role,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    rotation: u8,
) {
    python().expect("a Python");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for server_bits in 9..=15 {
        let agreed = Agreed {
            server_no_context_takeover,
            client_no_context_takeover,
            server_max_window_bits: window(server_bits),
            client_max_window_bits: window(9 + (server_bits - 9 + rotation) % 7),
        };
        let config =
            Config { cases: CASES, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
        let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &[SEED; 32]);
        let outcome = TestRunner::new_with_rng(config, chance).run(&case(), |case| {
            let held = runtime.block_on(hold(role, &agreed, &case));
            held.map_err(|error| TestCaseError::fail(format!("{error:#}")))
        });
        if let Err(failure) = outcome {
            panic!("as {role:?}, {agreed:?}, seed {SEED}: {failure}");
        }
    }
}

#[test]
fn a_server_and_a_client_that_keep_their_contexts() {
    every_window(Role::Server, false, false, 0);
}

#[test]
fn a_server_that_keeps_its_context_and_a_client_that_does_not() {
    every_window(Role::Server, false, true, 1);
}

#[test]
fn a_server_that_keeps_no_context_and_a_client_that_does() {
    every_window(Role::Server, true, false, 2);
}

#[test]
fn a_server_and_a_client_that_keep_no_context() {
    every_window(Role::Server, true, true, 3);
}

#[test]
fn a_client_and_a_server_that_keep_their_contexts() {
    every_window(Role::Client, false, false, 4);
}

#[test]
fn a_client_that_does_not_keep_its_context_and_a_server_that_does() {
    every_window(Role::Client, false, true, 5);
}

#[test]
fn a_client_that_keeps_its_context_and_a_server_that_does_not() {
    every_window(Role::Client, true, false, 6);
}

#[test]
fn a_client_and_a_server_that_keep_no_context() {
    every_window(Role::Client, true, true, 0);
}
