//! Publish and subscribe within one process: who gets what is published under a name.
//!
//! A message is in the queue of every subscriber before [`Topics::publish`] returns; its bytes are shared, not copied.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::compression::{Published, ReadyMade};
use crate::link::{Link, LinkError};

/// The topics of one application: all its routes share them.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// Subscribers by topic and by the address of their [`Link`], which stays the same as long as this holds it.
    subscribers: RwLock<HashMap<String, Subscribers>>,
}

#[derive(Debug, Default)]
struct Subscribers {
    links: HashMap<usize, Arc<Link>>,
    /// How messages are compressed once for several of the links, and for how many: so that nothing is compressed while the
    /// subscribers are locked.
    kinds: HashMap<ReadyMade, usize>,
}

impl Subscribers {
    fn add(&mut self, link: &Arc<Link>) {
        self.links.insert(link.address(), link.clone());
        if let Some(ready_made) = link.ready_made() {
            *self.kinds.entry(ready_made).or_default() += 1;
        }
    }

    fn remove(&mut self, link: &Link) {
        if self.links.remove(&link.address()).is_some()
            && let Some(ready_made) = link.ready_made()
            && let Some(count) = self.kinds.get_mut(&ready_made)
        {
            *count -= 1;
            if *count == 0 {
                self.kinds.remove(&ready_made);
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

    /// How a message for `topic` is compressed once for several of its subscribers.
    pub(crate) fn kinds(&self, topic: &str) -> Vec<ReadyMade> {
        self.lock().get(topic).map_or_else(Vec::new, |on_topic| on_topic.kinds.keys().copied().collect())
    }

    /// Puts a message into the queue of every subscriber; full queues drop it.
    pub(crate) fn publish(&self, topic: &str, message: &Published) {
        for link in self.lock().get(topic).into_iter().flat_map(|on_topic| on_topic.links.values()) {
            link.deliver_published(message.form(link.ready_made()).clone(), message.plain_bytes());
        }
    }

    fn lock(&self) -> RwLockReadGuard<'_, HashMap<String, Subscribers>> {
        self.subscribers.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::limits::Limits;

    fn link() -> Arc<Link> {
        Arc::new(Link::new(&Limits { max_topics: 2, max_topic_bytes: 8, ..Limits::default() }))
    }

    #[tokio::test]
    async fn only_subscribers_get_what_is_published_and_each_once() {
        let topics = Topics::default();
        let (subscriber, stranger) = (link(), link());
        topics.subscribe(&subscriber, "news").expect("subscribed");
        topics.subscribe(&subscriber, "news").expect("subscribed again");
        let message = Published::new(Message::text("abc"), topics.kinds("news")).await;
        topics.publish("news", &message);
        topics.publish("other", &message);
        assert_eq!((subscriber.buffered_amount(), stranger.buffered_amount()), (3, 0));
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
