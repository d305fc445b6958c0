/* Chooses between one thread and several by what iterations have taken. Where other processes need the processors, each
   meeting waits for the thread that got the least of them, and several threads may be much slower than one. From time
   to time the slower way is forgotten and measured anew, because those processes come and go. */

#include "mocha.h"

/* So many seconds of work, but at least an iteration, tell how long the iterations of a way take. */
#define PROBE 0.01
/* Of more seconds, the older half is forgotten. They are many because a thread that waits for a processor does so seldom,
   but for whole time slices. */
#define MEMORY 0.1
/* Several threads are the better way if they take less than this part of the time of one. */
#define BETTER 0.9
/* The slower way rests for as long as a probe takes, then twice as long, and so on, up to 2^RESTS times as long. */
#define RESTS 7

static int known(const mocha_pace *p, int several) { return p->iterations[several] > 0 && p->taken[several] >= PROBE; }

static double mean(const mocha_pace *p, int several) { return p->taken[several] / p->iterations[several]; }

static int better(const mocha_pace *p) { return mean(p, 1) < BETTER * mean(p, 0); }

double mocha_choose(mocha_pace *p, double seconds) {
    if (p->worth <= 0) {
        p->several = 1;
        return seconds;
    }
    p->several = known(p, 0) && mean(p, 0) >= p->worth && (!known(p, 1) || better(p));
    return known(p, p->several) || seconds < PROBE ? seconds : PROBE;
}

void mocha_note(mocha_pace *p, int32_t threads, int64_t done, double taken) {
    if (p->worth <= 0) return;
    const int way = p->several && threads > 1; /* there may have been no others */
    p->taken[way] += taken, p->iterations[way] += (double)done, p->since += taken;
    if (!done || !known(p, way)) return;
    if (p->taken[way] > MEMORY) p->taken[way] /= 2, p->iterations[way] /= 2;
    if (!known(p, !way)) return;
    const int best = better(p);
    const double slower = mean(p, !best), probe = slower < PROBE ? PROBE : slower;
    if (best != p->best) {
        /* Several threads that were better for long may be so again soon; those that were not had luck. */
        if (p->best && p->since > (1 << RESTS) * PROBE) p->rests = 0;
        p->best = best, p->since = 0;
        p->next = (1 << p->rests) * probe;
    } else if (p->since > p->next) {
        p->taken[!best] = p->iterations[!best] = 0;
        p->rests += p->rests < RESTS;
        p->next = p->since + (1 << p->rests) * probe;
    }
}
