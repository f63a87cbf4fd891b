/**
 * Write a WebSocket handler as a WebAssembly component for Waterspout: Tornado's WebSocketHandler, in JavaScript's manner.
 *
 * ```js
 * import { WebSocketHandler } from "waterspout-guest";
 *
 * export default class extends WebSocketHandler {
 *   onMessage(message) {
 *     this.writeMessage(`You said: ${message}`);
 *   }
 * }
 * ```
 *
 * Nothing here is asynchronous: what waits (`flush`, `websocketConnect`, `readMessage`) returns when it has what it waited for.
 */

/** What can be sent: a string as text, bytes as binary, any other value as text that is its JSON, which has no bigint. */
export type Sendable = string | Uint8Array | ArrayBuffer | ArrayBufferView | object | number | boolean;

/** What arrives: text as a string, binary as a `Uint8Array`. */
export type Message = string | Uint8Array;

/** Bytes, or text that is sent as UTF-8. */
export type Payload = string | Uint8Array | ArrayBuffer | ArrayBufferView;

/** Why a connection ended (RFC 6455 sections 7.1.5 and 7.1.6). A frame without a code is 1005 with an empty reason. */
export interface CloseFrame {
  code: number;
  /** At most 123 bytes. */
  reason: string;
}

/** permessage-deflate's settings (RFC 7692); what is left out is the host's default. */
export interface CompressionOptions {
  /** 0 (none) to 9 (smallest). */
  level?: number;
  /** 1 (least memory) to 9 (fastest). */
  memLevel?: number;
}

/** Headers by name, or as pairs, where a name may come again. */
export type Headers = Record<string, string> | Iterable<readonly [string, string]>;

/**
 * A connection's handler: one object for each. Every method has a default; define those that you need.
 *
 * An exception that leaves a method ends the connection with 1011, or the handshake with 500; the host's log has its message, and its stack
 * with places in your sources. In an instance that connections share, it ends all of them.
 *
 * A handler's own properties go along when a new version takes over, see `suspend`.
 */
export class WebSocketHandler {
  /** Before anything else; what it throws is a 500. Call `super(request)`, or `super()`, first. */
  constructor(request?: Request);

  /** What was asked for; also after the end, as far as it was looked at before. */
  readonly request: Request;
  /** Unguessable, unique in the cluster, the same for the whole life of the connection. Empty before `open`. */
  readonly id: string;
  /** What the handshake agreed on. */
  readonly selectedSubprotocol: string | null;
  /** Bytes queued and not yet handed to the network. */
  readonly bufferedAmount: number;
  /** What the peer closed with, in `onClose` and after it; `null` without a close frame. */
  readonly closeCode: number | null;
  /** What the peer closed with, in `onClose` and after it; `null` without a close frame. */
  readonly closeReason: string | null;

  /** First of all. A `Rejection`, thrown or returned, is sent as the HTTP answer. */
  prepare(): Rejection | void;
  /**
   * Whether a page of this origin may connect; `false` is 403. Asked if the request names an origin.
   * Default: the same host and port, or the operator's list.
   */
  checkOrigin(origin: string): boolean;
  /** One of those that the peer offers, or `null`; asked once, also with an empty list. Default: `null`. */
  selectSubprotocol(offered: string[]): string | null | undefined | void;
  /** `{}` compresses with the host's defaults, if the peer wants it. Default: `null`, nothing is compressed. */
  getCompressionOptions(): CompressionOptions | null | undefined | void;
  /** The connection is open. */
  open(): void;
  /** A message has come. */
  onMessage(message: Message): void;
  /** A ping has come; its pong has been sent. */
  onPing(data: Uint8Array): void;
  /** A pong has come. */
  onPong(data: Uint8Array): void;
  /** Once after a `BufferFullError`, when half the queue is free again. */
  onWritable(): void;
  /** A timer of `setTimer` rang. */
  onTimer(token: number): void;
  /** Something happened on a connection that `websocketStart` made. */
  onClientEvent(id: string, event: ClientEvent): void;
  /** The connection has ended. `frame` is what the peer sent, also as its answer to our close; `null` when no close frame came. */
  onClose(frame: CloseFrame | null): void;
  /**
   * What a new version is given: by default the handler's own properties. Strings, numbers, bigints, booleans, `null`, `undefined`,
   * plain objects, arrays, `Map`, `Set`, `Date` and `Uint8Array` can be kept; so can handlers, `ClientConnection`s and `shared` objects, which
   * are those of the new instance afterwards. `null`: this handler cannot be replaced while connected. Private `#fields` do not go along.
   */
  suspend(): Payload | null;
  /**
   * Takes over what an older version left, after the constructor has set the defaults. An exception refuses: the connection stays with the
   * old version. By default every property that was kept is assigned.
   */
  resume(state: Uint8Array): void;

