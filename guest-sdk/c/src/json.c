/* JSON as views into its text: parsing checks everything once, reading trusts what was checked. */

#include <stdlib.h>
#include <string.h>

#include "waterspout_json.h"
#include "internal.h"

enum { MAX_DEPTH = 128 };

typedef struct {
    const char *at;
    const char *end;
} cursor;

static void skip_space(cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) c->at++;
}

static bool skip_char(cursor *c, char expected) {
    if (c->at == c->end || *c->at != expected) return false;
    c->at++;
    return true;
}

static bool skip_word(cursor *c, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0) return false;
    c->at += length;
    return true;
}

static size_t skip_digits(cursor *c) {
    const char *from = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') c->at++;
    return (size_t)(c->at - from);
}

static bool skip_number(cursor *c) {
    skip_char(c, '-');
    const char *first = c->at;
    size_t digits = skip_digits(c);
    if (digits == 0 || (digits > 1 && *first == '0')) return false;
    if (skip_char(c, '.') && skip_digits(c) == 0) return false;
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        c->at++;
        if (!skip_char(c, '+')) skip_char(c, '-');
        if (skip_digits(c) == 0) return false;
    }
    return true;
}

static int hex(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

/* Four hexadecimal digits, or -1. */
static long unit(cursor *c) {
    if (c->end - c->at < 4) return -1;
    long value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex(c->at[i]);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    c->at += 4;
    return value;
}

/* Behind the opening quote, to behind the closing one. */
static bool skip_string(cursor *c) {
    while (c->at < c->end) {
        unsigned char byte = (unsigned char)*c->at++;
        if (byte == '"') return true;
        if (byte < 0x20) return false;
        if (byte != '\\') continue;
        if (c->at == c->end) return false;
        char escaped = *c->at++;
        if (escaped == 'u') {
            if (unit(c) < 0) return false;
        } else if (strchr("\"\\/bfnrt", escaped) == NULL || escaped == '\0') {
            return false;
        }
    }
    return false;
}

static bool skip_value(cursor *c, int depth);

static bool skip_items(cursor *c, char close, int depth) {
    if (depth == MAX_DEPTH) return false;
    skip_space(c);
    if (skip_char(c, close)) return true;
    do {
        skip_space(c);
        if (close == '}') {
            if (!skip_char(c, '"') || !skip_string(c)) return false;
            skip_space(c);
            if (!skip_char(c, ':')) return false;
            skip_space(c);
        }
        if (!skip_value(c, depth + 1)) return false;
        skip_space(c);
    } while (skip_char(c, ','));
    return skip_char(c, close);
}

static bool skip_value(cursor *c, int depth) {
    if (c->at == c->end) return false;
    switch (*c->at) {
        case '{': c->at++; return skip_items(c, '}', depth);
        case '[': c->at++; return skip_items(c, ']', depth);
        case '"': c->at++; return skip_string(c);
        case 't': return skip_word(c, "true");
        case 'f': return skip_word(c, "false");
        case 'n': return skip_word(c, "null");
        default: return skip_number(c);
    }
}

bool ws_json_parse(const char *text, size_t length, ws_json *value) {
    /* RFC 8259 section 8.1. Binary messages, and states, may be anything; what is read here may be sent. */
    if (!ws_is_utf8(text, length)) return false;
    cursor c = { text, text + length };
    skip_space(&c);
    const char *from = c.at;
    if (!skip_value(&c, 0)) return false;
    *value = (ws_json){ from, (size_t)(c.at - from) };
    skip_space(&c);
    return c.at == c.end;
}

ws_json_kind ws_json_kind_of(ws_json value) {
    if (value.text == NULL) return WS_JSON_NONE;
    switch (*value.text) {
        case '{': return WS_JSON_OBJECT;
        case '[': return WS_JSON_ARRAY;
        case '"': return WS_JSON_STRING;
        case 't': return WS_JSON_TRUE;
        case 'f': return WS_JSON_FALSE;
        case 'n': return WS_JSON_NULL;
        default: return WS_JSON_NUMBER;
    }
}

bool ws_json_next(ws_json container, ws_json *key, ws_json *item) {
    ws_json_kind kind = ws_json_kind_of(container);
    if (kind != WS_JSON_OBJECT && kind != WS_JSON_ARRAY) return false;
    cursor c = { container.text + 1, container.text + container.length - 1 };
    if (item->text != NULL) {
        c.at = item->text + item->length;
        skip_space(&c);
        if (!skip_char(&c, ',')) return false;
    }
    skip_space(&c);
    if (c.at == c.end) return false;
    if (kind == WS_JSON_OBJECT) {
        const char *from = c.at++;
        skip_string(&c);
        if (key != NULL) *key = (ws_json){ from, (size_t)(c.at - from) };
        skip_space(&c);
        c.at++;
        skip_space(&c);
    }
    const char *from = c.at;
    skip_value(&c, 0);
    *item = (ws_json){ from, (size_t)(c.at - from) };
    return true;
}

/* Decodes a checked string to `into`, which has room for all of it. Returns the bytes. */
static size_t decode(ws_json string, char *into) {
    cursor c = { string.text + 1, string.text + string.length - 1 };
    char *out = into;
    while (c.at < c.end) {
        char byte = *c.at++;
        if (byte != '\\') {
            *out++ = byte;
            continue;
        }
        switch (*c.at++) {
            case 'b': *out++ = '\b'; continue;
            case 'f': *out++ = '\f'; continue;
            case 'n': *out++ = '\n'; continue;
            case 'r': *out++ = '\r'; continue;
            case 't': *out++ = '\t'; continue;
            case 'u': break;
            default: *out++ = c.at[-1]; continue;
        }
        unsigned long code = (unsigned long)unit(&c);
        if (code >= 0xd800 && code < 0xe000) {
            cursor ahead = c;
            long low = -1;
            if (code < 0xdc00 && skip_word(&ahead, "\\u")) low = unit(&ahead);
            if (low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10) + ((unsigned long)low - 0xdc00);
                c = ahead;
            } else {
                code = 0xfffd; /* Half of a pair is no character. */
            }
        }
        if (code < 0x80) {
            *out++ = (char)code;
        } else if (code < 0x800) {
            *out++ = (char)(0xc0 | code >> 6);
            *out++ = (char)(0x80 | (code & 0x3f));
        } else if (code < 0x10000) {
            *out++ = (char)(0xe0 | code >> 12);
            *out++ = (char)(0x80 | (code >> 6 & 0x3f));
            *out++ = (char)(0x80 | (code & 0x3f));
        } else {
            *out++ = (char)(0xf0 | code >> 18);
            *out++ = (char)(0x80 | (code >> 12 & 0x3f));
            *out++ = (char)(0x80 | (code >> 6 & 0x3f));
            *out++ = (char)(0x80 | (code & 0x3f));
        }
    }
    return (size_t)(out - into);
}

