/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/number_internal.h"

#include <stdlib.h>
#include <string.h>

#define E9 1000000000ULL
#define E18 (E9 * E9)
#define TENS(base)                                                                                            \
    (base), (base)*10, (base)*100, (base)*1000, (base)*10000, (base)*100000, (base)*1000000, (base)*10000000, \
        (base)*100000000
const wide ten_to[WIDE_DIGITS + 2] = {
    TENS((wide)1), TENS((wide)E9), TENS((wide)E18), TENS((wide)E18 *E9), (wide)E18 *E18, (wide)E18 *E18 * 10,
};

enum { CANONICAL_DIGITS_MAX = 40 };

static bool is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

/** [+-]digits from `at` to the end; saturates. */
static bool read_exponent(struct bytes_view text, size_t at, int64_t *out) {
    bool negative = false;
    if (at < text.length && (text.data[at] == '+' || text.data[at] == '-')) negative = text.data[at++] == '-';
    if (at == text.length) return false;
    int64_t value = 0;
    for (; at < text.length; at++) {
        if (!is_digit(text.data[at])) return false;
        if (value < INT32_MAX) value = value * 10 + (text.data[at] - '0');
    }
    *out = negative ? -value : value;
    return true;
}

/** The mantissa's digits go into `buffer`; returns where the mantissa ends, 0 when it is not one of JSON's. */
static size_t read_mantissa(struct bytes_view text, size_t at, uint8_t *buffer, size_t *out_count,
                            size_t *out_fraction) {
    size_t count = 0, fraction = 0, first = at;
    while (at < text.length && is_digit(text.data[at])) buffer[count++] = text.data[at++];
    if (count == 0 || (count > 1 && text.data[first] == '0')) return 0;
    if (at < text.length && text.data[at] == '.') {
        at++;
        while (at < text.length && is_digit(text.data[at])) {
            buffer[count++] = text.data[at++];
            fraction++;
        }
        if (fraction == 0) return 0;
    }
    *out_count = count;
    *out_fraction = fraction;
    return at;
}

struct decimal decimal_of(const uint8_t *digits, uint32_t count, int32_t exponent, bool negative) {
    struct decimal a = {.digits = digits, .count = count, .exponent = exponent, .negative = negative};
    for (uint32_t i = 0; i < LEADING_DIGITS; i++)
        a.leading = a.leading * 10 + (i < count ? (uint64_t)(digits[i] - '0') : 0);
    return a;
}

bool decimal_read_any(struct bytes_view text, uint8_t *buffer, struct decimal *out) {
    bool negative = text.length > 0 && text.data[0] == '-';
    size_t count, fraction, at = read_mantissa(text, negative, buffer, &count, &fraction);
    int64_t exponent = 0;
    if (at == 0 || text.length > INT32_MAX / 2) return false;
    if (at < text.length) {
        if (text.data[at] != 'e' && text.data[at] != 'E') return false;
        if (!read_exponent(text, at + 1, &exponent)) return false;
    }
    const uint8_t *digits = buffer;
    while (count > 0 && digits[count - 1] == '0') {
        count--;
        exponent++;
    }
    while (count > 0 && digits[0] == '0') {
        count--;
        digits++;
    }
    exponent -= (int64_t)fraction;
    if (count == 0) {
        *out = (struct decimal){0};
        return true;
    }
    if (exponent > EXPONENT_SATURATED) exponent = EXPONENT_SATURATED;
    if (exponent < -EXPONENT_SATURATED) exponent = -EXPONENT_SATURATED;
    *out = decimal_of(digits, (uint32_t)count, (int32_t)exponent, negative);
    return true;
}

bool decimal_read(struct bytes_view text, uint8_t *buffer, struct decimal *out) {
    return decimal_read_any(text, buffer, out) && out->exponent <= EXPONENT_READ_MAX &&
           out->exponent >= -EXPONENT_READ_MAX;
}

int decimal_compare_magnitude(struct decimal a, struct decimal b) {
    if (a.count == 0 || b.count == 0) return (a.count != 0) - (b.count != 0);
    int64_t difference = decimal_position(a) - decimal_position(b);
    if (difference != 0) return difference < 0 ? -1 : 1;
    if (a.leading != b.leading) return a.leading < b.leading ? -1 : 1;
    if (a.count <= LEADING_DIGITS && b.count <= LEADING_DIGITS) return 0;
    int order = bytes_view_compare(bytes_view_of(a.digits, a.count), bytes_view_of(b.digits, b.count));
    return (order > 0) - (order < 0);
}

int decimal_compare(struct decimal a, struct decimal b) {
    if (a.negative != b.negative) return a.negative ? -1 : 1; /* zero is never negative */
    int order = decimal_compare_magnitude(a, b);
    return a.negative ? -order : order;
}

