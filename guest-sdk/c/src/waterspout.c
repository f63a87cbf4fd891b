/*
 * From the functions of waterspout.h to the bindings and back.
 *
 * What the bindings hand over as an argument or a result belongs to us: a message is lent to the handler and freed behind it, other
 * strings are copied to temporaries. Handles of the host are given back when the handler's connection is dropped.
 */

#include <stdlib.h>
#include <string.h>

#include "bindings/guest.h"
#include "internal.h"

struct ws_client {
    /* Whose list it is in, which need not be the one whose function is running; NULL if it is in none. */
    ws_connection *owner;
    ws_client *next;
    client_own_client_connection_t handle;
    /* NULL until it is asked for. */
    char *id;
    /* What ws_client_read_message() returned last. */
    wit_message_t message;
    bool has_message;
};

struct ws_connection {
    handshake_own_request_t request;
    connection_own_connection_t connection;
    /* From ws_open(), or ws_resume(), on. */
    bool is_open;
    /* NULL until it is asked for. */
    char *id;
    void *data;
    /* Those that it opened, or asked for. */
    ws_client *clients;
};

/* Whose function is running: clients are the host's of this connection. NULL in what is shared. */
static ws_connection *current;

/* ---- Memory ---- */

/* In place of the bindings': every list and string gets a byte more, a NUL behind it that costs no copy. */
__attribute__((__export_name__("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t new_size) {
    static uint64_t nothing;
    (void)align;
    if (new_size == 0) return &nothing;
    char *memory = realloc(old_size > 0 ? old : NULL, new_size + 1);
    if (memory == NULL) __builtin_trap();
    memory[new_size] = '\0';
    return memory;
}

static guest_string_t borrowed(const char *text) {
    return (guest_string_t){ (uint8_t *)text, strlen(text) };
}

/* A temporary copy of what the host returned, which is freed. */
static const char *taken(guest_string_t *string) {
    const char *text = ws_temporary_text(string->ptr, string->len);
    guest_string_free(string);
    return text;
}

/* The same for as long as `*kept`. */
static const char *kept_text(char **kept, guest_string_t *string) {
    *kept = ws_allocate(string->len + 1);
    memcpy(*kept, string->ptr, string->len);
    (*kept)[string->len] = '\0';
    guest_string_free(string);
    return *kept;
}

static const char *or_empty(const uint8_t *data, size_t length) {
    return length > 0 ? (const char *)data : "";
}

static ws_bytes lent_bytes(const guest_list_u8_t *list) {
    return (ws_bytes){ or_empty(list->ptr, list->len), list->len };
}

static ws_message lent_message(const wit_message_t *message) {
    if (message->tag == WIT_MESSAGE_TEXT) {
        const guest_string_t *text = &message->val.text;
        return (ws_message){ WS_TEXT, or_empty(text->ptr, text->len), text->len };
    }
    ws_bytes bytes = lent_bytes(&message->val.binary);
    return (ws_message){ WS_BINARY, bytes.data, bytes.length };
}

/* A temporary one. */
static const ws_close_frame *taken_frame(wit_close_frame_t *frame) {
    ws_close_frame *copy = ws_temporary(sizeof *copy);
    *copy = (ws_close_frame){ frame->code, taken(&frame->reason) };
    return copy;
}

/* ---- Errors ---- */

/* A constant or a temporary. */
static const char *last_detail = "";
static uint16_t last_http_status;

/* `detail` is a constant. */
static ws_error failed(ws_error error, const char *detail) {
    last_detail = detail;
    return error;
}

static ws_error failed_with(ws_error error, guest_string_t *detail) {
    last_detail = taken(detail);
    return error;
}

/* What a call came to that returned `ok`, and else `error`. */
static ws_error outcome(bool ok, wit_error_t *error) {
    if (ok) return WS_OK;
    switch (error->tag) {
        case WIT_ERROR_CLOSED: return failed(WS_CLOSED, "");
        case WIT_ERROR_BUFFER_FULL: return failed(WS_BUFFER_FULL, "");
        case WIT_ERROR_TIMEOUT: return failed(WS_TIMEOUT, "");
        case WIT_ERROR_LIMIT: return failed_with(WS_LIMIT, &error->val.limit);
        case WIT_ERROR_DENIED: return failed(WS_DENIED, "");
        default: return failed_with(WS_INVALID, &error->val.invalid);
    }
}

static ws_error connect_error(client_connect_error_t *error) {
    switch (error->tag) {
        case CLIENT_CONNECT_ERROR_DENIED: return failed(WS_DENIED, "");
        case CLIENT_CONNECT_ERROR_CLOSED: return failed(WS_CLOSED, "");
        case CLIENT_CONNECT_ERROR_LIMIT: return failed_with(WS_LIMIT, &error->val.limit);
        case CLIENT_CONNECT_ERROR_INVALID_URL: return failed_with(WS_INVALID_URL, &error->val.invalid_url);
        case CLIENT_CONNECT_ERROR_NETWORK: return failed_with(WS_NETWORK, &error->val.network);
        case CLIENT_CONNECT_ERROR_TIMEOUT: return failed(WS_TIMEOUT, "");
        case CLIENT_CONNECT_ERROR_HTTP: last_http_status = error->val.http; return failed(WS_HTTP, "");
        default: return failed_with(WS_PROTOCOL, &error->val.protocol);
    }
}

const char *ws_error_name(ws_error error) {
    static const char *const names[] = {
        [WS_OK] = "ok",
        [WS_CLOSED] = "closed",
        [WS_BUFFER_FULL] = "buffer-full",
        [WS_TIMEOUT] = "timeout",
        [WS_LIMIT] = "limit",
        [WS_DENIED] = "denied",
        [WS_INVALID] = "invalid",
        [WS_END] = "end",
        [WS_INVALID_URL] = "invalid-url",
        [WS_NETWORK] = "network",
        [WS_HTTP] = "http",
        [WS_PROTOCOL] = "protocol",
    };
    return (size_t)error < sizeof names / sizeof *names ? names[error] : "unknown";
}

const char *ws_error_detail(void) { return last_detail; }

uint16_t ws_error_http_status(void) { return last_http_status; }

/* The interface keeps numbers below 2^31. */
static bool is_too_long(uint32_t milliseconds) { return milliseconds > INT32_MAX; }
static const char *const too_long = "a time of more than 2147483647 ms";

static bool is_text(const char *text) { return ws_is_utf8(text, strlen(text)); }
static const char *const no_utf8 = "text that is not UTF-8";

/* ---- What the host calls ---- */

static ws_connection *enter(exports_handler_borrow_handler_t self) {
    current = (ws_connection *)self;
    return current;
}

static void leave(void) {
    last_detail = "";
    ws_free_temporaries();
    current = NULL;
}

exports_handler_own_handler_t exports_handler_constructor_handler(exports_handler_own_request_t request) {
    ws_connection *conn = ws_allocate(sizeof *conn);
    *conn = (ws_connection){ .request = request };
    current = conn;
    ws_init(conn);
    leave();
    return exports_handler_handler_new((exports_handler_handler_t *)conn);
}

static void free_message(ws_client *client) {
    if (client->has_message) wit_message_free(&client->message);
    client->has_message = false;
}

static void free_client(ws_client *client) {
    free_message(client);
    client_client_connection_drop_own(client->handle);
    free(client->id);
    free(client);
}

static void drop(ws_connection *conn) {
    current = conn;
    ws_free(conn);
    while (conn->clients != NULL) {
        ws_client *client = conn->clients;
        conn->clients = client->next;
        free_client(client);
    }
    if (conn->is_open) connection_connection_drop_own(conn->connection);
    handshake_request_drop_own(conn->request);
    free(conn->id);
    free(conn);
    leave();
}

void exports_handler_handler_destructor(exports_handler_handler_t *self) { drop((ws_connection *)self); }

/* What a handler returned, for the host to free; with replacements where it is not UTF-8, at which the host would end the instance. */
static void give(guest_string_t *into, const char *text) {
    if (is_text(text)) {
        guest_string_dup(into, text);
        return;
    }
    ws_buffer replaced = { 0 };
    ws_append_utf8(&replaced, text);
    *into = (guest_string_t){ (uint8_t *)replaced.data, replaced.length };
}

static void set_header(guest_tuple2_string_string_t *header, const char *name, const char *value) {
    give(&header->f0, name);
    give(&header->f1, value);
}

/* The host's own comparison, for one name. */
static bool is_content_type(const char *name) {
    const char *expected = "content-type";
    for (; *name != '\0' && *expected != '\0'; name++, expected++) {
        char c = *name >= 'A' && *name <= 'Z' ? (char)(*name | 0x20) : *name;
        if (c != *expected) return false;
    }
    return *name == *expected;
}

bool exports_handler_method_handler_prepare(exports_handler_borrow_handler_t self, exports_handler_rejection_t *answer) {
    ws_rejection rejection = { .status = 403, .body_length = SIZE_MAX };
    bool accepted = ws_prepare(enter(self), &rejection);
    if (!accepted) {
        bool typed = false;
        for (size_t i = 0; i < rejection.header_count; i++) typed |= is_content_type(rejection.headers[i].name);
        size_t count = rejection.header_count + (typed ? 0 : 1);
        answer->status = rejection.status;
        answer->headers.len = count;
        answer->headers.ptr = ws_allocate(count * sizeof *answer->headers.ptr);
        for (size_t i = 0; i < rejection.header_count; i++) {
            set_header(&answer->headers.ptr[i], rejection.headers[i].name, rejection.headers[i].value);
        }
        if (!typed) set_header(&answer->headers.ptr[count - 1], "content-type", "text/plain; charset=utf-8");
        const char *body = rejection.body != NULL ? rejection.body : "";
        answer->body.len = rejection.body_length == SIZE_MAX ? strlen(body) : rejection.body_length;
        answer->body.ptr = ws_allocate(answer->body.len);
        memcpy(answer->body.ptr, body, answer->body.len);
        if (answer->body.len == 0) free(answer->body.ptr);
    }
    leave();
    return accepted;
}

bool exports_handler_method_handler_check_origin(exports_handler_borrow_handler_t self, guest_string_t *origin) {
    bool allowed = ws_check_origin(enter(self), or_empty(origin->ptr, origin->len));
    guest_string_free(origin);
    leave();
    return allowed;
}

bool exports_handler_method_handler_select_subprotocol(
    exports_handler_borrow_handler_t self, guest_list_string_t *offered, guest_string_t *selected
) {
    const char **names = ws_temporary((offered->len + 1) * sizeof *names);
    for (size_t i = 0; i < offered->len; i++) names[i] = or_empty(offered->ptr[i].ptr, offered->ptr[i].len);
    names[offered->len] = NULL;
    const char *name = ws_select_subprotocol(enter(self), names, offered->len);
    if (name != NULL) give(selected, name);
    guest_list_string_free(offered);
    leave();
    return name != NULL;
}

static guest_option_u8_t optional_level(int level) {
    /* What is no number of one byte is none that the host would take either. */
    return (guest_option_u8_t){ level != WS_DEFAULT, level < 0 || level > UINT8_MAX ? UINT8_MAX : (uint8_t)level };
}

static wit_compression_options_t compression(const ws_compression_options *options) {
    return (wit_compression_options_t){ optional_level(options->level), optional_level(options->mem_level) };
}

bool exports_handler_method_handler_get_compression_options(
    exports_handler_borrow_handler_t self, exports_handler_compression_options_t *answer
) {
    ws_compression_options options = WS_COMPRESSION_DEFAULTS;
    bool compressed = ws_get_compression_options(enter(self), &options);
    if (compressed) *answer = compression(&options);
    leave();
    return compressed;
}

void exports_handler_method_handler_open(exports_handler_borrow_handler_t self, exports_handler_own_connection_t connection) {
    ws_connection *conn = enter(self);
    conn->connection = connection;
    conn->is_open = true;
    ws_open(conn);
    leave();
}

void exports_handler_method_handler_on_message(exports_handler_borrow_handler_t self, exports_handler_message_t *message) {
    ws_on_message(enter(self), lent_message(message));
    exports_handler_message_free(message);
    leave();
}

void exports_handler_method_handler_on_ping(exports_handler_borrow_handler_t self, guest_list_u8_t *data) {
    ws_on_ping(enter(self), lent_bytes(data));
    guest_list_u8_free(data);
    leave();
}

void exports_handler_method_handler_on_pong(exports_handler_borrow_handler_t self, guest_list_u8_t *data) {
    ws_on_pong(enter(self), lent_bytes(data));
    guest_list_u8_free(data);
    leave();
}

void exports_handler_method_handler_on_writable(exports_handler_borrow_handler_t self) {
    ws_on_writable(enter(self));
    leave();
}

void exports_handler_method_handler_on_timer(exports_handler_borrow_handler_t self, uint32_t token) {
    ws_on_timer(enter(self), token);
    leave();
}

void exports_handler_method_handler_on_client_event(
    exports_handler_borrow_handler_t self, guest_string_t *id, exports_handler_client_event_t *event
) {
    ws_connection *conn = enter(self);
    ws_client_event told = { .message = { WS_TEXT, "", 0 }, .data = { "", 0 } };
    switch (event->tag) {
        case CLIENT_CLIENT_EVENT_OPENED: told.kind = WS_CLIENT_OPENED; break;
        case CLIENT_CLIENT_EVENT_FAILED:
            told.kind = WS_CLIENT_FAILED;
            told.error = connect_error(&event->val.failed);
            break;
        case CLIENT_CLIENT_EVENT_MESSAGE:
            told.kind = WS_CLIENT_MESSAGE;
            told.message = lent_message(&event->val.message);
            break;
        case CLIENT_CLIENT_EVENT_PONG:
            told.kind = WS_CLIENT_PONG;
            told.data = lent_bytes(&event->val.pong);
            break;
        default:
            told.kind = WS_CLIENT_CLOSED;
            if (event->val.closed.is_some) told.frame = taken_frame(&event->val.closed.val);
    }
    ws_on_client_event(conn, or_empty(id->ptr, id->len), &told);
    if (event->tag == CLIENT_CLIENT_EVENT_MESSAGE) client_message_free(&event->val.message);
    if (event->tag == CLIENT_CLIENT_EVENT_PONG) guest_list_u8_free(&event->val.pong);
    guest_string_free(id);
    leave();
}

void exports_handler_method_handler_on_close(exports_handler_borrow_handler_t self, exports_handler_close_frame_t *frame) {
    ws_connection *conn = enter(self);
    ws_on_close(conn, frame != NULL ? taken_frame(frame) : NULL);
    leave();
}

static bool snapshot(bool can, ws_buffer *state, guest_list_u8_t *into) {
    if (can && state->length > 0) {
        *into = (guest_list_u8_t){ (uint8_t *)state->data, state->length };
    } else {
        ws_buffer_free(state);
        *into = (guest_list_u8_t){ NULL, 0 };
    }
    leave();
    return can;
}

bool exports_handler_method_handler_suspend(exports_handler_borrow_handler_t self, guest_list_u8_t *into) {
    ws_buffer state = { 0 };
    return snapshot(ws_suspend(enter(self), &state), &state, into);
}

bool exports_handler_static_handler_resume(
    exports_handler_own_request_t request, exports_handler_own_connection_t connection, guest_list_u8_t *state,
    exports_handler_own_handler_t *resumed, guest_string_t *refusal
) {
    ws_connection *conn = ws_allocate(sizeof *conn);
    *conn = (ws_connection){ .request = request, .connection = connection, .is_open = true };
    current = conn;
    const char *why = ws_resume(conn, lent_bytes(state));
    if (why != NULL) give(refusal, why);
    guest_list_u8_free(state);
    leave();
    if (why != NULL) {
        drop(conn);
        return false;
    }
    *resumed = exports_handler_handler_new((exports_handler_handler_t *)conn);
    return true;
}

bool exports_shared_suspend(guest_list_u8_t *into) {
    ws_buffer state = { 0 };
    return snapshot(ws_shared_suspend(&state), &state, into);
}

bool exports_shared_resume(guest_list_u8_t *state, guest_string_t *refusal) {
    const char *why = ws_shared_resume(lent_bytes(state));
    if (why != NULL) give(refusal, why);
    guest_list_u8_free(state);
    leave();
    return why == NULL;
}

/* ---- The handler's own data, the request ---- */

void ws_set_data(ws_connection *conn, void *data) { conn->data = data; }

void *ws_data(const ws_connection *conn) { return conn->data; }

static handshake_borrow_request_t request_of(ws_connection *conn) { return handshake_borrow_request(conn->request); }

const char *ws_uri(ws_connection *conn) {
    guest_string_t uri;
    handshake_method_request_uri(request_of(conn), &uri);
    return taken(&uri);
}

const char *ws_path(ws_connection *conn) {
    guest_string_t path;
    handshake_method_request_path(request_of(conn), &path);
    return taken(&path);
}

const char *ws_query(ws_connection *conn) {
    guest_string_t query;
    return handshake_method_request_query(request_of(conn), &query) ? taken(&query) : NULL;
}

const char *ws_remote_address(ws_connection *conn) {
    guest_string_t address;
    handshake_method_request_remote_address(request_of(conn), &address);
    return taken(&address);
}

size_t ws_path_args(ws_connection *conn, const ws_header **args) {
    guest_list_tuple2_string_string_t list;
    handshake_method_request_path_args(request_of(conn), &list);
    ws_header *copies = ws_temporary((list.len + 1) * sizeof *copies);
    for (size_t i = 0; i < list.len; i++) copies[i] = (ws_header){ taken(&list.ptr[i].f0), taken(&list.ptr[i].f1) };
    size_t count = list.len;
    guest_list_tuple2_string_string_free(&list);
    *args = copies;
    return count;
}

const char *ws_path_arg(ws_connection *conn, const char *name) {
    const ws_header *args;
    size_t count = ws_path_args(conn, &args);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(args[i].name, name) == 0) return args[i].value;
    }
    return NULL;
}

