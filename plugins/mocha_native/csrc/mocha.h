/* What all sources share. */
#ifndef MOCHA_H
#define MOCHA_H

#include <mocha/kernel.h>

#include "api.h"

/* How many of `rows` count, whatever the cell says. */
static inline int64_t mocha_valid_rows(const int32_t *cell, int64_t rows) {
    const int64_t valid = *cell;
    return valid < 0 ? 0 : mocha_min(valid, rows);
}

#endif
