/* links: nk_json.c */
/* What is JSON and what is not, and how it is walked. The texts are those of RFC 8259 and of the
 * Unicode standard's table of well-formed UTF-8.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nk_json.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

static const char *const well_formed[] = {"0",
                                          "-0",
                                          "10",
                                          "-1.5e+3",
                                          "1E400",
                                          "0.0e-0",
                                          "true",
                                          "false",
                                          "null",
                                          "\"\"",
                                          "[]",
                                          "{}",
                                          " \t\r\n[ 1 , 2 ] \n",
                                          "{\"a\":{\"b\":[[],{}]},\"a\":1}",
                                          "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u12aF\"",
                                          "\"\\ud800\"",
                                          "\"\x7F\"",
                                          "\"\xC2\x80\"",
                                          "\"\xDF\xBF\"",
                                          "\"\xE0\xA0\x80\"",
                                          "\"\xED\x9F\xBF\"",
                                          "\"\xEE\x80\x80\"",
                                          "\"\xF0\x90\x80\x80\"",
                                          "\"\xF4\x8F\xBF\xBF\"",
                                          "{\"\":0}"};

static const char *const malformed[] = {"",
                                        " ",
                                        "01",
                                        "-",
                                        "+1",
                                        ".5",
                                        "5.",
                                        "1e",
                                        "1e+",
                                        "1.e5",
                                        "--1",
                                        "0x1",
                                        "1_0",
                                        "NaN",
                                        "Infinity",
                                        "-Infinity",
                                        "tru",
                                        "True",
                                        "nul",
                                        "nulll",
                                        "'a'",
                                        "\"",
                                        "\"a",
                                        "\"\\\"",
                                        "\"\\",
                                        "\"\\u\"",
                                        "\"\\u123\"",
                                        "\"\\u12g4\"",
                                        "\"\\x41\"",
                                        "\"\\q\"",
                                        "\"\n\"",
                                        "\"\x1F\"",
                                        "\"\t\"",
                                        "[",
                                        "]",
                                        "[1",
                                        "[1,",
                                        "[1,]",
                                        "[,1]",
                                        "[1 2]",
                                        "[1}",
                                        "{",
                                        "}",
                                        "{\"a\"",
                                        "{\"a\":",
                                        "{\"a\":1",
                                        "{\"a\":1,",
                                        "{\"a\":1,}",
                                        "{\"a\" 1}",
                                        "{a:1}",
                                        "{1:1}",
                                        "{\"a\":1]",
                                        "{,}",
                                        "{\"a\":1 \"b\":2}",
                                        "1 1",
                                        "[] []",
                                        "{}x",
                                        "\xEF\xBB\xBF{}",
                                        "\"\x80\"",
                                        "\"\xC0\x80\"",
                                        "\"\xC1\xBF\"",
                                        "\"\xC2\"",
                                        "\"\xC2\x41\"",
                                        "\"\xE0\x9F\xBF\"",
                                        "\"\xED\xA0\x80\"",
                                        "\"\xE1\x80\"",
                                        "\"\xF0\x8F\xBF\xBF\"",
                                        "\"\xF4\x90\x80\x80\"",
                                        "\"\xF5\x80\x80\x80\"",
                                        "\"\xFF\"",
                                        "\xA0",
                                        "/**/1",
                                        "\f1",
                                        "\"a\"\"b\""};

/* The text in a buffer of exactly its size, so that a read too far is caught. */
static nk_status
check_exactly(const char *text, size_t length)
{
    char *copy = malloc(length + (length == 0));
    REQUIRE(copy != NULL);
    memcpy(copy, text, length);
    nk_status status = nk_json_check(copy, length);
    free(copy);
    return status;
}

static void
test_what_is_json(void)
{
    for (size_t i = 0; i < sizeof well_formed / sizeof well_formed[0]; i++) {
        size_t length = strlen(well_formed[i]);
        REQUIRE(check_exactly(well_formed[i], length) == NK_OK);
        bool is_scalar = strchr("-0123456789", well_formed[i][0]) != NULL;
        for (size_t cut = 0; cut < length && !is_scalar; cut++) {
            /* Only blanks may be missing from the end. */
            bool is_whole = strspn(well_formed[i] + cut, " \t\r\n") == length - cut;
            REQUIRE((check_exactly(well_formed[i], cut) == NK_OK) == is_whole);
        }
    }
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        if (check_exactly(malformed[i], strlen(malformed[i])) != NK_E_MALFORMED) {
            fprintf(stderr, "taken: %s\n", malformed[i]);
            abort();
        }
    }
    REQUIRE(check_exactly("1\0", 2) == NK_E_MALFORMED);
    REQUIRE(check_exactly("\"\0\"", 3) == NK_E_MALFORMED);
    REQUIRE(check_exactly("\"\\\0\"", 4) == NK_E_MALFORMED);
}