  /**
   * Queues a message and returns at once.
   * @throws {WebSocketClosedError} @throws {BufferFullError} nothing was queued @throws {LimitReachedError} larger than a message may be
   */
  writeMessage(message: Sendable): void;
  /** Waits until all that is queued now has been handed to the network. @throws {WebSocketClosedError} @throws {WaitTimeoutError} */
  flush(): void;
  /** At most 125 bytes. @throws {WebSocketClosedError} @throws {BufferFullError} @throws {InvalidError} */
  ping(data?: Payload): void;
  /**
   * Starts the closing handshake, after what is queued. A second call changes nothing. A reason without a code means 1000; neither, an empty
   * frame. @throws {InvalidError} a code that may not be sent, or a reason over 123 bytes
   */
  close(code?: number | null, reason?: string | null): void;
  /** TCP_NODELAY, which is on unless turned off. @throws {WebSocketClosedError} */
  setNodelay(value: boolean): void;
  /** From now on this connection is sent what is published under `topic`. @throws {WebSocketClosedError} @throws {LimitReachedError} @throws {DeniedError} @throws {InvalidError} */
  subscribe(topic: string): void;
  /** The opposite of `subscribe`. */
  unsubscribe(topic: string): void;
  /**
   * Calls `onTimer(token)` once after `delay` milliseconds; an earlier timer with that token is replaced.
   * `token` is 0 to 4294967295, with StarlingMonkey to 2147483647. @throws {WebSocketClosedError} @throws {LimitReachedError} @throws {InvalidError}
   */
  setTimer(token: number, delay: number): void;
  /** The timer does not ring. */
  clearTimer(token: number): void;
  /** The query's last argument of that name, as Tornado's `get_argument`: decoded and trimmed. */
  getArgument(name: string): string | undefined;
  getArgument<T>(name: string, otherwise: T): string | T;
  /** A header of the 101 answer, until `open`. @throws {WebSocketClosedError} the handshake is over @throws {InvalidError} @throws {LimitReachedError} */
  setResponseHeader(name: string, value: string): void;
}

/** The opening handshake's request (RFC 6455 section 4). */
export class Request {
  private constructor();
  /** Path and query as they stood on the request line. */
  readonly uri: string;
  readonly path: string;
  /** Without the `?`; `null` if there is none. */
  readonly query: string | null;
  /** What the route's pattern captured, decoded, by name; positional captures are `"0"`, `"1"`, ... */
  readonly pathArgs: Record<string, string>;
  /** The peer's address without port; behind a trusted proxy, the one that the proxy names. */
  readonly remoteAddress: string;
  /** In order. Bytes of a value are characters U+0000 to U+00FF. */
  readonly headers: [name: string, value: string][];
  /** The first value of a header, whatever the name's case. */
  header(name: string): string | undefined;
  /** All values of a header, whatever the name's case. */
  headerValues(name: string): string[];
  /** The query's last argument of that name, as Tornado's `get_argument`: decoded and trimmed. */
  getArgument(name: string): string | undefined;
  getArgument<T>(name: string, otherwise: T): string | T;
  /** All of the query's arguments of that name. */
  getArguments(name: string): string[];
  /** What the default `checkOrigin` answers. */
  originAllowed(origin: string): boolean;
  /** As of the handler. */
  setResponseHeader(name: string, value: string): void;
}

/** An HTTP answer in place of the upgrade: `throw new Rejection(401, "Who are you?")` in `prepare`. */
export class Rejection {
  /** `status`: 200 to 599. A body without a `content-type` is plain text. */
  constructor(status: number, body?: Payload, headers?: Headers);
  /** To another address. */
  static redirect(url: string, status?: number): Rejection;
  status: number;
  body: Payload;
  headers: Headers;
}

/** Sends to every connection that subscribed to `topic`, in all instances, the publisher's own among them. @throws {LimitReachedError} @throws {DeniedError} @throws {InvalidError} */
export function publish(topic: string, message: Sendable): void;

