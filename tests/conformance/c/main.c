/* The handler's functions: each asks the feature of its connection. */

#include "features.h"

static const feature *find(const char *name) {
    static const feature *const lists[] = { messages, handshakes, connections, topics, clients, states, failures };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (const feature *feature = lists[i]; feature->name != NULL; feature++) {
            if (name != NULL && strcmp(feature->name, name) == 0) return feature;
        }
    }
    ws_fail("no such feature: %s", name != NULL ? name : "(none)");
}

static const feature *begin(ws_connection *conn) {
    session *session = calloc(1, sizeof *session);
    session->feature = find(ws_path_arg(conn, "feature"));
    ws_set_data(conn, session);
    return session->feature;
}

static const feature *of(ws_connection *conn) { return ((session *)ws_data(conn))->feature; }

void ws_init(ws_connection *conn) {
    const feature *feature = begin(conn);
    if (feature->init != NULL) feature->init(conn);
}

bool ws_prepare(ws_connection *conn, ws_rejection *rejection) {
    return of(conn)->prepare == NULL || of(conn)->prepare(conn, rejection);
}

bool ws_check_origin(ws_connection *conn, const char *origin) {
    return of(conn)->check_origin != NULL ? of(conn)->check_origin(conn, origin) : ws_origin_allowed(conn, origin);
}

const char *ws_select_subprotocol(ws_connection *conn, const char *const *offered, size_t count) {
    return of(conn)->select_subprotocol != NULL ? of(conn)->select_subprotocol(conn, offered, count) : NULL;
}

bool ws_get_compression_options(ws_connection *conn, ws_compression_options *options) {
    return of(conn)->get_compression_options != NULL && of(conn)->get_compression_options(conn, options);
}

void ws_open(ws_connection *conn) {
    if (of(conn)->open != NULL) of(conn)->open(conn);
}

void ws_on_message(ws_connection *conn, ws_message message) {
    if (of(conn)->on_message != NULL) of(conn)->on_message(conn, message);
}

void ws_on_ping(ws_connection *conn, ws_bytes data) {
    if (of(conn)->on_ping != NULL) of(conn)->on_ping(conn, data);
}

void ws_on_pong(ws_connection *conn, ws_bytes data) {
    if (of(conn)->on_pong != NULL) of(conn)->on_pong(conn, data);
}

void ws_on_writable(ws_connection *conn) {
    if (of(conn)->on_writable != NULL) of(conn)->on_writable(conn);
}

void ws_on_timer(ws_connection *conn, uint32_t token) {
    if (of(conn)->on_timer != NULL) of(conn)->on_timer(conn, token);
}

void ws_on_client_event(ws_connection *conn, const char *id, const ws_client_event *event) {
    if (of(conn)->on_client_event != NULL) of(conn)->on_client_event(conn, id, event);
}

void ws_on_close(ws_connection *conn, const ws_close_frame *frame) {
    if (of(conn)->on_close != NULL) of(conn)->on_close(conn, frame);
}

void ws_free(ws_connection *conn) {
    if (of(conn)->free != NULL) of(conn)->free(conn);
    free(own(conn));
    free(ws_data(conn));
}

bool ws_suspend(ws_connection *conn, ws_buffer *state) {
    return of(conn)->suspend == NULL || of(conn)->suspend(conn, state);
}

const char *ws_resume(ws_connection *conn, ws_bytes state) {
    const feature *feature = begin(conn);
    if (feature->resume != NULL) return feature->resume(conn, state);
    if (feature->init != NULL) feature->init(conn);
    return NULL;
}
