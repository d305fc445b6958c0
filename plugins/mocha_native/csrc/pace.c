/* Chooses between one thread and several by what iterations have taken. Where other processes need the processors, each
   meeting waits for the thread that got the least of them, and several threads may be much slower than one. From time
   to time the slower way is measured anew, because those processes come and go. */

#include "pace.h"

/* The slower way runs for so many seconds, after waiting for SOON at first and later for up to LATER. */
#define PROBE 0.01
#define SOON 0.02
#define LATER 2.0
/* What is so many seconds old counts as half. */
#define MEMORY 0.05
/* The first runs are slower than others, as they find nothing in the caches: the fastest of so many counts. */
#define FIRST 3
/* By so much the least time grows with each run that is slower. */
#define FORGET 1.02
/* Where several threads take so much longer than before, one may be faster now. */
#define RISEN 1.25
/* Several threads are chosen if they take less than the first part of the time of one, and as long as they take less
   than the second. */
#define BETTER 0.85
#define WORSE 0.97

double mocha_choose(mocha_pace *p, double time, double seconds) {
    if (p->worth <= 0) {
        p->several = 1;
        return seconds;
    }
    if (!p->runs || p->least < p->worth || (p->runs < FIRST && p->least < 2 * p->worth)) {
        p->several = p->best = p->probing = 0;
        return seconds;
    }
    if (!p->probing && (p->seconds[1] == 0 || time >= p->next)) {
        p->probing = 1, p->probed = 0, p->before = p->seconds[!p->best];
    }
    p->several = p->best ^ p->probing;
    return p->probing && seconds > PROBE ? PROBE : seconds;
}

/* Averages whole times over whole numbers of iterations: a thread that waits for a processor does so for long times, but
   seldom. */
static void add(mocha_pace *p, double taken, double done) {
    double *seconds = p->seconds + p->several, *iterations = p->iterations + p->several;
    const double sample = taken / done;
    const int learning = !p->several && p->runs < FIRST;
    if (*iterations == 0 || (p->probing && p->probed == 0) || (learning && sample < *seconds)) {
        *seconds = sample, *iterations = done;
    } else {
        const double old = *iterations * MEMORY / (MEMORY + taken);
        *seconds = (*seconds * old + taken) / (old + done), *iterations = old + done;
    }
    p->runs += learning;
    if (!p->several) p->least = p->least == 0 || sample < FORGET * p->least ? sample : FORGET * p->least;
}

static double longer(double wait) { return wait < SOON ? SOON : 2 * wait < LATER ? 2 * wait : LATER; }

/* Compares both ways, and says when to measure the slower one anew. */
static void compare(mocha_pace *p, int ended, double time) {
    const double *seconds = p->seconds;
    int32_t best = seconds[1] > 0 && seconds[1] < (p->best ? WORSE : BETTER) * seconds[0];
    if (best == p->best && !ended) {
        if (best && seconds[1] > RISEN * p->level) p->next = time, p->level = seconds[1];
        return;
    }
    if (!best) {
        /* Several threads that soon were too slow again are tried later than before. */
        p->wait = p->best && p->lasted > LATER ? SOON : longer(p->wait);
    } else if (!p->best && p->before > WORSE * seconds[0]) {
        /* They may have been lucky, and are tried once more: `before` is what they took now. */
        best = 0, p->wait = SOON;
    }
    if (best != p->best) p->lasted = 0;
    p->best = best;
    p->level = seconds[1];
    p->next = time + (best ? LATER : p->wait);
}

void mocha_note(mocha_pace *p, int32_t threads, int64_t done, double taken, double time) {
    if (p->worth <= 0) return;
    if (threads == 1) p->several = 0; /* there were no others */
    p->spent += taken;
    if (!done) return;
    add(p, p->spent, (double)done);
    p->probed += p->spent, p->lasted += p->spent;
    p->spent = 0;
    if (p->probing && p->probed < PROBE) return;
    const int ended = p->probing;
    p->probing = 0;
    compare(p, ended, time);
}