/** The operator's settings for this handler: the route's `config`. */
export const config: {
  /** `undefined` if there is none of that name. */
  get(key: string): string | undefined;
  all(): Record<string, string>;
};

/**
 * What the handlers of one instance have in common, with `instance = "{room}"` or `"route"`. It is the same object afterwards, and goes along to
 * a new version: call it once for each, while the module is run, and change what is in it. `name` tells several from each other, and finds the
 * old version's: a version that has none of that name, or another kind of object there, does not take the connections over.
 *
 * ```js
 * const room = shared({ people: new Map(), history: [] });
 * ```
 */
export function shared<T extends object>(value: T, name?: string): T;

/** How to connect; what is left out is the host's default. Times are in milliseconds. */
export interface ConnectOptions {
  /** Beside those of the handshake itself. */
  headers?: Headers;
  /** Offered, the preferred one first. */
  subprotocols?: Iterable<string>;
  /** From the look-up of the name to the server's answer: 20,000. */
  connectTimeout?: number;
  /** In bytes, if that is less than the operator allows. */
  maxMessageSize?: number;
  /** 0, the default: no pings of the host's own. */
  pingInterval?: number;
  /** At most, and by default, as long as the interval; 0: no pong is waited for. */
  pingTimeout?: number;
  /** Offered, if it is there. */
  compression?: CompressionOptions;
}

/** Connects to a server that the operator's `connect` lists, and waits until that is done. From `open` on. @throws {ConnectError} */
export function websocketConnect(url: string, options?: ConnectOptions): ClientConnection;

/** Connects, and returns at once: `onClientEvent` tells what happens. @throws {ConnectError} what is known at once */
export function websocketStart(url: string, options?: ConnectOptions): ClientConnection;

/** This handler's own connection by its id, also after a swap; `null` once it has gone. */
export function getClientConnection(id: string): ClientConnection | null;

/** A connection to another server. It ends by `close`, by the server, or with the handler that opened it (1001). */
export class ClientConnection {
  private constructor();
  readonly id: string;
  readonly selectedSubprotocol: string | null;
  /** What the server closed with, once it has. */
  readonly closeFrame: CloseFrame | null;
  /**
   * Waits for the next message, at most `timeout` milliseconds if that is given; `null` once the connection is closed.
   * @throws {WaitTimeoutError} @throws {WebSocketClosedError} the handler's own connection ended @throws {InvalidError} `websocketStart` made it
   */
  readMessage(timeout?: number): Message | null;
  /** As of the handler; no event tells when there is room again. */
  writeMessage(message: Sendable): void;
  /** As of the handler. */
  flush(): void;
  /** As of the handler. */
  ping(data?: Payload): void;
  /** As of the handler. A connection that is not open yet is given up. */
  close(code?: number | null, reason?: string | null): void;
}

/** What happens, in order, on a connection that `websocketStart` made. */
export type ClientEvent =
  | { type: "opened" }
  | { type: "failed"; error: ConnectError }
  | { type: "message"; message: Message }
  | { type: "pong"; data: Uint8Array }
  /** `null` when the server vanished without a close frame. */
  | { type: "closed"; frame: CloseFrame | null };

/** Why something could not be done. */
export class WebSocketError extends Error {
  /** The error's name in the interface. */
  readonly kind: string;
}

/** The connection is closed or closing. */
export class WebSocketClosedError extends WebSocketError {
  readonly kind: "closed";
}

/** The outbound queue is full: nothing was queued. `onWritable` tells when to go on. */
export class BufferFullError extends WebSocketError {
  readonly kind: "buffer-full";
}

/** Waiting took longer than it may. */
export class WaitTimeoutError extends WebSocketError {
  readonly kind: "timeout";
}

/** Over a limit that the operator set; the message names it. */
export class LimitReachedError extends WebSocketError {
  readonly kind: "limit";
}

/** The operator's policy, or this moment (`suspend`, `resume`), does not allow it. */
export class DeniedError extends WebSocketError {
  readonly kind: "denied";
}

/** Not what the protocol allows. */
export class InvalidError extends WebSocketError {
  readonly kind: "invalid";
}

/** Why there is no connection to another server. */
export class ConnectError extends WebSocketError {
  readonly kind: "denied" | "closed" | "limit" | "invalid-url" | "network" | "timeout" | "http" | "protocol";
  /** More of it, if there is more to say. */
  readonly detail?: string;
  /** What the server answered in place of 101, if `kind` is `http`. */
  readonly status?: number;
}
