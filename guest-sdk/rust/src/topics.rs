//! Publish and subscribe.

use crate::generated::app::waterspout::websocket::topics;
use crate::{Error, Message};

/// Sends a message to every connection that [subscribed](crate::Connection::subscribe) to `topic`, the publisher's
/// own among them. It is in the queue of every local subscriber when this returns.
///
/// # Errors
/// [`Limit`](Error::Limit), it is larger than a message may be; [`Denied`](Error::Denied);
/// [`Invalid`](Error::Invalid), no such topic can be.
pub fn publish(topic: &str, message: impl Into<Message>) -> Result<(), Error> {
    Ok(topics::publish(topic, &message.into())?)
}
