// The opening handshake.

import { Rejection, WebSocketHandler } from "waterspout-guest";

class Request extends WebSocketHandler {
  open() {
    const { request } = this;
    this.writeMessage({
      uri: request.uri,
      path: request.path,
      query: request.query,
      path_args: request.pathArgs,
      remote_address: request.remoteAddress,
      x_test: request.header("X-Test") ?? null,
      x_many: request.headerValues("x-many"),
      arg: this.getArgument("name", null),
    });
  }
}

class ResponseHeader extends WebSocketHandler {
  refused = "nothing";

  prepare() {
    this.setResponseHeader("x-conformance", "yes");
    try {
      this.setResponseHeader("connection", "close");
    } catch (error) {
      this.refused = error.kind;
    }
  }

  open() {
    this.writeMessage(this.refused);
  }
}

class Reject extends WebSocketHandler {
  prepare() {
    throw new Rejection(418, "short and stout", { "x-why": "teapot" });
  }
}

class Origin extends WebSocketHandler {
  checkOrigin(origin) {
    return origin === "https://good.example";
  }
}

class Subprotocol extends WebSocketHandler {
  selectSubprotocol(offered) {
    return offered.includes("second") ? "second" : null;
  }

  open() {
    this.writeMessage(this.selectedSubprotocol ?? "none");
  }
}

class SubprotocolDefault extends WebSocketHandler {
  open() {
    this.writeMessage(this.selectedSubprotocol ?? "none");
  }
}

class CompressionDefault extends WebSocketHandler {
  onMessage(message) {
    this.writeMessage(message);
  }
}

class Compression extends CompressionDefault {
  getCompressionOptions() {
    return { level: 6 };
  }
}

class Open extends WebSocketHandler {
  open() {
    this.writeMessage(`opened ${this.id}`);
  }

  onMessage() {
    this.writeMessage(this.id);
  }
}

export const features = {
  request: Request,
  "response-header": ResponseHeader,
  reject: Reject,
  origin: Origin,
  "origin-default": class OriginDefault extends WebSocketHandler {},
  subprotocol: Subprotocol,
  "subprotocol-default": SubprotocolDefault,
  compression: Compression,
  "compression-default": CompressionDefault,
  open: Open,
};