const char *ws_header_value(ws_connection *conn, const char *name) {
    guest_string_t key = borrowed(name), value;
    if (!is_text(name)) return NULL;
    return handshake_method_request_header(request_of(conn), &key, &value) ? taken(&value) : NULL;
}

size_t ws_headers(ws_connection *conn, const ws_header **headers) {
    guest_list_tuple2_string_list_u8_t list;
    handshake_method_request_headers(request_of(conn), &list);
    ws_header *copies = ws_temporary((list.len + 1) * sizeof *copies);
    for (size_t i = 0; i < list.len; i++) {
        guest_list_u8_t *value = &list.ptr[i].f1;
        copies[i] = (ws_header){ taken(&list.ptr[i].f0), ws_temporary_text(value->ptr, value->len) };
    }
    size_t count = list.len;
    guest_list_tuple2_string_list_u8_free(&list);
    *headers = copies;
    return count;
}

const char *ws_query_arg_at(ws_connection *conn, const char *name, size_t index) {
    const char *query = ws_query(conn);
    return query != NULL ? ws_query_value(query, name, index) : NULL;
}

const char *ws_query_arg(ws_connection *conn, const char *name) { return ws_query_arg_at(conn, name, SIZE_MAX); }

bool ws_origin_allowed(ws_connection *conn, const char *origin) {
    guest_string_t text = borrowed(origin);
    return is_text(origin) && handshake_method_request_origin_allowed(request_of(conn), &text);
}

