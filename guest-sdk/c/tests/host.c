/* The functions of the bindings that the SDK calls. */

#include <stdlib.h>
#include <string.h>

#include "host.h"

struct host host;

void *cabi_realloc(void *old, size_t old_size, size_t align, size_t new_size);

guest_string_t handed_over(const char *text) {
    size_t length = strlen(text);
    uint8_t *copy = cabi_realloc(NULL, 0, 1, length);
    if (length > 0) memcpy(copy, text, length);
    return (guest_string_t){ copy, length };
}

static bool answer(wit_error_t *error) {
    if (host.error < 0) return true;
    error->tag = (uint8_t)host.error;
    if (host.error == WIT_ERROR_LIMIT) error->val.limit = handed_over("max-things is 3");
    if (host.error == WIT_ERROR_INVALID) error->val.invalid = handed_over("no such thing");
    return false;
}

/* ---- Helpers of the bindings ---- */

void guest_string_free(guest_string_t *string) {
    if (string->len > 0) free(string->ptr);
    *string = (guest_string_t){ 0 };
}

void guest_string_dup(guest_string_t *into, const char *text) { *into = handed_over(text); }

void guest_list_u8_free(guest_list_u8_t *list) {
    if (list->len > 0) free(list->ptr);
}

void guest_list_string_free(guest_list_string_t *list) {
    for (size_t i = 0; i < list->len; i++) guest_string_free(&list->ptr[i]);
    free(list->ptr);
}

void wit_message_free(wit_message_t *message) {
    if (message->tag == WIT_MESSAGE_TEXT) guest_string_free(&message->val.text);
    else guest_list_u8_free(&message->val.binary);
}

void exports_handler_message_free(exports_handler_message_t *message) { wit_message_free(message); }
void client_message_free(client_message_t *message) { wit_message_free(message); }
void config_error_free(config_error_t *error) { (void)error; }

void guest_list_tuple2_string_string_free(guest_list_tuple2_string_string_t *list) { free(list->ptr); }
void guest_list_tuple2_string_list_u8_free(guest_list_tuple2_string_list_u8_t *list) { free(list->ptr); }

handshake_borrow_request_t handshake_borrow_request(handshake_own_request_t own) {
    return (handshake_borrow_request_t){ own.__handle };
}
connection_borrow_connection_t connection_borrow_connection(connection_own_connection_t own) {
    return (connection_borrow_connection_t){ own.__handle };
}
client_borrow_client_connection_t client_borrow_client_connection(client_own_client_connection_t own) {
    return (client_borrow_client_connection_t){ own.__handle };
}

void handshake_request_drop_own(handshake_own_request_t own) { host.dropped += own.__handle != 0; }
void connection_connection_drop_own(connection_own_connection_t own) { host.dropped += own.__handle != 0; }
void client_client_connection_drop_own(client_own_client_connection_t own) { host.dropped += own.__handle != 0; }

static exports_handler_handler_t *made;

exports_handler_own_handler_t exports_handler_handler_new(exports_handler_handler_t *handler) {
    made = handler;
    return (exports_handler_own_handler_t){ 1 };
}
exports_handler_handler_t *exports_handler_handler_rep(exports_handler_own_handler_t own) {
    (void)own;
    return made;
}

/* ---- The request ---- */

void handshake_method_request_uri(handshake_borrow_request_t self, guest_string_t *uri) {
    (void)self;
    *uri = handed_over("/x");
}
void handshake_method_request_path(handshake_borrow_request_t self, guest_string_t *path) {
    (void)self;
    *path = handed_over("");
}
bool handshake_method_request_query(handshake_borrow_request_t self, guest_string_t *query) {
    (void)self;
    if (host.query == NULL) return false;
    *query = handed_over(host.query);
    return true;
}
void handshake_method_request_path_args(handshake_borrow_request_t self, guest_list_tuple2_string_string_t *args) {
    (void)self;
    args->len = 2;
    args->ptr = calloc(2, sizeof *args->ptr);
    args->ptr[0] = (guest_tuple2_string_string_t){ handed_over("room"), handed_over("blue") };
    args->ptr[1] = (guest_tuple2_string_string_t){ handed_over("empty"), handed_over("") };
}
bool handshake_method_request_header(handshake_borrow_request_t self, guest_string_t *name, guest_string_t *value) {
    (void)self, (void)name, (void)value;
    return false;
}
void handshake_method_request_headers(handshake_borrow_request_t self, guest_list_tuple2_string_list_u8_t *headers) {
    (void)self;
    *headers = (guest_list_tuple2_string_list_u8_t){ 0 };
}
void handshake_method_request_remote_address(handshake_borrow_request_t self, guest_string_t *address) {
    (void)self;
    *address = handed_over("192.0.2.1");
}
bool handshake_method_request_origin_allowed(handshake_borrow_request_t self, guest_string_t *origin) {
    (void)self;
    return origin->len > 0;
}
bool handshake_method_request_set_response_header(
    handshake_borrow_request_t self, guest_string_t *name, guest_string_t *value, handshake_error_t *error
) {
    (void)self, (void)name, (void)value;
    return answer(error);
}

/* ---- The connection ---- */

