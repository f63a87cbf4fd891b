/* Tornado's echo: the first handler of its documentation. */

#include <stdio.h>

#include <waterspout.h>

void ws_open(ws_connection *conn) {
    (void)conn;
    puts("WebSocket opened");
}

void ws_on_message(ws_connection *conn, ws_message message) {
    /* It fails if the peer has just left, or does not read: nothing that an echo could mend. */
    ws_printf(conn, "You said: %s", message.data);
}

void ws_on_close(ws_connection *conn, const ws_close_frame *frame) {
    (void)conn, (void)frame;
    puts("WebSocket closed");
}
