/* What an extension with kernels and mocha-native agree on. cffi parses this file, so it holds only plain declarations.
   MOCHA_ABI grows with every change of them: extensions are compiled anew then, and an old one is refused. */

#define MOCHA_ABI 2

/* The operands of one call of a kernel. A comment above each kernel lists them in order. */
typedef struct {
    void *buffers[20];
    int64_t sizes[32];
    double numbers[8];
} mocha_args;

typedef struct mocha_team mocha_team;

/* Every thread of a team calls it with the same operands, and does its own share of the work. */
typedef void (*mocha_kernel)(const mocha_args *args, const mocha_team *team);

/* `kernel` is NULL where Python has to run the step. */
typedef struct {
    mocha_kernel kernel;
    const mocha_args *args;
    int32_t serial; /* one thread runs it */
    int32_t meets; /* whether a barrier follows: all threads arrive before the next step begins */
} mocha_step;

typedef struct {
    const char *name;
    mocha_kernel kernel;
} mocha_entry;

/* The kernels for one instruction set: "baseline", "avx2" or "avx512". The list ends with a name that is NULL. */
typedef struct {
    const char *isa;
    const mocha_entry *entries;
} mocha_table;

/* The kernels of an extension. */
typedef struct {
    int32_t abi;
    const mocha_table *tables; /* the last has NULL for a name */
    void (**meet)(const mocha_team *team); /* mocha-native puts its barrier here */
} mocha_library;
