/* Runs kernels that were recorded elsewhere, each on its operands as they were there: for processors that have no
   Python here. Reads a file that test_compilers.py writes, and writes back what is in the memory afterwards.

   All numbers are int64_t: how many uses of a kernel; then for each its name (64 bytes), whether it is serial, how many
   blocks of memory, for each block its bytes, where it begins after a multiple of 64, and its contents; then for each
   of the 20 buffers its block (-1: NULL) and its offset there; then the sizes, and the numbers as double. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mocha.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define BLOCKS 64

static void get(void *to, size_t bytes, FILE *file) {
    if (bytes && fread(to, bytes, 1, file) != 1) {
        fprintf(stderr, "the file ends too early\n");
        exit(2);
    }
}

static int64_t number(FILE *file) {
    int64_t n;
    get(&n, sizeof n, file);
    return n;
}

static mocha_kernel find(const char *name) {
    const mocha_isa *isa = mocha_find_isa("baseline");
    for (int64_t f = 0; isa->families[f]; f++) {
        for (const mocha_entry *e = isa->families[f]->entries; e->name; e++) {
            if (strcmp(e->name, name) == 0) return e->kernel;
        }
    }
    fprintf(stderr, "no kernel %s\n", name);
    exit(2);
}

static void replay(FILE *in, FILE *out, int32_t threads) {
    char name[64];
    get(name, sizeof name, in);
    mocha_args args;
    mocha_step step = {find(name), &args, (int32_t)number(in), 1};
    const int64_t blocks = number(in);
    char *memory[BLOCKS], *begin[BLOCKS];
    int64_t bytes[BLOCKS];
    for (int64_t b = 0; b < blocks; b++) {
        bytes[b] = number(in);
        const int64_t after = number(in);
        memory[b] = aligned_alloc(64, (size_t)(bytes[b] + after + 127) / 64 * 64);
        begin[b] = memory[b] + after;
        get(begin[b], (size_t)bytes[b], in);
    }
    for (size_t i = 0; i < COUNT(args.buffers); i++) {
        const int64_t block = number(in), offset = number(in);
        args.buffers[i] = block < 0 ? NULL : begin[block] + offset;
    }
    get(args.sizes, sizeof args.sizes, in);
    get(args.numbers, sizeof args.numbers, in);
    mocha_run run = {.steps = &step, .bounds = {0, 0, 1, 1, 1}, .minibatches = 1, .iterations = 1, .threads = threads};
    if (mocha_advance(&run) != MOCHA_FINISHED) exit(3);
    for (int64_t b = 0; b < blocks; b++) {
        fwrite(begin[b], (size_t)bytes[b], 1, out);
        free(memory[b]);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) return 1;
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (!in || !out) return 1;
    for (int64_t uses = number(in); uses > 0; uses--) replay(in, out, (int32_t)atoi(argv[3]));
    return fclose(out) ? 1 : 0;
}