ws_error ws_set_response_header(ws_connection *conn, const char *name, const char *value) {
    if (!is_text(name) || !is_text(value)) return failed(WS_INVALID, no_utf8);
    guest_string_t key = borrowed(name), text = borrowed(value);
    wit_error_t error;
    return outcome(handshake_method_request_set_response_header(request_of(conn), &key, &text, &error), &error);
}

/* ---- The connection ---- */

static connection_borrow_connection_t connection_of(ws_connection *conn) {
    return connection_borrow_connection(conn->connection);
}

const char *ws_id(ws_connection *conn) {
    if (conn->id != NULL) return conn->id;
    if (!conn->is_open) return "";
    guest_string_t id;
    connection_method_connection_id(connection_of(conn), &id);
    return kept_text(&conn->id, &id);
}

const char *ws_selected_subprotocol(ws_connection *conn) {
    guest_string_t name;
    if (!conn->is_open || !connection_method_connection_selected_subprotocol(connection_of(conn), &name)) return NULL;
    return taken(&name);
}

/* Only what is to be read: the bindings' functions take no const. */
static bool borrowed_message(ws_message message, wit_message_t *borrowed) {
    if (message.kind == WS_BINARY) {
        borrowed->tag = WIT_MESSAGE_BINARY;
        borrowed->val.binary = (guest_list_u8_t){ (uint8_t *)message.data, message.length };
        return true;
    }
    borrowed->tag = WIT_MESSAGE_TEXT;
    borrowed->val.text = (guest_string_t){ (uint8_t *)message.data, message.length };
    return ws_is_utf8(message.data, message.length);
}

