/* The threads that run programs together with the thread that calls.

   OpenMP makes them, so that OMP_THREAD_LIMIT, OMP_STACKSIZE and OMP_PROC_BIND hold, but a call opens no parallel
   region: at the edges of a region, the threads of GNU OpenMP poll for milliseconds, and take the core from the thread
   they wait for. A thread of our own opens one region and never leaves it; it stands for the thread that calls, and
   sleeps. The other members of the region wait here, for ever: they look for work for a while, then sleep until the
   system wakes them. Nothing has to end when the process ends.

   A forked child has none of these threads. It opens a region of its own, in a new thread, because OpenMP knows the
   threads of a region by the thread that opened it. */

#define _GNU_SOURCE

#include "pool.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#ifdef _OPENMP
#include <omp.h>
#endif

#ifdef _OPENMP
const int32_t mocha_parallel = 1;
#else
const int32_t mocha_parallel = 0;
#endif

/* A number that one thread changes and others wait for. */
typedef struct {
    atomic_int value;
    atomic_int asleep;
} notice;

struct mocha_meeting {
    atomic_int arrived;
    notice round;
#ifdef __linux__
    atomic_int cpu;    /* that of the thread that called; -1: threads stay where they are */
    cpu_set_t allowed; /* to that thread */
#endif
};

/* The number of polls before a thread sleeps. They take about 50 us, longer than waking a thread. */
#define LOOKS 2000

static inline void relax(void) {
#ifdef MOCHA_X86
    __builtin_ia32_pause();
#endif
}

/* Waits while the value is `old`. On a busy machine the system wakes a sleeping thread at once; a thread that polled on,
   or yielded, would wait for whole time slices of other threads. Returns whether it slept. */
static int wait_while(notice *n, int old) {
    for (int looks = 0; looks < LOOKS; looks++) {
        if (atomic_load_explicit(&n->value, memory_order_acquire) != old) return 0;
        relax();
    }
#ifdef __linux__
    atomic_fetch_add(&n->asleep, 1);
    while (atomic_load(&n->value) == old) syscall(SYS_futex, &n->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&n->asleep, 1);
#else
    while (atomic_load_explicit(&n->value, memory_order_acquire) == old) sched_yield();
#endif
    return 1;
}

static void set(notice *n, int value) {
    atomic_store(&n->value, value);
#ifdef __linux__
    if (atomic_load(&n->asleep)) syscall(SYS_futex, &n->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#endif
}

/* The system wakes a thread on the core of the one that wakes it, as if that were about to sleep. */
static void leave_the_callers_core(const mocha_team *team) {
#ifdef __linux__
    mocha_meeting *here = team->meeting;
    const int mine = sched_getcpu();
    if (!team->rank) {
        if (atomic_load_explicit(&here->cpu, memory_order_relaxed) >= 0) {
            atomic_store_explicit(&here->cpu, mine, memory_order_relaxed);
        }
    } else if (mine >= 0 && mine == atomic_load_explicit(&here->cpu, memory_order_relaxed)) {
        cpu_set_t others = here->allowed;
        CPU_CLR((size_t)mine, &others);
        if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof others, &others)) {
            (void)sched_setaffinity(0, sizeof others, &here->allowed);
        }
    }
#else
    (void)team;
#endif
}

void mocha_meet(const mocha_team *team) {
    if (team->size == 1) return;
    mocha_meeting *here = team->meeting;
    const int round = atomic_load_explicit(&here->round.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&here->arrived, 1, memory_order_acq_rel) + 1 == team->size) {
        atomic_store_explicit(&here->arrived, 0, memory_order_relaxed);
        set(&here->round, round + 1);
    } else if (wait_while(&here->round, round)) {
        leave_the_callers_core(team);
    }
}

static int32_t alone(mocha_work *work, void *job) {
    static const mocha_team one = {0, 1, NULL};
    work(job, &one);
    return 1;
}

#ifndef _OPENMP

int32_t mocha_together(int32_t threads, mocha_work *work, void *job) {
    (void)threads;
    return alone(work, job);
}

#else

/* A thread of the pool. `given` and `done` count its jobs; it is at work while they differ. */
typedef struct member {
    _Alignas(64) notice given;
    notice done;
    atomic_int taken; /* by a thread that calls */
    mocha_work *work;
    void *job;
    mocha_team team;
    struct member *next; /* of the same team */
#ifdef __linux__
    cpu_set_t allowed;
#endif
} member;

#define MOST 1024

static member members[MOST];
static atomic_int size;    /* how many there are */
static atomic_int running; /* how many threads call */

/* For opening a region. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static atomic_int asked; /* how many threads were asked for at most, with the one that calls */
static notice opened;

