/* The interface of the extension to Python, after mocha/abi.h. cffi parses this file, so it holds only plain
   declarations. */

/* A compile-time constant of a family that Python needs, such as the size of its tiles. */
typedef struct {
    const char *name;
    int64_t value;
} mocha_constant;

/* The kernels of one source file; both lists end with a name that is NULL. */
typedef struct {
    const mocha_entry *entries;
    const mocha_constant *constants;
} mocha_family;

/* The kernels for one instruction set. */
typedef struct {
    const char *name;
    int64_t lane_bytes; /* the width of its vectors */
    const mocha_family *const *families; /* the last is NULL */
} mocha_isa;

/* Values of a cell, `bytes` for each minibatch. */
typedef struct {
    void *cell;
    const void *values;
    int64_t bytes;
} mocha_column;

/* How many threads a program is worth; zeros, but for `worth`, at the beginning. */
typedef struct {
    double worth;         /* an iteration of fewer seconds in one thread always runs in one; 0: never */
    double taken[2];      /* seconds of iterations in one thread and in several, lately */
    double iterations[2]; /* how many these were */
    double since;         /* the seconds of work since the last change of `best` */
    double next;          /* the value of `since` at which the slower way is measured anew */
    int32_t rests;        /* of the slower way, up to a few, each longer than the one before */
    int32_t best;         /* whether several threads are faster */
    int32_t several;      /* whether several threads run the iteration that has begun */
} mocha_pace;

/* Decides how many threads run the next iterations, which may take `seconds`; returns how long they may take until the
   next decision. */
double mocha_choose(mocha_pace *pace, double seconds);

/* Notes that so many threads have worked for `taken` seconds, and have finished `done` iterations. */
void mocha_note(mocha_pace *pace, int32_t threads, int64_t done, double taken);

/* A program, its length of run, and its position. The steps are in four parts: from bounds[0] those that run once in
   an iteration, from bounds[1] those that run for every minibatch, from bounds[2] the exchange, which runs once, also
   after a fault, and from bounds[3] to bounds[4] the updates. */
typedef struct {
    const mocha_step *steps;
    int64_t bounds[5];
    const mocha_column *columns;
    int64_t n_columns;
    const int32_t *status;    /* not 0: an iteration reported a fault; may be NULL */
    const int32_t *stop;      /* not 0: the current iteration is the last; may be NULL */
    const float *objective32; /* the objective of a minibatch, in one of two types; NULL without objective */
    const double *objective64;
    double *objectives; /* one of each minibatch */
    double *step_seconds; /* the time of each step is added here, with the time at barriers; may be NULL */
    int64_t minibatches;
    int64_t iterations;
    int32_t threads;
    mocha_pace pace;
    double seconds; /* after this time it returns to Python between two iterations */
    double taken;   /* the seconds of the last call */
    int64_t part;
    int64_t step;
    int64_t minibatch;
    int64_t done; /* iterations */
} mocha_run;

/* A program that computes rows of its result from rows of its input. */
typedef struct {
    mocha_run *run;
    char *input;
    const char *result;
    int64_t rows;         /* for which it has room */
    int64_t row_bytes;    /* those of a row of the input */
    int64_t result_bytes; /* those of a row of the result */
    int32_t *valid;       /* receives how many rows count */
    double with_lock;     /* if the last run took fewer seconds, the next one keeps the interpreter's lock */
} mocha_rows;

/* A new reference to a function of Python. It takes an array of rows, the last of which stands for those that are
   missing, and an array for as many rows of the result; it returns why the run stopped. `rows` must outlive it. */
void *mocha_rows_function(mocha_rows *rows);

enum mocha_reason { MOCHA_FINISHED, MOCHA_FAULT, MOCHA_STOPPED, MOCHA_PAUSED, MOCHA_PYTHON };

/* Continues `run`; returns why it stopped. */
enum mocha_reason mocha_advance(mocha_run *run);

/* A barrier: waits until all threads of the team arrive. */
void mocha_meet(const mocha_team *team);

/* The kernels of an instruction set by name, or of the best one here for ""; NULL: unknown, or not supported. */
const mocha_isa *mocha_find_isa(const char *name);

/* The instruction sets of this build from the best to the least, as "avx512 avx2 baseline". */
extern const char *const mocha_isa_names;

/* Whether several threads can be used: 0 in a build without OpenMP. */
extern const int32_t mocha_parallel;
