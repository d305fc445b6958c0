/* Runs the steps of a program. Every thread of the team walks through the same steps. There is a barrier before a step
   that reads the results of another. The first thread takes decisions that depend on data (status, stop, time) and
   writes them to `shared`; the others read them after a barrier. */

#define _GNU_SOURCE

#include <string.h>
#include <time.h>

#include "pool.h"

typedef struct {
    const mocha_run *run;
    mocha_run at;
    double deadline;
    int32_t failed;
    int32_t verdict;
    int32_t reason;
} shared_state;

#define GOING_ON (-1)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void set_cells(const mocha_run *run, int64_t number) {
    for (int64_t i = 0; i < run->n_columns; i++) {
        const mocha_column *c = run->columns + i;
        memcpy(c->cell, (const char *)c->values + number * c->bytes, (size_t)c->bytes);
    }
}

static void keep_objective(const mocha_run *run, int64_t number) {
    if (run->objective32) run->objectives[number] = (double)*run->objective32;
    if (run->objective64) run->objectives[number] = *run->objective64;
}

static int32_t failed(const mocha_run *run) { return run->status && *run->status != 0; }

/* Decides how to continue after an iteration without a fault. */
static int verdict(const mocha_run *run, int64_t done, double deadline) {
    if (run->stop && *(const volatile int32_t *)run->stop) return MOCHA_STOPPED;
    if (done == run->iterations) return MOCHA_FINISHED;
    return now() > deadline ? MOCHA_PAUSED : GOING_ON;
}

static void walk(void *job, const mocha_team *team) {
    static const mocha_team alone = {0, 1, NULL};
    shared_state *shared = job;
    const mocha_run *run = shared->run;
    const int first = team->rank == 0;
    int64_t part = run->part, step = run->step, minibatch = run->minibatch, done = run->done;
    int reason = GOING_ON;
    while (reason == GOING_ON) {
        if (part == 1 && step == run->bounds[1]) {
            if (first) set_cells(run, done * run->minibatches + minibatch);
            mocha_meet(team);
        }
        for (; step < run->bounds[part + 1] && run->steps[step].kernel; step++) {
            const mocha_step *s = run->steps + step;
            const double start = first && run->step_seconds ? now() : 0;
            if (!s->serial) {
                s->kernel(s->args, team);
            } else if (first) {
                s->kernel(s->args, &alone);
            }
            if (s->meets) mocha_meet(team);
            if (first && run->step_seconds) run->step_seconds[step] += now() - start;
        }
        if (step < run->bounds[part + 1]) {
            reason = MOCHA_PYTHON;
        } else if (part == 0) {
            part = 1;
        } else if (part == 1) {
            if (first) keep_objective(run, done * run->minibatches + minibatch);
            if (++minibatch < run->minibatches) {
                step = run->bounds[1];
                continue;
            }
            part = 2;
        } else if (part == 2) {
            if (first) shared->failed = failed(run);
            mocha_meet(team);
            if (shared->failed) reason = MOCHA_FAULT;
            part = 3;
        } else {
            if (first) {
                int32_t bad = failed(run);
                shared->verdict = bad ? MOCHA_FAULT : verdict(run, done + 1, shared->deadline);
            }
            mocha_meet(team);
            reason = shared->verdict;
            if (reason != MOCHA_FAULT) {
                done++;
                part = step = minibatch = 0;
            }
        }
    }
    if (first) {
        shared->at.part = part, shared->at.step = step, shared->at.minibatch = minibatch, shared->at.done = done;
        shared->reason = reason;
    }
}

enum mocha_reason mocha_advance(mocha_run *run) {
    shared_state shared;
    memset(&shared, 0, sizeof shared);
    shared.run = run;
    const double start = now();
    double seconds = run->seconds;
    const int chooses = run->threads > 1;
    if (chooses && !run->part && !run->step && !run->minibatch) seconds = mocha_choose(&run->pace, seconds);
    shared.deadline = start + seconds;
    const int32_t threads = mocha_together(run->pace.several ? run->threads : 1, walk, &shared);
    const int64_t done = shared.at.done - run->done;
    run->part = shared.at.part, run->step = shared.at.step;
    run->minibatch = shared.at.minibatch, run->done = shared.at.done;
    run->taken = now() - start;
    if (chooses) mocha_note(&run->pace, threads, done, run->taken);
    return (enum mocha_reason)shared.reason;
}
