/* Tests are functions whose names are sentences; `check` says where one is not true. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "internal.h"
#include "waterspout.h"
#include "waterspout_json.h"

static int failures;

#define check(condition) \
    do { \
        if (!(condition)) { \
            failures++; \
            printf("%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition); \
        } \
    } while (0)

static bool same(const char *one, const char *other) {
    return one == NULL || other == NULL ? one == other : strcmp(one, other) == 0;
}

/* ---- A handler, whose functions take the place of the weak ones ---- */

static ws_connection *last;
static bool accepts = true;

void ws_init(ws_connection *conn) {
    last = conn;
    ws_set_data(conn, calloc(1, 16));
}

bool ws_prepare(ws_connection *conn, ws_rejection *rejection) {
    (void)conn;
    rejection->status = 418;
    rejection->body = "short";
    return accepts;
}

void ws_on_message(ws_connection *conn, ws_message message) { ws_write_message(conn, message); }

/* What a connection's next pong has it do. */
static void (*when_it_pongs)(ws_connection *conn);

void ws_on_pong(ws_connection *conn, ws_bytes data) {
    (void)data;
    when_it_pongs(conn);
}

static void pong(exports_handler_borrow_handler_t handler, void (*then)(ws_connection *conn)) {
    guest_list_u8_t nothing = { NULL, 0 };
    when_it_pongs = then;
    exports_handler_method_handler_on_pong(handler, &nothing);
}

/* Not UTF-8. */
static const char *const broken = "gr\xfc\xdf dich";

const char *ws_select_subprotocol(ws_connection *conn, const char *const *offered, size_t count) {
    (void)conn, (void)offered;
    return count > 0 ? broken : NULL;
}

static exports_handler_borrow_handler_t begin(void) {
    host = (struct host){ .error = -1 };
    exports_handler_own_handler_t own = exports_handler_constructor_handler((exports_handler_own_request_t){ 5 });
    return exports_handler_handler_rep(own);
}

static exports_handler_borrow_handler_t open(void) {
    exports_handler_borrow_handler_t handler = begin();
    exports_handler_method_handler_open(handler, (exports_handler_own_connection_t){ 6 });
    return handler;
}

static void end(exports_handler_borrow_handler_t handler) { exports_handler_handler_destructor(handler); }

/* ---- Tests ---- */

static void a_message_goes_back_as_it_came(void) {
    exports_handler_borrow_handler_t handler = open();
    wit_message_t text = { .tag = WIT_MESSAGE_TEXT, .val.text = handed_over("gr\xc3\xbc\xc3\x9f") };
    exports_handler_method_handler_on_message(handler, &text);
    check(host.kind == WIT_MESSAGE_TEXT && same(host.written, "gr\xc3\xbc\xc3\x9f"));
    wit_message_t none = { .tag = WIT_MESSAGE_BINARY, .val.binary = { NULL, 0 } };
    exports_handler_method_handler_on_message(handler, &none);
    check(host.kind == WIT_MESSAGE_BINARY && host.written_length == 0 && host.writes == 2);
    end(handler);
}

static void handles_are_given_back_with_the_connection(void) {
    exports_handler_borrow_handler_t handler = open();
    ws_client *client;
    check(ws_connect("ws://x", NULL, &client) == WS_OK);
    end(handler);
    check(host.dropped == 2); /* The client was opened in no function of the connection: it is its owner's. */
    ws_client_free(client);
    check(host.dropped == 3);
}

static ws_client *shared_client;

static void open_shared(ws_connection *conn) {
    (void)conn;
    check(ws_start("ws://x", NULL, &shared_client) == WS_OK);
}

static void free_shared(ws_connection *conn) {
    (void)conn;
    ws_client_free(shared_client);
}

static void a_client_is_freed_once_whoever_frees_it(void) {
    exports_handler_borrow_handler_t opener = open();
    pong(opener, open_shared);
    ws_client *first = shared_client;
    pong(opener, open_shared);
    exports_handler_borrow_handler_t other = open();
    pong(other, free_shared);
    check(host.dropped == 1);
    shared_client = first;
    pong(opener, free_shared);
    check(host.dropped == 2);
    end(opener);
    end(other);
    check(host.dropped == 2 + 4); /* And of each connection two. */
}

static void fail_twice(ws_connection *conn) {
    host.error = WIT_ERROR_INVALID;
    check(ws_write_text(conn, "x") == WS_INVALID);
    const char *why = ws_error_detail();
    host.error = WIT_ERROR_LIMIT;
    check(ws_write_text(conn, "x") == WS_LIMIT && same(ws_error_detail(), "max-things is 3"));
    check(same(why, "no such thing"));
}

