/* Ends the vector part of a LEVEL that begin_level.inc.h began. */
#undef NAME
#undef JOIN
#undef JOIN_
#undef VEC
#undef vec
#undef loose
#undef words
#undef IN
#undef OUT
#undef EACH_VECTOR
#if LEVEL > 0
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
