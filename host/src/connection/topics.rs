//! Publish and subscribe within one process: who gets what is published under a name.
//!
//! A message is in the queue of every subscriber before [`Topics::publish`] returns; its bytes are shared, not copied.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::connection::compression::{Published, WindowBits};
use crate::connection::link::{Link, LinkError};

/// The topics of one tenant: all its routes share them.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// Subscribers by topic and by the address of their [`Link`], which stays the same as long as this holds it.
    subscribers: RwLock<HashMap<String, Subscribers>>,
}

#[derive(Debug, Default)]
struct Subscribers {
    links: HashMap<usize, Arc<Link>>,
    /// The windows for which a message can be compressed once, and how many links have each: so that nothing is compressed while the
    /// subscribers are locked.
    windows: HashMap<WindowBits, usize>,
}

impl Subscribers {
    fn add(&mut self, link: &Arc<Link>) {
        self.links.insert(link.address(), link.clone());
        if let Some(ready_made) = link.ready_made() {
            *self.windows.entry(ready_made.window_bits).or_default() += 1;
        }
    }

    fn remove(&mut self, link: &Link) {
        if self.links.remove(&link.address()).is_some()
            && let Some(ready_made) = link.ready_made()
            && let Some(count) = self.windows.get_mut(&ready_made.window_bits)
        {
            *count -= 1;
            if *count == 0 {
                self.windows.remove(&ready_made.window_bits);
            }
        }
    }
}

impl Topics {
    /// From now on `link` is sent what is published under `topic`; a second time changes nothing.
    pub(crate) fn subscribe(&self, link: &Arc<Link>, topic: &str) -> Result<(), LinkError> {
        let mut subscribers = self.subscribers.write().unwrap_or_else(PoisonError::into_inner);
        if link.add_topic(topic)? {
            subscribers.entry(topic.to_owned()).or_default().add(link);
        }
        Ok(())
    }

    pub(crate) fn unsubscribe(&self, link: &Link, topic: &str) {
        link.remove_topic(topic);
        self.forget(link, [topic]);
    }

    /// Removes `link` from topics that it no longer counts as its own.
    pub(crate) fn forget(&self, link: &Link, topics: impl IntoIterator<Item = impl AsRef<str>>) {
        let mut subscribers = None;
        for topic in topics {
            let subscribers = subscribers
                .get_or_insert_with(|| self.subscribers.write().unwrap_or_else(PoisonError::into_inner));
            if let Some(on_topic) = subscribers.get_mut(topic.as_ref()) {
                on_topic.remove(link);
                if on_topic.links.is_empty() {
                    subscribers.remove(topic.as_ref());
                }
            }
        }
    }

    /// The windows for which a message for `topic` is compressed once for all that have them.
    pub(crate) fn windows(&self, topic: &str) -> Vec<WindowBits> {
        self.lock().get(topic).map_or_else(Vec::new, |on_topic| on_topic.windows.keys().copied().collect())
    }

    /// Puts a message into the queue of every subscriber; full queues drop it. Returns the subscribers of which it is the first that
    /// their queues drop.
    pub(crate) fn publish(&self, topic: &str, message: &Published) -> Vec<Arc<Link>> {
        let subscribers = self.lock();
        let links = subscribers.get(topic).into_iter().flat_map(|on_topic| on_topic.links.values());
        let is_first_drop = |link: &&Arc<Link>| {
            link.deliver_published(message.form(link.ready_made()).clone(), message.plain_bytes())
        };
        links.filter(is_first_drop).cloned().collect()
    }

    /// Whether nobody is subscribed to anything.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> RwLockReadGuard<'_, HashMap<String, Subscribers>> {
        self.subscribers.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http::HeaderValue;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::connection::compression::{
        Budget, CompressionMemory, CompressionPolicy, Deflate, Reservation,
    };
    use crate::limits::Limits;
    use crate::limits::SlowConsumer;
    use crate::limits::records::Records;
    use crate::limits::tenants::{Tenancy, Tenant};

    fn publisher() -> Arc<Tenancy> {
        Tenancy::new(&Tenant::default(), &Budget::unlimited(), &Arc::default())
    }

    fn link() -> Arc<Link> {
        let limits = Limits { max_topics: 2, max_topic_bytes: 8, ..Limits::default() };
        Arc::new(Link::new(&limits, SlowConsumer::Drop, Reservation::default()))
    }