static void a_detail_lives_until_the_handlers_function_returns(void) {
    exports_handler_borrow_handler_t handler = open();
    pong(handler, fail_twice);
    check(same(ws_error_detail(), ""));
    end(handler);
}

static void what_a_handler_returns_is_made_utf8(void) {
    exports_handler_borrow_handler_t handler = begin();
    guest_list_string_t offered = { calloc(1, sizeof *offered.ptr), 1 };
    offered.ptr[0] = handed_over("chat");
    guest_string_t selected;
    check(exports_handler_method_handler_select_subprotocol(handler, &offered, &selected));
    const char *replaced = "gr\xef\xbf\xbd\xef\xbf\xbd dich";
    check(selected.len == strlen(replaced) && memcmp(selected.ptr, replaced, selected.len) == 0);
    guest_string_free(&selected);
    end(handler);
}

static void before_open_everything_is_closed(void) {
    exports_handler_borrow_handler_t handler = begin();
    check(ws_write_text(last, "x") == WS_CLOSED && ws_flush(last) == WS_CLOSED && ws_ping(last, "", 0) == WS_CLOSED);
    check(ws_close(last, 1000, NULL) == WS_CLOSED && ws_subscribe(last, "x") == WS_CLOSED);
    check(ws_set_timer(last, 0, 0) == WS_CLOSED && ws_set_nodelay(last, true) == WS_CLOSED);
    check(same(ws_id(last), "") && ws_buffered_amount(last) == 0 && ws_selected_subprotocol(last) == NULL);
    end(handler);
}

static void every_error_has_its_name_and_detail(void) {
    static const struct {
        int tag;
        ws_error error;
        const char *name, *detail;
    } cases[] = {
        { WIT_ERROR_CLOSED, WS_CLOSED, "closed", "" },
        { WIT_ERROR_BUFFER_FULL, WS_BUFFER_FULL, "buffer-full", "" },
        { WIT_ERROR_TIMEOUT, WS_TIMEOUT, "timeout", "" },
        { WIT_ERROR_LIMIT, WS_LIMIT, "limit", "max-things is 3" },
        { WIT_ERROR_DENIED, WS_DENIED, "denied", "" },
        { WIT_ERROR_INVALID, WS_INVALID, "invalid", "no such thing" },
    };
    exports_handler_borrow_handler_t handler = open();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        host.error = cases[i].tag;
        check(ws_write_text(last, "x") == cases[i].error);
        check(same(ws_error_name(cases[i].error), cases[i].name) && same(ws_error_detail(), cases[i].detail));
    }
    ws_client *client;
    check(ws_connect("ws://x", NULL, &client) == WS_HTTP && client == NULL && ws_error_http_status() == 404);
    check(same(ws_error_name((ws_error)99), "unknown"));
    end(handler);
}

static void what_the_host_would_trap_at_is_invalid(void) {
    exports_handler_borrow_handler_t handler = open();
    check(ws_write_text(last, "\xff") == WS_INVALID && host.writes == 0);
    check(ws_write_text(last, "\xed\xa0\x80") == WS_INVALID); /* Half of a surrogate pair. */
    check(ws_write_text(last, "\xf4\x8f\xbf\xbf") == WS_OK);
    check(ws_write_binary(last, "\xff", 1) == WS_OK);
    check(ws_subscribe(last, "\xff") == WS_INVALID && ws_publish_text("\xff", "") == WS_INVALID);
    check(ws_set_timer(last, 0, 0x80000000u) == WS_INVALID && ws_set_timer(last, 0, 0x7fffffff) == WS_OK);
    check(ws_close(last, 70000, NULL) == WS_INVALID && ws_close(last, -1, NULL) == WS_INVALID);
    end(handler);
}

static void a_close_has_what_was_said_of_it(void) {
    exports_handler_borrow_handler_t handler = open();
    check(ws_close(last, 4000, "bye") == WS_OK && host.close_code == 4000 && same(host.close_reason, "bye"));
    check(ws_close(last, WS_NO_CODE, NULL) == WS_OK && host.close_code == -1 && host.close_reason == NULL);
    end(handler);
}

static void a_rejection_is_plain_text_unless_it_says_otherwise(void) {
    exports_handler_borrow_handler_t handler = begin();
    exports_handler_rejection_t answer;
    accepts = false;
    check(!exports_handler_method_handler_prepare(handler, &answer));
    accepts = true;
    check(answer.status == 418 && answer.body.len == 5 && answer.headers.len == 1);
    check(memcmp(answer.headers.ptr[0].f0.ptr, "content-type", 12) == 0);
    check(exports_handler_method_handler_prepare(handler, &answer));
    end(handler);
}

