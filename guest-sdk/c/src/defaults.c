/* What a handler does that defines nothing. Weak: the handler's own definition takes the place of each. */

#include <stdlib.h>

#include "waterspout.h"

#define DEFAULT __attribute__((weak))

DEFAULT void ws_init(ws_connection *conn) { (void)conn; }

DEFAULT bool ws_prepare(ws_connection *conn, ws_rejection *rejection) {
    (void)conn, (void)rejection;
    return true;
}

DEFAULT bool ws_check_origin(ws_connection *conn, const char *origin) { return ws_origin_allowed(conn, origin); }

DEFAULT const char *ws_select_subprotocol(ws_connection *conn, const char *const *offered, size_t count) {
    (void)conn, (void)offered, (void)count;
    return NULL;
}

DEFAULT bool ws_get_compression_options(ws_connection *conn, ws_compression_options *options) {
    (void)conn, (void)options;
    return false;
}

DEFAULT void ws_open(ws_connection *conn) { (void)conn; }
DEFAULT void ws_on_message(ws_connection *conn, ws_message message) { (void)conn, (void)message; }
DEFAULT void ws_on_ping(ws_connection *conn, ws_bytes data) { (void)conn, (void)data; }
DEFAULT void ws_on_pong(ws_connection *conn, ws_bytes data) { (void)conn, (void)data; }
DEFAULT void ws_on_writable(ws_connection *conn) { (void)conn; }
DEFAULT void ws_on_timer(ws_connection *conn, uint32_t token) { (void)conn, (void)token; }

DEFAULT void ws_on_client_event(ws_connection *conn, const char *id, const ws_client_event *event) {
    (void)conn, (void)id, (void)event;
}

DEFAULT void ws_on_close(ws_connection *conn, const ws_close_frame *frame) { (void)conn, (void)frame; }
DEFAULT void ws_free(ws_connection *conn) { free(ws_data(conn)); }

DEFAULT bool ws_suspend(ws_connection *conn, ws_buffer *state) {
    (void)state;
    return ws_data(conn) == NULL;
}

DEFAULT const char *ws_resume(ws_connection *conn, ws_bytes state) {
    if (state.length > 0) return "there is state, and this version defines no ws_resume()";
    ws_init(conn);
    return NULL;
}

DEFAULT bool ws_shared_suspend(ws_buffer *state) {
    (void)state;
    return true;
}

DEFAULT const char *ws_shared_resume(ws_bytes state) {
    return state.length > 0 ? "there is shared state, and this version defines no ws_shared_resume()" : NULL;
}