bool decimal_to_wide(struct decimal a, int shift, wide *out) {
    *out = 0;
    if (a.count == 0) return true;
    int64_t zeros = (int64_t)a.exponent + shift;
    if (zeros < 0 || a.count + zeros > WIDE_DIGITS + 1) return false;
    wide value = a.leading / (uint64_t)ten_to[a.count < LEADING_DIGITS ? LEADING_DIGITS - a.count : 0];
    for (uint32_t i = LEADING_DIGITS; i < a.count; i++) value = value * 10 + (a.digits[i] - '0');
    *out = value * ten_to[zeros];
    return true;
}

void decimal_to_mpz(struct decimal a, int shift, mpz_t out) {
    mpz_set_ui(out, 0);
    if (a.count == 0) return;
    char text[DECIMAL_DIGITS_MAX + 1], *copy = a.count <= DECIMAL_DIGITS_MAX ? text : malloc((size_t)a.count + 1);
    if (copy == NULL) abort(); /* as GMP itself does */
    memcpy(copy, a.digits, a.count);
    copy[a.count] = 0;
    mpz_set_str(out, copy, 10);
    if (copy != text) free(copy);
    mpz_t power;
    mpz_init(power);
    mpz_ui_pow_ui(power, 10, (unsigned long)(a.exponent + shift));
    mpz_mul(out, out, power);
    mpz_clear(power);
}

/** value * 10^power % divisor, divisor below 2^63. */
static uint64_t times_ten_remainder(uint64_t value, int64_t power, uint64_t divisor) {
    wide result = value % divisor, base = 10 % divisor;
    for (; power > 0; power >>= 1) {
        if (power & 1) result = result * base % divisor;
        base = base * base % divisor;
    }
    return (uint64_t)result;
}

bool decimal_divides(struct decimal b, struct decimal a) {
    if (a.count == 0) return true;
    /* a's last digit is not 0: it is no multiple of a tenth power that b has and a has not. */
    int64_t power = (int64_t)a.exponent - b.exponent;
    if (power < 0) return false;
    if (a.count <= LEADING_DIGITS && b.count <= LEADING_DIGITS) {
        uint64_t x = a.leading / (uint64_t)ten_to[LEADING_DIGITS - a.count];
        uint64_t y = b.leading / (uint64_t)ten_to[LEADING_DIGITS - b.count];
        return times_ten_remainder(x, power, y) == 0;
    }
    mpz_t dividend, divisor, ten;
    mpz_inits(dividend, divisor, ten, NULL);
    decimal_to_mpz(a, -a.exponent, dividend);
    decimal_to_mpz(b, -b.exponent, divisor);
    mpz_set_ui(ten, 10);
    mpz_powm_ui(ten, ten, (unsigned long)power, divisor);
    mpz_mul(dividend, dividend, ten);
    bool divides = mpz_divisible_p(dividend, divisor) != 0;
    mpz_clears(dividend, divisor, ten, NULL);
    return divides;
}

/* ---- public ---- */

int number_compare(struct bytes_view a, struct bytes_view b) {
    uint8_t *buffer = malloc(a.length + b.length + 1);
    struct decimal left, right;
    int order = 2;
    if (buffer != NULL && decimal_read(a, buffer, &left) && decimal_read(b, buffer + a.length, &right))
        order = decimal_compare(left, right);
    free(buffer);
    return order;
}

static void append_zeros(struct bytes *out, int64_t count) {
    for (; count > 0; count--) (void)bytes_append_byte(out, '0');
}

static void append_plain(struct decimal a, struct bytes *out) {
    int64_t position = decimal_position(a);
    if (position <= 0) {
        (void)bytes_append_string(out, "0.");
        append_zeros(out, -position);
        (void)bytes_append(out, a.digits, a.count);
        return;
    }
    size_t before = position < a.count ? (size_t)position : a.count;
    (void)bytes_append(out, a.digits, before);
    append_zeros(out, a.exponent);
    if (before == a.count) return;
    (void)bytes_append_byte(out, '.');
    (void)bytes_append(out, a.digits + before, a.count - before);
}

bool number_canonical(struct bytes_view text, struct bytes *out) {
    uint8_t *buffer = malloc(text.length + 1);
    struct decimal a;
    if (buffer == NULL || !decimal_read(text, buffer, &a)) {
        free(buffer);
        return false;
    }
    if (a.negative) (void)bytes_append_byte(out, '-');
    int64_t position = decimal_position(a), written = a.exponent >= 0 ? position
                                                      : position > 0  ? a.count
                                                                      : a.count - position;
    if (a.count == 0) {
        (void)bytes_append_byte(out, '0');
    } else if (written <= CANONICAL_DIGITS_MAX) {
        append_plain(a, out);
    } else {
        (void)bytes_append_byte(out, a.digits[0]);
        if (a.count > 1) (void)bytes_append_byte(out, '.');
        (void)bytes_append(out, a.digits + 1, a.count - 1);
        (void)bytes_printf(out, "e%lld", (long long)(position - 1));
    }
    free(buffer);
    return !out->failed;
}
