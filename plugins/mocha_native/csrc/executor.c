/* Runs the steps of a program. Every thread of the team walks through the same steps. There is a barrier before a step
   that reads the results of another. The first thread takes decisions that depend on data (status, stop, time) and
   writes them to `shared`; the others read them after a barrier. */

#define _GNU_SOURCE

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifdef _OPENMP
#include <omp.h>
#endif

#include "mocha.h"

typedef struct {
    mocha_meeting meeting;
    mocha_run at;
    double deadline;
    int32_t failed;
    int32_t verdict;
    int32_t reason;
} shared_state;

#define GOING_ON (-1)

/* A team of GNU OpenMP does not survive a fork: a parallel region in the child would wait for ever. */
static volatile int32_t in_forked_child;

/* How many threads of the program run something now. */
static _Atomic int32_t running;

static void forked(void) {
    in_forked_child = 1;
    atomic_store(&running, 0);
}

__attribute__((constructor)) static void watch_forks(void) { (void)pthread_atfork(NULL, NULL, forked); }

#ifdef _OPENMP
const int32_t mocha_parallel = 1;
#else
const int32_t mocha_parallel = 0;
#endif

/* The number of polls before a thread sleeps. They take about 50 us, longer than waking a thread. */
#define LOOKS 2000

static inline void relax(void) {
#ifdef MOCHA_X86
    __builtin_ia32_pause();
#endif
}

/* Waits until the round is over. On a busy machine the system wakes a sleeping thread at once; a thread that polled on,
   or yielded, would wait for whole time slices of other threads. */
static void sleep_through(mocha_meeting *here, int round) {
#ifdef __linux__
    atomic_fetch_add_explicit(&here->asleep, 1, memory_order_seq_cst);
    while (atomic_load_explicit(&here->round, memory_order_seq_cst) == round) {
        syscall(SYS_futex, &here->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
    }
    atomic_fetch_sub_explicit(&here->asleep, 1, memory_order_relaxed);
#else
    while (atomic_load_explicit(&here->round, memory_order_acquire) == round) sched_yield();
#endif
}

static void wake_others(mocha_meeting *here) {
#ifdef __linux__
    if (atomic_load_explicit(&here->asleep, memory_order_seq_cst)) {
        syscall(SYS_futex, &here->round, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
#endif
}

/* OpenMP's own barriers poll for so long that a thread takes the core from the thread it waits for. */
void mocha_meet(const mocha_team *team) {
    if (team->size == 1) return;
    mocha_meeting *here = team->meeting;
    const int round = atomic_load_explicit(&here->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&here->arrived, 1, memory_order_acq_rel) + 1 == team->size) {
        atomic_store_explicit(&here->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&here->round, round + 1, memory_order_seq_cst);
        wake_others(here);
        return;
    }
    for (int looks = 0; looks < LOOKS; looks++) {
        if (atomic_load_explicit(&here->round, memory_order_acquire) != round) return;
        relax();
    }
    sleep_through(here, round);
}

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

static void walk(const mocha_run *run, const mocha_team *team, shared_state *shared) {
    static const mocha_team alone = {0, 1, NULL};
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
    const double start = now();
    shared.deadline = start + run->seconds;
#ifdef _OPENMP
    /* Runs at the same time share the processors: teams that each had all of them would wait for each other. */
    const int32_t threads = run->threads / (atomic_fetch_add_explicit(&running, 1, memory_order_relaxed) + 1);
    if (threads > 1 && !in_forked_child) {
#pragma omp parallel num_threads(threads)
        {
            mocha_team team = {omp_get_thread_num(), omp_get_num_threads(), &shared.meeting};
            walk(run, &team, &shared);
        }
    } else
#endif
    {
        mocha_team team = {0, 1, NULL};
        walk(run, &team, &shared);
    }
#ifdef _OPENMP
    atomic_fetch_sub_explicit(&running, 1, memory_order_relaxed);
#endif
    run->part = shared.at.part, run->step = shared.at.step;
    run->minibatch = shared.at.minibatch, run->done = shared.at.done;
    run->taken = now() - start;
    return (enum mocha_reason)shared.reason;
}
