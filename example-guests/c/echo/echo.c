/* Tornado's echo: the first handler of its documentation. */

#include <stdio.h>

#include <waterspout.h>

void ws_open(ws_connection *conn) {
    (void)conn;
    puts("WebSocket opened");
}

void ws_on_message(ws_connection *conn, ws_message message) {
    ws_buffer answer = {0};
    if (message.kind == WS_TEXT) {
        /* Not by ws_printf(): a text may have a NUL in it. */
        ws_append_text(&answer, "You said: ");
        ws_append(&answer, message.data, message.length);
        message = ws_buffer_text(&answer);
    }
    /* It fails if the peer has just left, or does not read: nothing that an echo could mend. */
    ws_write_message(conn, message);
    ws_buffer_free(&answer);
}

void ws_on_close(ws_connection *conn, const ws_close_frame *frame) {
    (void)conn, (void)frame;
    puts("WebSocket closed");
}
