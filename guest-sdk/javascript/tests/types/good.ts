import { ConnectError, publish, Rejection, shared, WebSocketHandler, websocketStart, type ClientEvent, type Message } from "waterspout-guest";

const room = shared({ people: new Map<string, Good>() });

export default class Good extends WebSocketHandler {
  count = 0;

  override prepare() {
    if (this.getArgument("token") === undefined) throw new Rejection(401, "Who are you?");
  }

  override onMessage(message: Message) {
    const text: string = typeof message === "string" ? message : String(message.length);
    this.writeMessage({ text, count: ++this.count });
    publish("all", text);
    room.people.get(text)?.close(1000);
    websocketStart("wss://example.com/", { headers: { authorization: "x" }, connectTimeout: 500 });
  }

  override onClientEvent(_id: string, event: ClientEvent) {
    if (event.type === "failed") {
      const error: ConnectError = event.error;
      this.writeMessage(error.kind);
    } else if (event.type === "closed") {
      this.close(event.frame?.code);
    }
  }
}
