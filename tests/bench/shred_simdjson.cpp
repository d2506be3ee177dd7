// SPDX-License-Identifier: Apache-2.0
//
// simdjson's DOM parser over NDJSON, in the two ways that it offers: a document at a time
// out of memory that is padded already (no copy), and parse_many, which looks for the
// structure of a whole batch at once. Both build the whole tree and look at none of it. No
// threads: CPU is counted.
#include "shred_simdjson.h"

#include <cstring>
#include <simdjson.h>
#include <string>

#define VERSION_TEXT(x) VERSION_TEXT_OF(x)
#define VERSION_TEXT_OF(x) #x

size_t simdjson_padding(void)
{
    return simdjson::SIMDJSON_PADDING;
}

const char *simdjson_about(void)
{
    static const std::string about = std::string("simdjson " VERSION_TEXT(SIMDJSON_VERSION) ", ") +
                                     simdjson::get_active_implementation()->name();
    return about.c_str();
}

size_t simdjson_each_line(const char *text, size_t len)
{
    static simdjson::dom::parser parser;
    size_t refused = 0;
    for (const char *end = text + len; text < end;) {
        const char *line_end = static_cast<const char *>(memchr(text, '\n', end - text));
        if (line_end == nullptr)
            line_end = end;
        simdjson::dom::element document;
        refused += parser.parse(text, line_end - text, false).get(document) != simdjson::SUCCESS;
        text = line_end + 1;
    }
    return refused;
}

size_t simdjson_many(const char *text, size_t len, size_t *documents)
{
    static simdjson::dom::parser parser;
    simdjson::dom::document_stream stream;
    size_t refused = 0;
    *documents = 0;
#ifdef SIMDJSON_THREADS_ENABLED
    parser.threaded = false;
#endif
    if (parser.parse_many(text, len, size_t(1) << 20).get(stream) != simdjson::SUCCESS)
        return 1;
    for (auto document : stream) {
        ++*documents;
        refused += document.error() != simdjson::SUCCESS;
    }
    return refused;
}
