/* Decodes a baseline JPEG at 1/8 scale and skips the data that is not needed for it.
 *
 * At this scale, a luma pixel is the first coefficient of its block, and most of a photograph's bytes encode the other
 * coefficients. They must be read to find where the next block begins, but not one by one: a table gives for the next
 * bits how many whole codes they contain, and so how many bits and coefficients can be skipped at once. A block of
 * chroma at half of luma's resolution gives 2 x 2 pixels, and is decoded in full.
 *
 * The arithmetic is libjpeg's (ITU T.81 for the codes; Loeffler, Ligtenberg, Moschytz 1989 for the transform), rounding
 * included, so that both give the same pixels. Unusual or damaged files give no pixels here and are left to libjpeg.
 *
 * Reads stay inside the buffers for any input: MARGIN zeros follow the last byte, more than an MCU can consume, and a
 * check before every MCU finds out whether they were reached.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    LONGEST = 16,                /* bits of a code */
    HEAD = 10,                   /* bits of the lookup table for single codes; longer codes are searched for */
    AHEAD = 13,                  /* bits of the lookup table for several codes: luma's table fits a core's L1 cache */
    LAST = 63,                   /* index of a block's last coefficient, in the file's order */
    END_OF_BLOCK = 128,          /* coefficients to skip at the end of a block: more than a block has */
    MARGIN = 2048,               /* bytes; 6 blocks of 64 codes of 16 bits with 15 bits of value take 1,488 */
    MOST = 4000,                 /* sum of a block's magnitudes; above it, which is rare, libjpeg's numbers wrap */
};

/* The lookup tables of one Huffman table. */
typedef struct {
    uint32_t head[1 << HEAD];    /* `meaning` of the first code in the bits */
    uint32_t ahead[1 << AHEAD];  /* bits | coefficients before the last code << 8 | coefficients << 16, or 0 */
    uint32_t first[LONGEST + 1]; /* the first code of each length */
    uint32_t count[LONGEST + 1];
    const uint8_t *symbols[LONGEST + 1];
} Codes;

typedef struct {
    const uint8_t *quantizers;   /* [64], in the file's order */
    Codes dc, ac;
    int predicted;
} Component;

/* The next bits are at the top of `bits`; at least `known` of them are valid. Shift counts are masked by 63: processors
 * do that anyway, and compilers that recognise the mask omit it. */
typedef struct {
    uint64_t bits;
    int known;
    const uint8_t *next;
} Reader;

static inline void refill(Reader *r)
{
    const uint8_t *b = r->next;  /* Compilers turn this into one load. */
    uint64_t bytes = (uint64_t)b[0] << 56 | (uint64_t)b[1] << 48 | (uint64_t)b[2] << 40 | (uint64_t)b[3] << 32 |
                     (uint64_t)b[4] << 24 | b[5] << 16 | b[6] << 8 | b[7];
    r->bits |= bytes >> r->known;
    r->next += (63 - r->known) >> 3;
    r->known |= 56;
}

static inline void skip(Reader *r, int count)
{
    r->bits <<= count;
    r->known -= count;
}

/* Length of a code | bits of its value << 8 | coefficients that it advances, including its own, << 16; 0 if invalid. */
static inline uint32_t meaning(int length, int symbol)
{
    int bits = symbol & 15, zeros = symbol >> 4;
    int passed = bits ? zeros + 1 : symbol == 0 ? END_OF_BLOCK : zeros == 15 ? 16 : 0;
    return passed ? length | bits << 8 | passed << 16 : 0;
}

/* `meaning` of the first code in 64 bits. */
static inline uint32_t code(const Codes *codes, uint64_t bits)
{
    uint32_t found = codes->head[bits >> (64 - HEAD)];
    for (int length = HEAD + 1; !found && length <= LONGEST; length++) {
        uint32_t nth = (uint32_t)(bits >> (64 - length)) - codes->first[length];
        if (nth < codes->count[length])
            return meaning(length, codes->symbols[length][nth]);
    }
    return found;
}

/* T.81 F.2.2.1: the value of the next `count` bits. */
static inline int value(Reader *r, int count)
{
    int negative = !(r->bits >> 63), magnitude = (int)(r->bits >> 1 >> (63 - count));
    skip(r, count);
    return magnitude - (negative << count) + negative;
}