static ws_message text_message(const char *text) { return (ws_message){ WS_TEXT, text, strlen(text) }; }

ws_error ws_write_message(ws_connection *conn, ws_message message) {
    wit_message_t lent;
    wit_error_t error;
    if (!conn->is_open) return failed(WS_CLOSED, "");
    if (!borrowed_message(message, &lent)) return failed(WS_INVALID, no_utf8);
    return outcome(connection_method_connection_write_message(connection_of(conn), &lent, &error), &error);
}

ws_error ws_write_text(ws_connection *conn, const char *text) { return ws_write_message(conn, text_message(text)); }

ws_error ws_write_binary(ws_connection *conn, const void *data, size_t length) {
    return ws_write_message(conn, (ws_message){ WS_BINARY, data, length });
}

ws_error ws_flush(ws_connection *conn) {
    wit_error_t error;
    if (!conn->is_open) return failed(WS_CLOSED, "");
    return outcome(connection_method_connection_flush(connection_of(conn), &error), &error);
}

uint32_t ws_buffered_amount(ws_connection *conn) {
    return conn->is_open ? connection_method_connection_buffered_amount(connection_of(conn)) : 0;
}

ws_error ws_ping(ws_connection *conn, const void *data, size_t length) {
    guest_list_u8_t bytes = { (uint8_t *)data, length };
    wit_error_t error;
    if (!conn->is_open) return failed(WS_CLOSED, "");
    return outcome(connection_method_connection_ping(connection_of(conn), &bytes, &error), &error);
}

