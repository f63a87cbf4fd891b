//! Any headers, as an offer and as an answer.

use tungstenite_deflate::negotiation::{accept, confirm, offer};
use tungstenite_deflate::{Agreed, Settings, WindowBits};

use super::input::Input;

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let server = input.settings();
    let client = input.settings();
    let headers: Vec<&[u8]> = input.rest().split(|byte| *byte == b'\n').collect();

    if let Some(accepted) = accept(&headers, &server) {
        assert_within(&accepted.response, &accepted.agreed, &server);
        // A client that can do everything is content with it, and understands the same.
        assert_eq!(confirm([&accepted.response], &Settings::default()), Ok(Some(accepted.agreed)));
    }

    // A client of ours, and what others may have put before its offer.
    let offered = offer(&client);
    let accepted = accept([&offered], &server).expect("ours can be accepted");
    assert_within(&accepted.response, &accepted.agreed, &server);
    assert_eq!(confirm([&accepted.response], &client), Ok(Some(accepted.agreed)));
    let mut others = headers.clone();
    others.push(offered.as_bytes());
    if let Some(other) = accept(&others, &server) {
        assert!(other == accepted || accept(&headers, &server).as_ref() == Some(&other));
    }

    if let Ok(Some(agreed)) = confirm(&headers, &client) {
        assert!(agreed.server_no_context_takeover || !client.server_no_context_takeover);
        assert!(agreed.client_no_context_takeover || !client.client_no_context_takeover);
        assert!(agreed.server_max_window_bits <= client.server_max_window_bits);
        assert!(agreed.client_max_window_bits <= client.client_max_window_bits);
    }
}

/// No more than the server is willing to do, in words that a header can carry.
fn assert_within(response: &str, agreed: &Agreed, server: &Settings) {
    assert!(response.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{response}");
    assert!(!response.contains("=8"), "{response}");
    assert!(agreed.server_no_context_takeover || !server.server_no_context_takeover);
    assert!(agreed.client_no_context_takeover || !server.client_no_context_takeover);
    assert!(agreed.server_max_window_bits <= server.server_max_window_bits);
    // A client that did not say that it can be limited is not.
    let limited = response.contains("client_max_window_bits");
    assert!(limited || agreed.client_max_window_bits == WindowBits::MAX);
    assert!(!limited || agreed.client_max_window_bits <= server.client_max_window_bits);
}
