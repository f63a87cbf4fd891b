import { WebSocketHandler } from "waterspout-guest";

export default class Bad extends WebSocketHandler {
  override onMessage(message: string | Uint8Array) {
    this.writeMessage(undefined);
    this.setTimer("one", 1);
  }

  override onMesage() {}
}