static void
test_depth_is_bounded(void)
{
    char text[2 * (NK_JSON_DEPTH_MAX + 1)];
    memset(text, '[', sizeof text);
    REQUIRE(nk_json_check(text, sizeof text) == NK_E_RANGE);
    memset(text + NK_JSON_DEPTH_MAX, ']', NK_JSON_DEPTH_MAX);
    REQUIRE(nk_json_check(text, 2 * NK_JSON_DEPTH_MAX) == NK_OK);
    memset(text, '[', NK_JSON_DEPTH_MAX + 1);
    memset(text + NK_JSON_DEPTH_MAX + 1, ']', NK_JSON_DEPTH_MAX + 1);
    REQUIRE(nk_json_check(text, sizeof text) == NK_E_RANGE);
}

static void
require_value(nk_json_value value, nk_json_type type, const char *text)
{
    REQUIRE(value.type == type && value.length == strlen(text));
    REQUIRE(memcmp(value.text, text, value.length) == 0);
}

static void
test_walks(void)
{
    static const char text[] =
        " { \"a\" : [ 1 , \"]}\\\"\" ] , \"b\":{\"c\":null},\"\":-1.5e3, \"d\" :true,\"e\":false "
        "} ";
    nk_json_value root = nk_json_root(text, sizeof text - 1);
    nk_json_value name, value, element;
    REQUIRE(root.type == NK_JSON_OBJECT);
    nk_json_walk walk = nk_json_open(root);
    REQUIRE(nk_json_next_member(&walk, &name, &value));
    require_value(name, NK_JSON_STRING, "a");
    require_value(value, NK_JSON_ARRAY, "[ 1 , \"]}\\\"\" ]");
    nk_json_walk inner = nk_json_open(value);
    REQUIRE(nk_json_next_element(&inner, &element));
    require_value(element, NK_JSON_NUMBER, "1");
    REQUIRE(nk_json_next_element(&inner, &element));
    require_value(element, NK_JSON_STRING, "]}\\\"");
    REQUIRE(!nk_json_next_element(&inner, &element));
    REQUIRE(nk_json_next_member(&walk, &name, &value));
    require_value(value, NK_JSON_OBJECT, "{\"c\":null}");
    REQUIRE(nk_json_next_member(&walk, &name, &value));
    require_value(name, NK_JSON_STRING, "");
    require_value(value, NK_JSON_NUMBER, "-1.5e3");
    REQUIRE(nk_json_next_member(&walk, &name, &value));
    require_value(value, NK_JSON_TRUE, "true");
    REQUIRE(nk_json_next_member(&walk, &name, &value));
    require_value(value, NK_JSON_FALSE, "false");
    REQUIRE(!nk_json_next_member(&walk, &name, &value));
    value = nk_json_root("[ ]", 3);
    inner = nk_json_open(value);
    REQUIRE(!nk_json_next_element(&inner, &element));
}

static void
test_escapes(void)
{
    static const char text[] = "\"\\u0041\\/\\n\\u00e9\\u20ac\\ud83d\\ude00\\ud800x\\udc00\"";
    static const char expected[] =
        "A/\n\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xED\xA0\x80x\xED\xB0\x80";
    char buffer[64];
    size_t length;
    nk_json_value value = nk_json_root(text, sizeof text - 1);
    REQUIRE(nk_json_unescape(value, buffer, sizeof buffer, &length) == NK_OK);
    REQUIRE(length == sizeof expected - 1 && memcmp(buffer, expected, length) == 0);
    REQUIRE(nk_json_equals(value, expected, sizeof expected - 1));
    REQUIRE(!nk_json_equals(value, expected, sizeof expected - 2));
    for (size_t capacity = 0; capacity < length; capacity++) {
        size_t written;
        REQUIRE(nk_json_unescape(value, buffer, capacity, &written) == NK_E_FULL);
    }
    REQUIRE(nk_json_equals(nk_json_root("\"ab\"", 4), "ab", 2));
    REQUIRE(!nk_json_equals(nk_json_root("\"ab\"", 4), "ac", 2));
}

int
main(void)
{
    test_what_is_json();
    test_depth_is_bounded();
    test_walks();
    test_escapes();
    return 0;
}
