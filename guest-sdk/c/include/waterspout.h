/**
 * @file
 * WebSocket handlers in C for Waterspout: Tornado's WebSocketHandler as a few functions.
 *
 * A handler defines those of the functions under "What a handler defines" that it needs; each has a default.
 *
 *     #include <waterspout.h>
 *
 *     void ws_on_message(ws_connection *conn, ws_message message) {
 *         ws_write_message(conn, message);
 *     }
 *
 * There are no threads: one event at a time, and no function here calls back.
 *
 * Whose memory: what a function of the handler is given, and every string that a function here returns, lives until that function
 * of the handler returns; copy what is to be kept. What is given to a function here is copied. Every string ends with a NUL that its
 * length does not count.
 */
#ifndef WATERSPOUT_H
#define WATERSPOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Values ---- */

/** An accepted connection, from the first function that is called for it to the end of ws_free(): the same pointer throughout. */
typedef struct ws_connection ws_connection;

/** A connection that a handler opened itself (ws_connect(), ws_start()). */
typedef struct ws_client ws_client;

/** Bytes; a NUL follows that is not counted. */
typedef struct ws_bytes {
    const char *data;
    size_t length;
} ws_bytes;

/** The kinds of messages. */
typedef enum ws_kind {
    /** Valid UTF-8, in both directions. */
    WS_TEXT,
    WS_BINARY,
} ws_kind;

/** A message (RFC 6455 section 5.6); a NUL follows its data that is not counted. */
typedef struct ws_message {
    ws_kind kind;
    const char *data;
    /** In bytes. */
    size_t length;
} ws_message;

/** Why a connection ended (RFC 6455 sections 7.1.5 and 7.1.6). */
typedef struct ws_close_frame {
    /** 1005 stands for a frame without a code. */
    uint16_t code;
    /** At most 123 bytes. */
    const char *reason;
} ws_close_frame;

/** A header of HTTP. */
typedef struct ws_header {
    const char *name;
    const char *value;
} ws_header;

/** Leaves the number to the host. */
#define WS_DEFAULT (-1)

/** Settings of permessage-deflate (RFC 7692). */
typedef struct ws_compression_options {
    /** 0 (none) to 9 (smallest), or WS_DEFAULT. */
    int level;
    /** 1 (least memory) to 9 (fastest), or WS_DEFAULT. */
    int mem_level;
} ws_compression_options;

/** The host's defaults: `ws_compression_options options = WS_COMPRESSION_DEFAULTS;`. */
#define WS_COMPRESSION_DEFAULTS { WS_DEFAULT, WS_DEFAULT }

/** What a call came to. Nothing was done, if it is not WS_OK; ws_error_detail() says more. */
typedef enum ws_error {
    WS_OK,
    /** The connection is closed or closing: stop writing, ws_on_close() comes or came. */
    WS_CLOSED,
    /** The queue is full, because the peer reads slower than we write: ws_on_writable() tells when to go on. */
    WS_BUFFER_FULL,
    /** Waiting took longer than it may; what was waited for may still happen. */
    WS_TIMEOUT,
    /** Over a limit that the operator set; the detail names it. */
    WS_LIMIT,
    /** The operator's policy, or this moment (suspend, resume), does not allow it. */
    WS_DENIED,
    /** The argument is not what the protocol allows; the detail says why. */
    WS_INVALID,
    /** Of ws_client_read_message(): the connection is closed, there are no more messages. */
    WS_END,
    /** Of ws_connect() and ws_start(), as those below: no URL of a WebSocket. */
    WS_INVALID_URL,
    /** The server cannot be reached, or cannot be trusted; the detail says why. */
    WS_NETWORK,
    /** The server answered with another status than 101: ws_error_http_status(). Redirects are not followed. */
    WS_HTTP,
    /** The server, or what it was to be asked, broke the protocol; the detail says why. */
    WS_PROTOCOL,
} ws_error;

/** A short name: "ok", "closed", "buffer-full", "timeout", "limit", "denied", "invalid", "end", "invalid-url", "network", "http", "protocol". */
const char *ws_error_name(ws_error error);

/** What the host said of the last call that failed in this function of the handler, for people to read: the limit, or why it is invalid. "" if it said no more. */
const char *ws_error_detail(void);

/** The status with which the server answered, after WS_HTTP. */
uint16_t ws_error_http_status(void);

/* ---- What a handler defines ---- */

/** A connection is asked for. Here a handler makes its own data: ws_set_data(). By default, nothing. */
void ws_init(ws_connection *conn);