/* Code and reason as the interface has them. */
typedef struct {
    uint16_t code;
    guest_string_t reason;
} closing;

static const char *closing_of(int code, const char *reason, closing *closing) {
    if (code < 0 || code > UINT16_MAX) return "a close code that is no number of 16 bits";
    if (reason != NULL && !is_text(reason)) return no_utf8;
    closing->code = (uint16_t)code;
    if (reason != NULL) closing->reason = borrowed(reason);
    return NULL;
}

ws_error ws_close(ws_connection *conn, int code, const char *reason) {
    closing closing;
    wit_error_t error;
    if (!conn->is_open) return failed(WS_CLOSED, "");
    const char *why = closing_of(code, reason, &closing);
    if (why != NULL) return failed(WS_INVALID, why);
    bool ok = connection_method_connection_close(
        connection_of(conn), code != WS_NO_CODE ? &closing.code : NULL, reason != NULL ? &closing.reason : NULL, &error
    );
    return outcome(ok, &error);
}

ws_error ws_set_nodelay(ws_connection *conn, bool value) {
    wit_error_t error;
    if (!conn->is_open) return failed(WS_CLOSED, "");
    return outcome(connection_method_connection_set_nodelay(connection_of(conn), value, &error), &error);
}

ws_error ws_subscribe(ws_connection *conn, const char *topic) {
    guest_string_t name = borrowed(topic);
    wit_error_t error;
    if (!conn->is_open) return failed(WS_CLOSED, "");
    if (!is_text(topic)) return failed(WS_INVALID, no_utf8);
    return outcome(connection_method_connection_subscribe(connection_of(conn), &name, &error), &error);
}

