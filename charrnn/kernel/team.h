/* Threads that compute one thing together and meet after each part of it. */
#ifndef CHARRNN_TEAM_H
#define CHARRNN_TEAM_H

#include <pthread.h>
#include <sched.h>

/* Where they meet: they spin, then yield. */
typedef struct {
    int threads;
    int arrived;
    unsigned generation;
} meeting;

static inline void meet(meeting *place) {
    int threads = __atomic_load_n(&place->threads, __ATOMIC_ACQUIRE);
    if (threads == 1) return;
    unsigned now = __atomic_load_n(&place->generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&place->arrived, 1, __ATOMIC_ACQ_REL) == __atomic_load_n(&place->threads, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&place->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&place->generation, now + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(&place->generation, __ATOMIC_ACQUIRE) == now;)
        if (spins < 2000) spins++;
        else sched_yield();
}

typedef struct {
    void (*part)(void *, int);
    void *what;
    meeting *place;
    int number;
} teammate;

static inline void *join_team(void *argument) {
    teammate *self = argument;
    meet(self->place); /* nobody begins before it is known how many they are */
    self->part(self->what, self->number);
    return 0;
}

/* part(what, 0), part(what, 1) ... side by side, on at most `threads` threads, this one among them. */
static inline void run_team(meeting *place, int threads, void (*part)(void *, int), void *what) {
    enum { MOST = 64 };
    pthread_t team[MOST];
    teammate mates[MOST];
    if (threads > MOST) threads = MOST;
    place->threads = threads;
    place->arrived = 0;
    for (int i = 1; i < threads; i++) {
        mates[i] = (teammate){part, what, place, i};
        if (pthread_create(&team[i], 0, join_team, &mates[i])) {
            __atomic_store_n(&place->threads, i, __ATOMIC_RELEASE); /* fewer than asked */
            break;
        }
    }
    meet(place);
    part(what, 0);
    for (int i = 1; i < place->threads; i++) pthread_join(team[i], 0);
}

#endif
