/* Lists the instruction sets of this build, and finds those of this processor. */

#include <string.h>

#include "mocha.h"

/* FAMILIES(X, isa) is X(isa, name) for each file in kernels/. */
#define DECLARE(isa, family) extern const mocha_family mocha_##family##_##isa;
#define ADDRESS(isa, family) &mocha_##family##_##isa,
#define INSTRUCTION_SET(isa, lane_bytes) \
    FAMILIES(DECLARE, isa) \
    static const mocha_family *const families_##isa[] = {FAMILIES(ADDRESS, isa) NULL}; \
    static const mocha_isa isa_##isa = {#isa, lane_bytes, families_##isa};

INSTRUCTION_SET(baseline, 16)

static int always(void) { return 1; }

#ifdef MOCHA_X86
INSTRUCTION_SET(avx2, 32)
INSTRUCTION_SET(avx512, 64)

static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

const char *const mocha_isa_names = "avx512 avx2 baseline";
#else
const char *const mocha_isa_names = "baseline";
#endif

/* Best first. */
static const struct {
    const mocha_isa *isa;
    int (*here)(void);
} known[] = {
#ifdef MOCHA_X86
    {&isa_avx512, has_avx512},
    {&isa_avx2, has_avx2},
#endif
    {&isa_baseline, always},
};

const mocha_isa *mocha_find_isa(const char *name) {
#ifdef MOCHA_X86
    __builtin_cpu_init();
#endif
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((!*name || strcmp(name, known[i].isa->name) == 0) && known[i].here()) return known[i].isa;
    }
    return NULL;
}