static void a_handler_with_data_does_not_move_by_itself(void) {
    exports_handler_borrow_handler_t handler = open();
    guest_list_u8_t state;
    check(!exports_handler_method_handler_suspend(handler, &state));
    free(ws_data(last));
    ws_set_data(last, NULL);
    check(exports_handler_method_handler_suspend(handler, &state) && state.len == 0);
    end(handler);
}

static void a_state_that_nobody_reads_is_refused(void) {
    exports_handler_own_handler_t resumed;
    guest_string_t why;
    guest_string_t bytes = handed_over("left");
    guest_list_u8_t state = { bytes.ptr, bytes.len }, none = { NULL, 0 };
    host = (struct host){ .error = -1 };
    exports_handler_own_request_t request = { 5 };
    exports_handler_own_connection_t connection = { 6 };
    check(!exports_handler_static_handler_resume(request, connection, &state, &resumed, &why) && why.len > 20);
    check(host.dropped == 2);
    check(exports_handler_static_handler_resume(request, connection, &none, &resumed, &why));
    check(ws_data(last) != NULL && same(ws_id(last), "c1"));
    end(exports_handler_handler_rep(resumed));
}

static void the_request_is_read_as_it_is(void) {
    exports_handler_borrow_handler_t handler = begin();
    const ws_header *args;
    check(ws_path_args(last, &args) == 2 && same(args[1].name, "empty") && same(args[1].value, ""));
    check(same(ws_path_arg(last, "room"), "blue") && ws_path_arg(last, "none") == NULL);
    check(same(ws_path(last), "") && ws_query(last) == NULL && ws_header_value(last, "x") == NULL);
    check(same(ws_config("k"), "sesame") && ws_config("key") == NULL);
    end(handler);
}

static void query_arguments_are_decoded_as_tornado_does(void) {
    static const struct {
        const char *query, *name, *first, *last;
    } cases[] = {
        { "a=1&b=2&a=3", "a", "1", "3" },
        { "greeting=gr%C3%BC%c3%9f+dich", "greeting", "gr\xc3\xbc\xc3\x9f dich", "gr\xc3\xbc\xc3\x9f dich" },
        { "na%20me=x", "na me", "x", "x" },
        { "a=b=c", "a", "b=c", "b=c" },
        { "a=1", "b", NULL, NULL },
        { "", "", NULL, NULL },
        { "a", "a", "", "" },
        { "=x", "", "x", "x" },
        { "a=100%", "a", "100%", "100%" },
        { "a=%zz%4", "a", "%zz%4", "%zz%4" },
        { "a=%+1", "a", "% 1", "% 1" },
        { "a=%ff%C3%A9", "a", "\xef\xbf\xbd\xc3\xa9", "\xef\xbf\xbd\xc3\xa9" },
        { "a=%20x%00y%1bz%20", "a", "x y z", "x y z" },
        { "a=1%0A2&&", "a", "1\n2", "1\n2" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(same(ws_query_value(cases[i].query, cases[i].name, 0), cases[i].first));
        check(same(ws_query_value(cases[i].query, cases[i].name, SIZE_MAX), cases[i].last));
        check(ws_query_value(cases[i].query, cases[i].name, 7) == NULL);
    }
}

static void json_is_what_the_standard_says(void) {
    static const char *const good[] = {
        "0", "-0.5e+3", "\"\"", "[]", " { } ", "[1,[2,{\"a\":null}],true,false]", "\"\\u00e9\\ud83c\\udf2a\\n\"",
    };
    static const char *const bad[] = {
        "", "01", "1.", ".5", "+1", "1e", "[1,]", "{\"a\"}", "{a:1}", "{\"a\":1,}", "\"\\x\"", "\"\\u12\"", "\"\n\"", "\"", "tru", "nulll",
        "1 2", "[", "]", "\"\\",
    };
    ws_json value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) check(ws_json_parse(good[i], strlen(good[i]), &value));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) check(!ws_json_parse(bad[i], strlen(bad[i]), &value));
    char deep[1000];
    memset(deep, '[', sizeof deep);
    check(!ws_json_parse(deep, sizeof deep, &value));
    memset(deep + 100, ']', 100);
    check(ws_json_parse(deep, 200, &value));
}

