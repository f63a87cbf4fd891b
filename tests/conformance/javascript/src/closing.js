// How connections end.

import { publish, WebSocketHandler } from "waterspout-guest";

const ENDS = "conformance-ends";

class Close extends WebSocketHandler {
  onMessage(message) {
    const [, code, reason] = /^(\S+) ?(.*)$/s.exec(message);
    this.close(code === "-" ? undefined : Number(code), reason || undefined);
    try {
      this.writeMessage("late");
    } catch (error) {
      publish(ENDS, error.kind);
    }
  }

  onClose(frame) {
    publish(ENDS, frame === null ? "closed none" : `closed ${frame.code} ${frame.reason}`.trimEnd());
  }
}

class Observe extends WebSocketHandler {
  open() {
    this.subscribe(this.getArgument("topic"));
    this.writeMessage("ready");
  }
}

class Invalid extends WebSocketHandler {
  onMessage(message) {
    const [what, number] = message.split(" ");
    try {
      if (what === "code") this.close(Number(number));
      else this.close(1000, "r".repeat(Number(number)));
    } catch (error) {
      this.writeMessage(error.kind);
    }
  }
}

export const features = { close: Close, observe: Observe, invalid: Invalid };
