// What a handler imports. What each is for, see index.d.ts.

export { ClientConnection, getClientConnection, websocketConnect, websocketStart } from "./client.js";
export { config } from "./config.js";
export {
  BufferFullError,
  ConnectError,
  DeniedError,
  InvalidError,
  LimitReachedError,
  WaitTimeoutError,
  WebSocketClosedError,
  WebSocketError,
} from "./errors.js";
export { WebSocketHandler } from "./handler.js";
export { Rejection, Request } from "./request.js";
export { shared } from "./sharing.js";
export { publish } from "./topics.js";
