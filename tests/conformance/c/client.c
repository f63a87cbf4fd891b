/* Connections that a handler opens. */

#include "features.h"

typedef ws_error (*opener)(const char *, const ws_connect_options *, ws_client **);

static void report_failure(ws_connection *conn, ws_error error) {
    const char *detail = ws_error_detail();
    if (error == WS_HTTP) ws_printf(conn, "failed http %d", ws_error_http_status());
    else ws_printf(conn, "failed %s%s%s", ws_error_name(error), *detail != '\0' ? " " : "", detail);
}

static uint32_t milliseconds(ws_json asked, const char *name) { return (uint32_t)ws_json_number(ws_json_member(asked, name), 0); }

/* Connects to what the JSON says. */
static ws_client *open_as(ws_connection *conn, opener open, ws_message message) {
    enum { MOST = 8 };
    ws_json asked, key, item = { 0 };
    if (!ws_json_parse(message.data, message.length, &asked)) ws_fail("not JSON: %s", message.data);
    ws_header headers[MOST];
    const char *subprotocols[MOST];
    ws_connect_options options = { .headers = headers, .subprotocols = subprotocols };
    while (options.header_count < MOST && ws_json_next(ws_json_member(asked, "headers"), &key, &item)) {
        headers[options.header_count++] = (ws_header){ ws_json_string(key, NULL), ws_json_string(item, NULL) };
    }
    item = (ws_json){ 0 };
    while (options.subprotocol_count < MOST && ws_json_next(ws_json_member(asked, "subprotocols"), NULL, &item)) {
        subprotocols[options.subprotocol_count++] = ws_json_string(item, NULL);
    }
    options.connect_timeout_ms = milliseconds(asked, "timeout_ms");
    options.max_message_size = (uint32_t)ws_json_number(ws_json_member(asked, "max_message_size"), 0);
    options.ping_interval_ms = milliseconds(asked, "ping_interval_ms");
    if (ws_json_member(asked, "ping_timeout_ms").text != NULL) {
        uint32_t timeout_ms = milliseconds(asked, "ping_timeout_ms");
        options.ping_timeout_ms = timeout_ms != 0 ? timeout_ms : WS_FOREVER;
    }
    ws_compression_options compression = WS_COMPRESSION_DEFAULTS;
    ws_json wanted = ws_json_member(asked, "compression");
    if (wanted.text != NULL) {
        compression.level = (int)ws_json_number(ws_json_member(wanted, "level"), WS_DEFAULT);
        compression.mem_level = (int)ws_json_number(ws_json_member(wanted, "mem_level"), WS_DEFAULT);
        options.compression = &compression;
    }
    ws_client *client;
    ws_error error = open(ws_json_string(ws_json_member(asked, "url"), NULL), &options, &client);
    if (error != WS_OK) report_failure(conn, error);
    return client;
}

static ws_error close_client(void *client, int code, const char *reason) { return ws_client_close(client, code, reason); }

/* A command for the server's side. Whether it was one. */
static bool to_server(ws_client *client, const char *text, ws_error *error) {
    const char *rest;
    if ((rest = after(text, "send")) != NULL) *error = ws_client_write_text(client, rest);
    else if ((rest = after(text, "send-binary")) != NULL) *error = ws_client_write_binary(client, rest, strlen(rest));
    else if ((rest = after(text, "ping")) != NULL) *error = ws_client_ping(client, rest, strlen(rest));
    else if ((rest = after(text, "close")) != NULL) *error = close_as(close_client, client, rest);
    else if (strcmp(text, "flush") == 0) *error = ws_client_flush(client);
    else return false;
    return true;
}

static void report_message(ws_connection *conn, ws_message message) {
    ws_printf(conn, "%s %s", message.kind == WS_TEXT ? "text" : "binary", message.data);
}

static void report_end(ws_connection *conn, const char *word, const ws_close_frame *frame) {
    ws_buffer text = { 0 };
    append_end(&text, word, frame);
    ws_write_message(conn, ws_buffer_text(&text));
    ws_buffer_free(&text);
}

static void read_one(ws_connection *conn, ws_client *client, uint32_t timeout_ms) {
    ws_message message;
    ws_error error = ws_client_read_message(client, timeout_ms, &message);
    if (error == WS_OK) report_message(conn, message);
    else if (error == WS_END) report_end(conn, "end", ws_client_close_frame(client));
    else report(conn, error);
}

typedef struct upstream {
    ws_client *client;
} upstream;

static void init(ws_connection *conn) { set_own(conn, calloc(1, sizeof(upstream))); }

static void connect_and_ask(ws_connection *conn, ws_message message) {
    upstream *upstream = own(conn);
    ws_error error = WS_OK;
    const char *within = after(message.data, "read-within");
    if (*message.data == '{') {
        upstream->client = open_as(conn, ws_connect, message);
        if (upstream->client == NULL) return;
        const char *subprotocol = ws_client_selected_subprotocol(upstream->client);
        ws_printf(conn, "connected %s", subprotocol != NULL ? subprotocol : "none");
    } else if (upstream->client == NULL) {
        ws_write_text(conn, "not connected");
    } else if (strcmp(message.data, "read") == 0) {
        read_one(conn, upstream->client, WS_FOREVER);
    } else if (within != NULL) {
        read_one(conn, upstream->client, (uint32_t)atoi(within));
    } else if (strcmp(message.data, "id") == 0) {
        bool same = ws_client_get(ws_client_id(upstream->client)) == upstream->client;
        ws_write_text(conn, same ? "same" : "another");
    } else if (to_server(upstream->client, message.data, &error) && error != WS_OK) {
        report(conn, error);
    }
}

static void start_and_tell(ws_connection *conn, ws_message message) {
    upstream *upstream = own(conn);
    ws_error error = WS_OK;
    if (*message.data == '{') {
        upstream->client = open_as(conn, ws_start, message);
    } else if (upstream->client == NULL) {
        ws_write_text(conn, "not connected");
    } else if (to_server(upstream->client, message.data, &error) && error != WS_OK) {
        report(conn, error);
    }
}

static void event(ws_connection *conn, const char *id, const ws_client_event *event) {
    if (ws_client_get(id) == NULL) ws_fail("an event of a stranger: %s", id);
    switch (event->kind) {
        case WS_CLIENT_OPENED: ws_write_text(conn, "opened"); break;
        case WS_CLIENT_FAILED: report_failure(conn, event->error); break;
        case WS_CLIENT_MESSAGE: report_message(conn, event->message); break;
        case WS_CLIENT_PONG: ws_printf(conn, "pong %s", event->data.data); break;
        case WS_CLIENT_CLOSED: report_end(conn, "closed", event->frame); break;
    }
}

/* What goes over to another version is the connection's id. */
static bool suspend(ws_connection *conn, ws_buffer *state) {
    ws_client *client = ((upstream *)own(conn))->client;
    if (client != NULL) ws_append_text(state, ws_client_id(client));
    return true;
}

static const char *resume(ws_connection *conn, ws_bytes state) {
    init(conn);
    if (state.length > 0) ((upstream *)own(conn))->client = ws_client_get(state.data);
    return NULL;
}

const feature clients[] = {
    { .name = "connect", .init = init, .on_message = connect_and_ask, .suspend = suspend, .resume = resume },
    { .name = "start", .init = init, .on_message = start_and_tell, .on_client_event = event, .suspend = suspend, .resume = resume },
    { 0 },
};
