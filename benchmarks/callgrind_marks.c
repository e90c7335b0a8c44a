/* Tells callgrind where counting begins and which call the instructions until now belong to. */
#include <valgrind/callgrind.h>

void
nk_marks_start(void)
{
    CALLGRIND_START_INSTRUMENTATION;
}

/* Write the instructions since the last mark to a file that names this one. */
void
nk_mark(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}