static void before_fork(void) { (void)pthread_mutex_lock(&opening); }

static void in_parent(void) { (void)pthread_mutex_unlock(&opening); }

static void in_child(void) {
    (void)pthread_mutex_init(&opening, NULL);
    memset(members, 0, sizeof members);
    atomic_store(&size, 0);
    atomic_store(&asked, 0);
    atomic_store(&running, 0);
}

__attribute__((constructor)) static void watch_forks(void) { (void)pthread_atfork(before_fork, in_parent, in_child); }

/* A member may run where the thread that calls may, which the user may have changed since the last call. */
static void follow(member *me) {
#ifdef __linux__
    const mocha_meeting *here = me->team.meeting;
    if (atomic_load_explicit(&here->cpu, memory_order_relaxed) < 0) return;
    if (!CPU_EQUAL(&me->allowed, &here->allowed)) {
        me->allowed = here->allowed;
        (void)sched_setaffinity(0, sizeof me->allowed, &me->allowed);
    }
    leave_the_callers_core(&me->team);
#else
    (void)me;
#endif
}

static _Noreturn void serve(member *me) {
#ifdef __linux__
    (void)prctl(PR_SET_NAME, "mocha-native");
#endif
    for (int jobs = 0;; jobs++) {
        (void)wait_while(&me->given, jobs);
        follow(me);
        me->work(me->job, &me->team);
        set(&me->done, jobs + 1);
    }
}

static void *open_region(void *wanted) {
    const int first = atomic_load(&size);
#pragma omp parallel num_threads((int)(intptr_t)wanted)
    {
        const int rank = omp_get_thread_num();
        if (rank) serve(members + first + rank - 1);
        atomic_store(&size, first + omp_get_num_threads() - 1);
        set(&opened, atomic_load(&opened.value) + 1);
        for (;;) pause(); /* all signals that wake it are blocked */
    }
    return NULL;
}

/* Adds members to the pool until there are enough for `threads` with the one that calls. */
static void grow(int32_t threads) {
    (void)pthread_mutex_lock(&opening);
    if (threads > atomic_load(&asked)) {
        atomic_store(&asked, threads); /* whatever comes of it: OpenMP may give fewer threads */
        sigset_t blocked, before;
        sigfillset(&blocked);
        const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
        (void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
        pthread_t thread;
        const int old = atomic_load(&opened.value);
        const intptr_t wanted = threads - atomic_load(&size);
        if (!pthread_create(&thread, NULL, open_region, (void *)wanted)) {
            (void)pthread_detach(thread);
            while (atomic_load(&opened.value) == old) (void)wait_while(&opened, old);
        }
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    (void)pthread_mutex_unlock(&opening);
}

static int32_t take(int32_t most, member **team) {
    int32_t found = 0;
    for (int i = 0; i < atomic_load(&size) && found < most; i++) {
        if (atomic_load_explicit(&members[i].taken, memory_order_relaxed)) continue;
        if (atomic_exchange(&members[i].taken, 1)) continue;
        members[i].next = *team;
        *team = members + i;
        found++;
    }
    return found;
}

static void prepare(mocha_meeting *here) {
    memset(here, 0, sizeof *here);
#ifdef __linux__
    /* Who sets OMP_PROC_BIND says where threads run. */
    const int free = omp_get_proc_bind() == omp_proc_bind_false;
    atomic_store(&here->cpu, free && !sched_getaffinity(0, sizeof here->allowed, &here->allowed) ? sched_getcpu() : -1);
#endif
}

int32_t mocha_together(int32_t threads, mocha_work *work, void *job) {
    /* Programs that run at the same time share the processors: teams of all threads would wait for each other. */
    threads = (int32_t)mocha_min(threads, MOST) / (atomic_fetch_add(&running, 1) + 1);
    member *team = NULL;
    if (threads > atomic_load(&asked) && threads > 1) grow(threads);
    const int32_t others = threads > 1 ? take(threads - 1, &team) : 0;
    if (others) {
        mocha_meeting meeting;
        prepare(&meeting);
        mocha_team mine = {0, others + 1, &meeting};
        for (member *m = team; m; m = m->next) {
            m->work = work, m->job = job;
            m->team = (mocha_team){++mine.rank, mine.size, &meeting};
            set(&m->given, atomic_load(&m->given.value) + 1);
        }
        mine.rank = 0;
        work(job, &mine);
        for (member *next, *m = team; m; m = next) {
            const int given = atomic_load(&m->given.value);
            (void)wait_while(&m->done, given - 1);
            next = m->next;
            atomic_store(&m->taken, 0);
        }
    } else {
        (void)alone(work, job);
    }
    atomic_fetch_sub(&running, 1);
    return others + 1;
}

#endif