static void json_is_read_and_written(void) {
    const char *text = "{\"name\":\"\\u00dc\\\"\\ud83c\\udf2a\\ud83c\",\"n\":[1, 2.5 ,-3e2],\"na\\u006de\":\"last\",\"e\":{}}";
    ws_json value, item = { 0 };
    check(ws_json_parse(text, strlen(text), &value) && ws_json_kind_of(value) == WS_JSON_OBJECT);
    check(same(ws_json_string(ws_json_member(value, "name"), NULL), "last"));
    ws_json first = { 0 }, key;
    check(ws_json_next(value, &key, &first) && same(ws_json_string(first, NULL), "\xc3\x9c\"\xf0\x9f\x8c\xaa\xef\xbf\xbd"));
    double sum = 0;
    while (ws_json_next(ws_json_member(value, "n"), NULL, &item)) sum += ws_json_number(item, 1000);
    check(sum == 1 + 2.5 - 300);
    check(ws_json_kind_of(ws_json_member(value, "none")) == WS_JSON_NONE && ws_json_string(value, NULL) == NULL);
    item = (ws_json){ 0 };
    check(!ws_json_next(ws_json_member(value, "e"), NULL, &item));
    ws_buffer out = { 0 };
    ws_append_json_string(&out, "a\"\\\n\t\x01\0b", 8);
    check(same(out.data, "\"a\\\"\\\\\\n\\t\\u0001\\u0000b\""));
    ws_buffer_free(&out);
}

static void json_that_is_not_utf8_is_none(void) {
    ws_json value;
    for (const char *const *text = (const char *const[]){ "\"\xff\"", "{\"\xe4\":1}", "[\"\xed\xa0\x80\"]", NULL }; *text != NULL; text++) {
        check(!ws_json_parse(*text, strlen(*text), &value));
    }
    check(ws_json_parse("\"\xf0\x9f\x8c\xaa\"", 6, &value));
    ws_buffer out = { 0 };
    ws_append_json_string(&out, "\xff\"gr\xc3\xbc\xc3\n\xf0\x9f\x8c\xaa\xe2\x82", SIZE_MAX);
    check(same(out.data, "\"\xef\xbf\xbd\\\"gr\xc3\xbc\xef\xbf\xbd\\n\xf0\x9f\x8c\xaa\xef\xbf\xbd\xef\xbf\xbd\""));
    ws_buffer_free(&out);
}

static void buffers_grow_and_are_text(void) {
    ws_buffer buffer = { 0 };
    check(ws_buffer_text(&buffer).length == 0);
    for (int i = 0; i < 1000; i++) ws_append_format(&buffer, "%d,", i % 10);
    check(buffer.length == 2000 && strlen(buffer.data) == 2000);
    ws_buffer_free(&buffer);
    check(buffer.data == NULL && buffer.length == 0);
}

static void a_message_read_lives_until_the_next_one(void) {
    exports_handler_borrow_handler_t handler = open();
    ws_client *client;
    ws_message message;
    check(ws_connect("ws://x", NULL, &client) == WS_OK && same(ws_client_id(client), "u1"));
    check(ws_client_read_message(client, WS_FOREVER, &message) == WS_OK && same(message.data, "from there"));
    check(ws_client_read_message(client, 10, &message) == WS_END && message.length == 0);
    check(ws_client_read_message(client, 0x80000000u, &message) == WS_INVALID);
    ws_client_free(client);
    end(handler);
}

int main(void) {
    static void (*const tests[])(void) = {
        a_message_goes_back_as_it_came,
        handles_are_given_back_with_the_connection,
        a_client_is_freed_once_whoever_frees_it,
        a_detail_lives_until_the_handlers_function_returns,
        what_a_handler_returns_is_made_utf8,
        before_open_everything_is_closed,
        every_error_has_its_name_and_detail,
        what_the_host_would_trap_at_is_invalid,
        a_close_has_what_was_said_of_it,
        a_rejection_is_plain_text_unless_it_says_otherwise,
        a_handler_with_data_does_not_move_by_itself,
        a_state_that_nobody_reads_is_refused,
        the_request_is_read_as_it_is,
        query_arguments_are_decoded_as_tornado_does,
        json_is_what_the_standard_says,
        json_is_read_and_written,
        json_that_is_not_utf8_is_none,
        buffers_grow_and_are_text,
        a_message_read_lives_until_the_next_one,
    };
    size_t count = sizeof tests / sizeof *tests;
    for (size_t i = 0; i < count; i++) {
        tests[i]();
        ws_free_temporaries();
    }
    printf("%zu tests, %d failures\n", count, failures);
    return failures > 0;
}