/** What is sent instead of the upgrade, as an answer in HTTP. */
typedef struct ws_rejection {
    /** 200 to 599. */
    uint16_t status;
    /** Of those that handlers may set; NULL if there are none. Without a content-type the body is plain text in UTF-8. */
    const ws_header *headers;
    size_t header_count;
    /** Copied when ws_prepare() returns: no local array. */
    const char *body;
    /** SIZE_MAX, as it is preset: until the NUL. */
    size_t body_length;
} ws_rejection;

/**
 * Called first. False ends the handshake with `rejection`, which is preset to 403 with an empty body. From here on headers of the
 * 101 may be set (ws_set_response_header()). By default true.
 */
bool ws_prepare(ws_connection *conn, ws_rejection *rejection);

/**
 * Whether pages of this origin may connect; if not, the answer is 403. Asked only if the request names an origin that the
 * operator's list, if there is one, allows. By default ws_origin_allowed().
 */
bool ws_check_origin(ws_connection *conn, const char *origin);

/** Which of the subprotocols is spoken, or NULL for none, as by default. Asked once, also with none offered. */
const char *ws_select_subprotocol(ws_connection *conn, const char *const *offered, size_t count);

/** Whether messages are compressed if the peer offers it; `options` is preset to the host's defaults. By default false. */
bool ws_get_compression_options(ws_connection *conn, ws_compression_options *options);

/** The connection is open. No message is delivered before this returns. By default, nothing. */
void ws_open(ws_connection *conn);

/** A message came. By default, nothing. */
void ws_on_message(ws_connection *conn, ws_message message);

/** A ping came; the pong has been sent. By default, nothing. */
void ws_on_ping(ws_connection *conn, ws_bytes data);

/** A pong came, usually for a ws_ping(). By default, nothing. */
void ws_on_pong(ws_connection *conn, ws_bytes data);

/** Once after a WS_BUFFER_FULL, when half the queue is free again. By default, nothing. */
void ws_on_writable(ws_connection *conn);

/** A timer that was set with this token (ws_set_timer()) ran out. By default, nothing. */
void ws_on_timer(ws_connection *conn, uint32_t token);

/** What can happen on a connection made by ws_start(). */
typedef enum ws_client_event_kind {
    /** It is open. */
    WS_CLIENT_OPENED,
    /** It never will be: `error`, and ws_error_detail(). */
    WS_CLIENT_FAILED,
    /** `message` came. */
    WS_CLIENT_MESSAGE,
    /** A pong with `data` came. */
    WS_CLIENT_PONG,
    /** It has ended, by the server with `frame`; that is NULL if the server vanished without one. */
    WS_CLIENT_CLOSED,
} ws_client_event_kind;

/** What happened on a connection made by ws_start(). */
typedef struct ws_client_event {
    ws_client_event_kind kind;
    ws_error error;
    ws_message message;
    ws_bytes data;
    const ws_close_frame *frame;
} ws_client_event;

/** Something happened on the connection with this id, which this handler made by ws_start(). By default, nothing. */
void ws_on_client_event(ws_connection *conn, const char *id, const ws_client_event *event);

/** The connection has ended. `frame` is the peer's, also as its answer to our ws_close(); NULL if none came. By default, nothing. */
void ws_on_close(ws_connection *conn, const ws_close_frame *frame);

/**
 * The last function that is called for a connection, also for one that was never open: `conn` is no more afterwards. By default
 * frees what ws_set_data() was given; define it if that was not from malloc(), or is more than one piece.
 */
void ws_free(ws_connection *conn);

/* ---- Surviving a swap ---- */

/** Bytes that grow as they are appended; begin with `ws_buffer buffer = {0};`, end with ws_buffer_free(). */
typedef struct ws_buffer {
    char *data;
    size_t length;
    size_t capacity;
} ws_buffer;

/**
 * Leaves in `state` what a new version of this handler needs to go on in its place, while the connection stays open; false if that
 * cannot be. By default true for a handler without data (ws_set_data()). What is `static` does not go along.
 */
bool ws_suspend(ws_connection *conn, ws_buffer *state);

/**
 * Continues a connection that another version was serving, in place of ws_init() and ws_open(). Returns NULL, or why it cannot: then
 * the connection stays with the old version. Meanwhile every function that acts or waits fails with WS_DENIED. By default calls
 * ws_init() if there is no state, and refuses what it cannot read if there is one.
 */
const char *ws_resume(ws_connection *conn, ws_bytes state);

/** As ws_suspend(), for what all connections of an instance have in common. By default true, and nothing is left. */
bool ws_shared_suspend(ws_buffer *state);

/** As ws_resume(), called once, before any connection is resumed. By default refuses what is not empty. */
const char *ws_shared_resume(ws_bytes state);

/* ---- The handler's own data ---- */

/** Keeps a pointer with the connection: what the handler knows about it. */
void ws_set_data(ws_connection *conn, void *data);