/* Fills the tables from a DHT segment's 16 counts and symbols, none above `greatest`; false if the segment is bad. */
static bool read_codes(Codes *codes, const uint8_t *table, Py_ssize_t size, int greatest)
{
    uint32_t next = 0;
    const uint8_t *symbols = table + LONGEST;
    if (size < LONGEST)
        return false;
    memset(codes->head, 0, sizeof codes->head);
    for (int length = 1; length <= LONGEST; length++, next <<= 1) {
        uint32_t count = table[length - 1];
        /* T.81 C: no code consists only of ones. */
        if (count > table + size - symbols || next + count >= 1u << length)
            return false;
        codes->first[length] = next;
        codes->count[length] = count;
        codes->symbols[length] = symbols;
        for (uint32_t nth = 0; nth < count; nth++) {
            if (symbols[nth] > greatest)
                return false;
            for (uint32_t rest = 0; length <= HEAD && rest < 1u << (HEAD - length); rest++)
                codes->head[(next + nth) << (HEAD - length) | rest] = meaning(length, symbols[nth]);
        }
        symbols += count;
        next += count;
    }
    return symbols == table + size;
}

static void look_ahead(Codes *ac)
{
    for (uint32_t i = 0; i < 1 << AHEAD; i++) {
        uint64_t bits = (uint64_t)i << (64 - AHEAD);
        uint32_t used = 0, before = 0, coefficients = 0;
        while (coefficients <= LAST) {
            uint32_t found = code(ac, bits << used);
            uint32_t length = (found & 255) + (found >> 8 & 15);
            if (!found || used + length > AHEAD)
                break;
            used += length;
            before = coefficients;
            coefficients += found >> 16;
        }
        ac->ahead[i] = used | before << 8 | coefficients << 16;
    }
}

/* Reads the first coefficient of a block, dequantized; false if its code is invalid or it is out of range. */
static inline bool read_first(Reader *r, Component *component, int *first)
{
    refill(r);
    uint32_t found = code(&component->dc, r->bits);
    if (!found)
        return false;
    skip(r, found & 63);
    component->predicted += value(r, found >> 8 & 15);
    if (abs(component->predicted) > MOST)
        return false;
    *first = component->predicted * component->quantizers[0];
    return abs(*first) <= MOST;
}

/* Skips the other coefficients, to the end of the block. */
static inline bool pass_over(Reader *reader, const Codes *ac)
{
    Reader r = *reader;  /* in registers */
    int at = 1;
    do {
        refill(&r);
#pragma GCC unroll 4
        for (int nth = 0; nth < 4; nth++) {
            uint32_t codes = ac->ahead[r.bits >> (64 - AHEAD)];
            /* Codes after the one that completes the block belong to another block. */
            if (!codes || at + (codes >> 8 & 255) > LAST) {
                refill(&r);
                uint32_t found = code(ac, r.bits);
                if (!found)
                    return false;
                skip(&r, (found & 63) + (found >> 8 & 15));
                at += found >> 16;
                break;
            }
            skip(&r, codes & 63);
            at += codes >> 16;
            if (at > LAST)
                break;
        }
    } while (at <= LAST);
    *reader = r;
    return at == LAST + 1 || at >= END_OF_BLOCK;
}

static const uint8_t NATURAL[LAST + 1] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

/* Reads the other coefficients of a block, dequantized, [8][8]; `some` is set if there are any. */
static inline bool read_others(Reader *reader, const Component *component, int *coefficients, bool *some)
{
    Reader r = *reader;
    int at = 1, sum = abs(coefficients[0]);
    *some = false;
    while (at <= LAST) {
        refill(&r);
        uint32_t found = code(&component->ac, r.bits);
        if (!found)
            return false;
        skip(&r, found & 63);
        at += found >> 16;
        if (!(found >> 8 & 15))
            continue;
        if (at > LAST + 1)
            return false;
        int coefficient = value(&r, found >> 8 & 15) * component->quantizers[at - 1];
        coefficients[NATURAL[at - 1]] = coefficient;
        sum += abs(coefficient);
        *some = true;
        if (sum > MOST)
            return false;
    }
    *reader = r;
    return at == LAST + 1 || at >= END_OF_BLOCK;
}

