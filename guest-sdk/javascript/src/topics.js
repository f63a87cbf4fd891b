// Messages to every connection that subscribed to a topic, the publisher's own among them.

import { publish as publishToHost } from "waterspout:websocket/topics@0.1.0";

import { asking } from "./errors.js";
import * as values from "./values.js";

export function publish(topic, message) {
  values.text(topic, "a topic");
  const value = values.message(message);
  asking(() => publishToHost(topic, value));
}
