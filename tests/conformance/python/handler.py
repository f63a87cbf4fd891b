"""The conformance handler: the path's last segment names a feature, and each feature is a class. What is said to each is the same in every
language; the client does not know which one it talks to."""

from waterspout import HTTPError, Request, WebSocketHandler, export

from features import closing, handshake, messages, state, surroundings, throwing, topics_and_timers, upstream

MODULES = (messages, handshake, closing, topics_and_timers, upstream, state, surroundings, throwing)
FEATURES: dict[str, type[WebSocketHandler]] = {name: feature for module in MODULES for name, feature in module.FEATURES.items()}


class Unknown(WebSocketHandler):
    def prepare(self):
        raise HTTPError(404, "no feature %r", self.path_kwargs.get("feature"))


@export
def feature(request: Request) -> type[WebSocketHandler]:
    return FEATURES.get(request.path_kwargs.get("feature", ""), Unknown)
