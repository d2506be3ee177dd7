/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain tables. Domains end in .example (RFC 2606) so that none is somebody's.
 */
#include "agent/gen/data.h"

#include <stddef.h>

#define COUNT_OF(array) ((uint32_t)(sizeof(array) / sizeof(array)[0]))

/* clang-format off */
const struct data_country data_countries[] = {
    {"USA", "US", 3400, -300, "en", "38.51", "-97.75", {"CA", "TX", "NY", "FL", "IL", "WA"}},
    {"GBR", "GB",  760,    0, "en", "52.48", "-1.90", {"ENG", "SCT", "WLS", "NIR"}},
    {"DEU", "DE",  720,   60, "de", "50.93", "9.99", {"BY", "NW", "BE", "HH", "BW", "SN"}},
    {"IND", "IN",  690,  330, "hi", "22.88", "79.60", {"MH", "KA", "DL", "TN", "UP"}},
    {"FRA", "FR",  560,   60, "fr", "46.55", "2.41", {"IDF", "PAC", "ARA", "OCC", "BRE"}},
    {"BRA", "BR",  540, -180, "pt", "-10.81", "-52.97", {"SP", "RJ", "MG", "BA"}},
    {"JPN", "JP",  500,  540, "ja", "37.58", "137.99", {"13", "27", "14", "23"}},
    {"CAN", "CA",  410, -300, "en", "56.83", "-95.51", {"ON", "QC", "BC", "AB"}},
    {"ITA", "IT",  330,   60, "it", "42.79", "12.07", {"62", "25", "82"}},
    {"ESP", "ES",  310,   60, "es", "40.24", "-3.65", {"MD", "CT", "AN"}},
    {"MEX", "MX",  300, -360, "es", "23.95", "-102.53", {"CMX", "JAL", "NLE"}},
    {"AUS", "AU",  280,  600, "en", "-25.73", "134.49", {"NSW", "VIC", "QLD"}},
    {"IDN", "ID",  260,  420, "id", "-2.22", "117.30", {"JK", "JB", "JI"}},
    {"POL", "PL",  210,   60, "pl", "52.13", "19.39", {"14", "12", "24"}},
    {"NLD", "NL",  200,   60, "nl", "52.11", "5.28", {"NH", "ZH", "NB"}},
    {"TUR", "TR",  180,  180, "tr", "39.06", "35.17", {"34", "06", "35"}},
    {"KOR", "KR",  170,  540, "ko", "36.39", "127.84", {"11", "26", "41"}},
    {"PHL", "PH",  140,  480, "en", "11.74", "122.87", {"00", "CAV"}},
    {"ARG", "AR",  130, -180, "es", "-35.39", "-65.17", {"B", "C", "X"}},
    {"SWE", "SE",  120,   60, "sv", "62.79", "16.74", {"AB", "O", "M"}},
    {"VNM", "VN",  110,  420, "vi", "16.65", "106.30", {"SG", "HN"}},
    {"THA", "TH",  105,  420, "th", "15.12", "101.00", {"10", "50"}},
    {"COL", "CO",   95, -300, "es", "3.91", "-73.08", {"DC", "ANT"}},
    {"ZAF", "ZA",   90,  120, "en", "-29.00", "25.08", {"GP", "WC"}},
    {"BEL", "BE",   85,   60, "nl", "50.64", "4.64", {"VLG", "WAL", "BRU"}},
    {"CHE", "CH",   80,   60, "de", "46.80", "8.21", {"ZH", "BE", "GE"}},
    {"AUT", "AT",   78,   60, "de", "47.59", "14.13", {"9", "6"}},
    {"EGY", "EG",   70,  120, "ar", "26.50", "29.86", {"C", "ALX"}},
    {"SAU", "SA",   66,  180, "ar", "24.12", "44.54", {"01", "02"}},
    {"ARE", "AE",   64,  240, "ar", "23.91", "54.30", {"DU", "AZ"}},
    {"NGA", "NG",   60,   60, "en", "9.59", "8.09", {"LA", "FC"}},
    {"CHL", "CL",   56, -240, "es", "-37.73", "-71.38", {"RM"}},
    {"DNK", "DK",   54,   60, "da", "55.98", "10.03", {"84", "82"}},
    {"NOR", "NO",   52,   60, "nb", "68.75", "15.35", {"03", "46"}},
    {"FIN", "FI",   48,  120, "fi", "64.50", "26.27", {"18"}},
    {"PRT", "PT",   46,    0, "pt", "39.60", "-8.50", {"11", "13"}},
    {"IRL", "IE",   44,    0, "en", "53.18", "-8.14", {"D", "CO"}},
    {"CZE", "CZ",   42,   60, "cs", "49.73", "15.31", {"10", "64"}},
    {"ROU", "RO",   40,  120, "ro", "45.85", "24.97", {"B", "CJ"}},
    {"GRC", "GR",   36,  120, "el", "39.07", "22.96", {"I"}},
    {"NZL", "NZ",   34,  720, "en", "-41.81", "171.48", {"AUK", "WGN"}},
    {"ISR", "IL",   32,  120, "he", "31.46", "35.00", {"TA"}},
    {"KEN", "KE",   24,  180, "sw", "0.60", "37.80", {"30"}},
    {"ISL", "IS",    6,    0, "is", "65.00", "-18.57", {"1"}},
    {"LUX", "LU",    5,   60, "lb", "49.77", "6.07", {"LU"}},
    {"MLT", "MT",    3,   60, "mt", "35.92", "14.41", {"60"}},
};
const uint32_t data_country_count = COUNT_OF(data_countries);