/** What ws_set_data() was given; NULL before. */
void *ws_data(const ws_connection *conn);

/* ---- The request ---- */

/** Path and query as they stood on the request line. */
const char *ws_uri(ws_connection *conn);
/** The path as it stood on the request line. */
const char *ws_path(ws_connection *conn);
/** What followed the question mark, or NULL if there was none. */
const char *ws_query(ws_connection *conn);
/** The peer's address without port; behind a trusted proxy, the address that the proxy names. */
const char *ws_remote_address(ws_connection *conn);

/** What the route's pattern captured under that name, percent-decoded; "0", "1", ... for captures without one. NULL if nothing was. */
const char *ws_path_arg(ws_connection *conn, const char *name);
/** All captures, in order. Returns how many there are. */
size_t ws_path_args(ws_connection *conn, const ws_header **args);

/** First value of a header, by its name in any case, or NULL. */
const char *ws_header_value(ws_connection *conn, const char *name);
/** All headers, in order; a value need not be UTF-8. Returns how many there are. */
size_t ws_headers(ws_connection *conn, const ws_header **headers);

/** An argument of the query as Tornado's get_argument: decoded, without surrounding space, the last one of several. NULL if there is none. */
const char *ws_query_arg(ws_connection *conn, const char *name);
/** The value number `index`, from 0, of an argument of the query, or NULL. */
const char *ws_query_arg_at(ws_connection *conn, const char *name, size_t index);

/** Whether the default policy (the same host and port) or the operator's list allows this origin. */
bool ws_origin_allowed(ws_connection *conn, const char *origin);
/** Adds a header to the 101. WS_CLOSED (the handshake is over), WS_INVALID (not one that handlers may set), WS_LIMIT. */
ws_error ws_set_response_header(ws_connection *conn, const char *name, const char *value);

/* ---- The connection ---- */

/** Unguessable, the same for the whole life of the connection, also when its handler is replaced. "" before ws_open(). Lives as long as `conn`. */
const char *ws_id(ws_connection *conn);
/** What ws_select_subprotocol() selected, or NULL. */
const char *ws_selected_subprotocol(ws_connection *conn);