    #[tokio::test]
    async fn only_subscribers_get_what_is_published_and_each_once() {
        let topics = Topics::default();
        let (subscriber, stranger) = (link(), link());
        topics.subscribe(&subscriber, "news").expect("subscribed");
        topics.subscribe(&subscriber, "news").expect("subscribed again");
        let message = Published::new(Message::text("abc"), topics.windows("news"), &publisher()).await;
        topics.publish("news", &message);
        topics.publish("other", &message);
        assert_eq!((subscriber.buffered_amount(), stranger.buffered_amount()), (3, 0));
    }

    fn ready_made_link(bits: u8) -> Arc<Link> {
        let offer = format!("permessage-deflate; server_no_context_takeover; server_max_window_bits={bits}");
        let limits = Limits::default();
        let memory = CompressionMemory::new(&Budget::unlimited(), &limits);
        let policy = CompressionPolicy::default();
        let settings = policy.settings((None, None), &limits, &memory.budget).expect("defaults");
        let offers = [HeaderValue::from_str(&offer).expect("a header")];
        let agreed = Deflate::accept(&offers, settings, &memory, &Records::default()).expect("accepted");
        let link = link();
        link.take_ready_made(agreed.ready_made().expect("no takeover"));
        link
    }

    fn queued(link: &Link) -> Message {
        let mut queue = VecDeque::new();
        link.take(&mut queue);
        queue.pop_front().expect("a message")
    }

    #[tokio::test]
    async fn a_message_is_compressed_once_for_all_with_one_window() {
        let topics = Topics::default();
        let (one, two, smaller, plain) =
            (ready_made_link(15), ready_made_link(15), ready_made_link(9), link());
        for link in [&one, &two, &smaller, &plain] {
            topics.subscribe(link, "news").expect("subscribed");
        }
        let mut windows = topics.windows("news");
        windows.sort();
        assert_eq!(windows, [WindowBits::MIN, WindowBits::MAX]);
        for size in [1_000, 200_000] {
            let text = Message::text("the news, ".repeat(size / 10));
            topics.publish("news", &Published::new(text.clone(), topics.windows("news"), &publisher()).await);
            let frames = [&one, &two, &smaller].map(|link| match queued(link) {
                Message::Frame(frame) => frame.into_payload(),
                other => panic!("not compressed: {other:?}"),
            });
            // The very same bytes, not a copy.
            assert_eq!(frames[0].as_ptr(), frames[1].as_ptr());
            assert_ne!(frames[0], frames[2]);
            assert_eq!(queued(&plain), text);
        }
        // What is under the threshold, or was compressed for others, goes plain.
        for message in [
            Published::new(Message::text("x"), topics.windows("news"), &publisher()).await,
            Published::plain(Message::text("y")),
        ] {
            topics.publish("news", &message);
            assert!(queued(&one).is_text());
        }
        topics.unsubscribe(&smaller, "news");
        assert_eq!(topics.windows("news"), [WindowBits::MAX]);
    }

    #[tokio::test]
    async fn of_large_messages_a_tenant_has_one_compressed_at_a_time_and_others_have_theirs() {
        let (busy, other) = (publisher(), publisher());
        let large = || Message::text("the news, ".repeat(20_000));
        let compressed =
            async |publisher| !Published::new(large(), vec![WindowBits::MAX], publisher).await.is_plain();
        let running = busy.try_compressing().expect("the first");
        assert!(!compressed(&busy).await, "each connection compresses it for itself");
        assert!(compressed(&other).await);
        drop(running);
        assert!(compressed(&busy).await);
        assert!(busy.try_compressing().is_some(), "it is over");
    }

    #[test]
    fn who_unsubscribed_or_ended_is_forgotten() {
        let topics = Topics::default();
        let (one, two) = (link(), link());
        topics.subscribe(&one, "news").expect("subscribed");
        topics.subscribe(&two, "news").expect("subscribed");
        topics.unsubscribe(&one, "news");
        two.end(&topics);
        assert!(topics.subscribers.read().expect("no panic").is_empty());
        assert_eq!(topics.subscribe(&two, "news"), Err(LinkError::Closed));
    }

    #[test]
    fn topics_are_bounded_in_number_and_length() {
        let topics = Topics::default();
        let link = link();
        assert!(matches!(topics.subscribe(&link, "123456789"), Err(LinkError::Invalid(_))));
        assert!(matches!(topics.subscribe(&link, ""), Err(LinkError::Invalid(_))));
        topics.subscribe(&link, "12345678").expect("the longest");
        topics.subscribe(&link, "b").expect("the second");
        assert_eq!(topics.subscribe(&link, "c"), Err(LinkError::Limit("max-topics".into())));
    }
}