#define CHROME "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/"
#define WEBKIT "AppleWebKit/605.1.15 (KHTML, like Gecko) "
const struct data_device data_devices[] = {
    {150, DEVICE_WEB, 2, "Windows", "10", "", "", 1920, 1080,
     "Mozilla/5.0 (Windows NT 10.0; Win64; x64) " CHROME
     "130.0.0.0 Safari/537.36"},
    {60, DEVICE_WEB, 2, "Windows", "11", "", "", 2560, 1440,
     "Mozilla/5.0 (Windows NT 10.0; Win64; x64) " CHROME
     "131.0.0.0 Safari/537.36 Edg/131.0.0.0"},
    {70, DEVICE_WEB, 2, "macOS", "14.6", "Apple", "Macintosh", 1440, 900,
     "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) " WEBKIT
     "Version/17.6 Safari/605.1.15"},
    {22, DEVICE_WEB, 2, "Linux", "", "", "", 1920, 1080,
     "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"},
    {8, DEVICE_WEB, 2, "Chrome OS", "129", "", "", 1366, 768,
     "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) " CHROME
     "129.0.0.0 Safari/537.36"},
    {190, DEVICE_WEB | DEVICE_APP, 4, "iOS", "17.6.1", "Apple", "iPhone15,2", 1179, 2556,
     "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) " WEBKIT
     "Mobile/15E148"},
    {110, DEVICE_WEB | DEVICE_APP, 4, "iOS", "18.1", "Apple", "iPhone16,1", 1179, 2556,
     "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) " WEBKIT
     "Version/18.1 Mobile/15E148 Safari/604.1"},
    {60, DEVICE_WEB | DEVICE_APP, 5, "iOS", "17.5", "Apple", "iPad13,4", 1668, 2388,
     "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) " WEBKIT
     "Mobile/15E148"},
    {170, DEVICE_WEB | DEVICE_APP, 4, "Android", "14", "Samsung", "SM-S918B", 1080, 2340,
     "Mozilla/5.0 (Linux; Android 14; SM-S918B) " CHROME
     "130.0.6723.58 Mobile Safari/537.36"},
    {120, DEVICE_WEB | DEVICE_APP, 4, "Android", "13", "Xiaomi", "2201117TG", 1080, 2400,
     "Mozilla/5.0 (Linux; Android 13; 2201117TG Build/TKQ1.221114.001; wv) " CHROME
     "129.0.6668.100 Mobile Safari/537.36"},
    {70, DEVICE_WEB | DEVICE_APP, 1, "android", "12", "Motorola", "moto g(60)", 1080, 2460,
     "Mozilla/5.0 (Linux; Android 12; moto g(60)) " CHROME
     "128.0.0.0 Mobile Safari/537.36"},
    {50, DEVICE_WEB | DEVICE_APP, 4, "Android", "15", "Google", "Pixel 8", 1080, 2400,
     "Mozilla/5.0 (Linux; Android 15; Pixel 8) " CHROME
     "131.0.6778.39 Mobile Safari/537.36"},
    {30, DEVICE_WEB | DEVICE_APP, 5, "Android", "13", "Samsung", "SM-X200", 1200, 1920,
     "Mozilla/5.0 (Linux; Android 13; SM-X200) " CHROME
     "127.0.0.0 Safari/537.36"},
    {30, DEVICE_APP | DEVICE_TV, 3, "Roku OS", "13.0", "Roku", "4802X", 1920, 1080,
     "Roku/DVP-13.0 (13.0.0.4186)"},
    {26, DEVICE_APP | DEVICE_TV, 3, "Tizen", "7.0", "Samsung", "QN55Q60C", 3840, 2160,
     "Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) AppleWebKit/537.36 "
     "(KHTML, like Gecko) 94.0.4606.31/7.0 TV Safari/537.36"},
    {14, DEVICE_APP | DEVICE_TV, 7, "Fire OS", "7.6", "Amazon", "AFTKA", 1920, 1080,
     "Mozilla/5.0 (Linux; Android 9; AFTKA Build/PS7655; wv) " CHROME
     "119.0.6045.193 Mobile Safari/537.36"},
};
const uint32_t data_device_count = COUNT_OF(data_devices);

