// Connections that a handler opens itself, in both styles.

import {
  ConnectError,
  getClientConnection,
  WaitTimeoutError,
  WebSocketError,
  websocketConnect,
  WebSocketHandler,
  websocketStart,
} from "waterspout-guest";

const failed = ({ kind, detail }) => `failed ${kind}${detail ? ` ${detail}` : ""}`;
const told = (message) => (typeof message === "string" ? `text ${message}` : `binary ${new TextDecoder().decode(message)}`);
const closed = (frame) => (frame === null ? "none" : `${frame.code} ${frame.reason}`.trimEnd());
const options = (asked) => ({
  headers: asked.headers,
  subprotocols: asked.subprotocols,
  connectTimeout: asked.timeout_ms,
  maxMessageSize: asked.max_message_size,
  pingInterval: asked.ping_interval_ms,
  pingTimeout: asked.ping_timeout_ms,
  compression: asked.compression && { level: asked.compression.level, memLevel: asked.compression.mem_level },
});

/** What both styles can be told. */
class Upstream extends WebSocketHandler {
  upstream = null;

  onMessage(message) {
    try {
      if (this.upstream === null) {
        this.connect(JSON.parse(message));
      } else {
        const [, what, rest] = /^(\S+) ?(.*)$/s.exec(message);
        this.order(what, rest);
      }
    } catch (error) {
      if (error instanceof ConnectError) this.writeMessage(failed(error));
      else if (error instanceof WebSocketError) this.writeMessage(error.kind);
      else throw error;
    }
  }

  order(what, rest) {
    switch (what) {
      case "send":
        return this.upstream.writeMessage(rest);
      case "send-binary":
        return this.upstream.writeMessage(new TextEncoder().encode(rest));
      case "ping":
        return this.upstream.ping(rest);
      case "flush":
        return this.upstream.flush();
      case "close": {
        const [, code, reason] = /^(\S+) ?(.*)$/s.exec(rest);
        return this.upstream.close(code === "-" ? undefined : Number(code), reason || undefined);
      }
    }
  }
}

class Connect extends Upstream {
  connect(asked) {
    this.upstream = websocketConnect(asked.url, options(asked));
    this.writeMessage(`connected ${this.upstream.selectedSubprotocol ?? "none"}`);
  }

  order(what, rest) {
    switch (what) {
      case "read":
        return this.read();
      case "read-within":
        return this.read(Number(rest));
      case "id":
        return this.writeMessage(getClientConnection(this.upstream.id)?.id === this.upstream.id ? "same" : "other");
      default:
        return super.order(what, rest);
    }
  }

  read(timeout) {
    try {
      const message = this.upstream.readMessage(timeout);
      this.writeMessage(message === null ? `end ${closed(this.upstream.closeFrame)}` : told(message));
    } catch (error) {
      if (!(error instanceof WaitTimeoutError)) throw error;
      this.writeMessage("timeout");
    }
  }
}

class Start extends Upstream {
  connect(asked) {
    this.upstream = websocketStart(asked.url, options(asked));
  }

  onClientEvent(id, event) {
    switch (event.type) {
      case "opened":
        return this.writeMessage("opened");
      case "failed":
        this.upstream = null;
        return this.writeMessage(failed(event.error));
      case "message":
        return this.writeMessage(told(event.message));
      case "pong":
        return this.writeMessage(`pong ${new TextDecoder().decode(event.data)}`);
      case "closed":
        return this.writeMessage(`closed ${closed(event.frame)}`);
    }
  }
}

export const features = { connect: Connect, start: Start };
