/* Runs programs of small kernels from several threads at once, for the sanitizers of test_pool.py; with an argument, in
   forked children, too. Ends with 0 if all results are right. */

#define _GNU_SOURCE

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mocha.h"

#define N 4096
#define RUNS 40
#define ITERATIONS 5

static void add(const mocha_args *args, const mocha_team *team) {
    int64_t first, last;
    float *x = args->buffers[0];
    mocha_share(N, 16, team, &first, &last);
    for (int64_t i = first; i < last; i++) x[i] += 1;
}

/* Each thread reads what others have written. */
static void reverse(const mocha_args *args, const mocha_team *team) {
    int64_t first, last;
    float *x = args->buffers[0], *y = args->buffers[1];
    mocha_share(N, 16, team, &first, &last);
    for (int64_t i = first; i < last; i++) y[N - 1 - i] = x[i];
    mocha_meet(team);
    for (int64_t i = first; i < last; i++) x[i] = y[i];
}

static int wrong(int threads, double worth) {
    float *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y);
    mocha_args args = {.buffers = {x, y}};
    const mocha_step steps[] = {{add, &args, 0, 1}, {reverse, &args, 0, 1}, {add, &args, 1, 1}};
    mocha_pace pace = {.worth = worth};
    int bad = 0;
    for (int i = 0; i < RUNS; i++) {
        mocha_run run = {.steps = steps, .bounds = {0, 0, 3, 3, 3}, .pace = pace};
        run.minibatches = 1, run.iterations = ITERATIONS, run.threads = threads, run.seconds = 1;
        while (mocha_advance(&run) == MOCHA_PAUSED) continue;
        pace = run.pace;
        bad |= run.done != ITERATIONS;
        if (i % 10 == 3) usleep(2000); /* until the members sleep */
    }
    for (int i = 0; i < N; i++) bad |= x[i] != 2 * ITERATIONS * RUNS;
    free(x), free(y);
    return bad;
}

static void *call(void *threads) {
    const int n = (int)(intptr_t)threads;
    return (void *)(intptr_t)(wrong(n, 0) | wrong(n, 1e-9));
}

int main(int argc, char **argv) {
    (void)argv;
    pthread_t callers[6];
    int bad = 0;
    for (int i = 0; i < 6; i++) bad |= pthread_create(callers + i, NULL, call, (void *)(intptr_t)(1 + i % 4));
    for (int i = 0; i < 6; i++) {
        void *result;
        pthread_join(callers[i], &result);
        bad |= result != NULL;
    }
    for (int i = 0; argc > 1 && i < 5; i++) {
        const pid_t child = fork();
        if (!child) {
            alarm(60);
            _exit(wrong(3, 0));
        }
        int status;
        waitpid(child, &status, 0);
        bad |= status != 0;
    }
    return bad;
}
