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

/* The OpenMP that the process already has, or null: its threads may still be awake from the last operation of PyTorch's,
 * and others would have to take the processors from them. What gcc calls for `omp parallel`, and omp_get_num_threads and
 * omp_get_thread_num. */
typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    int (*count)(void);
    int (*number)(void);
} openmp;

typedef struct {
    void (*part)(void *, int);
    void *what;
    meeting *place;
    const openmp *lent;
    int number;
} teammate;

static inline void *join_team(void *argument) {
    teammate *self = argument;
    meet(self->place); /* nobody begins before it is known how many they are */
    self->part(self->what, self->number);
    return 0;
}

static inline void join_openmp(void *argument) {
    const teammate *all = argument;
    __atomic_store_n(&all->place->threads, all->lent->count(), __ATOMIC_RELEASE); /* they all say the same */
    all->part(all->what, all->lent->number());
}

/* part(what, 0), part(what, 1) ... side by side, on at most `threads` threads, this one among them. */
static inline void run_team(const openmp *lent, meeting *place, int threads, void (*part)(void *, int), void *what) {
    enum { MOST = 64 };
    pthread_t team[MOST];
    teammate mates[MOST];
    if (threads > MOST) threads = MOST;
    *place = (meeting){threads, 0, 0};
    if (threads > 1 && lent->parallel) {
        mates[0] = (teammate){part, what, place, lent, 0};
        lent->parallel(join_openmp, &mates[0], (unsigned)threads, 0);
        return;
    }
    for (int i = 1; i < threads; i++) {
        mates[i] = (teammate){part, what, place, lent, i};
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