ws_json ws_json_member(ws_json object, const char *name) {
    ws_json found = { NULL, 0 };
    if (ws_json_kind_of(object) != WS_JSON_OBJECT) return found;
    size_t length = strlen(name);
    ws_json key, item = { NULL, 0 };
    while (ws_json_next(object, &key, &item)) {
        bool same;
        if (memchr(key.text, '\\', key.length) == NULL) {
            same = key.length == length + 2 && memcmp(key.text + 1, name, length) == 0;
        } else {
            char *decoded = ws_allocate(key.length);
            same = decode(key, decoded) == length && memcmp(decoded, name, length) == 0;
            free(decoded);
        }
        if (same) found = item;
    }
    return found;
}

const char *ws_json_string(ws_json value, size_t *length) {
    if (ws_json_kind_of(value) != WS_JSON_STRING) return NULL;
    char *decoded = ws_temporary(value.length);
    size_t bytes = decode(value, decoded);
    decoded[bytes] = '\0';
    if (length != NULL) *length = bytes;
    return decoded;
}

double ws_json_number(ws_json value, double otherwise) {
    if (ws_json_kind_of(value) != WS_JSON_NUMBER) return otherwise;
    /* What follows a number in JSON never goes on with it, but the text may end there without a NUL. */
    char *copy = ws_allocate(value.length + 1);
    memcpy(copy, value.text, value.length);
    copy[value.length] = '\0';
    double number = strtod(copy, NULL);
    free(copy);
    return number;
}

void ws_append_json_string(ws_buffer *buffer, const char *text, size_t length) {
    static const char digits[] = "0123456789abcdef";
    if (length == SIZE_MAX) length = strlen(text);
    ws_append(buffer, "\"", 1);
    const unsigned char *bytes = (const unsigned char *)text;
    size_t copied = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = bytes[i];
        size_t character = ws_utf8_character(bytes + i, bytes + length);
        if (character > 1) i += character - 1;
        if (character > 0 && byte >= 0x20 && byte != '"' && byte != '\\') continue;
        ws_append(buffer, text + copied, i - copied);
        copied = i + 1;
        if (character == 0) {
            ws_append_text(buffer, WS_REPLACEMENT);
            continue;
        }
        const char *at = byte == '\0' ? NULL : strchr("\"\"\\\\\bb\ff\nn\rr\tt", byte);
        if (at != NULL) {
            char escape[2] = { '\\', at[1] };
            ws_append(buffer, escape, 2);
        } else {
            char escape[6] = { '\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15] };
            ws_append(buffer, escape, 6);
        }
    }
    ws_append(buffer, text + copied, length - copied);
    ws_append(buffer, "\"", 1);
}
