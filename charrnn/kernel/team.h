/* Threads that compute one thing together and meet after each part of it. */
#ifndef CHARRNN_TEAM_H
#define CHARRNN_TEAM_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>

/* Where the threads of a team wait for each other. They spin first, then yield. */
typedef struct {
    int threads;
    int arrived;
    unsigned generation; /* how often all have met */
} Meeting;

/* Return when all threads of the team have called it. */
static inline void meet(Meeting *place) {
    enum { SPINS = 2000 };
    const int threads = __atomic_load_n(&place->threads, __ATOMIC_ACQUIRE);
    if (threads == 1) return;
    const unsigned now = __atomic_load_n(&place->generation, __ATOMIC_ACQUIRE);
    const int arrived = __atomic_add_fetch(&place->arrived, 1, __ATOMIC_ACQ_REL);
    /* Read again: a team can become smaller while it waits for its first meeting. */
    if (arrived == __atomic_load_n(&place->threads, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&place->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&place->generation, now + 1, __ATOMIC_RELEASE);
        return;
    }
    int spins = 0;
    while (__atomic_load_n(&place->generation, __ATOMIC_ACQUIRE) == now) {
        if (spins < SPINS)
            spins++;
        else
            sched_yield();
    }
}

/* A thread's part of n things: first ... stop - 1. */
typedef struct {
    int64_t first;
    int64_t stop;
} Share;

static inline Share share(int64_t n, int number, int threads) {
    return (Share){.first = n * number / threads, .stop = n * (number + 1) / threads};
}

/* The OpenMP that the process already has, or nulls. PyTorch's threads may still be awake from its
 * last operation, and threads of our own would have to take the processors from them. The functions
 * are what GCC calls for `omp parallel`, and omp_get_num_threads and omp_get_thread_num.
 */
typedef void ParallelFunction(void (*part)(void *), void *argument, unsigned threads,
                              unsigned flags);
typedef struct {
    ParallelFunction *parallel;
    int (*count)(void);
    int (*number)(void);
} OpenMP;

typedef void TeamPart(void *argument, int number);
typedef struct {
    TeamPart *part;
    void *argument;
    Meeting *place;
    const OpenMP *openmp;
    int number;
} Teammate;

/* What a thread of our own runs. */
static inline void *join_team(void *argument) {
    const Teammate *self = argument;
    meet(self->place); /* nobody begins before the size of the team is known */
    self->part(self->argument, self->number);
    return 0;
}

/* What each thread of the OpenMP runs. */
static inline void join_openmp(void *argument) {
    const Teammate *team = argument;
    /* All threads store the same number. */
    __atomic_store_n(&team->place->threads, team->openmp->count(), __ATOMIC_RELEASE);
    team->part(team->argument, team->openmp->number());
}

/* Run part(argument, 0), part(argument, 1) ... side by side, on at most `threads` threads, of which
 * the caller's is one. place->threads is how many they are.
 */
static inline void run_team(const OpenMP *openmp, Meeting *place, int threads, TeamPart *part,
                            void *argument) {
    enum { LARGEST_TEAM = 64 };
    pthread_t team[LARGEST_TEAM];
    Teammate mates[LARGEST_TEAM];
    if (threads > LARGEST_TEAM) threads = LARGEST_TEAM;
    *place = (Meeting){.threads = threads};
    if (threads > 1 && openmp->parallel) {
        mates[0] = (Teammate){
            .part = part, .argument = argument, .place = place, .openmp = openmp, .number = 0};
        openmp->parallel(join_openmp, &mates[0], (unsigned)threads, 0);
        return;
    }
    for (int i = 1; i < threads; i++) {
        mates[i] = (Teammate){
            .part = part, .argument = argument, .place = place, .openmp = openmp, .number = i};
        if (pthread_create(&team[i], 0, join_team, &mates[i])) {
            /* The system gave fewer than asked. Those that wait see the smaller number. */
            __atomic_store_n(&place->threads, i, __ATOMIC_RELEASE);
            break;
        }
    }
    meet(place);
    part(argument, 0);
    for (int i = 1; i < place->threads; i++)
        pthread_join(team[i], 0);
}

#endif
