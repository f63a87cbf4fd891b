/* One connection, from open to close. */

#include "features.h"

static void opened(ws_connection *conn) { ws_printf(conn, "opened %s", ws_id(conn)); }

static void id(ws_connection *conn, ws_message message) {
    if (strcmp(message.data, "id") == 0) ws_write_text(conn, ws_id(conn));
}

static void ping(ws_connection *conn, ws_message message) {
    static const char big[126];
    const char *data = after(message.data, "ping");
    if (data != NULL) ws_ping(conn, data, strlen(data));
    else report(conn, ws_ping(conn, big, sizeof big));
}

static void pinged(ws_connection *conn, ws_bytes data) { ws_printf(conn, "ping %s", data.data); }
static void ponged(ws_connection *conn, ws_bytes data) { ws_printf(conn, "pong %s", data.data); }

ws_error close_as(ws_error (*close)(void *, int, const char *), void *what, const char *text) {
    char code[8];
    const char *reason = first_word(text, code, sizeof code);
    if (strcmp(code, "-") == 0) return close(what, WS_NO_CODE, NULL);
    return close(what, atoi(code), *reason != '\0' ? reason : NULL);
}

static ws_error close_connection(void *conn, int code, const char *reason) { return ws_close(conn, code, reason); }

void append_end(ws_buffer *text, const char *word, const ws_close_frame *frame) {
    ws_append_text(text, word);
    if (frame == NULL) ws_append_text(text, " none");
    else ws_append_format(text, *frame->reason != '\0' ? " %d %s" : " %d", frame->code, frame->reason);
}

static const char ends[] = "conformance-ends";

static void close_it(ws_connection *conn, ws_message message) {
    close_as(close_connection, conn, message.data);
    ws_publish_text(ends, ws_error_name(ws_write_text(conn, "late")));
}

static void closed(ws_connection *conn, const ws_close_frame *frame) {
    (void)conn;
    ws_buffer text = { 0 };
    append_end(&text, "closed", frame);
    ws_publish(ends, ws_buffer_text(&text));
    ws_buffer_free(&text);
}

static void observe(ws_connection *conn) {
    ws_error error = ws_subscribe(conn, ws_query_arg(conn, "topic"));
    ws_write_text(conn, error == WS_OK ? "ready" : ws_error_name(error));
}

static void invalid(ws_connection *conn, ws_message message) {
    char reason[256] = "";
    const char *code = after(message.data, "code"), *length = after(message.data, "reason");
    if (length != NULL) memset(reason, 'r', (size_t)atoi(length) % sizeof reason);
    ws_error error = ws_close(conn, code != NULL ? atoi(code) : 1000, length != NULL ? reason : NULL);
    if (error != WS_OK) report(conn, error);
}

static void queue(ws_connection *conn, ws_message message) {
    const char *size = after(message.data, "fill");
    if (size != NULL) {
        size_t length = (size_t)atoi(size);
        char *data = calloc(1, length);
        while (ws_write_binary(conn, data, length) == WS_OK) {}
        free(data);
        ws_publish_text("conformance-full", "full");
    } else if (strcmp(message.data, "amount") == 0) {
        ws_printf(conn, "%u", ws_buffered_amount(conn));
    } else if (strcmp(message.data, "flush") == 0) {
        ws_error error = ws_flush(conn);
        ws_write_text(conn, error == WS_OK ? "flushed" : ws_error_name(error));
    }
}

static void writable(ws_connection *conn) { ws_write_text(conn, "writable"); }

static void nodelay(ws_connection *conn, ws_message message) {
    report(conn, ws_set_nodelay(conn, strcmp(message.data, "on") == 0));
}

const feature connections[] = {
    { .name = "open", .open = opened, .on_message = id },
    { .name = "ping", .on_message = ping, .on_ping = pinged, .on_pong = ponged },
    { .name = "close", .on_message = close_it, .on_close = closed },
    { .name = "observe", .open = observe },
    { .name = "invalid", .on_message = invalid },
    { .name = "queue", .on_message = queue, .on_writable = writable },
    { .name = "nodelay", .on_message = nodelay },
    { 0 },
};
