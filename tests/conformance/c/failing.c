/* A handler that fails in the function that the query names. */

#include "features.h"

static bool is_meant(ws_connection *conn, const char *function) {
    const char *meant = ws_query_arg(conn, "in");
    return meant != NULL && strcmp(meant, function) == 0;
}

static void fail_in(ws_connection *conn, const char *function) {
    if (is_meant(conn, function)) ws_fail("conformance: %s", function);
}

static void in_init(ws_connection *conn) { fail_in(conn, "construct"); }

static bool in_prepare(ws_connection *conn, ws_rejection *rejection) {
    (void)rejection;
    fail_in(conn, "prepare");
    return true;
}

static bool in_check_origin(ws_connection *conn, const char *origin) {
    (void)origin;
    fail_in(conn, "check_origin");
    return true;
}

static const char *in_select_subprotocol(ws_connection *conn, const char *const *offered, size_t count) {
    (void)offered, (void)count;
    fail_in(conn, "select_subprotocol");
    return NULL;
}

static bool in_get_compression_options(ws_connection *conn, ws_compression_options *options) {
    (void)options;
    fail_in(conn, "get_compression_options");
    return false;
}

static void in_open(ws_connection *conn) { fail_in(conn, "open"); }

/* Brings about what the others are called for. */
static void in_on_message(ws_connection *conn, ws_message message) {
    static const char block[65536];
    ws_client *client;
    fail_in(conn, "on_message");
    if (is_meant(conn, "on_pong")) {
        ws_ping(conn, "?", 1);
    } else if (is_meant(conn, "on_timer")) {
        ws_set_timer(conn, 0, 1);
    } else if (is_meant(conn, "on_client_event")) {
        ws_start(ws_query_arg(conn, "url"), NULL, &client);
    } else if (is_meant(conn, "on_writable")) {
        while (ws_write_binary(conn, block, sizeof block) == WS_OK) {}
        ws_publish_text("conformance-full", "full");
    } else {
        ws_write_message(conn, message);
    }
}

static void in_on_ping(ws_connection *conn, ws_bytes data) {
    (void)data;
    fail_in(conn, "on_ping");
}

static void in_on_pong(ws_connection *conn, ws_bytes data) {
    (void)data;
    fail_in(conn, "on_pong");
}

static void in_on_writable(ws_connection *conn) { fail_in(conn, "on_writable"); }

static void in_on_timer(ws_connection *conn, uint32_t token) {
    (void)token;
    fail_in(conn, "on_timer");
}

static void in_on_client_event(ws_connection *conn, const char *id, const ws_client_event *event) {
    (void)id, (void)event;
    fail_in(conn, "on_client_event");
}

static void in_on_close(ws_connection *conn, const ws_close_frame *frame) {
    (void)frame;
    fail_in(conn, "on_close");
}

static bool in_suspend(ws_connection *conn, ws_buffer *state) {
    (void)state;
    fail_in(conn, "suspend");
    return true;
}

static const char *in_resume(ws_connection *conn, ws_bytes state) {
    (void)state;
    fail_in(conn, "resume");
    return NULL;
}

const feature failures[] = {
    {
        .name = "throw",
        .init = in_init,
        .prepare = in_prepare,
        .check_origin = in_check_origin,
        .select_subprotocol = in_select_subprotocol,
        .get_compression_options = in_get_compression_options,
        .open = in_open,
        .on_message = in_on_message,
        .on_ping = in_on_ping,
        .on_pong = in_on_pong,
        .on_writable = in_on_writable,
        .on_timer = in_on_timer,
        .on_client_event = in_on_client_event,
        .on_close = in_on_close,
        .suspend = in_suspend,
        .resume = in_resume,
    },
    { 0 },
};