void connection_method_connection_id(connection_borrow_connection_t self, guest_string_t *id) {
    (void)self;
    *id = handed_over("c1");
}
bool connection_method_connection_selected_subprotocol(connection_borrow_connection_t self, guest_string_t *name) {
    (void)self, (void)name;
    return false;
}
bool connection_method_connection_write_message(
    connection_borrow_connection_t self, connection_message_t *message, connection_error_t *error
) {
    (void)self;
    if (!answer(error)) return false;
    host.kind = message->tag;
    host.writes++;
    host.written_length = message->val.text.len;
    memcpy(host.written, message->val.text.ptr, message->val.text.len);
    host.written[message->val.text.len] = '\0';
    return true;
}
bool connection_method_connection_flush(connection_borrow_connection_t self, connection_error_t *error) {
    (void)self;
    return answer(error);
}
uint32_t connection_method_connection_buffered_amount(connection_borrow_connection_t self) {
    (void)self;
    return 7;
}
bool connection_method_connection_ping(connection_borrow_connection_t self, guest_list_u8_t *data, connection_error_t *error) {
    (void)self, (void)data;
    return answer(error);
}
bool connection_method_connection_close(
    connection_borrow_connection_t self, uint16_t *code, guest_string_t *reason, connection_error_t *error
) {
    static char text[128];
    (void)self;
    host.close_code = code != NULL ? *code : -1;
    host.close_reason = NULL;
    if (reason != NULL) {
        memcpy(text, reason->ptr, reason->len);
        text[reason->len] = '\0';
        host.close_reason = text;
    }
    return answer(error);
}
bool connection_method_connection_set_nodelay(connection_borrow_connection_t self, bool value, connection_error_t *error) {
    (void)self, (void)value;
    return answer(error);
}
bool connection_method_connection_subscribe(
    connection_borrow_connection_t self, guest_string_t *topic, connection_error_t *error
) {
    (void)self, (void)topic;
    return answer(error);
}
void connection_method_connection_unsubscribe(connection_borrow_connection_t self, guest_string_t *topic) {
    (void)self, (void)topic;
}
bool connection_method_connection_set_timer(
    connection_borrow_connection_t self, uint32_t token, uint32_t delay_ms, connection_error_t *error
) {
    (void)self, (void)token, (void)delay_ms;
    return answer(error);
}
void connection_method_connection_clear_timer(connection_borrow_connection_t self, uint32_t token) { (void)self, (void)token; }
bool topics_publish(guest_string_t *topic, topics_message_t *message, topics_error_t *error) {
    (void)topic, (void)message;
    return answer(error);
}

/* ---- Connections of the handler's own ---- */

static bool dialled(client_own_client_connection_t *client, client_connect_error_t *error) {
    if (host.error < 0) {
        client->__handle = 9;
        return true;
    }
    error->tag = CLIENT_CONNECT_ERROR_HTTP;
    error->val.http = 404;
    return false;
}
bool client_connect(
    guest_string_t *url, client_connect_options_t *options, client_own_client_connection_t *client, client_connect_error_t *error
) {
    (void)url, (void)options;
    return dialled(client, error);
}
bool client_start(
    guest_string_t *url, client_connect_options_t *options, client_own_client_connection_t *client, client_connect_error_t *error
) {
    (void)url, (void)options;
    return dialled(client, error);
}
bool client_get(guest_string_t *id, client_own_client_connection_t *client) {
    (void)id, (void)client;
    return false;
}
void client_method_client_connection_id(client_borrow_client_connection_t self, guest_string_t *id) {
    (void)self;
    *id = handed_over("u1");
}
bool client_method_client_connection_selected_subprotocol(client_borrow_client_connection_t self, guest_string_t *name) {
    (void)self, (void)name;
    return false;
}
bool client_method_client_connection_read_message(
    client_borrow_client_connection_t self, uint32_t *timeout_ms, client_option_message_t *read, client_error_t *error
) {
    (void)self;
    /* Without end there is a message, within a time there is none. */
    read->is_some = timeout_ms == NULL;
    read->val = (wit_message_t){ .tag = WIT_MESSAGE_TEXT, .val.text = handed_over("from there") };
    return answer(error);
}
bool client_method_client_connection_write_message(
    client_borrow_client_connection_t self, client_message_t *message, client_error_t *error
) {
    (void)self, (void)message;
    return answer(error);
}
bool client_method_client_connection_flush(client_borrow_client_connection_t self, client_error_t *error) {
    (void)self;
    return answer(error);
}
bool client_method_client_connection_ping(
    client_borrow_client_connection_t self, guest_list_u8_t *data, client_error_t *error
) {
    (void)self, (void)data;
    return answer(error);
}
bool client_method_client_connection_close(
    client_borrow_client_connection_t self, uint16_t *code, guest_string_t *reason, client_error_t *error
) {
    (void)self, (void)code, (void)reason;
    return answer(error);
}
bool client_method_client_connection_close_frame(client_borrow_client_connection_t self, client_close_frame_t *frame) {
    (void)self, (void)frame;
    return false;
}
bool config_get(guest_string_t *key, guest_option_string_t *value, config_error_t *error) {
    (void)error;
    value->is_some = key->len == 1;
    if (value->is_some) value->val = handed_over("sesame");
    return true;
}
