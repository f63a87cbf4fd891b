/* What is UTF-8 (RFC 3629), because a host ends the instance that hands it text which is not. */

#include <string.h>

#include "internal.h"

size_t ws_utf8_character(const unsigned char *at, const unsigned char *end) {
    unsigned char first = at[0];
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length < 2) return length;
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < length; i++) {
        if (at + i == end || at[i] < low || at[i] > high) return 0;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

void ws_append_utf8(ws_buffer *buffer, const char *text) {
    const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text);
    while (at < end) {
        size_t valid = ws_utf8_character(at, end);
        if (valid == 0) ws_append_text(buffer, WS_REPLACEMENT);
        else ws_append(buffer, at, valid);
        at += valid > 0 ? valid : 1;
    }
}

bool ws_is_utf8(const char *text, size_t length) {
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    while (at < end) {
        uint64_t eight;
        if (end - at >= 8 && (memcpy(&eight, at, 8), (eight & 0x8080808080808080u) == 0)) {
            at += 8;
            continue;
        }
        size_t valid = ws_utf8_character(at, end);
        if (valid == 0) return false;
        at += valid;
    }
    return true;
}
