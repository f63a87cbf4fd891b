/* What is asked before the answer, and what may be answered. */

#include <strings.h>

#include "features.h"

static void append_field(ws_buffer *out, const char *name, const char *value) {
    ws_append_format(out, "%s\"%s\":", out->length > 1 ? "," : "", name);
    append_or_null(out, value);
}

static void request(ws_connection *conn) {
    ws_buffer out = { 0 };
    ws_append_text(&out, "{");
    append_field(&out, "uri", ws_uri(conn));
    append_field(&out, "path", ws_path(conn));
    append_field(&out, "query", ws_query(conn));
    append_field(&out, "remote_address", ws_remote_address(conn));
    append_field(&out, "x_test", ws_header_value(conn, "x-test"));
    append_field(&out, "arg", ws_query_arg(conn, "name"));
    const ws_header *all;
    size_t count = ws_path_args(conn, &all);
    ws_append_text(&out, ",\"path_args\":{");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) ws_append_text(&out, ",");
        ws_append_json_string(&out, all[i].name, SIZE_MAX);
        ws_append_text(&out, ":");
        ws_append_json_string(&out, all[i].value, SIZE_MAX);
    }
    ws_append_text(&out, "},\"x_many\":[");
    count = ws_headers(conn, &all);
    for (size_t i = 0, found = 0; i < count; i++) {
        if (strcasecmp(all[i].name, "x-many") != 0) continue;
        if (found++ > 0) ws_append_text(&out, ",");
        ws_append_json_string(&out, all[i].value, SIZE_MAX);
    }
    ws_append_text(&out, "]}");
    ws_write_message(conn, ws_buffer_text(&out));
    ws_buffer_free(&out);
}

static bool prepare_header(ws_connection *conn, ws_rejection *rejection) {
    (void)rejection;
    if (ws_set_response_header(conn, "x-conformance", "yes") != WS_OK) ws_fail("%s", ws_error_detail());
    ws_error error = ws_set_response_header(conn, "connection", "close");
    set_own(conn, memcpy(malloc(sizeof error), &error, sizeof error));
    return true;
}

static void report_header(ws_connection *conn) { report(conn, *(ws_error *)own(conn)); }

static bool reject(ws_connection *conn, ws_rejection *rejection) {
    static const ws_header why[] = { { "x-why", "teapot" } };
    (void)conn;
    rejection->status = 418;
    rejection->headers = why;
    rejection->header_count = 1;
    rejection->body = "short and stout";
    return false;
}

static bool good_origin(ws_connection *conn, const char *origin) {
    (void)conn;
    return strcmp(origin, "https://good.example") == 0;
}

static const char *second(ws_connection *conn, const char *const *offered, size_t count) {
    (void)conn;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(offered[i], "second") == 0) return offered[i];
    }
    return NULL;
}

static void report_subprotocol(ws_connection *conn) {
    const char *name = ws_selected_subprotocol(conn);
    ws_write_text(conn, name != NULL ? name : "none");
}

static bool level_6(ws_connection *conn, ws_compression_options *options) {
    (void)conn;
    options->level = 6;
    return true;
}

const feature handshakes[] = {
    { .name = "request", .open = request },
    { .name = "response-header", .prepare = prepare_header, .open = report_header },
    { .name = "reject", .prepare = reject },
    { .name = "origin", .check_origin = good_origin, .on_message = echo },
    { .name = "origin-default", .on_message = echo },
    { .name = "subprotocol", .select_subprotocol = second, .open = report_subprotocol },
    { .name = "subprotocol-default", .open = report_subprotocol },
    { .name = "compression", .get_compression_options = level_6, .on_message = echo },
    { .name = "compression-default", .on_message = echo },
    { 0 },
};
