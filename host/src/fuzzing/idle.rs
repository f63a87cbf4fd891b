//! What is free and what is in use. Before a connection and after it, it is the same.

use std::time::Duration;

use crate::server::application::Application;

/// What an application has left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Idle {
    /// Of each route: permits of its tenant (connections, instances), its own (instances), and slots of its engine's class.
    permits: Vec<[usize; 4]>,
    /// Of each route's tenant, in bytes.
    memory: Vec<usize>,
    /// No tenant has a subscriber left.
    no_topics: bool,
    no_connections: bool,
}

/// Longer than anything of a connection may last, by a clock that waits for nobody.
const PATIENCE: Duration = Duration::from_secs(300);

impl Idle {
    pub(super) fn of(application: &Application) -> Self {
        let endpoints = || application.endpoints();
        Self {
            permits: endpoints()
                .map(|endpoint| {
                    let [connections, instances] = endpoint.tenancy.free_permits();
                    let free_slots =
                        endpoint.versions.current().map_or(0, |version| version.handler.free_slots());
                    [connections, instances, endpoint.free_permits(), free_slots]
                })
                .collect(),
            memory: endpoints().map(|endpoint| endpoint.memory().used()).collect(),
            no_topics: endpoints().all(|endpoint| endpoint.tenancy.topics.is_empty()),
            no_connections: application.open_connections().is_empty(),
        }
    }

    /// Waits until everything has been given back; the clock must be one that can be stopped, and stand still.
    ///
    /// # Panics
    /// Something never is.
    pub(super) async fn returns(&self, application: &Application) {
        let returned = async {
            while Self::of(application) != *self {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, returned).await.is_err() {
            panic!("never given back: {:?}; it was {self:?}", Self::of(application));
        }
    }
}