static inline uint8_t clamped(int value)
{
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

static inline int rounded(int value, int bits)
{
    return (value + (1 << (bits - 1))) >> bits;
}

/* Distance of the two halves of a line from their mean, by its odd coefficients, with 13 bits of fraction. */
static inline int halves(int c1, int c3, int c5, int c7)
{
    return 29692 * c1 - 10426 * c3 + 6967 * c5 - 5906 * c7;
}

/* Computes the mean of each quarter of a block. */
static void four_pixels(const int *c, uint8_t *pixels, size_t stride)
{
    int upper[8], lower[8];
    for (int x = 0; x < 8; x += x ? 2 : 1) {  /* 0 and the odd ones */
        int mean = c[x] * (1 << 15), odd = halves(c[x + 8], c[x + 24], c[x + 40], c[x + 56]);
        upper[x] = rounded(mean + odd, 13);
        lower[x] = rounded(mean - odd, 13);
    }
    for (int y = 0; y < 2; y++) {
        const int *line = y ? lower : upper;
        int mean = line[0] * (1 << 15), odd = halves(line[1], line[3], line[5], line[7]);
        pixels[y * stride] = clamped(rounded(mean + odd, 20) + 128);
        pixels[y * stride + 1] = clamped(rounded(mean - odd, 20) + 128);
    }
}

/* Reads one block of luma, or of chroma at luma's resolution. */
static inline bool read_pixel(Reader *r, Component *component, uint8_t *pixel)
{
    int first;
    if (!read_first(r, component, &first) || !pass_over(r, &component->ac))
        return false;
    *pixel = clamped(rounded(first, 3) + 128);
    return true;
}

/* Reads one block of chroma at half of luma's resolution. */
static inline bool read_four_pixels(Reader *r, Component *component, uint8_t *pixels, size_t stride)
{
    int coefficients[LAST + 1] = {0};
    bool some;
    if (!read_first(r, component, coefficients) || !read_others(r, component, coefficients, &some))
        return false;
    if (some)
        four_pixels(coefficients, pixels, stride);
    else
        pixels[0] = pixels[1] = pixels[stride] = pixels[stride + 1] = clamped(rounded(coefficients[0], 3) + 128);
    return true;
}

typedef struct {
    int count;                   /* 1 or 3 components */
    int side;                    /* side of an MCU, in blocks of luma: 2 if chroma has half of luma's resolution */
    size_t across, down;         /* size of the image, in MCUs */
    size_t interval;             /* MCUs between restarts; all MCUs if there are no restarts */
    Component components[3];
    uint8_t *planes[3];          /* [down * side][across * side] */
} Image;

static bool read_mcu(Reader *r, Image *image, size_t x, size_t y)
{
    size_t stride = image->across * image->side, corner = (y * stride + x) * image->side;
    for (int row = 0; row < image->side; row++)
        for (int column = 0; column < image->side; column++)
            if (!read_pixel(r, &image->components[0], image->planes[0] + corner + row * stride + column))
                return false;
    for (int i = 1; i < image->count; i++) {
        uint8_t *pixels = image->planes[i] + corner;
        if (!(image->side == 1 ? read_pixel(r, &image->components[i], pixels)
                               : read_four_pixels(r, &image->components[i], pixels, stride)))
            return false;
    }
    return true;
}

/* Copies a scan to `bytes` without its markers and stuffing bytes, and the end of each of its `intervals` to `ends`. */
static bool unstuff(const uint8_t *scan, const uint8_t *end, uint8_t *bytes, size_t *ends, size_t intervals)
{
    uint8_t *out = bytes;
    size_t done = 0;
    for (;;) {
        const uint8_t *marker = memchr(scan, 0xff, end - scan);
        if (!marker || end - marker < 2)
            return false;
        memcpy(out, scan, marker - scan);
        out += marker - scan;
        scan = marker + 2;
        if (marker[1] == 0) {
            *out++ = 0xff;
            continue;
        }
        bool last = marker[1] == 0xd9;
        if (!last && marker[1] != (0xd0 | (done & 7)))
            return false;
        ends[done++] = out - bytes;
        if (last || done == intervals) {
            memset(out, 0, MARGIN);
            return last && done == intervals;
        }
    }
}

static bool read_scan(Image *image, const uint8_t *bytes, const size_t *ends)
{
    size_t mcu = 0, mcus = image->across * image->down, from = 0;
    for (size_t nth = 0; mcu < mcus; nth++) {
        Reader r = {0, 0, bytes + from};
        const uint8_t *end = bytes + ends[nth];
        size_t until = mcus - mcu < image->interval ? mcus : mcu + image->interval;
        for (int i = 0; i < image->count; i++)
            image->components[i].predicted = 0;
        for (; mcu < until; mcu++)
            if (r.next - r.known / 8 > end || !read_mcu(&r, image, mcu % image->across, mcu / image->across))
                return false;
        if (r.next - r.known / 8 != end)
            return false;
        from = ends[nth];
    }
    return true;
}

/* Converts JFIF's colours to RGB, with 16 bits of fraction. */
static void to_rgb(const Image *image, uint8_t *rgb, size_t width, size_t height)
{
    for (size_t y = 0; y < height; y++) {
        size_t line = y * image->across * image->side;
        for (size_t x = 0; x < width; x++, rgb += 3) {
            int luma = image->planes[0][line + x];
            if (image->count == 1) {
                rgb[0] = rgb[1] = rgb[2] = luma;
                continue;
            }
            int blue = image->planes[1][line + x] - 128, red = image->planes[2][line + x] - 128;
            rgb[0] = clamped(luma + rounded(91881 * red, 16));
            rgb[1] = clamped(luma + rounded(-22554 * blue - 46802 * red, 16));
            rgb[2] = clamped(luma + rounded(116130 * blue, 16));
        }
    }
}

/* Decodes the scan; the part that needs no Python. */
static bool pixels(Image *image, const uint8_t *scan, const uint8_t *end, uint8_t *rgb, size_t width, size_t height)
{
    size_t mcus = image->across * image->down, plane = mcus * image->side * image->side;
    size_t intervals = (mcus + image->interval - 1) / image->interval;
    uint8_t *bytes = malloc(end - scan + MARGIN), *planes = malloc(plane * image->count);
    size_t *ends = malloc(intervals * sizeof *ends);
    bool read = bytes && planes && ends && unstuff(scan, end, bytes, ends, intervals);
    for (int i = 0; read && i < image->count; i++)
        image->planes[i] = planes + i * plane;
    read = read && read_scan(image, bytes, ends);
    if (read)
        to_rgb(image, rgb, width, height);
    free(bytes);
    free(planes);
    free(ends);
    return read;
}

PyDoc_STRVAR(decode_doc, "decode(data, scan, width, height, halved, interval, components)\n\n"
"The pixels of a baseline JPEG at an eighth of its size, as a bytearray [ceil(height / 8), ceil(width / 8), 3] in RGB,\n"
"or None where libjpeg has to see it.\n\n"
"data: the file's bytes. scan: where its only scan's codes begin. width, height: of the image, pixels. halved: whether\n"
"chroma has half of luma's resolution, in both directions, or the same. interval: MCUs between restarts, or 0.\n"
"components: 1 or 3 tuples of 64 quantizers and of the DC and the AC table as DHT segments have them, all bytes.");

static PyObject *decode(PyObject *module, PyObject *args)
{
    Py_buffer data;
    Py_ssize_t scan, width, height, interval;
    int halved;
    PyObject *components, *rgb = NULL;
    Image *image = NULL;
    if (!PyArg_ParseTuple(args, "y*nnnpnO!", &data, &scan, &width, &height, &halved, &interval, &PyTuple_Type,
                          &components))
        return NULL;
    Py_ssize_t count = PyTuple_Size(components);
    if (scan < 0 || scan > data.len || width < 1 || width > 65535 || height < 1 || height > 65535 || interval < 0 ||
        (count != 1 && count != 3)) {
        PyErr_SetString(PyExc_ValueError, "no scan, size, interval or components of an image");
        goto done;
    }
    image = calloc(1, sizeof *image);
    if (!image) {
        PyErr_NoMemory();
        goto done;
    }
    image->count = (int)count;
    image->side = halved ? 2 : 1;
    image->across = (width + 8 * image->side - 1) / (8 * image->side);
    image->down = (height + 8 * image->side - 1) / (8 * image->side);
    image->interval = interval ? (size_t)interval : image->across * image->down;
    bool known = true;
    for (int i = 0; i < image->count; i++) {
        Component *component = &image->components[i];
        const char *quantizers, *dc, *ac;
        Py_ssize_t steps, dc_size, ac_size;
        if (!PyArg_ParseTuple(PyTuple_GetItem(components, i), "y#y#y#", &quantizers, &steps, &dc, &dc_size, &ac, &ac_size))
            goto done;
        component->quantizers = (const uint8_t *)quantizers;
        known = known && steps == LAST + 1 && read_codes(&component->dc, (const uint8_t *)dc, dc_size, 15) &&
                read_codes(&component->ac, (const uint8_t *)ac, ac_size, 255);
        if (known && (i == 0 || !halved))
            look_ahead(&component->ac);
    }
    /* An MCU has at least two codes of at least one bit: a header that claims more pixels must not allocate memory. */
    known = known && image->across * image->down <= 4 * (size_t)(data.len - scan);
    size_t small_width = (width + 7) / 8, small_height = (height + 7) / 8;
    rgb = known ? PyByteArray_FromStringAndSize(NULL, small_width * small_height * 3) : NULL;
    if (!rgb)
        goto done;
    uint8_t *out = (uint8_t *)PyByteArray_AsString(rgb);
    Py_BEGIN_ALLOW_THREADS
    known = pixels(image, (const uint8_t *)data.buf + scan, (const uint8_t *)data.buf + data.len, out, small_width,
                   small_height);
    Py_END_ALLOW_THREADS
    if (!known)
        Py_CLEAR(rgb);
done:
    free(image);
    PyBuffer_Release(&data);
    return rgb || PyErr_Occurred() ? rgb : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {{"decode", decode, METH_VARARGS, decode_doc}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_eighth", .m_methods = methods};

PyMODINIT_FUNC PyInit__eighth(void)
{
    return PyModuleDef_Init(&module);
}
