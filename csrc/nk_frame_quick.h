/* nk_frame_quick.h - the quick reader of nk_frame: order book frames as the exchange writes them.
 */
#ifndef NK_FRAME_QUICK_H
#define NK_FRAME_QUICK_H

#include <string.h>

#include "nk_frame.h"

/* Symbols differ in their first or last bytes; two words hold nearly every one whole. */
NK_INLINE uint32_t
nk_symbol_hash(const char *symbol, size_t length)
{
    uint64_t head = 0;
    uint64_t tail = 0;
    if (length >= 8) {
        memcpy(&head, symbol, 8);
        memcpy(&tail, symbol + length - 8, 8);
    } else if (length > 0) {
        memcpy(&head, symbol, length);
    }
    uint64_t mixed = (head ^ (tail * 0x9E3779B97F4A7C15u) ^ length) * 0xD6E8FEB86659FD93u;
    return (uint32_t)(mixed >> 32);
}

/* Read a frame if it has the usual shape: method before params, each member once, no escapes, plain
 * digits; members of params in any order, blanks anywhere.
 *
 * Requires  *frame is cleared.
 * Returns   true when the frame was read and has no fault; false leaves the contents of *frame and
 *           of the scratch undefined and says nothing about the frame.
 */
bool nk_frame_scan_quick(nk_scanner *scanner, const char *text, size_t length, nk_frame *frame);

#endif /* NK_FRAME_QUICK_H */