void ws_unsubscribe(ws_connection *conn, const char *topic) {
    guest_string_t name = borrowed(topic);
    if (conn->is_open && is_text(topic)) connection_method_connection_unsubscribe(connection_of(conn), &name);
}

ws_error ws_publish(const char *topic, ws_message message) {
    guest_string_t name = borrowed(topic);
    wit_message_t lent;
    wit_error_t error;
    if (!is_text(topic) || !borrowed_message(message, &lent)) return failed(WS_INVALID, no_utf8);
    return outcome(topics_publish(&name, &lent, &error), &error);
}

ws_error ws_publish_text(const char *topic, const char *text) { return ws_publish(topic, text_message(text)); }

ws_error ws_set_timer(ws_connection *conn, uint32_t token, uint32_t delay_ms) {
    wit_error_t error;
    if (!conn->is_open) return failed(WS_CLOSED, "");
    if (is_too_long(delay_ms)) return failed(WS_INVALID, too_long);
    return outcome(connection_method_connection_set_timer(connection_of(conn), token, delay_ms, &error), &error);
}

void ws_clear_timer(ws_connection *conn, uint32_t token) {
    if (conn->is_open) connection_method_connection_clear_timer(connection_of(conn), token);
}

/* ---- Connections of the handler's own ---- */

