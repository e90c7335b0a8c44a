/* Stands between a process and its disk: counts, logs and spoils what it writes into one folder.
 *
 * Preloaded into the process under test (LD_PRELOAD), and told by it through ctypes what to do.
 * Only files of the watched folder are seen, and the folder itself. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum mode { NONE, DIE_BEFORE, DIE_AFTER, DIE_TORN, NO_SPACE, IO_ERROR, IO_ERROR_EVER, SHORT };

static char watched[512];
static long calls, strikes_at;
static enum mode fault;
static int has_struck, log_fd = -1, mark_fd = -1;

typedef ssize_t write_fn(int, const void *, size_t);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef int sync_fn(int);
typedef int truncate_fn(int, off_t);
typedef int unlink_fn(const char *);
typedef int rename_fn(const char *, const char *);

#define REAL(type, name) ((type *)dlsym(RTLD_NEXT, name))

/* What the process under test calls -------------------------------------------------------------*/

/* Watches a folder, given by its real path; count anew. */
void nk_io_watch(const char *folder) {
    snprintf(watched, sizeof watched, "%s", folder);
    calls = 0;
    strikes_at = 0;
    has_struck = 0;
}

/* Strikes the n-th call from now; says so on a descriptor when it does. */
void nk_io_arm(long n, int mode, int mark) {
    strikes_at = calls + n;
    fault = (enum mode)mode;
    mark_fd = mark;
}

/* Writes what is done into a descriptor: a letter, the file's name, numbers, bytes in hex. */
void nk_io_log(int descriptor) { log_fd = descriptor; }

long nk_io_calls(void) { return calls; }

/* ---------------------------------------------------------------------------------------------*/

/* Returns the name of a descriptor's file within the folder, "." for the folder, or NULL. */
static const char *name_of(int descriptor, char *path, size_t size) {
    char link[64];
    size_t length = strlen(watched);
    if (!length) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t got = readlink(link, path, size - 1);
    if (got < 0) return NULL;
    path[got] = 0;
    if (strncmp(path, watched, length) != 0) return NULL;
    if (!path[length]) return ".";
    return path[length] == '/' ? path + length + 1 : NULL;
}

static void put(int descriptor, const char *text, size_t size) {
    write_fn *real = REAL(write_fn, "write");
    while (size) {
        ssize_t done = real(descriptor, text, size);
        if (done <= 0) _exit(99);
        text += done;
        size -= (size_t)done;
    }
}

static void note(char what, const char *name, long long at, const void *bytes, size_t size) {
    static const char digits[] = "0123456789abcdef";
    if (log_fd < 0) return;
    char head[640], hex[1024];
    put(log_fd, head, (size_t)snprintf(head, sizeof head, "%c %s %lld ", what, name, at));
    const unsigned char *byte = bytes;
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        hex[used++] = digits[byte[i] >> 4];
        hex[used++] = digits[byte[i] & 15];
        if (used == sizeof hex) {
            put(log_fd, hex, used);
            used = 0;
        }
    }
    hex[used++] = '\n';
    put(log_fd, hex, used);
}

/* Counts a call; returns what becomes of it. */
static enum mode strike(void) {
    calls++;
    if (has_struck && fault == IO_ERROR_EVER) return IO_ERROR;
    if (calls != strikes_at || fault == NONE) return NONE;
    has_struck = 1;
    if (mark_fd >= 0) put(mark_fd, "{\"do\": \"fault\"}\n", 16);
    if (fault == DIE_BEFORE) _exit(9);
    return fault == IO_ERROR_EVER ? IO_ERROR : fault;
}

static int fails(enum mode now) {
    if (now != NO_SPACE && now != IO_ERROR) return 0;
    errno = now == NO_SPACE ? ENOSPC : EIO;
    return 1;
}

static ssize_t write_at(int descriptor, const void *bytes, size_t size, off_t at, int has_place) {
    write_fn *real_write = REAL(write_fn, "write");
    pwrite_fn *real_pwrite = REAL(pwrite_fn, "pwrite64");
    char path[512];
    const char *name = name_of(descriptor, path, sizeof path);
    if (!name) {
        return has_place ? real_pwrite(descriptor, bytes, size, at)
                         : real_write(descriptor, bytes, size);
    }
    enum mode now = strike();
    if (fails(now)) return -1;
    if (!has_place) at = lseek(descriptor, 0, SEEK_CUR);
    size_t whole = now == DIE_TORN || now == SHORT ? size / 2 : size;
    ssize_t done = has_place ? real_pwrite(descriptor, bytes, whole, at)
                             : real_write(descriptor, bytes, whole);
    if (done > 0) note('W', name, at, bytes, (size_t)done);
    if (now == DIE_TORN || now == DIE_AFTER) _exit(9);
    return done;
}

ssize_t write(int descriptor, const void *bytes, size_t size) {
    return write_at(descriptor, bytes, size, 0, 0);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t at) {
    return write_at(descriptor, bytes, size, at, 1);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t at) {
    return write_at(descriptor, bytes, size, at, 1);
}

static int sync_by(const char *call, int descriptor) {
    sync_fn *real = REAL(sync_fn, call);
    char path[512];
    const char *name = name_of(descriptor, path, sizeof path);
    if (!name) return real(descriptor);
    enum mode now = strike();
    if (fails(now)) return -1;
    int result = real(descriptor);
    note('F', name, 0, NULL, 0);
    if (now == DIE_AFTER || now == DIE_TORN) _exit(9);
    return result;
}

int fsync(int descriptor) { return sync_by("fsync", descriptor); }

int fdatasync(int descriptor) { return sync_by("fdatasync", descriptor); }

int ftruncate64(int descriptor, off64_t size) {
    truncate_fn *real = REAL(truncate_fn, "ftruncate64");
    char path[512];
    const char *name = name_of(descriptor, path, sizeof path);
    if (!name) return real(descriptor, size);
    enum mode now = strike();
    if (fails(now)) return -1;
    int result = real(descriptor, size);
    note('T', name, size, NULL, 0);
    if (now == DIE_AFTER || now == DIE_TORN) _exit(9);
    return result;
}

int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

/* Returns the name of a path within the folder, or NULL. */
static const char *name_within(const char *path) {
    size_t length = strlen(watched);
    int is_within = length && strncmp(path, watched, length) == 0 && path[length] == '/';
    return is_within ? path + length + 1 : NULL;
}

int unlink(const char *path) {
    unlink_fn *real = REAL(unlink_fn, "unlink");
    const char *name = name_within(path);
    int result = real(path);
    if (name && result == 0) note('U', name, 0, NULL, 0);
    return result;
}

int rename(const char *before, const char *after) {
    rename_fn *real = REAL(rename_fn, "rename");
    const char *old = name_within(before), *new = name_within(after);
    int result = real(before, after);
    if (old && new && result == 0) note('R', old, 0, new, strlen(new));
    return result;
}
