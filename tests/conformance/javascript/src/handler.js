// The conformance handler: the path's last segment names a feature, and each feature is a class. What is said to each is the same in every
// language; the client does not know which one it talks to.

import { Rejection, WebSocketHandler } from "waterspout-guest";

import * as closing from "./closing.js";
import * as handshake from "./handshake.js";
import * as messages from "./messages.js";
import * as state from "./state.js";
import * as surroundings from "./surroundings.js";
import * as throwing from "./throwing.js";
import * as topicsAndTimers from "./topics-and-timers.js";
import * as upstream from "./upstream.js";

const modules = [messages, handshake, closing, topicsAndTimers, upstream, state, surroundings, throwing];
const features = new Map(modules.flatMap((module) => Object.entries(module.features)));

class Unknown extends WebSocketHandler {
  prepare() {
    throw new Rejection(404, `no feature ${this.request.pathArgs.feature}`);
  }
}

export default (request) => features.get(request.pathArgs.feature) ?? Unknown;
