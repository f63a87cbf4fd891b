//! What a predecessor says to its successor.

use serde::{Deserialize, Serialize};

/// The version of all this. A successor that knows another refuses.
pub(super) const PROTOCOL: u32 = 1;

/// One line of JSON; as many descriptors follow as there are sockets, in their order.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Message {
    pub(super) protocol: u32,
    pub(super) sockets: Vec<Socket>,
    /// Tenant and name of each route whose handler is being served.
    pub(super) routes: Vec<(String, String)>,
    /// Memory that the process may have; who is in a sandbox may not ask for it.
    pub(super) memory_bytes: usize,
    pub(super) confined: Option<Confined>,
}

/// One descriptor.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Socket {
    pub(super) purpose: Purpose,
    /// As the operator has written it.
    pub(super) address: String,
    /// Its file goes with whoever has the socket last.
    pub(super) has_file: bool,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Connections come from it.
    Listener,
    /// The operator asks there.
    Admin,
    /// Connected to whoever supervises the process (`sd_notify(3)`).
    Supervisor,
}

/// That the predecessor is in a sandbox, in which its successor is, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Confined {
    /// Root has started the first one, which became another user: folders are those of a service and not root's.
    pub of_service: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_version_says_in_addition_is_passed_over() {
        let text = r#"{"protocol":1,"sockets":[{"purpose":"admin","address":"unix:a","has-file":true,"new":1}],
            "routes":[["default","chat"]],"memory-bytes":7,"confined":{"of-service":true},"newer":[]}"#;
        let message: Message = serde_json::from_str(text).expect("known");
        assert_eq!(message.sockets[0].purpose, Purpose::Admin);
        assert_eq!(message.confined, Some(Confined { of_service: true }));
    }
}
