//! One connection's handler, wherever it lives: in an instance of its own, or at a place in a shared one.

use std::sync::Arc;

use crate::handler::bindings::types::CompressionOptions;
use crate::instance::instances::{Instances, SharedPlace};
use crate::instance::party::Party;
use crate::instance::{Answer, Call, CallFailure, Declined, Instance};
use crate::limits::Reached;
use crate::server::routes::InstanceKey;
use crate::swap::{Again, Seated, Succession, Turn, Version, move_instance};

/// See the module. Dropping it gives a shared instance its handler back.
pub(crate) struct Seat {
    party: Party,
    place: Place,
    _seated: Seated,
}

enum Place {
    /// Boxed: a connection's task should be small.
    Own(Box<Instance>),
    Shared(SharedPlace),
}

/// Why there is no seat.
#[derive(Debug)]
pub(crate) enum SeatError {
    /// Try again later.
    Full(Reached),
    /// Try again soon: the instance is ending because its handler has been replaced.
    Replaced,
    Failed(CallFailure),
}

impl From<Reached> for SeatError {
    fn from(reached: Reached) -> Self {
        Self::Full(reached)
    }
}

/// What a handler said to a handshake.
#[derive(Debug)]
pub(crate) enum Verdict {
    Accepted { subprotocol: Option<String>, compression: Option<CompressionOptions> },
    Rejected(Declined),
    ForeignOrigin,
}

impl Seat {
    /// An instance of `version` for one connection, or a place in the instance for `key`.
    pub(crate) async fn take(
        instances: &Arc<Instances>,
        key: Option<&InstanceKey>,
        version: Arc<Version>,
        party: Party,
    ) -> Result<Self, SeatError> {
        let versions = &instances.endpoint.versions;
        let seated = Seated::new(instances.endpoint.clone(), &party.link, party.peer);
        // Who was not seated when it was replaced has not been told.
        let version = match versions.serves(version.number) {
            true => version,
            false => versions.for_newcomer(key).unwrap_or(version),
        };
        let place = match key {
            Some(key) => Place::Shared(instances.join(key, version, &party)?),
            None => {
                let endpoint = &instances.endpoint;
                party.link.set_version(version.number);
                let beginning = instances.spares.begin(version)?;
                let instance = beginning.instance(endpoint, &party).await.map_err(SeatError::Failed)?;
                Place::Own(Box::new(instance))
            }
        };
        // Only now: there may be no place, or one in an instance of another version.
        versions.note_served(party.link.version(), party.peer);
        Ok(Self { party, place, _seated: seated })
    }

    /// For who looks whether there is another version; a shared instance looks by itself.
    pub(crate) fn succession(&self) -> Option<Succession> {
        match &self.place {
            Place::Own(instance) => Some(Succession::new(instance.endpoint().clone())),
            Place::Shared(_) => None,
        }
    }

    /// Goes over to another version of the handler, if it may and can. A shared instance goes over by itself. Returns what is to be tried
    /// again later.
    ///
    /// # Errors
    /// The old handler failed; nothing else may be asked.
    pub(crate) async fn take_turn(&mut self, turn: Turn) -> Result<Option<Again>, CallFailure> {
        let Place::Own(instance) = &mut self.place else { return Ok(None) };
        let endpoint = instance.endpoint().clone();
        move_instance(&endpoint, instance, std::slice::from_mut(&mut self.party), turn, false).await
    }

    /// Asks the handler. After an error nothing else may be asked.
    pub(crate) async fn call(&mut self, call: Call) -> Result<Answer, CallFailure> {
        let Self { party, place, .. } = self;
        let answer = match place {
            Place::Own(instance) => instance.call(party, call).await,
            Place::Shared(place) => place.call(party, call).await,
        }?;
        if let Answer::Constructed(handler) = answer {
            party.handler = Some(handler);
        }
        Ok(answer)
    }

    /// The questions of a handshake, in Tornado's order.
    pub(crate) async fn handshake(
        &mut self,
        origin: Option<String>,
        offered: Vec<String>,
    ) -> Result<Verdict, CallFailure> {
        self.call(Call::Construct).await?;
        if let Answer::Prepared(Err(declined)) = self.call(Call::Prepare).await? {
            return Ok(Verdict::Rejected(declined));
        }
        if let Some(origin) = origin
            && let Answer::OriginAllowed(false) = self.call(Call::CheckOrigin(origin)).await?
        {
            return Ok(Verdict::ForeignOrigin);
        }
        let subprotocol = match self.call(Call::SelectSubprotocol(offered)).await? {
            Answer::Subprotocol(subprotocol) => subprotocol,
            _ => None,
        };
        let compression = match self.call(Call::GetCompressionOptions).await? {
            Answer::Compression(options) => options,
            _ => None,
        };
        Ok(Verdict::Accepted { subprotocol, compression })
    }

    /// The connection has ended: runs the handler's destructor. A failure is logged and concerns nobody any more.
    pub(crate) async fn give_back(mut self) {
        if let Place::Own(_) = self.place {
            let _ = self.call(Call::Drop).await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Place::Shared(place) = &self.place {
            place.leave(self.party.clone());
        }
    }
}
