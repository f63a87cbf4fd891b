/* Arguments of a query string, decoded as Tornado's get_query_arguments decodes them. */

#include <string.h>

#include "internal.h"

static int hex(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

/* `+` is a space, `%XX` a byte; a `%` that no two digits follow stays; bytes that are no UTF-8 become U+FFFD. Temporary. */
static char *decode(const char *from, const char *end, size_t *length) {
    char *bytes = ws_temporary((size_t)(end - from) + 1);
    size_t count = 0;
    while (from < end) {
        if (*from == '%' && end - from >= 3 && hex(from[1]) >= 0 && hex(from[2]) >= 0) {
            bytes[count++] = (char)(hex(from[1]) << 4 | hex(from[2]));
            from += 3;
        } else {
            bytes[count++] = *from == '+' ? ' ' : *from;
            from++;
        }
    }
    char *text = ws_temporary(count * 3 + 1);
    const unsigned char *at = (const unsigned char *)bytes, *stop = at + count;
    char *out = text;
    while (at < stop) {
        size_t valid = ws_utf8_character(at, stop);
        if (valid > 0) {
            memcpy(out, at, valid);
            out += valid;
            at += valid;
        } else {
            memcpy(out, "\xef\xbf\xbd", 3);
            out += 3;
            at++;
        }
    }
    *out = '\0';
    *length = (size_t)(out - text);
    return text;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Control characters become spaces, and the ends are trimmed. */
static char *clean(char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte <= 0x08 || (byte >= 0x0e && byte <= 0x1f)) text[i] = ' ';
    }
    while (length > 0 && is_space(text[length - 1])) length--;
    text[length] = '\0';
    while (is_space(*text)) text++;
    return text;
}

const char *ws_query_value(const char *query, const char *name, size_t index) {
    size_t name_length = strlen(name);
    const char *found = NULL, *found_end = NULL;
    size_t seen = 0;
    for (const char *pair = query; *pair != '\0';) {
        const char *end = pair + strcspn(pair, "&");
        const char *equals = memchr(pair, '=', (size_t)(end - pair));
        const char *key_end = equals != NULL ? equals : end;
        size_t length;
        if (end > pair) {
            const char *key = decode(pair, key_end, &length);
            if (length == name_length && memcmp(key, name, length) == 0) {
                found = equals != NULL ? equals + 1 : end;
                found_end = end;
                if (seen++ == index) break;
            }
        }
        pair = *end == '&' ? end + 1 : end;
    }
    if (found == NULL || (index != SIZE_MAX && seen != index + 1)) return NULL;
    size_t length;
    char *value = decode(found, found_end, &length);
    return clean(value, length);
}