static ws_client *new_client(client_own_client_connection_t handle) {
    ws_client *client = ws_allocate(sizeof *client);
    *client = (ws_client){ .owner = current, .handle = handle };
    /* The host gives handles out in functions of a connection only. */
    if (current != NULL) {
        client->next = current->clients;
        current->clients = client;
    }
    return client;
}

static guest_option_u32_t optional(uint32_t number) {
    return (guest_option_u32_t){ number != 0, number > INT32_MAX ? INT32_MAX : number };
}

typedef bool (*dial)(
    guest_string_t *url, client_connect_options_t *options, client_own_client_connection_t *handle, client_connect_error_t *error
);

static ws_error dialled(dial dial, const char *url, const ws_connect_options *options, ws_client **client) {
    static const ws_connect_options defaults;
    if (options == NULL) options = &defaults;
    *client = NULL;
    if (!is_text(url)) return failed(WS_INVALID_URL, no_utf8);
    client_connect_options_t wanted = {
        .headers = { ws_temporary((options->header_count + 1) * sizeof *wanted.headers.ptr), options->header_count },
        .subprotocols = {
            ws_temporary((options->subprotocol_count + 1) * sizeof *wanted.subprotocols.ptr), options->subprotocol_count
        },
        .connect_timeout_ms = optional(options->connect_timeout_ms),
        .max_message_size = optional(options->max_message_size),
        .ping_interval_ms = optional(options->ping_interval_ms),
        .ping_timeout_ms = { options->ping_timeout_ms != 0, options->ping_timeout_ms },
    };
    if (options->ping_timeout_ms == WS_FOREVER) wanted.ping_timeout_ms.val = 0;
    for (size_t i = 0; i < options->header_count; i++) {
        const ws_header *header = &options->headers[i];
        if (!is_text(header->name) || !is_text(header->value)) return failed(WS_PROTOCOL, no_utf8);
        wanted.headers.ptr[i] = (guest_tuple2_string_string_t){ borrowed(header->name), borrowed(header->value) };
    }
    for (size_t i = 0; i < options->subprotocol_count; i++) {
        if (!is_text(options->subprotocols[i])) return failed(WS_PROTOCOL, no_utf8);
        wanted.subprotocols.ptr[i] = borrowed(options->subprotocols[i]);
    }
    if (options->compression != NULL) {
        wanted.compression.is_some = true;
        wanted.compression.val = compression(options->compression);
    }
    guest_string_t address = borrowed(url);
    client_own_client_connection_t handle;
    client_connect_error_t error;
    if (!dial(&address, &wanted, &handle, &error)) return connect_error(&error);
    *client = new_client(handle);
    return WS_OK;
}

ws_error ws_connect(const char *url, const ws_connect_options *options, ws_client **client) {
    return dialled(client_connect, url, options, client);
}

