/* Training's vector part. training.c includes it once for each LEVEL (level.h). */
#include "begin_level.inc.h"
#include "packing.inc.h"
#include "products.inc.h"
#include "recurrence.inc.h"
#include "gradients.inc.h"
#include "scores.inc.h"
#include "end_level.inc.h"

#undef WIDE
#undef ROWS
#undef LSTM_ROWS
#undef GRU_ROWS
#undef PANEL
#undef OPERANDS
#undef CASE
#undef CASES_3
#undef CASES_4
#undef CASES_6
#undef CASES_8
#undef CASES
#undef JOIN_CASES
#undef TILES
#undef TILES_OF
