// Why something could not be done.

export class WebSocketError extends Error {
  /** @param {string} kind @param {string} message */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
    this.name = new.target.name;
  }
}

export class WebSocketClosedError extends WebSocketError {
  constructor(message = "the connection is closed") {
    super("closed", message);
  }
}

export class BufferFullError extends WebSocketError {
  constructor(message = "the outbound queue is full, nothing was queued") {
    super("buffer-full", message);
  }
}

export class WaitTimeoutError extends WebSocketError {
  constructor(message = "waited longer than it may") {
    super("timeout", message);
  }
}

export class LimitReachedError extends WebSocketError {
  constructor(message = "over a limit that the operator set") {
    super("limit", message);
  }
}

export class DeniedError extends WebSocketError {
  constructor(message = "not allowed, or not at this moment") {
    super("denied", message);
  }
}

export class InvalidError extends WebSocketError {
  constructor(message = "not what the protocol allows") {
    super("invalid", message);
  }
}

export class ConnectError extends WebSocketError {
  constructor(kind, detail, status) {
    super(kind, detail === undefined ? kind : `${kind}: ${detail}`);
    this.detail = detail;
    this.status = status;
  }
}

const families = {
  closed: WebSocketClosedError,
  "buffer-full": BufferFullError,
  timeout: WaitTimeoutError,
  limit: LimitReachedError,
  denied: DeniedError,
  invalid: InvalidError,
};

/** The exception for what the host answered; anything else as it is. */
export function translated(thrown) {
  const { tag, val } = thrown?.payload ?? thrown ?? {};
  const family = families[tag];
  return family === undefined ? thrown : new family(val ?? undefined);
}

/** Calls the host. */
export function asking(call) {
  try {
    return call();
  } catch (thrown) {
    throw translated(thrown);
  }
}

/** The exception for why there is no connection. */
export function connectError(error) {
  const { tag, val } = error?.payload ?? error ?? {};
  if (typeof tag !== "string") return error;
  return tag === "http" ? new ConnectError(tag, String(val), val) : new ConnectError(tag, val ?? undefined);
}