const struct data_size data_sizes[] = {
    {38, 300, 250}, {17, 320, 50}, {14, 728, 90}, {8, 160, 600}, {7, 300, 600},
    {5, 970, 250},  {4, 336, 280}, {4, 320, 100}, {3, 320, 480},
};
const uint32_t data_size_count = COUNT_OF(data_sizes);

const char *const data_words[] = {
    "daily", "metro", "harbor", "summit", "orbit", "signal", "canvas", "maple", "ember", "atlas",
    "pixel", "lumen", "quartz", "raven", "sierra", "tundra", "velvet", "willow", "zenith", "breeze",
    "copper", "delta", "echo", "falcon", "garnet", "hazel", "indigo", "jasper", "kestrel", "lotus",
    "zürich", "málaga", NULL,
};
const char *const data_endings[] = {
    "news", "herald", "sports", "kitchen", "games", "weather", "finance", "travel", "forum",
    "review", "radio", "auto", "garden", "health", "music", "tech", NULL,
};
const char *const data_names[] = {
    "Daily Herald", "The \\\"Inside\\\" Story", "Kultur \\u0026 Leben", "Économie d'aujourd'hui",
    "新聞オンライン", "Gossip\\/Glamour", "Fußball heute", "Mañana", "Wetter \\u00fcberall",
    "Новости дня", "Cook \\ud83c\\udf72 Club", "Games 🎮 Central", "Tech Weekly", "Garden Path",
    "Market Watchers", "Auto Review", NULL,
};
const char *const data_categories[] = {
    "IAB1", "IAB1-5", "IAB1-6", "IAB2", "IAB2-3", "IAB3-4", "IAB4-5", "IAB5-1", "IAB6-6", "IAB7",
    "IAB7-44", "IAB8-9", "IAB9-30", "IAB10-7", "IAB12", "IAB12-2", "IAB13-7", "IAB14-7", "IAB15-10",
    "IAB16", "IAB17", "IAB17-12", "IAB18-1", "IAB19", "IAB19-6", "IAB20-18", "IAB22", NULL,
};
const char *const data_seats[] = {
    "acme-dsp", "northwind", "bluebird", "redwood", "hydra", "lighthouse", "tesserae", "monsoon",
    "1042", "2210", NULL,
};
const char *const data_sections[] = {
    "politics", "article", "local", "world", "a", "culture\\/film", "video", "2026\\/11", NULL,
};
/* clang-format on */