ws_error ws_start(const char *url, const ws_connect_options *options, ws_client **client) {
    return dialled(client_start, url, options, client);
}

ws_client *ws_client_get(const char *id) {
    for (ws_client *client = current != NULL ? current->clients : NULL; client != NULL; client = client->next) {
        if (strcmp(ws_client_id(client), id) == 0) return client;
    }
    guest_string_t name = borrowed(id);
    client_own_client_connection_t handle;
    return is_text(id) && client_get(&name, &handle) ? new_client(handle) : NULL;
}

static client_borrow_client_connection_t client_of(ws_client *client) { return client_borrow_client_connection(client->handle); }

const char *ws_client_id(ws_client *client) {
    if (client->id != NULL) return client->id;
    guest_string_t id;
    client_method_client_connection_id(client_of(client), &id);
    return kept_text(&client->id, &id);
}

const char *ws_client_selected_subprotocol(ws_client *client) {
    guest_string_t name;
    return client_method_client_connection_selected_subprotocol(client_of(client), &name) ? taken(&name) : NULL;
}

ws_error ws_client_read_message(ws_client *client, uint32_t timeout_ms, ws_message *message) {
    *message = (ws_message){ WS_TEXT, "", 0 };
    free_message(client);
    bool forever = timeout_ms == WS_FOREVER;
    if (!forever && is_too_long(timeout_ms)) return failed(WS_INVALID, too_long);
    client_option_message_t read;
    wit_error_t error;
    bool ok = client_method_client_connection_read_message(client_of(client), forever ? NULL : &timeout_ms, &read, &error);
    if (!ok) return outcome(false, &error);
    if (!read.is_some) return failed(WS_END, "");
    client->message = read.val;
    client->has_message = true;
    *message = lent_message(&client->message);
    return WS_OK;
}

ws_error ws_client_write_message(ws_client *client, ws_message message) {
    wit_message_t lent;
    wit_error_t error;
    if (!borrowed_message(message, &lent)) return failed(WS_INVALID, no_utf8);
    return outcome(client_method_client_connection_write_message(client_of(client), &lent, &error), &error);
}

ws_error ws_client_write_text(ws_client *client, const char *text) {
    return ws_client_write_message(client, text_message(text));
}

ws_error ws_client_write_binary(ws_client *client, const void *data, size_t length) {
    return ws_client_write_message(client, (ws_message){ WS_BINARY, data, length });
}

ws_error ws_client_flush(ws_client *client) {
    wit_error_t error;
    return outcome(client_method_client_connection_flush(client_of(client), &error), &error);
}

ws_error ws_client_ping(ws_client *client, const void *data, size_t length) {
    guest_list_u8_t bytes = { (uint8_t *)data, length };
    wit_error_t error;
    return outcome(client_method_client_connection_ping(client_of(client), &bytes, &error), &error);
}

ws_error ws_client_close(ws_client *client, int code, const char *reason) {
    closing closing;
    wit_error_t error;
    const char *why = closing_of(code, reason, &closing);
    if (why != NULL) return failed(WS_INVALID, why);
    bool ok = client_method_client_connection_close(
        client_of(client), code != WS_NO_CODE ? &closing.code : NULL, reason != NULL ? &closing.reason : NULL, &error
    );
    return outcome(ok, &error);
}

const ws_close_frame *ws_client_close_frame(ws_client *client) {
    wit_close_frame_t frame;
    return client_method_client_connection_close_frame(client_of(client), &frame) ? taken_frame(&frame) : NULL;
}

void ws_client_free(ws_client *client) {
    if (client->owner != NULL) {
        ws_client **link = &client->owner->clients;
        while (*link != client) link = &(*link)->next;
        *link = client->next;
    }
    free_client(client);
}

/* ---- Configuration ---- */

const char *ws_config(const char *key) {
    guest_string_t name = borrowed(key);
    guest_option_string_t value;
    config_error_t error;
    if (!is_text(key)) return NULL;
    if (!config_get(&name, &value, &error)) {
        /* Waterspout always can. */
        config_error_free(&error);
        return NULL;
    }
    return value.is_some ? taken(&value.val) : NULL;
}
