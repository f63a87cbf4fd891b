//! One suite for every language with an SDK: for each feature of the interface a story that does not know which language it talks to.
//! The handlers are in `tests/conformance`, whose README has what each of them does; `docs/languages.md` has the matrix.

mod client;
mod connection;
mod failures;
mod handshake;
mod messages;
mod state;
mod surroundings;
mod topics;

use waterspout_tests::host::Builder;
use waterspout_tests::{Guest, TestHost};

/// A language, by the name of its folder in `tests/conformance`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Language(&'static str);

impl Language {
    fn guest(self) -> Guest {
        Guest::named(format!("{}-conformance", self.0))
    }

    /// A host whose only route has this language's handler; the path's last segment chooses the feature.
    fn host(self) -> Builder {
        TestHost::new(self.guest()).path("/{feature}")
    }
}

/// The stories of one language.
macro_rules! stories {
    ($language:ident: $($file:ident::$feature:ident)+) => {
        mod $language {
            $(#[tokio::test]
            async fn $feature() {
                super::$file::$feature(super::Language(stringify!($language))).await;
            })+
        }
    };
}

/// Every feature, in every language.
macro_rules! features {
    ($($file:ident::$feature:ident)+) => {
        /// The features, as the matrix has them.
        const FEATURES: &[&str] = &[$(stringify!($feature)),+];
        stories! { rust: $($file::$feature)+ }
        stories! { javascript: $($file::$feature)+ }
        stories! { python: $($file::$feature)+ }
        stories! { c: $($file::$feature)+ }
        stories! { go: $($file::$feature)+ }
    };
}

features! {
    messages::text_and_binary_messages
    messages::large_messages
    messages::many_large_messages
    messages::json
    handshake::the_request
    handshake::headers_of_the_answer
    handshake::rejection
    handshake::origins
    handshake::subprotocols
    handshake::compression
    connection::open_and_id
    connection::ping_and_pong
    connection::close_by_the_handler
    connection::close_by_the_peer
    connection::refused_codes_and_reasons
    connection::flow_control
    connection::nodelay
    topics::publish_and_subscribe
    topics::timers
    client::connect_and_read
    client::connect_errors
    client::connect_options
    client::start_and_events
    client::start_errors
    state::a_handlers_state_survives_a_swap
    state::values_of_every_kind_survive_a_swap
    state::a_state_may_be_refused
    state::upstream_connections_go_over_a_swap
    state::shared_state
    state::shared_state_may_be_refused
    surroundings::output_is_logged
    surroundings::clocks_and_randomness
    surroundings::configuration
    failures::before_the_answer
    failures::while_connected
    failures::while_swapping
}

/// The languages, as the matrix has them.
const LANGUAGES: [&str; 5] = ["rust", "javascript", "python", "c", "go"];

#[test]
fn the_matrix_in_the_documentation_has_every_feature_and_every_language() {
    let page = include_str!("../../../../docs/languages.md");
    let rows: Vec<&str> = page.lines().skip_while(|line| !line.starts_with("| feature |")).collect();
    let head = format!("| feature | {} |", LANGUAGES.join(" | "));
    assert_eq!(rows.first().copied(), Some(head.as_str()));
    let documented: Vec<&str> = rows.iter().skip(2).take_while(|row| row.starts_with('|')).copied().collect();
    let expected: Vec<String> = FEATURES
        .iter()
        .map(|feature| format!("| {} |{}", feature.replace('_', " "), " ✓ |".repeat(LANGUAGES.len())))
        .collect();
    assert_eq!(documented, expected, "expected:\n{}", expected.join("\n"));
}
