#ifndef MOCHA_POOL_H
#define MOCHA_POOL_H

#include "mocha.h"

/* Every thread of a team calls it with the same job. */
typedef void mocha_work(void *job, const mocha_team *team);

/* Does a job in this thread and in others, `threads` in all or as many as there are; returns how many. */
int32_t mocha_together(int32_t threads, mocha_work *work, void *job);

#endif
