/* Chooses between one thread and several by what iterations have taken. Where other processes need the processors, each
   meeting waits for the thread that got the least of them, and several threads may be much slower than one. From time
   to time the slower way is measured anew, because those processes come and go. */

#include "pace.h"

/* The slower way runs for so many seconds, after waiting for SOON at first and later for up to LATER. */
#define PROBE 0.01
#define SOON 0.02
#define LATER 2.0
/* The first runs are slower than others, as they find nothing in the caches: the fastest of so many counts. */
#define FIRST 3
/* A sample that took so many seconds counts as much as all before it. */
#define MEMORY 0.03
/* Several threads are chosen if they take less than the first part of the time of one, and as long as they take less
   than the second. */
#define BETTER 0.85
#define WORSE 0.97

double mocha_choose(mocha_pace *p, double time, double seconds) {
    const double alone = p->seconds[0];
    p->probing = 0;
    if (p->worth <= 0) {
        p->several = 1;
    } else if (!p->runs || alone < p->worth || (p->runs < FIRST && alone < 2 * p->worth)) {
        p->several = 0;
    } else {
        p->probing = p->seconds[1] == 0 || time >= p->next;
        p->several = p->best ^ p->probing;
    }
    return p->probing && seconds > PROBE ? PROBE : seconds;
}

/* One sample cannot change much: a thread may have waited for a processor for a whole time slice. */
static double smoothed(double old, double sample, double taken) {
    if (old == 0) return sample;
    return old + ((sample < 4 * old ? sample : 4 * old) - old) * taken / (taken + MEMORY);
}

static double longer(double wait) { return wait < SOON ? SOON : 2 * wait < LATER ? 2 * wait : LATER; }

void mocha_note(mocha_pace *p, int32_t threads, int64_t done, double taken, double time) {
    if (p->worth <= 0) return;
    if (threads == 1) p->several = 0; /* there were no others */
    p->spent += taken;
    if (!done) return;
    double *seconds = p->seconds + p->several;
    const double sample = p->spent / (double)done;
    const int learning = !p->several && p->runs < FIRST;
    *seconds = p->probing || (learning && sample < *seconds) ? sample : smoothed(*seconds, sample, p->spent);
    p->spent = 0;
    p->runs += learning;
    const int32_t best = p->seconds[1] > 0 && p->seconds[1] < (p->best ? WORSE : BETTER) * p->seconds[0];
    if (best == p->best && !p->probing) return;
    /* Several threads that soon were too slow again are tried later than before. */
    if (!best) p->wait = p->best && time - p->since > LATER ? SOON : longer(p->wait);
    if (best != p->best) p->since = time;
    p->best = best;
    p->next = time + (best ? LATER : p->wait);
}
