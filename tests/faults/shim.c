/* Loaded before libc: counts what the process does to the files below a directory, and at the Nth kills it or fails.
 *
 * TASKD_SHIM_BELOW is the directory, TASKD_SHIM_CONTROL a file with a struct control that a check has mapped as well.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum kind { NOTHING, COUNT, KILL, TEAR, FAIL_EIO, FAIL_ENOSPC };

static struct control {
    int64_t kind, at, lasting, count, fired;
} *control;
static const char *below;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TASKD_SHIM_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    below = getenv("TASKD_SHIM_BELOW");
    if (file < 0 || !below)
        return;
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
}

static int ours(const char *path)
{
    return !strncmp(path, below, strlen(below));
}

static int ours_open(int file)
{
    char link[32], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    return readlink(link, path, sizeof path - 1) > 0 && ours(path);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* What to do here: nothing, TEAR, or the error to fail with, negative. */
static int point(void)
{
    int64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (control->kind == COUNT || number < control->at || (number > control->at && !control->lasting))
        return NOTHING;
    __atomic_add_fetch(&control->fired, 1, __ATOMIC_SEQ_CST);
    if (control->kind == KILL)
        die();
    if (control->kind == TEAR)
        return TEAR;
    return control->kind == FAIL_EIO ? -EIO : -ENOSPC;
}

#define WATCHED (control && control->kind)
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS(is_ours)                                                                                                 \
    int what = WATCHED && (is_ours) ? point() : NOTHING;                                                               \
    if (what < 0) {                                                                                                    \
        errno = -what;                                                                                                 \
        return -1;                                                                                                     \
    }

#define WRITES(name, ...)                                                                                              \
    FAILS(ours_open(file))                                                                                             \
    if (what == TEAR) {                                                                                                \
        size /= 2;                                                                                                     \
        REAL(name)(file, bytes, size, ##__VA_ARGS__);                                                                  \
        die();                                                                                                         \
    }                                                                                                                  \
    return REAL(name)(file, bytes, size, ##__VA_ARGS__)

#define CHANGES(is_ours, ...)                                                                                          \
    FAILS(is_ours)                                                                                                     \
    if (what == TEAR)                                                                                                  \
        die();                                                                                                         \
    return __VA_ARGS__

ssize_t write(int file, const void *bytes, size_t size) { WRITES(write); }
ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) { WRITES(pwrite, at); }
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) { WRITES(pwrite64, at); }
int fsync(int file) { CHANGES(ours_open(file), REAL(fsync)(file)); }
int fdatasync(int file) { CHANGES(ours_open(file), REAL(fdatasync)(file)); }
int ftruncate(int file, off_t size) { CHANGES(ours_open(file), REAL(ftruncate)(file, size)); }
int ftruncate64(int file, off64_t size) { CHANGES(ours_open(file), REAL(ftruncate64)(file, size)); }
int unlink(const char *path) { CHANGES(ours(path), REAL(unlink)(path)); }
int rename(const char *from, const char *to) { CHANGES(ours(to), REAL(rename)(from, to)); }