/** Queues a message and returns at once. WS_CLOSED, WS_BUFFER_FULL, WS_LIMIT (larger than may be), WS_INVALID (text that is not UTF-8). */
ws_error ws_write_message(ws_connection *conn, ws_message message);
/** ws_write_message() of a text that ends with a NUL. */
ws_error ws_write_text(ws_connection *conn, const char *text);
/** ws_write_message() of bytes. */
ws_error ws_write_binary(ws_connection *conn, const void *data, size_t length);
/** ws_write_message() of a text made as printf() makes it. */
ws_error ws_printf(ws_connection *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Waits until everything that is queued has been handed to the network; in a shared instance, all wait. WS_CLOSED, WS_TIMEOUT. */
ws_error ws_flush(ws_connection *conn);
/** Bytes queued and not yet handed to the network. */
uint32_t ws_buffered_amount(ws_connection *conn);
/** Sends a ping with at most 125 bytes. WS_CLOSED, WS_BUFFER_FULL, WS_INVALID. */
ws_error ws_ping(ws_connection *conn, const void *data, size_t length);

/** For ws_close() and ws_client_close(): a frame without a code. */
#define WS_NO_CODE 0

/**
 * Starts the closing handshake, after what is queued. `reason` may be NULL; with WS_NO_CODE it means 1000. A second call changes nothing.
 * From now on writes are WS_CLOSED, messages still arrive, and ws_on_close() brings the peer's answer. WS_CLOSED (it has ended);
 * WS_INVALID: a code below 1000, above 4999, or 1005, 1006 or 1015, or a reason over 123 bytes.
 */
ws_error ws_close(ws_connection *conn, int code, const char *reason);

/** Whether small frames are sent at once (TCP_NODELAY), or may wait for more. WS_CLOSED. */
ws_error ws_set_nodelay(ws_connection *conn, bool value);

/** From now on this connection is sent what is published under `topic`. WS_CLOSED, WS_LIMIT, WS_DENIED, WS_INVALID. */
ws_error ws_subscribe(ws_connection *conn, const char *topic);
/** Takes back ws_subscribe(). */
void ws_unsubscribe(ws_connection *conn, const char *topic);
/** Sends a message to every connection that subscribed to `topic`, in all instances. WS_LIMIT, WS_DENIED, WS_INVALID. */
ws_error ws_publish(const char *topic, ws_message message);
/** ws_publish() of a text that ends with a NUL. */
ws_error ws_publish_text(const char *topic, const char *text);

/** Calls ws_on_timer() with `token`, once, after so many milliseconds; an earlier timer with that token is replaced. WS_CLOSED, WS_LIMIT, WS_INVALID. */
ws_error ws_set_timer(ws_connection *conn, uint32_t token, uint32_t delay_ms);
/** Takes back ws_set_timer(). */
void ws_clear_timer(ws_connection *conn, uint32_t token);

/* ---- Connections of the handler's own ---- */

/** How to connect; what is 0 or NULL is the host's default: `&(ws_connect_options){ .connect_timeout_ms = 500 }`. */
typedef struct ws_connect_options {
    /** Sent beside those of the handshake. */
    const ws_header *headers;
    size_t header_count;
    /** Offered, the preferred one first. */
    const char *const *subprotocols;
    size_t subprotocol_count;
    /** How long it may take until the connection is open. */
    uint32_t connect_timeout_ms;
    /** Bytes in one message, either way, if that is less than the operator allows. */
    uint32_t max_message_size;
    /** The server is pinged so often. */
    uint32_t ping_interval_ms;
    /** How long the server may take to answer such a ping, at most the interval; WS_FOREVER: no pong is waited for. */
    uint32_t ping_timeout_ms;
    /** Offered, if it is there. */
    const ws_compression_options *compression;
} ws_connect_options;

/** No limit of time. */
#define WS_FOREVER UINT32_MAX

/**
 * Tornado's websocket_connect: connects to where the operator allows it, and waits until the connection is open; ws_client_read_message()
 * follows. For handlers with an instance of their own: in a shared one all wait. `options` may be NULL. WS_CLOSED, WS_TIMEOUT, WS_LIMIT,
 * WS_DENIED, WS_INVALID_URL, WS_NETWORK, WS_HTTP, WS_PROTOCOL.
 */
ws_error ws_connect(const char *url, const ws_connect_options *options, ws_client **client);
/** Begins to connect and returns at once: everything else comes to ws_on_client_event(). What is known at once of ws_connect()'s errors. */
ws_error ws_start(const char *url, const ws_connect_options *options, ws_client **client);
/** The handler's own connection with that id, also after a swap, or NULL. */
ws_client *ws_client_get(const char *id);

/** What ws_on_client_event() and ws_client_get() call it. Lives as long as `client`. */
const char *ws_client_id(ws_client *client);
/** The subprotocol that the server selected, or NULL. */
const char *ws_client_selected_subprotocol(ws_client *client);
/**
 * Waits for the next message, at most so long, or WS_FOREVER; it lives until the next one is read. WS_END: there will be none, and
 * ws_client_close_frame() says how it ended. WS_TIMEOUT; WS_CLOSED (the handler's own connection has ended); WS_INVALID (made by ws_start()).
 */
ws_error ws_client_read_message(ws_client *client, uint32_t timeout_ms, ws_message *message);
/** As ws_write_message(); no event tells when there is room after a WS_BUFFER_FULL. */
ws_error ws_client_write_message(ws_client *client, ws_message message);
/** As ws_write_text(). */
ws_error ws_client_write_text(ws_client *client, const char *text);
/** As ws_write_binary(). */
ws_error ws_client_write_binary(ws_client *client, const void *data, size_t length);
/** As ws_flush(). */
ws_error ws_client_flush(ws_client *client);
/** As ws_ping(). */
ws_error ws_client_ping(ws_client *client, const void *data, size_t length);
/** As ws_close(). One that is not open yet is given up. */
ws_error ws_client_close(ws_client *client, int code, const char *reason);
/** What the server closed with, once it has, or NULL. */
const ws_close_frame *ws_client_close_frame(ws_client *client);
/** Gives the pointer back and closes nothing, in any connection's function. Not needed: it goes with the connection that opened it; for those that open many. */
void ws_client_free(ws_client *client);

/* ---- Configuration, memory, failing ---- */

/** The value of a key in the route's `config`, or NULL. */
const char *ws_config(const char *key);

/** Adds bytes. */
void ws_append(ws_buffer *buffer, const void *data, size_t length);
/** Adds a text, without its NUL. */
void ws_append_text(ws_buffer *buffer, const char *text);
/** Adds a text made as printf() makes it. */
void ws_append_format(ws_buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** The content as a text message: `ws_write_message(conn, ws_buffer_text(&buffer))`. */
ws_message ws_buffer_text(const ws_buffer *buffer);
/** Frees the content; the buffer is empty then, and may be used again. */
void ws_buffer_free(ws_buffer *buffer);

/**
 * Ends this instance and so its connections, with 1011; the message goes to the host's log, behind file and line:
 * `ws_fail("no user %d", number);`. As assert(), which works, too.
 */
#define ws_fail(...) ws_fail_at(__FILE__, __LINE__, __VA_ARGS__)
/** What ws_fail() calls. */
void ws_fail_at(const char *file, int line, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
