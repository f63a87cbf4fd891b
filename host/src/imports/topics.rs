//! `interface topics`: messages to every connection that subscribed.

use super::connection::wire_message;
use super::{Answer, GuestState, answer};
use crate::connection::compression::Published;
use crate::connection::link::LinkError;
use crate::handler::bindings::topics;
use crate::handler::bindings::types::{Error, IncomingMessage};
use crate::limits::records::Kind;

impl topics::Host for GuestState {
    async fn publish(&mut self, topic: String, message: IncomingMessage) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        let limits = &self.route.limits;
        let message = wire_message(message);
        if topic.is_empty() || topic.len() > limits.max_topic_bytes {
            return answer(Err(LinkError::Invalid(format!(
                "a topic has 1 to {} bytes",
                limits.max_topic_bytes
            ))));
        }
        if message.len() > limits.max_message_bytes {
            return answer(Err(LinkError::Limit("max-message-bytes".into())));
        }
        let windows = self.tenancy.topics.windows(&topic);
        if !windows.is_empty() {
            // It may wait for that.
            self.count_handles()?;
        }
        let compressing = Published::new(message.clone(), windows, &self.tenancy);
        let message = match tokio::time::timeout_at(self.wait_until(), compressing).await {
            Ok(message) => message,
            Err(_) => Published::plain(message),
        };
        for link in self.tenancy.topics.publish(&topic, &message) {
            if let Some(untold) = self.metrics.records.tell(Kind::PublishedDrops) {
                tracing::warn!(
                    tenant = self.tenancy.name, connection = %link.id(), untold,
                    "published messages are dropped: the subscriber's queue is full"
                );
            }
        }
        Ok(Ok(()))
    }
}
