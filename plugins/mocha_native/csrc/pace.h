#ifndef MOCHA_PACE_H
#define MOCHA_PACE_H

#include "mocha.h"

/* Decides at `time` how many threads run the next iterations, which may take `seconds`; returns how long they may take
   until the next decision. */
double mocha_choose(mocha_pace *pace, double time, double seconds);

/* Notes that so many threads have worked for `taken` seconds until `time`, and have finished `done` iterations. */
void mocha_note(mocha_pace *pace, int32_t threads, int64_t done, double taken, double time);

#endif
