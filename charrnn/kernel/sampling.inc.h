/* Sampling's vector part. sampling.c includes it once for each LEVEL (level.h). */
#include "begin_level.inc.h"
#include "panels.inc.h"
#include "step.inc.h"
#include "choice.inc.h"
#include "mixing.inc.h"
#include "end_level.inc.h"
